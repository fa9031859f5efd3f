//! The calls by which the binder marks joins with versions, see `plan/temporal.rs`, and the parser
//! the frames that leave rows out, see `sql/rules/frames.rs`.
//!
//! A view's planner takes them out. Run ad hoc, a look-up finds what is there now, which is
//! the plain join: its call is the condition itself. The others need the history of the
//! right side, which only a view follows.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::HwError;
use crate::plan::temporal::{AS_OF, LOOKUP, VERSION_AT};
use crate::sql::rules::frames::FRAME_EXCLUDES;

/// One marking call.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    name: &'static str,
    signature: Signature,
}

pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let marker = |name| Marker { name, signature: Signature::variadic_any(Volatility::Immutable) };
    [LOOKUP, VERSION_AT, AS_OF, FRAME_EXCLUDES]
        .map(|name| Arc::new(ScalarUDF::new_from_impl(marker(name))))
        .into()
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match (self.name, args.args.pop()) {
            (LOOKUP, Some(condition)) => Ok(condition),
            (FRAME_EXCLUDES, _) => Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))),
            _ => Err(HwError::unsupported(
                "a join with past versions outside a materialized view",
                "Create a materialized view with the join and read the view.",
            )
            .into()),
        }
    }
}
