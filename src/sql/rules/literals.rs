//! Literals and operators before type coercion.
//!
//! An integer literal is `integer` if it fits, else `bigint`, else `numeric`, as in
//! PostgreSQL (DataFusion's planner makes every one a bigint). Quoted literals in IN and
//! BETWEEN take the tested value's type; intervals compare by their length.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::{Between, Case, Cast, InList, Like, WindowFunction};
use datafusion::logical_expr::utils::{conjunction, disjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::operators::{align, arithmetic_call, as_float, unpadded};
use super::{members, rewrite_expressions, rewrite_nodes, set_types};
use crate::error::{HwError, sqlstate};
use crate::sql::functions::arith::undefined_operator;
use crate::sql::functions::{self, datum::Kind, decimal::Numeric};
use crate::types::pg_type::{NUMERIC_PRECISION, NUMERIC_SCALE};

/// Runs before DataFusion's type coercion.
#[derive(Debug)]
pub struct PgLiterals;

impl AnalyzerRule for PgLiterals {
    fn name(&self) -> &str {
        "pg_literals"
    }
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.apply_with_subqueries(own_aggregates)?;
        let plan = plan.transform_up_with_subqueries(narrow_values)?.data;
        let plan = plan.transform_down_with_subqueries(set_types::flatten)?.data;
        rewrite_expressions(plan, &rewrite)
    }
}

/// In PostgreSQL an aggregate of nothing but columns of an outer query is one of that query.
fn own_aggregates(plan: &LogicalPlan) -> DfResult<TreeNodeRecursion> {
    let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(TreeNodeRecursion::Continue) };
    for expr in &aggregate.aggr_expr {
        let outer = expr.exists(|e| {
            let Expr::AggregateFunction(f) = e else { return Ok(false) };
            let args = &f.params.args;
            Ok(args.iter().any(Expr::contains_outer) && !args.iter().any(Expr::any_column_refs))
        })?;
        if outer {
            let hint = "Aggregate in the outer query, and read its result from the subquery.";
            return Err(
                HwError::unsupported("an aggregate of an outer query's columns in a subquery", hint).into()
            );
        }
    }
    Ok(TreeNodeRecursion::Continue)
}

/// The literal with PostgreSQL's type.
pub fn narrow_literal(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(v)), m) if i32::try_from(v).is_ok() => {
            Expr::Literal(ScalarValue::Int32(Some(v as i32)), m)
        }
        Expr::Literal(ScalarValue::UInt64(Some(v)), m) => {
            Expr::Literal(ScalarValue::Decimal128(Some(i128::from(v)), 20, 0), m)
        }
        other => other,
    }
}

/// Rewrites one expression; `schema` is that of the node's inputs.
pub fn rewrite(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    rewrite_nodes(expr, &|node| rewrite_node(node, schema))
}

fn rewrite_node(node: Expr, schema: &DFSchema) -> DfResult<Expr> {
    Ok(match node {
        literal @ Expr::Literal(..) => narrow_literal(literal),
        Expr::Negative(inner) => match *inner {
            Expr::Literal(value, m) if value.is_null() => Expr::Literal(value, m),
            inner => functions::scalar("pg_neg")?.call(vec![inner]),
        },
        Expr::WindowFunction(window) => restore_window_constants(window, schema)?,
        Expr::BinaryExpr(binary) => match arithmetic_call(&binary) {
            Some(call) => call,
            None => interval_comparison(apart(binary)?, schema)?,
        },
        Expr::InList(InList { expr, list, negated }) => {
            let to = expr.get_type(schema)?;
            let list =
                list.into_iter().map(|item| typed_literal(unpadded(item, &expr, schema), &to)).collect();
            in_list(InList { expr, list, negated }, schema)?
        }
        Expr::Like(like) => pattern_match(like, schema)?,
        Expr::Between(between) => rewrite_between(between, schema)?,
        Expr::Case(case) => Expr::Case(type_case(case, schema)?),
        Expr::InSubquery(mut member) => {
            if let Some(meet) = members::meeting(&member.expr, &member.subquery, schema)? {
                *member.expr = meet.of(*member.expr)?;
                member.subquery = meet.of_first(member.subquery)?;
            }
            Expr::InSubquery(member)
        }
        Expr::SetComparison(mut compared) => {
            if let Some(meet) = members::meeting(&compared.expr, &compared.subquery, schema)? {
                *compared.expr = meet.of(*compared.expr)?;
                compared.subquery = meet.of_first(compared.subquery)?;
            }
            Expr::SetComparison(compared)
        }
        Expr::ScalarFunction(mut f) if f.func.name() == "array_compare" => {
            f.args = array_comparison(f.args, schema)?;
            Expr::ScalarFunction(f)
        }
        // substring(text, pattern) of columns.
        Expr::ScalarFunction(f) if f.func.name() == "substr" && f.args.len() == 2 => {
            let literal = matches!(f.args[1], Expr::Literal(..));
            match !literal && f.args[1].get_type(schema)? == DataType::Utf8 {
                true => functions::scalar("regexp_first_part")?.call(f.args),
                false => Expr::ScalarFunction(f),
            }
        }
        Expr::ScalarFunction(mut f) if f.func.name() == "nullif" && f.args.len() == 2 => {
            let kinds = [&f.args[0], &f.args[1]].map(|e| e.get_type(schema).map(|t| Kind::of(&t)));
            let [left, right] = kinds;
            if floats_differ(left?, right?) {
                f.args = f.args.into_iter().map(as_float).collect();
            }
            Expr::ScalarFunction(f)
        }
        Expr::ScalarFunction(mut f) if f.func.name().starts_with("array_position") => {
            if let DataType::List(item) = f.args[0].get_type(schema)? {
                let element = f.args.remove(1);
                f.args.insert(1, typed_literal(element, item.data_type()));
            }
            Expr::ScalarFunction(f)
        }
        Expr::ScalarFunction(mut f) if ALTERNATIVES.contains(&f.func.name()) => {
            f.args = alternatives(&f.func.name().to_ascii_uppercase(), f.args, schema)?;
            Expr::ScalarFunction(f)
        }
        other => other,
    })
}

/// LIKE by a pattern that is no constant, or of bytes, is PostgreSQL's own.
fn pattern_match(like: Like, schema: &DFSchema) -> DfResult<Expr> {
    let bytes = like.expr.get_type(schema)? == DataType::Binary;
    let constant = matches!(like.pattern.as_ref(), Expr::Literal(..));
    if like.case_insensitive || like.escape_char.is_some() || constant && !bytes {
        return Ok(Expr::Like(like));
    }
    let pattern = if bytes { typed_literal(*like.pattern, &DataType::Binary) } else { *like.pattern };
    let matches = functions::scalar("pg_like")?.call(vec![*like.expr, pattern]);
    Ok(if like.negated { Expr::Not(Box::new(matches)) } else { matches })
}

/// DataFusion merges the lists of `a IN (…) AND a IN (…)` as if `a` could not be NULL; the right one
/// tests `a` through a function that says nothing of it.
fn apart(binary: BinaryExpr) -> DfResult<BinaryExpr> {
    if !matches!(binary.op, Operator::And | Operator::Or) {
        return Ok(binary);
    }
    let mut tested = Vec::new();
    lists(&binary.left, &mut tested);
    let meets = |list: &InList| tested.contains(list.expr.as_ref());
    if tested.is_empty() || !binary.right.exists(|e| Ok(matches!(e, Expr::InList(l) if meets(l))))? {
        return Ok(binary);
    }
    let same = functions::scalar("same_value")?;
    let hidden = binary.right.transform_up(|e| match e {
        Expr::InList(mut list) => {
            while tested.contains(list.expr.as_ref()) {
                *list.expr = same.call(vec![*list.expr]);
            }
            Ok(Transformed::yes(Expr::InList(list)))
        }
        other => Ok(Transformed::no(other)),
    });
    Ok(BinaryExpr { right: Box::new(hidden?.data), ..binary })
}

/// What the lists of a condition test.
fn lists(condition: &Expr, into: &mut Vec<Expr>) {
    let _ = condition.apply(|e| {
        if let Expr::InList(list) = e {
            into.push(list.expr.as_ref().clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
}

/// A list whose elements depend on the row is compared one by one: DataFusion's list takes
/// every element that is not a column for a constant, also what the optimizer puts in place of
/// a column.
fn in_list(list: InList, schema: &DFSchema) -> DfResult<Expr> {
    let varies = |item: &Expr| item.any_column_refs() || item.contains_outer();
    if list.expr.is_volatile() || !list.list.iter().any(varies) {
        if Kind::of(&list.expr.get_type(schema)?) == Kind::Interval {
            let order = functions::scalar("interval_order")?;
            let InList { expr, list, negated } = list;
            let list = list.into_iter().map(|e| order.call(vec![e])).collect();
            return Ok(Expr::InList(InList { expr: Box::new(order.call(vec![*expr])), list, negated }));
        }
        let all: Vec<&Expr> = std::iter::once(list.expr.as_ref()).chain(&list.list).collect();
        let Some(to) = common_float(&all, schema)? else { return Ok(Expr::InList(list)) };
        let InList { expr, list, negated } = list;
        let expr = Box::new(float_member(*expr, &to, schema)?);
        let list = list.into_iter().map(|e| float_member(e, &to, schema)).collect::<DfResult<_>>()?;
        return Ok(Expr::InList(InList { expr, list, negated }));
    }
    let InList { expr, list, negated } = list;
    let op = if negated { Operator::NotEq } else { Operator::Eq };
    let compare = |item| interval_comparison(BinaryExpr::new(expr.clone(), op, Box::new(item)), schema);
    let compared = list.into_iter().map(compare).collect::<DfResult<Vec<_>>>()?;
    let whole = if negated { conjunction(compared) } else { disjunction(compared) };
    Ok(whole.unwrap_or_else(|| lit(negated)))
}

/// A quoted literal that is compared with a value of type `to`.
fn typed_literal(expr: Expr, to: &DataType) -> Expr {
    match &expr {
        Expr::Literal(ScalarValue::Utf8(text), _) if Kind::of(to) != Kind::Text && to != &DataType::Null => {
            let to = numeric_beside(text.as_deref().unwrap_or(""), to);
            Expr::Cast(Cast::new(Box::new(expr), to))
        }
        _ => expr,
    }
}

/// The type of a quoted number beside a value of type `to`: a numeric keeps its digits where
/// the declared scale of the value has not as many.
pub(super) fn numeric_beside(text: &str, to: &DataType) -> DataType {
    let DataType::Decimal128(precision, scale) = to else { return to.clone() };
    let fits = |n: Numeric| n.trimmed().scale <= *scale && n.fit(*precision, *scale).is_ok();
    match Numeric::parse(text).is_some_and(fits) || *precision == NUMERIC_PRECISION && *scale >= NUMERIC_SCALE
    {
        true => to.clone(),
        false => DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE.max(*scale)),
    }
}

/// Quoted literals beside ANY take the array's or the value's type.
fn array_comparison(mut args: Vec<Expr>, schema: &DFSchema) -> DfResult<Vec<Expr>> {
    let (value, array) = (args[1].get_type(schema)?, args[2].get_type(schema)?);
    let quoted = |e: &Expr| matches!(e, Expr::Literal(ScalarValue::Utf8(_), _));
    let cast = |e: Expr, to: DataType| Expr::Cast(Cast::new(Box::new(e), to));
    match (&value, &array) {
        (_, DataType::List(item)) => {
            if quoted(&args[1]) && Kind::of(item.data_type()) != Kind::Text {
                args[1] = cast(args[1].clone(), item.data_type().clone());
            }
        }
        (_, DataType::Utf8) if quoted(&args[2]) => {
            let item = Arc::new(arrow::datatypes::Field::new_list_field(value.clone(), true));
            args[2] = cast(args[2].clone(), DataType::List(item));
        }
        (_, DataType::Null) => {}
        _ => {
            let text = "op ANY/ALL (array) requires array on right side";
            return Err(HwError::new(sqlstate::WRONG_OBJECT_TYPE, text).into());
        }
    }
    let item = match args[2].get_type(schema)? {
        DataType::List(item) => item.data_type().clone(),
        _ => return Ok(args),
    };
    let value = args[1].get_type(schema)?;
    if value != DataType::Null && !super::operators::comparable(Kind::of(&value), Kind::of(&item)) {
        return Err(undefined_operator("=", &value, &item).into());
    }
    Ok(args)
}

/// Functions whose result is one of their arguments.
const ALTERNATIVES: [&str; 3] = ["coalesce", "greatest", "least"];

/// Alternatives of one expression, cast to the type in which they meet, so that its type is known
/// now: a quoted literal takes the type of the others. 42804 if they do not meet.
fn alternatives(word: &str, exprs: Vec<Expr>, schema: &DFSchema) -> DfResult<Vec<Expr>> {
    let quoted = |e: &Expr| matches!(e, Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Null, _));
    let mut meet: Option<FieldRef> = None;
    for e in exprs.iter().filter(|e| !quoted(e)) {
        let field = e.to_field(schema)?.1;
        let known = field.data_type() != &DataType::Null;
        meet = match meet {
            Some(before) if known => Some(set_types::common(word, &before, &field)?),
            None if known => Some(field),
            other => other,
        };
    }
    let Some(meet) = meet else { return Ok(exprs) };
    let by_length = matches!(Kind::of(meet.data_type()), Kind::Interval | Kind::Jsonb);
    if by_length && word != "CASE" && word != "COALESCE" {
        let what = format!("{word} of {}", functions::datum::type_name(meet.data_type()));
        return Err(HwError::unsupported(what, "Write CASE WHEN a > b THEN a ELSE b END.").into());
    }
    // Quoted numbers keep their digits beside numeric(p, s).
    let texts = exprs.iter().filter_map(|e| match e {
        Expr::Literal(ScalarValue::Utf8(text), _) => text.as_deref(),
        _ => None,
    });
    let to = &texts.fold(meet.data_type().clone(), |to, text| numeric_beside(text, &to));
    let cast = |e: Expr| match &e {
        Expr::Literal(ScalarValue::Utf8(_), _) => Ok(typed_literal(e, to)),
        _ if e.get_type(schema)? == *to => Ok(e),
        _ => Ok(Expr::Cast(Cast::new(Box::new(e), to.clone()))),
    };
    exprs.into_iter().map(cast).collect()
}

fn type_case(mut case: Case, schema: &DFSchema) -> DfResult<Case> {
    let count = case.when_then_expr.len();
    let mut results: Vec<Expr> = case.when_then_expr.iter().map(|(_, then)| then.as_ref().clone()).collect();
    results.extend(case.else_expr.as_deref().cloned());
    let mut results = alternatives("CASE", results, schema)?;
    if results.len() > count {
        case.else_expr = results.pop().map(Box::new);
    }
    for ((_, then), typed) in case.when_then_expr.iter_mut().zip(results) {
        **then = typed;
    }
    if let Some(base) = &case.expr {
        let to = base.get_type(schema)?;
        for (when, _) in &mut case.when_then_expr {
            **when = typed_literal(when.as_ref().clone(), &to);
        }
        if Kind::of(&to) == Kind::Interval {
            let order = functions::scalar("interval_order")?;
            for (when, _) in &mut case.when_then_expr {
                **when = order.call(vec![when.as_ref().clone()]);
            }
            case.expr = Some(Box::new(order.call(vec![base.as_ref().clone()])));
            return Ok(case);
        }
        // DataFusion looks literals up in a table, which it has not for every type.
        if matches!(to, DataType::FixedSizeBinary(_)) {
            for (when, _) in &mut case.when_then_expr {
                **when = base.as_ref().clone().eq(when.as_ref().clone());
            }
            case.expr = None;
            return Ok(case);
        }
        let whens = case.when_then_expr.iter().map(|(when, _)| when.get_type(schema).map(|t| Kind::of(&t)));
        let whens = whens.collect::<DfResult<Vec<_>>>()?;
        if whens.into_iter().any(|when| floats_differ(Kind::of(&to), when)) {
            let member = |e: &Expr| float_member(e.clone(), &DataType::Float64, schema).map(Box::new);
            for (when, _) in &mut case.when_then_expr {
                *when = member(when)?;
            }
            case.expr = Some(member(base)?);
        }
    }
    Ok(case)
}

fn interval_comparison(binary: BinaryExpr, schema: &DFSchema) -> DfResult<Expr> {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    let compares =
        matches!(binary.op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom);
    if compares {
        let types = (binary.left.get_type(schema)?, binary.right.get_type(schema)?);
        let kinds = (Kind::of(&types.0), Kind::of(&types.1));
        if matches!(kinds, (Kind::Interval, Kind::Interval)) || floats_differ(kinds.0, kinds.1) {
            let (left, right) = align(*binary.left, *binary.right, kinds.0, kinds.1)?;
            return Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), binary.op, Box::new(right))));
        }
    }
    Ok(Expr::BinaryExpr(binary))
}

/// Whether two kinds meet in double precision where DataFusion would choose otherwise.
pub(super) fn floats_differ(left: Kind, right: Kind) -> bool {
    use Kind::{Float4, Float8, Int2, Int4, Int8, Num};
    matches!(
        (left, right),
        (Num, Float4 | Float8)
            | (Float4 | Float8, Num)
            | (Int2 | Int4 | Int8, Float4)
            | (Float4, Int2 | Int4 | Int8)
    )
}

/// The float in which a list of numbers meets: the widest that is among them.
fn common_float(exprs: &[&Expr], schema: &DFSchema) -> DfResult<Option<DataType>> {
    let mut widest = None;
    let mut types = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let data_type = expr.get_type(schema)?;
        match data_type {
            DataType::Float64 => widest = Some(DataType::Float64),
            DataType::Float32 if widest.is_none() => widest = Some(DataType::Float32),
            _ => {}
        }
        types.push(data_type);
    }
    let differ = types.iter().any(|t| t.is_numeric() && Some(t) != widest.as_ref());
    Ok(widest.filter(|_| differ))
}

/// A number in the float in which it meets others.
fn float_member(expr: Expr, to: &DataType, schema: &DFSchema) -> DfResult<Expr> {
    let data_type = expr.get_type(schema)?;
    if !data_type.is_numeric() || &data_type == to {
        return Ok(expr);
    }
    Ok(match to {
        DataType::Float64 => as_float(expr),
        _ => Expr::Cast(Cast::new(Box::new(expr), to.clone())),
    })
}

fn rewrite_between(between: Between, schema: &DFSchema) -> DfResult<Expr> {
    let to = between.expr.get_type(schema)?;
    let kinds = [&between.low, &between.high].map(|e| e.get_type(schema).map(|t| Kind::of(&t)));
    let [low, high] = kinds;
    let (low, high) = (low?, high?);
    if floats_differ(Kind::of(&to), low) || floats_differ(Kind::of(&to), high) {
        return float_between(between, schema);
    }
    let low = typed_literal(unpadded(*between.low, &between.expr, schema), &to);
    let high = typed_literal(unpadded(*between.high, &between.expr, schema), &to);
    let kind = Kind::of(&to);
    let order = match kind {
        Kind::Interval => functions::scalar("interval_order")?,
        Kind::Jsonb => functions::scalar("jsonb_order")?,
        _ => {
            let (low, high) = (Box::new(low), Box::new(high));
            return Ok(Expr::Between(Between { expr: between.expr, negated: between.negated, low, high }));
        }
    };
    let call = |e: Expr| Box::new(order.call(vec![e]));
    Ok(Expr::Between(Between {
        expr: call(*between.expr),
        negated: between.negated,
        low: call(low),
        high: call(high),
    }))
}

/// Each bound is compared by itself.
fn float_between(between: Between, schema: &DFSchema) -> DfResult<Expr> {
    let Between { expr, negated, low, high } = between;
    let to = DataType::Float64;
    if Kind::of(&expr.get_type(schema)?) == Kind::Num {
        let at_least = interval_comparison(BinaryExpr::new(expr.clone(), Operator::GtEq, low), schema)?;
        let at_most = interval_comparison(BinaryExpr::new(expr, Operator::LtEq, high), schema)?;
        let within = at_least.and(at_most);
        return Ok(if negated { Expr::Not(Box::new(within)) } else { within });
    }
    let member = |e: Box<Expr>| float_member(*e, &to, schema).map(Box::new);
    Ok(Expr::Between(Between { expr: member(expr)?, negated, low: member(low)?, high: member(high)? }))
}

/// DataFusion reads constants of window functions (`ntile(4)`, `lag(x, 1)`) as bigint, and a quoted
/// default as text where it should take the value's type.
fn restore_window_constants(mut window: Box<WindowFunction>, schema: &DFSchema) -> DfResult<Expr> {
    use datafusion::logical_expr::WindowFunctionDefinition;
    let of = window.params.args.first().map(|value| value.get_type(schema)).transpose()?;
    if matches!(window.fun, WindowFunctionDefinition::WindowUDF(_)) {
        for (i, arg) in window.params.args.iter_mut().enumerate() {
            if i == 1 && matches!(&arg, Expr::Literal(value, _) if value.is_null()) {
                let what = format!("{} with NULL as the second argument", window.fun.name());
                return Err(HwError::unsupported(what, "It is NULL for every row: write NULL.").into());
            }
            if let (2, Some(to @ (DataType::List(_) | DataType::Binary))) = (i, &of) {
                *arg = typed_literal(arg.clone(), to);
            }
            let counts = i == 1 || window.fun.name() == "ntile";
            if let (true, Expr::Literal(ScalarValue::Int32(Some(v)), m)) = (counts, &arg) {
                *arg = Expr::Literal(ScalarValue::Int64(Some(i64::from(*v))), m.clone());
            }
        }
    }
    Ok(Expr::WindowFunction(window))
}

/// `VALUES` columns were typed from bigint literals when the plan was built.
fn narrow_values(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Values(values) = plan else { return Ok(Transformed::no(plan)) };
    let width = values.schema.fields().len();
    let fits = |column: usize| {
        values.values.iter().all(|row| match uncast(&row[column]) {
            Expr::Literal(ScalarValue::Int64(Some(v)), _) => i32::try_from(*v).is_ok(),
            Expr::Literal(ScalarValue::Int64(None) | ScalarValue::Null | ScalarValue::Int32(_), _) => true,
            _ => false,
        }) && values.schema.field(column).data_type() == &DataType::Int64
    };
    let narrow: Vec<bool> = (0..width).map(fits).collect();
    let lists: Vec<Option<DataType>> = values.schema.fields().iter().map(list_type).collect();
    if !narrow.contains(&true) && lists.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Values(values)));
    }
    let rows = values.values.into_iter().map(|row| {
        let cells = row.into_iter().zip(narrow.iter().zip(&lists)).map(|(cell, (narrow, list))| {
            match (narrow, uncast(&cell)) {
                // Arrays of literals were narrowed one by one; the column has one type.
                _ if list.is_some() => match list {
                    Some(to) => Expr::Cast(Cast::new(Box::new(cell), to.clone())),
                    None => cell,
                },
                (true, Expr::Literal(ScalarValue::Int64(v), _)) => {
                    Expr::Literal(ScalarValue::Int32(v.map(|v| v as i32)), None)
                }
                _ => cell,
            }
        });
        cells.collect()
    });
    Ok(Transformed::yes(LogicalPlanBuilder::values(rows.collect())?.build()?))
}

/// The type of a column of arrays.
fn list_type(field: &FieldRef) -> Option<DataType> {
    matches!(field.data_type(), DataType::List(_)).then(|| field.data_type().clone())
}

fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => uncast(&cast.expr),
        other => other,
    }
}
