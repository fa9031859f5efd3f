//! What needs the columns of the relations in FROM, in the syntax tree.
//!
//! Where a relation's name stands for its row, `row_to_json(t)` and its kin become calls with the
//! names and columns of `t`, `SELECT t` a row constructor, `(t).a` the column. NATURAL becomes
//! USING, and an alias of some columns (`t AS a(x)`) one of all. The alias of a json function that
//! returns one column stands for the column. A column of an outer relation is qualified with the
//! schema where an inner column has the relation's name. The row of a side that an outer join pads is
//! NULL where all its columns are. The columns of derived tables and WITH queries are told by their select lists, those of tables by the catalog ([`Tables`]).

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::*;

use super::ast::call;
use super::json_tables;
use super::names::item_name;
use super::using::qualified;
use super::visit::replace_outside_subqueries;
use crate::sql::parser::fold_identifier;

/// Columns of tables and views, by the name as it is written in FROM.
pub type Tables = HashMap<String, Vec<String>>;

/// Where relations are that are named without a schema.
const DEFAULT_SCHEMA: &str = "public";

/// What makes a json object of the names and columns of a row.
pub const ROW_FUNCTION: &str = "json_row";

/// Functions of one row, and what makes their value of names and columns.
const OF_ROWS: [(&str, &str); 5] = [
    ("row_to_json", ROW_FUNCTION),
    ("to_json", ROW_FUNCTION),
    ("to_jsonb", "jsonb_build_object"),
    ("json_agg", ROW_FUNCTION),
    ("jsonb_agg", "jsonb_build_object"),
];

/// Whether the columns of a statement's tables are needed.
pub fn needs_columns(query: &Query) -> bool {
    if query.visit(&mut FromItems).is_break() {
        return true;
    }
    let mut found = false;
    let mut names = Vec::new();
    let _ = visit_relations(query, |name| {
        names.extend(name.0.last().and_then(|p| p.as_ident()).map(fold_identifier));
        ControlFlow::<()>::Continue(())
    });
    let _ = visit_expressions(query, |expr| {
        found |= match expr {
            Expr::Function(f) => of_rows(f).is_some() || counted_rows(f).is_some(),
            Expr::Identifier(name) => names.contains(&fold_identifier(name)),
            Expr::CompoundFieldAccess { .. } => true,
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => true,
            _ => false,
        };
        ControlFlow::<()>::Continue(())
    });
    found
}

/// Breaks at a natural join, an alias with columns or one of a json function, and LATERAL.
struct FromItems;

impl Visitor for FromItems {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let mut joins = select.from.iter().flat_map(|f| &f.joins);
        match joins.any(|j| matches!(constraint(&j.join_operator), Some(JoinConstraint::Natural))) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { alias: Some(alias), args: None, .. } if !alias.columns.is_empty() => {
                ControlFlow::Break(())
            }
            TableFactor::Derived { lateral: true, .. } => ControlFlow::Break(()),
            factor if json_tables::named_columns(factor).is_some() => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn constraint(join: &JoinOperator) -> Option<&JoinConstraint> {
    use JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    match join {
        Join(c) | Inner(c) | Left(c) | LeftOuter(c) | Right(c) | RightOuter(c) | FullOuter(c) => Some(c),
        _ => None,
    }
}

fn constraint_mut(join: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    use JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    match join {
        Join(c) | Inner(c) | Left(c) | LeftOuter(c) | Right(c) | RightOuter(c) | FullOuter(c) => Some(c),
        _ => None,
    }
}

/// Rewrites a query.
pub fn rewrite<V: VisitMut>(statement: &mut V, tables: &Tables) {
    let mut rows = Rows { tables, with: Vec::new(), enclosing: Vec::new() };
    let _ = statement.visit(&mut rows);
}

struct Rows<'a> {
    tables: &'a Tables,
    /// Names and columns of WITH queries; kept to the end of the statement.
    with: Vec<(String, Vec<Ident>)>,
    /// The relations of the SELECTs around, outermost first.
    enclosing: Vec<Vec<Relation>>,
}

/// A relation of FROM with its columns, if they can be told.
struct Relation {
    name: Ident,
    columns: Option<Vec<Ident>>,
    /// A function of one column, whose name stands for the value.
    scalar: bool,
    /// The side of an outer join that is NULL where it has no row.
    padded: bool,
}

impl Relation {
    /// A value of a row, NULL where an outer join has padded it.
    fn unless_padded(&self, value: Expr) -> Expr {
        let there =
            self.columns.iter().flatten().map(|c| Expr::IsNotNull(Box::new(qualified(&self.name, c))));
        let Some(there) = there.reduce(|left, right| Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::Or,
            right: Box::new(right),
        }) else {
            return value;
        };
        if !self.padded {
            return value;
        }
        Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition: there, result: value }],
            else_result: None,
        }
    }
}

impl VisitorMut for Rows<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
            let columns = match cte.alias.columns.is_empty() {
                true => self.output(&cte.query.body),
                false => Some(cte.alias.columns.iter().map(|c| c.name.clone()).collect()),
            };
            if let Some(columns) = columns {
                self.with.push((fold_identifier(&cte.alias.name), columns));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for from in &mut select.from {
            self.join_naturally(from);
        }
        let relations = self.relations(&select.from);
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Expr::Identifier(name) = &*expr
                && let Some(relation) = row(&relations, name)
                && let Some(columns) = &relation.columns
            {
                let alias = name.clone();
                let mut row: Vec<Expr> = columns.iter().map(|c| qualified(&alias, c)).collect();
                let expr = match relation.scalar {
                    true => row.remove(0),
                    false => relation.unless_padded(Expr::Tuple(row)),
                };
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
        }
        let value =
            |expr: &Expr| replacement(&relations, expr).or_else(|| self.outer_scalar(&relations, expr));
        replace_outside_subqueries(&mut select.from, value);
        replace_outside_subqueries(&mut select.projection, value);
        replace_outside_subqueries(&mut select.having, value);
        replace_outside_subqueries(&mut select.selection, value);
        replace_outside_subqueries(&mut select.group_by, value);
        self.qualify_outer(&relations, select);
        self.enclosing.push(relations);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<()> {
        self.enclosing.pop();
        ControlFlow::Continue(())
    }
}

impl Rows<'_> {
    /// The value of an outer function of one column, by its name.
    fn outer_scalar(&self, relations: &[Relation], expr: &Expr) -> Option<Expr> {
        let Expr::Identifier(name) = expr else { return None };
        let mut inner = relations;
        for level in self.enclosing.iter().rev() {
            if inner.iter().any(|r| r.columns.is_none()) || is_column(inner, name) {
                return None;
            }
            if let Some(value) = replacement(level, expr) {
                return Some(value);
            }
            inner = level;
        }
        None
    }

    /// `o.c` of an outer relation `o` as `public.o.c`, where a column here has the name `o`:
    /// DataFusion would take it for a field of that column.
    fn qualify_outer(&self, relations: &[Relation], select: &mut Select) {
        let own = |name: &String| relations.iter().any(|r| fold_identifier(&r.name) == *name);
        let columns = relations.iter().flat_map(|r| r.columns.iter().flatten()).map(fold_identifier);
        let hidden: Vec<String> = columns
            .filter(|c| !own(c) && self.enclosing.iter().flatten().any(|o| fold_identifier(&o.name) == *c))
            .collect();
        if hidden.is_empty() {
            return;
        }
        let _ = visit_expressions_mut(select, |expr| {
            if let Expr::CompoundIdentifier(parts) = expr
                && parts.len() == 2
                && hidden.contains(&fold_identifier(&parts[0]))
            {
                parts.insert(0, Ident::new(DEFAULT_SCHEMA));
            }
            ControlFlow::<()>::Continue(())
        });
    }

    /// NATURAL as USING of the columns of both sides, where they can be told, and aliases of
    /// some columns as aliases of all.
    fn join_naturally(&self, from: &mut TableWithJoins) {
        let complete = |factor: &mut TableFactor| {
            let columns = self.relation(factor).and_then(|r| r.columns);
            if let TableFactor::Table { alias: Some(alias), args: None, .. } = factor
                && let Some(columns) = &columns
                && !alias.columns.is_empty()
            {
                let rest = columns.iter().skip(alias.columns.len()).cloned();
                alias.columns.extend(rest.map(|name| TableAliasColumnDef { name, data_type: None }));
            }
            columns
        };
        let mut left = complete(&mut from.relation);
        for join in &mut from.joins {
            let right = complete(&mut join.relation);
            if let Some(natural @ JoinConstraint::Natural) = constraint_mut(&mut join.join_operator)
                && let (Some(left), Some(right)) = (&left, &right)
            {
                let shared = |c: &&Ident| right.iter().any(|r| fold_identifier(r) == fold_identifier(c));
                let mut columns: Vec<Ident> = Vec::new();
                for column in left.iter().filter(shared) {
                    if !columns.iter().any(|c| fold_identifier(c) == fold_identifier(column)) {
                        columns.push(column.clone());
                    }
                }
                *natural = match columns.is_empty() {
                    true => JoinConstraint::On(Expr::Value(Value::Boolean(true).into())),
                    false => JoinConstraint::Using(
                        columns.into_iter().map(|c| ObjectName::from(vec![c])).collect(),
                    ),
                };
            }
            left = left.zip(right).map(|(left, right)| [left, right].concat());
        }
    }

    fn relations(&self, from: &[TableWithJoins]) -> Vec<Relation> {
        let mut all = Vec::new();
        for item in from {
            let first = all.len();
            all.extend(self.relation(&item.relation));
            for join in &item.joins {
                use JoinOperator::{FullOuter, Left, LeftOuter, Right, RightOuter};
                let (pads_left, pads_right) = match join.join_operator {
                    Left(_) | LeftOuter(_) => (false, true),
                    Right(_) | RightOuter(_) => (true, false),
                    FullOuter(_) => (true, true),
                    _ => (false, false),
                };
                all[first..].iter_mut().for_each(|r: &mut Relation| r.padded |= pads_left);
                all.extend(self.relation(&join.relation).map(|r| Relation { padded: pads_right, ..r }));
            }
        }
        all
    }

    fn relation(&self, factor: &TableFactor) -> Option<Relation> {
        let (name, columns, alias) = match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let last = name.0.last()?.as_ident()?;
                let known =
                    self.with.iter().rev().find(|(n, _)| *n == fold_identifier(last)).map(|(_, c)| c.clone());
                let quoted = |c: &String| Ident::with_quote('"', c);
                let of_table = || self.tables.get(&name.to_string()).map(|c| c.iter().map(quoted).collect());
                (last.clone(), known.or_else(of_table), alias.as_ref())
            }
            TableFactor::Derived { subquery, alias: Some(alias), .. } => {
                (alias.name.clone(), self.output(&subquery.body), Some(alias))
            }
            factor => {
                let (name, columns) = json_tables::named_columns(factor)?;
                let scalar = columns.len() == 1;
                return Some(Relation { name, columns: Some(columns), scalar, padded: false });
            }
        };
        let name = alias.map_or(name, |a| a.name.clone());
        let mut columns = columns;
        if let (Some(alias), Some(columns)) = (alias, &mut columns) {
            columns.iter_mut().zip(&alias.columns).for_each(|(c, a)| *c = a.name.clone());
        }
        Some(Relation { name, columns, scalar: false, padded: false })
    }

    /// The names of a query's columns.
    fn output(&self, body: &SetExpr) -> Option<Vec<Ident>> {
        let select = match body {
            SetExpr::Select(select) => select,
            SetExpr::Query(query) => return self.output(&query.body),
            SetExpr::SetOperation { left, .. } => return self.output(left),
            SetExpr::Values(values) => {
                let width = values.rows.first()?.len();
                return Some((1..=width).map(|n| Ident::new(format!("column{n}"))).collect());
            }
            _ => return None,
        };
        let mut columns = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) => {
                    for relation in self.relations(&select.from) {
                        columns.extend(relation.columns?);
                    }
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let name = name.0.last()?.as_ident()?;
                    let relations = self.relations(&select.from);
                    let relation =
                        relations.into_iter().find(|r| fold_identifier(&r.name) == fold_identifier(name))?;
                    columns.extend(relation.columns?);
                }
                item => columns.push(Ident::with_quote('"', item_name(item)?)),
            }
        }
        Some(columns)
    }
}

/// The columns of the relation of that name, unless a column has the name, too.
fn row<'r>(relations: &'r [Relation], name: &Ident) -> Option<&'r Relation> {
    let found = relations.iter().find(|r| fold_identifier(&r.name) == fold_identifier(name))?;
    (found.columns.is_some() && !is_column(relations, name)).then_some(found)
}

fn is_column(relations: &[Relation], name: &Ident) -> bool {
    let mut columns = relations.iter().flat_map(|r| r.columns.iter().flatten());
    columns.any(|c| fold_identifier(c) == fold_identifier(name))
}

/// What stands for a row, or for a column of one.
fn replacement(relations: &[Relation], expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Identifier(name) => {
            let relation = row(relations, name).filter(|r| r.scalar)?;
            Some(qualified(name, relation.columns.as_ref()?.first()?))
        }
        Expr::Function(function) => {
            if let Some(counted) = counted_rows(function) {
                let there =
                    relations.iter().find(|r| fold_identifier(&r.name) == fold_identifier(counted))?;
                let one = Expr::Value(Value::Number("1".into(), false).into());
                return Some(with_argument(function, there.unless_padded(one)));
            }
            let (name, maker) = of_rows(function)?;
            let FunctionArguments::List(list) = &function.args else { return None };
            let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(argument)))] =
                list.args.as_slice()
            else {
                return None;
            };
            let relation = row(relations, argument)?;
            let columns = relation.columns.as_ref()?;
            let pair = |c: &Ident| {
                let key = Expr::Value(Value::SingleQuotedString(fold_identifier(c)).into());
                [key, qualified(argument, c)]
            };
            let made = relation.unless_padded(call(maker, columns.iter().flat_map(pair).collect()));
            Some(if name.ends_with("_agg") { with_argument(function, made) } else { made })
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let Expr::Nested(root) = root.as_ref() else { return None };
            let [AccessExpr::Dot(Expr::Identifier(field))] = access_chain.as_slice() else { return None };
            let name = match root.as_ref() {
                Expr::Identifier(name) => name,
                // The function's name has become its value.
                Expr::CompoundIdentifier(parts) if parts.len() == 2 => &parts[0],
                _ => return None,
            };
            relations.iter().find(|r| fold_identifier(&r.name) == fold_identifier(name))?;
            Some(qualified(name, field))
        }
        _ => None,
    }
}

fn with_argument(function: &Function, argument: Expr) -> Expr {
    let mut function = function.clone();
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))];
    }
    Expr::Function(function)
}

/// The relation of `count(t.*)`.
fn counted_rows(function: &Function) -> Option<&Ident> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name))]
            if list.duplicate_treatment.is_none()
                && function.name.to_string().eq_ignore_ascii_case("count") =>
        {
            name.0.last()?.as_ident()
        }
        _ => None,
    }
}

fn of_rows(function: &Function) -> Option<(&'static str, &'static str)> {
    let name = function.name.0.last()?.as_ident()?.value.to_ascii_lowercase();
    OF_ROWS.into_iter().find(|(n, _)| *n == name)
}
