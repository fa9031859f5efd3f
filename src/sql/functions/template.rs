//! Date/time templates of `to_char`, `to_timestamp` and `to_date`.
//!
//! Words: YYYY YYY YY Y IYYY MM MON Mon mon MONTH Month month DD DDD D ID DAY Day day DY Dy dy
//! HH HH12 HH24 MI SS MS US SSSS AM PM Q WW IW CC J TZ OF, with FM and TH, and quoted text.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;

use super::format::format_offset;
use super::zone::{
    Civil, MICROS_PER_DAY, MICROS_PER_SECOND, days_in_month, days_of_civil, iso_week, iso_weekday,
};
use crate::error::{HwError, Result, sqlstate};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Longest first, so that a word is not read as its prefix.
const WORDS: &[&str] = &[
    "SSSSS", "MONTH", "Month", "month", "IYYY", "YYYY", "SSSS", "HH24", "HH12", "A.M.", "P.M.", "a.m.",
    "p.m.", "YYY", "MON", "Mon", "mon", "DAY", "Day", "day", "DDD", "YY", "MM", "DD", "ID", "DY", "Dy", "dy",
    "HH", "MI", "SS", "MS", "US", "AM", "PM", "am", "pm", "WW", "IW", "CC", "TZ", "tz", "OF", "Y", "D", "Q",
    "W", "J",
];

enum Item<'a> {
    Word { word: &'static str, fill: bool, ordinal: bool },
    Text(&'a str),
}

fn items(template: &str) -> Vec<Item<'_>> {
    let mut out = vec![];
    let mut rest = template;
    let mut fill = true;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').unwrap_or(quoted.len());
            out.push(Item::Text(&quoted[..end]));
            rest = quoted.get(end + 1..).unwrap_or("");
        } else if let Some(after) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            fill = false;
            rest = after;
        } else if let Some(word) = word_at(rest) {
            rest = &rest[word.len()..];
            let suffix = rest.strip_prefix("TH").or_else(|| rest.strip_prefix("th"));
            out.push(Item::Word { word, fill, ordinal: suffix.is_some() });
            rest = suffix.unwrap_or(rest);
            fill = true;
        } else {
            let len = rest.chars().next().map_or(1, char::len_utf8);
            out.push(Item::Text(&rest[..len]));
            rest = &rest[len..];
        }
    }
    out
}

fn word_at(text: &str) -> Option<&'static str> {
    let exact = WORDS.iter().find(|w| text.starts_with(**w));
    // Numeric words may be written in lower case.
    let folded = || {
        WORDS.iter().filter(|w| !matches!(**w, "MONTH" | "MON" | "DAY" | "DY" | "AM" | "PM" | "TZ")).find(
            |w| {
                text.get(..w.len())
                    .is_some_and(|t| t.eq_ignore_ascii_case(w) && t.bytes().all(|b| !b.is_ascii_uppercase()))
            },
        )
    };
    exact.or_else(folded).copied()
}

/// The text of wall-clock microseconds by a template.
pub fn render(local: i64, zone: &str, offset: i32, template: &str) -> String {
    render_items(local, zone, offset, &items(template))
}

fn render_items(local: i64, zone: &str, offset: i32, items: &[Item<'_>]) -> String {
    let c = Civil::of_micros(local);
    let mut out = String::new();
    for item in items {
        match item {
            Item::Text(text) => out.push_str(text),
            Item::Word { word, fill, ordinal } => {
                let text = word_text(&c, zone, offset, word, *fill);
                out.push_str(&text);
                if *ordinal && let Ok(n) = text.trim().parse::<i64>() {
                    out.push_str(suffix(n));
                }
            }
        }
    }
    out
}

/// How long, in microseconds and from a multiple of it, the text of a word is the same.
fn span(word: &str) -> i64 {
    match word {
        "US" => 1,
        "MS" => 1_000,
        "SS" | "SSSS" | "SSSSS" => MICROS_PER_SECOND,
        "MI" => 60 * MICROS_PER_SECOND,
        "HH" | "HH12" | "HH24" | "AM" | "PM" | "am" | "pm" | "A.M." | "P.M." | "a.m." | "p.m." => {
            3_600 * MICROS_PER_SECOND
        }
        _ => MICROS_PER_DAY,
    }
}

/// Times without zone by one template; the text of a day, minute, … is made once while times
/// stay in it.
pub struct Renderer<'a> {
    items: Vec<Item<'a>>,
    span: i64,
    /// Number of the span whose text is held.
    at: Option<i64>,
    text: String,
}

impl Renderer<'_> {
    pub fn new(template: &str) -> Renderer<'_> {
        let items = items(template);
        let spans = items.iter().map(|item| match item {
            Item::Word { word, .. } => span(word),
            Item::Text(_) => MICROS_PER_DAY,
        });
        Renderer { span: spans.min().unwrap_or(MICROS_PER_DAY), items, at: None, text: String::new() }
    }

    pub fn text(&mut self, local: i64) -> &str {
        let at = Some(local.div_euclid(self.span));
        if self.at != at {
            self.text = render_items(local, "", 0, &self.items);
            self.at = at;
        }
        &self.text
    }
}

/// `to_char` of a column of timestamps by one template; a template that varies is done by row.
pub fn to_char(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    let rows = args.iter().find_map(|a| match a {
        ColumnarValue::Array(array) => Some(array.len()),
        ColumnarValue::Scalar(_) => None,
    });
    let times = args[0].to_array(rows.unwrap_or(1))?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut out = StringBuilder::with_capacity(times.len(), times.len() * 16);
    match &args[1] {
        ColumnarValue::Scalar(template) => {
            let template = template.try_as_str().flatten();
            let mut renderer = template.map(Renderer::new);
            for time in times {
                out.append_option(match (&mut renderer, time) {
                    (Some(renderer), Some(time)) => Some(renderer.text(time)),
                    _ => None,
                });
            }
        }
        ColumnarValue::Array(templates) => {
            for (time, template) in times.iter().zip(templates.as_string::<i32>()) {
                out.append_option(time.zip(template).map(|(time, template)| render(time, "", 0, template)));
            }
        }
    }
    let out: ArrayRef = Arc::new(out.finish());
    Ok(match rows {
        Some(_) => ColumnarValue::Array(out),
        None => ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?),
    })
}

fn suffix(n: i64) -> &'static str {
    match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

fn word_text(c: &Civil, zone: &str, offset: i32, word: &str, fill: bool) -> String {
    let days = c.days();
    let seconds = c.time / MICROS_PER_SECOND;
    let (hour, fraction) = (seconds / 3600, c.time % MICROS_PER_SECOND);
    let number = |n: i64, width: usize| if fill { format!("{n:0width$}") } else { n.to_string() };
    let name = |n: &str, width: usize| {
        let cased = match word.chars().nth(1) {
            Some(second) if second.is_uppercase() => n.to_uppercase(),
            _ if word.starts_with(|f: char| f.is_lowercase()) => n.to_lowercase(),
            _ => n.to_string(),
        };
        if fill { format!("{cased:<width$}") } else { cased }
    };
    let month = MONTHS[c.month as usize - 1];
    let weekday = DAYS[iso_weekday(days) as usize - 1];
    let day_of_year = days - days_of_civil(c.year, 1, 1) + 1;
    match word {
        "YYYY" => number(c.year, 4),
        "YYY" => number(c.year.rem_euclid(1000), 3),
        "YY" => number(c.year.rem_euclid(100), 2),
        "Y" => number(c.year.rem_euclid(10), 1),
        "IYYY" => number(iso_week(days).0, 4),
        "MM" => number(c.month.into(), 2),
        "MONTH" | "Month" | "month" => name(month, 9),
        "MON" | "Mon" | "mon" => name(&month[..3], 3),
        "DD" => number(c.day.into(), 2),
        "DDD" => number(day_of_year, 3),
        "D" => (iso_weekday(days) % 7 + 1).to_string(),
        "ID" => iso_weekday(days).to_string(),
        "DAY" | "Day" | "day" => name(weekday, 9),
        "DY" | "Dy" | "dy" => name(&weekday[..3], 3),
        "HH24" => number(hour, 2),
        "HH" | "HH12" => number((hour + 11) % 12 + 1, 2),
        "MI" => number(seconds / 60 % 60, 2),
        "SS" => number(seconds % 60, 2),
        "MS" => number(fraction / 1000, 3),
        "US" => number(fraction, 6),
        "SSSS" | "SSSSS" => seconds.to_string(),
        "AM" | "PM" => if hour < 12 { "AM" } else { "PM" }.into(),
        "am" | "pm" => if hour < 12 { "am" } else { "pm" }.into(),
        "A.M." | "P.M." => if hour < 12 { "A.M." } else { "P.M." }.into(),
        "a.m." | "p.m." => if hour < 12 { "a.m." } else { "p.m." }.into(),
        "Q" => ((c.month - 1) / 3 + 1).to_string(),
        "WW" => number((day_of_year - 1) / 7 + 1, 2),
        "IW" => number(iso_week(days).1, 2),
        "W" => ((c.day - 1) / 7 + 1).to_string(),
        "CC" => number((c.year + 99).div_euclid(100), 2),
        "J" => (days + 2_440_588).to_string(),
        "TZ" => zone.to_uppercase(),
        "tz" => zone.to_lowercase(),
        "OF" => format_offset(offset),
        other => other.to_string(),
    }
}

#[derive(Default)]
struct Fields {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: i64,
    pm: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
}

/// Wall-clock microseconds of a text by a template.
pub fn parse_template(text: &str, template: &str) -> Result<i64> {
    let mut fields = Fields::default();
    let mut rest = text;
    for item in items(template) {
        match item {
            // A separator skips one character that is not a digit or letter.
            Item::Text(_) => {
                if let Some(c) = rest.chars().next().filter(|c| !c.is_alphanumeric()) {
                    rest = &rest[c.len_utf8()..];
                }
            }
            Item::Word { word, .. } => rest = read(word, rest.trim_start(), &mut fields, text)?,
        }
    }
    finish(&fields, text)
}

fn invalid(word: &str, text: &str) -> HwError {
    HwError::new(
        sqlstate::INVALID_DATETIME_FORMAT,
        format!(
            "invalid value \"{}\" for \"{word}\"",
            text.chars().take(word.len().max(2)).collect::<String>()
        ),
    )
}

fn read<'a>(word: &str, text: &'a str, fields: &mut Fields, _: &str) -> Result<&'a str> {
    let lower = text.to_lowercase();
    let named = |names: &[&str], short: bool| {
        names.iter().enumerate().find_map(|(i, n)| {
            let n = if short { n[..3].to_lowercase() } else { n.to_lowercase() };
            lower.starts_with(&n).then(|| (i as i64 + 1, n.len()))
        })
    };
    let found = match word.to_ascii_uppercase().as_str() {
        "MONTH" => named(&MONTHS, false).or(named(&MONTHS, true)),
        "MON" => named(&MONTHS, true),
        "DAY" => named(&DAYS, false),
        "DY" => named(&DAYS, true),
        "AM" | "PM" if lower.starts_with("am") || lower.starts_with("pm") => {
            Some((i64::from(lower.starts_with("pm")), 2))
        }
        "A.M." | "P.M." => Some((i64::from(lower.starts_with('p')), 4.min(text.len()))),
        _ => None,
    };
    let (value, used) = match found {
        Some(found) => found,
        None => {
            let width = match word {
                "YYYY" | "IYYY" | "HH24" | "HH12" if word.starts_with('H') => 2,
                "YYYY" | "IYYY" => 4,
                "YYY" | "DDD" | "MS" => 3,
                "US" => 6,
                "J" | "SSSS" | "SSSSS" => 7,
                "D" | "ID" | "Q" | "Y" => 1,
                _ => 2,
            };
            let digits = text.bytes().take(width).take_while(u8::is_ascii_digit).count();
            (text[..digits].parse::<i64>().map_err(|_| invalid(word, text))?, digits)
        }
    };
    match word.to_ascii_uppercase().as_str() {
        "YYYY" | "IYYY" => fields.year = Some(value),
        "YY" | "YYY" | "Y" => fields.year = Some(if value < 70 { 2000 + value } else { 1900 + value }),
        "MM" | "MONTH" | "MON" => fields.month = Some(value),
        "DD" => fields.day = Some(value),
        "DDD" => fields.day_of_year = Some(value),
        "HH" | "HH12" | "HH24" => fields.hour = value,
        "MI" => fields.minute = value,
        "SS" => fields.second = value,
        "MS" => fields.micros = value * 10i64.pow(6 - used.min(3) as u32),
        "US" => fields.micros = value * 10i64.pow(6 - used.min(6) as u32),
        "AM" | "PM" | "A.M." | "P.M." => fields.pm = Some(value == 1),
        "SSSS" | "SSSSS" => fields.second = value,
        _ => {}
    }
    Ok(&text[used..])
}

fn finish(f: &Fields, text: &str) -> Result<i64> {
    let overflow = || {
        let message = format!("date/time field value out of range: \"{text}\"");
        HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, message)
    };
    let year = f.year.unwrap_or(0);
    let (month, day) = (f.month.unwrap_or(1), f.day.unwrap_or(1));
    let month = u32::try_from(month).ok().filter(|m| (1..=12).contains(m)).ok_or_else(overflow)?;
    let day = u32::try_from(day)
        .ok()
        .filter(|d| *d >= 1 && *d <= days_in_month(year, month))
        .ok_or_else(overflow)?;
    let days = match f.day_of_year {
        Some(n) => days_of_civil(year, 1, 1) + n - 1,
        None => days_of_civil(year, month, day),
    };
    let hour = match f.pm {
        Some(pm) => f.hour % 12 + if pm { 12 } else { 0 },
        None => f.hour,
    };
    if !(0..=24).contains(&hour) || f.minute > 59 {
        return Err(overflow());
    }
    let seconds = hour * 3600 + f.minute * 60 + f.second;
    Ok(days * MICROS_PER_DAY + seconds * MICROS_PER_SECOND + f.micros)
}
