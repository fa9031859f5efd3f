//! PostgreSQL's free-form dates and times: tokens in almost any order.
//!
//! A value is split into words; each word is a date, a time, a zone, a name of a month or a
//! keyword. Follows `ParseDateTime` and `DecodeDateTime` of PostgreSQL's datetime.c: which
//! number is the day, the month or the year depends on its length, on names beside it and on
//! [`DateOrder`].

use super::calendar::{days_from_civil, days_in_month};
use super::zone::parse_offset;
use super::{DateOrder, MICROS_PER_SECOND, TextOptions, Zone, trim};

/// Longest literal that is looked at (`MAXDATELEN` of PostgreSQL).
const LENGTH_MAX: usize = 128;
/// Day number of Julian day 0 counted from 1970.
const JULIAN_DAY_ZERO: i64 = -2_440_588;

/// Why a literal is refused.
pub(super) enum Problem {
    Syntax,
    /// A field is outside of its range.
    Field,
    /// A month or day is outside of its range: perhaps the order is another.
    MonthDay,
    /// An offset is too large.
    Displacement,
    UnknownZone(String),
    /// All fields are right, but the type does not reach there.
    Range,
}

/// A word that stands for a whole value.
#[derive(Clone, Copy)]
pub(super) enum Special {
    Infinity,
    MinusInfinity,
    Epoch,
    Now,
    /// Midnight this many days from today.
    Day(i64),
}

/// What a literal says.
#[derive(Default)]
pub(super) struct Fields {
    /// Days after 1970.
    pub day: Option<i64>,
    /// Microseconds after midnight.
    pub time: Option<i64>,
    pub zone: Option<Zone>,
    pub special: Option<Special>,
}

/// Fields while they are being collected.
#[derive(Default)]
struct Reader {
    /// Numbers of the date in the order of their appearance, with their count of digits.
    numbers: Vec<(i64, usize)>,
    month_name: Option<u32>,
    /// Where among the numbers the month's name stood.
    month_at: usize,
    day: Option<i64>,
    time: Option<i64>,
    zone: Option<Zone>,
    special: Option<Special>,
    before_christ: bool,
    afternoon: Option<bool>,
}

/// Reads a date with an optional time and zone.
pub(super) fn read(text: &[u8], options: &TextOptions) -> Result<Fields, Problem> {
    let mut reader = Reader::default();
    reader.words(text)?;
    let time = reader.finish_time()?;
    let day = reader.finish_date(options.date_order)?;
    if reader.special.is_some() && (day.is_some() || time.is_some()) {
        return Err(Problem::Syntax);
    }
    Ok(Fields { day, time, zone: reader.zone, special: reader.special })
}

/// Reads a time; a date beside it is checked and ignored.
pub(super) fn read_time(text: &[u8], options: &TextOptions) -> Result<i64, Problem> {
    let mut reader = Reader::default();
    let body = trim(text);
    let digits = body.iter().take_while(|b| b.is_ascii_digit()).count();
    if matches!(digits, 4 | 6) && (digits == body.len() || body[digits] == b'.') {
        reader.time = Some(compact_time(body)?);
    } else {
        reader.words(text)?;
    }
    reader.finish_date(options.date_order)?;
    match (reader.special, reader.finish_time()?) {
        (None, Some(time)) => Ok(time),
        _ => Err(Problem::Syntax),
    }
}

impl Reader {
    fn words(&mut self, text: &[u8]) -> Result<(), Problem> {
        let text = trim(text);
        if text.is_empty() || text.len() > LENGTH_MAX || !text.is_ascii() {
            return Err(Problem::Syntax);
        }
        let is_break = |b: &u8| b.is_ascii_whitespace() || *b == b',';
        for word in text.split(is_break).filter(|word| !word.is_empty()) {
            self.word(word)?;
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Problem> {
        match word[0] {
            b'0'..=b'9' => self.number_word(word),
            b'+' | b'-' if self.time.is_some() || self.day.is_some() || !self.numbers.is_empty() => {
                self.offset(word)
            }
            b'-' if word[1..].eq_ignore_ascii_case(b"infinity") => {
                self.special = Some(Special::MinusInfinity);
                Ok(())
            }
            b'+' if word[1..].eq_ignore_ascii_case(b"infinity") => {
                self.special = Some(Special::Infinity);
                Ok(())
            }
            first if first.is_ascii_alphabetic() => self.name(word),
            _ => Err(Problem::Syntax),
        }
    }

    /// A word that starts with a digit: a time, a date, both joined by `T`, or one number.
    fn number_word(&mut self, word: &[u8]) -> Result<(), Problem> {
        let date_length =
            word.iter().take_while(|b| b.is_ascii_digit() || matches!(b, b'-' | b'/' | b'.')).count();
        if let Some(b'T' | b't') = word.get(date_length)
            && word.get(date_length + 1).is_some_and(u8::is_ascii_digit)
        {
            self.date_word(&word[..date_length])?;
            return self.time_word(&word[date_length + 1..], true);
        }
        if word.contains(&b':')
            && word.iter().position(|b| *b == b':') == word.iter().position(|b| !b.is_ascii_digit())
        {
            return self.time_word(word, false);
        }
        let digits = word.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == word.len() {
            return self.plain_number(word);
        }
        let suffix = &word[digits..];
        if suffix.eq_ignore_ascii_case(b"am") || suffix.eq_ignore_ascii_case(b"pm") {
            self.set_time(number(&word[..digits])? * 3600 * MICROS_PER_SECOND)?;
            return self.name(suffix);
        }
        if self.day.is_some() && self.time.is_none() && suffix[0] == b'.' {
            return self.set_time_checked(compact_time(word));
        }
        self.date_word(word)
    }

    /// Digits only: `YYYYMMDD`, `YYMMDD`, `HHMMSS` after a date, or one field of a date.
    fn plain_number(&mut self, word: &[u8]) -> Result<(), Problem> {
        let value = number(word)?;
        let alone = self.numbers.is_empty() && self.month_name.is_none();
        if self.day.is_some() {
            return if matches!(word.len(), 4 | 6) && self.time.is_none() {
                self.set_time_checked(compact_time(word))
            } else {
                Err(Problem::Syntax)
            };
        }
        match word.len() {
            8.. if alone => {
                let split = word.len() - 4;
                self.set_day(civil(number(&word[..split])?, value / 100 % 100, value % 100)?)
            }
            6 if alone => {
                self.set_day(civil(two_digit_year(value / 10_000), value / 100 % 100, value % 100)?)
            }
            _ => {
                self.numbers.push((value, word.len()));
                Ok(())
            }
        }
    }

    /// Fields joined by `-`, `/` or `.`; one may be the name of a month.
    fn date_word(&mut self, word: &[u8]) -> Result<(), Problem> {
        if word.iter().all(u8::is_ascii_digit) {
            return self.plain_number(word);
        }
        let fields: Vec<&[u8]> = word.split(|b| matches!(b, b'-' | b'/' | b'.')).collect();
        if let [year, day_of_year] = fields.as_slice()
            && word.contains(&b'.')
            && day_of_year.len() == 3
        {
            let (year, day) = (number(year)?, number(day_of_year)?);
            let first = days_from_civil(year, 1, 1);
            let length = days_from_civil(year + 1, 1, 1) - first;
            return if (1..=length).contains(&day) {
                self.set_day(first + day - 1)
            } else {
                Err(Problem::Field)
            };
        }
        for field in fields {
            if field.iter().all(u8::is_ascii_digit) && !field.is_empty() {
                self.numbers.push((number(field)?, field.len()));
            } else {
                self.month(month_number(field).ok_or(Problem::Syntax)?)?;
            }
        }
        Ok(())
    }

    fn month(&mut self, month: u32) -> Result<(), Problem> {
        self.month_at = self.numbers.len();
        match self.month_name.replace(month) {
            Some(_) => Err(Problem::Syntax),
            None => Ok(()),
        }
    }

    /// `h:mm[:ss[.f]]`, or digits only after a `T`; then perhaps a zone or AM/PM without a space.
    fn time_word(&mut self, word: &[u8], compact: bool) -> Result<(), Problem> {
        let length = word.iter().take_while(|b| b.is_ascii_digit() || matches!(b, b':' | b'.')).count();
        let (clock, rest) = word.split_at(length);
        let time = if compact && !clock.contains(&b':') { compact_time(clock) } else { clock_time(clock) };
        self.set_time_checked(time)?;
        match rest.first() {
            None => Ok(()),
            Some(b'+' | b'-') => self.offset(rest),
            Some(_) => self.name(rest),
        }
    }

    fn set_time_checked(&mut self, time: Result<i64, Problem>) -> Result<(), Problem> {
        self.set_time(time?)
    }

    fn set_time(&mut self, micros: i64) -> Result<(), Problem> {
        match self.time.replace(micros) {
            Some(_) => Err(Problem::Syntax),
            None => Ok(()),
        }
    }

    fn set_day(&mut self, day: i64) -> Result<(), Problem> {
        match self.day.replace(day) {
            Some(_) => Err(Problem::Syntax),
            None => Ok(()),
        }
    }

    fn offset(&mut self, word: &[u8]) -> Result<(), Problem> {
        let shape = word.len() > 1 && word[1..].iter().all(|b| b.is_ascii_digit() || *b == b':');
        let offset = parse_offset(word).ok_or(if shape { Problem::Displacement } else { Problem::Syntax })?;
        self.set_zone(if offset == 0 { Zone::Utc } else { Zone::Fixed(offset) })
    }

    fn set_zone(&mut self, zone: Zone) -> Result<(), Problem> {
        match self.zone.replace(zone) {
            Some(_) => Err(Problem::Syntax),
            None => Ok(()),
        }
    }

    /// A word that starts with a letter.
    fn name(&mut self, word: &[u8]) -> Result<(), Problem> {
        if let Some(month) = month_number(word) {
            return self.month(month);
        }
        let letters = word.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        if let [b'-' | b'/' | b'.', b'0'..=b'9', ..] = &word[letters..]
            && month_number(&word[..letters]).is_some()
        {
            return self.date_word(word);
        }
        let lower = String::from_utf8_lossy(word).to_ascii_lowercase();
        let special = match lower.as_str() {
            "infinity" => Special::Infinity,
            "epoch" => Special::Epoch,
            "now" => Special::Now,
            "today" => Special::Day(0),
            "tomorrow" => Special::Day(1),
            "yesterday" => Special::Day(-1),
            "allballs" => {
                self.zone = Some(Zone::Utc);
                return self.set_time(0);
            }
            "ad" => return Ok(()),
            "bc" => {
                self.before_christ = true;
                return Ok(());
            }
            "am" | "pm" => {
                self.afternoon = Some(lower == "pm");
                return Ok(());
            }
            "at" | "on" | "t" => return Ok(()),
            _ if is_weekday(&lower) => return Ok(()),
            _ => return self.zone_name(&lower),
        };
        self.special = Some(special);
        Ok(())
    }

    fn zone_name(&mut self, lower: &str) -> Result<(), Problem> {
        if let Some(day) = lower.strip_prefix('j').filter(|d| !d.is_empty())
            && day.bytes().all(|b| b.is_ascii_digit())
        {
            return self.set_day(number(day.as_bytes())? + JULIAN_DAY_ZERO);
        }
        if let Some(zone) = Zone::from_abbreviation(lower) {
            return self.set_zone(zone);
        }
        let has_date = self.day.is_some() || !self.numbers.is_empty() || self.time.is_some();
        match Zone::from_name(lower) {
            Some(zone) if has_date => self.set_zone(zone),
            None if has_date && lower.contains('/') => Err(Problem::UnknownZone(lower.to_string())),
            _ => Err(Problem::Syntax),
        }
    }

    fn finish_time(&mut self) -> Result<Option<i64>, Problem> {
        let (Some(time), Some(afternoon)) = (self.time, self.afternoon) else {
            return if self.afternoon.is_some() { Err(Problem::Syntax) } else { Ok(self.time) };
        };
        let hour = MICROS_PER_SECOND * 3600;
        if time >= 13 * hour {
            return Err(Problem::Field);
        }
        let morning = if time >= 12 * hour { time - 12 * hour } else { time };
        Ok(Some(if afternoon { morning + 12 * hour } else { morning }))
    }

    fn finish_date(&mut self, order: DateOrder) -> Result<Option<i64>, Problem> {
        if let Some(day) = self.day {
            return if self.numbers.is_empty() && self.month_name.is_none() && !self.before_christ {
                Ok(Some(day))
            } else {
                Err(Problem::Syntax)
            };
        }
        if self.numbers.is_empty() && self.month_name.is_none() {
            return if self.before_christ { Err(Problem::Syntax) } else { Ok(None) };
        }
        let ((year, year_digits), month, day) = self.order_fields(order)?;
        let year = match (self.before_christ, year_digits) {
            (true, _) if year <= 0 => return Err(Problem::Field),
            (true, _) => 1 - year,
            (false, 0..=2) => two_digit_year(year),
            (false, _) if year == 0 => return Err(Problem::Field),
            (false, _) => year,
        };
        civil(year, month, day).map(Some)
    }

    /// Year (with its number of digits), month and day.
    fn order_fields(&self, order: DateOrder) -> Result<((i64, usize), i64, i64), Problem> {
        let is_year = |field: &(i64, usize)| field.1 >= 3;
        if let Some(month) = self.month_name {
            let [a, b] = self.numbers.as_slice() else { return Err(Problem::Syntax) };
            let month = i64::from(month);
            let year_first = is_year(a) || (!is_year(b) && order == DateOrder::Ymd && self.month_at == 1);
            return Ok(if year_first { (*a, month, b.0) } else { (*b, month, a.0) });
        }
        let [a, b, c] = self.numbers.as_slice() else { return Err(Problem::Syntax) };
        Ok(match order {
            _ if is_year(a) => (*a, b.0, c.0),
            DateOrder::Ymd => (*a, b.0, c.0),
            DateOrder::Dmy => (*c, b.0, a.0),
            DateOrder::Mdy => (*c, a.0, b.0),
        })
    }
}

/// Years below 70 are of this century.
fn two_digit_year(year: i64) -> i64 {
    if year < 70 { year + 2000 } else { year + 1900 }
}

fn civil(year: i64, month: i64, day: i64) -> Result<i64, Problem> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(Problem::MonthDay);
    }
    if year > 9_999_999 {
        return Err(Problem::Range);
    }
    if day > i64::from(days_in_month(year, month as u32)) {
        return Err(Problem::Field);
    }
    Ok(days_from_civil(year, month as u32, day as u32))
}

fn number(digits: &[u8]) -> Result<i64, Problem> {
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Problem::Syntax);
    }
    Ok(digits.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
}

/// `.123456789` in microseconds, rounded.
fn fraction_micros(digits: &[u8]) -> Result<i64, Problem> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Problem::Syntax);
    }
    let digit = |at: usize| digits.get(at).map_or(0, |b| i64::from(b - b'0'));
    let micros = (0..6).fold(0, |n, at| n * 10 + digit(at));
    Ok(micros + i64::from(digit(6) >= 5))
}

fn split_fraction(text: &[u8]) -> Result<(&[u8], i64), Problem> {
    match text.iter().position(|b| *b == b'.') {
        Some(point) => Ok((&text[..point], fraction_micros(&text[point + 1..])?)),
        None => Ok((text, 0)),
    }
}

fn time_of(hour: i64, minute: i64, second: i64, fraction: i64) -> Result<i64, Problem> {
    let micros = (hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND + fraction;
    if minute > 59 || second > 60 || micros > 24 * 3600 * MICROS_PER_SECOND {
        return Err(Problem::Field);
    }
    Ok(micros)
}

/// `h:mm[:ss[.f]]`
fn clock_time(text: &[u8]) -> Result<i64, Problem> {
    let (whole, fraction) = split_fraction(text)?;
    let fields: Vec<&[u8]> = whole.split(|b| *b == b':').collect();
    match fields.as_slice() {
        [hour, minute] if fraction == 0 => time_of(number(hour)?, number(minute)?, 0, 0),
        [hour, minute, second] => time_of(number(hour)?, number(minute)?, number(second)?, fraction),
        _ => Err(Problem::Syntax),
    }
}

/// `HHMMSS[.f]`, `HHMM` or `HH`
fn compact_time(text: &[u8]) -> Result<i64, Problem> {
    let (whole, fraction) = split_fraction(text)?;
    let value = number(whole)?;
    match whole.len() {
        6 => time_of(value / 10_000, value / 100 % 100, value % 100, fraction),
        4 => time_of(value / 100, value % 100, 0, fraction),
        2 => time_of(value, 0, 0, fraction),
        _ => Err(Problem::Syntax),
    }
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

fn month_number(word: &[u8]) -> Option<u32> {
    let lower = String::from_utf8_lossy(word).to_ascii_lowercase();
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    if lower == "sept" {
        return Some(9);
    }
    let found = MONTHS.iter().position(|month| *month == lower || &month[..3] == lower)?;
    Some(found as u32 + 1)
}

fn is_weekday(lower: &str) -> bool {
    const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    DAYS.iter().any(|day| *day == lower || &day[..3] == lower)
        || matches!(lower, "tues" | "wednes" | "weds" | "thur" | "thurs")
}
