//! Row-wise scalar functions: the values they see and the table of their overloads.
//!
//! A [`Function`] is a PostgreSQL function name with overloads; each overload is a list of
//! argument kinds, a result and a plain Rust function over [`Datum`]s. [`RowFunction`]
//! makes it a DataFusion UDF: arguments are resolved and coerced by PostgreSQL's rules
//! (exact match first, then implicit promotion, then unknown literals), NULL in gives NULL
//! out unless the function is marked `called_on_null`, and a call whose arguments are all
//! constants is evaluated once. Functions whose speed matters have kernels of their own.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::column::{Column, Output};
use super::decimal::Numeric;
use super::zone::Zone;
use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType;

/// One SQL value; texts and bytes borrow from the input arrays where they can.
#[derive(Clone, Debug)]
pub enum Datum<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Num(Numeric),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Days, and microseconds of the day.
    Date(i32),
    Time(i64),
    /// Microseconds after the Unix epoch, with and without zone.
    Ts(i64),
    Tstz(i64),
    Interval(IntervalMonthDayNano),
    /// jsonb.
    Json(Cow<'a, str>),
    /// json, as it was written.
    RawJson(Cow<'a, str>),
    /// The elements of an array.
    List(ArrayRef),
}

impl<'a> Datum<'a> {
    pub fn text(value: impl Into<Cow<'a, str>>) -> Datum<'a> {
        Datum::Text(value.into())
    }
    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }
    pub fn as_str(&self) -> &str {
        match self {
            Datum::Text(s) | Datum::Json(s) | Datum::RawJson(s) => s,
            _ => "",
        }
    }
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Datum::Bytes(b) => b,
            _ => &[],
        }
    }
    pub fn as_i64(&self) -> i64 {
        match self {
            Datum::Int(v) | Datum::Ts(v) | Datum::Tstz(v) | Datum::Time(v) => *v,
            Datum::Date(d) => *d as i64,
            _ => 0,
        }
    }
    pub fn as_f64(&self) -> f64 {
        match self {
            Datum::Float(v) => *v,
            Datum::Int(v) => *v as f64,
            Datum::Num(n) => n.to_f64(),
            _ => 0.0,
        }
    }
    pub fn as_bool(&self) -> bool {
        matches!(self, Datum::Bool(true))
    }
    pub fn as_num(&self) -> Numeric {
        match self {
            Datum::Num(n) => *n,
            Datum::Int(v) => Numeric::new(*v as i128, 0),
            _ => Numeric::new(0, 0),
        }
    }
    pub fn as_interval(&self) -> IntervalMonthDayNano {
        match self {
            Datum::Interval(i) => *i,
            _ => IntervalMonthDayNano::new(0, 0, 0),
        }
    }
}

/// Kinds of arguments and results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Any,
    AnyArray,
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Num,
    Text,
    TextArray,
    Bytea,
    Date,
    Time,
    Ts,
    Tstz,
    Interval,
    Uuid,
    Jsonb,
    /// json.
    RawJson,
}

impl Kind {
    pub fn of(data_type: &DataType) -> Kind {
        match PgType::of_carrier(data_type) {
            PgType::Bool => Kind::Bool,
            PgType::Int2 => Kind::Int2,
            PgType::Int4 => Kind::Int4,
            PgType::Int8 => Kind::Int8,
            PgType::Float4 => Kind::Float4,
            PgType::Float8 => Kind::Float8,
            PgType::Numeric(_) => Kind::Num,
            PgType::Bytea => Kind::Bytea,
            PgType::Date => Kind::Date,
            PgType::Time => Kind::Time,
            PgType::Timestamp => Kind::Ts,
            PgType::Timestamptz => Kind::Tstz,
            PgType::Interval => Kind::Interval,
            PgType::Uuid => Kind::Uuid,
            PgType::Jsonb => Kind::Jsonb,
            PgType::Json => Kind::RawJson,
            PgType::Array(_) => Kind::AnyArray,
            _ => Kind::Text,
        }
    }

    /// The carrier that an argument of `from` is cast to.
    pub fn coerced(self, from: &DataType) -> DataType {
        if self == Kind::Num {
            return match from {
                DataType::Decimal128(p, s) => DataType::Decimal128(*p, *s),
                DataType::Int16 | DataType::Int8 | DataType::UInt8 => DataType::Decimal128(5, 0),
                DataType::Int32 | DataType::UInt16 => DataType::Decimal128(10, 0),
                DataType::Int64 | DataType::UInt32 | DataType::UInt64 => DataType::Decimal128(20, 0),
                _ => PgType::Numeric(None).carrier(),
            };
        }
        match self {
            Kind::Any if from == &DataType::Utf8View => DataType::Utf8,
            Kind::Any | Kind::AnyArray => match from {
                DataType::Null if self == Kind::AnyArray => text_list(),
                other => other.clone(),
            },
            other => other.carrier(),
        }
    }

    pub fn carrier(self) -> DataType {
        match self {
            Kind::Any | Kind::Text => DataType::Utf8,
            Kind::AnyArray | Kind::TextArray => text_list(),
            Kind::Bool => DataType::Boolean,
            Kind::Int2 => DataType::Int16,
            Kind::Int4 => DataType::Int32,
            Kind::Int8 => DataType::Int64,
            Kind::Float4 => DataType::Float32,
            Kind::Float8 => DataType::Float64,
            Kind::Num => PgType::Numeric(None).carrier(),
            Kind::Bytea => DataType::Binary,
            Kind::Date => DataType::Date32,
            Kind::Time => PgType::Time.carrier(),
            Kind::Ts => PgType::Timestamp.carrier(),
            Kind::Tstz => PgType::Timestamptz.carrier(),
            Kind::Interval => PgType::Interval.carrier(),
            Kind::Uuid => DataType::FixedSizeBinary(16),
            Kind::Jsonb => DataType::LargeUtf8,
            Kind::RawJson => DataType::LargeBinary,
        }
    }

    /// Distance of an implicit conversion, PostgreSQL's preferred types first; `None` if
    /// there is none. Text converts to anything because literals of unknown type are text here.
    fn distance(self, from: &DataType) -> Option<u32> {
        use Kind::*;
        if from == &DataType::Null {
            return Some(1);
        }
        let have = Kind::of(from);
        if have == self || (self == TextArray && from == &text_list()) {
            return Some(0);
        }
        Some(match (have, self) {
            (_, Any) => 20,
            (Int2, Int4) | (Int4, Int8) | (Float4, Float8) => 1,
            (Int2, Int8) => 2,
            (Int2 | Int4 | Int8, Float8) => 4,
            (Int2 | Int4 | Int8, Num) => 5,
            (Int2 | Int4 | Int8, Float4) => 7,
            // Whole literals are bigint until the analyzer narrows them; the cast is range-checked.
            (Int8, Int4) | (Int4, Int2) | (Int8, Int2) => 9,
            (Num, Float8) => 5,
            (Num, Float4) => 8,
            (Date, Tstz) => 2,
            (Date, Ts) => 3,
            (Ts, Tstz) => 4,
            (Time, Interval) => 5,
            (AnyArray, TextArray) => 30,
            (Text, TextArray) => 60,
            (Text, AnyArray) => return None,
            (Text, _) => 50,
            _ => return None,
        })
    }
}

fn text_list() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// Result of an overload.
#[derive(Clone, Copy)]
pub enum Ret {
    Is(Kind),
    /// The coerced type of argument `n`.
    Like(usize),
    /// `numeric(p, s)` as carrier.
    Decimal(u8, i8),
    Of(fn(&[DataType]) -> DataType),
}

/// What a function may look at besides its arguments.
pub struct Cx {
    pub zone: Zone,
    pub args: Vec<FieldRef>,
}

pub type Eval = for<'a> fn(&Cx, &[Datum<'a>]) -> Result<Datum<'a>>;

/// Evaluates whole columns at once; the arguments have the overload's types.
pub type Kernel = fn(&[ColumnarValue]) -> DfResult<ColumnarValue>;

/// One signature of a function; the last argument kind repeats if `variadic`.
#[derive(Clone)]
pub struct Overload {
    args: Vec<Kind>,
    variadic: bool,
    ret: Ret,
    eval: Eval,
    kernel: Option<Kernel>,
}

/// A PostgreSQL function: a name and its overloads in order of preference.
#[derive(Clone)]
pub struct Function {
    pub name: &'static str,
    pub aliases: Vec<String>,
    overloads: Vec<Overload>,
    called_on_null: bool,
    volatility: Volatility,
}

impl Function {
    pub fn new(name: &'static str) -> Function {
        Function {
            name,
            aliases: vec![],
            overloads: vec![],
            called_on_null: false,
            volatility: Volatility::Immutable,
        }
    }
    pub fn alias(mut self, name: &str) -> Self {
        self.aliases.push(name.to_string());
        self
    }
    pub fn on(mut self, args: &[Kind], ret: Kind, eval: Eval) -> Self {
        self.overloads.push(Overload {
            args: args.to_vec(),
            variadic: false,
            ret: Ret::Is(ret),
            eval,
            kernel: None,
        });
        self
    }
    pub fn ret(mut self, args: &[Kind], ret: Ret, eval: Eval) -> Self {
        self.overloads.push(Overload { args: args.to_vec(), variadic: false, ret, eval, kernel: None });
        self
    }
    pub fn variadic(mut self, args: &[Kind], ret: Ret, eval: Eval) -> Self {
        self.overloads.push(Overload { args: args.to_vec(), variadic: true, ret, eval, kernel: None });
        self
    }
    /// A faster way, with the same results, to evaluate the overload added last.
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        if let Some(overload) = self.overloads.last_mut() {
            overload.kernel = Some(kernel);
        }
        self
    }
    pub fn called_on_null(mut self) -> Self {
        self.called_on_null = true;
        self
    }
    pub fn stable(mut self) -> Self {
        self.volatility = Volatility::Stable;
        self
    }
    pub fn volatile(mut self) -> Self {
        self.volatility = Volatility::Volatile;
        self
    }

    fn resolve(&self, types: &[DataType]) -> Option<&Overload> {
        let mut best: Option<(u32, &Overload)> = None;
        for o in &self.overloads {
            let fits = if o.variadic { types.len() + 1 >= o.args.len() } else { types.len() == o.args.len() };
            if !fits {
                continue;
            }
            let cost = types.iter().enumerate().try_fold(0, |sum, (i, t)| {
                let kind = o.args.get(i).or(o.args.last()).copied()?;
                Some(sum + kind.distance(t)?)
            });
            if let Some(cost) = cost
                && best.is_none_or(|(c, _)| cost < c)
            {
                best = Some((cost, o));
            }
        }
        best.map(|(_, o)| o)
    }

    fn overload(&self, types: &[DataType]) -> Result<&Overload> {
        self.resolve(types).ok_or_else(|| undefined_function(self.name, types))
    }
}

/// 42883 as PostgreSQL words it.
pub fn undefined_function(name: &str, types: &[DataType]) -> HwError {
    let types: Vec<_> = types.iter().map(type_name).collect();
    HwError::new(
        sqlstate::UNDEFINED_FUNCTION,
        format!("function {name}({}) does not exist", types.join(", ")),
    )
    .with_hint(
        "No function matches the given name and argument types. You might need to add explicit type casts.",
    )
}

/// The name of a type in messages: without modifiers.
pub fn type_name(data_type: &DataType) -> String {
    match PgType::of_carrier(data_type) {
        PgType::Numeric(_) => "numeric".into(),
        _ if data_type == &DataType::Null => "unknown".into(),
        other => other.sql_name(),
    }
}

/// A [`Function`] as a DataFusion UDF.
pub struct RowFunction {
    function: Function,
    signature: Signature,
}

impl RowFunction {
    pub fn new(function: Function) -> RowFunction {
        let signature = Signature::user_defined(function.volatility);
        RowFunction { function, signature }
    }
}

impl std::fmt::Debug for RowFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowFunction({})", self.function.name)
    }
}
impl PartialEq for RowFunction {
    fn eq(&self, other: &Self) -> bool {
        self.function.name == other.function.name
    }
}
impl Eq for RowFunction {}
impl std::hash::Hash for RowFunction {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl ScalarUDFImpl for RowFunction {
    fn name(&self) -> &str {
        self.function.name
    }
    fn aliases(&self) -> &[String] {
        &self.function.aliases
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        // No datum holds a row.
        if types.iter().any(|t| matches!(t, DataType::Struct(_))) && self.name() != "pg_typeof" {
            return Err(DataFusionError::Plan(format!("{}() takes no rows", self.name())));
        }
        let o = self.function.overload(types)?;
        let kind = |i: usize| o.args.get(i).or(o.args.last()).copied().unwrap_or(Kind::Any);
        Ok(types.iter().enumerate().map(|(i, t)| kind(i).coerced(t)).collect())
    }
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(match self.function.overload(types)?.ret {
            Ret::Is(kind) => kind.carrier(),
            Ret::Like(i) => types.get(i).cloned().unwrap_or(DataType::Utf8),
            Ret::Decimal(p, s) => DataType::Decimal128(p, s),
            Ret::Of(f) => f(types),
        })
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let data_type = self.return_type(&types)?;
        let literal = |i: usize| args.scalar_arguments.get(i).copied().flatten();
        Ok(Arc::new(match (self.name(), literal(0), literal(1)) {
            ("extract", Some(ScalarValue::Utf8(Some(unit))), _) => extracted(unit, data_type, &types),
            ("round" | "trunc", _, Some(digits)) => {
                let data_type = rounded_type(data_type, digits);
                Field::new(self.name(), data_type, true)
            }
            _ => numeric_like(self.name(), data_type, args.arg_fields),
        }))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let types: Vec<_> = args.args.iter().map(|a| a.data_type()).collect();
        let overload = self.function.overload(&types)?;
        if let Some(kernel) = overload.kernel {
            return kernel(&args.args);
        }
        let eval = overload.eval;
        let cx = Cx::new(&args.config_options, &args.arg_fields)?;
        let strict = !self.function.called_on_null;
        evaluate_rows(&args.args, args.number_rows, args.return_field.data_type(), |row| {
            if strict && row.iter().any(Datum::is_null) {
                return Ok(Datum::Null);
            }
            eval(&cx, row)
        })
    }
}

/// A field of a time: seconds show their fraction, the others are whole numbers.
fn extracted(unit: &str, data_type: DataType, types: &[DataType]) -> Field {
    let unit = unit.to_ascii_lowercase();
    let of_date = types.last() == Some(&DataType::Date32);
    let field = |data_type| Field::new("extract", data_type, true);
    match unit.as_str() {
        "julian" => with_type(field(DataType::Decimal128(38, 20)), "numeric"),
        "epoch" if !of_date => field(data_type),
        unit if unit.starts_with("sec") => field(data_type),
        unit if unit.starts_with("millisec") || unit.starts_with("msec") => {
            field(DataType::Decimal128(38, 3))
        }
        _ => with_type(field(data_type), "numeric"),
    }
}

/// The scale that a constant number of digits rounds a numeric to.
fn rounded_type(data_type: DataType, digits: &ScalarValue) -> DataType {
    let digits = match digits {
        ScalarValue::Int16(Some(n)) => i64::from(*n),
        ScalarValue::Int32(Some(n)) => i64::from(*n),
        ScalarValue::Int64(Some(n)) => *n,
        _ => return data_type,
    };
    match data_type {
        DataType::Decimal128(_, _) => DataType::Decimal128(38, digits.clamp(0, 20) as i8),
        other => other,
    }
}

impl Cx {
    pub fn new(config: &ConfigOptions, args: &[FieldRef]) -> Result<Cx> {
        Ok(Cx { zone: Zone::of_config(config)?, args: args.to_vec() })
    }
}

/// A result column that is shown as plain `numeric` if one of the numeric arguments is.
pub fn numeric_like(name: &str, data_type: DataType, args: &[FieldRef]) -> Field {
    let plain = matches!(data_type, DataType::Decimal128(_, _))
        && args.iter().any(|f| f.metadata().contains_key(crate::types::pg_type::TYPE_KEY));
    let field = Field::new(name, data_type, true);
    if plain { with_type(field, "numeric") } else { field }
}

/// Marks a column's PostgreSQL type by name.
pub fn with_type(field: Field, typname: &str) -> Field {
    let key = crate::types::pg_type::TYPE_KEY.to_string();
    field.with_metadata([(key, typname.to_string())].into())
}

/// Applies `eval` to every row of `args`; all-constant arguments give a constant.
pub fn evaluate_rows(
    args: &[ColumnarValue],
    rows: usize,
    ret: &DataType,
    mut eval: impl for<'r> FnMut(&[Datum<'r>]) -> Result<Datum<'r>>,
) -> DfResult<ColumnarValue> {
    let constant = args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
    let arrays = args
        .iter()
        .map(|a| match a {
            ColumnarValue::Array(array) => Ok((Arc::clone(array), false)),
            ColumnarValue::Scalar(value) => Ok((value.to_array()?, true)),
        })
        .collect::<DfResult<Vec<_>>>()?;
    let columns: Vec<_> = arrays.iter().map(|(a, c)| (Column::of(a.as_ref()), *c)).collect();
    let count = if constant && !args.is_empty() { 1 } else { rows };
    let mut row = Vec::with_capacity(columns.len());
    let mut out = Output::new(ret, count)?;
    for i in 0..count {
        row.clear();
        row.extend(columns.iter().map(|(c, constant)| c.get(if *constant { 0 } else { i })));
        out.push(eval(&row).map_err(DataFusionError::from)?)?;
    }
    let array = out.finish()?;
    if constant && !args.is_empty() {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
    }
    Ok(ColumnarValue::Array(array))
}
