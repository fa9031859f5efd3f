//! `format(template, …)`: `%[n$][-][width | * | *n$]{s | I | L | %}`, as PostgreSQL reads it.

use std::iter::Peekable;
use std::str::Chars;

use super::MAX_TEXT;
use super::{print, quote_ident, quote_literal, short};
use crate::error::{HwError, Result, sqlstate};
use crate::sql::functions::cast::bad_text;
use crate::sql::functions::datum::{Cx, Datum};

const SINGLE_PERCENT: &str = "For a single \"%\" use \"%%\".";

fn invalid(message: impl Into<String>) -> HwError {
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

/// Where the width comes from.
enum Width {
    None,
    Given(i64),
    /// The argument of that number, or the next one.
    Argument(Option<usize>),
}

struct Template<'t> {
    chars: Peekable<Chars<'t>>,
}

impl Template<'_> {
    fn digits(&mut self) -> Result<Option<i64>> {
        let mut number: Option<i64> = None;
        while let Some(digit) = self.chars.peek().and_then(|c| c.to_digit(10)) {
            let next = number.unwrap_or(0) * 10 + i64::from(digit);
            if next > i64::from(i32::MAX) {
                return Err(HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "number is out of range"));
            }
            number = Some(next);
            self.chars.next();
        }
        Ok(number)
    }

    fn take(&mut self, c: char) -> bool {
        self.chars.next_if_eq(&c).is_some()
    }

    /// `n$`; a number without the sign is a width.
    fn position(&mut self) -> Result<(Option<usize>, Option<i64>)> {
        let number = self.digits()?;
        match number {
            Some(n) if self.take('$') => Ok((Some(argument(n)?), None)),
            other => Ok((None, other)),
        }
    }

    fn width(&mut self, given: Option<i64>) -> Result<Width> {
        if let Some(given) = given {
            return Ok(Width::Given(given));
        }
        if self.take('*') {
            let number = self.digits()?;
            if let Some(n) = number {
                if !self.take('$') {
                    return Err(invalid("width argument position must be ended by \"$\""));
                }
                return Ok(Width::Argument(Some(argument(n)?)));
            }
            return Ok(Width::Argument(None));
        }
        Ok(self.digits()?.map_or(Width::None, Width::Given))
    }

    fn end(&mut self) -> Result<char> {
        self.chars
            .next()
            .ok_or_else(|| invalid("unterminated format() type specifier").with_hint(SINGLE_PERCENT))
    }
}

fn argument(n: i64) -> Result<usize> {
    match usize::try_from(n) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(invalid("format specifies argument 0, but arguments are numbered from 1")),
    }
}

fn argument_at<'a, 'd>(args: &'a [Datum<'d>], at: usize) -> Result<&'a Datum<'d>> {
    args.get(at).ok_or_else(|| invalid("too few arguments for format()"))
}

/// A width from an argument; NULL is none.
fn width_of(value: &Datum, cx: &Cx, at: usize) -> Result<i64> {
    match value {
        Datum::Null => Ok(0),
        Datum::Int(n) => Ok(*n),
        other => {
            let text = print(cx, other, at);
            text.trim().parse::<i32>().map(i64::from).map_err(|_| bad_text("integer", &text))
        }
    }
}

/// The text of a template and its arguments, of which the first is the template.
pub fn format(cx: &Cx, args: &[Datum]) -> Result<String> {
    let mut out = String::new();
    let mut template = Template { chars: args[0].as_str().chars().peekable() };
    let mut next = 1;
    while let Some(c) = template.chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if template.take('%') {
            out.push('%');
            continue;
        }
        let (position, given) = template.position()?;
        let mut left = given.is_none() && template.take('-');
        while left && template.take('-') {}
        let width = match template.width(given)? {
            Width::None => 0,
            Width::Given(n) => n,
            Width::Argument(at) => {
                let at = at.unwrap_or(next);
                next = at + 1;
                width_of(argument_at(args, at)?, cx, at)?
            }
        };
        left |= width < 0;
        let conversion = template.end()?;
        if !matches!(conversion, 's' | 'I' | 'L') {
            let message = format!("unrecognized format() type specifier \"{conversion}\"");
            return Err(invalid(message).with_hint(SINGLE_PERCENT));
        }
        let at = position.unwrap_or(next);
        next = at + 1;
        let text = converted(conversion, argument_at(args, at)?, cx, at)?;
        let wanted = usize::try_from(width.unsigned_abs()).unwrap_or(MAX_TEXT).min(MAX_TEXT);
        let blank = " ".repeat(wanted.saturating_sub(text.chars().count()));
        out += &if left { text + &blank } else { blank + &text };
    }
    Ok(out)
}

fn converted(conversion: char, value: &Datum, cx: &Cx, at: usize) -> Result<String> {
    Ok(match (conversion, value.is_null()) {
        ('s', true) => String::new(),
        ('L', true) => "NULL".into(),
        (_, true) => {
            let message = "null values cannot be formatted as an SQL identifier";
            return Err(HwError::new(sqlstate::NULL_VALUE_NOT_ALLOWED, message));
        }
        ('s', _) => short(cx, value, at),
        ('I', _) => quote_ident(&short(cx, value, at)),
        _ => quote_literal(&short(cx, value, at)),
    })
}
