//! Random queries over the tables of `random.rs`, typed so that PostgreSQL accepts them.
//!
//! Joins (lateral too), filters, aggregates, grouping sets, window functions, set operations,
//! WITH, subqueries in every clause, top-n, NULLs everywhere; what stands in a select list or a
//! condition is made by `values`. A query is text; the same seed gives the same text. Nothing
//! depends on an order that the query leaves open.

mod values;

use super::harness::random::Random;

/// Types of expressions; whole numbers of any width are one.
#[derive(Clone, Copy, PartialEq)]
pub enum Ty {
    Int,
    Text,
    Num,
    Bool,
    Date,
    Stamp,
    /// An array of integers.
    Array,
}

/// A column in scope: how it is written, and its type.
type Column = (String, Ty);

const TABLES: [(&str, &[(&str, Ty)]); 3] = [
    (
        "a",
        &[
            ("id", Ty::Int),
            ("k", Ty::Int),
            ("g", Ty::Text),
            ("v", Ty::Int),
            ("n", Ty::Num),
            ("o", Ty::Bool),
            ("d", Ty::Date),
            ("t", Ty::Stamp),
        ],
    ),
    ("b", &[("id", Ty::Int), ("k", Ty::Int), ("g", Ty::Text), ("w", Ty::Int), ("x", Ty::Num)]),
    ("c", &[("k", Ty::Int), ("g", Ty::Text), ("u", Ty::Int)]),
];

pub struct Generator<'a> {
    random: &'a mut Random,
    aliases: usize,
    /// A window function has numbered rows of one order; another might break ties otherwise.
    ordered_window: bool,
}

/// One query with columns `c0`, `c1`, … and their types.
pub fn query(random: &mut Random) -> (String, Vec<Ty>) {
    let mut generator = Generator { random, aliases: 0, ordered_window: false };
    let types = generator.types();
    let text = match generator.below(100) {
        0..=14 => generator.with(&types),
        15..=22 => generator.top(&types),
        _ => generator.query(&types, &[], 2),
    };
    (text, types)
}

/// A query over a relation that is written `@@` in it, with columns `c0`, … of these types.
pub fn over(random: &mut Random, types: &[Ty]) -> String {
    let mut generator = Generator { random, aliases: 1000, ordered_window: false };
    let columns: Vec<Column> = (types.iter().enumerate()).map(|(i, t)| (format!("s.c{i}"), *t)).collect();
    let wanted = generator.types();
    let from = generator.sources_of("@@ s".to_string(), columns, 0);
    generator.body(&wanted, from, &[], 0)
}

/// A relation, and a condition on its columns.
pub fn filtered(random: &mut Random) -> (String, String) {
    let mut generator = Generator { random, aliases: 0, ordered_window: false };
    let (text, columns) = generator.from(1);
    let condition = generator.predicate(&columns, &columns, 1);
    let types = generator.types();
    let items: Vec<String> = (types.iter().enumerate())
        .map(|(i, t)| format!("{} AS c{i}", generator.expr(*t, &columns, &columns, 0)))
        .collect();
    (format!("SELECT {} FROM {text}", items.join(", ")), condition)
}

impl Generator<'_> {
    fn below(&mut self, n: usize) -> usize {
        self.random.below(n as u64) as usize
    }

    fn alias(&mut self, prefix: &str) -> String {
        self.aliases += 1;
        format!("{prefix}{}", self.aliases)
    }

    fn types(&mut self) -> Vec<Ty> {
        let all = [Ty::Int, Ty::Int, Ty::Text, Ty::Num, Ty::Bool, Ty::Date, Ty::Stamp, Ty::Array];
        (0..1 + self.below(3)).map(|_| all[self.below(all.len())]).collect()
    }

    /// One or two common table expressions, the first perhaps read twice.
    fn with(&mut self, types: &[Ty]) -> String {
        let name = self.alias("q");
        let mut inner_types = self.types();
        inner_types.push(Ty::Int);
        let inner = self.select(&inner_types, &[], 1);
        let columns = |name: &str| -> Vec<Column> {
            inner_types.iter().enumerate().map(|(i, t)| (format!("{name}.c{i}"), *t)).collect()
        };
        let (mut text, mut scope) = (name.clone(), columns(&name));
        if self.random.chance(40) {
            let again = self.alias("r");
            text = format!("{text} JOIN {name} {again} ON {name}.c0 IS NOT DISTINCT FROM {again}.c0");
            scope.extend(columns(&again));
        }
        let from = self.sources_of(text, scope, 1);
        let body = self.body(types, from, &[], 1);
        format!("WITH {name} AS ({inner}) {body}")
    }

    /// The first rows in the order of all columns.
    fn top(&mut self, types: &[Ty]) -> String {
        let inner = self.select(types, &[], 1);
        let inner = self.ordered(inner, types.len());
        let name = self.alias("x");
        let limit = 1 + self.below(6);
        let offset = if self.random.chance(30) { " OFFSET 2" } else { "" };
        format!("SELECT {name}.* FROM ({inner} LIMIT {limit}{offset}) {name}")
    }

    fn ordered(&mut self, query: String, width: usize) -> String {
        let ways = ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"];
        let order: Vec<String> =
            (1..=width).map(|n| format!("{n}{}", ways[self.below(ways.len())])).collect();
        format!("{query} ORDER BY {}", order.join(", "))
    }

    /// A query with columns `c0`, `c1`, … of these types.
    fn query(&mut self, types: &[Ty], outer: &[Column], depth: usize) -> String {
        if depth > 0 && self.random.chance(25) {
            let words = ["UNION", "UNION ALL", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL"];
            let word = words[self.below(words.len())];
            let left = self.select(types, outer, depth - 1);
            let right = self.select(types, outer, depth - 1);
            return format!("({left}) {word} ({right})");
        }
        self.select(types, outer, depth)
    }

    fn select(&mut self, types: &[Ty], outer: &[Column], depth: usize) -> String {
        let from = self.from(depth);
        self.body(types, from, outer, depth)
    }

    /// FROM: its text and the columns in scope.
    fn from(&mut self, depth: usize) -> (String, Vec<Column>) {
        let (text, columns) = self.relation(depth);
        self.sources_of(text, columns, depth)
    }

    /// Joins further relations to one.
    fn sources_of(
        &mut self,
        mut text: String,
        mut columns: Vec<Column>,
        depth: usize,
    ) -> (String, Vec<Column>) {
        while columns.len() < 14 && self.random.chance(35) {
            if self.random.chance(18) {
                let (lateral, more) = self.lateral(&columns);
                text = format!("{text} {lateral}");
                columns.extend(more);
                continue;
            }
            let (right, more) = self.relation(depth.min(1) / 2);
            let left_key = self.column(&columns, Ty::Int);
            let right_key = self.column(&more, Ty::Int);
            let (Some(l), Some(r)) = (left_key, right_key) else { break };
            let kinds = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "JOIN", "LEFT JOIN"];
            let kind = kinds[self.below(kinds.len())];
            columns.extend(more);
            let extra = match kind != "FULL JOIN" && self.random.chance(25) {
                true => format!(" AND {}", self.comparison(&columns)),
                false => String::new(),
            };
            text = format!("{text} {kind} {right} ON {l} = {r}{extra}");
        }
        (text, columns)
    }

    /// A join with a subquery that reads the columns to its left, or with a series or an array.
    fn lateral(&mut self, outer: &[Column]) -> (String, Vec<Column>) {
        let name = self.alias("l");
        match self.below(6) {
            0 => {
                let end = self.simple(Ty::Int, outer);
                let text = format!("CROSS JOIN generate_series(1, {end} % 3) {name}(n)");
                (text, vec![(format!("{name}.n"), Ty::Int)])
            }
            1 => {
                let array = self.expr(Ty::Array, outer, outer, 0);
                (format!("CROSS JOIN unnest({array}) {name}(n)"), vec![(format!("{name}.n"), Ty::Int)])
            }
            _ => {
                let (text, columns) = self.relation(0);
                let filter = self.correlation(&columns, outer);
                let types = self.types();
                let names = (0..types.len()).map(|i| (format!("{name}.c{i}"), types[i])).collect();
                let inner = match self.random.chance(40) {
                    true => self.totals(&types, &format!("{text} WHERE {filter}"), &columns),
                    false => {
                        let items: Vec<String> = (types.iter().enumerate())
                            .map(|(i, t)| format!("{} AS c{i}", self.simple(*t, &columns)))
                            .collect();
                        let inner = format!("SELECT {} FROM {text} WHERE {filter}", items.join(", "));
                        let inner = self.ordered(inner, types.len());
                        format!("{inner} LIMIT {}", 1 + self.below(3))
                    }
                };
                let join = ["CROSS JOIN", "LEFT JOIN"][self.below(2)];
                let on = if join == "LEFT JOIN" { " ON true" } else { "" };
                (format!("{join} LATERAL ({inner}) {name}{on}"), names)
            }
        }
    }

    /// Aggregates of all rows.
    fn totals(&mut self, types: &[Ty], from: &str, columns: &[Column]) -> String {
        let items: Vec<String> = (types.iter().enumerate())
            .map(|(i, t)| format!("{} AS c{i}", self.aggregate(*t, columns)))
            .collect();
        format!("SELECT {} FROM {from}", items.join(", "))
    }

    fn relation(&mut self, depth: usize) -> (String, Vec<Column>) {
        let name = self.alias("r");
        if depth > 0 && self.random.chance(20) {
            let mut types = self.types();
            types.push(Ty::Int);
            let inner = self.query(&types, &[], depth - 1);
            let columns = types.iter().enumerate().map(|(i, t)| (format!("{name}.c{i}"), *t)).collect();
            return (format!("({inner}) {name}"), columns);
        }
        let (table, columns) = TABLES[self.below(TABLES.len())];
        let columns = columns.iter().map(|(c, t)| (format!("{name}.{c}"), *t)).collect();
        (format!("{table} {name}"), columns)
    }

    fn body(
        &mut self,
        types: &[Ty],
        (from, columns): (String, Vec<Column>),
        outer: &[Column],
        depth: usize,
    ) -> String {
        let mut scope = columns.clone();
        scope.extend_from_slice(outer);
        let filter = match self.random.chance(60) {
            true => format!(" WHERE {}", self.predicate(&scope, &columns, depth)),
            false => String::new(),
        };
        if self.random.chance(30) {
            return self.grouped(types, &from, &filter, &columns);
        }
        let windows = self.random.chance(12);
        let items: Vec<String> = (types.iter().enumerate())
            .map(|(i, t)| {
                let value = match windows && self.random.chance(60) {
                    true => self.window(*t, &columns),
                    false => self.expr(*t, &scope, &columns, depth),
                };
                format!("{value} AS c{i}")
            })
            .collect();
        let distinct = if self.random.chance(12) { "DISTINCT " } else { "" };
        format!("SELECT {distinct}{} FROM {from}{filter}", items.join(", "))
    }

    fn grouped(&mut self, types: &[Ty], from: &str, filter: &str, columns: &[Column]) -> String {
        let mut keys: Vec<Column> =
            (0..1 + self.below(2)).map(|_| columns[self.below(columns.len())].clone()).collect();
        keys.dedup_by(|a, b| a.0 == b.0);
        let items: Vec<String> = (types.iter().enumerate())
            .map(|(i, t)| {
                let key = keys.iter().find(|(_, k)| k == t).map(|(name, _)| name.clone());
                let value = match key {
                    Some(key) if self.random.chance(50) => key,
                    _ => self.aggregate(*t, columns),
                };
                format!("{value} AS c{i}")
            })
            .collect();
        let names: Vec<String> = keys.iter().map(|(name, _)| name.clone()).collect();
        let names = names.join(", ");
        let group = match self.below(8) {
            0 => format!(" GROUP BY ROLLUP ({names})"),
            1 => format!(" GROUP BY CUBE ({names})"),
            2 => format!(" GROUP BY GROUPING SETS (({names}), ())"),
            _ => format!(" GROUP BY {names}"),
        };
        let having = match self.random.chance(25) {
            true => format!(" HAVING count(*) > {}", self.below(3)),
            false => String::new(),
        };
        format!("SELECT {} FROM {from}{filter}{group}{having}", items.join(", "))
    }
}
