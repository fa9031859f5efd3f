//! SHOW: lists of objects, watermarks, definitions, columns, parameters.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;

use super::drop::kind_of;
use super::live;
use super::results::{batch_of, rows, schema_of, text};
use super::{DATABASE_NAME, Session};
use crate::catalog::{Definition, Details, Kind};
use crate::error::{HwError, Result};
use crate::serving::pg::api::{Outcome, RowsTag};
use crate::sql::ast::{ObjectKind, ObjectName, Show, ShowList};
use crate::types::PgType as P;

type Row = Vec<ScalarValue>;

impl Session {
    pub(super) async fn show(&mut self, show: &Show) -> Result<Outcome> {
        let schema = self.show_schema(show).await?;
        let found = match show {
            Show::Objects { list, schema, like } => {
                self.show_objects(*list, schema.as_deref(), like.as_deref())?
            }
            Show::Watermarks(of) => self.show_watermarks(of.as_ref())?,
            Show::Create(kind, name) => self.show_create(*kind, name)?,
            Show::Columns(name) => self.show_columns(name)?,
            Show::Parameter(name) => vec![vec![text(self.settings.show(name)?.1)]],
            Show::AllParameters => {
                self.settings.all().into_iter().map(|(n, v, d)| vec![text(n), text(v), text(d)]).collect()
            }
        };
        let batch = batch_of(&schema, found)?;
        Ok(rows(schema, vec![batch], RowsTag::Plain("SHOW".into())))
    }

    pub(super) async fn show_schema(&mut self, show: &Show) -> Result<SchemaRef> {
        let columns: Vec<(&str, P)> = match show {
            Show::Objects { list: ShowList::Sources, .. } => {
                vec![("name", P::Text), ("connector", P::Text), ("columns", P::Int8)]
            }
            Show::Objects { list: ShowList::Sinks, .. } => {
                vec![("name", P::Text), ("connector", P::Text), ("from", P::Text)]
            }
            Show::Objects { list: ShowList::Jobs, .. } => live::job_columns(),
            Show::Objects { .. } => vec![("name", P::Text)],
            Show::Watermarks(_) => super::watermarks::watermark_columns(),
            Show::Create(..) => vec![("name", P::Text), ("create_sql", P::Text)],
            Show::Columns(_) => {
                vec![("name", P::Text), ("type", P::Text), ("nullable", P::Bool), ("key", P::Bool)]
            }
            Show::Parameter(name) => {
                let (shown, _) = self.settings.show(name)?;
                return Ok(schema_of(&[(shown.as_str(), P::Text)]));
            }
            Show::AllParameters => vec![("name", P::Text), ("setting", P::Text), ("description", P::Text)],
        };
        Ok(schema_of(&columns))
    }

    fn show_objects(&self, list: ShowList, schema: Option<&str>, like: Option<&str>) -> Result<Vec<Row>> {
        let catalog = self.database.catalog();
        let fits = |name: &str| like.is_none_or(|pattern| matches_like(name, pattern));
        let kind = match list {
            ShowList::Sources => Kind::Source,
            ShowList::Tables => Kind::Table,
            ShowList::Views => Kind::View,
            ShowList::MaterializedViews => Kind::MaterializedView,
            ShowList::Sinks => Kind::Sink,
            ShowList::Connections => Kind::Connection,
            ShowList::Secrets => Kind::Secret,
            ShowList::Functions => Kind::Function,
            ShowList::Indexes => Kind::Index,
            ShowList::Jobs => return live::jobs(&self.database),
            ShowList::Schemas => {
                let names = catalog
                    .schemas()
                    .map(|s| s.name.clone())
                    .chain(["headwater", "information_schema", "pg_catalog"].map(String::from));
                let mut names: Vec<String> = names.filter(|n| fits(n)).collect();
                names.sort();
                return Ok(names.into_iter().map(|n| vec![text(n)]).collect());
            }
            ShowList::Databases => return Ok(vec![vec![text(DATABASE_NAME)]]),
        };
        let wanted = |d: &&Arc<Definition>| schema.is_none_or(|s| s == d.schema) && fits(&d.name);
        let mut found: Vec<&Arc<Definition>> = catalog.of_kind(kind).filter(wanted).collect();
        found.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        let row = |d: &&Arc<Definition>| match &d.details {
            Details::Source(source) => {
                let columns = ScalarValue::Int64(Some(d.columns.len() as i64));
                vec![text(d.display_name()), text(&source.connector), columns]
            }
            Details::Sink(sink) => {
                let from = ScalarValue::Utf8(sink.from_name.clone());
                vec![text(d.display_name()), text(&sink.connector), from]
            }
            _ => vec![text(d.display_name())],
        };
        Ok(found.iter().map(row).collect())
    }

    fn show_watermarks(&self, of: Option<&ObjectName>) -> Result<Vec<Row>> {
        let all = super::watermarks::watermarks(&self.database)?;
        let Some(name) = of else { return Ok(all) };
        let shown = text(self.resolve(name)?.display_name());
        Ok(all.into_iter().filter(|row| row.first() == Some(&shown)).collect())
    }

    fn show_create(&self, kind: ObjectKind, name: &ObjectName) -> Result<Vec<Row>> {
        let Some(kind) = kind_of(kind) else {
            return Err(HwError::unsupported("SHOW CREATE SCHEMA", "A schema has nothing but its name."));
        };
        let definition = self.resolve_kind(kind, name)?;
        Ok(vec![vec![text(definition.display_name()), text(&definition.definition_sql)]])
    }

    fn show_columns(&self, name: &ObjectName) -> Result<Vec<Row>> {
        let definition = self.resolve(name)?;
        let row = |(i, field): (usize, &arrow::datatypes::Field)| {
            vec![
                text(field.name()),
                text(P::of(field).sql_name()),
                ScalarValue::Boolean(Some(field.is_nullable())),
                ScalarValue::Boolean(Some(definition.primary_key.contains(&i))),
            ]
        };
        Ok(definition.columns.iter().enumerate().map(row).collect())
    }
}

/// LIKE with `%` and `_`.
fn matches_like(name: &str, pattern: &str) -> bool {
    fn from(name: &[char], pattern: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('%', rest)) => (0..=name.len()).any(|i| from(&name[i..], rest)),
            Some(('_', rest)) => !name.is_empty() && from(&name[1..], rest),
            Some((c, rest)) => name.first() == Some(c) && from(&name[1..], rest),
        }
    }
    let (name, pattern): (Vec<char>, Vec<char>) = (name.chars().collect(), pattern.chars().collect());
    from(&name, &pattern)
}
