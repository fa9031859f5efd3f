//! From DataFusion's logical plan to a streaming plan: the plan decides, operators obey.
//!
//! [`lower`] turns an optimized logical plan into a [`StreamPlan`], a DAG of operators in
//! which equal sub-plans are one node. Every node carries [`Facts`]: append-only or
//! retracting, unique key, which columns are event times, window bounds or processing time,
//! and how its state is bounded. What cannot be maintained is refused here, by name, with
//! 0A000. Invariants: children come before parents; `schema` and `facts.columns` of a node
//! have the same length; physical expressions refer to their input by index only.

mod aggregate;
mod aggregate_call;
mod bounds;
mod changelog;
mod clock;
mod constant;
mod distribute;
mod emit_rules;
mod explain;
mod explain_emit;
mod explain_join;
mod explain_order;
mod explain_state;
mod expr;
mod frame_call;
mod grouping;
mod interval;
mod join;
mod late;
pub mod lower;
mod narrow;
mod over;
pub mod panes;
mod reach;
pub mod recursion;
pub mod relation;
mod retention;
mod rows;
mod session;
pub mod set_op_node;
mod sharing;
pub mod temporal;
pub mod temporal_node;
mod temporal_push;
mod top_n;
mod unique;
mod window;
mod window_join;
pub mod window_node;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

pub use crate::types::exact::moments::Statistic;
use crate::types::order::{RankRange, Ranking, SortKey};
pub use bounds::{Extent, Unbounded};
pub use clock::Clock;
pub use distribute::replicated_side;
pub use emit_rules::{EmitWords, check_emit};
pub use explain_state::StateFacts;
pub use frame_call::{Excluded, FrameCall, follows_frame};
pub use late::keep_window_columns;
pub use lower::{ExprCompiler, LowerOptions, lower};
pub use over::{OverCall, OverNode, RowTime};
pub use reach::Reach;
pub use recursion::{RECURSION_NAME_SEPARATOR, RecursionMode, RecursiveNode};
pub use relation::StreamRelation;
pub use set_op_node::{SetKind, SetOpNode};
pub use temporal_node::{TemporalBound, TemporalNode, mark_temporal};
pub use window_node::{WINDOW_COLUMNS, WindowNode, Windowing};

use crate::error::Result;
use crate::types::trigger::{EmitPolicy, EmitSpec};
use crate::types::window::Windows;

/// Index into [`StreamPlan::nodes`].
pub type NodeId = usize;

/// A view's maintenance plan.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    pub nodes: Vec<StreamNode>,
    pub root: NodeId,
    /// The relations read, in the order of `StreamOp::Input`.
    pub inputs: Vec<PlanInput>,
    /// So many columns at the end of the root are pane columns that only those see who name
    /// them.
    pub hidden: usize,
    /// What a row of the late relation is, if there is one.
    pub late: Option<LatePlan>,
}

/// The rows of a late relation.
#[derive(Clone, Debug)]
pub struct LatePlan {
    /// The row as the window function reads it.
    pub row: SchemaRef,
    /// Its columns in the input of the aggregate that refuses it.
    pub columns: Vec<usize>,
    /// Type of the window's bounds.
    pub bound: DataType,
}

/// One relation that the plan reads.
#[derive(Clone, Debug)]
pub struct PlanInput {
    pub relation: u64,
    pub name: String,
    pub schema: SchemaRef,
    /// Columns that the plan uses; others need not be decoded.
    pub used_columns: Vec<usize>,
    /// Whether no row of a window changes after its watermark has reached the window's end.
    pub final_windows: bool,
    /// How many rows it can have.
    pub extent: Extent,
}

#[derive(Clone, Debug)]
pub struct StreamNode {
    pub op: StreamOp,
    pub children: Vec<NodeId>,
    pub schema: SchemaRef,
    pub facts: Facts,
}

/// What a node does. Column numbers refer to the child's schema.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamOp {
    /// Rows of `StreamPlan::inputs[input]`.
    Input {
        input: usize,
    },
    /// Filter, then projection; both see the child's columns.
    Map {
        filter: Option<Arc<dyn PhysicalExpr>>,
        exprs: Vec<Arc<dyn PhysicalExpr>>,
    },
    /// Appends `window_start`, `window_end`, `window_time`; one row per window.
    WindowAssign(WindowAssign),
    /// Appends the same columns; a row's window changes when its session does.
    SessionAssign(SessionAssign),
    /// Appends the same columns, of which two are columns of the child already.
    WindowColumns {
        start: usize,
        end: usize,
    },
    /// Lets rows out, and takes them back when their window has been over for so long.
    Retain {
        end: usize,
        time: WindowTime,
        retention_us: i64,
    },
    /// Takes rows back that were not touched for so long.
    Expire(ExpireNode),
    Aggregate(AggregateNode),
    /// The same on each worker for its own rows; the node above combines the workers' rows.
    LocalAggregate(AggregateNode),
    /// The changes of the child, held back until the trigger of the clause fires.
    ChangelogTrigger(EmitSpec),
    Join(Box<JoinNode>),
    Union,
    TopN(TopNNode),
    /// Appends the values of window functions.
    Over(OverNode),
    /// INTERSECT or EXCEPT of two children with equal columns.
    SetOp(SetKind),
    /// These rows, from the first epoch on; no children.
    Constant(RecordBatch),
    /// A row for each element of arrays; where each output column comes from.
    Unnest(Vec<UnnestColumn>),
    /// Rows while the clock is within bounds; columns of the bounds' times. The output has
    /// as many columns as the node's schema, the child's first ones.
    TemporalFilter(Vec<(usize, TemporalBound)>),
    /// A recursive query.
    Recursive(RecursiveNode),
    /// The rows of the recursive query, only inside its step; no children.
    Working {
        query: usize,
    },
}

/// Rows that leave when those with equal `keys` were not touched for `ttl_us` by the clock.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpireNode {
    pub keys: Vec<usize>,
    /// Equal in rows of equal keys: the columns that decide the worker.
    pub partition: Vec<usize>,
    pub ttl_us: i64,
}

/// Where an output column of [`StreamOp::Unnest`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnnestColumn {
    /// The input column as it is.
    Repeat(usize),
    /// The elements of the array in the input column.
    Elements(usize),
}

/// Assignment of rows to windows of given sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowAssign {
    /// Time column, ignored for processing time.
    pub time_column: usize,
    pub time: WindowTime,
    pub windows: Windows,
}

/// Assignment of rows to sessions: those of a key whose windows `[t, t + gap)` overlap or
/// touch share one.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionAssign {
    /// Time column, ignored for processing time.
    pub time_column: usize,
    pub time: WindowTime,
    pub gap_us: i64,
    /// Columns that partition the sessions, ascending.
    pub keys: Vec<usize>,
    /// How long after its end a session still takes rows.
    pub lateness_us: i64,
}

/// By which clock windows open and close.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowTime {
    /// A watermark.
    Event {
        clock: Clock,
    },
    Processing,
    /// A timestamp without a watermark: windows never close.
    Unbounded,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AggregateNode {
    /// Group columns of the child, the window's bounds excluded when `fused` assigns them.
    pub group: Vec<usize>,
    pub calls: Vec<AggregateCall>,
    pub window: Option<AggregateWindow>,
    pub emit: EmitSpec,
    /// Columns of the child that make a row of the late relation; empty without one.
    pub late: Vec<usize>,
    /// A group that was not touched for so long goes, with its row; the input is append-only.
    pub ttl_us: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AggregateWindow {
    /// The bounds are group columns already; `end` and `start`, if it is among them, index
    /// `group`. Rows that were judged against the watermark below, with their session, are
    /// never late here.
    Keyed { end: usize, start: Option<usize>, time: WindowTime, judged: bool },
    /// The aggregate assigns rows to windows itself, sharing slices between overlapping
    /// windows; its output is group columns, `window_start`, `window_end`, calls.
    Fused(WindowAssign),
    /// The aggregate keeps the sessions itself; `group` are their keys; output as `Fused`.
    Session(SessionAssign),
}

impl AggregateWindow {
    pub fn time(&self) -> &WindowTime {
        match self {
            AggregateWindow::Keyed { time, .. } => time,
            AggregateWindow::Fused(assign) => &assign.time,
            AggregateWindow::Session(session) => &session.time,
        }
    }
}

/// One aggregate call of a SELECT list.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateCall {
    pub function: AggregateFunction,
    /// Input columns; none for `count(*)`.
    pub arguments: Vec<usize>,
    /// Input columns that order the group's rows, where the function looks at an order.
    pub order_by: Vec<(usize, SortOptions)>,
    /// A boolean column; rows where it is not true do not count.
    pub filter: Option<usize>,
    pub distinct: bool,
    pub output: FieldRef,
}

/// Aggregates that are maintained incrementally; chosen by the type of the argument.
#[derive(Clone, Debug, PartialEq)]
pub enum AggregateFunction {
    /// `count(*)` → int8.
    CountStar,
    /// `count(x)` → int8.
    Count,
    /// The sum of counts of several workers, 0 of none → int8.
    AddCounts,
    /// int2, int4 → int8; 22003 beyond it.
    SumInt,
    /// int8 → Decimal128(38, 0).
    SumBig,
    /// numeric → numeric of the output's precision and scale.
    SumDecimal,
    /// float4, float8 → the output's type; exact.
    SumFloat,
    /// int2, int4, int8 → numeric, PostgreSQL's scale, held at the output's.
    AvgInt,
    AvgDecimal,
    /// float4, float8 → float8.
    AvgFloat,
    Min,
    Max,
    BoolAnd,
    BoolOr,
    BitAnd,
    BitOr,
    BitXor,
    /// Variances and what belongs to them; of two variables the first argument is `y`.
    Moments(Statistic),
    /// About the value at this fraction of the way through the sorted values.
    Percentile(f64),
    /// The first argument of the first row, or the last, in the call's order.
    FirstRow,
    LastRow,
    /// Any other: the group's rows are kept and given to this function when they changed.
    Materialized(Arc<AggregateFunctionExpr>),
}

impl AggregateCall {
    /// Whether rows with a NULL argument do not count.
    pub fn skips_nulls(&self) -> bool {
        use AggregateFunction as F;
        !matches!(self.function, F::FirstRow | F::LastRow | F::Materialized(_))
    }

    /// Every input column that the call reads.
    pub fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.arguments.iter().copied().chain(self.order_by.iter().map(|o| o.0)).chain(self.filter)
    }

    /// The call with its input columns renumbered.
    pub fn moved(&self, place: impl Fn(usize) -> Option<usize>) -> AggregateCall {
        AggregateCall {
            arguments: self.arguments.iter().filter_map(|c| place(*c)).collect(),
            order_by: self.order_by.iter().filter_map(|(c, o)| Some((place(*c)?, *o))).collect(),
            filter: self.filter.and_then(&place),
            ..self.clone()
        }
    }
}

/// Which rows a join shows. Right joins are planned as left joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs.
    Inner,
    /// Pairs, and unmatched left rows with NULLs.
    Left,
    /// Pairs, and unmatched rows of both sides with NULLs.
    Full,
    /// Left rows that match.
    Semi,
    /// Left rows that do not match; `null_aware` as NOT IN means it.
    Anti { null_aware: bool },
    /// All left rows, followed by whether they match.
    Mark,
}

/// Join on equal keys, with a residual condition over left ++ right.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinNode {
    pub kind: JoinKind,
    /// Whether NULL keys match NULL keys.
    pub null_equal: bool,
    pub left_keys: Vec<usize>,
    pub right_keys: Vec<usize>,
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// Output columns as indices over left ++ right; a mark join adds its answer.
    pub output: Vec<usize>,
    /// Set if the rows of a window are over at some time.
    pub window: Option<JoinWindow>,
    /// When rows are over by their event time; the inputs are append-only then.
    pub interval: Option<JoinInterval>,
    /// Set if left rows meet a version of the right side, once, and are not kept to be joined again.
    pub temporal: Option<Temporal>,
}

/// Which version of the right side a left row meets.
#[derive(Clone, Debug, PartialEq)]
pub enum Temporal {
    /// The only one: the right side is constant, and the left one may be anything.
    Constant,
    /// What it holds at the end of the row's epoch.
    Lookup,
    /// The last one by event time at the left row's time, or before it; of those with one time
    /// the greatest by the right columns `ties`.
    AsOf { times: [usize; 2], strict: bool, clocks: [Clock; 2], ties: Vec<usize> },
}

/// A pair of keys that tells the window on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinWindow {
    pub key: usize,
    pub time: WindowTime,
    /// So long after the time in the key no row of the window changes, and the join forgets them.
    pub over_after_us: i64,
    /// Whether the rows of a side may come later, and are refused then.
    pub judged: [bool; 2],
}

/// Event times by which the rows of a join leave it.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinInterval {
    /// Time column of each input.
    pub times: [usize; 2],
    /// A row is over when its time is less than the other side's watermark plus this.
    pub limits_us: [i64; 2],
    /// The watermark that counts for a side.
    pub clocks: [Clock; 2],
    /// Rows are refused as late whose time is less than their own side's watermark plus this;
    /// none if no row can be late.
    pub late_us: Option<[i64; 2]>,
    /// Whether the times are bounds of windows, which both sides share.
    pub by_window: bool,
}

/// The rows of each group whose number by an order is in a range.
#[derive(Clone, Debug, PartialEq)]
pub struct TopNNode {
    pub partition: Vec<usize>,
    pub order: Vec<SortKey>,
    pub ranking: Ranking,
    pub range: RankRange,
    /// The number as a column after the child's, if something reads it.
    pub rank: Option<FieldRef>,
    pub keep: KeptRows,
    pub window: Option<GroupWindow>,
    /// Whether the rows of a window appear once, when it closes.
    pub on_close: bool,
}

/// Which rows a top-n keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptRows {
    /// Those in range: the input is append-only, so the others can never come back.
    First,
    All,
}

/// The window that the groups of an operator belong to; they go when it closes.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupWindow {
    /// A timestamp, one of the group columns, …
    pub column: usize,
    /// … that is this much before the point at which the window takes no more rows.
    pub to_end_us: i64,
    pub time: WindowTime,
    /// Whether rows of closed windows can come.
    pub refuse_late: bool,
}

/// What is known of a node's output.
#[derive(Clone, Debug)]
pub struct Facts {
    pub append_only: bool,
    /// Columns that identify a row, if there are such.
    pub unique_key: Option<Vec<usize>>,
    pub columns: Vec<ColumnFact>,
    pub state: StateBound,
}

/// What is known of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnFact {
    Plain,
    /// Event time with a watermark.
    EventTime {
        clock: Clock,
    },
    /// The marker made by `proctime()`; never materialized.
    ProcTime,
    /// `size_us` if all windows have the same size.
    WindowStart {
        time: WindowTime,
        size_us: Option<i64>,
    },
    WindowEnd {
        time: WindowTime,
    },
}

/// How a node's own state is bounded.
#[derive(Clone, Debug, PartialEq)]
pub enum StateBound {
    /// Keeps nothing.
    None,
    /// Dropped when the window closes.
    Window,
    /// Dropped when the watermarks have passed the bounds of a join.
    Interval,
    /// What has changed since the trigger fired last.
    Pending,
    /// So many rows at most.
    Rows(u64),
    /// Dropped behind the watermark, as the text says.
    Watermark(String),
    /// Dropped when the clock has passed the rows.
    Clock,
    /// By the tables that its rows come from.
    Tables,
    /// A number of rows that does not depend on what comes.
    Fixed,
    /// Dropped when it was not touched for so long.
    Ttl(i64),
    /// Grows with the number of distinct keys or rows, because of the reason given.
    Unbounded(String),
}

impl StreamPlan {
    pub fn root_node(&self) -> &StreamNode {
        &self.nodes[self.root]
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.root_node().schema)
    }

    /// The columns that the view shows.
    pub fn visible_schema(&self) -> Result<SchemaRef> {
        let schema = self.schema();
        let visible = schema.fields().len() - self.hidden;
        Ok(Arc::new(schema.project(&(0..visible).collect::<Vec<_>>())?))
    }

    /// The unique key, if all of its columns are shown.
    pub fn visible_key(&self) -> Option<Vec<usize>> {
        let node = self.root_node();
        let visible = node.schema.fields().len() - self.hidden;
        node.facts.unique_key.clone().filter(|key| key.iter().all(|c| *c < visible))
    }

    /// The plan as EXPLAIN prints it, one line a node, root first.
    pub fn explain(&self) -> Vec<String> {
        self.explain_with(&|_| None)
    }

    /// The same with a note behind the lines of nodes that have one.
    pub fn explain_with(&self, note: &dyn Fn(NodeId) -> Option<String>) -> Vec<String> {
        explain::explain(self, note)
    }

    /// Whether any operator acts on processing time.
    pub fn uses_processing_time(&self) -> bool {
        self.nodes.iter().any(|n| match &n.op {
            StreamOp::WindowAssign(w) => w.time == WindowTime::Processing,
            StreamOp::Aggregate(a) if a.emit.uses_processing_time() || a.ttl_us.is_some() => true,
            StreamOp::ChangelogTrigger(emit) => emit.uses_processing_time(),
            StreamOp::SessionAssign(s) => s.time == WindowTime::Processing,
            StreamOp::Retain { time, .. } => *time == WindowTime::Processing,
            StreamOp::Aggregate(a) | StreamOp::LocalAggregate(a) => {
                a.window.as_ref().is_some_and(|w| *w.time() == WindowTime::Processing)
            }
            StreamOp::TopN(t) => t.window.as_ref().is_some_and(|w| w.time == WindowTime::Processing),
            StreamOp::Over(o) => o.window.as_ref().is_some_and(|w| w.time == WindowTime::Processing),
            StreamOp::TemporalFilter(_) | StreamOp::Expire(_) => true,
            _ => false,
        })
    }
}
