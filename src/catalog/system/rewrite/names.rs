//! Column names as PostgreSQL gives them, and the pseudo-column `tableoid`.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
    VisitMut, VisitorMut,
};

use super::super::layout::{Layout, layout};
use super::ast::{column_name, folded, function_name, name_parts, number, quoted, take};

/// Gives every computed column PostgreSQL's name, numbered if another column has it: the
/// rewrite must not change names, and DataFusion wants them to differ.
pub(super) fn name_columns(select: &mut Select) {
    let mut used: HashSet<String> = HashSet::new();
    for item in &mut select.projection {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => {
                used.insert(folded(alias));
            }
            SelectItem::UnnamedExpr(expr) if column_name(expr).is_none() => {
                let name = figure_name(expr).unwrap_or_else(|| "?column?".into());
                let numbered = (1..).map(|n| format!("{name}_{n}"));
                let free = std::iter::once(name.clone()).chain(numbered).find(|n| !used.contains(n));
                let alias = free.unwrap_or(name);
                used.insert(alias.clone());
                *item = SelectItem::ExprWithAlias { expr: take(expr), alias: quoted(&alias) };
            }
            _ => {}
        }
    }
}

/// PostgreSQL's `FigureColname`.
fn figure_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure_name(inner),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => column_name(expr),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                sqlparser::ast::AccessExpr::Dot(field) => column_name(field),
                _ => None,
            });
            field.or_else(|| figure_name(root))
        }
        Expr::Function(_) => function_name(expr),
        Expr::Cast { expr: inner, data_type, .. } => {
            figure_name(inner).or_else(|| Some(cast_name(&data_type.to_string())))
        }
        Expr::Case { else_result, .. } => {
            else_result.as_deref().and_then(figure_name).or_else(|| Some("case".into()))
        }
        Expr::Exists { .. } => Some("exists".into()),
        Expr::Array(_) => Some("array".into()),
        Expr::Subquery(query) => subquery_name(query),
        Expr::Trim { trim_where: Some(place), .. } => Some(match place {
            sqlparser::ast::TrimWhereField::Both => "btrim".into(),
            sqlparser::ast::TrimWhereField::Leading => "ltrim".into(),
            sqlparser::ast::TrimWhereField::Trailing => "rtrim".into(),
        }),
        Expr::Trim { .. } => Some("btrim".into()),
        Expr::Substring { .. } => Some("substring".into()),
        Expr::Extract { .. } => Some("extract".into()),
        _ => None,
    }
}

fn cast_name(sql_type: &str) -> String {
    let name = sql_type.to_lowercase();
    let name = name.rsplit('.').next().unwrap_or(&name);
    match name.split(['(', '[']).next().unwrap_or(name) {
        "integer" | "int" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "boolean" => "bool",
        other => other,
    }
    .to_string()
}

fn subquery_name(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.projection.first()? {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::UnnamedExpr(expr) => figure_name(expr),
        _ => None,
    }
}

/// The relations of a FROM clause by the name that qualifies their columns. Relations that
/// are not system relations have no layout.
pub(super) fn scope(from: &[TableWithJoins]) -> HashMap<String, Option<&'static Layout>> {
    let mut scope = HashMap::new();
    for tables in from {
        add_to_scope(&tables.relation, &mut scope);
        tables.joins.iter().for_each(|join| add_to_scope(&join.relation, &mut scope));
    }
    scope
}

fn add_to_scope(factor: &TableFactor, scope: &mut HashMap<String, Option<&'static Layout>>) {
    match factor {
        TableFactor::Table { name, alias, .. } => {
            let parts = name_parts(name);
            let found = match parts.as_slice() {
                [.., schema, name] => layout(schema, name),
                _ => None,
            };
            let name = alias.as_ref().map(|a| folded(&a.name)).or_else(|| parts.last().cloned());
            scope.extend(name.map(|name| (name, found)));
        }
        TableFactor::NestedJoin { table_with_joins, .. } => {
            add_to_scope(&table_with_joins.relation, scope);
            table_with_joins.joins.iter().for_each(|join| add_to_scope(&join.relation, scope));
        }
        TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. } => {
            scope.insert(folded(&alias.name), None);
        }
        _ => {}
    }
}

/// `alias.tableoid` is the oid of the system relation behind the alias.
pub(super) fn resolve_table_oids(select: &mut Select) {
    struct TableOids(HashMap<String, Option<&'static Layout>>);
    impl VisitorMut for TableOids {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let Expr::CompoundIdentifier(parts) = expr else { return ControlFlow::Continue(()) };
            if let [.., alias, column] = parts.as_slice()
                && folded(column) == "tableoid"
                && let Some(Some(layout)) = self.0.get(&folded(alias))
            {
                *expr = number(i64::from(layout.oid));
            }
            ControlFlow::Continue(())
        }
    }
    let mut visitor = TableOids(scope(&select.from));
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && column_name(expr).as_deref() == Some("tableoid")
        {
            *item = SelectItem::ExprWithAlias { expr: take(expr), alias: quoted("tableoid") };
        }
        let _ = item.visit(&mut visitor);
    }
    let _ = select.selection.visit(&mut visitor);
    for join in select.from.iter_mut().flat_map(|tables| &mut tables.joins) {
        if let Some(condition) = join_condition(&mut join.join_operator) {
            let _ = condition.visit(&mut visitor);
        }
    }
}

fn join_condition(operator: &mut JoinOperator) -> Option<&mut Expr> {
    match operator {
        JoinOperator::Join(JoinConstraint::On(on))
        | JoinOperator::Inner(JoinConstraint::On(on))
        | JoinOperator::Left(JoinConstraint::On(on))
        | JoinOperator::LeftOuter(JoinConstraint::On(on))
        | JoinOperator::Right(JoinConstraint::On(on))
        | JoinOperator::RightOuter(JoinConstraint::On(on))
        | JoinOperator::FullOuter(JoinConstraint::On(on)) => Some(on),
        _ => None,
    }
}
