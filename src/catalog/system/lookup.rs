//! Finding objects in a [`SystemState`] by name and by oid.
//!
//! Objects that Headwater does not store as such get derived oids: the index behind a primary
//! key and its constraint from the oid of the table, user schemas from a hash of their name.
//! They are stable for as long as the object exists.

use super::layout::{self, Layout};
use super::{FunctionInfo, LiveTable, PUBLIC, RelationInfo, RelationKind, SystemState};
use crate::error::{HwError, Result, sqlstate};

/// Oid of the session's role (PostgreSQL's bootstrap superuser).
pub(super) const OWNER: u32 = 10;
/// Oid of the session's database.
pub(super) const DATABASE: u32 = 16383;
const PG_CATALOG: u32 = 11;
const PUBLIC_SCHEMA: u32 = 2200;
const INFORMATION_SCHEMA: u32 = 13180;
const HEADWATER_SCHEMA: u32 = 15999;
const LIVE_TABLES: u32 = 15000;
const KEY_INDEX_BIT: u32 = 1 << 30;
const KEY_CONSTRAINT_BIT: u32 = 1 << 29;
const SCHEMA_BIT: u32 = 1 << 28;

/// A row of `pg_class`, whatever it stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class<'a> {
    User(&'a RelationInfo),
    /// The index behind the primary key of a relation.
    KeyIndex(&'a RelationInfo),
    Live(&'a LiveTable, u32),
    System(&'static Layout),
}

/// The index behind the primary key.
pub(super) fn key_index_oid(relation: &RelationInfo) -> u32 {
    relation.oid | KEY_INDEX_BIT
}

/// The constraint that is the primary key.
pub(super) fn key_constraint_oid(relation: &RelationInfo) -> u32 {
    relation.oid | KEY_CONSTRAINT_BIT
}

pub(super) fn key_name(relation: &RelationInfo) -> String {
    format!("{}_pkey", relation.name)
}

impl<'a> Class<'a> {
    pub(super) fn oid(&self) -> u32 {
        match self {
            Class::User(r) => r.oid,
            Class::KeyIndex(r) => key_index_oid(r),
            Class::Live(_, oid) => *oid,
            Class::System(l) => l.oid,
        }
    }

    pub(super) fn schema(&self) -> &'a str {
        match self {
            Class::User(r) | Class::KeyIndex(r) => &r.schema,
            Class::Live(..) => "headwater",
            Class::System(l) => l.schema,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Class::User(r) => r.name.clone(),
            Class::KeyIndex(r) => key_name(r),
            Class::Live(t, _) => t.name.clone(),
            Class::System(l) => l.name.to_string(),
        }
    }

    pub(super) fn relkind(&self) -> char {
        match self {
            Class::User(r) => r.kind.relkind(),
            Class::KeyIndex(_) => 'i',
            Class::Live(..) => 'v',
            Class::System(l) => l.relkind,
        }
    }
}

/// 64-bit FNV-1a; only names schemas, never placed in data.
fn name_hash(name: &str) -> u32 {
    let hash =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ (hash >> 32)) as u32 & (SCHEMA_BIT - 1)
}

/// `pg_namespace.oid` of a schema.
pub(super) fn schema_oid(name: &str) -> u32 {
    match name {
        "pg_catalog" => PG_CATALOG,
        PUBLIC => PUBLIC_SCHEMA,
        "information_schema" => INFORMATION_SCHEMA,
        "headwater" => HEADWATER_SCHEMA,
        user => SCHEMA_BIT | name_hash(user),
    }
}

/// Splits a possibly quoted, possibly qualified name as `regclass` input does.
pub(super) fn parse_name(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.trim().chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                parts[last].push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c if quoted => parts[last].push(c),
            c => parts[last].extend(c.to_lowercase()),
        }
    }
    parts
}

impl SystemState {
    /// Every row of `pg_class`.
    pub(super) fn classes(&self) -> impl Iterator<Item = Class<'_>> {
        let user = self.relations.iter().filter(|r| r.kind != RelationKind::Sink).map(Class::User);
        let keys = self.relations.iter().filter(|r| !r.primary_key.is_empty()).map(Class::KeyIndex);
        let live = self.live.iter().zip(LIVE_TABLES..).map(|(t, oid)| Class::Live(t, oid));
        user.chain(keys).chain(live).chain(layout::layouts().iter().map(Class::System))
    }

    pub(super) fn class_by_oid(&self, oid: i64) -> Option<Class<'_>> {
        let oid = u32::try_from(oid).ok()?;
        self.classes().find(|c| c.oid() == oid)
    }

    pub(super) fn relation_by_oid(&self, oid: u32) -> Option<&RelationInfo> {
        self.relations.iter().find(|r| r.oid == oid)
    }

    /// Names of the schemas of the database, system ones first, then sorted.
    pub(super) fn schema_names(&self) -> Vec<String> {
        let mut user: Vec<String> = self.schemas.clone();
        user.extend(self.relations.iter().map(|r| r.schema.clone()));
        user.extend(self.functions.iter().map(|f| f.schema.clone()));
        user.sort();
        user.dedup();
        let system = ["pg_catalog", PUBLIC, "information_schema", "headwater"];
        user.retain(|s| !system.contains(&s.as_str()));
        system.iter().map(|s| s.to_string()).chain(user).collect()
    }

    pub(super) fn schema_by_oid(&self, oid: i64) -> Option<String> {
        self.schema_names().into_iter().find(|s| i64::from(schema_oid(s)) == oid)
    }

    /// The schemas of unqualified names, `pg_catalog` first.
    pub(super) fn effective_path(&self) -> Vec<&str> {
        let mut path = vec!["pg_catalog"];
        path.extend(self.search_path.iter().map(String::as_str).filter(|s| *s != "pg_catalog"));
        path
    }

    /// Finds a relation by a name as `regclass` reads it: digits are an oid.
    pub(super) fn find_class(&self, text: &str) -> Option<Class<'_>> {
        if let Ok(oid) = text.trim().parse::<i64>() {
            return self.class_by_oid(oid);
        }
        let mut parts = parse_name(text);
        let name = parts.pop()?;
        match parts.pop() {
            Some(schema) => self.classes().find(|c| c.schema() == schema && c.name() == name),
            None => self
                .effective_path()
                .iter()
                .find_map(|schema| self.classes().find(|c| c.schema() == *schema && c.name() == name)),
        }
    }

    /// The oid of `text::regclass`; 42P01 if there is no such relation.
    pub(super) fn regclass(&self, text: &str) -> Result<u32> {
        if let Ok(oid) = text.trim().parse::<u32>() {
            return Ok(oid);
        }
        self.find_class(text).map(|c| c.oid()).ok_or_else(|| {
            HwError::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist"))
        })
    }

    /// Whether the relation is what its bare name means.
    pub(super) fn is_visible(&self, class: &Class<'_>) -> bool {
        let name = class.name();
        for schema in self.effective_path() {
            if schema == class.schema() {
                return true;
            }
            let hidden = match schema {
                "pg_catalog" => layout::layout(schema, &name).is_some(),
                _ => self.relations.iter().any(|r| r.schema == schema && r.name == name),
            };
            if hidden {
                return false;
            }
        }
        false
    }

    pub(super) fn function_by_oid(&self, oid: i64) -> Option<&FunctionInfo> {
        self.functions.iter().find(|f| i64::from(f.oid) == oid)
    }

    /// Relations that can be read: all but indexes and sinks.
    pub(super) fn tables(&self) -> impl Iterator<Item = &RelationInfo> {
        self.relations.iter().filter(|r| !matches!(r.kind, RelationKind::Index | RelationKind::Sink))
    }

    /// The value of a run-time parameter.
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|s| s.name.eq_ignore_ascii_case(name)).map(|s| s.value.as_str())
    }
}
