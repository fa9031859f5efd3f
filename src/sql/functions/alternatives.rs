//! `coalesce`, `greatest` and `least` beside quoted literals, which DataFusion would not bring to one type.
//!
//! While a query is planned a literal and a text column look alike; the rewrite of literals
//! (`rules/literals.rs`) casts all arguments to the type in which they meet and refuses the text.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// DataFusion's function, but for the types.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Alternatives {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

/// Puts ours in place of DataFusion's.
pub fn register(state: &mut SessionState) {
    for name in ["coalesce", "greatest", "least"] {
        if let Some(inner) = state.scalar_functions().get(name).cloned() {
            let signature = Signature::variadic_any(Volatility::Immutable);
            super::replace(state, Arc::new(ScalarUDF::new_from_impl(Alternatives { inner, signature })));
        }
    }
}

impl ScalarUDFImpl for Alternatives {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let unknown = |t: &&DataType| matches!(t, DataType::Utf8 | DataType::Null);
        let known: Vec<DataType> = types.iter().filter(|t| !unknown(t)).cloned().collect();
        let types = if known.is_empty() { types } else { &known };
        match types.iter().all(|t| t == &types[0]) {
            true => Ok(types.first().cloned().unwrap_or(DataType::Null)),
            false => Ok(self.inner.coerce_types(types)?.swap_remove(0)),
        }
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().all(|f| f.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }
    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }
    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }
    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }
}
