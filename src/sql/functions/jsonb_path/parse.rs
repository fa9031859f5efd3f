//! The text of a SQL/JSON path, read by the grammar of PostgreSQL 15.
//!
//! `||` binds least, then `&&`, comparisons, `+ -`, `* / %`, signs, accessors. The size of a path
//! is limited, because what is made of it is walked recursively.

use serde_json::Value;

use super::extras::{Levels, Pattern};
use super::{Compare, Either, Method, Operand, Program, Start, Step, Test};
use crate::error::{HwError, Result, sqlstate};

/// Most nested parentheses, filters and signs of a path.
const DEPTH_MAX: usize = 25;
/// Most accessors and operators of a path.
const PARTS_MAX: usize = 300;

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
    depth: usize,
    parts: usize,
    /// Nesting of filters and of subscripts, where `@` and `last` mean something.
    filters: usize,
    subscripts: usize,
    variables: Option<&'t Value>,
}

/// Reads a path; variables have their values at once.
pub fn program(text: &str, variables: Option<&Value>) -> Result<Program> {
    let (depth, parts, filters, subscripts) = (0, 0, 0, 0);
    if text.trim().is_empty() {
        let message = format!("invalid input syntax for type jsonpath: \"{text}\"");
        return Err(HwError::new(sqlstate::INVALID_TEXT_REPRESENTATION, message));
    }
    let mut parser = Parser { text, rest: text, depth, parts, filters, subscripts, variables };
    let strict = parser.keyword("strict");
    if !strict {
        parser.keyword("lax");
    }
    let root = parser.either()?;
    parser.skip();
    if parser.rest.is_empty() { Ok(Program { strict, root }) } else { Err(parser.error()) }
}

fn refused(what: &str) -> HwError {
    HwError::unsupported(format!("{what} in a jsonpath"), "Compute it in SQL from what the path selects.")
}

fn is_name(c: char) -> bool {
    !c.is_whitespace() && !"?%$.[]{}()|&!=<>@#,*:-+/\\\"".contains(c)
}

impl<'t> Parser<'t> {
    fn error(&self) -> HwError {
        let near: String = self.rest.chars().take(12).collect();
        let place = if near.is_empty() { "at end".into() } else { format!("at or near \"{near}\"") };
        HwError::new(sqlstate::SYNTAX_ERROR, format!("syntax error {place} of jsonpath input"))
            .with_detail(format!("The path is {}.", self.text))
    }

    /// Counts an accessor or an operator.
    fn part(&mut self) -> Result<()> {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(HwError::new(sqlstate::STATEMENT_TOO_COMPLEX, "jsonpath is too long"));
        }
        Ok(())
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(HwError::new(sqlstate::STATEMENT_TOO_COMPLEX, "jsonpath is nested too deeply"));
        }
        let made = read(self)?;
        self.depth -= 1;
        Ok(made)
    }

    /// White space and comments.
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
        while let Some((_, after)) = self.rest.strip_prefix("/*").and_then(|r| r.split_once("*/")) {
            self.rest = after.trim_start();
        }
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn require(&mut self, token: &str) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(self.error()) }
    }

    /// Takes a word, in any case, if it is the next.
    fn keyword(&mut self, word: &str) -> bool {
        self.skip();
        let Some((head, after)) = self.rest.split_at_checked(word.len()) else { return false };
        let found = head.eq_ignore_ascii_case(word) && !after.starts_with(is_name);
        if found {
            self.rest = after;
        }
        found
    }

    /// A bare name, which may have escapes.
    fn name(&mut self) -> Result<String> {
        let mut name = String::new();
        loop {
            let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
            let (part, rest) = self.rest.split_at(end);
            name.push_str(part);
            self.rest = rest;
            match self.rest.strip_prefix('\\') {
                Some(rest) => self.rest = rest,
                None => return Ok(name),
            }
            self.escape(&mut name)?;
        }
    }

    /// A quoted string with the escapes of JavaScript.
    fn string(&mut self) -> Result<String> {
        self.require("\"")?;
        let mut text = String::new();
        loop {
            let c = self.next()?;
            match c {
                '"' => return Ok(text),
                '\\' => self.escape(&mut text)?,
                c => text.push(c),
            }
        }
    }

    fn next(&mut self) -> Result<char> {
        let c = self.rest.chars().next().ok_or_else(|| self.error())?;
        self.rest = &self.rest[c.len_utf8()..];
        Ok(c)
    }

    fn escape(&mut self, text: &mut String) -> Result<()> {
        text.push(match self.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'x' => self.code(2)?,
            'u' if self.rest.starts_with('{') => {
                let end = self.rest.find('}').ok_or_else(|| self.error())?;
                let code = u32::from_str_radix(&self.rest[1..end], 16).ok().and_then(char::from_u32);
                let c = code.filter(|c| *c != '\0').ok_or_else(|| self.error())?;
                self.rest = &self.rest[end + 1..];
                c
            }
            'u' => self.code(4)?,
            other => other,
        });
        Ok(())
    }

    /// A character by so many hexadecimal digits; two surrogates are one character.
    fn code(&mut self, digits: usize) -> Result<char> {
        let high = self.hexadecimal(digits)?;
        let code = match high {
            0xd800..0xdc00 if self.rest.starts_with("\\u") => {
                self.rest = &self.rest[2..];
                let low = self.hexadecimal(4)?;
                0x10000 + ((high - 0xd800) << 10) + low.checked_sub(0xdc00).ok_or_else(|| self.error())?
            }
            code => code,
        };
        char::from_u32(code).filter(|c| *c != '\0').ok_or_else(|| self.error())
    }

    fn hexadecimal(&mut self, digits: usize) -> Result<u32> {
        let head = self.rest.get(..digits).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = head.and_then(|d| u32::from_str_radix(d, 16).ok()).ok_or_else(|| self.error())?;
        self.rest = &self.rest[digits..];
        Ok(code)
    }

    fn either(&mut self) -> Result<Either> {
        self.nested(|parser| {
            let mut left = parser.conjunction()?;
            while parser.take("||") {
                parser.part()?;
                let right = parser.conjunction()?;
                left = Either::Test(Test::Or(parser.test(left)?, parser.test(right)?));
            }
            Ok(left)
        })
    }

    fn conjunction(&mut self) -> Result<Either> {
        let mut left = self.comparison()?;
        while self.take("&&") {
            self.part()?;
            let right = self.comparison()?;
            left = Either::Test(Test::And(self.test(left)?, self.test(right)?));
        }
        Ok(left)
    }

    fn test(&self, either: Either) -> Result<Box<Test>> {
        match either {
            Either::Test(test) => Ok(Box::new(test)),
            Either::Operand(_) => Err(self.error()),
        }
    }

    fn operand(&self, either: Either) -> Result<Operand> {
        match either {
            Either::Operand(operand) => Ok(operand),
            Either::Test(_) => Err(self.error()),
        }
    }

    fn comparison(&mut self) -> Result<Either> {
        self.skip();
        if self.rest.starts_with('!') && !self.rest.starts_with("!=") {
            self.rest = &self.rest[1..];
            self.skip();
            let parenthesized = self.rest.starts_with('(');
            let inner = self.primary()?;
            let inner = self.test(inner)?;
            if !parenthesized && !matches!(*inner, Test::Exists(_)) {
                return Err(self.error());
            }
            return Ok(Either::Test(Test::Not(inner)));
        }
        let left = match self.sum()? {
            Either::Test(test) if self.keyword("is") => {
                if !self.keyword("unknown") {
                    return Err(self.error());
                }
                return Ok(Either::Test(Test::IsUnknown(Box::new(test))));
            }
            Either::Test(test) => return Ok(Either::Test(test)),
            Either::Operand(operand) => operand,
        };
        if self.keyword("starts") {
            if !self.keyword("with") {
                return Err(self.error());
            }
            self.skip();
            let variable = self.rest.starts_with('$');
            let initial = if variable { self.variable()? } else { Value::String(self.string()?) };
            return Ok(Either::Test(Test::StartsWith(left, initial)));
        }
        if self.keyword("like_regex") {
            self.skip();
            let pattern = self.string()?;
            self.skip();
            let flags = if self.keyword("flag") { self.string()? } else { String::new() };
            return Ok(Either::Test(Test::LikeRegex(left, Pattern::new(&pattern, &flags)?)));
        }
        use Compare::*;
        for (token, op) in [("==", Eq), ("!=", Ne), ("<>", Ne), ("<=", Le), (">=", Ge), ("<", Lt), (">", Gt)]
        {
            if self.take(token) {
                self.part()?;
                let right = self.sum()?;
                return Ok(Either::Test(Test::Compare(left, op, self.operand(right)?)));
            }
        }
        Ok(Either::Operand(left))
    }

    fn sum(&mut self) -> Result<Either> {
        self.chain(&['+', '-'], Self::product)
    }

    fn product(&mut self) -> Result<Either> {
        self.chain(&['*', '/', '%'], Self::signed)
    }

    fn chain(&mut self, symbols: &[char], next: fn(&mut Self) -> Result<Either>) -> Result<Either> {
        let mut left = next(self)?;
        loop {
            self.skip();
            let Some(symbol) = self.rest.chars().next().filter(|c| symbols.contains(c)) else {
                return Ok(left);
            };
            self.part()?;
            self.rest = &self.rest[1..];
            let right = next(self)?;
            let (a, b) = (Box::new(self.operand(left)?), Box::new(self.operand(right)?));
            left = Either::Operand(Operand::Binary(a, symbol, b));
        }
    }

    fn signed(&mut self) -> Result<Either> {
        self.skip();
        let negative = self.rest.starts_with('-');
        if !negative && !self.rest.starts_with('+') {
            return self.primary();
        }
        self.rest = &self.rest[1..];
        let inner = self.nested(Self::signed)?;
        Ok(Either::Operand(Operand::Unary(negative, Box::new(self.operand(inner)?))))
    }

    fn primary(&mut self) -> Result<Either> {
        if self.take("(") {
            let inner = self.either()?;
            self.require(")")?;
            let steps = self.steps()?;
            return Ok(match steps.is_empty() {
                true => inner,
                false => Either::Operand(Operand::Path { start: Start::Group(Box::new(inner)), steps }),
            });
        }
        if self.keyword("exists") {
            self.require("(")?;
            let inner = self.nested(Self::sum)?;
            let operand = self.operand(inner)?;
            self.require(")")?;
            return Ok(Either::Test(Test::Exists(operand)));
        }
        let start = self.start()?;
        Ok(Either::Operand(Operand::Path { start, steps: self.steps()? }))
    }

    fn start(&mut self) -> Result<Start> {
        let syntax = |message: &str| HwError::new(sqlstate::SYNTAX_ERROR, message);
        if let Some(after) = self.rest.strip_prefix('$') {
            if after.starts_with(|c| is_name(c) || c == '"') {
                return Ok(Start::Value(self.variable()?));
            }
            self.rest = after;
            return Ok(Start::Document);
        }
        if self.take("@") {
            return match self.filters {
                0 => Err(syntax("@ is not allowed in root expressions")),
                _ => Ok(Start::Item),
            };
        }
        if self.keyword("last") {
            return match self.subscripts {
                0 => Err(syntax("LAST is allowed only in array subscripts")),
                _ => Ok(Start::Last),
            };
        }
        self.literal().map(Start::Value)
    }

    /// `$name`, which the last argument gives.
    fn variable(&mut self) -> Result<Value> {
        self.require("$")?;
        let name = if self.rest.starts_with('"') { self.string()? } else { self.name()? };
        self.variables.and_then(|all| all.get(&name)).cloned().ok_or_else(|| {
            let message = format!("could not find jsonpath variable \"{name}\"");
            HwError::new(sqlstate::UNDEFINED_OBJECT, message)
        })
    }

    /// A string, a number, true, false or null.
    fn literal(&mut self) -> Result<Value> {
        if self.rest.starts_with('"') {
            return self.string().map(Value::String);
        }
        if self.rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return self.number();
        }
        Ok(match self.name()?.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            _ => return Err(self.error()),
        })
    }

    fn number(&mut self) -> Result<Value> {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole = digits(self.rest);
        let mut end = whole;
        let mut fraction = 0;
        if self.rest[end..].starts_with('.') {
            fraction = digits(&self.rest[end + 1..]);
            end += 1 + fraction;
        }
        if let Some(exponent) = self.rest[end..].strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['+', '-']));
            end += 1 + sign + digits(&exponent[sign..]);
        }
        let (text, rest) = self.rest.split_at(end);
        let text = match text[whole..].strip_prefix('.') {
            Some(tail) if fraction == 0 => format!("{}{tail}", &text[..whole]),
            Some(_) if whole == 0 => format!("0{text}"),
            _ => text.to_string(),
        };
        if rest.starts_with(is_name) {
            return Err(self.error());
        }
        let value = serde_json::from_str(&text).map_err(|_| self.error())?;
        self.rest = rest;
        Ok(value)
    }

    fn steps(&mut self) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.take(".") {
                steps.push(self.member()?);
            } else if self.take("[") {
                steps.push(self.subscript()?);
            } else if self.take("?") {
                self.require("(")?;
                self.filters += 1;
                let either = self.either()?;
                self.filters -= 1;
                let test = self.test(either)?;
                self.require(")")?;
                steps.push(Step::Filter(test));
            } else {
                return Ok(steps);
            }
            self.part()?;
        }
    }

    fn member(&mut self) -> Result<Step> {
        if self.take("**") {
            return Ok(Step::Descend(self.levels()?));
        }
        if self.take("*") {
            return Ok(Step::AnyMember);
        }
        self.skip();
        if self.rest.starts_with('"') {
            return Ok(Step::Member(self.string()?));
        }
        let word = self.name()?;
        if word.is_empty() {
            return Err(self.error());
        }
        if !self.take("(") {
            return Ok(Step::Member(word));
        }
        let method = match word.to_ascii_lowercase().as_str() {
            "size" => Method::Size,
            "type" => Method::Type,
            "abs" => Method::Abs,
            "floor" => Method::Floor,
            "ceiling" => Method::Ceiling,
            "double" => Method::Double,
            other @ ("datetime" | "keyvalue") => return Err(refused(&format!(".{other}()"))),
            _ => return Err(self.error()),
        };
        self.require(")")?;
        Ok(Step::Method(method))
    }

    /// `{n}`, `{n to m}`, `{last}` after `**`.
    fn levels(&mut self) -> Result<Levels> {
        if !self.take("{") {
            return Ok(Levels { first: 0, last: usize::MAX, leaves: false });
        }
        let first = self.level()?;
        let last = if self.keyword("to") { self.level()? } else { first };
        self.require("}")?;
        Ok(Levels { first, last, leaves: first == usize::MAX })
    }

    fn level(&mut self) -> Result<usize> {
        if self.keyword("last") {
            return Ok(usize::MAX);
        }
        self.skip();
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at(digits);
        let level = number.parse().map_err(|_| self.error())?;
        self.rest = rest;
        Ok(level)
    }

    fn subscript(&mut self) -> Result<Step> {
        if self.take("*") {
            self.require("]")?;
            return Ok(Step::AnyElement);
        }
        self.subscripts += 1;
        let mut ranges = Vec::new();
        loop {
            let from = self.position()?;
            let to = if self.keyword("to") { Some(self.position()?) } else { None };
            ranges.push((from, to));
            if !self.take(",") {
                break;
            }
            self.part()?;
        }
        self.subscripts -= 1;
        self.require("]")?;
        Ok(Step::Elements(ranges))
    }

    fn position(&mut self) -> Result<Operand> {
        let either = self.nested(Self::sum)?;
        self.operand(either)
    }
}
