//! Parameters of statements: finding `$n`, giving them types, putting values in their place.
//!
//! Values go into the syntax tree as typed literals, so a statement with parameters means
//! exactly what it would mean with the values written out.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr as Planned, ExprSchemable, LogicalPlan};
use sqlparser::ast::{Expr, LimitClause, Query, TableFactor, Value, VisitMut, VisitorMut};

use crate::catalog::quote_literal;
use crate::error::{HwError, Result, sqlstate};
use crate::sql::ast::{CursorBody, ExplainTarget, SubscribeTarget};
use crate::sql::functions::cast::PgCast;
use crate::sql::parser::{parse_expression, window_call};
use crate::sql::rules::casts::PARAMETER_MARK;
use crate::sql::types::pg_type;
use crate::sql::{Statement, StatementKind};
use crate::types::PgType;
use crate::types::text::{ColumnWriter, TextOptions};

/// Most parameters of a statement, as the protocol has it.
const PARAMETERS_MAX: usize = 65_535;

/// The number of a placeholder.
pub(super) fn placeholder(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(text) => text.strip_prefix('$')?.parse().ok(),
            _ => None,
        },
        Expr::Nested(inner) => placeholder(inner),
        _ => None,
    }
}

/// The parameters of a statement: their number, and types that casts give them.
pub(super) fn parameters(statement: &Statement) -> Result<(usize, BTreeMap<usize, PgType>)> {
    let mut most = 0;
    let mut types: BTreeMap<usize, PgType> =
        window_parameters(statement).into_iter().map(|(n, sample)| (n, sample.0)).collect();
    let mut statement = statement.clone();
    let _ = visit_with(&mut statement, &mut RowCounts(&mut types));
    let _ = visit(&mut statement, |expr| {
        if let Some(n) = placeholder(expr) {
            most = most.max(n);
        }
        if let Expr::Cast { expr: inner, data_type, .. } = &*expr
            && let (Some(n), Ok(ty)) = (placeholder(inner), pg_type(data_type))
        {
            types.entry(n).or_insert(ty);
        }
        ControlFlow::<()>::Continue(())
    });
    if most > PARAMETERS_MAX {
        return Err(HwError::new(sqlstate::UNDEFINED_PARAMETER, format!("there is no parameter ${most}")));
    }
    Ok((most, types))
}

/// LIMIT, OFFSET and FETCH count in bigint.
struct RowCounts<'a>(&'a mut BTreeMap<usize, PgType>);

impl VisitorMut for RowCounts<'_> {
    type Break = ();
    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let (limit, offset) = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                (limit.as_ref(), offset.as_ref().map(|o| &o.value))
            }
            _ => (None, None),
        };
        let fetch = query.fetch.as_ref().and_then(|f| f.quantity.as_ref());
        for n in [limit, offset, fetch].into_iter().flatten().filter_map(placeholder) {
            self.0.entry(n).or_insert(PgType::Int8);
        }
        ControlFlow::Continue(())
    }
}

/// Parameters without a type as the array of ANY and ALL, from 0, with the type that the value
/// beside them gives them.
pub(super) fn array_parameters(plan: &LogicalPlan) -> Vec<(usize, PgType)> {
    let mut found = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                if let Planned::ScalarFunction(f) = e
                    && f.func.name() == "array_compare"
                    && let [_, value, Planned::Placeholder(Placeholder { id, field: None })] =
                        f.args.as_slice()
                    && let Some(n) = id.strip_prefix('$').and_then(|n| n.parse::<usize>().ok())
                    && let Ok((_, item)) = value.to_field(&schema)
                {
                    let item = item.as_ref().clone().with_name("item").with_nullable(true);
                    let list = Field::new("", DataType::List(Arc::new(item)), true);
                    found.push((n.saturating_sub(1), PgType::of(&list)));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    found
}

/// The statement with a quoted literal for each parameter that has no type: one takes the type that
/// its place asks for.
pub(super) fn quoted_unknowns(statement: &Statement, types: &[Option<PgType>]) -> Result<Statement> {
    let mark = |n: usize| Value::SingleQuotedString(format!("{PARAMETER_MARK}{n}"));
    let stand_in = |(i, ty): (usize, &Option<PgType>)| match ty {
        Some(ty) => null_of(ty),
        None => Ok(Expr::Value(mark(i + 1).into())),
    };
    let stand_ins = types.iter().enumerate().map(stand_in).collect::<Result<Vec<_>>>()?;
    replace(statement, &|n| stand_ins.get(n - 1).cloned())
}

/// The parameters, from 0, of [`quoted_unknowns`] that an analyzed plan casts, and to what.
pub(super) fn types_of_quoted(plan: &LogicalPlan) -> Vec<(usize, PgType)> {
    let mut found = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                let (inner, target) = match e {
                    Planned::Cast(cast) => (Some(cast.expr.as_ref()), Some(&cast.field)),
                    Planned::ScalarFunction(f) => {
                        (f.args.first(), f.func.inner().downcast_ref::<PgCast>().map(PgCast::target_field))
                    }
                    _ => (None, None),
                };
                if let (Some(Planned::Literal(ScalarValue::Utf8(Some(text)), _)), Some(target)) =
                    (inner, target)
                    && let Some(n) = text.strip_prefix(PARAMETER_MARK).and_then(|n| n.parse::<usize>().ok())
                {
                    found.push((n.saturating_sub(1), PgType::of(target)));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    found
}

/// The statement with values for its parameters.
pub(super) fn substitute(
    statement: &Statement,
    values: &[ScalarValue],
    types: &[PgType],
) -> Result<Statement> {
    let literal = |(i, value): (usize, &ScalarValue)| {
        let ty = types.get(i).cloned().unwrap_or_else(|| PgType::of_carrier(&value.data_type()));
        literal(value, &ty)
    };
    let literals = values.iter().enumerate().map(literal).collect::<Result<Vec<_>>>()?;
    replace(statement, &|n| literals.get(n - 1).cloned())
}

/// The statement with a typed NULL for each parameter whose type is known, and a value for
/// those that size a window, which NULL cannot.
pub(super) fn typed_nulls(statement: &Statement, types: &[Option<PgType>]) -> Result<Statement> {
    let mut nulls = types.iter().map(|t| t.as_ref().map(null_of).transpose()).collect::<Result<Vec<_>>>()?;
    for (n, (_, sample)) in window_parameters(statement) {
        if let Some(null) = nulls.get_mut(n - 1) {
            *null = Some(parse_expression(sample)?);
        }
    }
    replace(statement, &|n| nulls.get(n - 1).cloned().flatten())
}

/// Parameters that are arguments of window functions: type, and a value to plan with.
fn window_parameters(statement: &Statement) -> BTreeMap<usize, (PgType, &'static str)> {
    struct Arguments(BTreeMap<usize, (PgType, &'static str)>);
    impl VisitorMut for Arguments {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
            let Ok(Some(call)) = window_call(factor) else { return ControlFlow::Continue(()) };
            let sizes = call.args.iter().map(|a| (a, false));
            let named = call.named.iter().map(|(name, a)| (a, name == "time_zone"));
            for (argument, is_zone) in sizes.chain(named) {
                let inner = match argument {
                    Expr::Cast { expr, .. } => expr,
                    other => other,
                };
                if let Some(n) = placeholder(inner).filter(|n| *n > 0) {
                    let sample = match is_zone {
                        true => (PgType::Text, "'UTC'"),
                        false => (PgType::Interval, "(INTERVAL '1 second')"),
                    };
                    self.0.insert(n, sample);
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut arguments = Arguments(BTreeMap::new());
    let _ = visit_with(&mut statement.clone(), &mut arguments);
    arguments.0
}

fn replace(statement: &Statement, with: &dyn Fn(usize) -> Option<Expr>) -> Result<Statement> {
    let mut bound = statement.clone();
    let flow = visit(&mut bound, |expr| {
        if let Some(n) = placeholder(expr) {
            if n == 0 {
                return ControlFlow::Break(n);
            }
            if let Some(value) = with(n) {
                *expr = value;
            }
        }
        ControlFlow::Continue(())
    });
    match flow {
        ControlFlow::Continue(()) => Ok(bound),
        ControlFlow::Break(n) => {
            Err(HwError::new(sqlstate::UNDEFINED_PARAMETER, format!("there is no parameter ${n}")))
        }
    }
}

fn null_of(ty: &PgType) -> Result<Expr> {
    parse_expression(&format!("(NULL::{})", cast_name(ty)))
}

/// Types as a cast names them; those without a cast of their own are text.
fn cast_name(ty: &PgType) -> String {
    match ty {
        // A cast would cut a text that is too long; whoever stores it has to refuse it.
        PgType::Unknown | PgType::Void | PgType::Record | PgType::Varchar(_) | PgType::Bpchar(_) => {
            "text".to_string()
        }
        other => other.sql_name(),
    }
}

/// A value as a typed literal.
pub(super) fn literal(value: &ScalarValue, ty: &PgType) -> Result<Expr> {
    if value.is_null() {
        return null_of(ty);
    }
    let text = value_text(value, ty)?;
    parse_expression(&format!("({}::{})", quote_literal(&text), cast_name(ty)))
}

/// A value in PostgreSQL's text form.
pub(super) fn value_text(value: &ScalarValue, ty: &PgType) -> Result<String> {
    let array = value.to_array()?;
    let field = match ty.carrier() == value.data_type() {
        true => ty.field("", true),
        false => Field::new("", value.data_type(), true),
    };
    let writer = ColumnWriter::new(&array, &field, &TextOptions::default())?;
    let mut out = Vec::new();
    writer.write_text(0, &mut out);
    String::from_utf8(out).map_err(|e| HwError::internal(e.to_string()))
}

/// Visits the expressions of a statement that can have parameters.
fn visit<B>(statement: &mut Statement, f: impl FnMut(&mut Expr) -> ControlFlow<B>) -> ControlFlow<B> {
    struct Each<F>(F);
    impl<B, F: FnMut(&mut Expr) -> ControlFlow<B>> VisitorMut for Each<F> {
        type Break = B;
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<B> {
            (self.0)(expr)
        }
    }
    visit_with(statement, &mut Each(f))
}

fn visit_with<V: VisitorMut>(statement: &mut Statement, each: &mut V) -> ControlFlow<V::Break> {
    use StatementKind as K;
    match &mut statement.kind {
        K::Query(query) => query.visit(each),
        K::Insert(insert) => insert.visit(each),
        K::Update(update) => update.visit(each),
        K::Delete(delete) => delete.visit(each),
        K::Execute { arguments, .. } => arguments.visit(each),
        K::AdvanceClock(crate::sql::ast::AdvanceClock::To(e) | crate::sql::ast::AdvanceClock::By(e)) => {
            e.visit(each)
        }
        K::AdvanceWatermark { to, .. } => to.visit(each),
        K::Explain(explain) => match &mut explain.what {
            ExplainTarget::Statement(inner) => visit_with(inner, each),
            _ => ControlFlow::Continue(()),
        },
        K::DeclareCursor(declare) => match &mut declare.body {
            CursorBody::Query(query) => query.query.visit(each),
            CursorBody::Subscribe(subscribe) => match &mut subscribe.to {
                SubscribeTarget::Query(query) => query.query.visit(each),
                SubscribeTarget::Object(_) => ControlFlow::Continue(()),
            },
        },
        _ => ControlFlow::Continue(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(sql: &str) -> Statement {
        crate::sql::parse_sql(sql).unwrap().remove(0)
    }

    #[test]
    fn parameters_are_found_with_the_types_of_their_casts() {
        let (n, types) = parameters(&statement("SELECT $2::int, a FROM t WHERE b = $3")).unwrap();
        assert_eq!((n, types), (3, BTreeMap::from([(2, PgType::Int4)])));
    }

    #[test]
    fn parameters_that_count_rows_are_bigint() {
        let sql = "SELECT * FROM (SELECT a FROM t LIMIT $1 OFFSET $2) x FETCH FIRST $3 ROWS ONLY";
        let (n, types) = parameters(&statement(sql)).unwrap();
        assert_eq!((n, types), (3, (1..=3).map(|n| (n, PgType::Int8)).collect()));
    }

    #[test]
    fn parameters_of_windows_are_intervals() {
        let sql = "SELECT * FROM HOP(s, ts, $1, size => $2::interval, time_zone => $3)";
        let (n, types) = parameters(&statement(sql)).unwrap();
        let wanted = [(1, PgType::Interval), (2, PgType::Interval), (3, PgType::Text)];
        assert_eq!((n, types), (3, BTreeMap::from(wanted)));
    }

    #[test]
    fn values_become_typed_literals() {
        let bound = substitute(
            &statement("SELECT $1, $2"),
            &[ScalarValue::Utf8(Some("it's".into())), ScalarValue::Int32(None)],
            &[PgType::Text, PgType::Int4],
        );
        let StatementKind::Query(query) = bound.unwrap().kind else { panic!() };
        assert_eq!(query.to_string(), "SELECT ('it''s'::TEXT), (NULL::INTEGER)");
    }
}
