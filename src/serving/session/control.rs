//! Statements about the session itself: SET, RESET, PREPARE, EXECUTE, DEALLOCATE, DISCARD.

use std::sync::Arc;

use sqlparser::ast::{DataType, Expr};

use super::results::command;
use super::transaction::{BlockKind, warning};
use super::{PreparedStatement, Session, parsed};
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::Outcome;
use crate::sql::Statement;
use crate::sql::ast::{DiscardTarget, SetScope, SettingValue};
use crate::sql::types::pg_type;

impl Session {
    pub(super) fn set(&mut self, scope: SetScope, name: &str, value: &SettingValue) -> Result<Outcome> {
        let local = scope == SetScope::Local;
        if local && self.transaction.kind() != BlockKind::Explicit {
            let text = "SET LOCAL can only be used in transaction blocks";
            self.notice(warning(sqlstate::NO_ACTIVE_TRANSACTION, text));
            return Ok(command("SET"));
        }
        match value {
            SettingValue::Default => self.settings.reset(name)?,
            SettingValue::Values(items) => {
                let is_list = matches!(name, "search_path" | "datestyle");
                let item = |text: &str, bare: bool| match is_list && name == "search_path" && !bare {
                    true => crate::catalog::quote_identifier(text),
                    false => text.to_string(),
                };
                if items.len() > 1 && !is_list {
                    let text = format!("SET {name} takes only one argument");
                    return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, text));
                }
                let texts: Vec<String> = items.iter().map(|i| item(&i.text, false)).collect();
                self.settings.set(name, &texts.join(", "), local)?;
            }
        }
        Ok(command("SET"))
    }

    pub(super) fn reset(&mut self, name: Option<&str>) -> Result<Outcome> {
        match name {
            Some(name) => self.settings.reset(name)?,
            None => self.settings.reset_all(),
        }
        Ok(command("RESET"))
    }

    pub(super) async fn prepare(
        &mut self,
        name: &str,
        types: &[DataType],
        statement: &Statement,
        submitted: &Arc<str>,
    ) -> Result<Outcome> {
        if self.prepared.contains_key(name) {
            let text = format!("prepared statement \"{name}\" already exists");
            return Err(HwError::new(sqlstate::DUPLICATE_PREPARED_STATEMENT, text));
        }
        let declared = types.iter().map(|t| pg_type(t).map(Some)).collect::<Result<Vec<_>>>()?;
        let parsed = parsed(statement.clone(), submitted);
        let description = self.describe_statement(Self::body(&parsed)?, &declared).await?;
        let prepared = PreparedStatement { parsed, parameters: description.parameters };
        self.prepared.insert(name.to_string(), prepared);
        Ok(command("PREPARE"))
    }

    pub(super) async fn execute_prepared(&mut self, name: &str, arguments: &[Expr]) -> Result<Outcome> {
        let Some(prepared) = self.prepared.get(name) else { return Err(no_statement(name)) };
        let (parsed, types) = (prepared.parsed.clone(), prepared.parameters.clone());
        if types.len() != arguments.len() {
            let text = format!("wrong number of parameters for prepared statement \"{name}\"");
            let detail = format!("Expected {} parameters but got {}.", types.len(), arguments.len());
            return Err(HwError::new(sqlstate::SYNTAX_ERROR, text).with_detail(detail));
        }
        let mut values = Vec::with_capacity(arguments.len());
        for (argument, ty) in arguments.iter().zip(&types) {
            values.push(self.constant(argument, ty).await?);
        }
        let body = Self::body(&parsed)?;
        let bound = super::bind::substitute(&body.statement, &values, &types)?;
        self.run(&bound, &body.submitted).await
    }

    pub(super) fn deallocate(&mut self, name: Option<&str>) -> Result<Outcome> {
        match name {
            None => {
                self.prepared.clear();
                Ok(command("DEALLOCATE ALL"))
            }
            Some(name) => match self.prepared.remove(name) {
                Some(_) => Ok(command("DEALLOCATE")),
                None => Err(no_statement(name)),
            },
        }
    }

    pub(super) fn discard(&mut self, target: DiscardTarget) -> Result<Outcome> {
        Ok(command(match target {
            DiscardTarget::All => {
                if self.transaction.kind() == BlockKind::Explicit {
                    let text = "DISCARD ALL cannot run inside a transaction block";
                    return Err(HwError::new(sqlstate::ACTIVE_TRANSACTION, text));
                }
                self.settings.reset_all();
                self.prepared.clear();
                self.cursors.clear();
                "DISCARD ALL"
            }
            DiscardTarget::Plans => "DISCARD PLANS",
            DiscardTarget::Sequences => "DISCARD SEQUENCES",
            DiscardTarget::Temp => "DISCARD TEMP",
        }))
    }
}

fn no_statement(name: &str) -> HwError {
    let text = format!("prepared statement \"{name}\" does not exist");
    HwError::new(sqlstate::INVALID_STATEMENT_NAME, text)
}
