//! SHOW: lists of objects, watermarks, definitions, columns and parameters.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementReader};
use crate::sql::ast::{ObjectKind, Show, ShowList, StatementKind};

/// The lists, by their words.
const LISTS: [(&[&str], ShowList); 13] = [
    (&["SOURCES"], ShowList::Sources),
    (&["TABLES"], ShowList::Tables),
    (&["VIEWS"], ShowList::Views),
    (&["MATERIALIZED", "VIEWS"], ShowList::MaterializedViews),
    (&["SINKS"], ShowList::Sinks),
    (&["JOBS"], ShowList::Jobs),
    (&["CONNECTIONS"], ShowList::Connections),
    (&["SECRETS"], ShowList::Secrets),
    (&["FUNCTIONS"], ShowList::Functions),
    (&["INDEXES"], ShowList::Indexes),
    (&["INDICES"], ShowList::Indexes),
    (&["SCHEMAS"], ShowList::Schemas),
    (&["DATABASES"], ShowList::Databases),
];

impl StatementReader<'_> {
    pub(super) fn show(&mut self) -> Parsed<StatementKind> {
        self.expect_word("SHOW")?;
        Ok(StatementKind::Show(self.show_target()?))
    }

    fn show_target(&mut self) -> Parsed<Show> {
        for (words, list) in LISTS {
            if self.words(words) {
                return self.show_objects(list);
            }
        }
        if self.word("WATERMARKS") {
            let of = if self.one_of(&["FOR", "FROM"]).is_some() { Some(self.object_name()?) } else { None };
            return Ok(Show::Watermarks(of));
        }
        if self.word("CREATE") {
            let Some(kind) = self.object_kind() else { return self.unexpected("an object type") };
            return Ok(Show::Create(kind, self.object_name()?));
        }
        if self.word("COLUMNS") {
            if self.one_of(&["FROM", "IN"]).is_none() {
                return self.unexpected("FROM");
            }
            return Ok(Show::Columns(self.object_name()?));
        }
        if self.word("ALL") {
            return Ok(Show::AllParameters);
        }
        self.parameter_name().map(Show::Parameter)
    }

    fn show_objects(&mut self, list: ShowList) -> Parsed<Show> {
        let schema = if self.one_of(&["FROM", "IN"]).is_some() { Some(self.name()?) } else { None };
        let like = if self.word("LIKE") { Some(self.expect_string()?) } else { None };
        Ok(Show::Objects { list, schema, like })
    }

    /// The name of a parameter, as SHOW and RESET spell it.
    pub(super) fn parameter_name(&mut self) -> Parsed<String> {
        if self.words(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
            return Ok("transaction_isolation".to_string());
        }
        if self.words(&["TIME", "ZONE"]) {
            return Ok("timezone".to_string());
        }
        if self.words(&["SESSION", "AUTHORIZATION"]) {
            return Ok("session_authorization".to_string());
        }
        let mut name = self.name()?;
        while self.token(&Token::Period) {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Ok(name.to_lowercase())
    }

    /// The kind of object that the next words name.
    pub(super) fn object_kind(&mut self) -> Option<ObjectKind> {
        const KINDS: [(&[&str], ObjectKind); 10] = [
            (&["SCHEMA"], ObjectKind::Schema),
            (&["SECRET"], ObjectKind::Secret),
            (&["CONNECTION"], ObjectKind::Connection),
            (&["SOURCE"], ObjectKind::Source),
            (&["TABLE"], ObjectKind::Table),
            (&["VIEW"], ObjectKind::View),
            (&["MATERIALIZED", "VIEW"], ObjectKind::MaterializedView),
            (&["SINK"], ObjectKind::Sink),
            (&["INDEX"], ObjectKind::Index),
            (&["FUNCTION"], ObjectKind::Function),
        ];
        KINDS.iter().find(|(words, _)| self.words(words)).map(|(_, kind)| *kind)
    }
}
