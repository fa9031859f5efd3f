//! Number templates of `to_char` and `to_number`.
//!
//! Words: 9 0 . D , G FM S MI PL SG PR TH L V EEEE RN, and quoted text. The places of a number
//! that does not fit are filled with `#`, as PostgreSQL does.

use super::datum::{Datum, Function, Kind};
use super::decimal::Numeric;
use crate::error::{HwError, Result, sqlstate};

/// Width of a Roman number that is not filled.
const ROMAN_WIDTH: usize = 15;

#[derive(Clone, Debug, PartialEq)]
enum Item {
    Nine,
    Zero,
    Point,
    Group,
    /// `S`, `MI`, `PL`, `SG`.
    Sign(&'static str),
    Ordinal {
        upper: bool,
    },
    Currency,
    Text(char),
}

#[derive(Default, Debug)]
struct Template {
    items: Vec<Item>,
    fill: bool,
    angle: bool,
    exponent: bool,
    roman: Option<bool>,
    /// Digits after `V`.
    shift: usize,
}

fn parse(template: &str) -> Template {
    let mut made = Template { fill: true, ..Template::default() };
    let mut rest = template;
    let mut shifted = false;
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').unwrap_or(quoted.len());
            made.items.extend(quoted[..end].chars().map(Item::Text));
            rest = quoted.get(end + 1..).unwrap_or("");
            continue;
        }
        let word = ["EEEE", "RN", "FM", "MI", "PL", "SG", "PR", "TH"];
        let found = word.into_iter().find(|w| rest.get(..w.len()).is_some_and(|r| r.eq_ignore_ascii_case(w)));
        let length = found.map_or(c.len_utf8(), str::len);
        let lower = rest.starts_with(|c: char| c.is_ascii_lowercase());
        match (found, c.to_ascii_uppercase()) {
            (Some("EEEE"), _) => made.exponent = true,
            (Some("RN"), _) => made.roman = Some(lower),
            (Some("FM"), _) => made.fill = false,
            (Some("PR"), _) => made.angle = true,
            (Some("TH"), _) => made.items.push(Item::Ordinal { upper: !lower }),
            (Some(sign), _) => made.items.push(Item::Sign(sign)),
            (None, 'S') => made.items.push(Item::Sign("S")),
            (None, '9' | '0') => {
                made.shift += usize::from(shifted);
                made.items.push(if c == '9' { Item::Nine } else { Item::Zero });
            }
            (None, '.' | 'D') => made.items.push(Item::Point),
            (None, ',' | 'G') => made.items.push(Item::Group),
            (None, 'L') => made.items.push(Item::Currency),
            (None, 'V') => shifted = true,
            (None, _) => made.items.push(Item::Text(c)),
        }
        rest = &rest[length..];
    }
    made
}

/// The places of a template before and after its point.
struct Places {
    whole: Vec<Item>,
    fraction: Vec<Item>,
}

impl Template {
    fn places(&self) -> Places {
        let is_place = |i: &&Item| matches!(i, Item::Nine | Item::Zero);
        let point = self.items.iter().position(|i| *i == Item::Point).unwrap_or(self.items.len());
        Places {
            whole: self.items[..point].iter().filter(is_place).cloned().collect(),
            fraction: self.items[point..].iter().filter(is_place).cloned().collect(),
        }
    }
}

/// A number as digits: none before the point if it is below one.
struct Digits {
    negative: bool,
    whole: String,
    fraction: String,
}

impl Digits {
    fn of(number: Numeric, fraction: usize) -> Result<Digits> {
        let rounded = number.round(fraction as i32)?;
        if rounded.is_special() {
            let whole = rounded.to_string().trim_start_matches('-').to_string();
            return Ok(Digits { negative: rounded.v < 0, whole, fraction: String::new() });
        }
        let text = rounded.to_string();
        let body = text.trim_start_matches('-');
        let (whole, part) = body.split_once('.').unwrap_or((body, ""));
        let zero = !body.bytes().any(|b| (b'1'..=b'9').contains(&b));
        Ok(Digits {
            negative: text.starts_with('-') && !zero,
            whole: whole.trim_start_matches('0').to_string(),
            fraction: format!("{part:0<fraction$}")[..fraction].to_string(),
        })
    }
}

/// `to_char` of a number; `None` is one that no template holds.
fn render(number: Option<Numeric>, template: &str) -> Result<String> {
    let template = parse(template);
    let special = number.filter(|n| n.is_special());
    if let Some(lower) = template.roman {
        if let Some(n) = special {
            let what = if n.is_nan() { "NaN" } else { "infinity" };
            let message = format!("cannot convert {what} to integer");
            return Err(HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, message));
        }
        return Ok(roman(number, lower, template.fill));
    }
    let places = template.places();
    if let (Some(n), true) = (special, template.items.iter().any(|i| matches!(i, Item::Ordinal { .. }))) {
        let message = format!("\"{n}\" is not a number");
        return Err(HwError::new(sqlstate::INVALID_TEXT_REPRESENTATION, message));
    }
    if template.exponent {
        if special.is_some() {
            // A blank for the sign, the point, and the exponent.
            let fraction = "#".repeat(places.fraction.len() + 4);
            return Ok(format!(" {}.{fraction}", "#".repeat(places.whole.len())));
        }
        return Ok(scientific(number, places.fraction.len(), template.fill));
    }
    let shifted = match number {
        Some(n) => Some(n.mul(Numeric::new(10i128.pow(template.shift.min(30) as u32), 0), n.scale)?),
        None => None,
    };
    let digits = shifted.and_then(|n| Digits::of(n, places.fraction.len()).ok());
    // Without a place before the point nothing fits.
    let places_for = |d: &Digits| {
        d.whole.len() <= places.whole.len() && (!places.whole.is_empty() || places.fraction.is_empty())
    };
    let fits = digits.as_ref().is_some_and(places_for);
    let mut digits = digits.unwrap_or(Digits { negative: false, whole: "#".into(), fraction: String::new() });
    if !fits {
        digits.whole = "#".repeat(places.whole.len());
        digits.fraction = "#".repeat(places.fraction.len());
    } else if digits.whole.is_empty() && (places.fraction.is_empty() || bare(&template, &places, &digits)) {
        digits.whole = "0".into();
    }
    Ok(Writer::new(&template, &places, &digits).write())
}

/// Whether FM would leave no digit at all.
fn bare(template: &Template, places: &Places, digits: &Digits) -> bool {
    let forced = places.whole.iter().chain(&places.fraction).any(|p| *p == Item::Zero);
    !template.fill && !forced && digits.fraction.bytes().all(|b| b == b'0')
}

struct Writer<'a> {
    template: &'a Template,
    digits: &'a Digits,
    /// The first place before the point that shows a digit.
    first: usize,
    /// Blank places before the digits.
    padding: usize,
    /// Digits of the fraction that are shown.
    shown: usize,
    width: usize,
    out: String,
    sign_written: bool,
}

impl<'a> Writer<'a> {
    fn new(template: &'a Template, places: &Places, digits: &'a Digits) -> Writer<'a> {
        let padding = places.whole.len() - digits.whole.len().min(places.whole.len());
        let zero = places.whole.iter().position(|p| *p == Item::Zero).unwrap_or(places.whole.len());
        let forced = places.fraction.iter().rposition(|p| *p == Item::Zero).map_or(0, |at| at + 1);
        let shown = match template.fill {
            true => digits.fraction.len(),
            false => digits.fraction.trim_end_matches('0').len().max(forced).min(digits.fraction.len()),
        };
        let (first, width) = (padding.min(zero), places.whole.len());
        let own_sign = template.items.iter().any(|i| matches!(i, Item::Sign("MI" | "SG")));
        let trailing = template
            .items
            .iter()
            .position(|i| *i == Item::Sign("S"))
            .is_some_and(|at| template.items[..at].iter().any(|i| matches!(i, Item::Nine | Item::Zero)));
        let sign_written = own_sign || trailing;
        Writer { template, digits, first, padding, shown, width, out: String::new(), sign_written }
    }

    fn blank(&mut self) {
        if self.template.fill {
            self.out.push(' ');
        }
    }

    /// The sign that stands directly before the first digit.
    fn sign(&mut self) {
        if std::mem::replace(&mut self.sign_written, true) {
            return;
        }
        let plus = self.template.items.contains(&Item::Sign("S"));
        match (self.digits.negative, self.template.angle) {
            (true, true) => self.out.push('<'),
            (true, false) => self.out.push('-'),
            (false, _) if plus => self.out.push('+'),
            (false, _) => self.blank(),
        }
    }

    fn write(mut self) -> String {
        let (mut place, mut fraction, mut after_point) = (0, 0, false);
        let no_whole = self.first == self.width;
        for (at, item) in self.template.items.iter().enumerate() {
            match item {
                Item::Nine | Item::Zero if after_point => {
                    if fraction < self.shown {
                        self.out.push_str(&self.digits.fraction[fraction..=fraction]);
                    }
                    fraction += 1;
                }
                Item::Nine | Item::Zero => {
                    if place == self.first {
                        self.sign();
                    }
                    match place {
                        p if p >= self.padding => {
                            let at = p - self.padding;
                            self.out.push_str(&self.digits.whole[at..=at]);
                        }
                        p if p >= self.first => self.out.push('0'),
                        _ => self.blank(),
                    }
                    place += 1;
                }
                Item::Point => {
                    if no_whole {
                        self.sign();
                    }
                    after_point = true;
                    let word = self.digits.whole.ends_with(|c: char| c.is_ascii_alphabetic());
                    let dropped = word || !self.template.fill && self.digits.fraction.is_empty();
                    if !dropped || self.digits.whole.starts_with('#') {
                        self.out.push('.');
                    }
                }
                Item::Group if place > self.first => self.out.push(','),
                Item::Group => self.blank(),
                Item::Sign("S") => {
                    let before = self.template.items[..at].iter();
                    if before.clone().any(|i| matches!(i, Item::Nine | Item::Zero)) {
                        self.out.push(if self.digits.negative { '-' } else { '+' });
                    }
                }
                Item::Sign(kind) => self.placed_sign(kind),
                Item::Ordinal { upper } => self.ordinal(*upper),
                Item::Currency => self.blank(),
                Item::Text(c) => self.out.push(*c),
            }
        }
        if self.template.angle {
            match self.digits.negative {
                true => self.out.push('>'),
                false => self.blank(),
            }
        }
        self.out
    }

    fn placed_sign(&mut self, kind: &str) {
        match (kind, self.digits.negative) {
            ("MI" | "SG", true) => self.out.push('-'),
            ("SG" | "PL", false) => self.out.push('+'),
            _ => self.blank(),
        }
    }

    fn ordinal(&mut self, upper: bool) {
        let overflown = self.digits.whole.starts_with('#');
        if self.digits.negative || overflown || !self.digits.fraction.is_empty() {
            return;
        }
        let whole = &self.digits.whole;
        let teen = whole.len() > 1 && whole[..whole.len() - 1].ends_with('1');
        let suffix = match whole.chars().last() {
            _ if teen => "th",
            Some('1') => "st",
            Some('2') => "nd",
            Some('3') => "rd",
            _ => "th",
        };
        self.out += &if upper { suffix.to_uppercase() } else { suffix.to_string() };
    }
}

fn scientific(number: Option<Numeric>, digits: usize, fill: bool) -> String {
    let Some(number) = number else { return "#".repeat(digits + 6) };
    let text = format!("{:.*e}", digits, number.to_f64());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    let blank = if fill && !mantissa.starts_with('-') { " " } else { "" };
    format!("{blank}{mantissa}e{sign}{:02}", exponent.abs())
}

fn roman(number: Option<Numeric>, lower: bool, fill: bool) -> String {
    const PARTS: [(i128, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut rest = match number.and_then(Numeric::to_i128) {
        Some(n @ 1..=3999) => n,
        _ => return "#".repeat(ROMAN_WIDTH),
    };
    let mut out = String::new();
    for (value, letters) in PARTS {
        while rest >= value {
            out += letters;
            rest -= value;
        }
    }
    let out = if lower { out.to_lowercase() } else { out };
    if fill { format!("{out:>ROMAN_WIDTH$}") } else { out }
}

/// `to_number`: the digits where the template has places.
fn read(text: &str, template: &str) -> Result<Numeric> {
    let parsed = parse(template);
    let wanted = parsed.items.iter().filter(|i| matches!(i, Item::Nine | Item::Zero)).count();
    let negative = text.contains('-') || parsed.angle && text.contains('<');
    let mut digits = String::from(if negative { "-" } else { "" });
    let mut taken = 0;
    for c in text.chars() {
        match c {
            '0'..='9' if taken < wanted => {
                digits.push(c);
                taken += 1;
            }
            '.' if !digits.contains('.') => digits.push(c),
            _ => {}
        }
    }
    let number = Numeric::parse(&digits).ok_or_else(|| {
        let message = format!("invalid input syntax for type numeric: \"{text}\"");
        HwError::new(sqlstate::INVALID_TEXT_REPRESENTATION, message)
    })?;
    match parsed.shift {
        0 => Ok(number),
        shift => number.quotient(Numeric::new(10i128.pow(shift.min(30) as u32), 0)),
    }
}

/// The overloads of `to_char` for numbers.
pub fn add_to_char(function: Function) -> Function {
    use Kind::{Float8, Int8, Num, Text};
    function
        .on(&[Int8, Text], Text, |_, a| Ok(Datum::text(render(Some(a[0].as_num()), a[1].as_str())?)))
        .on(&[Num, Text], Text, |_, a| Ok(Datum::text(render(Some(a[0].as_num()), a[1].as_str())?)))
        .on(&[Float8, Text], Text, |_, a| {
            Ok(Datum::text(render(Numeric::from_f64(a[0].as_f64(), 15).ok(), a[1].as_str())?))
        })
}

pub fn functions() -> Vec<Function> {
    use Kind::{Num, Text};
    vec![
        Function::new("to_number")
            .on(&[Text, Text], Num, |_, a| Ok(Datum::Num(read(a[0].as_str(), a[1].as_str())?))),
    ]
}

#[cfg(test)]
mod tests;
