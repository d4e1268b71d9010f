//! Values with units: durations, counts, sizes, shares, rates, ranges and lists of cores.

use std::time::Duration;

/// What is wrong with a value, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The sentence.
    pub(crate) message: String,
    /// The first offending character, from 0.
    pub(crate) at: usize,
    /// How many characters.
    pub(crate) width: usize,
    /// What to write instead.
    pub(crate) note: String,
}

impl Problem {
    /// Makes a problem of a whole value.
    pub(crate) fn whole(value: &str, message: impl Into<String>, note: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            at: 0,
            width: value.chars().count(),
            note: note.into(),
        }
    }

    /// Makes a problem of a part of a value.
    pub(crate) fn part(
        (at, width): (usize, usize),
        message: impl Into<String>,
        note: impl Into<String>,
    ) -> Self {
        Self {
            message: message.into(),
            at,
            width,
            note: note.into(),
        }
    }

    /// Moves the problem when its value stands inside a longer one.
    pub(crate) fn shifted(self, by: usize) -> Self {
        Self {
            at: self.at + by,
            ..self
        }
    }
}

/// Reads `500ms`, `15s`, `5m`, `1h30m`.
pub(crate) fn duration(value: &str) -> Result<Duration, Problem> {
    let message = || format!("`{}` is not a duration", crate::lexer::quote(value));
    let mut digits = 0;
    let mut unit: Option<(usize, String)> = None;
    for (at, c) in value.chars().chain(['0']).enumerate() {
        if c.is_ascii_alphabetic() {
            digits = 0;
            unit.get_or_insert_with(|| (at, String::new())).1.push(c);
            continue;
        }
        if let Some((at, name)) = unit.take() {
            check_unit(at, &name, message)?;
        }
        digits = if c.is_ascii_digit() { digits + 1 } else { 0 };
        // No duration of ours needs more, and the library's sums stay far from their limits.
        if digits > 12 {
            return Err(Problem::whole(value, message(), "the number is too large"));
        }
    }
    humantime::parse_duration(value).map_err(|error| {
        let chars = |bytes: usize| value.get(..bytes).map_or(0, |head| head.chars().count());
        match error {
            humantime::DurationError::InvalidCharacter(at) => Problem::part(
                (chars(at), 1),
                message(),
                "durations look like 500ms, 15s, 5m, 1h30m",
            ),
            humantime::DurationError::NumberExpected(at) => {
                Problem::part((chars(at), 1), message(), "a number is expected here")
            }
            humantime::DurationError::UnknownUnit { start, unit, .. } if unit.is_empty() => {
                Problem::part((chars(start), 1), message(), "needs a unit, e.g. 5s")
            }
            humantime::DurationError::UnknownUnit { start, unit, .. } => Problem::part(
                (chars(start), unit.chars().count()),
                message(),
                "units are ms, s, m, h and d",
            ),
            humantime::DurationError::NumberOverflow => {
                Problem::whole(value, message(), "the number is too large or too fine")
            }
            humantime::DurationError::Empty => {
                Problem::whole(value, message(), "durations look like 15s")
            }
        }
    })
}

/// Months and years are no lengths of time; the capital that makes a month of a minute least of
/// all.
fn check_unit(at: usize, name: &str, message: impl Fn() -> String) -> Result<(), Problem> {
    let note = match name {
        "M" => "`M` would be a month; minutes are `m`",
        "month" | "months" | "y" | "yr" | "yrs" | "year" | "years" => {
            "months and years vary in length; write days, e.g. 30d"
        }
        _ => return Ok(()),
    };
    Err(Problem::part((at, name.len()), message(), note))
}

/// Reads `1000`, `20k`, `2M`.
pub(crate) fn count(value: &str) -> Result<u64, Problem> {
    let message = || format!("`{}` is not a number", crate::lexer::quote(value));
    let digits = value.chars().take_while(char::is_ascii_digit).count();
    if digits == 0 {
        return Err(Problem::whole(value, message(), "e.g. 500, 20k or 2M"));
    }
    let (number, unit) = value.split_at(digits);
    let factor = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => {
            return Err(Problem::part(
                (digits, unit.chars().count()),
                message(),
                "a number may end in k, M or G",
            ));
        }
    };
    let number = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor));
    number.ok_or_else(|| Problem::whole(value, message(), "the number is too large"))
}

/// Reads a number without a unit.
pub(crate) fn number(value: &str) -> Result<u64, Problem> {
    let message = || format!("`{}` is not a whole number", crate::lexer::quote(value));
    if let Some(at) = value.chars().position(|c| !c.is_ascii_digit()) {
        return Err(Problem::part(
            (at, 1),
            message(),
            "only digits are expected",
        ));
    }
    value
        .parse()
        .map_err(|_| Problem::whole(value, message(), "the number is too large"))
}

/// Reads `20k/s`.
pub(crate) fn rate(value: &str) -> Result<u64, Problem> {
    let message = || format!("`{}` is not a rate", crate::lexer::quote(value));
    let Some(number) = value.strip_suffix("/s") else {
        let length = value.chars().count();
        return Err(Problem::part(
            (length, 1),
            message(),
            "needs `/s`, e.g. 20k/s",
        ));
    };
    count(number).map_err(|problem| Problem {
        message: message(),
        ..problem
    })
}

/// Writes a rate as [`rate`] reads it.
pub(crate) fn write_rate(per_second: u64) -> String {
    format!("{}/s", write_count(per_second))
}

/// Writes a number as [`count`] reads it.
pub(crate) fn write_count(number: u64) -> String {
    in_units(
        number,
        &[(1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")],
    )
    .unwrap_or_else(|| number.to_string())
}

/// Writes a size as [`size`] reads it.
pub(crate) fn write_size(bytes: u64) -> String {
    in_units(
        bytes,
        &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
    )
    .unwrap_or_else(|| format!("{bytes} bytes"))
}

/// Writes a number in the largest unit of which it is a multiple.
fn in_units(number: u64, units: &[(u64, &str)]) -> Option<String> {
    let whole = |(factor, _): &&(u64, &str)| number != 0 && number.is_multiple_of(*factor);
    let (factor, unit) = units.iter().find(whole)?;
    Some(format!("{}{unit}", number / factor))
}

/// Reads `64KiB`.
pub(crate) fn size(value: &str) -> Result<u64, Problem> {
    let message = || format!("`{}` is not a size", crate::lexer::quote(value));
    let digits = value.chars().take_while(char::is_ascii_digit).count();
    if digits == 0 {
        return Err(Problem::whole(value, message(), "e.g. 64KiB"));
    }
    let (number, unit) = value.split_at(digits);
    let factor: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" => {
            return Err(Problem::part(
                (digits, 1),
                message(),
                "needs a unit, e.g. 64KiB",
            ));
        }
        _ => {
            return Err(Problem::part(
                (digits, unit.chars().count()),
                message(),
                "units are KiB, MiB and GiB",
            ));
        }
    };
    let number = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor));
    number.ok_or_else(|| Problem::whole(value, message(), "the number is too large"))
}

/// Reads `80%`.
pub(crate) fn share(value: &str) -> Result<u64, Problem> {
    let message = || format!("`{}` is not a share", crate::lexer::quote(value));
    let Some(digits) = value.strip_suffix('%') else {
        let length = value.chars().count();
        return Err(Problem::part((length, 1), message(), "needs `%`, e.g. 80%"));
    };
    number(digits).map_err(|problem| Problem {
        message: message(),
        ..problem
    })
}

/// Reads `FIRST-LAST`, both numbers within limits.
pub(crate) fn range(value: &str, min: u64, max: u64) -> Result<(u64, u64), Problem> {
    let message = || format!("`{}` is not a range", crate::lexer::quote(value));
    let Some((first, last)) = value.split_once('-') else {
        return Err(Problem::whole(
            value,
            message(),
            format!("a range is FIRST-LAST, e.g. {min}-{max}"),
        ));
    };
    let dash = first.chars().count();
    let bound = |text: &str, at: usize| {
        if text.is_empty() {
            let note = "a number is missing here";
            return Err(Problem::part((at, 1), message(), note));
        }
        let found = number(text).map_err(|problem| Problem {
            message: message(),
            ..problem.shifted(at)
        })?;
        if !(min..=max).contains(&found) {
            let width = text.chars().count();
            let note = format!("must be between {min} and {max}");
            return Err(Problem::part((at, width), message(), note));
        }
        Ok(found)
    };
    let (low, high) = (bound(first, 0)?, bound(last, dash + 1)?);
    if low > high {
        return Err(Problem::whole(
            value,
            format!("the range `{value}` is reversed"),
            format!("write {high}-{low}"),
        ));
    }
    Ok((low, high))
}

/// Reads a list of cores: `2-5,7`.
pub(crate) fn cpus(value: &str) -> Result<Vec<u16>, Problem> {
    const LAST: u64 = 4095;
    let message = || format!("`{}` is not a list of cores", crate::lexer::quote(value));
    let mut cpus: Vec<u16> = Vec::new();
    let mut at = 0;
    for part in value.split(',') {
        let width = part.chars().count();
        let (first, last) = if part.contains('-') {
            range(part, 0, LAST)
        } else if part.is_empty() {
            return Err(Problem::part(
                (at, 1),
                message(),
                "a core is missing here, e.g. 2-5,7",
            ));
        } else {
            number(part).map(|core| (core, core))
        }
        .map_err(|problem| Problem {
            message: message(),
            ..problem.shifted(at)
        })?;
        if last > LAST {
            let note = format!("cores are numbered from 0 to {LAST}");
            return Err(Problem::part((at, width), message(), note));
        }
        for core in first..=last {
            let core = core as u16;
            if cpus.contains(&core) {
                return Err(Problem::part(
                    (at, width),
                    format!("core {core} is listed twice"),
                    "",
                ));
            }
            cpus.push(core);
        }
        at += width + 1;
    }
    Ok(cpus)
}

/// Writes a duration as short as it can be read: `90s`, `15m`, `1h`, `100ms`.
pub(crate) fn write_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    for (unit, length) in [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1000),
    ] {
        if micros >= length && micros.is_multiple_of(length) {
            return format!("{}{unit}", micros / length);
        }
    }
    if micros == 0 {
        return "0s".to_owned();
    }
    format!("{micros}us")
}

/// Reads text in which `%` and two hexadecimal digits write a byte.
pub(crate) fn bytes(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn caret(problem: &Problem) -> (usize, usize) {
        (problem.at, problem.width)
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        let problem = duration("10").unwrap_err();
        assert_eq!(problem.message, "`10` is not a duration");
        assert_eq!(problem.note, "needs a unit, e.g. 5s");
        assert_eq!(caret(&problem), (2, 1));
    }

    #[test]
    fn a_capital_m_is_not_taken_for_minutes_nor_months() {
        for (text, at) in [
            ("1M", 1),
            ("1h5M", 3),
            ("2months", 1),
            ("1y", 1),
            ("1years2s", 1),
        ] {
            let problem = duration(text).unwrap_err();
            assert_eq!(problem.at, at, "{text}: {}", problem.note);
            assert!(problem.note.contains("month"), "{text}: {}", problem.note);
        }
    }

    #[test]
    fn carets_stand_below_what_is_wrong_with_a_duration() {
        assert_eq!(caret(&duration("5x").unwrap_err()), (1, 1));
        assert_eq!(caret(&duration("s5").unwrap_err()), (0, 1));
        assert_eq!(caret(&duration("5s,").unwrap_err()), (2, 1));
        assert_eq!(caret(&duration("1parsec").unwrap_err()), (1, 6));
        assert_eq!(caret(&duration("\u{b5}\u{b5}5s").unwrap_err()), (0, 1));
    }

    #[test]
    fn numbers_that_would_overflow_are_refused() {
        for text in [
            "18446744073709551615s1000000000ns",
            "99999999999999999999s",
            "999999999999w999999999999w",
        ] {
            assert!(duration(text).is_err() || duration(text).unwrap() > Duration::from_secs(1));
        }
        assert!(count("18446744073709551615k").is_err());
        assert!(size("18446744073709551615KiB").is_err());
        assert!(number("18446744073709551616").is_err());
    }

    #[test]
    fn counts_rates_sizes_and_shares_read_their_units() {
        assert_eq!(count("2M"), Ok(2_000_000));
        assert_eq!(count("50k"), Ok(50_000));
        assert_eq!(caret(&count("5K").unwrap_err()), (1, 1));
        assert_eq!(rate("20k/s"), Ok(20_000));
        assert_eq!(rate("20k").unwrap_err().note, "needs `/s`, e.g. 20k/s");
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("64").unwrap_err().note, "needs a unit, e.g. 64KiB");
        assert_eq!(caret(&size("64KB").unwrap_err()), (2, 2));
        assert_eq!(share("80%"), Ok(80));
        assert_eq!(share("80").unwrap_err().note, "needs `%`, e.g. 80%");
    }

    #[test]
    fn ranges_are_checked_at_both_ends() {
        assert_eq!(range("1024-65535", 1, 65535), Ok((1024, 65535)));
        assert_eq!(
            range("9-5", 1, 10).unwrap_err().message,
            "the range `9-5` is reversed"
        );
        assert_eq!(caret(&range("5-99999", 1, 65535).unwrap_err()), (2, 5));
        assert_eq!(caret(&range("-5", 1, 9).unwrap_err()), (0, 1));
        assert_eq!(caret(&range("5-", 1, 9).unwrap_err()), (2, 1));
    }

    #[test]
    fn core_lists_keep_their_order_and_name_each_core_once() {
        assert_eq!(cpus("7,2-4"), Ok(vec![7, 2, 3, 4]));
        assert_eq!(cpus("2-5,4").unwrap_err().message, "core 4 is listed twice");
        assert_eq!(caret(&cpus("2-5,,7").unwrap_err()), (4, 1));
        assert_eq!(caret(&cpus("1,9999").unwrap_err()), (2, 4));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_unit_panic(text in "[0-9a-zA-Z.,%/\u{b5} -]{0,40}|.{0,20}") {
            let _ = duration(&text);
            let _ = count(&text);
            let _ = rate(&text);
            let _ = size(&text);
            let _ = share(&text);
            let _ = range(&text, 1, 65535);
            let _ = cpus(&text);
        }

        #[test]
        fn a_written_rate_reads_back(number in 0u64..5000, zeros in 0u32..15) {
            let number = number * 10u64.pow(zeros);
            prop_assert_eq!(rate(&write_rate(number)), Ok(number));
        }

        #[test]
        fn a_written_duration_reads_back(micros in 0u64..1_000_000_000_000) {
            let written = Duration::from_micros(micros);
            prop_assert_eq!(duration(&write_duration(written)), Ok(written));
        }
    }

    #[test]
    fn a_percent_sign_and_two_digits_write_a_byte() {
        assert_eq!(bytes("a%20b%0A%ff%25"), Some(b"a b\n\xff%".to_vec()));
        for bad in ["%", "%2", "%zz", "a%+1"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
