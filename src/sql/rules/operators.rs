//! Binary operators by PostgreSQL's rules, decided while a query is planned.
//!
//! Literals of unknown type take the other operand's type, parameters too; arithmetic
//! becomes [`Arith`]; jsonb and concatenation operators become calls of their functions;
//! comparisons of types that PostgreSQL does not compare are 42883.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Cast, Placeholder};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, GetFieldAccess, Operator, lit, when};
use sqlparser::ast::BinaryOperator as Op;

use super::literals::narrow_literal;
use crate::error::Result;
use crate::sql::functions::arith::{Arith, ArithOp, undefined_operator};
use crate::sql::functions::{self, datum::Kind, decimal::Numeric};
use crate::types::PgType;

/// The first expression planner of every session.
#[derive(Debug)]
pub struct PgOperators;

impl ExprPlanner for PgOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        let (left, right) = (narrow_literal(left), narrow_literal(right));
        let Some(kind) = operator_kind(&op) else {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        };
        Ok(match plan(kind, left, right, schema)? {
            Planned::Done(expr) => PlannerResult::Planned(expr),
            Planned::Default(left, right) => PlannerResult::Original(RawBinaryExpr { op, left, right }),
        })
    }

    fn plan_substring(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        // substring(text from pattern): the first group, or else the whole match.
        if let [text, pattern] = args.as_slice()
            && is_unknown(pattern)
        {
            let call = functions::scalar("regexp_first_part")?.call(vec![text.clone(), pattern.clone()]);
            return Ok(PlannerResult::Planned(call));
        }
        Ok(PlannerResult::Planned(functions::scalar("substr")?.call(args)))
    }

    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawFieldAccessExpr>> {
        let RawFieldAccessExpr { field_access, expr } = access;
        let json = expr.get_type(schema)? == DataType::LargeUtf8;
        let planned = match &field_access {
            GetFieldAccess::NamedStructField { name } if json => {
                let name = Expr::Literal(name.clone(), None);
                functions::scalar("jsonb_object_field")?.call(vec![expr, name])
            }
            GetFieldAccess::ListIndex { key } if json => {
                functions::scalar("jsonb_object_field")?.call(vec![expr, narrow_literal(*key.clone())])
            }
            GetFieldAccess::ListIndex { key } => {
                let key = subscript(narrow_literal(*key.clone()))?;
                datafusion::functions_nested::expr_fn::array_element(expr, key)
            }
            _ => return Ok(PlannerResult::Original(RawFieldAccessExpr { field_access, expr })),
        };
        Ok(PlannerResult::Planned(planned))
    }

    fn plan_extract(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(functions::scalar("extract")?.call(args)))
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(functions::scalar("overlay")?.call(args)))
    }

    fn plan_position(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(functions::scalar("strpos")?.call(args)))
    }
}

/// Subscripts count from 1; DataFusion would count negative ones from the end.
fn subscript(key: Expr) -> DfResult<Expr> {
    match &key {
        Expr::Literal(ScalarValue::Int32(Some(n)), _) if *n > 0 => Ok(key),
        _ => when(key.clone().gt(lit(0i64)), key).end(),
    }
}

enum OpKind {
    Arith(ArithOp),
    Compare(&'static str),
    /// Function for jsonb operands, and the symbol.
    Json(&'static str, &'static str),
    Concat,
    /// `~` and its kin: whether case counts, whether it is negated.
    Regex {
        insensitive: bool,
        negated: bool,
    },
    /// `&&` of arrays.
    Overlap,
    /// A function of both operands.
    Call(&'static str),
}

fn operator_kind(op: &Op) -> Option<OpKind> {
    Some(match op {
        Op::Plus => OpKind::Arith(ArithOp::Add),
        Op::Minus => OpKind::Arith(ArithOp::Sub),
        Op::Multiply => OpKind::Arith(ArithOp::Mul),
        Op::Divide => OpKind::Arith(ArithOp::Div),
        Op::Modulo => OpKind::Arith(ArithOp::Rem),
        Op::PGExp => OpKind::Arith(ArithOp::Pow),
        Op::Eq => OpKind::Compare("="),
        Op::NotEq => OpKind::Compare("<>"),
        Op::Lt => OpKind::Compare("<"),
        Op::LtEq => OpKind::Compare("<="),
        Op::Gt => OpKind::Compare(">"),
        Op::GtEq => OpKind::Compare(">="),
        Op::Arrow => OpKind::Json("jsonb_object_field", "->"),
        Op::LongArrow => OpKind::Json("jsonb_object_field_text", "->>"),
        Op::HashArrow => OpKind::Json("jsonb_path_get", "#>"),
        Op::HashLongArrow => OpKind::Json("jsonb_path_get_text", "#>>"),
        Op::AtArrow => OpKind::Json("jsonb_contains", "@>"),
        Op::ArrowAt => OpKind::Json("jsonb_contains", "<@"),
        Op::Question => OpKind::Json("jsonb_exists", "?"),
        Op::QuestionPipe => OpKind::Json("jsonb_exists_any", "?|"),
        Op::QuestionAnd => OpKind::Json("jsonb_exists_all", "?&"),
        Op::HashMinus => OpKind::Json("jsonb_delete_path", "#-"),
        Op::AtQuestion => OpKind::Json("jsonb_path_found", "@?"),
        Op::AtAt => OpKind::Json("jsonb_path_test", "@@"),
        Op::PGOverlap => OpKind::Overlap,
        Op::PGBitwiseShiftLeft => OpKind::Call("shift_left"),
        Op::PGBitwiseShiftRight => OpKind::Call("shift_right"),
        // DataFusion takes `x # x` for zero, also of NULL.
        Op::PGBitwiseXor => OpKind::Call("bitxor"),
        Op::PGStartsWith => OpKind::Call("starts_with"),
        Op::StringConcat => OpKind::Concat,
        Op::PGRegexMatch => OpKind::Regex { insensitive: false, negated: false },
        Op::PGRegexIMatch => OpKind::Regex { insensitive: true, negated: false },
        Op::PGRegexNotMatch => OpKind::Regex { insensitive: false, negated: true },
        Op::PGRegexNotIMatch => OpKind::Regex { insensitive: true, negated: true },
        _ => return None,
    })
}

enum Planned {
    Done(Expr),
    Default(Expr, Expr),
}

fn plan(op: OpKind, left: Expr, right: Expr, schema: &DFSchema) -> DfResult<Planned> {
    let (left, right) = (infer(left, &right, schema)?, right);
    let (right, left) = (infer(right, &left, schema)?, left);
    let types = (left.get_type(schema)?, right.get_type(schema)?);
    match op {
        OpKind::Arith(ArithOp::Sub) if types.0 == DataType::LargeUtf8 => {
            Ok(Planned::Done(functions::scalar("jsonb_delete")?.call(vec![left, right])))
        }
        OpKind::Overlap => {
            let left = resolve_unknown(left, &types.0, &types.1, None);
            let right = resolve_unknown(right, &types.1, &types.0, None);
            Ok(Planned::Done(functions::scalar("array_overlap")?.call(vec![left, right])))
        }
        OpKind::Arith(op) => {
            let left = resolve_unknown(left, &types.0, &types.1, Some(op));
            let right = resolve_unknown(right, &types.1, &types.0, Some(op));
            Ok(Planned::Done(Arith::call(op, left, right)))
        }
        OpKind::Compare(symbol) => {
            let left = unpadded(left, &right, schema);
            let right = unpadded(right, &left, schema);
            let left = resolve_unknown(left, &types.0, &types.1, None);
            let right = resolve_unknown(right, &types.1, &types.0, None);
            compare(symbol, left, right, schema)
        }
        OpKind::Call(function) => Ok(Planned::Done(functions::scalar(function)?.call(vec![left, right]))),
        OpKind::Json(function, symbol) => json(function, symbol, left, right, types),
        OpKind::Concat => concat(left, right, types),
        OpKind::Regex { insensitive, negated } => {
            let text = |t: &DataType| t == &DataType::Null || Kind::of(t) == Kind::Text;
            if !text(&types.0) || !text(&types.1) {
                let symbol = ["~", "~*", "!~", "!~*"][usize::from(insensitive) + 2 * usize::from(negated)];
                return Err(undefined_operator(symbol, &types.0, &types.1).into());
            }
            let mut args = vec![left, right];
            args.extend(insensitive.then(|| lit("i")));
            let matched = functions::scalar("regexp_test")?.call(args);
            Ok(Planned::Done(if negated { Expr::Not(Box::new(matched)) } else { matched }))
        }
    }
}

/// A parameter of unknown type takes the other operand's type.
fn infer(expr: Expr, other: &Expr, schema: &DFSchema) -> DfResult<Expr> {
    match expr {
        Expr::Placeholder(Placeholder { id, field: None }) if !matches!(other, Expr::Placeholder(_)) => {
            let data_type = match other.get_type(schema)? {
                DataType::Interval(_) => PgType::Interval.carrier(),
                other => other,
            };
            Ok(Expr::Placeholder(Placeholder {
                id,
                field: Some(Arc::new(arrow::datatypes::Field::new("", data_type, true))),
            }))
        }
        other => Ok(other),
    }
}

/// A quoted literal beside a `character(n)` is one, too: blanks at its end do not count.
pub(super) fn unpadded(expr: Expr, beside: &Expr, schema: &DFSchema) -> Expr {
    let padded =
        |e: &Expr| e.to_field(schema).is_ok_and(|(_, f)| matches!(PgType::of(&f), PgType::Bpchar(_)));
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), m) if text.ends_with(' ') && padded(beside) => {
            Expr::Literal(ScalarValue::Utf8(Some(text.trim_end_matches(' ').to_string())), m)
        }
        other => other,
    }
}

fn is_unknown(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(_), _))
}

/// A quoted literal takes the type that the operator wants from it.
fn resolve_unknown(expr: Expr, own: &DataType, other: &DataType, op: Option<ArithOp>) -> Expr {
    if !is_unknown(&expr) || own != &DataType::Utf8 {
        return expr;
    }
    let to = match (Kind::of(other), op) {
        _ if other == &DataType::Null => return expr,
        (Kind::Text, _) => return expr,
        (Kind::Ts | Kind::Tstz | Kind::Time, Some(ArithOp::Add)) => PgType::Interval.carrier(),
        (Kind::Date, Some(ArithOp::Add)) => PgType::Interval.carrier(),
        (Kind::Interval, Some(ArithOp::Mul | ArithOp::Div)) => DataType::Float64,
        (Kind::Num, _) => PgType::Numeric(None).carrier(),
        _ => other.clone(),
    };
    Expr::Cast(Cast::new(Box::new(expr), to))
}

/// Types that PostgreSQL compares with each other without a cast.
pub fn comparable(a: Kind, b: Kind) -> bool {
    use Kind::*;
    let class = |k: Kind| match k {
        Int2 | Int4 | Int8 | Num | Float4 | Float8 => Some(1),
        Date | Ts | Tstz => Some(2),
        Text => Some(3),
        Bool => Some(4),
        Bytea => Some(5),
        Uuid => Some(6),
        Jsonb => Some(7),
        Interval | Time => Some(8),
        _ => None,
    };
    match (class(a), class(b)) {
        (Some(x), Some(y)) => x == y,
        _ => true,
    }
}

fn compare(symbol: &str, left: Expr, right: Expr, schema: &DFSchema) -> DfResult<Planned> {
    let types = (left.get_type(schema)?, right.get_type(schema)?);
    if types.0 == DataType::Null || types.1 == DataType::Null {
        return Ok(Planned::Default(left, right));
    }
    let (l, r) = (Kind::of(&types.0), Kind::of(&types.1));
    if l == Kind::RawJson || r == Kind::RawJson {
        let hint = "Cast it to jsonb, which can be compared: (…)::jsonb.";
        return Err(undefined_operator(symbol, &types.0, &types.1).with_hint(hint).into());
    }
    if !comparable(l, r) {
        return Err(undefined_operator(symbol, &types.0, &types.1).into());
    }
    if (l, r) == (Kind::AnyArray, Kind::AnyArray) && !matches!(symbol, "=" | "<>") {
        // DataFusion puts NULL elements first.
        let ordered = functions::scalar("array_ordered")?;
        return Ok(Planned::Done(ordered.call(vec![lit(symbol), left, right])));
    }
    let (left, right) = align(left, right, l, r)?;
    Ok(Planned::Default(left, right))
}

/// Brings operands to the type in which PostgreSQL compares them.
pub fn align(left: Expr, right: Expr, l: Kind, r: Kind) -> Result<(Expr, Expr)> {
    use Kind::*;
    let cast = |e: Expr, k: Kind| Expr::Cast(Cast::new(Box::new(e), k.carrier()));
    Ok(match (l, r) {
        (Interval, _) | (_, Interval) => {
            let order = functions::scalar("interval_order")?;
            (order.call(vec![left]), order.call(vec![right]))
        }
        (Jsonb, Jsonb) => {
            let order = functions::scalar("jsonb_order")?;
            (order.call(vec![left]), order.call(vec![right]))
        }
        (Num, Float4 | Float8) | (Float4 | Float8, Num) => (as_float(left), as_float(right)),
        (Int2 | Int4 | Int8, Float4) | (Float4, Int2 | Int4 | Int8) => (as_float(left), as_float(right)),
        (Date, Ts) | (Ts, Tstz) | (Date, Tstz) => (cast(left, r), right),
        (Ts, Date) | (Tstz, Ts) | (Tstz, Date) => (left, cast(right, l)),
        _ => (left, right),
    })
}

/// A number as the double precision in which it meets a float.
pub(super) fn as_float(expr: Expr) -> Expr {
    match &expr {
        Expr::Literal(ScalarValue::Decimal128(Some(v), _, scale), _) => {
            lit(Numeric::new(*v, *scale).to_f64())
        }
        _ => Expr::Cast(Cast::new(Box::new(expr), DataType::Float64)),
    }
}

fn json(
    function: &str,
    symbol: &str,
    left: Expr,
    right: Expr,
    types: (DataType, DataType),
) -> DfResult<Planned> {
    let jsonb = |t: &DataType| t == &DataType::LargeUtf8 || t == &DataType::Null;
    let cast = |e: Expr| Expr::Cast(Cast::new(Box::new(e), DataType::LargeUtf8));
    let call = |l: Expr, r: Expr| -> DfResult<Planned> {
        Ok(Planned::Done(functions::scalar(function)?.call(vec![l, r])))
    };
    match symbol {
        "@>" | "<@" if matches!(types.0, DataType::List(_)) || matches!(types.1, DataType::List(_)) => {
            let left = resolve_unknown(left, &types.0, &types.1, None);
            let right = resolve_unknown(right, &types.1, &types.0, None);
            let (whole, part) = if symbol == "@>" { (left, right) } else { (right, left) };
            Ok(Planned::Done(functions::scalar("array_covers")?.call(vec![whole, part])))
        }
        "@>" | "<@" if types.0 != DataType::LargeBinary && types.1 != DataType::LargeBinary => {
            let left = if is_unknown(&left) { cast(left) } else { left };
            let right = if is_unknown(&right) { cast(right) } else { right };
            if symbol == "@>" { call(left, right) } else { call(right, left) }
        }
        "->" | "->>" | "#>" | "#>>" if types.0 == DataType::LargeBinary => {
            let function = function.replacen("jsonb_", "json_", 1);
            Ok(Planned::Done(functions::scalar(&function)?.call(vec![left, right])))
        }
        _ if jsonb(&types.0) => call(left, right),
        _ => Err(undefined_operator(symbol, &types.0, &types.1).into()),
    }
}

fn concat(left: Expr, right: Expr, types: (DataType, DataType)) -> DfResult<Planned> {
    let (l, r) = (Kind::of(&types.0), Kind::of(&types.1));
    let null = |t: &DataType| t == &DataType::Null;
    let call = |name: &str, l: Expr, r: Expr| -> DfResult<Planned> {
        Ok(Planned::Done(functions::scalar(name)?.call(vec![l, r])))
    };
    let cast_to = |e: Expr, to: DataType| Expr::Cast(Cast::new(Box::new(e), to));
    let cast = |e: Expr| cast_to(e, DataType::LargeUtf8);
    match (l, r) {
        (Kind::AnyArray, _) if is_unknown(&right) => Ok(Planned::Default(left, cast_to(right, types.0))),
        (_, Kind::AnyArray) if is_unknown(&left) => Ok(Planned::Default(cast_to(left, types.1), right)),
        // An array with NULL is the array, not one with one more element.
        (Kind::AnyArray, _) if null(&types.1) => Ok(Planned::Done(left)),
        (_, Kind::AnyArray) if null(&types.0) => Ok(Planned::Done(right)),
        (Kind::AnyArray, _) | (_, Kind::AnyArray) => Ok(Planned::Default(left, right)),
        (Kind::Jsonb, Kind::Jsonb) => call("jsonb_concat", left, right),
        (Kind::Jsonb, _) if is_unknown(&right) => call("jsonb_concat", left, cast(right)),
        (_, Kind::Jsonb) if is_unknown(&left) => call("jsonb_concat", cast(left), right),
        (Kind::Bytea, Kind::Bytea) => call("pg_concat", left, right),
        (Kind::Bytea, _) if is_unknown(&right) => call("pg_concat", left, cast_to(right, DataType::Binary)),
        (_, Kind::Bytea) if is_unknown(&left) => call("pg_concat", cast_to(left, DataType::Binary), right),
        (Kind::Text, _) | (_, Kind::Text) => call("pg_concat", left, right),
        _ if null(&types.0) || null(&types.1) => call("pg_concat", left, right),
        _ => Err(undefined_operator("||", &types.0, &types.1).into()),
    }
}

/// Arithmetic that reached the plan as DataFusion's own operator.
pub fn arithmetic_call(binary: &BinaryExpr) -> Option<Expr> {
    let op = match binary.op {
        Operator::Plus => ArithOp::Add,
        Operator::Minus => ArithOp::Sub,
        Operator::Multiply => ArithOp::Mul,
        Operator::Divide => ArithOp::Div,
        Operator::Modulo => ArithOp::Rem,
        _ => return None,
    };
    Some(Arith::call(op, (*binary.left).clone(), (*binary.right).clone()))
}
