//! Numbers that stay where they are: at most five characters, so that columns line up and digits do
//! not dance.

/// What is shown for a value that the daemon did not give.
pub(crate) const NONE: &str = "-";

/// Returns a number in at most five characters: whole up to 9999, then the nearest of three digits
/// and a unit. Rounded and not cut: what is added up is then off by the chance of single digits, and
/// not by one more with each part. Where parts must add up exactly, `exact` shows them.
pub(crate) fn si(value: u64) -> String {
    if value < 10_000 {
        return value.to_string();
    }
    let value = u128::from(value);
    let nearest = |unit: u128| (value + unit / 2) / unit;
    let mut divisor = 1000;
    for unit in ["k", "M", "G", "T", "P", "E"] {
        let (hundredths, tenths) = (nearest(divisor / 100), nearest(divisor / 10));
        let whole = nearest(divisor);
        if hundredths < 1000 {
            return format!("{}.{:02}{unit}", hundredths / 100, hundredths % 100);
        }
        if tenths < 1000 {
            return format!("{}.{}{unit}", tenths / 10, tenths % 10);
        }
        if whole < 1000 {
            return format!("{whole}{unit}");
        }
        divisor *= 1000;
    }
    NONE.to_owned()
}

/// Returns a rate: whole, but what is above nought is not shown as nought.
pub(crate) fn rate(value: f64) -> String {
    if value > 0.0 && value < 10.0 {
        let text = format!("{value:.1}");
        return if text == "0.0" {
            "<0.1".to_owned()
        } else {
            text
        };
    }
    si(whole(value))
}

/// Returns a value that there may be none of.
pub(crate) fn or_none(value: Option<u64>, show: fn(u64) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), show)
}

/// Returns a rate that there may be none of.
pub(crate) fn rate_or_none(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), rate)
}

/// Returns the two largest units of a time span, in at most six characters.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        86_400..8_640_000 => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Returns a time of the day in UTC.
pub(crate) fn time_of_day(unix: u64) -> String {
    let day = unix % 86_400;
    format!("{:02}:{:02}:{:02}", day / 3600, day / 60 % 60, day % 60)
}

/// Returns a day as RFC 3339 writes it.
pub(crate) fn date(unix: u64) -> String {
    // The days since a first of March, in eras of 400 years.
    let days = unix / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{date:02}", era * 400 + year + next)
}

/// Reads a time as RFC 3339 writes it in UTC, in seconds since 1970.
pub(crate) fn unix(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let time = time.split('.').next()?;
    let mut time = time.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March: the day that comes and goes is their last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    let days = days.checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Returns the number with its thousands set apart, where it must be read exactly.
pub(crate) fn exact(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns `1 session`, `2 sessions`.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {noun}{s}", exact(count))
}

/// Folds a sentence between words, or where a word is longer than a line.
pub(crate) fn folded(text: &str, room: usize) -> Vec<String> {
    let room = room.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word.to_owned();
        let taken = line.chars().count();
        if taken > 0 && taken + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        while word.chars().count() > room {
            let rest = word.chars().skip(room).collect();
            lines.push(word.chars().take(room).collect());
            word = rest;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

/// Returns the whole number next to a rate.
#[expect(
    clippy::cast_sign_loss,
    reason = "the cast makes 0 of what is negative, and rates are not"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_keep_three_digits_and_five_characters() {
        for (value, text) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (99_949, "99.9k"),
            (99_999, "100k"),
            (123_456, "123k"),
            (999_499, "999k"),
            (999_999, "1.00M"),
            (1_214_000, "1.21M"),
            (12_100_000, "12.1M"),
            (6_100_000_000, "6.10G"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(si(value), text);
        }
        assert_eq!(
            [0.0, 0.01, 0.5, 9.9, 10.4].map(rate),
            ["0", "<0.1", "0.5", "9.9", "10"]
        );
    }

    #[test]
    fn spans_and_exact_numbers_can_be_read() {
        assert_eq!(
            [59, 250, 3_600, 90_000, 86_400_000].map(span),
            ["59s", "4m10s", "1h00m", "1d01h", "1000d"]
        );
        assert_eq!(
            [0, 999, 1_000, 518_700, 1_234_567].map(exact),
            ["0", "999", "1,000", "518,700", "1,234,567"]
        );
        assert_eq!(time_of_day(1_795_349_071), "12:04:31");
        assert_eq!(unix("2026-11-22T12:04:31Z"), Some(1_795_349_071));
        assert_eq!(unix("2024-02-29T23:59:59.999Z"), Some(1_709_251_199));
        assert_eq!(unix("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            (unix("yesterday"), unix("2026-13-01T00:00:00Z")),
            (None, None)
        );
        assert_eq!(
            (plural(1, "session"), plural(0, "session")),
            ("1 session".to_owned(), "0 sessions".to_owned())
        );
    }

    #[test]
    fn sentences_are_folded_and_nothing_is_lost() {
        assert_eq!(folded("a bc def", 4), ["a bc", "def"]);
        assert_eq!(folded("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(folded("", 3), [""]);
    }

    /// Reads what `si` wrote, with what its last digit is worth.
    fn read(text: &str) -> (f64, f64) {
        let digits = text.trim_end_matches(|it: char| it.is_ascii_alphabetic());
        let unit = match text.get(digits.len()..).unwrap() {
            "" => 1.0,
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            other => panic!("{other}"),
        };
        let places = digits.split_once('.').map_or(0, |(_, behind)| behind.len());
        let last = unit / 10f64.powi(i32::try_from(places).unwrap());
        (digits.parse::<f64>().unwrap() * unit, last)
    }

    proptest! {
        #[test]
        fn a_total_is_what_its_rows_add_up_to_but_for_the_rounding_of_each(
            rows in prop::collection::vec(0u64..1_000_000_000, 1..9),
        ) {
            let (total, last) = read(&si(rows.iter().sum()));
            let shown: f64 = rows.iter().map(|row| read(&si(*row)).0).sum();
            let most = last * (rows.len() + 1) as f64 / 2.0;
            prop_assert!((total - shown).abs() <= most * 1.000_001, "{total} {shown}");
            if rows.iter().sum::<u64>() < 10_000 {
                prop_assert!((total - shown).abs() < 0.5, "small numbers are exact");
            }
        }

        #[test]
        fn no_number_is_wider_than_its_column(value: u64, small in 0f64..1e15) {
            prop_assert!(si(value).len() <= 5, "{}", si(value));
            prop_assert!(rate(small).len() <= 5, "{}", rate(small));
            prop_assert!(span(value % 10_000_000_000).len() <= 7);
        }
    }
}
