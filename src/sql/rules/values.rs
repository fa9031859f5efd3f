//! VALUES whose rows differ in type, in the syntax tree.
//!
//! DataFusion wants every row of VALUES to have the types of the first. Literals of a column
//! get the type that PostgreSQL would find for them; rows with expressions of different types
//! become a UNION ALL of SELECTs, whose types [`super::set_types`] finds.

use std::ops::ControlFlow;

use sqlparser::ast::*;

use super::visit::each_query;
use crate::error::{HwError, Result, sqlstate};
use crate::types::pg_type::{NUMERIC_PRECISION, NUMERIC_SCALE};

/// Rewrites every VALUES of a statement.
pub fn rewrite<V: VisitMut>(statement: &mut V) -> Result<()> {
    each_query(statement, |query| body(&mut query.body))
}

fn body(set: &mut SetExpr) -> Result<()> {
    match set {
        SetExpr::SetOperation { left, right, .. } => {
            body(left)?;
            body(right)
        }
        SetExpr::Values(values) if values.rows.len() > 1 || has_subquery(values) => {
            if !(unify(values)? || has_subquery(values)) {
                return Ok(());
            }
            let template = super::rows::select_nothing()?;
            let rows = values.rows.drain(..).map(|row| select(&template, row.content));
            if let Some(union) = union_all(rows.collect()) {
                *set = union;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What a cell's type is, as far as its syntax tells.
#[derive(Clone, PartialEq)]
enum Class {
    Null,
    Quoted,
    Int4,
    Int8,
    Decimal,
    Bool,
    /// An explicit type, or the same call of a function.
    Typed(String),
    Other,
}

fn class(cell: &Expr) -> Class {
    match cell {
        Expr::Nested(inner) => class(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => match class(expr) {
            number @ (Class::Int4 | Class::Int8 | Class::Decimal) => number,
            _ => Class::Other,
        },
        Expr::Value(value) => match &value.value {
            Value::Null => Class::Null,
            Value::Boolean(_) => Class::Bool,
            Value::Number(n, _) if n.parse::<i32>().is_ok() => Class::Int4,
            Value::Number(n, _) if n.parse::<i64>().is_ok() => Class::Int8,
            Value::Number(..) => Class::Decimal,
            Value::Placeholder(_) => Class::Other,
            _ => Class::Quoted,
        },
        Expr::Cast { data_type, .. } => Class::Typed(data_type.to_string().to_lowercase()),
        Expr::TypedString(t) => Class::Typed(t.data_type.to_string().to_lowercase()),
        Expr::Interval(_) => Class::Typed("interval".into()),
        Expr::Array(_) => Class::Typed("array".into()),
        Expr::Function(f) => Class::Typed(format!("{}()", f.name).to_lowercase()),
        _ => Class::Other,
    }
}

/// Gives the literals of each column one type; true if some column needs more than that.
fn unify(values: &mut Values) -> Result<bool> {
    let width = values.rows[0].content.len();
    if values.rows.iter().any(|row| row.content.len() != width) {
        return Err(HwError::new(sqlstate::SYNTAX_ERROR, "VALUES lists must all be the same length"));
    }
    let mut targets = Vec::with_capacity(width);
    let mut mixed = false;
    for column in 0..width {
        match target(values.rows.iter().map(|row| &row.content[column])) {
            Target::Literals(target) => targets.push(target),
            Target::Mixed(named) => {
                mixed = true;
                targets.push(None);
                // What has no type of its own takes the first one that is written.
                for row in &mut values.rows {
                    let cell = &mut row.content[column];
                    match (&named, class(cell)) {
                        (Some(named), Class::Null) => cast(cell, named),
                        (Some(named), Class::Quoted) => cast(cell, &without_digits(named.clone())),
                        _ => {}
                    }
                }
            }
        }
    }
    for row in &mut values.rows {
        for (cell, target) in row.content.iter_mut().zip(&targets) {
            if let Some(data_type) = target
                && !matches!(class(cell), Class::Typed(_))
            {
                cast(cell, data_type);
            }
        }
    }
    Ok(mixed || values.rows.iter().flat_map(|row| &row.content).any(reads_columns))
}

/// DataFusion evaluates VALUES before any subquery.
fn has_subquery(values: &Values) -> bool {
    let found = visit_expressions(values, |e| match e {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Whether a cell reads columns, as those of LATERAL may; DataFusion wants the rows of VALUES to
/// agree in more than their types then.
fn reads_columns(cell: &Expr) -> bool {
    let found = visit_expressions(cell, |e| match e {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn cast(cell: &mut Expr, data_type: &DataType) {
    let inner = std::mem::replace(cell, Expr::Value(Value::Null.into()));
    *cell = Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(Expr::Nested(Box::new(inner))),
        data_type: data_type.clone(),
        array: false,
        format: None,
    };
}

/// What a column needs.
enum Target {
    /// Its literals are cast to this type, if any.
    Literals(Option<DataType>),
    /// Its cells have several types; the first that is written.
    Mixed(Option<DataType>),
}

/// A numeric that holds these literals.
fn numeric_of(whole: usize, fraction: usize) -> DataType {
    let plain = whole <= 28 && fraction <= 10;
    DataType::Numeric(match plain {
        true => ExactNumberInfo::None,
        false => ExactNumberInfo::PrecisionAndScale(38, fraction.min(38) as i64),
    })
}

/// A quoted number beside a numeric of some digits keeps its own.
fn without_digits(named: DataType) -> DataType {
    match named {
        DataType::Numeric(i) | DataType::Decimal(i) | DataType::Dec(i) => DataType::Numeric(match i {
            ExactNumberInfo::PrecisionAndScale(_, scale) if scale > i64::from(NUMERIC_SCALE) => {
                ExactNumberInfo::PrecisionAndScale(u64::from(NUMERIC_PRECISION), scale)
            }
            _ => ExactNumberInfo::None,
        }),
        other => other,
    }
}

fn digits(cell: &Expr) -> (usize, usize) {
    match cell {
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => digits(inner),
        Expr::Value(ValueWithSpan { value: Value::Number(n, _), .. }) => {
            let (whole, fraction) = n.split_once('.').unwrap_or((n, ""));
            (whole.len(), fraction.len())
        }
        _ => (0, 0),
    }
}

/// The type that the cells of a column are cast to, if they must be.
fn target<'a>(cells: impl Iterator<Item = &'a Expr>) -> Target {
    let (mut whole, mut fraction) = (0, 0);
    let mut classes: Vec<Class> = Vec::new();
    let mut named: Option<DataType> = None;
    for cell in cells {
        let class = class(cell);
        let (own_whole, own_fraction) = digits(cell);
        (whole, fraction) = (own_whole.max(whole), own_fraction.max(fraction));
        if let (Expr::Cast { data_type, .. }, None) = (cell, &named) {
            named = Some(data_type.clone());
        }
        if let (Expr::TypedString(TypedString { data_type, .. }), None) = (cell, &named) {
            named = Some(data_type.clone());
        }
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    let has = |c: Class| classes.contains(&c);
    if has(Class::Other) {
        return if classes.len() == 1 { Target::Literals(None) } else { Target::Mixed(named) };
    }
    let typed = classes.iter().filter(|c| matches!(c, Class::Typed(_))).count();
    let numbers = [Class::Int4, Class::Int8, Class::Decimal].into_iter().filter(|c| has(c.clone())).count();
    let families = typed + usize::from(numbers > 0) + usize::from(has(Class::Bool));
    if families > 1 {
        return Target::Mixed(named);
    }
    let strings = has(Class::Quoted);
    Target::Literals(match families {
        0 => None,
        _ if typed == 1 && classes.len() == 1 => None,
        _ if typed == 1 && named.is_none() => return Target::Mixed(None),
        _ if typed == 1 && strings && named.as_ref().is_some_and(|n| without_digits(n.clone()) != *n) => {
            return Target::Mixed(named);
        }
        _ if typed == 1 => named,
        _ if has(Class::Bool) => strings.then_some(DataType::Boolean),
        _ if has(Class::Decimal) && (numbers > 1 || strings) => Some(numeric_of(whole, fraction)),
        _ if has(Class::Int8) && (numbers > 1 || strings) => Some(DataType::BigInt(None)),
        _ if strings => Some(DataType::Integer(None)),
        _ => None,
    })
}

fn select(template: &Select, cells: Vec<Expr>) -> SetExpr {
    let named = |(n, expr): (usize, Expr)| SelectItem::ExprWithAlias {
        expr,
        alias: Ident::new(format!("column{}", n + 1)),
    };
    let mut select = template.clone();
    select.projection = cells.into_iter().enumerate().map(named).collect();
    SetExpr::Select(Box::new(select))
}

/// As a balanced tree, so that many rows do not nest deep.
fn union_all(mut parts: Vec<SetExpr>) -> Option<SetExpr> {
    if parts.len() < 2 {
        return parts.pop();
    }
    let right = parts.split_off(parts.len() / 2);
    Some(SetExpr::SetOperation {
        op: SetOperator::Union,
        set_quantifier: SetQuantifier::All,
        left: Box::new(union_all(parts)?),
        right: Box::new(union_all(right)?),
    })
}
