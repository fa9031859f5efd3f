//! The column types of set operations, by PostgreSQL's rules (UNION, CASE and related
//! constructs): a literal of unknown type takes the other side's type, numbers and dates go
//! to the wider type, and types of different families are 42804.
//!
//! Runs with the rewrite of literals, inputs first, and so before DataFusion's coercion, which
//! would turn such columns into text.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, Projection, Union};

use super::literals::numeric_beside;
use crate::error::{HwError, sqlstate};
use crate::plan::SetOpNode;
use crate::sql::functions::cast::PgCast;
use crate::sql::functions::datum::{Kind, type_name, with_type};
use crate::types::PgType;

/// UNION ALL of UNION ALL is one, whose columns meet in one type.
pub(super) fn flatten(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Union(union) = plan else { return Ok(Transformed::no(plan)) };
    if !union.inputs.iter().any(|i| matches!(i.as_ref(), LogicalPlan::Union(_))) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let mut inputs = Vec::new();
    leaves(union.inputs, &mut inputs);
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema: union.schema })))
}

fn leaves(inputs: Vec<Arc<LogicalPlan>>, into: &mut Vec<Arc<LogicalPlan>>) {
    for input in inputs {
        match input.as_ref() {
            LogicalPlan::Union(union) => leaves(union.inputs.clone(), into),
            _ => into.push(input),
        }
    }
}

/// A set operation with the same types on both sides; 42804 if there are none, 42601 for different
/// numbers of columns. Any other node stays as it is.
pub(super) fn set_operation(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Union(union) => {
            let inputs: Vec<LogicalPlan> = union.inputs.iter().map(|i| i.as_ref().clone()).collect();
            let inputs = unify("UNION", inputs)?.into_iter().map(Arc::new).collect();
            Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
        }
        LogicalPlan::Extension(e) => {
            let Some(node) = e.node.as_any().downcast_ref::<SetOpNode>() else {
                return Ok(Transformed::no(LogicalPlan::Extension(e)));
            };
            let sides =
                unify(node.kind.word(), vec![node.left.as_ref().clone(), node.right.as_ref().clone()])?;
            let [left, right] = <[LogicalPlan; 2]>::try_from(sides)
                .map_err(|_| HwError::internal("a set operation has lost a side"))?;
            let node = Arc::new(SetOpNode::try_new(node.kind, left, right)?);
            Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn unify(word: &str, inputs: Vec<LogicalPlan>) -> DfResult<Vec<LogicalPlan>> {
    let width = inputs.first().map_or(0, |i| i.schema().fields().len());
    if inputs.iter().any(|i| i.schema().fields().len() != width) {
        let message = format!("each {word} query must have the same number of columns");
        return Err(HwError::new(sqlstate::SYNTAX_ERROR, message).into());
    }
    let mut targets = Vec::with_capacity(width);
    for column in 0..width {
        let mut target: Option<FieldRef> = None;
        for input in inputs.iter().filter(|i| !is_unknown(i, column)) {
            let field = settled(&input.schema().fields()[column]);
            target = Some(match target {
                None => field,
                Some(before) => common(word, &before, &field)?,
            });
        }
        for input in &inputs {
            if let (Some(numeric), Some(text)) = (&target, quoted(input, column)) {
                let data_type = numeric_beside(&text, numeric.data_type());
                if data_type != *numeric.data_type() {
                    target = Some(Arc::new(with_type(Field::new("", data_type, true), "numeric")));
                }
            }
        }
        let text = || Arc::new(Field::new("", DataType::Utf8, true));
        targets.push(target.unwrap_or_else(text));
    }
    inputs.into_iter().map(|input| convert(input, &targets)).collect()
}

/// The field; if it is an array, its items without the mark of a numeric that is none: casts, which
/// are bound later, still carry the marks of what they convert.
fn settled(field: &FieldRef) -> FieldRef {
    let DataType::List(item) = field.data_type() else { return Arc::clone(field) };
    let is_numeric = |t: &PgType| matches!(t, PgType::Numeric(_));
    if !is_numeric(&PgType::of(item)) || is_numeric(&PgType::of_carrier(item.data_type())) {
        return Arc::clone(field);
    }
    let item = item.as_ref().clone().with_metadata(Default::default());
    Arc::new(field.as_ref().clone().with_data_type(DataType::List(Arc::new(item))))
}

/// A bare quoted literal or NULL in the select list.
pub fn is_unknown(plan: &LogicalPlan, column: usize) -> bool {
    if plan.schema().field(column).data_type() == &DataType::Null {
        return true;
    }
    matches!(plan, LogicalPlan::Projection(p)
        if matches!(p.expr[column].clone().unalias(), Expr::Literal(ScalarValue::Utf8(_), _)))
}

/// The text of a quoted literal in the select list.
fn quoted(plan: &LogicalPlan, column: usize) -> Option<String> {
    let LogicalPlan::Projection(p) = plan else { return None };
    match p.expr[column].clone().unalias() {
        Expr::Literal(ScalarValue::Utf8(text), _) => text,
        _ => None,
    }
}

/// The type in which values of two types meet; 42804 if there is none.
pub fn common(word: &str, a: &FieldRef, b: &FieldRef) -> DfResult<FieldRef> {
    use Kind::{Date, Float4, Float8, Int2, Int4, Int8, Num, Ts, Tstz};
    let (x, y) = (a.data_type(), b.data_type());
    if x == y {
        let same = a.metadata() == b.metadata();
        return Ok(if same { Arc::clone(a) } else { Arc::new(Field::new("", x.clone(), true)) });
    }
    let numbers = [Int2, Int4, Int8, Num, Float4, Float8];
    let dates = [Date, Ts, Tstz];
    let (j, k) = (Kind::of(x), Kind::of(y));
    let rank = |family: &[Kind]| {
        let at = |kind: Kind| family.iter().position(|f| *f == kind);
        at(j).zip(at(k)).map(|(p, q)| p.max(q))
    };
    if let (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) = (x, y) {
        let scale = *s1.max(s2);
        let whole = (*p1 as i8 - s1).max(*p2 as i8 - s2);
        let data_type = DataType::Decimal128((whole + scale).clamp(1, 38) as u8, scale);
        return Ok(Arc::new(with_type(Field::new("", data_type, true), "numeric")));
    }
    if let Some(widest) = rank(&numbers) {
        return Ok(Arc::new(match numbers[widest] {
            Num => {
                let scale = |t: &DataType| if let DataType::Decimal128(_, s) = t { *s } else { 0 };
                let data_type = DataType::Decimal128(38, scale(x).max(scale(y)).max(10));
                with_type(Field::new("", data_type, true), "numeric")
            }
            kind => Field::new("", kind.carrier(), true),
        }));
    }
    if let Some(widest) = rank(&dates) {
        return Ok(Arc::new(Field::new("", dates[widest].carrier(), true)));
    }
    if j == k && !matches!(j, Kind::AnyArray) {
        return Ok(Arc::new(Field::new("", j.carrier(), true)));
    }
    let message = format!("{word} types {} and {} cannot be matched", type_name(x), type_name(y));
    Err(HwError::new(sqlstate::DATATYPE_MISMATCH, message).into())
}

/// `plan` with columns of the target types, and its names.
pub fn convert(plan: LogicalPlan, targets: &[FieldRef]) -> DfResult<LogicalPlan> {
    let fields: Vec<_> = plan.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
    if fields.iter().zip(targets).all(|((_, f), t)| f.data_type() == t.data_type()) {
        return Ok(plan);
    }
    let cast = |e: Expr, field: &FieldRef, target: &FieldRef| match field.data_type() == target.data_type() {
        true => e,
        false if field.data_type() == &DataType::Null => {
            Expr::Cast(Cast::new(Box::new(e), target.data_type().clone()))
        }
        false => PgCast::call(e, target),
    };
    if let LogicalPlan::Projection(p) = plan {
        let exprs = p.expr.into_iter().zip(&fields).zip(targets).map(|((e, (q, field)), target)| {
            let named = field.data_type() == target.data_type();
            if named { e } else { cast(e.unalias(), field, target).alias_qualified(q.clone(), field.name()) }
        });
        return Ok(LogicalPlan::Projection(Projection::try_new(exprs.collect(), p.input)?));
    }
    let exprs = fields.iter().zip(targets).map(|((q, field), target)| {
        let column = Expr::Column(Column::new(q.clone(), field.name()));
        cast(column, field, target).alias_qualified(q.clone(), field.name())
    });
    Ok(LogicalPlan::Projection(Projection::try_new(exprs.collect(), Arc::new(plan))?))
}
