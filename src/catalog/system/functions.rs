//! The functions of `pg_catalog` that need the state of the catalog.
//!
//! All share one implementation: arguments become [`Cell`]s, a plain function maps a row of
//! them to a cell. They run over catalog rows, at most some thousands, so that is enough.
//! Queries see one state, therefore all are stable.

mod session;
mod state;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int16Array, Int32Array, Int64Array, LargeStringArray,
    ListBuilder, StringArray, StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use datafusion::scalar::ScalarValue;

use super::SystemState;
use super::rows::Cell;
use crate::error::{HwError, Result};
use crate::types::PgType;

/// Computes one value from the arguments of one row.
pub(super) type Evaluate = fn(&SystemState, &[Cell]) -> Result<Cell>;

/// Name, result type, implementation.
pub(super) type Entry = (&'static str, PgType, Evaluate);

/// All catalog functions, bound to a state.
pub fn system_functions(state: Arc<SystemState>) -> Vec<ScalarUDF> {
    let mut entries = state::entries();
    entries.extend(session::entries());
    entries
        .into_iter()
        .map(|(name, returns, evaluate)| {
            ScalarUDF::from(CatalogFunction {
                name,
                returns,
                evaluate,
                signature: any_arguments(),
                state: Arc::clone(&state),
            })
        })
        .collect()
}

fn any_arguments() -> Signature {
    Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], Volatility::Stable)
}

#[derive(Debug)]
struct CatalogFunction {
    name: &'static str,
    returns: PgType,
    evaluate: Evaluate,
    signature: Signature,
    state: Arc<SystemState>,
}

impl PartialEq for CatalogFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.state, &other.state)
    }
}

impl Eq for CatalogFunction {}

impl Hash for CatalogFunction {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.name.hash(hasher);
    }
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.returns.carrier())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Arc::new(self.returns.field(self.name, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args
            .args
            .into_iter()
            .map(|a| cells(&a.into_array(rows)?))
            .collect::<DfResult<Vec<Vec<Cell>>>>()?;
        let mut values = Vec::with_capacity(rows);
        let mut row = Vec::with_capacity(columns.len());
        for r in 0..rows {
            row.clear();
            row.extend(columns.iter().map(|c| c[r].clone()));
            values.push((self.evaluate)(&self.state, &row)?);
        }
        let array = array(&self.returns, &values)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// The values of an argument; types that no catalog function takes become their text.
fn cells(array: &ArrayRef) -> DfResult<Vec<Cell>> {
    let valid = |i: usize, cell: Cell| if array.is_null(i) { Cell::Null } else { cell };
    let rows = 0..array.len();
    Ok(match array.data_type() {
        DataType::Null => rows.map(|_| Cell::Null).collect(),
        DataType::Boolean => {
            let values = array.as_boolean();
            rows.map(|i| valid(i, Cell::Bool(values.value(i)))).collect()
        }
        t if t.is_integer() => {
            let values = cast(array, &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>();
            rows.map(|i| valid(i, Cell::Int(values.value(i)))).collect()
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            rows.map(|i| if list.is_null(i) { Ok(Cell::Null) } else { list_cell(&list.value(i)) })
                .collect::<DfResult<Vec<Cell>>>()?
        }
        _ => {
            let values = cast(array, &DataType::Utf8)?;
            let values = values.as_string::<i32>();
            rows.map(|i| valid(i, Cell::Text(values.value(i).to_string()))).collect()
        }
    })
}

fn list_cell(values: &ArrayRef) -> DfResult<Cell> {
    if values.data_type().is_integer() {
        let values = cast(values, &DataType::Int64)?;
        return Ok(Cell::Ints(values.as_primitive::<Int64Type>().iter().flatten().collect()));
    }
    let values = cast(values, &DataType::Utf8)?;
    Ok(Cell::Texts(values.as_string::<i32>().iter().flatten().map(str::to_string).collect()))
}

/// The results of a function as its declared type.
fn array(returns: &PgType, values: &[Cell]) -> DfResult<ArrayRef> {
    let ints = || values.iter().map(Cell::as_int);
    Ok(match returns.carrier() {
        DataType::Boolean => Arc::new(BooleanArray::from_iter(values.iter().map(|v| match v {
            Cell::Bool(b) => Some(*b),
            _ => None,
        }))),
        DataType::Int16 => Arc::new(Int16Array::from_iter(ints().map(|v| v.map(|v| v as i16)))),
        DataType::Int32 => Arc::new(Int32Array::from_iter(ints().map(|v| v.map(|v| v as i32)))),
        DataType::Int64 => Arc::new(Int64Array::from_iter(ints())),
        DataType::Utf8 => Arc::new(StringArray::from_iter(values.iter().map(Cell::as_text))),
        DataType::LargeUtf8 => Arc::new(LargeStringArray::from_iter(values.iter().map(Cell::as_text))),
        DataType::List(field) if field.data_type() == &DataType::Utf8 => {
            let mut list = ListBuilder::new(StringBuilder::new()).with_field(field);
            for value in values {
                match value {
                    Cell::Texts(items) => {
                        list.values().extend(items.iter().map(Some));
                        list.append(true);
                    }
                    _ => list.append(false),
                }
            }
            Arc::new(list.finish())
        }
        DataType::List(field) => {
            let mut list = ListBuilder::new(arrow::array::Int64Builder::new()).with_field(field);
            for value in values {
                match value {
                    Cell::Ints(items) => {
                        list.values().append_slice(items);
                        list.append(true);
                    }
                    _ => list.append(false),
                }
            }
            Arc::new(list.finish())
        }
        other => return Err(HwError::internal(format!("catalog function of type {other}")).into()),
    })
}

/// The argument as a number: an oid given as such or in digits.
pub(super) fn int(args: &[Cell], i: usize) -> Option<i64> {
    match args.get(i)? {
        Cell::Int(v) => Some(*v),
        Cell::Text(v) => v.trim().parse().ok(),
        _ => None,
    }
}

/// The argument as text.
pub(super) fn text(args: &[Cell], i: usize) -> Option<&str> {
    args.get(i).and_then(Cell::as_text)
}

/// The argument as the oid of a relation, which may also be given by name.
pub(super) fn relation(state: &SystemState, args: &[Cell], i: usize) -> Result<Option<i64>> {
    match args.get(i) {
        Some(Cell::Int(v)) => Ok(Some(*v)),
        Some(Cell::Text(name)) => state.regclass(name).map(|oid| Some(i64::from(oid))),
        _ => Ok(None),
    }
}
