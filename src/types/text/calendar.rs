//! The proleptic Gregorian calendar and how dates and times are printed.
//!
//! Years are astronomical (year 0 is 1 BC). Day numbers and microseconds count from
//! 1970-01-01. The conversions are those of Howard Hinnant, "chrono-compatible low-level date
//! algorithms"; they hold for all dates that a timestamp can carry.

use super::{
    DATE_INFINITY, DATE_MINUS_INFINITY, MICROS_PER_DAY, MICROS_PER_SECOND, TIMESTAMP_INFINITY,
    TIMESTAMP_MINUS_INFINITY, Zone,
};

/// Days from 1970-01-01 to a civil date.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month 1..=12 and day 1..=31 of a day number.
pub fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days of a month.
pub(super) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Two digits with a leading zero.
pub(super) fn push_two(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&[b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]);
}

/// `.123` after seconds, without trailing zeros; nothing for 0.
pub(super) fn push_fraction(out: &mut Vec<u8>, micros: u32) {
    if micros == 0 {
        return;
    }
    let mut digits = [b'0'; 7];
    digits[0] = b'.';
    let mut rest = micros;
    for digit in digits[1..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let end = digits.iter().rposition(|d| *d != b'0').map_or(0, |last| last + 1);
    out.extend_from_slice(&digits[..end]);
}

/// The date without its era; true if ` BC` has to follow.
fn push_civil(out: &mut Vec<u8>, days: i64) -> bool {
    let (year, month, day) = civil_from_days(days);
    let shown = if year <= 0 { 1 - year } else { year } as u64;
    if shown < 10_000 {
        push_two(out, (shown / 100) as u32);
        push_two(out, (shown % 100) as u32);
    } else {
        super::write_integer(i128::from(shown), out);
    }
    out.push(b'-');
    push_two(out, month);
    out.push(b'-');
    push_two(out, day);
    year <= 0
}

/// `date`: days after 1970.
pub fn write_date(days: i32, out: &mut Vec<u8>) {
    match days {
        DATE_INFINITY => out.extend_from_slice(b"infinity"),
        DATE_MINUS_INFINITY => out.extend_from_slice(b"-infinity"),
        _ => {
            if push_civil(out, i64::from(days)) {
                out.extend_from_slice(b" BC");
            }
        }
    }
}

/// `time`: microseconds after midnight, 24:00:00 included.
pub fn write_time(micros: i64, out: &mut Vec<u8>) {
    let seconds = (micros / MICROS_PER_SECOND) as u32;
    push_two(out, seconds / 3600);
    out.push(b':');
    push_two(out, seconds / 60 % 60);
    out.push(b':');
    push_two(out, seconds % 60);
    push_fraction(out, (micros % MICROS_PER_SECOND) as u32);
}

/// `timestamp` (no zone) or `timestamptz` printed in a zone: microseconds after 1970.
pub fn write_timestamp(micros: i64, zone: Option<&Zone>, out: &mut Vec<u8>) {
    match micros {
        TIMESTAMP_INFINITY => return out.extend_from_slice(b"infinity"),
        TIMESTAMP_MINUS_INFINITY => return out.extend_from_slice(b"-infinity"),
        _ => {}
    }
    let offset = zone.map(|zone| zone.offset_at_utc(micros));
    let local = i128::from(micros) + i128::from(offset.unwrap_or(0)) * i128::from(MICROS_PER_SECOND);
    let days = local.div_euclid(i128::from(MICROS_PER_DAY)) as i64;
    let before_christ = push_civil(out, days);
    out.push(b' ');
    write_time(local.rem_euclid(i128::from(MICROS_PER_DAY)) as i64, out);
    if let Some(offset) = offset {
        push_offset(out, offset);
    }
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// `+01`, `+05:30`, `+00:53:28`.
fn push_offset(out: &mut Vec<u8>, offset: i32) {
    out.push(if offset < 0 { b'-' } else { b'+' });
    let seconds = offset.unsigned_abs();
    push_two(out, seconds / 3600);
    if !seconds.is_multiple_of(3600) {
        out.push(b':');
        push_two(out, seconds / 60 % 60);
    }
    if !seconds.is_multiple_of(60) {
        out.push(b':');
        push_two(out, seconds % 60);
    }
}
