//! What a column of USING is: PostgreSQL merges it, DataFusion takes the left one.
//!
//! `k` of `a RIGHT JOIN b USING (k)` is `b.k`, of a full join `coalesce(a.k, b.k)`; after
//! several joins USING the same column, each merges with what came before. This pass
//! replaces the unqualified name in the SELECT, and the USING of later joins by ON. `*` gives
//! the merged columns first, then what else each relation has. Where the merged column would
//! have to be found among columns that the syntax does not tell (NATURAL), the statement is
//! refused.

use std::collections::BTreeMap;

use sqlparser::ast::*;

use super::ast::call;
use super::visit::{each_select, replace_outside_subqueries};
use crate::error::{HwError, Result};
use crate::sql::parser::fold_identifier;

/// Rewrites every SELECT of a statement.
pub fn rewrite<V: VisitMut>(statement: &mut V) -> Result<()> {
    each_select(statement, merge)
}

/// A column that joins have merged.
struct Merged {
    value: Expr,
    joins: usize,
    /// Whether its value may differ from the first relation's.
    moved: bool,
}

fn merge(select: &mut Select) -> Result<()> {
    let star = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    let star = star && select.from.iter().flat_map(|f| &f.joins).any(merges);
    let mut merged: BTreeMap<String, Merged> = BTreeMap::new();
    let mut stars = Some(Vec::new());
    for from in &mut select.from {
        let items = merge_joins(from, &mut merged, star)?;
        stars = stars.zip(items).map(|(all, items)| [all, items].concat());
    }
    if star {
        let Some(stars) = stars else { return Err(unknown_star()) };
        let expand = |item: SelectItem| match item {
            SelectItem::Wildcard(_) => stars.clone(),
            other => vec![other],
        };
        select.projection = std::mem::take(&mut select.projection).into_iter().flat_map(expand).collect();
    }
    merged.retain(|_, m| m.moved || m.joins > 1);
    if merged.is_empty() {
        return Ok(());
    }
    let value = |expr: &Expr| match expr {
        Expr::Identifier(name) => merged.get(&fold_identifier(name)).map(|m| m.value.clone()),
        _ => None,
    };
    for item in &mut select.projection {
        let own = match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.clone()),
            _ => None,
        };
        replace_outside_subqueries(item, value);
        if let (Some(alias), SelectItem::UnnamedExpr(expr)) = (own, &mut *item)
            && !matches!(expr, Expr::Identifier(_))
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
    replace_outside_subqueries(&mut select.selection, value);
    replace_outside_subqueries(&mut select.group_by, value);
    replace_outside_subqueries(&mut select.having, value);
    Ok(())
}

/// Whether a join merges columns.
pub(super) fn merges(join: &Join) -> bool {
    use JoinOperator::{FullOuter, Inner, Join as Plain, Left, LeftOuter, Right, RightOuter};
    match &join.join_operator {
        Plain(c) | Inner(c) | Left(c) | LeftOuter(c) | Right(c) | RightOuter(c) | FullOuter(c) => {
            matches!(c, JoinConstraint::Using(_) | JoinConstraint::Natural)
        }
        _ => false,
    }
}

fn unknown_star() -> HwError {
    HwError::unsupported(
        "SELECT * over these joins USING",
        "Name the columns, or write the conditions with ON.",
    )
}

fn unknown_relations() -> HwError {
    HwError::unsupported(
        "this right or full join USING",
        "Name the relations that it joins, or write the condition with ON.",
    )
}

fn operator(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// Which side a merged column is taken from, and the condition.
fn constraint_of(join: &mut JoinOperator) -> Option<(Side, &mut JoinConstraint)> {
    Some(match join {
        JoinOperator::Join(c) | JoinOperator::Inner(c) => (Side::Left, c),
        JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (Side::Left, c),
        JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (Side::Right, c),
        JoinOperator::FullOuter(c) => (Side::Both, c),
        _ => return None,
    })
}

/// Merges the columns of one FROM item; `None` if what `*` stands for cannot be told.
fn merge_joins(
    from: &mut TableWithJoins,
    merged: &mut BTreeMap<String, Merged>,
    star: bool,
) -> Result<Option<Vec<SelectItem>>> {
    let first = relation_name(&from.relation);
    let mut whole = Whole::default();
    whole.relation(first.as_ref());
    for (n, join) in from.joins.iter_mut().enumerate() {
        let own = relation_name(&join.relation);
        whole.relation(own.as_ref());
        let Some((side, constraint)) = constraint_of(&mut join.join_operator) else { continue };
        let columns = match constraint {
            JoinConstraint::Using(columns) => columns.clone(),
            // The columns that it merges are not known here, and `*` would show the wrong side's.
            JoinConstraint::Natural if side != Side::Left || star => {
                return Err(HwError::unsupported(
                    if star { "SELECT * over a natural join" } else { "a natural right or full join" },
                    "Write the condition out: ON a.k = b.k.",
                ));
            }
            _ => continue,
        };
        let mut conditions = Vec::new();
        for (place, column) in columns.iter().enumerate() {
            let Some(name) = column.0.last().and_then(|part| part.as_ident()) else { continue };
            let key = fold_identifier(name);
            let known = merged.remove(&key);
            let (left, right) = match (&known, n, &first, &own) {
                (Some(known), _, _, Some(own)) => (known.value.clone(), qualified(own, name)),
                (None, 0, Some(first), Some(own)) => (qualified(first, name), qualified(own, name)),
                _ if side == Side::Left => {
                    whole.known = false;
                    continue;
                }
                _ => return Err(unknown_relations()),
            };
            conditions.push(operator(left.clone(), BinaryOperator::Eq, right.clone()));
            whole.merge(name, place, known.is_some());
            let joins = known.as_ref().map_or(0, |k| k.joins) + 1;
            let moved = known.is_some_and(|k| k.moved) || side != Side::Left;
            let value = match side {
                Side::Left => left,
                Side::Right => right,
                Side::Both => coalesce(left, right),
            };
            merged.insert(key, Merged { value, joins, moved });
        }
        // The columns of a later join are those merged before, which USING would not find.
        if n > 0
            && conditions.len() == columns.len()
            && let Some(condition) = conditions.into_iter().reduce(|l, r| operator(l, BinaryOperator::And, r))
        {
            *constraint = JoinConstraint::On(condition);
        }
    }
    Ok(whole.items(merged))
}

/// What `*` stands for: merged columns, those of the last join first, and of each relation the
/// others.
struct Whole {
    known: bool,
    merged: Vec<Ident>,
    relations: Vec<(Ident, Vec<Ident>)>,
}

impl Default for Whole {
    fn default() -> Whole {
        Whole { known: true, merged: Vec::new(), relations: Vec::new() }
    }
}

impl Whole {
    fn relation(&mut self, name: Option<&Ident>) {
        match name {
            Some(name) => self.relations.push((name.clone(), Vec::new())),
            None => self.known = false,
        }
    }

    /// A column of the join that brought the last relation, by its place among the join's.
    fn merge(&mut self, column: &Ident, place: usize, known: bool) {
        let same = |c: &Ident| fold_identifier(c) == fold_identifier(column);
        self.merged.retain(|c| !same(c));
        self.merged.insert(place.min(self.merged.len()), column.clone());
        let last = self.relations.len().saturating_sub(1);
        for (at, (_, without)) in self.relations.iter_mut().enumerate() {
            if at == last || (at == 0 && !known) {
                without.push(column.clone());
            }
        }
    }

    fn items(self, merged: &BTreeMap<String, Merged>) -> Option<Vec<SelectItem>> {
        if !self.known {
            return None;
        }
        let mut items = Vec::new();
        for column in &self.merged {
            let expr = merged.get(&fold_identifier(column))?.value.clone();
            items.push(SelectItem::ExprWithAlias { expr, alias: column.clone() });
        }
        for (relation, without) in self.relations {
            let name = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![relation]));
            let mut options = WildcardAdditionalOptions::default();
            let mut without = without.into_iter();
            options.opt_except = without.next().map(|first_element| ExceptSelectItem {
                first_element,
                additional_elements: without.collect(),
            });
            items.push(SelectItem::QualifiedWildcard(name, options));
        }
        Some(items)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

fn relation_name(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.clone())
        }
        TableFactor::Table { name, .. } => name.0.last().and_then(|part| part.as_ident()).cloned(),
        _ => None,
    }
}

pub(super) fn qualified(relation: &Ident, column: &Ident) -> Expr {
    Expr::CompoundIdentifier(vec![relation.clone(), column.clone()])
}

fn coalesce(left: Expr, right: Expr) -> Expr {
    call("coalesce", vec![left, right])
}
