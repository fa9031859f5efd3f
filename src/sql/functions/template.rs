//! Date/time templates of `to_char`, read and rendered as PostgreSQL's formatting.c does.
//!
//! Words: HH HH12 HH24 MI SS MS US FF1–FF6 SSSS AM P.M. YYYY Y,YYY YYY YY Y IYYY IYY IY I CC BC A.D.
//! MONTH Month MON MM RM DAY Dy DD DDD D ID IDDD W WW IW Q J TZ TZH TZM OF, with FM, TM, TH and
//! SP, quoted text and the backslash before a quote. Reading values is [`super::template_parse`].

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;

use super::zone::{Civil, MICROS_PER_DAY, MICROS_PER_SECOND, days_of_civil, iso_week, iso_weekday};

pub const MONTHS: [&str; 12] = [
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
/// From Sunday.
pub const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
pub const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// Longest first among those that begin alike.
const WORDS: &[&str] = &[
    "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "CC", "DAY", "DDD", "DD", "DY", "Day", "Dy", "D", "FF1", "FF2",
    "FF3", "FF4", "FF5", "FF6", "FX", "HH24", "HH12", "HH", "IDDD", "ID", "IW", "IYYY", "IYY", "IY", "I",
    "J", "MI", "MM", "MONTH", "MON", "MS", "Month", "Mon", "OF", "P.M.", "PM", "Q", "RM", "SSSSS", "SSSS",
    "SS", "TZH", "TZM", "TZ", "US", "WW", "W", "Y,YYY", "YYYY", "YYY", "YY", "Y", "a.d.", "a.m.", "ad", "am",
    "b.c.", "bc", "cc", "day", "ddd", "dd", "dy", "d", "ff1", "ff2", "ff3", "ff4", "ff5", "ff6", "fx",
    "hh24", "hh12", "hh", "iddd", "id", "iw", "iyyy", "iyy", "iy", "i", "j", "mi", "mm", "month", "mon",
    "ms", "of", "p.m.", "pm", "q", "rm", "sssss", "ssss", "ss", "tzh", "tzm", "tz", "us", "ww", "w", "y,yyy",
    "yyyy", "yyy", "yy", "y",
];

/// What an item of a template has beside its word.
#[derive(Clone, Copy, Default, Debug)]
pub struct Suffix {
    /// FM: without padding.
    pub bare: bool,
    /// TM: names in the locale's language, which is English, without padding.
    pub local: bool,
    /// TH or th, in capitals or not.
    pub ordinal: Option<bool>,
}

#[derive(Debug)]
pub enum Item<'a> {
    Word {
        word: &'static str,
        suffix: Suffix,
    },
    /// One character that is shown; in values it skips one.
    Text(&'a str),
    /// A blank or punctuation outside of quotes.
    Separator(&'a str),
}

/// The items of a template (`parse_format`).
pub fn items(template: &str) -> Vec<Item<'_>> {
    let mut out = vec![];
    let mut rest = template;
    let first = |text: &str| text.chars().next().map_or(1, char::len_utf8);
    while !rest.is_empty() {
        let mut suffix = Suffix::default();
        let prefix = rest.get(..2).filter(|p| ["FM", "fm", "TM", "tm"].contains(p));
        if let Some(prefix) = prefix {
            match prefix {
                "FM" | "fm" => suffix.bare = true,
                _ => suffix.local = true,
            }
            rest = &rest[2..];
        }
        if let Some(word) = WORDS.iter().copied().find(|w| rest.starts_with(w)) {
            rest = &rest[word.len()..];
            match rest.get(..2) {
                Some("TH") => suffix.ordinal = Some(true),
                Some("th") => suffix.ordinal = Some(false),
                _ => {}
            }
            if suffix.ordinal.is_some() || rest.starts_with("SP") {
                rest = &rest[2..];
            }
            out.push(Item::Word { word, suffix });
        } else if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            while !rest.is_empty() {
                if let Some(after) = rest.strip_prefix('"') {
                    rest = after;
                    break;
                }
                rest = rest.strip_prefix('\\').filter(|r| !r.is_empty()).unwrap_or(rest);
                let (c, after) = rest.split_at(first(rest));
                out.push(Item::Text(c));
                rest = after;
            }
        } else if !rest.is_empty() {
            rest = rest.strip_prefix('\\').filter(|r| r.starts_with('"')).unwrap_or(rest);
            let (c, after) = rest.split_at(first(rest));
            let separates = c.bytes().all(|b| b.is_ascii_punctuation() || b.is_ascii_whitespace());
            out.push(if separates { Item::Separator(c) } else { Item::Text(c) });
            rest = after;
        }
    }
    out
}

/// The text of wall-clock microseconds by a template; infinite times have none.
pub fn render(local: i64, zone: &str, offset: i32, template: &str) -> Option<String> {
    (!matches!(local, i64::MIN | i64::MAX)).then(|| render_items(local, zone, offset, &items(template)))
}

fn render_items(local: i64, zone: &str, offset: i32, items: &[Item<'_>]) -> String {
    let moment = Moment::of(local, zone, offset);
    let mut out = String::new();
    for item in items {
        match item {
            Item::Text(text) | Item::Separator(text) => out.push_str(text),
            Item::Word { word, suffix } => {
                let text = moment.text(word, *suffix);
                let ordinal = suffix.ordinal.filter(|_| text.ends_with(|c: char| c.is_ascii_digit()));
                out.push_str(&text);
                match ordinal {
                    Some(true) => out.push_str(&ending(&text).to_uppercase()),
                    Some(false) => out.push_str(ending(&text)),
                    None => {}
                }
            }
        }
    }
    out
}

/// How long, in microseconds and from a multiple of it, the text of a word is the same.
fn span(word: &str) -> i64 {
    match word.to_ascii_uppercase().as_str() {
        "US" | "FF6" => 1,
        "FF5" => 10,
        "FF4" => 100,
        "MS" | "FF3" => 1_000,
        "FF2" => 10_000,
        "FF1" => 100_000,
        "SS" | "SSSS" | "SSSSS" => MICROS_PER_SECOND,
        "MI" => 60 * MICROS_PER_SECOND,
        "HH" | "HH12" | "HH24" | "AM" | "PM" | "A.M." | "P.M." => 3_600 * MICROS_PER_SECOND,
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
            Item::Text(_) | Item::Separator(_) => MICROS_PER_DAY,
        });
        Renderer { span: spans.min().unwrap_or(MICROS_PER_DAY), items, at: None, text: String::new() }
    }

    /// `None` for infinite times.
    pub fn text(&mut self, local: i64) -> Option<&str> {
        if matches!(local, i64::MIN | i64::MAX) {
            return None;
        }
        let at = Some(local.div_euclid(self.span));
        if self.at != at {
            self.text = render_items(local, "", 0, &self.items);
            self.at = at;
        }
        Some(&self.text)
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
                    (Some(renderer), Some(time)) => renderer.text(time),
                    _ => None,
                });
            }
        }
        ColumnarValue::Array(templates) => {
            for (time, template) in times.iter().zip(templates.as_string::<i32>()) {
                out.append_option(
                    time.zip(template).and_then(|(time, template)| render(time, "", 0, template)),
                );
            }
        }
    }
    let out: ArrayRef = Arc::new(out.finish());
    Ok(match rows {
        Some(_) => ColumnarValue::Array(out),
        None => ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?),
    })
}

/// The ending of an ordinal number.
fn ending(digits: &str) -> &'static str {
    let bytes = digits.as_bytes();
    if bytes.len() > 1 && bytes[bytes.len() - 2] == b'1' {
        return "th";
    }
    match bytes.last() {
        Some(b'1') => "st",
        Some(b'2') => "nd",
        Some(b'3') => "rd",
        _ => "th",
    }
}

/// A wall-clock time as the words see it.
struct Moment<'z> {
    civil: Civil,
    days: i64,
    zone: &'z str,
    offset: i32,
}

/// Astronomical years as they are written: 1 BC is 1.
fn written_year(year: i64) -> i64 {
    if year <= 0 { 1 - year } else { year }
}

impl Moment<'_> {
    fn of(local: i64, zone: &str, offset: i32) -> Moment<'_> {
        let civil = Civil::of_micros(local);
        Moment { civil, days: civil.days(), zone, offset }
    }

    fn text(&self, word: &str, suffix: Suffix) -> String {
        let c = &self.civil;
        let seconds = c.time / MICROS_PER_SECOND;
        let (hour, fraction) = (seconds / 3600, c.time % MICROS_PER_SECOND);
        let number = |n: i64, width: usize| {
            let width = if n < 0 { width + 1 } else { width };
            if suffix.bare { n.to_string() } else { format!("{n:0width$}") }
        };
        let padded = |name: String, width: usize| match suffix.bare || suffix.local {
            true => name,
            false => format!("{name:<width$}"),
        };
        let upper = word.to_ascii_uppercase();
        let day_of_year = self.days - days_of_civil(c.year, 1, 1) + 1;
        let year = written_year(if upper.starts_with('I') { iso_week(self.days).0 } else { c.year });
        match upper.as_str() {
            "A.M." | "P.M." => cased(if hour < 12 { "A.M." } else { "P.M." }, word),
            "AM" | "PM" => cased(if hour < 12 { "AM" } else { "PM" }, word),
            "A.D." | "B.C." => cased(if c.year <= 0 { "B.C." } else { "A.D." }, word),
            "AD" | "BC" => cased(if c.year <= 0 { "BC" } else { "AD" }, word),
            "HH24" => number(hour, 2),
            "HH" | "HH12" => number((hour + 11) % 12 + 1, 2),
            "MI" => number(seconds / 60 % 60, 2),
            "SS" => number(seconds % 60, 2),
            "MS" | "FF3" => format!("{:03}", fraction / 1000),
            "US" | "FF6" => format!("{fraction:06}"),
            "FF1" => (fraction / 100_000).to_string(),
            "FF2" => format!("{:02}", fraction / 10_000),
            "FF4" => format!("{:04}", fraction / 100),
            "FF5" => format!("{:05}", fraction / 10),
            "SSSS" | "SSSSS" => seconds.to_string(),
            "YYYY" | "IYYY" => number(year, 4),
            "YYY" | "IYY" => number(year % 1000, 3),
            "YY" | "IY" => number(year % 100, 2),
            "Y" | "I" => (year % 10).to_string(),
            "Y,YYY" => format!("{},{:03}", year / 1000, year % 1000),
            "CC" => number(if c.year > 0 { (c.year - 1) / 100 + 1 } else { c.year / 100 - 1 }, 2),
            "MM" => number(c.month.into(), 2),
            "MONTH" => padded(cased(MONTHS[c.month as usize - 1], word), 9),
            "MON" => cased(&MONTHS[c.month as usize - 1][..3], word),
            "RM" => {
                let roman = cased(ROMAN[c.month as usize - 1], word);
                if suffix.bare { roman } else { format!("{roman:<4}") }
            }
            "DAY" => padded(cased(DAYS[self.weekday()], word), 9),
            "DY" => cased(&DAYS[self.weekday()][..3], word),
            "DD" => number(c.day.into(), 2),
            "DDD" => number(day_of_year, 3),
            "IDDD" => number((iso_week(self.days).1 - 1) * 7 + iso_weekday(self.days), 3),
            "D" => (self.weekday() + 1).to_string(),
            "ID" => iso_weekday(self.days).to_string(),
            "W" => ((c.day - 1) / 7 + 1).to_string(),
            "WW" => number((day_of_year - 1) / 7 + 1, 2),
            "IW" => number(iso_week(self.days).1, 2),
            "Q" => ((c.month - 1) / 3 + 1).to_string(),
            "J" => (self.days + 2_440_588).to_string(),
            _ => self.zone_text(&upper, word, suffix),
        }
    }

    /// Days from Sunday.
    fn weekday(&self) -> usize {
        (iso_weekday(self.days) % 7) as usize
    }

    fn zone_text(&self, upper: &str, word: &str, suffix: Suffix) -> String {
        let (sign, east) = (if self.offset < 0 { '-' } else { '+' }, self.offset.abs());
        match upper {
            "TZ" if word == "tz" => self.zone.to_lowercase(),
            "TZ" => self.zone.to_string(),
            "TZH" => format!("{sign}{:02}", east / 3600),
            "TZM" => format!("{:02}", east % 3600 / 60),
            "OF" => {
                let hours =
                    if suffix.bare { (east / 3600).to_string() } else { format!("{:02}", east / 3600) };
                let minutes =
                    if east % 3600 == 0 { String::new() } else { format!(":{:02}", east % 3600 / 60) };
                format!("{sign}{hours}{minutes}")
            }
            // FX is for reading.
            _ => String::new(),
        }
    }
}

/// A name in the letters in which its word is written.
fn cased(name: &str, word: &str) -> String {
    let mut letters = word.chars().filter(|c| c.is_ascii_alphabetic());
    match (letters.next(), letters.next()) {
        (Some(first), _) if first.is_ascii_lowercase() => name.to_lowercase(),
        (_, Some(second)) if second.is_ascii_uppercase() => name.to_uppercase(),
        _ => name.to_string(),
    }
}
