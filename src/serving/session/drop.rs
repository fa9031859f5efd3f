//! DROP, ALTER … RENAME and COMMENT.

use super::Session;
use super::evaluate::qualified;
use super::results::command;
use crate::catalog::Kind;
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::{Notice, Outcome};
use crate::sql::ast::{CommentTarget, ObjectKind, ObjectName};

pub(super) fn kind_of(kind: ObjectKind) -> Option<Kind> {
    Some(match kind {
        ObjectKind::Source => Kind::Source,
        ObjectKind::Table => Kind::Table,
        ObjectKind::View => Kind::View,
        ObjectKind::MaterializedView => Kind::MaterializedView,
        ObjectKind::Sink => Kind::Sink,
        ObjectKind::Secret => Kind::Secret,
        ObjectKind::Connection => Kind::Connection,
        ObjectKind::Index => Kind::Index,
        ObjectKind::Function => Kind::Function,
        ObjectKind::Schema => return None,
    })
}

impl Session {
    pub(super) async fn drop_objects(
        &mut self,
        kind: ObjectKind,
        if_exists: bool,
        names: &[ObjectName],
        cascade: bool,
    ) -> Result<Outcome> {
        let tag = format!("DROP {}", kind.noun().to_uppercase());
        let Some(catalog_kind) = kind_of(kind) else {
            for name in names {
                self.drop_schema(&name.name, if_exists, cascade).await?;
            }
            return Ok(command(tag));
        };
        let mut ids = Vec::new();
        for name in names {
            let catalog = self.database.catalog();
            let path = self.search_path();
            if if_exists && catalog.lookup_kind(catalog_kind, &qualified(name), &path).is_none() {
                let text = format!("{} \"{}\" does not exist, skipping", kind.noun(), name.name);
                self.notice(Notice::new(text));
                continue;
            }
            ids.push(self.resolve_kind(catalog_kind, name)?.id);
        }
        ids.sort_unstable();
        ids.dedup();
        if !ids.is_empty() {
            self.drop_ids(&ids, cascade).await?;
        }
        Ok(command(tag))
    }

    async fn drop_ids(&mut self, ids: &[u64], cascade: bool) -> Result<()> {
        // The locks of dropped tables must not outlive them.
        self.transaction.forget(ids);
        let gone = self.database.drop_objects(ids, cascade).await?;
        let gone_ids: Vec<u64> = gone.iter().map(|d| d.id).collect();
        self.transaction.forget(&gone_ids);
        match gone.as_slice() {
            [] => {}
            [one] => self.notice(Notice::new(format!("drop cascades to {}", one.describe()))),
            many => {
                let lines: Vec<String> =
                    many.iter().map(|d| format!("drop cascades to {}", d.describe())).collect();
                let mut notice = Notice::new(format!("drop cascades to {} other objects", many.len()));
                notice.report = notice.report.with_detail(lines.join("\n"));
                self.notice(notice);
            }
        }
        Ok(())
    }

    async fn drop_schema(&mut self, name: &str, if_exists: bool, cascade: bool) -> Result<()> {
        let catalog = self.database.catalog();
        if if_exists && !catalog.schemas().any(|s| s.name == name) {
            self.notice(Notice::new(format!("schema \"{name}\" does not exist, skipping")));
            return Ok(());
        }
        let held: Vec<u64> = catalog.objects().filter(|d| d.schema == name).map(|d| d.id).collect();
        if cascade && !held.is_empty() {
            self.drop_ids(&held, true).await?;
        }
        self.database.alter(|catalog| catalog.drop_schema(name)).await
    }

    pub(super) async fn rename(
        &mut self,
        kind: ObjectKind,
        if_exists: bool,
        name: &ObjectName,
        to: &str,
    ) -> Result<Outcome> {
        let tag = format!("ALTER {}", kind.noun().to_uppercase());
        let Some(catalog_kind) = kind_of(kind) else {
            return Err(HwError::unsupported("ALTER SCHEMA … RENAME", "Create a schema of the new name."));
        };
        let catalog = self.database.catalog();
        if if_exists && catalog.lookup_kind(catalog_kind, &qualified(name), &self.search_path()).is_none() {
            let text = format!("{} \"{}\" does not exist, skipping", kind.noun(), name.name);
            self.notice(Notice::new(text));
            return Ok(command(tag));
        }
        let id = self.resolve_kind(catalog_kind, name)?.id;
        self.database.alter(|catalog| catalog.rename(id, to)).await?;
        Ok(command(tag))
    }

    pub(super) async fn comment(
        &mut self,
        target: CommentTarget,
        name: &ObjectName,
        comment: Option<String>,
    ) -> Result<Outcome> {
        match target {
            CommentTarget::Database => {
                let hint = "Comment on the objects in it.";
                return Err(HwError::unsupported("COMMENT ON DATABASE", hint));
            }
            CommentTarget::Object(kind) => {
                let Some(kind) = kind_of(kind) else {
                    return Err(HwError::unsupported("COMMENT ON SCHEMA", "Comment on the objects in it."));
                };
                let id = self.resolve_kind(kind, name)?.id;
                self.database.alter(|catalog| catalog.comment(id, None, comment)).await?;
            }
            CommentTarget::Column => {
                let Some(relation) = &name.schema else {
                    let text = "column name must be qualified";
                    return Err(HwError::new(sqlstate::SYNTAX_ERROR, text).at(name.position));
                };
                let of = ObjectName {
                    database: None,
                    schema: name.database.clone(),
                    name: relation.clone(),
                    position: name.position,
                };
                let id = self.resolve(&of)?.id;
                self.database.alter(|catalog| catalog.comment(id, Some(&name.name), comment)).await?;
            }
        }
        Ok(command("COMMENT"))
    }
}
