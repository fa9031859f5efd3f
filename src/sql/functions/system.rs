//! Functions of the session and the server: clock, identity, settings, type names.
//!
//! Their values come from [`SessionVars`] and the statement's time, fixed when the session
//! state is built; `proctime()` marks processing time for the streaming planner.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::column::Column;
use super::datum::{Datum, Function, Kind, Ret, undefined_function};
use super::zone::{MICROS_PER_DAY, Zone};
use crate::error::{HwError, sqlstate};
use crate::types::PgType;

/// Functions whose value is the statement's time.
pub const CLOCK_FUNCTIONS: &[&str] = &[
    "now",
    "current_timestamp",
    "transaction_timestamp",
    "statement_timestamp",
    "clock_timestamp",
    "localtimestamp",
    "current_date",
    "current_time",
    "localtime",
    "proctime",
];

/// What a session says about itself.
#[derive(Debug)]
pub struct SessionVars {
    pub database: String,
    pub user: String,
    pub session_user: String,
    pub search_path: Vec<String>,
    pub backend_pid: i32,
    /// Parameters as `SHOW` prints them, names in lower case. `set_config` writes here; the
    /// session reads the map back after the statement.
    pub settings: Mutex<BTreeMap<String, String>>,
}

impl Default for SessionVars {
    fn default() -> Self {
        SessionVars {
            database: "headwater".into(),
            user: "headwater".into(),
            session_user: "headwater".into(),
            search_path: vec!["public".into()],
            backend_pid: 1,
            settings: Mutex::new(BTreeMap::new()),
        }
    }
}

impl SessionVars {
    fn setting(&self, name: &str) -> Option<String> {
        let settings = self.settings.lock().unwrap_or_else(|e| e.into_inner());
        settings.get(&name.to_lowercase()).cloned()
    }
    fn set(&self, name: &str, value: &str) {
        let mut settings = self.settings.lock().unwrap_or_else(|e| e.into_inner());
        settings.insert(name.to_lowercase(), value.to_string());
    }
}

/// `version()`.
pub fn version_text() -> String {
    format!("PostgreSQL 15.8 (Headwater {}) on {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)
}

/// A function whose value is known when the session state is built.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionConstant {
    name: String,
    value: ScalarValue,
    signature: Signature,
}

impl ScalarUDFImpl for SessionConstant {
    fn name(&self) -> &str {
        &self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.value.data_type())
    }
    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

fn constant(name: &str, value: ScalarValue, volatility: Volatility) -> Arc<ScalarUDF> {
    let signature = Signature::nullary(volatility);
    Arc::new(ScalarUDF::new_from_impl(SessionConstant { name: name.into(), value, signature }))
}

/// `current_setting` and `set_config`.
#[derive(Debug)]
struct Setting {
    name: &'static str,
    vars: Arc<SessionVars>,
    signature: Signature,
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.vars, &other.vars)
    }
}
impl Eq for Setting {}
impl std::hash::Hash for Setting {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Setting {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let fits = if self.name == "set_config" { types.len() == 3 } else { (1..=2).contains(&types.len()) };
        if !fits {
            return Err(undefined_function(self.name, types).into());
        }
        let last = |i: usize| i + 1 == types.len() && i > 0;
        Ok((0..types.len()).map(|i| if last(i) { DataType::Boolean } else { DataType::Utf8 }).collect())
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        super::datum::evaluate_rows(&args.args, args.number_rows, &DataType::Utf8, |row| {
            if row[0].is_null() {
                return Ok(Datum::Null);
            }
            let name = row[0].as_str();
            if self.name == "set_config" {
                self.vars.set(name, row[1].as_str());
                return Ok(Datum::Text(row[1].as_str().to_string().into()));
            }
            match self.vars.setting(name) {
                Some(value) => Ok(Datum::Text(value.into())),
                None if row.get(1).is_some_and(|m| m.as_bool()) => Ok(Datum::Null),
                None => Err(HwError::new(
                    sqlstate::UNDEFINED_OBJECT,
                    format!("unrecognized configuration parameter \"{name}\""),
                )),
            }
        })
    }
}

/// The functions of one session at one time.
pub fn session_functions(now: i64, vars: &Arc<SessionVars>) -> Vec<Arc<ScalarUDF>> {
    use Volatility::{Stable, Volatile};
    let zone = vars.setting("timezone").and_then(|z| Zone::of_setting(&z).ok()).unwrap_or(Zone::UTC);
    let local = zone.to_local(now);
    let text = |s: &str| ScalarValue::Utf8(Some(s.to_string()));
    let tstz = ScalarValue::TimestampMicrosecond(Some(now), Some(crate::types::pg_type::UTC.into()));
    let mut all: Vec<_> =
        ["now", "current_timestamp", "transaction_timestamp", "statement_timestamp", "clock_timestamp"]
            .map(|name| constant(name, tstz.clone(), Stable))
            .into();
    let time = ScalarValue::Time64Microsecond(Some(local.rem_euclid(MICROS_PER_DAY)));
    let date = ScalarValue::Date32(Some(local.div_euclid(MICROS_PER_DAY) as i32));
    let schemas: ArrayRef = Arc::new(StringArray::from(vars.search_path.clone()));
    let schema = vars.search_path.first().map_or("public", |s| s.as_str());
    all.extend([
        constant("proctime", tstz, Volatile),
        constant("localtimestamp", ScalarValue::TimestampMicrosecond(Some(local), None), Stable),
        constant("current_date", date, Stable),
        constant("current_time", time.clone(), Stable),
        constant("localtime", time, Stable),
        constant("current_database", text(&vars.database), Stable),
        constant("current_catalog", text(&vars.database), Stable),
        constant("current_schema", text(schema), Stable),
        constant("current_user", text(&vars.user), Stable),
        constant("current_role", text(&vars.user), Stable),
        constant("user", text(&vars.user), Stable),
        constant("session_user", text(&vars.session_user), Stable),
        constant("pg_backend_pid", ScalarValue::Int32(Some(vars.backend_pid)), Stable),
        constant("version", text(&version_text()), Stable),
    ]);
    all.push(current_schemas(schemas));
    for name in ["current_setting", "set_config"] {
        let volatility = if name == "set_config" { Volatile } else { Stable };
        let setting =
            Setting { name, vars: Arc::clone(vars), signature: Signature::user_defined(volatility) };
        all.push(Arc::new(ScalarUDF::new_from_impl(setting)));
    }
    all
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CurrentSchemas {
    path: Vec<String>,
    signature: Signature,
}

fn current_schemas(path: ArrayRef) -> Arc<ScalarUDF> {
    let column = Column::of(path.as_ref());
    let path = (0..path.len()).map(|i| column.get(i).as_str().to_string()).collect();
    let signature = Signature::exact(vec![DataType::Boolean], Volatility::Stable);
    Arc::new(ScalarUDF::new_from_impl(CurrentSchemas { path, signature }))
}

impl ScalarUDFImpl for CurrentSchemas {
    fn name(&self) -> &str {
        "current_schemas"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(Kind::TextArray.carrier())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        super::datum::evaluate_rows(&args.args, args.number_rows, &Kind::TextArray.carrier(), |row| {
            let implicit = row[0].as_bool().then(|| "pg_catalog".to_string());
            let all: Vec<String> = implicit.into_iter().chain(self.path.iter().cloned()).collect();
            Ok(Datum::List(Arc::new(StringArray::from(all))))
        })
    }
}

/// Functions about types, and NULL counting.
pub fn functions() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("pg_typeof").called_on_null().on(&[Any], Text, |cx, _| {
            Ok(Datum::Text(
                cx.args
                    .first()
                    .map_or("unknown".into(), |f| match PgType::of(f) {
                        PgType::Numeric(_) => "numeric".to_string(),
                        PgType::Varchar(_) => "character varying".to_string(),
                        PgType::Bpchar(_) => "character".to_string(),
                        _ if f.data_type() == &DataType::Null => "unknown".to_string(),
                        other => other.sql_name(),
                    })
                    .into(),
            ))
        }),
        Function::new("format_type").called_on_null().ret(&[Int8, Int4], Ret::Is(Text), |_, a| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            Ok(Datum::Text(format_type(a[0].as_i64(), a[1].as_i64()).into()))
        }),
        Function::new(crate::sql::rules::subqueries::nullable::NULLABLE).called_on_null().volatile().ret(
            &[Any],
            Ret::Like(0),
            |_, a| Ok(a[0].clone()),
        ),
        Function::new("num_nulls").called_on_null().variadic(&[Any], Ret::Is(Int4), |_, a| {
            Ok(Datum::Int(a.iter().filter(|v| v.is_null()).count() as i64))
        }),
        Function::new("num_nonnulls").called_on_null().variadic(&[Any], Ret::Is(Int4), |_, a| {
            Ok(Datum::Int(a.iter().filter(|v| !v.is_null()).count() as i64))
        }),
    ]
}

/// SQL name of a type by oid, with its modifier.
pub fn format_type(oid: i64, typmod: i64) -> String {
    let Some(t) = u32::try_from(oid).ok().and_then(PgType::from_oid) else {
        return "???".into();
    };
    match t {
        PgType::Varchar(_) if typmod >= 4 => format!("character varying({})", typmod - 4),
        PgType::Bpchar(_) if typmod >= 4 => format!("character({})", typmod - 4),
        PgType::Numeric(_) if typmod >= 4 => {
            format!("numeric({},{})", (typmod - 4) >> 16, (typmod - 4) & 0x7ff)
        }
        other => other.sql_name(),
    }
}
