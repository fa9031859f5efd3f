//! Window functions that count rows, with PostgreSQL's result types.
//!
//! DataFusion numbers rows in `UInt64`, which SQL does not have: `row_number`, `rank` and
//! `dense_rank` are bigint, `ntile` is integer.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::function::{ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::window_state::WindowAggState;
use datafusion::logical_expr::{LimitEffect, PartitionEvaluator, Signature, WindowUDF, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;

/// The functions and the types of their results.
const COUNTING: [(&str, DataType); 4] = [
    ("row_number", DataType::Int64),
    ("rank", DataType::Int64),
    ("dense_rank", DataType::Int64),
    ("ntile", DataType::Int32),
];

/// Puts ours in place of DataFusion's.
pub fn register(state: &mut SessionState) {
    use datafusion::execution::FunctionRegistry;
    for (name, output) in COUNTING {
        if let Some(inner) = state.window_functions().get(name).cloned() {
            let counting = Counting { inner, output };
            let _ = state.register_udwf(Arc::new(WindowUDF::new_from_impl(counting)));
        }
    }
}

/// A window function whose result is cast.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Counting {
    inner: Arc<WindowUDF>,
    output: DataType,
}

impl WindowUDFImpl for Counting {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }
    fn expressions(&self, args: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        self.inner.expressions(args)
    }
    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> DfResult<Box<dyn PartitionEvaluator>> {
        let inner = self.inner.partition_evaluator_factory(args)?;
        Ok(Box::new(CountingEvaluator { inner, output: self.output.clone() }))
    }
    fn field(&self, args: WindowUDFFieldArgs) -> DfResult<FieldRef> {
        let field = self.inner.field(args)?;
        Ok(Arc::new(Field::new(field.name(), self.output.clone(), field.is_nullable())))
    }
    fn sort_options(&self) -> Option<SortOptions> {
        self.inner.sort_options()
    }
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.inner.coerce_types(types)
    }
    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        self.inner.inner().limit_effect(args)
    }
}

#[derive(Debug)]
struct CountingEvaluator {
    inner: Box<dyn PartitionEvaluator>,
    output: DataType,
}

impl PartitionEvaluator for CountingEvaluator {
    fn memoize(&mut self, state: &mut WindowAggState) -> DfResult<()> {
        self.inner.memoize(state)
    }
    fn get_range(&self, row: usize, rows: usize) -> DfResult<Range<usize>> {
        self.inner.get_range(row, rows)
    }
    fn is_causal(&self) -> bool {
        self.inner.is_causal()
    }
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> DfResult<ArrayRef> {
        Ok(cast(&self.inner.evaluate_all(values, rows)?, &self.output)?)
    }
    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> DfResult<ScalarValue> {
        self.inner.evaluate(values, range)?.cast_to(&self.output)
    }
    fn evaluate_all_with_rank(&self, rows: usize, ranks: &[Range<usize>]) -> DfResult<ArrayRef> {
        Ok(cast(&self.inner.evaluate_all_with_rank(rows, ranks)?, &self.output)?)
    }
    fn supports_bounded_execution(&self) -> bool {
        self.inner.supports_bounded_execution()
    }
    fn uses_window_frame(&self) -> bool {
        self.inner.uses_window_frame()
    }
    fn include_rank(&self) -> bool {
        self.inner.include_rank()
    }
}
