//! A window function whose frame leaves out rows around the current one (`EXCLUDE`), or whose
//! aggregate cannot take back the rows that a moving frame loses, or has an order of its own.
//!
//! [`FrameCall`] stands for such a call in plans, of queries and of views. For each row it cuts
//! the frame into the pieces that are left and computes the function from them anew, as
//! PostgreSQL does; rows with the same pieces share the result. FILTER is its last argument, as
//! DataFusion knows it of aggregates only.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    AggregateUDF, LimitEffect, PartitionEvaluator, Signature, Volatility, WindowFunctionDefinition,
    WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

/// Name of the column of row numbers.
const ROW: &str = "row";

/// What a frame leaves out around the current row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Excluded {
    Nothing,
    CurrentRow,
    /// The current row and its peers.
    Group,
    /// Its peers only.
    Ties,
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Excluded::Nothing => "no others",
            Excluded::CurrentRow => "current row",
            Excluded::Group => "group",
            Excluded::Ties => "ties",
        })
    }
}

/// The call, in place of its function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct FrameCall {
    function: WindowFunctionDefinition,
    pub excluded: Excluded,
    pub distinct: bool,
    /// The last argument is the condition of FILTER.
    pub filtered: bool,
    signature: Signature,
}

impl FrameCall {
    pub fn definition(
        function: WindowFunctionDefinition,
        excluded: Excluded,
        distinct: bool,
        filtered: bool,
    ) -> WindowFunctionDefinition {
        let signature = Signature::user_defined(Volatility::Immutable);
        let call = FrameCall { function, excluded, distinct, filtered, signature };
        WindowFunctionDefinition::WindowUDF(Arc::new(WindowUDF::new_from_impl(call)))
    }

    /// The call that `function` stands for, if it is one.
    pub fn of(function: &WindowFunctionDefinition) -> Option<&FrameCall> {
        match function {
            WindowFunctionDefinition::WindowUDF(f) => f.inner().downcast_ref::<FrameCall>(),
            WindowFunctionDefinition::AggregateUDF(_) => None,
        }
    }

    fn values<'a, T>(&self, args: &'a [T]) -> &'a [T] {
        &args[..args.len() - self.filtered as usize]
    }
}

/// Whether an aggregate gives its value of a window frame by itself: it does not look at the order
/// of the rows, which is that of the window, and takes rows back if the frame moves.
pub fn follows_frame(
    aggregate: &Arc<AggregateUDF>,
    args: &[Arc<dyn PhysicalExpr>],
    fields: &[FieldRef],
    distinct: bool,
    moving: bool,
) -> bool {
    if looks_at_order(aggregate) {
        return false;
    }
    let call = || aggregate_call(aggregate, args, fields, distinct, false);
    !moving || call().and_then(|c| c.create_sliding_accumulator()).is_ok_and(|a| a.supports_retract_batch())
}

fn looks_at_order(aggregate: &AggregateUDF) -> bool {
    aggregate.order_sensitivity() == AggregateOrderSensitivity::Beneficial
}

/// An aggregate over columns of the arguments' values; constants stay, as some look at them. One
/// that looks at an order gets the number of the row as its key.
fn aggregate_call(
    aggregate: &Arc<AggregateUDF>,
    args: &[Arc<dyn PhysicalExpr>],
    fields: &[FieldRef],
    distinct: bool,
    ignore_nulls: bool,
) -> DfResult<AggregateFunctionExpr> {
    let name = |i: usize| format!("arg{i}");
    let mut columns: Vec<Field> =
        fields.iter().enumerate().map(|(i, f)| f.as_ref().clone().with_name(name(i))).collect();
    let mut order = Vec::new();
    if looks_at_order(aggregate) {
        columns.push(Field::new(ROW, DataType::Int64, false));
        order.push(PhysicalSortExpr::new_default(Arc::new(Column::new(ROW, fields.len()))));
    }
    let value = |(i, e): (usize, &Arc<dyn PhysicalExpr>)| match e.downcast_ref::<Literal>() {
        Some(_) => Arc::clone(e),
        None => Arc::new(Column::new(&name(i), i)),
    };
    AggregateExprBuilder::new(Arc::clone(aggregate), args.iter().enumerate().map(value).collect())
        .schema(Arc::new(Schema::new(columns)))
        .alias(aggregate.name())
        .with_ignore_nulls(ignore_nulls)
        .with_distinct(distinct)
        .order_by(order)
        .build()
}

impl WindowUDFImpl for FrameCall {
    fn name(&self) -> &str {
        self.function.name()
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        Ok(types.to_vec())
    }
    fn field(&self, args: WindowUDFFieldArgs) -> DfResult<FieldRef> {
        let field = self.function.return_field(self.values(args.input_fields()), args.name())?;
        Ok(Arc::new(field.as_ref().clone().with_name(args.name())))
    }
    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> DfResult<Box<dyn PartitionEvaluator>> {
        let (exprs, fields) = (self.values(args.input_exprs()), self.values(args.input_fields()));
        let function = match &self.function {
            WindowFunctionDefinition::AggregateUDF(f) => {
                let ignore_nulls = args.ignore_nulls();
                Function::Aggregate(Box::new(aggregate_call(f, exprs, fields, self.distinct, ignore_nulls)?))
            }
            WindowFunctionDefinition::WindowUDF(f) => {
                let args = PartitionEvaluatorArgs::new(exprs, fields, false, args.ignore_nulls());
                Function::Window(f.partition_evaluator_factory(args)?)
            }
        };
        Ok(Box::new(FrameEvaluator {
            function,
            excluded: self.excluded,
            width: exprs.len(),
            filtered: self.filtered,
            row: 0,
            peers: Vec::new(),
            group: 0,
            last: None,
        }))
    }
    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
enum Function {
    Aggregate(Box<AggregateFunctionExpr>),
    Window(Box<dyn PartitionEvaluator>),
}

/// Asked for the rows of one partition one after the other.
#[derive(Debug)]
struct FrameEvaluator {
    function: Function,
    excluded: Excluded,
    /// Arguments of the function; FILTER's column and the sort keys follow them.
    width: usize,
    filtered: bool,
    row: usize,
    /// Rows with equal sort keys, and which of them the current row is in.
    peers: Vec<Range<usize>>,
    group: usize,
    last: Option<(Vec<Range<usize>>, ScalarValue)>,
}

impl FrameEvaluator {
    /// What is left of the frame of the current row.
    fn pieces(&self, frame: &Range<usize>) -> Vec<Range<usize>> {
        let (row, peers) = (self.row, self.peers.get(self.group).cloned().unwrap_or(0..0));
        let parts = match self.excluded {
            Excluded::Nothing => vec![frame.clone()],
            Excluded::CurrentRow => vec![0..row, row + 1..frame.end],
            Excluded::Group => vec![0..peers.start, peers.end..frame.end],
            Excluded::Ties => vec![0..peers.start, row..row + 1, peers.end..frame.end],
        };
        let within = |p: Range<usize>| p.start.max(frame.start)..p.end.min(frame.end);
        parts.into_iter().map(within).filter(|p| !p.is_empty()).collect()
    }

    fn find_peers(&mut self, keys: &[ArrayRef], rows: usize) -> DfResult<()> {
        if self.peers.is_empty() {
            self.peers = match keys.is_empty() {
                true => std::iter::once(0..rows).collect(),
                false => arrow::compute::partition(keys)?.ranges(),
            };
        }
        while self.peers.get(self.group).is_some_and(|p| p.end <= self.row) {
            self.group += 1;
        }
        Ok(())
    }

    fn compute(&mut self, values: &[ArrayRef], pieces: &[Range<usize>]) -> DfResult<ScalarValue> {
        let args = &values[..self.width];
        match &mut self.function {
            Function::Aggregate(aggregate) => {
                let mut total = aggregate.create_accumulator()?;
                for piece in pieces {
                    let slice = |a: &ArrayRef| a.slice(piece.start, piece.len());
                    let mut columns: Vec<ArrayRef> = args.iter().map(slice).collect();
                    if !aggregate.order_bys().is_empty() {
                        let rows = piece.start as i64..piece.end as i64;
                        columns.push(Arc::new(Int64Array::from_iter_values(rows)));
                    }
                    if self.filtered {
                        let kept = slice(&values[self.width]);
                        let keep = |c: &ArrayRef| arrow::compute::filter(c, kept.as_boolean());
                        columns = columns.iter().map(keep).collect::<Result<_, _>>()?;
                    }
                    if columns.first().is_some_and(|c| !c.is_empty()) {
                        total.update_batch(&columns)?;
                    }
                }
                total.evaluate()
            }
            Function::Window(function) => match pieces {
                [] => function.evaluate(args, &(0..0)),
                [piece] => function.evaluate(args, piece),
                pieces => {
                    let join = |a: &ArrayRef| {
                        let parts: Vec<ArrayRef> = pieces.iter().map(|p| a.slice(p.start, p.len())).collect();
                        let parts: Vec<&dyn Array> = parts.iter().map(|p| p.as_ref()).collect();
                        arrow::compute::concat(&parts)
                    };
                    let joined: Vec<ArrayRef> = args.iter().map(join).collect::<Result<_, _>>()?;
                    let rows = pieces.iter().map(|p| p.len()).sum();
                    function.evaluate(&joined, &(0..rows))
                }
            },
        }
    }
}

impl PartitionEvaluator for FrameEvaluator {
    fn evaluate(&mut self, values: &[ArrayRef], frame: &Range<usize>) -> DfResult<ScalarValue> {
        let Some(first) = values.first() else {
            return Err(DataFusionError::Internal("a call over a frame has no arguments".into()));
        };
        if matches!(self.excluded, Excluded::Group | Excluded::Ties) {
            self.find_peers(&values[self.width + self.filtered as usize..], first.len())?;
        }
        let pieces = self.pieces(frame);
        self.row += 1;
        if let Some((last, value)) = &self.last
            && *last == pieces
        {
            return Ok(value.clone());
        }
        let value = self.compute(values, &pieces)?;
        self.last = Some((pieces, value.clone()));
        Ok(value)
    }
    fn uses_window_frame(&self) -> bool {
        true
    }
    fn supports_bounded_execution(&self) -> bool {
        false
    }
}
