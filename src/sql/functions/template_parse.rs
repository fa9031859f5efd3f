//! `to_timestamp` and `to_date`: values read by a template, as formatting.c does
//! (`DCH_from_char`, `do_to_timestamp`).
//!
//! Blanks and punctuation of the template match one or none of the text unless FX is on; numbers
//! take as many digits as their word has, or all of them where no digit may follow. Errors: 22007
//! for texts that do not fit, 22008 for fields out of range.

use super::template::{DAYS, Item, MONTHS, ROMAN, Suffix, items};
use super::zone::{
    MICROS_PER_DAY, MICROS_PER_SECOND, civil_of_days, days_in_month, days_of_civil, iso_weekday,
};
use crate::error::{HwError, Result, sqlstate};

/// 2000-01-01 of PostgreSQL's Julian days, counted from 1970.
const JULIAN_1970: i64 = 2_440_588;

/// What a text said; zero is nothing, as in PostgreSQL.
#[derive(Default)]
struct Fields {
    year: i64,
    /// Digits of the word that gave the year.
    year_digits: usize,
    century: i64,
    bc: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    week: i64,
    week_of_month: i64,
    /// From Sunday, 1.
    weekday: i64,
    julian: i64,
    hour: i64,
    minute: i64,
    second: i64,
    seconds_of_day: i64,
    millis: i64,
    micros: i64,
    twelve: bool,
    pm: i64,
    zone_sign: i64,
    zone_hours: i64,
    zone_minutes: i64,
    /// Whether words of ISO weeks, or others of dates, were there.
    iso: Option<bool>,
}

/// A time without zone, and the seconds east of Greenwich if the text named them.
pub struct Parsed {
    pub local: i64,
    pub offset: Option<i64>,
}

fn malformed(message: String) -> HwError {
    HwError::new(sqlstate::INVALID_DATETIME_FORMAT, message)
}

fn overflow(text: &str) -> HwError {
    HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{text}\""))
}

struct Reader<'t> {
    rest: &'t str,
    /// Blanks and punctuation that were skipped beyond those of the template.
    extra: i64,
    /// What was skipped last, which may be the sign of a zone.
    last: Option<char>,
    fields: Fields,
}

/// Reads a value by a template.
pub fn parse(text: &str, template: &str) -> Result<Parsed> {
    let items = items(template);
    let mut reader = Reader { rest: text, extra: 0, last: None, fields: Fields::default() };
    let mut fixed = false;
    for (at, item) in items.iter().enumerate() {
        if reader.rest.is_empty() {
            break;
        }
        let fx = matches!(item, Item::Word { word: "FX" | "fx", .. });
        if !fixed && !fx && (at == 0 || matches!(item, Item::Word { .. })) {
            reader.skip_blanks();
        }
        match item {
            Item::Separator(_) if !fixed => {
                reader.extra -= 1;
                if reader.rest.starts_with(separates) {
                    reader.skip();
                    reader.extra += 1;
                }
            }
            Item::Text(_) if !fixed && reader.extra > 0 => reader.extra -= 1,
            Item::Separator(_) | Item::Text(_) => reader.skip(),
            Item::Word { .. } if fx => fixed = true,
            Item::Word { word, suffix } => {
                let greedy = suffix.bare || ends_number(&items, at);
                reader.word(word, *suffix, greedy)?;
                if !fixed {
                    reader.extra = 0;
                    reader.skip_blanks();
                }
            }
        }
    }
    finish(reader.fields, text)
}

fn separates(c: char) -> bool {
    c.is_ascii_punctuation() || c.is_ascii_whitespace()
}

/// Whether no digit may follow the number of an item (`is_next_separator`).
fn ends_number(items: &[Item], at: usize) -> bool {
    if matches!(items[at], Item::Word { suffix: Suffix { ordinal: Some(_), .. }, .. }) {
        return true;
    }
    match items.get(at + 1) {
        None => true,
        Some(Item::Word { word, .. }) => {
            let names = ["A.D.", "AD", "B.C.", "BC", "A.M.", "AM", "P.M.", "PM", "MONTH", "MON", "DAY", "DY"];
            let others = ["RM", "TZ", "TZH", "OF", "FX"];
            let upper = word.to_ascii_uppercase();
            names.contains(&upper.as_str()) || others.contains(&upper.as_str())
        }
        Some(Item::Text(c) | Item::Separator(c)) => !c.starts_with(|c: char| c.is_ascii_digit()),
    }
}

impl Reader<'_> {
    fn skip(&mut self) {
        let mut chars = self.rest.chars();
        self.last = chars.next();
        self.rest = chars.as_str();
    }

    fn skip_blanks(&mut self) {
        while self.rest.starts_with(|c: char| c.is_ascii_whitespace()) {
            self.skip();
            self.extra += 1;
        }
    }

    /// A number of `width` digits, or of all that follow; and how many characters it took.
    fn number(&mut self, word: &str, width: usize, greedy: bool) -> Result<(i64, usize)> {
        let text = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let limit = if greedy { text.len() } else { width };
        let shown = || text.chars().take(width).collect::<String>();
        let signed = text.starts_with(['-', '+']) as usize;
        let digits = text.bytes().take(limit).skip(signed).take_while(u8::is_ascii_digit).count();
        let used = if digits == 0 { 0 } else { signed + digits };
        let left = text.chars().count();
        if !greedy && left < width {
            let message = format!("source string too short for \"{word}\" formatting field");
            return Err(malformed(message)
                .with_detail(format!("Field requires {width} characters, but only {left} remain."))
                .with_hint("If your source string is not fixed-width, try using the \"FM\" modifier."));
        }
        let invalid = || malformed(format!("invalid value \"{}\" for \"{word}\"", shown()));
        if !greedy && used > 0 && used < width {
            return Err(invalid()
                .with_detail(format!("Field requires {width} characters, but only {used} could be parsed."))
                .with_hint("If your source string is not fixed-width, try using the \"FM\" modifier."));
        }
        if used == 0 {
            return Err(invalid().with_detail("Value must be an integer."));
        }
        let value = text[..used].parse::<i32>().map_err(|_| {
            HwError::new(
                sqlstate::DATETIME_FIELD_OVERFLOW,
                format!("value for \"{word}\" in source string is out of range"),
            )
            .with_detail(format!("Value must be in the range {} to {}.", i32::MIN, i32::MAX))
        })?;
        let taken = self.rest.len() - text.len() + used;
        self.last = text[..used].chars().next_back();
        self.rest = &text[used..];
        Ok((i64::from(value), taken))
    }

    /// The number of a name among `names`, in any letters.
    fn name(&mut self, word: &str, names: &[&str], letters: usize) -> Result<i64> {
        let cut = |name: &&str| name[..name.len().min(letters)].to_string();
        let found = names.iter().map(cut).enumerate().find(|(_, name)| {
            self.rest.get(..name.len()).is_some_and(|text| text.eq_ignore_ascii_case(name))
        });
        let Some((at, name)) = found else {
            let value: String = self.rest.chars().take_while(|c| !c.is_ascii_whitespace()).collect();
            return Err(malformed(format!("invalid value \"{value}\" for \"{word}\""))
                .with_detail("The given value did not match any of the allowed values for this field."));
        };
        self.rest = &self.rest[name.len()..];
        self.last = None;
        Ok(at as i64)
    }

    fn word(&mut self, word: &'static str, suffix: Suffix, greedy: bool) -> Result<()> {
        let upper = word.to_ascii_uppercase();
        self.convention(&upper)?;
        if self.names(word, &upper)? || self.zone(word, &upper, greedy)? {
            return Ok(());
        }
        if upper == "Y,YYY" {
            return self.thousands(word);
        }
        let width = match upper.as_str() {
            "MS" | "FF3" | "DDD" | "IDDD" | "YYY" | "IYY" => 3,
            "US" | "FF6" => 6,
            "FF5" | "SSSSS" => 5,
            "FF4" | "SSSS" | "YYYY" | "IYYY" => 4,
            "FF1" | "D" | "ID" | "Q" | "W" | "Y" | "I" | "J" => 1,
            _ => 2,
        };
        let (value, taken) = self.number(word, width, greedy)?;
        let scaled = |digits: usize| value * 10i64.pow(digits.saturating_sub(taken) as u32);
        let f = &mut self.fields;
        let (field, value) = match upper.as_str() {
            "HH" | "HH12" => {
                f.twelve = true;
                (&mut f.hour, value)
            }
            "HH24" => (&mut f.hour, value),
            "MI" => (&mut f.minute, value),
            "SS" => (&mut f.second, value),
            "MS" => (&mut f.millis, scaled(3)),
            "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => (&mut f.micros, scaled(6)),
            "SSSS" | "SSSSS" => (&mut f.seconds_of_day, value),
            "MM" => (&mut f.month, value),
            "DD" => (&mut f.day, value),
            "DDD" | "IDDD" => (&mut f.day_of_year, value),
            "D" => (&mut f.weekday, value),
            "ID" => (&mut f.weekday, value % 7 + 1),
            "W" => (&mut f.week_of_month, value),
            "WW" | "IW" => (&mut f.week, value),
            "CC" => (&mut f.century, value),
            "J" => (&mut f.julian, value),
            "Q" => return self.ordinal(suffix),
            _ => {
                let digits = upper.len();
                f.year_digits = digits;
                let value = if taken < 4 && digits < 4 { full_year(value) } else { value };
                (&mut f.year, value)
            }
        };
        set(field, value, word)?;
        self.ordinal(suffix)
    }

    /// Skips the two letters that follow an ordinal number.
    fn ordinal(&mut self, suffix: Suffix) -> Result<()> {
        if suffix.ordinal.is_some() {
            self.skip();
            self.skip();
        }
        Ok(())
    }

    /// ISO weeks and calendar dates do not go together.
    fn convention(&mut self, upper: &str) -> Result<()> {
        let iso = match upper {
            "IYYY" | "IYY" | "IY" | "I" | "IW" | "IDDD" | "ID" => true,
            "CC" | "MONTH" | "MON" | "MM" | "RM" | "DDD" | "DD" | "D" | "WW" | "W" | "YYYY" | "YYY"
            | "YY" | "Y" | "Y,YYY" => false,
            _ => return Ok(()),
        };
        if *self.fields.iso.get_or_insert(iso) != iso {
            return Err(malformed("invalid combination of date conventions".into())
                .with_hint("Do not mix Gregorian and ISO week date conventions in a formatting template."));
        }
        Ok(())
    }

    fn names(&mut self, word: &'static str, upper: &str) -> Result<bool> {
        match upper {
            "A.M." | "P.M." | "AM" | "PM" => {
                let names: &[&str] = if upper.len() == 4 { &["a.m.", "p.m."] } else { &["am", "pm"] };
                let value = self.name(word, names, 4)?;
                self.fields.twelve = true;
                set(&mut self.fields.pm, value, word)?;
            }
            "A.D." | "B.C." | "AD" | "BC" => {
                let names: &[&str] = if upper.len() == 4 { &["a.d.", "b.c."] } else { &["ad", "bc"] };
                let value = self.name(word, names, 4)?;
                set(&mut self.fields.bc, value, word)?;
            }
            "MONTH" | "MON" => {
                let value = self.name(word, &MONTHS, if upper == "MON" { 3 } else { 9 })?;
                set(&mut self.fields.month, value + 1, word)?;
            }
            "DAY" | "DY" => {
                let value = self.name(word, &DAYS, if upper == "DY" { 3 } else { 9 })?;
                set(&mut self.fields.weekday, value + 1, word)?;
            }
            "RM" => {
                // The longest first, so that II is not read as I.
                let mut names: Vec<(usize, &str)> = ROMAN.into_iter().enumerate().collect();
                names.sort_by_key(|(_, name)| std::cmp::Reverse(name.len()));
                let ordered: Vec<&str> = names.iter().map(|(_, name)| *name).collect();
                let at = self.name(word, &ordered, 4)?;
                let month = names.get(at as usize).map_or(0, |(month, _)| *month as i64 + 1);
                set(&mut self.fields.month, month, word)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn zone(&mut self, word: &'static str, upper: &str, greedy: bool) -> Result<bool> {
        match upper {
            "TZ" | "OF" => Err(HwError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                format!("formatting field \"{word}\" is only supported in to_char"),
            )),
            "TZH" => {
                self.fields.zone_sign = match self.rest.chars().next() {
                    Some(sign @ ('+' | '-' | ' ')) => {
                        self.skip();
                        if sign == '-' { -1 } else { 1 }
                    }
                    _ if self.extra > 0 && self.last == Some('-') => -1,
                    _ => 1,
                };
                let value = self.number(word, 2, greedy)?.0;
                set(&mut self.fields.zone_hours, value, word).map(|_| true)
            }
            "TZM" => {
                if self.fields.zone_sign == 0 {
                    self.fields.zone_sign = 1;
                }
                let value = self.number(word, 2, greedy)?.0;
                set(&mut self.fields.zone_minutes, value, word).map(|_| true)
            }
            _ => Ok(false),
        }
    }

    /// `Y,YYY`
    fn thousands(&mut self, word: &str) -> Result<()> {
        let bad = || malformed("invalid input string for \"Y,YYY\"".into());
        let (thousands, rest) = self.rest.trim_start().split_once(',').ok_or_else(bad)?;
        let digits = rest.bytes().take(3).take_while(u8::is_ascii_digit).count();
        let (thousands, years) = (thousands.parse::<i32>(), rest[..digits].parse::<i32>());
        let (Ok(thousands), Ok(years)) = (thousands, years) else { return Err(bad()) };
        self.rest = &rest[digits..];
        self.fields.year_digits = 4;
        set(&mut self.fields.year, i64::from(thousands) * 1000 + i64::from(years), word)
    }
}

fn set(field: &mut i64, value: i64, word: &str) -> Result<()> {
    if *field != 0 && *field != value {
        let message = format!("conflicting values for \"{word}\" field in formatting string");
        return Err(malformed(message)
            .with_detail("This value contradicts a previous setting for the same field type."));
    }
    *field = value;
    Ok(())
}

/// Years of few digits are near 2020.
fn full_year(year: i64) -> i64 {
    match year {
        ..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}

/// The astronomical year; `None` if the text has none.
fn year_of(f: &Fields) -> Option<i64> {
    let century = if f.bc != 0 { -f.century } else { f.century };
    if f.year != 0 && f.century != 0 && f.year_digits <= 2 {
        let short = f.year % 100;
        return Some(match (short, century >= 0) {
            (0, positive) => century * 100 + i64::from(!positive),
            (short, true) => short + (century - 1) * 100,
            (short, false) => (century + 1) * 100 - short + 1,
        });
    }
    if f.year != 0 {
        let year = if f.bc != 0 { -f.year } else { f.year };
        return Some(if year < 0 { year + 1 } else { year });
    }
    (century != 0).then_some(if century >= 0 { (century - 1) * 100 + 1 } else { century * 100 + 1 })
}

/// The Monday of an ISO week, in days after 1970.
fn iso_monday(year: i64, week: i64) -> i64 {
    let fourth = days_of_civil(year, 1, 4);
    fourth - iso_weekday(fourth) + 1 + (week - 1) * 7
}

fn date_of(f: &Fields, text: &str) -> Result<i64> {
    let given_year = year_of(f);
    let (mut year, mut month, mut day) = (given_year.unwrap_or(0), 1, 1);
    let iso = f.iso == Some(true);
    let mut whole = |days: i64| {
        let (y, m, d) = civil_of_days(days);
        (year, month, day) = (y, i64::from(m), i64::from(d));
    };
    let mut day_of_year = f.day_of_year;
    if f.julian != 0 {
        whole(f.julian - JULIAN_1970);
    }
    if f.week != 0 {
        if iso {
            let monday = iso_monday(given_year.unwrap_or(0), f.week);
            whole(match f.weekday {
                0 => monday,
                1 => monday + 6,
                weekday => monday + weekday - 2,
            });
        } else {
            day_of_year = (f.week - 1) * 7 + 1;
        }
    }
    let from_week = if f.week_of_month != 0 { (f.week_of_month - 1) * 7 + 1 } else { f.day };
    if from_week != 0 {
        day = from_week;
    }
    if f.month != 0 {
        month = f.month;
    }
    if day_of_year != 0 && (month <= 1 || day <= 1) {
        if given_year.unwrap_or(0) == 0 && f.bc == 0 {
            return Err(malformed("cannot calculate day of year without year information".into()));
        }
        let first = if iso { iso_monday(year, 1) } else { days_of_civil(year, 1, 1) };
        let (y, m, d) = civil_of_days(first + day_of_year - 1);
        if iso {
            (year, month, day) = (y, i64::from(m), i64::from(d));
        } else if y != year {
            return Err(overflow(text));
        } else {
            month = if month <= 1 { m.into() } else { month };
            day = if day <= 1 { d.into() } else { day };
        }
    }
    let fits =
        |month: u32, day: u32| (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    match (u32::try_from(month), u32::try_from(day)) {
        (Ok(month), Ok(day)) if fits(month, day) => Ok(days_of_civil(year, month, day)),
        _ => Err(overflow(text)),
    }
}

fn finish(f: Fields, text: &str) -> Result<Parsed> {
    let of_day = f.seconds_of_day;
    let or = |value: i64, other: i64| if value != 0 { value } else { other };
    let mut hour = or(f.hour, of_day / 3600);
    let (minute, second) = (or(f.minute, of_day / 60 % 60), or(f.second, of_day % 60));
    if f.twelve {
        if !(1..=12).contains(&hour) {
            let message = format!("hour \"{hour}\" is invalid for the 12-hour clock");
            return Err(
                malformed(message).with_hint("Use the 24-hour clock, or give an hour between 1 and 12.")
            );
        }
        hour = hour % 12 + if f.pm != 0 { 12 } else { 0 };
    }
    let micros = f.millis * 1000 + f.micros;
    let days = date_of(&f, text)?;
    let valid = (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second)
        && (0..MICROS_PER_SECOND).contains(&micros);
    if !valid {
        return Err(overflow(text));
    }
    if f.zone_hours > 15 || f.zone_minutes > 59 {
        let message = format!("time zone displacement out of range: \"{text}\"");
        return Err(HwError::new(sqlstate::INVALID_TIME_ZONE_DISPLACEMENT, message));
    }
    let time = (hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND + micros;
    let local = days.checked_mul(MICROS_PER_DAY).and_then(|d| d.checked_add(time)).ok_or_else(|| {
        HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, format!("timestamp out of range: \"{text}\""))
    })?;
    let zone = (f.zone_hours * 3600 + f.zone_minutes * 60) * f.zone_sign;
    Ok(Parsed { local, offset: (f.zone_sign != 0).then_some(zone) })
}
