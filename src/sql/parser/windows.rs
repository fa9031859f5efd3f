//! Window table functions: TUMBLE, HOP, CUMULATE, SESSION and WINDOWS in FROM.
//!
//! They come as `TUMBLE(t, ts, size)`, with named arguments, as Flink's
//! `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), size))`, LATERAL or not, over a relation, a
//! subquery or another window. [`normalize`] brings all of them to `TableFactor::Table` with
//! arguments; [`window_call`] reads that shape (and, for trees from elsewhere, the others).

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast as sql;
use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, TableAlias, TableFactor, VisitMut, VisitorMut};

use super::dialect::PARTITION_BY;
use crate::error::{HwError, Result, sqlstate};
use crate::sql::ast::ObjectName;
use crate::sql::parser::fold_identifier;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    Tumble,
    Hop,
    Cumulate,
    Session,
    /// `WINDOWS(t, start, end)`: the bounds are columns.
    Windows,
}

impl WindowKind {
    pub fn of(name: &str) -> Option<WindowKind> {
        match name.to_ascii_uppercase().as_str() {
            "TUMBLE" => Some(WindowKind::Tumble),
            "HOP" => Some(WindowKind::Hop),
            "CUMULATE" => Some(WindowKind::Cumulate),
            "SESSION" => Some(WindowKind::Session),
            "WINDOWS" => Some(WindowKind::Windows),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            WindowKind::Tumble => "TUMBLE",
            WindowKind::Hop => "HOP",
            WindowKind::Cumulate => "CUMULATE",
            WindowKind::Session => "SESSION",
            WindowKind::Windows => "WINDOWS",
        }
    }

    /// Parameters after the time column, in order of position.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            WindowKind::Tumble => &["size", "offset"],
            WindowKind::Hop => &["slide", "size", "offset"],
            WindowKind::Cumulate => &["step", "size", "offset"],
            WindowKind::Session => &["gap"],
            WindowKind::Windows => &["end"],
        }
    }
}

/// A window table function, read.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowCall {
    pub kind: WindowKind,
    /// A relation, a subquery, or a further window call.
    pub input: TableFactor,
    /// A column, or `proctime()`; the column of the start for WINDOWS.
    pub time_column: Expr,
    /// Positional arguments after the time column.
    pub args: Vec<Expr>,
    /// Named arguments other than the input and the time column, by lower-case name;
    /// `size`, `slide`, `step`, `gap`, `offset`, `time_zone`.
    pub named: BTreeMap<String, Expr>,
    /// Keys of a session window.
    pub partition_by: Vec<Expr>,
    pub alias: Option<TableAlias>,
}

impl WindowCall {
    /// The argument called `name`, given by position or by name.
    pub fn argument(&self, name: &str) -> Option<&Expr> {
        let index = self.kind.parameters().iter().position(|p| *p == name);
        index.and_then(|i| self.args.get(i)).or_else(|| self.named.get(name))
    }
}

/// Names under which the input and the time column may be given.
const INPUT_NAMES: [&str; 3] = ["data", "input", "table"];
const TIME_NAMES: [&str; 5] = ["timecol", "time_col", "time_column", "ts", "start"];

/// Reads a table factor as a window call; `None` if it is something else.
///
/// Errors: 42883 for a missing or surplus argument, 42601 for a malformed one.
pub fn window_call(factor: &TableFactor) -> Result<Option<WindowCall>> {
    let Some((name, args, alias)) = call_parts(factor) else { return Ok(None) };
    let Some(kind) = kind_of(name) else { return Ok(None) };
    let (mut positional, mut named) = (Vec::new(), BTreeMap::new());
    for arg in args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) if named.is_empty() => positional.push(e.clone()),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(e), .. } => {
                let name = fold_identifier(name);
                if named.insert(name.clone(), e.clone()).is_some() {
                    return Err(malformed(kind, format!("argument \"{name}\" is given twice")));
                }
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(_)) => {
                return Err(malformed(kind, "a positional argument cannot follow a named one".to_string()));
            }
            other => return Err(malformed(kind, format!("argument {other} is not an expression"))),
        }
    }
    let mut positional = positional.into_iter();
    let input = take(&mut positional, &mut named, &INPUT_NAMES);
    let time = take(&mut positional, &mut named, &TIME_NAMES);
    let (Some(input), Some(time)) = (input, time) else {
        return Err(arguments_error(kind, "a relation and a time column are needed"));
    };
    let (input, mut partition_by) = unpartitioned(input);
    match named.remove("partition_by") {
        Some(Expr::Tuple(keys)) => partition_by.extend(keys),
        Some(Expr::Nested(key)) => partition_by.push(*key),
        key => partition_by.extend(key),
    }
    let mut args: Vec<Expr> = positional.collect();
    if kind == WindowKind::Windows {
        for end in args.iter_mut().chain(named.get_mut("end")) {
            *end = time_expression(kind, end.clone())?;
        }
    }
    check_arguments(kind, &args, &named, &partition_by)?;
    let time_column = time_expression(kind, time)?;
    let input = input_factor(kind, input)?;
    Ok(Some(WindowCall { kind, input, time_column, args, named, partition_by, alias: alias.cloned() }))
}

fn call_parts(factor: &TableFactor) -> Option<(&sql::ObjectName, &[FunctionArg], Option<&TableAlias>)> {
    match factor {
        TableFactor::Table { name, args: Some(args), alias, .. } => Some((name, &args.args, alias.as_ref())),
        TableFactor::Function { name, args, alias, .. } => Some((name, args, alias.as_ref())),
        TableFactor::TableFunction { expr: Expr::Function(f), alias } => {
            let sql::FunctionArguments::List(list) = &f.args else { return None };
            Some((&f.name, &list.args, alias.as_ref()))
        }
        _ => None,
    }
}

fn kind_of(name: &sql::ObjectName) -> Option<WindowKind> {
    match name.0.as_slice() {
        [sql::ObjectNamePart::Identifier(ident)] => WindowKind::of(&ident.value),
        _ => None,
    }
}

/// The next positional argument, or the named one under any of `names`.
fn take(
    positional: &mut impl Iterator<Item = Expr>,
    named: &mut BTreeMap<String, Expr>,
    names: &[&str],
) -> Option<Expr> {
    positional.next().or_else(|| names.iter().find_map(|n| named.remove(*n)))
}

/// Splits `input PARTITION BY k` off.
fn unpartitioned(input: Expr) -> (Expr, Vec<Expr>) {
    let Expr::Function(f) = &input else { return (input, Vec::new()) };
    let sql::FunctionArguments::List(list) = &f.args else { return (input, Vec::new()) };
    if f.name.to_string() != PARTITION_BY {
        return (input, Vec::new());
    }
    let mut parts = list.args.iter().filter_map(|a| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
        _ => None,
    });
    match parts.next() {
        Some(first) => (first, parts.collect()),
        None => (input, Vec::new()),
    }
}

fn check_arguments(
    kind: WindowKind,
    args: &[Expr],
    named: &BTreeMap<String, Expr>,
    partition_by: &[Expr],
) -> Result<()> {
    let parameters = kind.parameters();
    if args.len() > parameters.len() {
        return Err(arguments_error(kind, "there are too many arguments"));
    }
    for name in named.keys() {
        let given = parameters.iter().position(|p| p == name);
        match given {
            Some(i) if i < args.len() => {
                return Err(malformed(kind, format!("argument \"{name}\" is given twice")));
            }
            Some(_) => {}
            None if name == "time_zone" && parameters.contains(&"offset") => {}
            None => return Err(arguments_error(kind, &format!("there is no argument \"{name}\""))),
        }
    }
    let missing = parameters
        .iter()
        .enumerate()
        .find(|(i, p)| **p != "offset" && *i >= args.len() && !named.contains_key(**p));
    if let Some((_, parameter)) = missing {
        return Err(arguments_error(kind, &format!("argument \"{parameter}\" is missing")));
    }
    if kind != WindowKind::Session && !partition_by.is_empty() {
        return Err(malformed(kind, "PARTITION BY belongs to SESSION only".to_string()));
    }
    Ok(())
}

/// Unwraps Flink's `DESCRIPTOR(ts)`.
fn time_expression(kind: WindowKind, time: Expr) -> Result<Expr> {
    match &time {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => Ok(time),
        Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("descriptor") => match &f.args {
            sql::FunctionArguments::List(list) => match list.args.as_slice() {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(e))] => Ok(e.clone()),
                _ => Err(malformed(kind, "DESCRIPTOR takes one column".to_string())),
            },
            _ => Err(malformed(kind, "DESCRIPTOR takes one column".to_string())),
        },
        Expr::Function(f)
            if kind != WindowKind::Windows && f.name.to_string().eq_ignore_ascii_case("proctime") =>
        {
            Ok(time)
        }
        other => {
            let error = malformed(kind, format!("{other} is not a time column"));
            Err(match kind {
                WindowKind::Windows => error.with_hint("Name columns of the input that hold the bounds."),
                _ => error.with_hint("Name a column of the input, or proctime()."),
            })
        }
    }
}

fn input_factor(kind: WindowKind, input: Expr) -> Result<TableFactor> {
    let name = match input {
        Expr::Identifier(ident) => sql::ObjectName::from(vec![ident]),
        Expr::CompoundIdentifier(parts) => sql::ObjectName::from(parts),
        Expr::Subquery(subquery) => {
            return Ok(TableFactor::Derived { lateral: false, subquery, alias: None, sample: None });
        }
        Expr::Nested(inner) => return input_factor(kind, *inner),
        Expr::Function(f) => {
            let sql::FunctionArguments::List(list) = f.args else {
                return Err(malformed(kind, format!("{} is not a relation", f.name)));
            };
            return Ok(table_factor(f.name, Some(list.args), None));
        }
        other => return Err(malformed(kind, format!("{other} is not a relation"))),
    };
    Ok(table_factor(name, None, None))
}

fn table_factor(
    name: sql::ObjectName,
    args: Option<Vec<FunctionArg>>,
    alias: Option<TableAlias>,
) -> TableFactor {
    TableFactor::Table {
        name,
        alias,
        args: args.map(|args| sql::TableFunctionArgs { args, settings: None }),
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}

fn malformed(kind: WindowKind, why: String) -> HwError {
    HwError::new(sqlstate::SYNTAX_ERROR, format!("malformed call of {}: {why}", kind.name()))
        .with_hint(usage(kind))
}

fn arguments_error(kind: WindowKind, why: &str) -> HwError {
    HwError::new(sqlstate::UNDEFINED_FUNCTION, format!("wrong arguments for {}: {why}", kind.name()))
        .with_hint(usage(kind))
}

fn usage(kind: WindowKind) -> &'static str {
    match kind {
        WindowKind::Windows => "Write WINDOWS(relation, start_column, end_column).",
        WindowKind::Tumble => "Write TUMBLE(relation, time_column, size [, offset]).",
        WindowKind::Hop => "Write HOP(relation, time_column, slide, size [, offset]).",
        WindowKind::Cumulate => "Write CUMULATE(relation, time_column, step, size [, offset]).",
        WindowKind::Session => "Write SESSION(relation [PARTITION BY key], time_column, gap).",
    }
}

/// Brings every window call inside a tree to `TableFactor::Table` with arguments.
pub(super) fn normalize<T: VisitMut>(tree: &mut T) {
    let _: ControlFlow<()> = tree.visit(&mut Normalizer);
}

struct Normalizer;

impl VisitorMut for Normalizer {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if matches!(factor, TableFactor::Table { .. }) {
            return ControlFlow::Continue(());
        }
        let normal = match call_parts(factor) {
            Some((name, args, alias)) if kind_of(name).is_some() => {
                Some(table_factor(name.clone(), Some(args.to_vec()), alias.cloned()))
            }
            _ => None,
        };
        if let Some(normal) = normal {
            *factor = normal;
        }
        ControlFlow::Continue(())
    }
}

/// The folded name of a plain relation, as the catalog resolves it.
pub fn relation_name(name: &sql::ObjectName) -> Option<ObjectName> {
    let mut parts = Vec::new();
    for part in &name.0 {
        match part {
            sql::ObjectNamePart::Identifier(ident) => parts.push(fold_identifier(ident)),
            _ => return None,
        }
    }
    let name = parts.pop()?;
    let (schema, database) = (parts.pop(), parts.pop());
    parts.is_empty().then_some(ObjectName { database, schema, name, position: 1 })
}
