//! CREATE of schemas, secrets, connections, sources, tables, indexes and functions.
//!
//! The clauses after the columns of a source or table come in any order, each once.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementReader};
use crate::error::HwError;
use crate::sql::ast::{
    Columns, CreateFunction, CreateIndex, CreateSource, CreateTable, FormatSpec, FunctionArgument, Include,
    Options, SecretText, StatementKind,
};

/// What may follow the columns of a source or a connector table.
#[derive(Default)]
struct Tail {
    includes: Vec<Include>,
    with: Option<Options>,
    format: Option<FormatSpec>,
}

impl StatementReader<'_> {
    pub(super) fn create(&mut self) -> Parsed<StatementKind> {
        self.expect_word("CREATE")?;
        let or_replace = self.words(&["OR", "REPLACE"]);
        let temporary = self.one_of(&["TEMPORARY", "TEMP"]).is_some()
            || self.words(&["LOCAL", "TEMPORARY"])
            || self.words(&["LOCAL", "TEMP"])
            || self.words(&["GLOBAL", "TEMPORARY"]);
        if or_replace && !["SOURCE", "VIEW", "MATERIALIZED", "FUNCTION"].iter().any(|w| self.at_word(w)) {
            return self.unexpected("SOURCE, VIEW, MATERIALIZED VIEW or FUNCTION");
        }
        let Token::Word(word) = &self.peek().token else { return self.unexpected("an object type") };
        let what = word.value.to_ascii_uppercase();
        match what.as_str() {
            "SCHEMA" => self.create_schema(),
            "SECRET" => self.create_secret(),
            "CONNECTION" => self.create_connection(),
            "SOURCE" => self.create_source(or_replace),
            "TABLE" => self.create_table(temporary),
            "UNLOGGED" => {
                self.expect_word("UNLOGGED")?;
                self.create_table(temporary)
            }
            "VIEW" | "RECURSIVE" => self.create_view(or_replace, temporary),
            "MATERIALIZED" => self.create_materialized_view(or_replace),
            "SINK" => self.create_sink(),
            "INDEX" | "UNIQUE" => self.create_index(),
            "FUNCTION" => self.create_function(or_replace),
            kind if UNSUPPORTED_OBJECTS.contains(&kind) => {
                let name = format!("CREATE {kind}");
                self.skip_statement();
                Ok(StatementKind::Unsupported { name })
            }
            _ => self.unexpected("an object type"),
        }
    }

    fn create_schema(&mut self) -> Parsed<StatementKind> {
        self.expect_word("SCHEMA")?;
        let if_not_exists = self.if_not_exists();
        let name = if self.word("AUTHORIZATION") {
            self.name()?
        } else {
            let name = self.name()?;
            if self.word("AUTHORIZATION") {
                self.name()?;
            }
            name
        };
        Ok(StatementKind::CreateSchema { if_not_exists, name })
    }

    fn create_secret(&mut self) -> Parsed<StatementKind> {
        self.expect_word("SECRET")?;
        let if_not_exists = self.if_not_exists();
        let name = self.object_name()?;
        self.expect_word("AS")?;
        let value = SecretText(self.expect_string()?);
        Ok(StatementKind::CreateSecret { if_not_exists, name, value })
    }

    fn create_connection(&mut self) -> Parsed<StatementKind> {
        self.expect_word("CONNECTION")?;
        let if_not_exists = self.if_not_exists();
        let name = self.object_name()?;
        self.expect_word("WITH")?;
        let with = self.option_list()?;
        Ok(StatementKind::CreateConnection { if_not_exists, name, with })
    }

    fn create_source(&mut self, or_replace: bool) -> Parsed<StatementKind> {
        self.expect_word("SOURCE")?;
        let if_not_exists = self.if_not_exists();
        let name = self.object_name()?;
        let columns = self.column_list(&name.name)?;
        let tail = self.tail()?;
        let (includes, with, format) = (tail.includes, tail.with.unwrap_or_default(), tail.format);
        let source = CreateSource { or_replace, if_not_exists, name, columns, includes, with, format };
        Ok(StatementKind::CreateSource(Box::new(source)))
    }

    fn create_table(&mut self, temporary: bool) -> Parsed<StatementKind> {
        self.expect_word("TABLE")?;
        let if_not_exists = self.if_not_exists();
        let name = self.object_name()?;
        let columns = self.column_list(&name.name)?;
        let mut tail = self.tail()?;
        if self.words(&["ON", "COMMIT"]) {
            self.skip_on_commit()?;
        }
        let query = if self.word("AS") {
            let query = self.query_text()?;
            let _ = self.words(&["WITH", "DATA"]) || self.words(&["WITH", "NO", "DATA"]);
            Some(query)
        } else {
            None
        };
        let columns = if query.is_some() { Columns::default() } else { columns };
        let includes = std::mem::take(&mut tail.includes);
        let (with, format) = (tail.with.unwrap_or_default(), tail.format);
        let table = CreateTable { temporary, if_not_exists, name, columns, query, includes, with, format };
        Ok(StatementKind::CreateTable(Box::new(table)))
    }

    fn skip_on_commit(&mut self) -> Parsed<()> {
        if self.word("DROP") || self.words(&["DELETE", "ROWS"]) || self.words(&["PRESERVE", "ROWS"]) {
            return Ok(());
        }
        self.unexpected("DROP, DELETE ROWS or PRESERVE ROWS")
    }

    fn tail(&mut self) -> Parsed<Tail> {
        let mut tail = Tail::default();
        loop {
            self.includes(&mut tail.includes)?;
            if tail.with.is_none() && self.at_word("WITH") {
                tail.with = self.with_options()?;
            } else if tail.format.is_none() && self.at_word("FORMAT") {
                tail.format = self.format_spec()?;
            } else if !self.at_word("INCLUDE") {
                return Ok(tail);
            }
        }
    }

    fn create_index(&mut self) -> Parsed<StatementKind> {
        let unique = self.word("UNIQUE");
        self.expect_word("INDEX")?;
        let _ = self.word("CONCURRENTLY");
        let if_not_exists = self.if_not_exists();
        let name = if self.at_word("ON") { None } else { Some(self.object_name()?) };
        self.expect_word("ON")?;
        let _ = self.word("ONLY");
        let table = self.object_name()?;
        let method = if self.word("USING") { Some(self.name()?) } else { None };
        self.expect_token(&Token::LParen)?;
        let columns = self.comma_separated(Self::index_column)?;
        self.expect_token(&Token::RParen)?;
        if self.word("INCLUDE") {
            self.name_list()?;
        }
        if self.word("NULLS") {
            let _ = self.word("NOT");
            self.expect_word("DISTINCT")?;
        }
        let with = self.with_options()?.unwrap_or_default();
        let predicate = if self.word("WHERE") { Some(self.expression()?) } else { None };
        let index = CreateIndex { if_not_exists, unique, name, table, method, columns, with, predicate };
        Ok(StatementKind::CreateIndex(Box::new(index)))
    }

    fn index_column(&mut self) -> Parsed<crate::sql::ast::Expr> {
        let expr = self.expression()?;
        let _ = self.one_of(&["ASC", "DESC"]);
        if self.word("NULLS") && self.one_of(&["FIRST", "LAST"]).is_none() {
            return self.unexpected("FIRST or LAST");
        }
        Ok(expr)
    }

    fn create_function(&mut self, or_replace: bool) -> Parsed<StatementKind> {
        self.expect_word("FUNCTION")?;
        let name = self.object_name()?;
        self.expect_token(&Token::LParen)?;
        let mut arguments = Vec::new();
        if !self.token(&Token::RParen) {
            arguments = self.comma_separated(Self::function_argument)?;
            self.expect_token(&Token::RParen)?;
        }
        let mut function = CreateFunction {
            or_replace,
            name,
            arguments,
            returns: None,
            language: "sql".to_string(),
            body: String::new(),
            volatility: None,
            strict: false,
        };
        while self.function_clause(&mut function)? {}
        if function.body.is_empty() {
            return self.refuse("no function body specified", self.position());
        }
        Ok(StatementKind::CreateFunction(Box::new(function)))
    }

    /// Reads one clause after the arguments, if there is one.
    fn function_clause(&mut self, function: &mut CreateFunction) -> Parsed<bool> {
        if self.words(&["RETURNS", "NULL", "ON", "NULL", "INPUT"]) || self.word("STRICT") {
            function.strict = true;
        } else if self.words(&["CALLED", "ON", "NULL", "INPUT"]) {
            function.strict = false;
        } else if self.word("RETURNS") {
            if self.word("SETOF") {
                let hint = "Write RETURNS TABLE (column type, …).";
                return Err(HwError::unsupported("RETURNS SETOF", hint).at(self.position()).into());
            }
            function.returns = Some(self.parser.parse_data_type()?);
        } else if self.word("LANGUAGE") {
            function.language = match self.string()? {
                Some(language) => language.to_lowercase(),
                None => self.name()?,
            };
        } else if let Some(volatility) = self.one_of(&["IMMUTABLE", "STABLE", "VOLATILE"]) {
            function.volatility = Some(volatility.to_lowercase());
        } else if self.word("PARALLEL") {
            self.name()?;
        } else if self.word("AS") {
            function.body = self.expect_string()?;
        } else if self.word("RETURN") {
            function.body = format!("SELECT {}", self.expression_text()?.text);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn function_argument(&mut self) -> Parsed<FunctionArgument> {
        let _ = self.word("IN");
        let typed_only = matches!(
            self.parser.peek_nth_token_ref(1).token,
            Token::Comma | Token::RParen | Token::LParen | Token::LBracket
        ) || self.at_words(&["DOUBLE", "PRECISION"])
            || self.at_words(&["CHARACTER", "VARYING"]);
        let name = if typed_only { None } else { Some(self.name()?) };
        let data_type = self.parser.parse_data_type()?;
        let default =
            if self.word("DEFAULT") || self.token(&Token::Eq) { Some(self.expression()?) } else { None };
        Ok(FunctionArgument { name, data_type, default })
    }
}

/// Kinds of PostgreSQL objects that Headwater does not have.
const UNSUPPORTED_OBJECTS: [&str; 22] = [
    "ACCESS",
    "AGGREGATE",
    "CAST",
    "COLLATION",
    "CONVERSION",
    "DATABASE",
    "DOMAIN",
    "EVENT",
    "EXTENSION",
    "FOREIGN",
    "GROUP",
    "OPERATOR",
    "POLICY",
    "PROCEDURE",
    "PUBLICATION",
    "ROLE",
    "RULE",
    "SEQUENCE",
    "SERVER",
    "TRIGGER",
    "TYPE",
    "USER",
];
