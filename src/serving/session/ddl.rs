//! What all CREATE statements share; CREATE SCHEMA, SECRET and CONNECTION.

use std::sync::Arc;

use super::Session;
use super::evaluate::qualified;
use super::options::with_options;
use super::results::command;
use crate::catalog::{
    ConnectionDetails, Definition, Details, Kind, NewDefinition, SecretDetails, SecretValue,
};
use crate::clock::wall_micros;
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::{Notice, Outcome};
use crate::sql::ast::{ObjectName, Options, SecretText};

impl Session {
    /// Schema of a new object; 3F000 if there is none.
    pub(super) fn creation_schema(&self, name: &ObjectName) -> Result<String> {
        if let Some(database) = name.database.as_deref().filter(|d| *d != super::DATABASE_NAME) {
            let text = format!("cross-database references are not implemented: \"{database}.{name}\"");
            return Err(HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, text).at(name.position));
        }
        let path = self.search_path();
        self.database
            .catalog()
            .creation_schema(name.schema.as_deref(), &path)
            .map_err(|e| e.at(name.position))
    }

    /// Looks for an object in the way. With IF NOT EXISTS there is a notice, and true.
    pub(super) fn exists(&mut self, kind: Kind, name: &ObjectName, if_not_exists: bool) -> Result<bool> {
        let schema = self.creation_schema(name)?;
        let catalog = self.database.catalog();
        let mut there = qualified(name);
        there.schema = Some(schema);
        if catalog.lookup_kind(kind, &there, &[]).is_none() {
            return Ok(false);
        }
        let (noun, code) = match kind {
            Kind::Secret | Kind::Connection => (kind.noun(), sqlstate::DUPLICATE_OBJECT),
            _ => ("relation", sqlstate::DUPLICATE_TABLE),
        };
        let text = format!("{noun} \"{}\" already exists", name.name);
        if !if_not_exists {
            return Err(HwError::new(code, text));
        }
        let mut notice = Notice::new(format!("{text}, skipping"));
        notice.report = HwError::new(code, format!("{text}, skipping"));
        self.notice(notice);
        Ok(true)
    }

    pub(super) fn definition(&self, name: &ObjectName, details: Details) -> Result<NewDefinition> {
        Ok(NewDefinition {
            schema: self.creation_schema(name)?,
            name: name.name.clone(),
            columns: Vec::new(),
            depends_on: Vec::new(),
            primary_key: Vec::new(),
            created_at: wall_micros(),
            details,
        })
    }

    /// Creates an object that needs no filling.
    pub(super) async fn create(&mut self, new: NewDefinition) -> Result<Arc<Definition>> {
        self.database.create(new, None).await
    }

    pub(super) async fn create_schema(&mut self, if_not_exists: bool, name: &str) -> Result<Outcome> {
        if if_not_exists && self.database.catalog().schemas().any(|s| s.name == name) {
            self.notice(Notice::new(format!("schema \"{name}\" already exists, skipping")));
        } else {
            self.database.alter(|catalog| catalog.create_schema(name)).await?;
        }
        Ok(command("CREATE SCHEMA"))
    }

    pub(super) async fn create_secret(
        &mut self,
        if_not_exists: bool,
        name: &ObjectName,
        value: &SecretText,
    ) -> Result<Outcome> {
        if !self.exists(Kind::Secret, name, if_not_exists)? {
            let details = Details::Secret(SecretDetails { value: SecretValue(value.0.clone()) });
            let new = self.definition(name, details)?;
            self.create(new).await?;
        }
        Ok(command("CREATE SECRET"))
    }

    pub(super) async fn create_connection(
        &mut self,
        if_not_exists: bool,
        name: &ObjectName,
        with: &Options,
    ) -> Result<Outcome> {
        if !self.exists(Kind::Connection, name, if_not_exists)? {
            let kind = with.get("type").map(|o| o.value.as_text());
            if kind.as_deref() != Some("kafka") {
                let text = match kind {
                    Some(kind) => format!("unrecognized connection type \"{kind}\""),
                    None => "option \"type\" is missing".to_string(),
                };
                let hint = "Valid types are: kafka.";
                return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, text).with_hint(hint));
            }
            let details = Details::Connection(ConnectionDetails { with: with_options(with) });
            let mut new = self.definition(name, details)?;
            new.depends_on = self.secrets_of(with)?;
            self.create(new).await?;
        }
        Ok(command("CREATE CONNECTION"))
    }

    /// The secrets and connections that options name.
    pub(super) fn secrets_of(&self, with: &Options) -> Result<Vec<u64>> {
        use crate::sql::ast::OptionLiteral as L;
        let mut ids = Vec::new();
        for (key, option) in with {
            match &option.value {
                L::Secret(name) => ids.push(self.resolve_kind(Kind::Secret, name)?.id),
                L::Name(name) if key == "connection" => {
                    ids.push(self.resolve_kind(Kind::Connection, name)?.id)
                }
                L::String(name) if key == "connection" => {
                    let name = ObjectName { position: option.position, ..ObjectName::bare(name) };
                    ids.push(self.resolve_kind(Kind::Connection, &name)?.id);
                }
                _ => {}
            }
        }
        Ok(ids)
    }
}
