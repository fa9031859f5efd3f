//! Window table functions as a logical plan node.
//!
//! The node passes its input's columns through and appends `window_start`, `window_end`
//! (of the time column's type) and `window_time` (= end − 1 ms). Streaming plans lower it to
//! slices, row expansion or sessions; ad-hoc queries run it as a physical node. Conditions on
//! columns of the input may be pushed below it, except that a session depends on every row
//! of its key: only conditions on the key pass. Conditions on window columns stay above.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::error::{HwError, sqlstate};
use crate::types::PgType;
use crate::types::window::{Shape, Windows};

pub const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// How rows get their windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Windowing {
    /// TUMBLE, HOP, CUMULATE: by a time and fixed sizes.
    Fixed(Windows),
    /// SESSION: rows of one key whose windows `[t, t + gap)` overlap or touch share one.
    Session { gap_us: i64 },
    /// WINDOWS: the bounds are columns.
    Columns,
}

impl Windowing {
    pub fn name(&self) -> &'static str {
        match self {
            Windowing::Fixed(windows) => match windows.shape() {
                Shape::Tumble => "Tumble",
                Shape::Hop => "Hop",
                Shape::Cumulate => "Cumulate",
            },
            Windowing::Session { .. } => "Session",
            Windowing::Columns => "Windows",
        }
    }
}

/// Assigns every row of `input` to its windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WindowNode {
    pub windowing: Windowing,
    pub input: Arc<LogicalPlan>,
    /// A timestamp expression over the input: a column, or `proctime()`; the start of
    /// `Columns`.
    pub time: Expr,
    /// The columns that partition sessions; the end of `Columns`.
    pub keys: Vec<Expr>,
    /// All columns of the input are kept, used or not: its late rows are asked for.
    pub keep_columns: bool,
    schema: DFSchemaRef,
}

impl WindowNode {
    /// 42804 if a time is not a timestamp.
    pub fn try_new(windowing: Windowing, input: LogicalPlan, time: Expr, keys: Vec<Expr>) -> Result<Self> {
        let time_type = time_type_of(&time, input.schema())?;
        if windowing == Windowing::Columns {
            for end in &keys {
                if time_type_of(end, input.schema())? != time_type {
                    return Err(HwError::new(
                        sqlstate::DATATYPE_MISMATCH,
                        "the start and the end of WINDOWS differ in type",
                    )
                    .with_hint("Cast one of them in a sub-query.")
                    .into());
                }
            }
        }
        let mut fields: Vec<_> = input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        for name in WINDOW_COLUMNS {
            fields.push((None, Arc::new(Field::new(name, time_type.clone(), false))));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(WindowNode { windowing, input: Arc::new(input), time, keys, keep_columns: false, schema })
    }

    /// The same, keeping all columns of its input.
    pub fn keeping_columns(&self) -> WindowNode {
        WindowNode { keep_columns: true, ..self.clone() }
    }
}

fn time_type_of(time: &Expr, input: &DFSchema) -> Result<DataType> {
    match time.get_type(input)? {
        t @ DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(t),
        other => {
            let name = PgType::of_carrier(&other).sql_name();
            let message = format!("the time of a window must be a timestamp, not {name}");
            Err(HwError::new(sqlstate::DATATYPE_MISMATCH, message).into())
        }
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let key = |n: &Self| (n.windowing.name(), n.keys.len());
        key(self).partial_cmp(&key(other)).filter(|o| *o != Ordering::Equal || self == other)
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        self.windowing.name()
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        std::iter::once(&self.time).chain(&self.keys).cloned().collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let mut columns: HashSet<String> = WINDOW_COLUMNS.iter().map(|c| c.to_string()).collect();
        if let Windowing::Session { .. } = self.windowing {
            let is_key = |column: &Column| self.keys.iter().any(|k| k.try_as_col() == Some(column));
            let others = self.input.schema().columns().into_iter().filter(|c| !is_key(c));
            columns.extend(others.map(|c| c.name));
        }
        columns
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: time={}", self.name(), self.time)?;
        match &self.windowing {
            Windowing::Fixed(windows) => {
                write!(f, ", size={}us", windows.size_us())?;
                if !windows.is_tumble() {
                    write!(f, ", slide={}us", windows.slide_us())?;
                }
                match windows.zone() {
                    Some(zone) => write!(f, ", time_zone={}", zone.name()),
                    None => Ok(()),
                }
            }
            Windowing::Session { gap_us } => {
                let keys: Vec<String> = self.keys.iter().map(|k| k.to_string()).collect();
                write!(f, ", gap={gap_us}us, partition by ({})", keys.join(", "))
            }
            Windowing::Columns => match self.keys.first() {
                Some(end) => write!(f, ", end={end}"),
                None => Ok(()),
            },
        }
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) if !exprs.is_empty() => {
                let keys = exprs.split_off(1);
                let node = WindowNode::try_new(self.windowing, input, exprs.swap_remove(0), keys)?;
                Ok(WindowNode { keep_columns: self.keep_columns, ..node })
            }
            _ => plan_err!("a window needs one input and one time expression"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        if self.keep_columns {
            return Some(vec![(0..width).collect()]);
        }
        let mut needed: Vec<usize> = output_columns.iter().copied().filter(|c| *c < width).collect();
        for column in std::iter::once(&self.time).chain(&self.keys).flat_map(|e| e.column_refs()) {
            if let Some(index) = self.input.schema().maybe_index_of_column(column) {
                needed.push(index);
            }
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
