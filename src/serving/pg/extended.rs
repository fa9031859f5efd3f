//! The extended protocol: prepared statements and portals.
//!
//! A prepared statement is parsed and described once, at Parse; Bind only decodes parameters
//! and Execute only runs. A portal that was suspended by a row limit keeps its row stream and
//! goes on with it. Portals end with their transaction.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::ScalarValue;
use pgwire::messages::PgWireBackendMessage as Backend;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended,
    TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};

use super::api::{CommandKind, Description, Outcome, ParsedStatement};
use super::connection::{Connection, located};
use super::rows::{self, Formats};
use super::run::{Failure, RowSource, Sent, guard};
use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType;
use crate::types::text::{TextOptions, parse_binary, parse_text};

/// A statement that was parsed and described.
struct Prepared {
    /// `None` for an empty query.
    statement: Option<ParsedStatement>,
    description: Description,
}

impl Prepared {
    fn kind(&self) -> CommandKind {
        self.statement.as_ref().map_or(CommandKind::TransactionEnd, |statement| statement.kind)
    }
}

/// A statement with parameters.
struct Portal {
    prepared: Arc<Prepared>,
    formats: Formats,
    state: PortalState,
}

enum PortalState {
    Bound(Vec<ScalarValue>),
    Suspended(RowSource),
    /// All rows were sent; running it again gives none.
    Exhausted(String),
    /// A command without rows, which cannot be run again.
    Done,
}

/// Prepared statements and portals of a connection by name; the empty name is the unnamed one.
#[derive(Default)]
pub struct Store {
    statements: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Portal>,
}

impl Store {
    pub fn close_portals(&mut self) {
        self.portals.clear();
    }

    /// A simple query ends the unnamed statement and portal.
    pub fn close_unnamed(&mut self) {
        self.statements.remove("");
        self.portals.remove("");
    }

    fn statement(&self, name: &str) -> Result<&Arc<Prepared>> {
        self.statements.get(name).ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_string(),
                _ => format!("prepared statement \"{name}\" does not exist"),
            };
            HwError::new(sqlstate::INVALID_STATEMENT_NAME, message)
        })
    }

    fn no_portal(name: &str) -> HwError {
        HwError::new(sqlstate::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
    }
}

fn violation(message: String) -> HwError {
    HwError::new(sqlstate::PROTOCOL_VIOLATION, message)
}

impl Connection {
    pub(super) async fn parse(&mut self, message: Parse) -> Result<(), Failure> {
        let name = message.name.unwrap_or_default();
        if name.is_empty() {
            self.store.statements.remove("");
        } else if self.store.statements.contains_key(&name) {
            let text = format!("prepared statement \"{name}\" already exists");
            return Err(HwError::new(sqlstate::DUPLICATE_PREPARED_STATEMENT, text).into());
        }
        if self.store.statements.len() >= self.limits.prepared_statements_max {
            return Err(HwError::new(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, "too many prepared statements")
                .with_hint("Close statements that are no longer needed.")
                .into());
        }
        let mut statements = guard(|| self.session.parse(&message.query))?;
        if statements.len() > 1 {
            let text = "cannot insert multiple commands into a prepared statement";
            return Err(HwError::new(sqlstate::SYNTAX_ERROR, text).into());
        }
        let statement = statements.pop();
        let description = match &statement {
            None => Description::default(),
            Some(statement) => {
                self.check_transaction(statement.kind)?;
                let types = declared_types(&message.type_oids)?;
                self.link.cancel.clear();
                let described = self.link.watch(self.session.describe(statement, &types)).await;
                described.map_err(|failure| located(failure, statement))?
            }
        };
        self.link.push_notices(self.session.take_notices())?;
        self.store.statements.insert(name, Arc::new(Prepared { statement, description }));
        Ok(self.link.writer.push(Backend::ParseComplete(ParseComplete::new()))?)
    }

    pub(super) fn bind(&mut self, message: Bind) -> Result<(), Failure> {
        let prepared =
            Arc::clone(self.store.statement(message.statement_name.as_deref().unwrap_or_default())?);
        self.check_transaction(prepared.kind())?;
        let portal_name = message.portal_name.unwrap_or_default();
        if !portal_name.is_empty() && self.store.portals.contains_key(&portal_name) {
            let text = format!("cursor \"{portal_name}\" already exists");
            return Err(HwError::new(sqlstate::DUPLICATE_CURSOR, text).into());
        }
        if self.store.portals.len() >= self.limits.portals_max {
            return Err(HwError::new(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, "too many open portals")
                .with_hint("Close portals that are no longer needed.")
                .into());
        }
        let wanted = &prepared.description.parameters;
        let given = message.parameters.len();
        if given != wanted.len() {
            let statement = message.statement_name.unwrap_or_default();
            return Err(violation(format!(
                "bind message supplies {given} parameters, but prepared statement \"{statement}\" requires {}",
                wanted.len()
            ))
            .into());
        }
        let options = self.session.text_options();
        let values =
            parameter_values(&message.parameters, &message.parameter_format_codes, wanted, &options)?;
        let columns = prepared.description.rows.as_ref().map(|schema| schema.fields().len());
        let codes = message.result_column_format_codes;
        if let Some(columns) = columns.filter(|columns| codes.len() > 1 && codes.len() != *columns) {
            let text =
                format!("bind message has {} result formats but query has {columns} columns", codes.len());
            return Err(violation(text).into());
        }
        codes.iter().try_for_each(|code| is_binary(*code).map(drop))?;
        let formats = Formats::new(codes);
        self.store
            .portals
            .insert(portal_name, Portal { prepared, formats, state: PortalState::Bound(values) });
        Ok(self.link.writer.push(Backend::BindComplete(BindComplete::new()))?)
    }

    pub(super) fn describe(&mut self, message: Describe) -> Result<(), Failure> {
        let name = message.name.unwrap_or_default();
        let text_formats = Formats::default();
        // A cursor made by DECLARE is a portal of its name, as in PostgreSQL.
        if message.target_type == TARGET_TYPE_BYTE_PORTAL
            && !self.store.portals.contains_key(&name)
            && let Some(schema) = self.session.cursor_columns(&name)
        {
            self.check_transaction(CommandKind::Other)?;
            return Ok(self.link.writer.push(rows::describe(&schema, &text_formats))?);
        }
        let (prepared, formats) = match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => (self.store.statement(&name)?, &text_formats),
            TARGET_TYPE_BYTE_PORTAL => {
                let portal = self.store.portals.get(&name).ok_or_else(|| Store::no_portal(&name))?;
                (&portal.prepared, &portal.formats)
            }
            other => return Err(violation(format!("invalid DESCRIBE message subtype {other}")).into()),
        };
        if prepared.description.rows.is_some() {
            self.check_transaction(prepared.kind())?;
        }
        if message.target_type == TARGET_TYPE_BYTE_STATEMENT {
            let oids = prepared.description.parameters.iter().map(PgType::oid).collect();
            let described = Backend::ParameterDescription(ParameterDescription::new(oids));
            self.link.writer.push(described)?;
        }
        Ok(self.link.writer.push(match &prepared.description.rows {
            Some(schema) => rows::describe(schema, formats),
            None => Backend::NoData(NoData::new()),
        })?)
    }

    pub(super) async fn execute(&mut self, message: Execute) -> Result<(), Failure> {
        let name = message.name.unwrap_or_default();
        // A portal that fails is gone; the transaction it belongs to is, too.
        let mut portal = self.store.portals.remove(&name).ok_or_else(|| Store::no_portal(&name))?;
        let prepared = Arc::clone(&portal.prepared);
        let Some(statement) = &prepared.statement else {
            self.store.portals.insert(name, portal);
            return Ok(self.link.writer.push(Backend::EmptyQueryResponse(EmptyQueryResponse::new()))?);
        };
        self.check_transaction(statement.kind)?;
        if !self.link.reader.sync_is_next() {
            self.begin_implicit_transaction();
        }
        self.link.cancel.clear();
        let limit = usize::try_from(message.max_rows).ok().filter(|rows| *rows > 0).unwrap_or(usize::MAX);
        let run = self.run_portal(&name, &mut portal, statement, limit).await;
        run.map_err(|failure| located(failure, statement))?;
        self.store.portals.insert(name, portal);
        Ok(())
    }

    async fn run_portal(
        &mut self,
        name: &str,
        portal: &mut Portal,
        statement: &ParsedStatement,
        limit: usize,
    ) -> Result<(), Failure> {
        let mut source = match std::mem::replace(&mut portal.state, PortalState::Done) {
            PortalState::Suspended(source) => source,
            PortalState::Bound(values) => {
                let outcome = self.link.watch(self.session.execute(statement, values)).await?;
                self.link.push_notices(self.session.take_notices())?;
                let (schema, stream, tag) = match outcome {
                    Outcome::Rows { schema, stream, tag } => (schema, stream, tag),
                    Outcome::CopyOut { .. } | Outcome::CopyIn { .. } => {
                        let hint = "Send it as a simple query.";
                        return Err(HwError::unsupported("COPY in the extended query protocol", hint).into());
                    }
                    other => return Ok(self.complete(other)?),
                };
                let described = portal.prepared.description.rows.as_ref();
                if !described.is_some_and(|described| rows::same_columns(described, &schema)) {
                    let text = "cached plan must not change result type";
                    return Err(HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, text).into());
                }
                RowSource::new(stream, schema, tag, portal.formats.clone(), self.session.text_options())
            }
            PortalState::Exhausted(tag) => {
                portal.state = PortalState::Exhausted(tag.clone());
                return Ok(self.link.writer.push(Backend::CommandComplete(CommandComplete::new(tag)))?);
            }
            PortalState::Done => {
                let text = format!("portal \"{name}\" cannot be run");
                return Err(HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, text).into());
            }
        };
        match source.send(limit, &mut self.link).await? {
            Sent::Complete(tag) => {
                self.link.push_notices(self.session.take_notices())?;
                self.link.writer.push(Backend::CommandComplete(CommandComplete::new(tag)))?;
                portal.state = PortalState::Exhausted(source.tag(0));
            }
            Sent::Suspended => {
                self.link.writer.push(Backend::PortalSuspended(PortalSuspended::new()))?;
                portal.state = PortalState::Suspended(source);
            }
        }
        Ok(())
    }

    /// Closing what does not exist is no error.
    pub(super) fn close(&mut self, message: Close) -> Result<(), Failure> {
        let name = message.name.unwrap_or_default();
        match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => drop(self.store.statements.remove(&name)),
            TARGET_TYPE_BYTE_PORTAL => drop(self.store.portals.remove(&name)),
            other => return Err(violation(format!("invalid CLOSE message subtype {other}")).into()),
        }
        Ok(self.link.writer.push(Backend::CloseComplete(CloseComplete::new()))?)
    }
}

/// Types that the client declared; 0 and `unknown` leave it to the server.
fn declared_types(oids: &[u32]) -> Result<Vec<Option<PgType>>> {
    let known = |oid: &u32| match *oid {
        0 | 705 => Ok(None),
        oid => PgType::from_oid(oid).map(Some).ok_or_else(|| {
            HwError::new(sqlstate::UNDEFINED_OBJECT, format!("type with OID {oid} does not exist"))
        }),
    };
    oids.iter().map(known).collect()
}

fn is_binary(code: i16) -> Result<bool> {
    match code {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, format!("unsupported format code: {code}"))),
    }
}

fn parameter_values(
    parameters: &[Option<Bytes>],
    codes: &[i16],
    types: &[PgType],
    options: &TextOptions,
) -> Result<Vec<ScalarValue>> {
    if codes.len() > 1 && codes.len() != parameters.len() {
        return Err(violation(format!(
            "bind message has {} parameter formats but {} parameters",
            codes.len(),
            parameters.len()
        )));
    }
    let decode = |(index, (bytes, ty)): (usize, (&Option<Bytes>, &PgType))| {
        let code = if codes.len() == 1 { codes.first() } else { codes.get(index) };
        let binary = is_binary(code.copied().unwrap_or(0))?;
        match bytes {
            None => ScalarValue::try_new_null(&ty.carrier()).map_err(|e| HwError::internal(e.to_string())),
            Some(bytes) if binary => parse_binary(bytes, ty, options),
            Some(bytes) => parse_text(utf8(bytes)?, ty, options),
        }
    };
    parameters.iter().zip(types).enumerate().map(decode).collect()
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| {
        let bad = bytes.get(e.valid_up_to()).copied().unwrap_or(0);
        HwError::new(
            sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": 0x{bad:02x}"),
        )
    })
}
