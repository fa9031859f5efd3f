//! `TUMBLE` and `HOP` as a logical plan node.
//!
//! The node passes its input's columns through and appends `window_start`, `window_end`
//! (of the time column's type) and `window_time` (= end − 1 ms). Streaming plans lower it to
//! slices or row expansion; ad-hoc queries run it as a physical node. Conditions on columns
//! of the input may be pushed below it; conditions on window columns stay above.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

pub const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WindowKind {
    Tumble,
    Hop,
}

/// Assigns every row of `input` to its windows by the value of `time`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WindowNode {
    pub kind: WindowKind,
    pub input: Arc<LogicalPlan>,
    /// A timestamp expression over the input: a column, or `proctime()`.
    pub time: Expr,
    /// Microseconds, all positive but the offset; `slide_us == size_us` for TUMBLE.
    pub slide_us: i64,
    pub size_us: i64,
    pub offset_us: i64,
    /// All columns of the input are kept, used or not: its late rows are asked for.
    pub keep_columns: bool,
    schema: DFSchemaRef,
}

impl WindowNode {
    /// `alias` qualifies the appended columns, so that `b.window_start` works.
    pub fn try_new(
        kind: WindowKind,
        input: LogicalPlan,
        time: Expr,
        slide_us: i64,
        size_us: i64,
        offset_us: i64,
    ) -> Result<Self> {
        let time_type = match datafusion::logical_expr::ExprSchemable::get_type(&time, input.schema())? {
            t @ DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) => t,
            other => {
                let name = crate::types::PgType::of_carrier(&other).sql_name();
                return Err(crate::error::HwError::new(
                    crate::error::sqlstate::DATATYPE_MISMATCH,
                    format!("the time of a window must be a timestamp, not {name}"),
                )
                .into());
            }
        };
        let mut fields: Vec<_> = input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        for name in WINDOW_COLUMNS {
            fields.push((None, Arc::new(Field::new(name, time_type.clone(), false))));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(WindowNode {
            kind,
            input: Arc::new(input),
            time,
            slide_us,
            size_us,
            offset_us,
            keep_columns: false,
            schema,
        })
    }
}

impl WindowNode {
    /// The same, keeping all columns of its input.
    pub fn keeping_columns(&self) -> WindowNode {
        WindowNode { keep_columns: true, ..self.clone() }
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let key = |n: &Self| (n.kind, n.slide_us, n.size_us, n.offset_us);
        key(self).partial_cmp(&key(other))
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        match self.kind {
            WindowKind::Tumble => "Tumble",
            WindowKind::Hop => "Hop",
        }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.time.clone()]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        WINDOW_COLUMNS.iter().map(|c| c.to_string()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: time={}, size={}us", self.name(), self.time, self.size_us)?;
        if self.kind == WindowKind::Hop {
            write!(f, ", slide={}us", self.slide_us)?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (exprs.pop(), inputs.pop()) {
            (Some(time), Some(input)) => {
                let node =
                    WindowNode::try_new(self.kind, input, time, self.slide_us, self.size_us, self.offset_us)?;
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
        for column in self.time.column_refs() {
            if let Some(index) = self.input.schema().maybe_index_of_column(column) {
                needed.push(index);
            }
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
