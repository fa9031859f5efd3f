//! Pane columns in the query of a view: names that stand for no column of a relation.
//!
//! In: the syntax tree of a view's query. `pane_timing` and its like, where they are named in
//! the SELECT list or HAVING of a grouped SELECT and no relation in FROM has a column of that
//! name, become calls of marker aggregates (`plan::panes`), which need not be in GROUP BY.
//! The planner turns those into columns of the aggregate; running one is an error.
//!
//! A query that reads a view may name its pane columns too; `*` does not mean them.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility,
};
use sqlparser::ast::{
    Expr, Function, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, ObjectName, Query, Select,
    SelectItem, SetExpr, TableFactor, VisitMut, VisitorMut,
};

use super::parser::{fold_identifier, relation_name, window_call};
use crate::error::HwError;
use crate::plan::panes::{marker, pane_type};
use crate::types::trigger::PANE_COLUMNS;

/// Columns of a relation by schema and name; `None` if there is no such relation.
pub type ColumnsOf<'a> = dyn Fn(Option<&str>, &str) -> Option<Vec<String>> + 'a;

/// Replaces the pane columns that the query names; tells whether there were any.
pub fn mark_pane_columns(query: &mut Query, columns_of: &ColumnsOf<'_>) -> bool {
    let mut marker = Marker { columns_of, with: Vec::new(), marked: false };
    let _ = query.visit(&mut marker);
    marker.marked
}

/// Whether the name of a pane column is in the query anywhere.
pub fn names_pane_column(query: &Query) -> bool {
    struct Finder;
    impl sqlparser::ast::Visitor for Finder {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let last = match expr {
                Expr::Identifier(name) => Some(name),
                Expr::CompoundIdentifier(parts) => parts.last(),
                _ => None,
            };
            match last.is_some_and(|name| is_pane_column(&fold_identifier(name))) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    sqlparser::ast::Visit::visit(query, &mut Finder).is_break()
}

pub fn is_pane_column(name: &str) -> bool {
    PANE_COLUMNS.contains(&name)
}

/// Writes out `*` where a relation has hidden columns, which would come with it. `hidden`
/// gives the visible columns of such a relation.
///
/// Errors: 0A000 where the columns cannot be told apart by the name of their relation.
pub fn expand_wildcards(query: &mut Query, hidden: &ColumnsOf<'_>) -> crate::error::Result<()> {
    struct Expander<'a>(&'a ColumnsOf<'a>);
    impl VisitorMut for Expander<'_> {
        type Break = HwError;
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<HwError> {
            match expand_select(select, self.0) {
                Ok(()) => ControlFlow::Continue(()),
                Err(e) => ControlFlow::Break(e),
            }
        }
    }
    match query.visit(&mut Expander(hidden)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(e) => Err(e),
    }
}

fn expand_select(select: &mut Select, hidden: &ColumnsOf<'_>) -> crate::error::Result<()> {
    use sqlparser::ast::{JoinConstraint, JoinOperator, SelectItemQualifiedWildcardKind as Kind};
    let joins = select.from.iter().flat_map(|t| &t.joins);
    let factors: Vec<&TableFactor> = (select.from.iter())
        .flat_map(|t| std::iter::once(&t.relation).chain(t.joins.iter().map(|j| &j.relation)))
        .collect();
    let shown: Vec<(Option<Ident>, Option<Vec<String>>)> =
        factors.iter().map(|f| relation_shown(f, hidden)).collect();
    if shown.iter().all(|(_, columns)| columns.is_none()) {
        return Ok(());
    }
    let merges = |j: &sqlparser::ast::Join| {
        let constraint = match &j.join_operator {
            JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::Left(c) => c,
            JoinOperator::LeftOuter(c) | JoinOperator::Right(c) | JoinOperator::RightOuter(c) => c,
            JoinOperator::FullOuter(c) => c,
            _ => return false,
        };
        matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural)
    };
    let merged = joins.into_iter().any(merges);
    let columns = |of: &Ident, names: &[String]| -> Vec<SelectItem> {
        let column = |n: &String| vec![of.clone(), Ident::with_quote('"', n)];
        names.iter().map(|n| SelectItem::UnnamedExpr(Expr::CompoundIdentifier(column(n)))).collect()
    };
    let mut items = Vec::new();
    for item in std::mem::take(&mut select.projection) {
        match &item {
            SelectItem::Wildcard(options) if !merged && options.to_string().is_empty() => {
                for (name, visible) in &shown {
                    match (name, visible) {
                        (Some(name), Some(visible)) => items.extend(columns(name, visible)),
                        (Some(name), None) => items.push(SelectItem::QualifiedWildcard(
                            Kind::ObjectName(ObjectName::from(vec![name.clone()])),
                            options.clone(),
                        )),
                        (None, _) => return Err(unclear()),
                    }
                }
            }
            SelectItem::Wildcard(_) => return Err(unclear()),
            SelectItem::QualifiedWildcard(Kind::ObjectName(of), _) => {
                let of = of.0.last().and_then(|part| part.as_ident());
                let named = |(name, _): &&(Option<Ident>, Option<Vec<String>>)| {
                    name.as_ref().zip(of).is_some_and(|(a, b)| fold_identifier(a) == fold_identifier(b))
                };
                match shown.iter().find(named) {
                    Some((Some(name), Some(visible))) => items.extend(columns(name, visible)),
                    _ => items.push(item),
                }
            }
            _ => items.push(item),
        }
    }
    select.projection = items;
    Ok(())
}

/// The name of a relation in FROM, and its visible columns if it has hidden ones.
fn relation_shown(factor: &TableFactor, hidden: &ColumnsOf<'_>) -> (Option<Ident>, Option<Vec<String>>) {
    match factor {
        TableFactor::Table { name, args: None, alias, .. } => {
            let relation = relation_name(name);
            let columns = relation.and_then(|n| hidden(n.schema.as_deref(), &n.name));
            let own = name.0.last().and_then(|part| part.as_ident()).cloned();
            (alias.as_ref().map(|a| a.name.clone()).or(own), columns)
        }
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => {
            (alias.as_ref().map(|a| a.name.clone()), None)
        }
        _ => (None, None),
    }
}

fn unclear() -> HwError {
    HwError::unsupported(
        "* beside a pane column in this query",
        "Write the columns out, or give every relation in FROM a name and join with ON.",
    )
}

struct Marker<'a> {
    columns_of: &'a ColumnsOf<'a>,
    /// Columns of the WITH queries met so far.
    with: Vec<(String, Vec<String>)>,
    marked: bool,
}

impl VisitorMut for Marker<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
            let columns = match cte.alias.columns.as_slice() {
                [] => self.output_of(&cte.query),
                named => named.iter().map(|c| fold_identifier(&c.name)).collect(),
            };
            self.with.push((fold_identifier(&cte.alias.name), columns));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let real: Vec<String> = (select.from.iter())
            .flat_map(|t| std::iter::once(&t.relation).chain(t.joins.iter().map(|j| &j.relation)))
            .flat_map(|factor| self.columns_in(factor))
            .collect();
        let free: HashSet<&str> = PANE_COLUMNS.into_iter().filter(|c| !real.iter().any(|r| r == c)).collect();
        if is_grouped(select) {
            self.marked |= mark_select(select, &free);
        }
        ControlFlow::Continue(())
    }
}

impl Marker<'_> {
    /// Names of the columns that a relation in FROM has.
    fn columns_in(&self, factor: &TableFactor) -> Vec<String> {
        if let Ok(Some(call)) = window_call(factor) {
            return self.columns_in(&call.input);
        }
        match factor {
            TableFactor::Table { name, args: None, .. } => {
                let Some(name) = relation_name(name) else { return Vec::new() };
                let with = self.with.iter().rev().find(|(n, _)| name.schema.is_none() && *n == name.name);
                match with {
                    Some((_, columns)) => columns.clone(),
                    None => (self.columns_of)(name.schema.as_deref(), &name.name).unwrap_or_default(),
                }
            }
            TableFactor::Derived { subquery, .. } => self.output_of(subquery),
            TableFactor::NestedJoin { table_with_joins, .. } => std::iter::once(&table_with_joins.relation)
                .chain(table_with_joins.joins.iter().map(|j| &j.relation))
                .flat_map(|f| self.columns_in(f))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Names of the columns that a query gives.
    fn output_of(&self, query: &Query) -> Vec<String> {
        let mut body = query.body.as_ref();
        loop {
            body = match body {
                SetExpr::SetOperation { left, .. } => left,
                SetExpr::Query(inner) => inner.body.as_ref(),
                SetExpr::Select(select) => return self.items_of(select),
                _ => return Vec::new(),
            };
        }
    }

    fn items_of(&self, select: &Select) -> Vec<String> {
        let mut names = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => names.push(fold_identifier(alias)),
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => names.push(fold_identifier(name)),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                    names.extend(parts.last().map(fold_identifier));
                }
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                    names.extend(select.from.iter().flat_map(|t| self.columns_in(&t.relation)));
                    let joined = select.from.iter().flat_map(|t| &t.joins);
                    names.extend(joined.flat_map(|j| self.columns_in(&j.relation)));
                }
                _ => {}
            }
        }
        names
    }
}

/// Whether a SELECT makes groups, as far as its text tells.
fn is_grouped(select: &Select) -> bool {
    let by = !matches!(&select.group_by, GroupByExpr::Expressions(e, _) if e.is_empty());
    by || select.having.is_some() || select.projection.iter().any(has_aggregate)
}

fn has_aggregate(item: &SelectItem) -> bool {
    struct Calls(bool);
    impl sqlparser::ast::Visitor for Calls {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(f) = expr {
                let name = f.name.to_string().to_lowercase();
                let plain = f.over.is_none();
                self.0 |= plain && super::context::is_aggregate(&name);
            }
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls(false);
    let _ = sqlparser::ast::Visit::visit(item, &mut calls);
    calls.0
}

/// Replaces the free pane columns in the SELECT list and HAVING.
fn mark_select(select: &mut Select, free: &HashSet<&str>) -> bool {
    struct Replacer<'a> {
        free: &'a HashSet<&'a str>,
        any: bool,
    }
    impl VisitorMut for Replacer<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Identifier(name) = expr {
                let folded = fold_identifier(name);
                if self.free.contains(folded.as_str()) {
                    *expr = call_of(&folded, name.span);
                    self.any = true;
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut replacer = Replacer { free, any: false };
    for item in &mut select.projection {
        // A column by itself keeps its name.
        if let SelectItem::UnnamedExpr(Expr::Identifier(name)) = item {
            let folded = fold_identifier(name);
            if free.contains(folded.as_str()) {
                let expr = call_of(&folded, name.span);
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', folded) };
                replacer.any = true;
            }
            continue;
        }
        let _ = item.visit(&mut replacer);
    }
    if let Some(having) = &mut select.having {
        let _ = having.visit(&mut replacer);
    }
    replacer.any
}

fn call_of(column: &str, span: sqlparser::tokenizer::Span) -> Expr {
    let name = Ident { value: marker(column), quote_style: Some('"'), span };
    Expr::Function(Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: Vec::new(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The marker aggregates, for the registry.
pub fn markers() -> Vec<Arc<AggregateUDF>> {
    let of = |(i, column): (usize, &&str)| {
        Arc::new(AggregateUDF::new_from_impl(PaneMarker {
            name: marker(column),
            data_type: pane_type(i).carrier(),
            signature: Signature::new(TypeSignature::Nullary, Volatility::Stable),
        }))
    };
    PANE_COLUMNS.iter().enumerate().map(of).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PaneMarker {
    name: String,
    data_type: DataType,
    signature: Signature,
}

impl AggregateUDFImpl for PaneMarker {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DfResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        Err(HwError::unsupported(
            format!("{} outside of a materialized view", self.name.trim_start_matches('$')),
            "Panes are those of a materialized view with an emit clause.",
        )
        .into())
    }

    fn state_fields(&self, _args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests;
