//! One state of the catalog: look-ups, and changes that make the next state.
//!
//! A snapshot never changes; `create`, `remove`, `rename` and the like return a new one that
//! shares all unchanged definitions. Errors are PostgreSQL's, with a suggestion where a
//! name is unknown.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::definition::{Definition, Kind, Namespace, NewDefinition, ObjectId};
use super::render::render_create;
use super::suggest::did_you_mean;
use super::{DEFAULT_SCHEMA, FIRST_OID};
use crate::error::{HwError, Result, sqlstate};

/// Oid of `public`, as in PostgreSQL.
const PUBLIC_OID: u32 = 2200;
/// Where views are that were dropped while others share their rows.
pub(super) const HIDDEN_SCHEMA: &str = "headwater";
/// Schemas of the system; no user object can be in them.
const SYSTEM_SCHEMAS: [&str; 3] = ["pg_catalog", "information_schema", "headwater"];

/// A folded name, with its schema if one was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QualifiedName {
    pub schema: Option<String>,
    pub name: String,
}

impl QualifiedName {
    pub fn new(schema: Option<&str>, name: &str) -> Self {
        QualifiedName { schema: schema.map(str::to_string), name: name.to_string() }
    }
}

impl std::fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SchemaDefinition {
    pub name: String,
    pub oid: u32,
}

/// An immutable state of all definitions. Cloning costs a few reference counts.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub(super) state: Arc<State>,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) next_id: ObjectId,
    pub(super) next_oid: u32,
    pub(super) schemas: BTreeMap<String, SchemaDefinition>,
    pub(super) objects: BTreeMap<ObjectId, Arc<Definition>>,
    names: BTreeMap<(String, Namespace, String), ObjectId>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

impl Catalog {
    /// Empty, with the schema `public`.
    pub fn new() -> Catalog {
        let public = SchemaDefinition { name: DEFAULT_SCHEMA.to_string(), oid: PUBLIC_OID };
        Self::from_parts(1, FIRST_OID, vec![public], Vec::new())
    }

    pub(super) fn from_parts(
        next_id: ObjectId,
        next_oid: u32,
        schemas: Vec<SchemaDefinition>,
        objects: Vec<Definition>,
    ) -> Catalog {
        let names = objects.iter().map(|d| (name_key(d), d.id)).collect();
        let objects = objects.into_iter().map(|d| (d.id, Arc::new(d))).collect();
        let schemas = schemas.into_iter().map(|s| (s.name.clone(), s)).collect();
        Catalog { state: Arc::new(State { next_id, next_oid, schemas, objects, names }) }
    }

    /// Whether nothing has changed from the one to the other.
    pub fn is_same(&self, other: &Catalog) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// All objects, by id, which is the order of creation.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Definition>> {
        self.state.objects.values()
    }

    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Definition>> {
        self.objects().filter(move |d| d.kind == kind)
    }

    pub fn get(&self, id: ObjectId) -> Option<&Arc<Definition>> {
        self.state.objects.get(&id)
    }

    pub fn by_oid(&self, oid: u32) -> Option<&Arc<Definition>> {
        self.objects().find(|d| d.oid == oid)
    }

    pub fn schemas(&self) -> impl Iterator<Item = &SchemaDefinition> {
        self.state.schemas.values()
    }

    /// The relation of that name, if there is one, in the first schema that has it.
    pub fn lookup(&self, name: &QualifiedName, search_path: &[String]) -> Option<&Arc<Definition>> {
        self.lookup_in(Namespace::Relations, name, search_path)
    }

    /// The object of that name in the namespace of `kind`, which may be of another kind.
    pub fn lookup_kind(
        &self,
        kind: Kind,
        name: &QualifiedName,
        search_path: &[String],
    ) -> Option<&Arc<Definition>> {
        self.lookup_in(kind.namespace(), name, search_path)
    }

    fn lookup_in(
        &self,
        namespace: Namespace,
        name: &QualifiedName,
        search_path: &[String],
    ) -> Option<&Arc<Definition>> {
        let in_schema = |schema: &str| {
            let key = (schema.to_string(), namespace, name.name.clone());
            self.state.names.get(&key).and_then(|id| self.state.objects.get(id))
        };
        match &name.schema {
            Some(schema) => in_schema(schema),
            None => search_path.iter().find_map(|schema| in_schema(schema)),
        }
    }

    /// The relation of that name.
    ///
    /// Errors: 3F000 if the schema named does not exist, 42P01 otherwise.
    pub fn resolve(&self, name: &QualifiedName, search_path: &[String]) -> Result<&Arc<Definition>> {
        match self.lookup(name, search_path) {
            Some(found) => Ok(found),
            None => Err(self.undefined("relation", Namespace::Relations, name, search_path)),
        }
    }

    /// The object of that name and kind.
    ///
    /// Errors: as `resolve`, with 42704 or 42883 for kinds that are no relations; 42809 if
    /// the name is of another kind.
    pub fn resolve_kind(
        &self,
        kind: Kind,
        name: &QualifiedName,
        search_path: &[String],
    ) -> Result<&Arc<Definition>> {
        let Some(found) = self.lookup_kind(kind, name, search_path) else {
            return Err(self.undefined(kind.noun(), kind.namespace(), name, search_path));
        };
        if found.kind == kind { Ok(found) } else { Err(wrong_kind(found, kind)) }
    }

    fn undefined(
        &self,
        noun: &str,
        namespace: Namespace,
        name: &QualifiedName,
        search_path: &[String],
    ) -> HwError {
        if let Some(schema) = name.schema.as_deref().filter(|s| !self.state.schemas.contains_key(*s)) {
            let system = SYSTEM_SCHEMAS.contains(&schema);
            if namespace != Namespace::Relations && !system {
                return undefined_schema(schema, self);
            }
        }
        let (code, message) = match namespace {
            Namespace::Functions => {
                (sqlstate::UNDEFINED_FUNCTION, format!("function {name}() does not exist"))
            }
            Namespace::Relations => (sqlstate::UNDEFINED_TABLE, format!("{noun} \"{name}\" does not exist")),
            _ => (sqlstate::UNDEFINED_OBJECT, format!("{noun} \"{name}\" does not exist")),
        };
        let candidates = self
            .objects()
            .filter(|d| d.kind.namespace() == namespace)
            .filter(|d| name.schema.as_ref().map_or(search_path.contains(&d.schema), |s| *s == d.schema))
            .map(|d| d.name.as_str());
        let error = HwError::new(code, message);
        if let Some(meant) = did_you_mean(&name.name, candidates) {
            return error.with_hint(format!("Perhaps you meant \"{meant}\"."));
        }
        let elsewhere = self.objects().find(|d| d.kind.namespace() == namespace && d.name == name.name);
        match elsewhere {
            Some(d) => error.with_hint(format!("There is a {} \"{}.{}\".", d.kind.noun(), d.schema, d.name)),
            None => error,
        }
    }

    /// The schema that an unqualified CREATE goes to: the first of the path that exists.
    pub fn creation_schema(&self, schema: Option<&str>, search_path: &[String]) -> Result<String> {
        match schema {
            Some(name) if self.state.schemas.contains_key(name) => Ok(name.to_string()),
            Some(name) if SYSTEM_SCHEMAS.contains(&name) => Err(HwError::new(
                sqlstate::INSUFFICIENT_PRIVILEGE,
                format!("permission denied for schema {name}"),
            )),
            Some(name) => Err(undefined_schema(name, self)),
            None => {
                search_path.iter().find(|s| self.state.schemas.contains_key(*s)).cloned().ok_or_else(|| {
                    HwError::new(sqlstate::INVALID_SCHEMA_NAME, "no schema has been selected to create in")
                })
            }
        }
    }

    /// Adds an object.
    ///
    /// Errors: 42P07 (42710 or 42723 for no relation) if the name is taken, by whatever kind
    /// of the namespace; 3F000 if the schema does not exist.
    pub fn create(&self, new: NewDefinition) -> Result<(Catalog, Arc<Definition>)> {
        if !self.state.schemas.contains_key(&new.schema) {
            return Err(undefined_schema(&new.schema, self));
        }
        let kind = new.details.kind();
        self.check_free(kind, &new.schema, &new.name)?;
        if let Some(missing) = new.depends_on.iter().find(|id| !self.state.objects.contains_key(id)) {
            return Err(HwError::internal(format!("object {missing} does not exist")));
        }
        let mut state = (*self.state).clone();
        let definition_sql = render_create(&new);
        let mut depends_on = new.depends_on;
        depends_on.sort_unstable();
        depends_on.dedup();
        let definition = Arc::new(Definition {
            id: state.next_id,
            oid: state.next_oid,
            schema: new.schema,
            name: new.name,
            kind,
            columns: new.columns,
            definition_sql,
            depends_on,
            primary_key: new.primary_key,
            comment: None,
            column_comments: BTreeMap::new(),
            created_at: new.created_at,
            details: new.details,
        });
        state.next_id += 1;
        state.next_oid += 1;
        state.names.insert(name_key(&definition), definition.id);
        state.objects.insert(definition.id, definition.clone());
        Ok((Catalog { state: Arc::new(state) }, definition))
    }

    fn check_free(&self, kind: Kind, schema: &str, name: &str) -> Result<()> {
        let namespace = kind.namespace();
        if !self.state.names.contains_key(&(schema.to_string(), namespace, name.to_string())) {
            return Ok(());
        }
        let (code, noun) = match namespace {
            Namespace::Relations => (sqlstate::DUPLICATE_TABLE, "relation"),
            Namespace::Functions => (sqlstate::DUPLICATE_FUNCTION, "function"),
            _ => (sqlstate::DUPLICATE_OBJECT, kind.noun()),
        };
        Err(HwError::new(code, format!("{noun} \"{name}\" already exists")))
    }

    /// Without these objects; ids that do not exist are passed over. The caller gives them
    /// as [`Catalog::drop_order`] does, so that nothing is left without what it reads.
    pub fn remove(&self, ids: &[ObjectId]) -> Catalog {
        let mut state = (*self.state).clone();
        for id in ids {
            if let Some(definition) = state.objects.remove(id) {
                state.names.remove(&name_key(&definition));
            }
        }
        Catalog { state: Arc::new(state) }
    }

    /// Renames an object.
    ///
    /// Errors: as `create` if the name is taken; 2BP01 if a stored query names it.
    pub fn rename(&self, id: ObjectId, to: &str) -> Result<Catalog> {
        let definition =
            self.get(id).ok_or_else(|| HwError::internal(format!("object {id} does not exist")))?;
        self.check_free(definition.kind, &definition.schema, to)?;
        let dependents: Vec<&Arc<Definition>> =
            self.objects().filter(|d| d.depends_on.contains(&id) && d.names_its_inputs()).collect();
        if !dependents.is_empty() {
            let detail: Vec<String> = dependents
                .iter()
                .map(|d| format!("{} depends on {}", d.describe(), definition.describe()))
                .collect();
            return Err(HwError::new(
                sqlstate::DEPENDENT_OBJECTS,
                format!("cannot rename {} because other objects depend on it", definition.describe()),
            )
            .with_detail(detail.join("\n"))
            .with_hint("Drop the dependent objects first, or create a view of the new name over it."));
        }
        Ok(self.change(id, |d| {
            d.name = to.to_string();
            d.definition_sql = render_create(&NewDefinition {
                schema: d.schema.clone(),
                name: d.name.clone(),
                columns: d.columns.clone(),
                depends_on: d.depends_on.clone(),
                primary_key: d.primary_key.clone(),
                created_at: d.created_at,
                details: d.details.clone(),
            });
        }))
    }

    /// Takes the name of an object away; its rows are read by those who share them.
    pub(super) fn hide(&self, id: ObjectId) -> Catalog {
        self.change(id, |d| {
            d.schema = HIDDEN_SCHEMA.to_string();
            d.name = format!("shared_{id}");
        })
    }

    /// Sets or clears the comment of an object, or of one of its columns.
    ///
    /// Errors: 42703 if there is no such column.
    pub fn comment(&self, id: ObjectId, column: Option<&str>, text: Option<String>) -> Result<Catalog> {
        let definition =
            self.get(id).ok_or_else(|| HwError::internal(format!("object {id} does not exist")))?;
        let Some(column) = column else { return Ok(self.change(id, |d| d.comment = text)) };
        let Some(index) = definition.columns.iter().position(|f| f.name() == column) else {
            let message = format!("column \"{column}\" of relation \"{}\" does not exist", definition.name);
            let error = HwError::new(sqlstate::UNDEFINED_COLUMN, message);
            return Err(match did_you_mean(column, definition.columns.iter().map(|f| f.name().as_str())) {
                Some(meant) => error.with_hint(format!("Perhaps you meant \"{meant}\".")),
                None => error,
            });
        };
        Ok(self.change(id, |d| match text {
            Some(text) => drop(d.column_comments.insert(index, text)),
            None => drop(d.column_comments.remove(&index)),
        }))
    }

    fn change(&self, id: ObjectId, change: impl FnOnce(&mut Definition)) -> Catalog {
        let mut state = (*self.state).clone();
        if let Some(before) = state.objects.get(&id) {
            let mut after = (**before).clone();
            change(&mut after);
            state.names.remove(&name_key(before));
            state.names.insert(name_key(&after), id);
            state.objects.insert(id, Arc::new(after));
        }
        Catalog { state: Arc::new(state) }
    }

    /// Adds a schema.
    ///
    /// Errors: 42P06 if it exists, 42939 if the name is the system's.
    pub fn create_schema(&self, name: &str) -> Result<Catalog> {
        if name.starts_with("pg_") || SYSTEM_SCHEMAS.contains(&name) {
            return Err(HwError::new(
                sqlstate::RESERVED_NAME,
                format!("unacceptable schema name \"{name}\""),
            ));
        }
        if self.state.schemas.contains_key(name) {
            return Err(HwError::new(
                sqlstate::DUPLICATE_SCHEMA,
                format!("schema \"{name}\" already exists"),
            ));
        }
        let mut state = (*self.state).clone();
        state
            .schemas
            .insert(name.to_string(), SchemaDefinition { name: name.to_string(), oid: state.next_oid });
        state.next_oid += 1;
        Ok(Catalog { state: Arc::new(state) })
    }

    /// Takes a schema away that holds no objects (its objects are dropped before).
    ///
    /// Errors: 3F000 if there is none of that name; 2BP01 if it holds objects.
    pub fn drop_schema(&self, name: &str) -> Result<Catalog> {
        if !self.state.schemas.contains_key(name) {
            return Err(undefined_schema(name, self));
        }
        let held: Vec<String> = self
            .objects()
            .filter(|d| d.schema == name)
            .map(|d| format!("{} depends on schema {name}", d.describe()))
            .collect();
        if !held.is_empty() {
            let message = format!("cannot drop schema {name} because other objects depend on it");
            return Err(HwError::new(sqlstate::DEPENDENT_OBJECTS, message)
                .with_detail(held.join("\n"))
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        let mut state = (*self.state).clone();
        state.schemas.remove(name);
        Ok(Catalog { state: Arc::new(state) })
    }
}

fn name_key(d: &Definition) -> (String, Namespace, String) {
    (d.schema.clone(), d.kind.namespace(), d.name.clone())
}

fn undefined_schema(name: &str, catalog: &Catalog) -> HwError {
    let error = HwError::new(sqlstate::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"));
    match did_you_mean(name, catalog.state.schemas.keys().map(String::as_str)) {
        Some(meant) => error.with_hint(format!("Perhaps you meant \"{meant}\".")),
        None => error,
    }
}

/// 42809: `"x" is not a materialized view`.
fn wrong_kind(found: &Definition, wanted: Kind) -> HwError {
    let article = |noun: &str| if noun.starts_with(['i', 'a', 'e', 'o']) { "an" } else { "a" };
    let (is, not) = (found.kind.noun(), wanted.noun());
    HwError::new(sqlstate::WRONG_OBJECT_TYPE, format!("\"{}\" is not {} {not}", found.name, article(not)))
        .with_hint(format!(
            "It is {} {is}: write {} instead of {} in the statement.",
            article(is),
            is.to_uppercase(),
            not.to_uppercase()
        ))
}
