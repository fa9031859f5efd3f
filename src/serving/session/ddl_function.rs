//! CREATE FUNCTION … LANGUAGE SQL: stored as text, put in place of its calls.
//!
//! The body is planned once with NULL arguments, so a function that cannot run is refused
//! when it is created; what it reads becomes what it depends on.

use std::sync::Arc;

use sqlparser::ast::DataType;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::Session;
use super::evaluate::qualified;
use super::results::command;
use crate::catalog::system::FunctionInfo;
use crate::catalog::{Definition, Details, FunctionDetails, FunctionParameter, Kind};
use crate::engine::database::Database;
use crate::engine::planning::{Leaves, Scope};
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::Outcome;
use crate::sql::ast::CreateFunction;
use crate::sql::inline::{Returns, SqlFunction, inline_functions};
use crate::sql::types::pg_type;
use crate::types::PgType;

impl Session {
    pub(super) async fn create_function(&mut self, create: &CreateFunction) -> Result<Outcome> {
        let details = details(create)?;
        let replaced = self.replaced_function(create)?;
        let schema = self.creation_schema(&create.name)?;
        let name = create.name.name.clone();
        let pin = Arc::new(self.database.engine.pin());
        let scope = Scope::new(Arc::clone(&self.database), Leaves::Snapshot(pin), self.context());
        let state = scope.session_state(Default::default())?;
        if state.scalar_functions().contains_key(&name) || state.aggregate_functions().contains_key(&name) {
            return Err(HwError::new(
                sqlstate::DUPLICATE_FUNCTION,
                format!("function \"{name}\" is built in"),
            )
            .with_hint("Choose another name."));
        }
        let function = function(&name, &details);
        refuse_recursion(&function, &schema)?;
        let call = example(&function);
        let query = crate::engine::definitions::parse_query(&call)?;
        let lookup = |given: Option<&str>, called: &str| {
            (called == name && given.is_none_or(|s| s == schema)).then(|| function.clone())
        };
        let query = inline_functions(&query, &lookup)?.unwrap_or(query);
        let planned = self.limited(scope.plan(&query, None)).await;
        let planned = planned.map_err(|e| e.with_detail(format!("In the body of function \"{name}\".")))?;
        super::query::Ready { state: planned.state, plan: planned.plan, names: planned.names }.optimize()?;
        let mut new = self.definition(&create.name, Details::Function(details))?;
        new.depends_on = scope.named_objects();
        if let Some(old) = replaced {
            self.database.drop_objects(&[old], false).await?;
        }
        self.create(new).await?;
        Ok(command("CREATE FUNCTION"))
    }

    /// The function that OR REPLACE takes the place of.
    fn replaced_function(&self, create: &CreateFunction) -> Result<Option<u64>> {
        let catalog = self.database.catalog();
        let mut name = qualified(&create.name);
        name.schema = Some(self.creation_schema(&create.name)?);
        let Some(old) = catalog.lookup_kind(Kind::Function, &name, &[]) else { return Ok(None) };
        if !create.or_replace {
            let text = format!("function \"{}\" already exists", create.name.name);
            return Err(HwError::new(sqlstate::DUPLICATE_FUNCTION, text)
                .with_hint("There is one function of a name. Use CREATE OR REPLACE FUNCTION."));
        }
        if let Some(dependent) = catalog.dependents(old.id).next() {
            let text = format!("cannot replace function {} because other objects depend on it", old.name);
            return Err(HwError::new(sqlstate::DEPENDENT_OBJECTS, text)
                .with_detail(format!("{} depends on {}", dependent.describe(), old.describe()))
                .with_hint("Drop the dependent objects first."));
        }
        Ok(Some(old.id))
    }
}

/// Calls become the text of the body, which would have no end if it called its own function.
fn refuse_recursion(function: &SqlFunction, schema: &str) -> Result<()> {
    let text = function.body.trim().trim_end_matches(';');
    let Ok(body) = crate::engine::definitions::parse_query(text) else { return Ok(()) };
    let found = std::cell::Cell::new(false);
    let calls = |given: Option<&str>, called: &str| {
        if called == function.name && given.is_none_or(|s| s == schema) {
            found.set(true);
        }
        None
    };
    inline_functions(&body, &calls)?;
    match found.get() {
        true => Err(HwError::unsupported(
            "a function that calls itself",
            "Write a query WITH RECURSIVE in the body.",
        )),
        false => Ok(()),
    }
}

/// The functions as `pg_proc` lists them.
pub(super) fn infos(database: &Database) -> Vec<FunctionInfo> {
    let catalog = database.catalog();
    let info = |d: &Arc<Definition>| {
        let Details::Function(f) = &d.details else { return None };
        let named_type = |text: &str| parse_type(text).unwrap_or(PgType::Record);
        Some(FunctionInfo {
            oid: d.oid,
            schema: d.schema.clone(),
            name: d.name.clone(),
            arguments: (f.parameters.iter())
                .map(|p| (p.name.clone().unwrap_or_default(), named_type(&p.type_name)))
                .collect(),
            result: named_type(&f.returns),
            body: f.body.clone(),
        })
    };
    catalog.of_kind(Kind::Function).filter_map(info).collect()
}

fn parse_type(text: &str) -> Option<PgType> {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).ok()?.parse_data_type().ok()?;
    pg_type(&parsed).ok()
}

fn details(create: &CreateFunction) -> Result<FunctionDetails> {
    if create.language != "sql" {
        let text = format!("functions in the language {}", create.language);
        return Err(HwError::unsupported(text, "Write LANGUAGE SQL."));
    }
    let wrong = |m: &str| HwError::new(sqlstate::INVALID_FUNCTION_DEFINITION, m);
    if create.arguments.iter().any(|a| a.default.is_some()) {
        return Err(HwError::unsupported(
            "a default of a function's argument",
            "Pass the value in the call.",
        ));
    }
    let mut parameters = Vec::new();
    for argument in &create.arguments {
        pg_type(&argument.data_type)?;
        let type_name = argument.data_type.to_string();
        parameters.push(FunctionParameter { name: argument.name.clone(), type_name });
    }
    let returns = create.returns.as_ref().ok_or_else(|| wrong("function result type must be specified"))?;
    let mut table = Vec::new();
    match returns {
        DataType::Table(columns) => {
            for column in columns.iter().flatten() {
                pg_type(&column.data_type)?;
                let name = match column.name.quote_style {
                    Some(_) => column.name.value.clone(),
                    None => column.name.value.to_lowercase(),
                };
                table.push(FunctionParameter { name: Some(name), type_name: column.data_type.to_string() });
            }
            if create.strict {
                let hint = "Leave STRICT out; a condition on the argument does the same.";
                return Err(HwError::unsupported("STRICT for a function that returns a table", hint));
            }
        }
        scalar => drop(pg_type(scalar)?),
    }
    Ok(FunctionDetails {
        parameters,
        returns: returns.to_string(),
        table,
        language: create.language.clone(),
        body: create.body.trim().trim_end_matches(';').to_string(),
        volatility: create.volatility.clone(),
        strict: create.strict,
    })
}

fn function(name: &str, details: &FunctionDetails) -> SqlFunction {
    let named = |p: &FunctionParameter| (p.name.clone(), p.type_name.clone());
    let columns = details.table.iter().map(|c| (c.name.clone().unwrap_or_default(), c.type_name.clone()));
    SqlFunction {
        name: name.to_string(),
        parameters: details.parameters.iter().map(named).collect(),
        returns: match details.table.is_empty() {
            true => Returns::Scalar(details.returns.clone()),
            false => Returns::Table(columns.collect()),
        },
        body: details.body.clone(),
        strict: details.strict,
    }
}

/// A call with NULLs.
fn example(function: &SqlFunction) -> String {
    let nulls: Vec<&str> = function.parameters.iter().map(|_| "NULL").collect();
    let call = format!("{}({})", crate::catalog::quote_identifier(&function.name), nulls.join(", "));
    match function.returns {
        Returns::Scalar(_) => format!("SELECT {call}"),
        Returns::Table(_) => format!("SELECT * FROM {call}"),
    }
}
