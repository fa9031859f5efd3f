//! Bounds of joins in event time.
//!
//! A join whose condition bounds the distance of two event times on both ends, over
//! append-only inputs with watermarks, can forget rows that no row on time will match. A
//! conjunct counts if the join's condition cannot be true without it; so do its equalities, and
//! comparisons of the difference of two times. The bounds only decide when rows are forgotten:
//! the condition itself is still evaluated for every pair.

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::lower::Lowering;
use super::*;

const DAY_US: i64 = 86_400_000_000;
/// A day with a time zone may be this much longer or shorter.
const DAY_SLACK_US: i64 = 2 * 3_600_000_000;

/// `left column − right column` in microseconds, between these.
#[derive(Default)]
struct Distance {
    lower: Option<i64>,
    upper: Option<i64>,
}

/// A column plus a constant that lies between these.
struct Moved {
    column: usize,
    from_us: i64,
    to_us: i64,
}

impl Lowering<'_> {
    /// The bounds of a join of `left` and `right`, if both sides can be forgotten by time;
    /// `equal` are pairs that are not NULL and equal. Schemas and columns are those of the query;
    /// extra columns of the nodes come behind.
    pub(super) fn join_interval(
        &self,
        condition: Option<&Expr>,
        equal: &[(Expr, Expr)],
        schemas: [&DFSchema; 2],
        nodes: [NodeId; 2],
    ) -> Option<JoinInterval> {
        let mut parts = Vec::new();
        condition.iter().for_each(|c| necessary(c, &mut parts));
        let mut found: Vec<([usize; 2], Distance)> = Vec::new();
        let same = |(a, b): &(Expr, Expr)| compared(Operator::Eq, (moved(a, schemas)?, moved(b, schemas)?));
        let bounds = parts.into_iter().filter_map(|part| bound(part, schemas));
        for (columns, bound) in bounds.chain(equal.iter().filter_map(same)) {
            let at = found.iter().position(|(c, _)| *c == columns).unwrap_or_else(|| {
                found.push((columns, Distance::default()));
                found.len() - 1
            });
            let distance = &mut found[at].1;
            distance.lower = [distance.lower, bound.lower].into_iter().flatten().max();
            distance.upper = [distance.upper, bound.upper].into_iter().flatten().min();
        }
        found.into_iter().find_map(|(times, distance)| {
            let (left, right) =
                (self.sound_clock(nodes[0], times[0])?, self.sound_clock(nodes[1], times[1])?);
            let limits_us = [distance.lower?, distance.upper?.checked_neg()?];
            let clocks = [left.beside(&right), right.beside(&left)];
            Some(JoinInterval { times, limits_us, clocks, late_us: Some([0, 0]), by_window: false })
        })
    }

    /// A join on the ends of windows whose rows come once, when they are final.
    pub(super) fn window_interval(
        &self,
        join: &JoinNode,
        left: NodeId,
        right: NodeId,
    ) -> Option<JoinInterval> {
        let pair = join.window.as_ref()?.key;
        if join.kind == JoinKind::Inner {
            return None;
        }
        let times = [join.left_keys[pair], join.right_keys[pair]];
        let clock = |node: NodeId, column: usize| {
            let found = self.final_at(node, column)?;
            let over_after_us = found.to_end_us.saturating_add(found.lateness_us);
            let clock = found.time.clock().filter(|_| self.nodes[node].facts.append_only)?;
            Some((clock.clone(), over_after_us))
        };
        let ((left, left_us), (right, right_us)) = (clock(left, times[0])?, clock(right, times[1])?);
        // The end itself counts as passed.
        let limits_us = [1i64.saturating_sub(right_us), 1i64.saturating_sub(left_us)];
        let clocks = [left.beside(&right), right.beside(&left)];
        Some(JoinInterval { times, limits_us, clocks, late_us: None, by_window: true })
    }

    /// The watermark that bounds what `column` may still hold, if one does.
    fn sound_clock(&self, node: NodeId, column: usize) -> Option<Clock> {
        let facts = &self.nodes[node].facts;
        match &facts.columns[column] {
            ColumnFact::EventTime { clock } if facts.append_only && self.is_timely(node) => {
                Some(clock.clone())
            }
            _ => None,
        }
    }

    /// Whether rows pass in the epoch in which they arrive, or are held by time alone. A plain
    /// join pairs old rows with new ones, whose times are then older than the watermark.
    pub(super) fn is_timely(&self, node: NodeId) -> bool {
        let n = &self.nodes[node];
        let held = matches!(&n.op, StreamOp::Join(j) if j.interval.is_none() && j.temporal.is_none());
        !held && n.children.iter().all(|c| self.is_timely(*c))
    }
}

/// Conjuncts without which `e` is not true.
pub(super) fn necessary<'a>(e: &'a Expr, parts: &mut Vec<&'a Expr>) {
    let is = |e: &Expr, v: bool| matches!(e, Expr::Literal(ScalarValue::Boolean(Some(b)), _) if *b == v);
    match e {
        Expr::Alias(a) => necessary(&a.expr, parts),
        Expr::BinaryExpr(b) if b.op == Operator::And => {
            necessary(&b.left, parts);
            necessary(&b.right, parts);
        }
        // A guarded conjunct: CASE guard WHEN true THEN e …, and true in no other arm.
        Expr::Case(case) => {
            let (Some(guard), [(first, then), others @ ..]) = (&case.expr, &case.when_then_expr[..]) else {
                return;
            };
            let never = |e: &Expr| match e {
                Expr::BinaryExpr(b) if b.op == Operator::And => {
                    matches!(&*b.right, Expr::Literal(ScalarValue::Boolean(None), _))
                }
                e => is(e, false),
            };
            let rest = others.iter().map(|(_, then)| then).chain(&case.else_expr);
            if is(first, true) && rest.into_iter().all(|e| never(e)) {
                necessary(guard, parts);
                necessary(then, parts);
            }
        }
        e => parts.push(e),
    }
}

/// What a comparison says of the distance between a left and a right column.
fn bound(e: &Expr, schemas: [&DFSchema; 2]) -> Option<([usize; 2], Distance)> {
    let both = |l: &Expr, r: &Expr| Some((moved(l, schemas)?, moved(r, schemas)?));
    match e {
        Expr::Between(b) if !b.negated => {
            let side = |op: Operator, end: &Expr| match apart(&b.expr, schemas) {
                Some(times) => compared(op, at_distance(times, length(end)?)?),
                None => compared(op, both(&b.expr, end)?),
            };
            let (low_columns, low) = side(Operator::GtEq, &b.low)?;
            let (high_columns, high) = side(Operator::LtEq, &b.high)?;
            (low_columns == high_columns).then(|| {
                let distance = Distance { lower: low.lower.or(high.lower), upper: low.upper.or(high.upper) };
                (low_columns, distance)
            })
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            match (apart(left, schemas), apart(right, schemas)) {
                (Some(times), _) => compared(*op, at_distance(times, length(right)?)?),
                (_, Some(times)) => compared(op.swap()?, at_distance(times, length(left)?)?),
                _ => compared(*op, both(left, right)?),
            }
        }
        _ => None,
    }
}

type Side = (usize, Moved);

/// The two times of `a − b`, where it is compared by its length.
fn apart(e: &Expr, schemas: [&DFSchema; 2]) -> Option<(Side, Side)> {
    let (left, right) = match e {
        Expr::Alias(a) => return apart(&a.expr, schemas),
        Expr::BinaryExpr(b) if b.op == Operator::Minus => (&*b.left, &*b.right),
        Expr::ScalarFunction(f) => match (f.name(), &f.args[..]) {
            ("interval_order", [difference]) => return apart(difference, schemas),
            ("pg_sub" | "timestamp_difference", [left, right]) => (left, right),
            _ => return None,
        },
        _ => return None,
    };
    Some((moved(left, schemas)?, moved(right, schemas)?))
}

/// `a − b` compared with a length is `a` compared with `b` moved by it.
fn at_distance((a, (side, b)): (Side, Side), us: i64) -> Option<(Side, Side)> {
    let from_us = b.from_us.checked_add(us)?;
    let to_us = b.to_us.checked_add(us)?;
    Some((a, (side, Moved { from_us, to_us, ..b })))
}

/// A constant length of time, by which intervals are compared: a month has 30 days.
fn length(e: &Expr) -> Option<i64> {
    match e {
        Expr::Literal(ScalarValue::Decimal128(Some(us), _, 0), _) => i64::try_from(*us).ok(),
        Expr::ScalarFunction(f) if f.name() == "interval_order" => length(f.args.first()?),
        e => {
            let (months, days, us) = interval(e)?;
            let days = days.checked_add(i64::from(months).checked_mul(30)?)?;
            days.checked_mul(DAY_US)?.checked_add(us)
        }
    }
}

fn compared(op: Operator, (a, b): (Side, Side)) -> Option<([usize; 2], Distance)> {
    let (op, (_, l), (_, r)) = match (a.0, b.0) {
        (0, 1) => (op, a, b),
        (1, 0) => (op.swap()?, b, a),
        _ => return None,
    };
    // l + x OP r + y, so l − r OP y − x.
    let (least, most) = (r.from_us.checked_sub(l.to_us)?, r.to_us.checked_sub(l.from_us)?);
    let distance = match op {
        Operator::GtEq => Distance { lower: Some(least), upper: None },
        Operator::Gt => Distance { lower: Some(least.checked_add(1)?), upper: None },
        Operator::LtEq => Distance { lower: None, upper: Some(most) },
        Operator::Lt => Distance { lower: None, upper: Some(most.checked_sub(1)?) },
        Operator::Eq => Distance { lower: Some(least), upper: Some(most) },
        _ => return None,
    };
    Some(([l.column, r.column], distance))
}

/// The side and column of a timestamp that is moved by a constant.
fn moved(e: &Expr, schemas: [&DFSchema; 2]) -> Option<Side> {
    match e {
        Expr::Alias(a) => moved(&a.expr, schemas),
        Expr::Column(column) => {
            let side = schemas.iter().position(|s| s.maybe_index_of_column(column).is_some())?;
            let column = schemas[side].maybe_index_of_column(column)?;
            Some((side, Moved { column, from_us: 0, to_us: 0 }))
        }
        Expr::BinaryExpr(b) => shifted(b.op, &b.left, &b.right, schemas),
        Expr::ScalarFunction(f) => {
            let op = match f.name() {
                "pg_add" => Operator::Plus,
                "pg_sub" => Operator::Minus,
                _ => return None,
            };
            let [left, right] = &f.args[..] else { return None };
            shifted(op, left, right, schemas)
        }
        _ => None,
    }
}

fn shifted(op: Operator, left: &Expr, right: &Expr, schemas: [&DFSchema; 2]) -> Option<Side> {
    let (time, constant) = match (interval(left), interval(right)) {
        (None, Some(constant)) => (left, constant),
        (Some(constant), None) if op == Operator::Plus => (right, constant),
        _ => return None,
    };
    let (side, at) = moved(time, schemas)?;
    let zoned = matches!(
        schemas[side].field(at.column).data_type(),
        arrow::datatypes::DataType::Timestamp(_, Some(_))
    );
    let (months, days, us) = constant;
    let sign = if op == Operator::Minus { -1 } else { 1 };
    let slack = if zoned && (months != 0 || days != 0) { DAY_SLACK_US } else { 0 };
    // A month is 28 to 31 days long.
    let total = |month_days: i64| -> Option<i64> {
        let days = days.checked_add(i64::from(months).checked_mul(month_days)?)?;
        days.checked_mul(DAY_US)?.checked_add(us)?.checked_mul(sign)
    };
    let (short, long) = (total(28)?, total(31)?);
    let from_us = at.from_us.checked_add(short.min(long))?.checked_sub(slack)?;
    let to_us = at.to_us.checked_add(short.max(long))?.checked_add(slack)?;
    Some((side, Moved { column: at.column, from_us, to_us }))
}

/// Months, days and microseconds of an interval literal.
fn interval(e: &Expr) -> Option<(i32, i64, i64)> {
    match e {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), _) => {
            Some((v.months, v.days as i64, v.nanoseconds / 1000))
        }
        Expr::Alias(a) => interval(&a.expr),
        Expr::Cast(c) => interval(&c.expr),
        _ => None,
    }
}
