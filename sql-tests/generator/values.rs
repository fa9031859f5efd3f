//! Random expressions, aggregates, window functions and conditions of a wanted type.

use super::{Column, Generator, Ty};

impl Generator<'_> {
    pub(super) fn aggregate(&mut self, ty: Ty, columns: &[Column]) -> String {
        let of = |this: &mut Self, ty: Ty| this.column(columns, ty).unwrap_or_else(|| this.literal(ty));
        let distinct = if self.random.chance(20) { "DISTINCT " } else { "" };
        let call = match (ty, self.below(5)) {
            (Ty::Int, 0) => "count(*)".to_string(),
            (Ty::Int, 1) => format!("count({distinct}{})", of(self, Ty::Text)),
            (Ty::Int, 2) => format!("sum({distinct}{})", of(self, Ty::Int)),
            (Ty::Num, 0) => format!("sum({distinct}{})", of(self, Ty::Num)),
            (Ty::Num, 1) => format!("round(avg({}), 4)", of(self, Ty::Int)),
            (Ty::Bool, 0 | 1) => format!("bool_or({})", of(self, Ty::Bool)),
            (Ty::Bool, _) => format!("bool_and({})", of(self, Ty::Bool)),
            (Ty::Text, 0) => {
                let value = of(self, Ty::Text);
                let value = if value.starts_with('\'') { format!("{value}::text") } else { value };
                format!("string_agg({distinct}{value}, ',' ORDER BY {value})")
            }
            (Ty::Array, _) => {
                let value = of(self, Ty::Int);
                format!("array_agg({distinct}{value}::int ORDER BY {value}::int)")
            }
            (ty, 3) => format!("max({})", of(self, ty)),
            (ty, _) => format!("min({})", of(self, ty)),
        };
        match call.contains("(*)") || !self.random.chance(15) {
            true => call,
            false if call.starts_with("round") => call,
            false => format!("{call} FILTER (WHERE {})", self.comparison(columns)),
        }
    }

    /// A window function; where the rows' order counts, it is by all columns in scope, so that
    /// rows which it leaves open are equal.
    pub(super) fn window(&mut self, ty: Ty, columns: &[Column]) -> String {
        let part = match self.random.chance(60) {
            true => format!("PARTITION BY {} ", columns[self.below(columns.len())].0),
            false => String::new(),
        };
        let whole: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let whole = format!("{part}ORDER BY {}", whole.join(", "));
        let one = format!("{part}ORDER BY {}", columns[self.below(columns.len())].0);
        let frames = [
            "",
            " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
            " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
            " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
            " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
        ];
        let frame = frames[self.below(frames.len())];
        let value = self.simple(ty, columns);
        // A bare literal has no type of its own here.
        let value = if ty == Ty::Text && value.starts_with('\'') { format!("{value}::text") } else { value };
        let pick = self.below(9);
        if std::mem::replace(&mut self.ordered_window, true) {
            return match ty {
                Ty::Int if pick < 3 => format!("rank() OVER ({one})"),
                Ty::Int | Ty::Num => format!("sum({value}) OVER ({one})"),
                Ty::Bool => format!("bool_or({value}) OVER ({part})"),
                Ty::Array => format!("first_value({value}) OVER (PARTITION BY {value})"),
                _ => format!("min({value}) OVER ({part})"),
            };
        }
        match (ty, pick) {
            (Ty::Int, 0) => format!("row_number() OVER ({whole})"),
            (Ty::Int, 1) => format!("rank() OVER ({one})"),
            (Ty::Int, 2) => format!("dense_rank() OVER ({one})"),
            (Ty::Int, 3) => format!("count(*) OVER ({part})"),
            (Ty::Int, 4) => format!("ntile(3) OVER ({whole})"),
            (Ty::Int | Ty::Num, 5) => format!("sum({value}) OVER ({one})"),
            (Ty::Int | Ty::Num, 6) => format!("sum({value}) OVER ({whole}{frame})"),
            (Ty::Bool, 5 | 6) => format!("bool_or({value}) OVER ({whole}{frame})"),
            (_, 0) => format!("lag({value}) OVER ({whole})"),
            (_, 1) => format!("lead({value}, 2) OVER ({whole})"),
            (_, 2) => format!("first_value({value}) OVER ({whole})"),
            (_, 3) => format!("nth_value({value}, 2) OVER ({whole}{frame})"),
            (Ty::Bool | Ty::Array, _) => format!("last_value({value}) OVER ({whole}{frame})"),
            (_, 4) => format!("min({value}) OVER ({one})"),
            (_, 5) => format!("last_value({value}) OVER ({whole}{frame})"),
            (_, 6) => format!("max({value}) OVER ({whole}{frame})"),
            (_, _) => format!("min({value}) OVER ({part})"),
        }
    }

    pub(super) fn column(&mut self, columns: &[Column], ty: Ty) -> Option<String> {
        let fitting: Vec<&Column> = columns.iter().filter(|(_, t)| *t == ty).collect();
        if fitting.is_empty() { None } else { Some(fitting[self.below(fitting.len())].0.clone()) }
    }

    pub(super) fn literal(&mut self, ty: Ty) -> String {
        if self.random.chance(8) {
            let name = ["int", "text", "numeric", "boolean", "date", "timestamp", "int[]"][ty as usize];
            return format!("NULL::{name}");
        }
        match ty {
            Ty::Int => self.below(12).to_string(),
            Ty::Text => format!("'{}'", ["x", "y", "z", ""][self.below(4)]),
            Ty::Num => format!("{}.{}", self.below(50), self.below(10)),
            Ty::Bool => ["true", "false"][self.below(2)].to_string(),
            Ty::Date => format!("DATE '2020-02-{:02}'", 1 + self.below(28)),
            Ty::Stamp => format!("TIMESTAMP '2020-03-{:02} 10:00:00'", 1 + self.below(28)),
            Ty::Array => {
                ["ARRAY[1, 2]", "ARRAY[3]", "'{}'::int[]", "ARRAY[NULL, 4, 5]"][self.below(4)].into()
            }
        }
    }

    /// `scope`: all columns, those of outer queries too; `own`: of this FROM.
    pub(super) fn expr(&mut self, ty: Ty, scope: &[Column], own: &[Column], depth: usize) -> String {
        match self.below(13) {
            0 => self.literal(ty),
            1 if depth > 0 => self.scalar_subquery(ty, own),
            2 if ty == Ty::Bool => format!("({})", self.predicate(scope, own, depth)),
            2..=5 => self.call(ty, scope),
            6 => format!("coalesce({}, {})", self.simple(ty, scope), self.simple(ty, scope)),
            7 => {
                let (a, b) = (self.simple(ty, scope), self.simple(ty, scope));
                format!("CASE WHEN {} THEN {a} ELSE {b} END", self.comparison(scope))
            }
            8 => {
                let (a, b, c) = (self.simple(ty, scope), self.simple(ty, scope), self.simple(ty, scope));
                let first = self.comparison(scope);
                format!("CASE WHEN {first} THEN {a} WHEN {} THEN {b} ELSE {c} END", self.comparison(scope))
            }
            9 => format!("nullif({}, {})", self.simple(ty, scope), self.simple(ty, scope)),
            _ => self.simple(ty, scope),
        }
    }

    /// An operator or a function.
    fn call(&mut self, ty: Ty, scope: &[Column]) -> String {
        let n = self.below(8);
        let x = self.simple(ty, scope);
        match ty {
            Ty::Int => self.whole_number(n, x, scope),
            Ty::Text => self.text(n, x, scope),
            Ty::Num => match n {
                0 => format!("{x} * 2"),
                1 => format!("round({x}, 1)"),
                2 => format!("round({x} / (abs({}) + 1), 4)", self.simple(Ty::Int, scope)),
                3 => format!("abs({x}) + {}", self.simple(Ty::Int, scope)),
                4 => format!("floor({x})"),
                5 => format!("ceil({x}) - {}", self.simple(Ty::Num, scope)),
                6 => format!("greatest({x}, {})", self.simple(Ty::Num, scope)),
                _ => format!("{}::numeric", self.simple(Ty::Int, scope)),
            },
            Ty::Bool => match n {
                0 => format!("NOT {x}"),
                1 => format!("({x} AND {})", self.simple(Ty::Bool, scope)),
                2 => format!("({x} IS NOT TRUE)"),
                3 => format!("({} = ANY({}))", self.simple(Ty::Int, scope), self.simple(Ty::Array, scope)),
                4 => format!("({} LIKE '%x%')", self.simple(Ty::Text, scope)),
                5 => format!("({} @> {})", self.simple(Ty::Array, scope), self.literal(Ty::Array)),
                _ => format!("({})", self.comparison(scope)),
            },
            Ty::Date => match n {
                0 => format!("{x} + {}::int", self.simple(Ty::Int, scope)),
                1 => format!("{x} - {}", self.below(40)),
                2 => format!("{}::date", self.simple(Ty::Stamp, scope)),
                3 => format!("({x} + interval '1 month')::date"),
                _ => format!("date_trunc('month', {}::timestamp)::date", x),
            },
            Ty::Stamp => match n {
                0 => format!("{x} + interval '36 hours'"),
                1 => format!("date_trunc('week', {x})"),
                2 => format!("{}::timestamp", self.simple(Ty::Date, scope)),
                3 => format!("{x} - interval '1 month 2 days'"),
                4 => format!("greatest({x}, {})", self.simple(Ty::Stamp, scope)),
                _ => format!("date_trunc('day', {x})"),
            },
            Ty::Array => match n {
                0 => format!(
                    "ARRAY[{}::int, {}::int]",
                    self.simple(Ty::Int, scope),
                    self.simple(Ty::Int, scope)
                ),
                1 => format!("{x} || {}", self.below(5)),
                2 => format!("array_remove({x}, {})", self.below(5)),
                _ => format!("{x} || {}", self.simple(Ty::Array, scope)),
            },
        }
    }

    fn whole_number(&mut self, n: usize, x: String, scope: &[Column]) -> String {
        match n {
            0 => format!("{x} + {}", self.below(9)),
            1 => format!("abs({x} - {})", self.simple(Ty::Int, scope)),
            2 => format!("{x} % 3"),
            3 => format!("length({})", self.simple(Ty::Text, scope)),
            4 => format!("extract(day from {})::int", self.simple(Ty::Date, scope)),
            5 => format!("({} - {})", self.simple(Ty::Date, scope), self.simple(Ty::Date, scope)),
            6 => format!("cardinality({})", self.simple(Ty::Array, scope)),
            _ => {
                let y = self.simple(Ty::Int, scope);
                format!("CASE WHEN {y} <> 0 THEN {x} / {y} END")
            }
        }
    }

    fn text(&mut self, n: usize, x: String, scope: &[Column]) -> String {
        match n {
            0 => format!("{x} || '-'"),
            1 => format!("upper({x})"),
            2 => format!("lpad({x}, 3, '*')"),
            3 => format!("{}::text", self.simple(Ty::Int, scope)),
            4 => format!("to_char({}, 'YYYY-MM-DD')", self.simple(Ty::Stamp, scope)),
            5 => format!("array_to_string({}, '/')", self.simple(Ty::Array, scope)),
            6 => format!("concat({x}, {}, {})", self.simple(Ty::Int, scope), self.simple(Ty::Text, scope)),
            _ => format!("substring({x} || 'abc' from 2 for 2)"),
        }
    }

    pub(super) fn simple(&mut self, ty: Ty, scope: &[Column]) -> String {
        match self.column(scope, ty) {
            Some(column) if self.random.chance(85) => column,
            _ => self.literal(ty),
        }
    }

    fn scalar_subquery(&mut self, ty: Ty, outer: &[Column]) -> String {
        let (text, columns) = self.relation(0);
        let filter = self.correlation(&columns, outer);
        let value = match (ty, self.below(4)) {
            (Ty::Int, 0) => "count(*)".to_string(),
            (Ty::Bool, _) => format!("bool_or({})", self.comparison(&columns)),
            (Ty::Array, _) => {
                let value = self.simple(Ty::Int, &columns);
                format!("array_agg({value}::int ORDER BY {value}::int)")
            }
            (ty, 1) => format!("min({})", self.simple(ty, &columns)),
            (ty, 2) => {
                let order: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
                let way = ["", " DESC"][self.below(2)];
                let value = self.simple(ty, &columns);
                let order = format!("{}{way}", order.join(&format!("{way}, ")));
                return format!("(SELECT {value} FROM {text} WHERE {filter} ORDER BY {order} LIMIT 1)");
            }
            (ty, _) => format!("max({})", self.simple(ty, &columns)),
        };
        format!("(SELECT {value} FROM {text} WHERE {filter})")
    }

    /// A condition that mostly compares an inner with an outer column.
    pub(super) fn correlation(&mut self, inner: &[Column], outer: &[Column]) -> String {
        let ty = if self.random.chance(70) { Ty::Int } else { Ty::Text };
        let (Some(i), Some(o)) = (self.column(inner, ty), self.column(outer, ty)) else {
            return self.comparison(inner);
        };
        let op = ["=", "=", "=", "<", ">=", "<>"][self.below(6)];
        let extra =
            if self.random.chance(30) { format!(" AND {}", self.comparison(inner)) } else { String::new() };
        if self.random.chance(15) { self.comparison(inner) } else { format!("{i} {op} {o}{extra}") }
    }

    pub(super) fn comparison(&mut self, scope: &[Column]) -> String {
        let types = [Ty::Int, Ty::Int, Ty::Int, Ty::Text, Ty::Text, Ty::Num, Ty::Date, Ty::Stamp];
        let ty = types[self.below(types.len())];
        let (left, right) = (self.simple(ty, scope), self.simple(ty, scope));
        match self.below(11) {
            0 => format!("{left} IS NULL"),
            1 => format!("{left} IS NOT NULL"),
            2 => format!("{left} IN ({right}, {})", self.literal(ty)),
            3 => format!("{left} BETWEEN {right} AND {}", self.literal(ty)),
            4 => format!("{left} IS DISTINCT FROM {right}"),
            5 => {
                let (a, b) = (self.simple(Ty::Int, scope), self.simple(Ty::Int, scope));
                let op = ["=", "<>", "<", ">="][self.below(4)];
                format!("({left}, {a}) {op} ({right}, {b})")
            }
            6 => format!("{left} NOT IN ({right}, {})", self.literal(ty)),
            n => format!("{left} {} {right}", ["=", "<>", "<", ">="][n - 7]),
        }
    }

    pub(super) fn predicate(&mut self, scope: &[Column], own: &[Column], depth: usize) -> String {
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
        if self.random.chance(15) {
            let (also, with) = (self.simple(Ty::Int, outer), self.simple(Ty::Int, &columns));
            return format!("({value}, {also}) {not}IN (SELECT {column}, {with} FROM {text}{filter})");
        }
        if self.random.chance(30) {
            let op = ["=", "<>", "<", "<=", ">", ">="][self.below(6)];
            let word = ["ANY", "ALL"][self.below(2)];
            return format!("{not}{value} {op} {word} (SELECT {column} FROM {text}{filter})");
        }
        format!("{value} {not}IN (SELECT {column} FROM {text}{filter})")
    }
}
