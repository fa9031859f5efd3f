//! Guarded expressions: what may raise is evaluated only where PostgreSQL evaluates it.
//!
//! Vectorised evaluation computes both sides of AND and OR for all rows. Where the right
//! side can fail, the operator becomes a CASE, which DataFusion evaluates on the selected
//! rows only; so do the arguments of COALESCE and of aggregates with FILTER. In filters the
//! conjuncts stay apart, so that they can be pushed down; [`GuardFilters`] runs after the
//! optimizer and guards each conjunct that can fail with those before it.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, lit};
use datafusion::optimizer::{AnalyzerRule, ApplyOrder, OptimizerConfig, OptimizerRule};

use super::rewrite_nodes;

/// Guards inside expressions; runs last of the analyzer rules.
#[derive(Debug)]
pub struct PgGuards;

impl AnalyzerRule for PgGuards {
    fn name(&self) -> &str {
        "pg_guards"
    }
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        let result = plan.transform_up_with_subqueries(|plan| {
            let filter =
                matches!(plan, LogicalPlan::Filter(_) | LogicalPlan::Join(_) | LogicalPlan::TableScan(_));
            let names = datafusion::logical_expr::expr_rewriter::NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let guarded = if filter { guard_conjuncts(expr)? } else { guard(expr)? };
                Ok(Transformed::yes(name.restore(guarded)))
            })
        })?;
        Ok(result.data)
    }
}

/// Guards the conjuncts of filters; the last optimizer rule.
#[derive(Debug)]
pub struct GuardFilters;

impl OptimizerRule for GuardFilters {
    fn name(&self) -> &str {
        "guard_filters"
    }
    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>, DataFusionError> {
        match plan {
            LogicalPlan::Filter(mut filter) if needs_guards(std::slice::from_ref(&filter.predicate)) => {
                filter.predicate = guard_filter(filter.predicate);
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            LogicalPlan::TableScan(mut scan) if needs_guards(&scan.filters) => {
                let filters = std::mem::take(&mut scan.filters);
                scan.filters = guard_list(filters);
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            LogicalPlan::Join(mut join) => match join.filter.take() {
                Some(filter) if needs_guards(std::slice::from_ref(&filter)) => {
                    join.filter = Some(guard_filter(filter));
                    Ok(Transformed::yes(LogicalPlan::Join(join)))
                }
                filter => {
                    join.filter = filter;
                    Ok(Transformed::no(LogicalPlan::Join(join)))
                }
            },
            other => Ok(Transformed::no(other)),
        }
    }
}

fn needs_guards(filters: &[Expr]) -> bool {
    let mut parts = filters.iter().flat_map(|f| split_conjunction_owned(f.clone())).peekable();
    let mut count = 0;
    let mut failing = false;
    parts.by_ref().for_each(|p| {
        count += 1;
        failing |= can_fail(&p);
    });
    failing && count > 1
}

/// A filter predicate whose conjuncts that can fail see only rows that pass the others.
pub fn guard_filter(predicate: Expr) -> Expr {
    let parts = guard_list(split_conjunction_owned(predicate));
    conjunction(parts).unwrap_or_else(|| lit(true))
}

fn guard_list(parts: Vec<Expr>) -> Vec<Expr> {
    let (failing, mut safe): (Vec<_>, Vec<_>) = parts.into_iter().partition(can_fail);
    for part in failing {
        match conjunction(safe.clone()) {
            None => safe.push(part),
            Some(before) => safe.push(when_true(before, part)),
        }
    }
    safe
}

/// `part` where `guard` is true, else false.
fn when_true(guard: Expr, part: Expr) -> Expr {
    Expr::Case(Case::new(
        Some(Box::new(guard)),
        vec![(Box::new(lit(true)), Box::new(part))],
        Some(Box::new(lit(false))),
    ))
}

/// Whether `expr` is what [`when_true`] makes.
fn is_guarded(expr: &Expr) -> bool {
    let Expr::Case(case) = expr else { return false };
    let is = |e: &Expr, v: bool| matches!(e, Expr::Literal(ScalarValue::Boolean(Some(b)), _) if *b == v);
    case.expr.is_some()
        && case.when_then_expr.len() == 1
        && is(&case.when_then_expr[0].0, true)
        && case.else_expr.as_ref().is_some_and(|e| is(e, false))
}

fn guard_conjuncts(predicate: Expr) -> DfResult<Expr> {
    let parts = split_conjunction_owned(predicate).into_iter().map(guard).collect::<DfResult<Vec<_>>>()?;
    Ok(conjunction(parts).unwrap_or_else(|| lit(true)))
}

/// Rewrites AND, OR, COALESCE and filtered aggregates of one expression.
pub fn guard(expr: Expr) -> DfResult<Expr> {
    rewrite_nodes(expr, &|node| {
        Ok(match node {
            Expr::BinaryExpr(b) if matches!(b.op, Operator::And | Operator::Or) && can_fail(&b.right) => {
                lazy_logic(b)
            }
            Expr::ScalarFunction(f) if f.name() == "coalesce" && f.args.iter().skip(1).any(can_fail) => {
                lazy_coalesce(f.args)
            }
            Expr::AggregateFunction(mut call) => {
                if let Some(filter) = &call.params.filter {
                    for arg in call.params.args.iter_mut().filter(|a| can_fail(a)) {
                        let then = (filter.clone(), Box::new(arg.clone()));
                        *arg = Expr::Case(Case::new(None, vec![then], None));
                    }
                }
                Expr::AggregateFunction(call)
            }
            other => other,
        })
    })
}

/// `a AND b` as `CASE a WHEN true THEN b WHEN false THEN false ELSE NULL AND b END`.
fn lazy_logic(b: BinaryExpr) -> Expr {
    let and = b.op == Operator::And;
    let null = Expr::Literal(ScalarValue::Boolean(None), None);
    let unknown = Expr::BinaryExpr(BinaryExpr::new(b.right.clone(), b.op, Box::new(null)));
    Expr::Case(Case::new(
        Some(b.left),
        vec![(Box::new(lit(and)), b.right), (Box::new(lit(!and)), Box::new(lit(!and)))],
        Some(Box::new(unknown)),
    ))
}

fn lazy_coalesce(mut args: Vec<Expr>) -> Expr {
    let last = args.pop().map(Box::new);
    let arms = args.into_iter().map(|a| (Box::new(a.clone().is_not_null()), Box::new(a)));
    let arms: Vec<_> = arms.collect();
    match (arms.is_empty(), last) {
        (false, last) => Expr::Case(Case::new(None, arms, last)),
        (true, Some(last)) => *last,
        (true, None) => Expr::Literal(ScalarValue::Null, None),
    }
}

/// Whether evaluating `expr` can raise an error for some row.
pub fn can_fail(expr: &Expr) -> bool {
    if is_guarded(expr) {
        return false;
    }
    let mut failing = false;
    let walked = expr.apply(|node| {
        if is_guarded(node) {
            return Ok(TreeNodeRecursion::Jump);
        }
        let fails = match node {
            Expr::ScalarFunction(f) => !SAFE_FUNCTIONS.contains(&f.name()) && !safe_call(f),
            Expr::Cast(_) | Expr::Negative(_) => false,
            Expr::BinaryExpr(b) => matches!(
                b.op,
                Operator::Plus
                    | Operator::Minus
                    | Operator::Multiply
                    | Operator::Divide
                    | Operator::Modulo
                    | Operator::RegexMatch
                    | Operator::RegexIMatch
                    | Operator::RegexNotMatch
                    | Operator::RegexNotIMatch
            ),
            _ => false,
        };
        if fails {
            failing = true;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    failing || walked.is_err()
}

/// Calls that cannot fail because of what their arguments are.
fn safe_call(f: &datafusion::logical_expr::expr::ScalarFunction) -> bool {
    let constant = |e: &Expr| matches!(e, Expr::Literal(..));
    match f.name() {
        // A cast of a constant fails for every row or for none.
        "pg_cast" => f.args.iter().all(constant),
        // There is a remainder by every number but zero.
        "mod" | "pg_mod" => f.args.get(1).is_some_and(is_nonzero_integer),
        _ => false,
    }
}

fn is_nonzero_integer(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Int16(Some(v)), _) => *v != 0,
        Expr::Literal(ScalarValue::Int32(Some(v)), _) => *v != 0,
        Expr::Literal(ScalarValue::Int64(Some(v)), _) => *v != 0,
        Expr::Cast(cast) => is_nonzero_integer(&cast.expr),
        _ => false,
    }
}

/// Functions that give a result for every input of their types.
const SAFE_FUNCTIONS: &[&str] = &[
    "lower",
    "upper",
    "length",
    "char_length",
    "character_length",
    "btrim",
    "ltrim",
    "rtrim",
    "coalesce",
    "nullif",
    "concat",
    "concat_ws",
    "pg_concat",
    "strpos",
    "starts_with",
    "interval_order",
    "greatest",
    "least",
    "now",
    "current_timestamp",
    "current_date",
    "json_typeof",
    "jsonb_object_field",
    "jsonb_object_field_text",
    "jsonb_contains",
    "jsonb_exists",
    "jsonb_typeof",
    "date_part",
    "num_nulls",
    "num_nonnulls",
    "replace",
    "left",
    "right",
    "md5",
    "reverse",
    "initcap",
    "array_length",
    "cardinality",
    super::subqueries::UNLESS_ROWS,
    crate::plan::temporal::LOOKUP,
    crate::plan::temporal::VERSION_AT,
    crate::plan::temporal::AS_OF,
];

/// Guards a schema-checked predicate or value for direct evaluation.
pub fn guard_expression(expr: Expr, _: &DFSchema) -> DfResult<Expr> {
    let expr = guard(expr)?;
    let boolean = matches!(&expr, Expr::BinaryExpr(b) if b.op == Operator::And);
    Ok(if boolean && needs_guards(std::slice::from_ref(&expr)) { guard_filter(expr) } else { expr })
}
