//! INTERSECT and EXCEPT, with and without ALL, as a logical node of its own.
//!
//! DataFusion plans them as semi and anti joins, which do not count rows. This node keeps
//! the meaning: with l and r copies of a row on the left and right, the result holds
//! min(l, r) (INTERSECT ALL), max(l − r, 0) (EXCEPT ALL), or one copy if that rule without
//! ALL says so. NULLs are equal. Its columns are named as the left side's, unqualified; an
//! analyzer rule gives both sides equal types.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// Which rows stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SetKind {
    Intersect,
    IntersectAll,
    Except,
    ExceptAll,
}

impl SetKind {
    pub fn is_all(self) -> bool {
        matches!(self, SetKind::IntersectAll | SetKind::ExceptAll)
    }

    /// The word of the operation, for errors.
    pub fn word(self) -> &'static str {
        match self {
            SetKind::Intersect | SetKind::IntersectAll => "INTERSECT",
            SetKind::Except | SetKind::ExceptAll => "EXCEPT",
        }
    }

    /// Copies of a row in the result, of which the sides hold `left` and `right`.
    pub fn copies(self, left: i64, right: i64) -> i64 {
        let (left, right) = (left.max(0), right.max(0));
        match self {
            SetKind::Intersect => i64::from(left > 0 && right > 0),
            SetKind::IntersectAll => left.min(right),
            SetKind::Except => i64::from(left > 0 && right == 0),
            SetKind::ExceptAll => (left - right).max(0),
        }
    }
}

impl fmt::Display for SetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        if self.is_all() { f.write_str(" ALL") } else { Ok(()) }
    }
}

/// `left kind right`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetOpNode {
    pub kind: SetKind,
    pub left: Arc<LogicalPlan>,
    pub right: Arc<LogicalPlan>,
    schema: DFSchemaRef,
}

impl SetOpNode {
    /// Both sides must have the same number of columns.
    pub fn try_new(kind: SetKind, left: LogicalPlan, right: LogicalPlan) -> Result<SetOpNode> {
        let fields = left.schema().fields().iter().map(|f| {
            let field: Field = f.as_ref().clone().with_nullable(true);
            (None, Arc::new(field))
        });
        let schema = Arc::new(DFSchema::new_with_metadata(fields.collect(), Default::default())?);
        Ok(SetOpNode { kind, left: Arc::new(left), right: Arc::new(right), schema })
    }
}

impl PartialOrd for SetOpNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.kind.partial_cmp(&other.kind)
    }
}

impl UserDefinedLogicalNodeCore for SetOpNode {
    fn name(&self) -> &str {
        self.kind.word()
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SetOperation: {}", self.kind)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let [left, right] =
            <[LogicalPlan; 2]>::try_from(inputs).or_else(|_| plan_err!("two inputs expected"))?;
        SetOpNode::try_new(self.kind, left, right)
    }
}
