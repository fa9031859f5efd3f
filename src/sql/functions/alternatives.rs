//! `coalesce`, `greatest` and `least` of values beside quoted literals, which DataFusion would not
//! bring to one type. What is no literal has been checked before (`sql/rules/literals`).

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// DataFusion's function, but for the types.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Alternatives {
    inner: Arc<ScalarUDF>,
}

/// Puts ours in place of DataFusion's.
pub fn register(state: &mut SessionState) {
    for name in ["coalesce", "greatest", "least"] {
        if let Some(inner) = state.scalar_functions().get(name).cloned() {
            super::replace(state, Arc::new(ScalarUDF::new_from_impl(Alternatives { inner })));
        }
    }
}

impl ScalarUDFImpl for Alternatives {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let literal = |t: &&DataType| matches!(t, DataType::Utf8 | DataType::Null);
        let mut typed = types.iter().filter(|t| !literal(t));
        let Some(to) = typed.next() else { return self.inner.coerce_types(types) };
        let quoted = types.iter().any(|t| t == &DataType::Utf8);
        match quoted && !to.is_numeric() && typed.all(|t| t == to) {
            true => Ok(vec![to.clone(); types.len()]),
            false => self.inner.coerce_types(types),
        }
    }
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(types)
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(args)
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
