//! Random queries over the tables of `random.rs`, typed so that PostgreSQL accepts them.
//!
//! Joins, filters, aggregates, grouping sets, set operations, WITH, subqueries in every
//! clause, NULLs everywhere. A query is text; the same seed gives the same text.

use super::Random;

/// Types of expressions; whole numbers of any width are one.
#[derive(Clone, Copy, PartialEq)]
enum Ty {
    Int,
    Text,
    Num,
    Bool,
}

/// A column in scope: how it is written, and its type.
type Column = (String, Ty);

const TABLES: [(&str, &[(&str, Ty)]); 3] = [
    (
        "a",
        &[("id", Ty::Int), ("k", Ty::Int), ("g", Ty::Text), ("v", Ty::Int), ("n", Ty::Num), ("o", Ty::Bool)],
    ),
    ("b", &[("id", Ty::Int), ("k", Ty::Int), ("g", Ty::Text), ("w", Ty::Int), ("x", Ty::Num)]),
    ("c", &[("k", Ty::Int), ("g", Ty::Text), ("u", Ty::Int)]),
];

pub struct Generator<'a> {
    random: &'a mut Random,
    aliases: usize,
}

/// One query with named columns.
pub fn query(random: &mut Random) -> String {
    let mut generator = Generator { random, aliases: 0 };
    let types = generator.types();
    if generator.random.chance(15) {
        let name = generator.alias("q");
        let inner = generator.select(&types, &[], 1);
        let columns = (0..types.len()).map(|i| (format!("{name}.c{i}"), types[i])).collect::<Vec<_>>();
        let outer = generator.types();
        let from = generator.sources_of(name.clone(), columns, 1, &[]);
        let body = generator.body(&outer, from, &[], 1);
        return format!("WITH {name} AS ({inner}) {body}");
    }
    generator.query(&types, &[], 2)
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
        let all = [Ty::Int, Ty::Int, Ty::Text, Ty::Num, Ty::Bool];
        (0..1 + self.below(3)).map(|_| all[self.below(all.len())]).collect()
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
        let from = self.from(outer, depth);
        self.body(types, from, outer, depth)
    }

    /// FROM: its text and the columns in scope.
    fn from(&mut self, outer: &[Column], depth: usize) -> (String, Vec<Column>) {
        let (text, columns) = self.relation(depth);
        self.sources_of(text, columns, depth, outer)
    }

    /// Joins further relations to one.
    fn sources_of(
        &mut self,
        mut text: String,
        mut columns: Vec<Column>,
        depth: usize,
        outer: &[Column],
    ) -> (String, Vec<Column>) {
        while columns.len() < 14 && self.random.chance(35) {
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
        let _ = outer;
        (text, columns)
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
        let items: Vec<String> = (types.iter().enumerate())
            .map(|(i, t)| format!("{} AS c{i}", self.expr(*t, &scope, &columns, depth)))
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

    fn aggregate(&mut self, ty: Ty, columns: &[Column]) -> String {
        let of = |this: &mut Self, ty: Ty| this.column(columns, ty).unwrap_or_else(|| this.literal(ty));
        let distinct = if self.random.chance(20) { "DISTINCT " } else { "" };
        let call = match (ty, self.below(4)) {
            (Ty::Int, 0) => "count(*)".to_string(),
            (Ty::Int, 1) => format!("count({distinct}{})", of(self, Ty::Text)),
            (Ty::Int, 2) => format!("sum({distinct}{})", of(self, Ty::Int)),
            (Ty::Num, 0) => format!("sum({distinct}{})", of(self, Ty::Num)),
            (Ty::Num, 1) => format!("round(avg({}), 4)", of(self, Ty::Int)),
            (Ty::Bool, 0 | 1) => format!("bool_or({})", of(self, Ty::Bool)),
            (Ty::Bool, _) => format!("bool_and({})", of(self, Ty::Bool)),
            (ty, 3) => format!("max({})", of(self, ty)),
            (ty, _) => format!("min({})", of(self, ty)),
        };
        match call.contains("(*)") || !self.random.chance(15) {
            true => call,
            false if call.starts_with("round") => call,
            false => format!("{call} FILTER (WHERE {})", self.comparison(columns)),
        }
    }

    fn column(&mut self, columns: &[Column], ty: Ty) -> Option<String> {
        let fitting: Vec<&Column> = columns.iter().filter(|(_, t)| *t == ty).collect();
        if fitting.is_empty() { None } else { Some(fitting[self.below(fitting.len())].0.clone()) }
    }

    fn literal(&mut self, ty: Ty) -> String {
        if self.random.chance(8) {
            let name = ["int", "text", "numeric", "boolean"][ty as usize];
            return format!("NULL::{name}");
        }
        match ty {
            Ty::Int => self.below(12).to_string(),
            Ty::Text => format!("'{}'", ["x", "y", "z", ""][self.below(4)]),
            Ty::Num => format!("{}.{}", self.below(50), self.below(10)),
            Ty::Bool => ["true", "false"][self.below(2)].to_string(),
        }
    }

    /// `scope`: all columns, those of outer queries too; `own`: of this FROM.
    fn expr(&mut self, ty: Ty, scope: &[Column], own: &[Column], depth: usize) -> String {
        match self.below(10) {
            0 => self.literal(ty),
            1 if depth > 0 => self.scalar_subquery(ty, own),
            2 if ty == Ty::Int => format!("{} + {}", self.simple(ty, scope), self.below(9)),
            2 if ty == Ty::Num => format!("{} * 2", self.simple(ty, scope)),
            2 if ty == Ty::Text => format!("{} || '-'", self.simple(ty, scope)),
            2 | 3 if ty == Ty::Bool => format!("({})", self.predicate(scope, own, depth)),
            3 => format!("coalesce({}, {})", self.simple(ty, scope), self.simple(ty, scope)),
            4 => {
                let (a, b) = (self.simple(ty, scope), self.simple(ty, scope));
                format!("CASE WHEN {} THEN {a} ELSE {b} END", self.comparison(scope))
            }
            _ => self.simple(ty, scope),
        }
    }

    fn simple(&mut self, ty: Ty, scope: &[Column]) -> String {
        match self.column(scope, ty) {
            Some(column) if self.random.chance(85) => column,
            _ => self.literal(ty),
        }
    }

    fn scalar_subquery(&mut self, ty: Ty, outer: &[Column]) -> String {
        let (text, columns) = self.relation(0);
        let filter = self.correlation(&columns, outer);
        let value = match (ty, self.below(3)) {
            (Ty::Int, 0) => "count(*)".to_string(),
            (Ty::Bool, _) => format!("bool_or({})", self.comparison(&columns)),
            (ty, 1) => format!("min({})", self.simple(ty, &columns)),
            (ty, _) => format!("max({})", self.simple(ty, &columns)),
        };
        format!("(SELECT {value} FROM {text} WHERE {filter})")
    }

    /// A condition that mostly compares an inner with an outer column.
    fn correlation(&mut self, inner: &[Column], outer: &[Column]) -> String {
        let ty = if self.random.chance(70) { Ty::Int } else { Ty::Text };
        let (Some(i), Some(o)) = (self.column(inner, ty), self.column(outer, ty)) else {
            return self.comparison(inner);
        };
        let op = ["=", "=", "=", "<", ">=", "<>"][self.below(6)];
        let extra =
            if self.random.chance(30) { format!(" AND {}", self.comparison(inner)) } else { String::new() };
        if self.random.chance(15) { self.comparison(inner) } else { format!("{i} {op} {o}{extra}") }
    }

    fn comparison(&mut self, scope: &[Column]) -> String {
        let ty = [Ty::Int, Ty::Int, Ty::Text, Ty::Num][self.below(4)];
        let (left, right) = (self.simple(ty, scope), self.simple(ty, scope));
        match self.below(9) {
            0 => format!("{left} IS NULL"),
            1 => format!("{left} IS NOT NULL"),
            2 => format!("{left} IN ({right}, {})", self.literal(ty)),
            3 => format!("{left} BETWEEN {right} AND {}", self.literal(ty)),
            4 => format!("{left} IS DISTINCT FROM {right}"),
            n => format!("{left} {} {right}", ["=", "<>", "<", ">="][n - 5]),
        }
    }

    fn predicate(&mut self, scope: &[Column], own: &[Column], depth: usize) -> String {
        match self.below(12) {
            0 | 1 => format!("{} AND {}", self.comparison(scope), self.comparison(scope)),
            2 => format!("({} OR {})", self.comparison(scope), self.comparison(scope)),
            3 => format!("NOT ({})", self.comparison(scope)),
            4..=7 if depth > 0 => self.subquery_predicate(own),
            8 if depth > 0 => format!("({} OR {})", self.comparison(scope), self.subquery_predicate(own)),
            _ => self.comparison(scope),
        }
    }

    fn subquery_predicate(&mut self, outer: &[Column]) -> String {
        let (text, columns) = self.relation(0);
        let filter = match self.random.chance(70) {
            true => format!(" WHERE {}", self.correlation(&columns, outer)),
            false => String::new(),
        };
        let not = if self.random.chance(35) { "NOT " } else { "" };
        if self.random.chance(45) {
            return format!("{not}EXISTS (SELECT 1 FROM {text}{filter})");
        }
        let ty = if self.random.chance(70) { Ty::Int } else { Ty::Text };
        let (value, column) = (self.simple(ty, outer), self.simple(ty, &columns));
        if self.random.chance(30) {
            let op = ["=", "<>", "<", "<=", ">", ">="][self.below(6)];
            let word = ["ANY", "ALL"][self.below(2)];
            return format!("{not}{value} {op} {word} (SELECT {column} FROM {text}{filter})");
        }
        format!("{value} {not}IN (SELECT {column} FROM {text}{filter})")
    }
}
