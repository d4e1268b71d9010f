//! Invalid configurations made of the schema: whatever can be wrong with a key, for every key.
//!
//! Each case takes the file that has every key, puts something wrong in place of one line, and says
//! beforehand where the mistake is and what kind of sentence it gets. The reports are committed in
//! `tests/wrong`, one file per section.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::schema::{Availability, DefaultValue, KeySpec, OptionSpec, SECTIONS, SectionSpec, Type};
use crate::units::{write_duration, write_rate};
use crate::{Report, Style, parse_str};

const BASE: &str = include_str!("../tests/good/all-keys.conf");

/// One thing that is wrong.
struct Case {
    kind: &'static str,
    /// The lines that stand for the one that was there.
    lines: Vec<String>,
    /// Where the mistake is told: how many lines further down, and the column.
    at: (usize, Column),
    /// What the sentence or its note says.
    says: Vec<String>,
}

/// Where in a line a mistake is told.
#[derive(Clone, Copy, Debug)]
enum Column {
    Exactly(usize),
    /// From this column up to the one behind the end of the line.
    From(usize),
    /// Line and column do not matter: a heading is meant.
    Heading(usize),
}

/// A line of the base that has a key.
struct Given {
    number: usize,
    /// The lines of the section that have the key, this one among them.
    all: Vec<usize>,
    heading: usize,
    value: &'static str,
    options: Vec<&'static str>,
}

fn now(availability: Availability) -> bool {
    availability == Availability::Now
}

/// Finds the lines with a key in the first section of the base that has it.
fn given(section: &SectionSpec, key: &KeySpec) -> Option<Given> {
    let (mut within, mut heading) = (false, 0);
    let mut found: Option<Given> = None;
    for (index, line) in BASE.lines().enumerate() {
        let number = index + 1;
        if let Some(inside) = line.strip_prefix('[') {
            let word = inside.split([' ', ']']).next();
            (within, heading) = (word == Some(section.word), number);
        }
        let Some((name, value)) = line.split_once(" = ") else {
            continue;
        };
        if !within || name != key.key {
            continue;
        }
        if let Some(found) = &mut found {
            if found.heading == heading {
                found.all.push(number);
            }
            continue;
        }
        let mut words = value.split_whitespace();
        found = Some(Given {
            number,
            all: vec![number],
            heading,
            value: words.next()?,
            options: words.collect(),
        });
    }
    found
}

/// A value of which only the unit is missing, with how many characters stand before the place.
fn without_unit(of: &Type) -> Option<(&'static str, usize)> {
    match of {
        Type::Duration { .. } | Type::Rate { .. } | Type::Size { .. } | Type::Share { .. } => {
            Some(("17", 2))
        }
        Type::PrefixLength => Some(("24", 0)),
        Type::Interface => Some(("10.0.0.2", 8)),
        Type::Listen => Some(("203.0.113.10:80", 15)),
        Type::WordOr(_, other) => without_unit(other),
        Type::Name
        | Type::Device
        | Type::Path
        | Type::Host
        | Type::Server
        | Type::UrlPath
        | Type::Bytes
        | Type::Choice(_)
        | Type::Flag
        | Type::Int { .. }
        | Type::Count { .. }
        | Type::Range { .. }
        | Type::Cpus
        | Type::Network
        | Type::Address
        | Type::Addresses
        | Type::Endpoint
        | Type::OwnEndpoint
        | Type::Reference(_) => None,
    }
}

/// Values just outside of the range, below and above.
fn outside(of: &Type) -> [Option<String>; 2] {
    let ends = |min: u64, max: u64, write: &dyn Fn(u64) -> String| {
        [min.checked_sub(1).map(write), max.checked_add(1).map(write)]
    };
    match of {
        Type::Int { min, max } | Type::Count { min, max } => ends(*min, *max, &|n| n.to_string()),
        Type::Rate { min, max } => ends(*min, *max, &write_rate),
        Type::Share { min, max } => ends(*min, *max, &|n| format!("{n}%")),
        Type::Size { min, max } => [
            (*min > 1024).then(|| format!("{}KiB", (min >> 10) - 1)),
            Some(format!("{}KiB", (max >> 10) + 1)),
        ],
        Type::Duration { min, max } => {
            let step = Duration::from_millis(1);
            [
                min.checked_sub(step).as_ref().map(|it| write_duration(*it)),
                Some(format!("{}ms", (*max + step).as_millis())),
            ]
        }
        Type::WordOr(_, other) => outside(other),
        Type::Name
        | Type::Device
        | Type::Path
        | Type::Host
        | Type::Server
        | Type::UrlPath
        | Type::Bytes
        | Type::Choice(_)
        | Type::Flag
        | Type::Range { .. }
        | Type::Cpus
        | Type::PrefixLength
        | Type::Network
        | Type::Interface
        | Type::Address
        | Type::Addresses
        | Type::Listen
        | Type::Endpoint
        | Type::OwnEndpoint
        | Type::Reference(_) => [None, None],
    }
}

/// Values of another type.
fn of_another_type(of: &Type) -> &'static [&'static str] {
    match of {
        Type::Name | Type::Reference(_) => &["a@b", "203.0.113.10:80/tcp"],
        Type::Device => &["eth0:1", "a-device-with-a-long-name"],
        Type::Path => &["weir.key"],
        Type::Host => &["a@b"],
        Type::Server => &["siem", "siem.example.net:syslog"],
        Type::UrlPath => &["healthz"],
        Type::Bytes => &["50%", "%zz"],
        Type::Choice(_) => &["banana", "17"],
        Type::Flag => &["maybe", "1", "true"],
        Type::Int { .. } => &["many", "-1", "1.5", "3s", "99999999999999999999"],
        Type::Count { .. } => &["many", "-1", "5K", "1.5M", "99999999999999999999"],
        Type::Duration { .. } => &["soon", "-5s", "5sec!", "1M", "99999999999999s"],
        Type::Size { .. } => &["much", "64K", "64kb"],
        Type::Share { .. } => &["half", "0.8%"],
        Type::Rate { .. } => &["fast", "20k", "20k/min"],
        Type::Range { .. } => &["200", "299-200", "-", "200-"],
        Type::Cpus => &["all", "5-2", "1,,2", "9999"],
        Type::PrefixLength => &["/33x", "wide", "/"],
        Type::Network => &["lan", "192.0.2.1/24", "192.0.2.0", "192.0.2.0/33"],
        Type::Interface => &["lan", "10.0.0.2/33", "10.0.0.300/16"],
        Type::Address => &["router", "10.0.0.300", "10.0.0.1/24"],
        Type::Addresses => &["some", "10.0.8.1/28", "10.0.8.9-10.0.8.1", "10.0.8.300"],
        Type::Listen => &[
            "web",
            "203.0.113.10:http/tcp",
            "203.0.113.10:80/sctp",
            ":80/tcp",
        ],
        Type::Endpoint | Type::OwnEndpoint => &[
            "web",
            "10.0.1.11",
            "10.0.1.11:http",
            "10.0.1.300:80",
            "10.0.1.11:0",
        ],
        Type::WordOr(_, other) => of_another_type(other),
    }
}

/// Everything that can be wrong with one key.
fn cases(key: &KeySpec, given: &Given) -> Vec<Case> {
    let name = key.key;
    let value_at = name.len() + " = ".len() + 1;
    let line = |value: &str| format!("{name} = {value}");
    let whole = line(
        &[&[given.value], given.options.as_slice()]
            .concat()
            .join("  "),
    );
    let mut cases = Vec::new();
    let mut case = |kind, lines: Vec<String>, at, says: &[&str]| {
        let says = says.iter().map(|it| (*it).to_owned()).collect();
        cases.push(Case {
            kind,
            lines,
            at,
            says,
        });
    };
    if let Some((value, at)) = without_unit(&key.of) {
        let at = (0, Column::Exactly(value_at + at));
        case("missing unit", vec![line(value)], at, &[]);
    }
    let here = (0, Column::Exactly(value_at));
    let out = &["is out of range", "must be between"];
    let kinds = ["below the range", "above the range"];
    for (kind, value) in kinds.into_iter().zip(outside(&key.of)) {
        if let Some(value) = value {
            case(kind, vec![line(&value)], here, out);
        }
    }
    let inside = (0, Column::From(value_at));
    for value in of_another_type(&key.of) {
        case("wrong type", vec![line(value)], inside, &[]);
    }
    let sample = key.sample();
    // What is behind it are options.
    let sample = sample.split_whitespace().next().unwrap_or_default();
    let digits = sample.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if let (Type::Duration { .. }, (number, unit)) = (key.of, sample.split_at(digits.len()))
        && key.options.is_empty()
    {
        let says = ["has a blank in it", &format!("write `{sample}`")];
        let torn = line(&format!("{number} {unit}"));
        case("a blank before the unit", vec![torn], here, &says);
    }
    let slip = format!("{}{whole}", name.chars().next().unwrap());
    let meant = format!("did you mean `{name}`?");
    let start = (0, Column::Exactly(1));
    case("misspelt key", vec![slip], start, &["unknown key", &meant]);
    let again = vec![whole.clone(), whole.clone()];
    if key.list {
        // What the lists are of decides how this is told, if it matters at all.
        case("the same twice", again, (1, Column::From(1)), &[]);
    } else {
        case(
            "given twice",
            again,
            (1, Column::Exactly(1)),
            &["is given twice in ["],
        );
    }
    let option_at = whole.len() + 3;
    let behind = (0, Column::Exactly(option_at));
    let with = |more: &str| vec![format!("{whole}  {more}")];
    case(
        "unknown option",
        with("colour=red"),
        behind,
        &["unknown option `colour` of"],
    );
    case(
        "a word too many",
        with("red"),
        behind,
        &["is one word too many behind"],
    );
    let end = (0, Column::Exactly(name.len() + " =".len() + 1));
    case(
        "no value",
        vec![format!("{name} =")],
        end,
        &["has no value"],
    );
    let sign = &["is neither a [section] nor a key with a value"];
    if given.options.is_empty() {
        case("no sign", vec![whole.replacen(" = ", " ", 1)], start, sign);
    }
    if key.default == DefaultValue::Required {
        let missing = format!("has no `{name}`");
        let at = (0, Column::Heading(given.heading));
        case("missing", Vec::new(), at, &[&missing]);
    }
    for option in key.options.iter().filter(|it| now(it.availability)) {
        let prefix = line(given.value);
        let at = prefix.len() + 3;
        cases.extend(option_cases(&prefix, at, option));
    }
    cases
}

/// Everything that can be wrong with an option behind a value.
fn option_cases(prefix: &str, at: usize, option: &OptionSpec) -> Vec<Case> {
    let name = option.name;
    let value_at = at + name.len() + 1;
    let case = |kind, text: String, column, says: &[&str]| Case {
        kind,
        lines: vec![format!("{prefix}  {text}")],
        at: (0, column),
        says: says.iter().map(|it| (*it).to_owned()).collect(),
    };
    let mut cases = Vec::new();
    if let Some((value, behind)) = without_unit(&option.of) {
        let column = Column::Exactly(value_at + behind);
        let text = format!("{name}={value}");
        cases.push(case("option: missing unit", text, column, &["is not a"]));
    }
    let kinds = ["option: below the range", "option: above the range"];
    for (kind, value) in kinds.into_iter().zip(outside(&option.of)) {
        if let Some(value) = value {
            let column = Column::Exactly(value_at);
            let says = ["is out of range", "must be between"];
            cases.push(case(kind, format!("{name}={value}"), column, &says));
        }
    }
    for value in of_another_type(&option.of)
        .iter()
        .filter(|it| !it.contains(' '))
    {
        let text = format!("{name}={value}");
        let column = Column::From(value_at);
        cases.push(case("option: wrong type", text, column, &[]));
    }
    let example = option.sample();
    let first = name.chars().next().unwrap();
    let meant = format!("did you mean `{name}`?");
    cases.extend([
        case(
            "option: misspelt",
            format!("{first}{name}={example}"),
            Column::Exactly(at),
            &["unknown option", &meant],
        ),
        case(
            "option: given twice",
            format!("{name}={example}  {name}={example}"),
            Column::Exactly(at + name.len() + 1 + example.len() + 2),
            &["is given twice"],
        ),
        case(
            "option: no value",
            format!("{name}="),
            Column::Exactly(value_at),
            &["has no value"],
        ),
        case(
            "option: blanks around the sign",
            format!("{name} = {example}"),
            Column::Exactly(at),
            &["one word too many", "options are written without blanks"],
        ),
    ]);
    cases
}

/// The base with other lines in place of some; the first of these is where they go.
fn with_lines(numbers: &[usize], lines: &[String]) -> String {
    let mut text = String::new();
    for (index, old) in BASE.lines().enumerate() {
        let number = index + 1;
        if numbers.first() != Some(&number) && numbers.contains(&number) {
            continue;
        }
        if numbers.first() != Some(&number) {
            text.push_str(old);
            text.push('\n');
            continue;
        }
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Tries a case and writes it down with its report.
fn run(case: &Case, given: &Given, golden: &mut String) -> Result<(), String> {
    let replaced = if case.lines.is_empty() {
        given.all.clone()
    } else {
        vec![given.number]
    };
    let text = with_lines(&replaced, &case.lines);
    let numbers: Vec<String> = replaced.iter().map(ToString::to_string).collect();
    let _ = writeln!(golden, "@{} {}", numbers.join(","), case.kind);
    for line in &case.lines {
        let _ = writeln!(golden, "+{line}");
    }
    let report = match parse_str("weir.conf", &text, None) {
        Err(report) => report,
        // Lists may have the same value twice where it says nothing else than once.
        Ok(_) if case.kind == "the same twice" => {
            golden.push_str("=accepted\n");
            return Ok(());
        }
        Ok(_) => return Err("it is accepted".to_owned()),
    };
    let short = report.render(Style::short());
    for line in short.lines() {
        let line = line.strip_prefix("weir.conf:").unwrap_or(line);
        let _ = writeln!(golden, "={line}");
    }
    fits(case, given, &report, &short)
}

/// Says what is not as it should be about a report.
fn fits(case: &Case, given: &Given, report: &Report, short: &str) -> Result<(), String> {
    if report.count() != 1 {
        return Err(format!("it is told {} times", report.count()));
    }
    let Some(Some((line, column))) = report.places().next() else {
        return Err("it is told without a place".to_owned());
    };
    let (below, wanted) = case.at;
    let end = case.lines.get(below).map_or(0, String::len) + 1;
    let fits = match wanted {
        Column::Exactly(at) => line == given.number + below && column == at,
        Column::From(at) => line == given.number + below && (at..=end).contains(&column),
        Column::Heading(heading) => line == heading && column == 1,
    };
    if !fits {
        return Err(format!("it is told at {line}:{column}, not {wanted:?}"));
    }
    match case
        .says
        .iter()
        .find(|words| !short.contains(words.as_str()))
    {
        Some(words) => Err(format!("it does not say: {words}")),
        None => Ok(()),
    }
}

/// Set `WEIR_BLESS=1` to write what the reports are now; read the difference before committing it.
#[test]
fn whatever_is_wrong_with_any_key_is_told_once_at_its_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong");
    let (mut seen, mut wrong) = (0, String::new());
    for section in SECTIONS.iter().filter(|it| now(it.availability)) {
        let mut golden = String::new();
        for key in section.keys.iter().filter(|it| now(it.availability)) {
            let Some(given) = given(section, key) else {
                let _ = writeln!(wrong, "{}.{} is not in the base", section.word, key.key);
                continue;
            };
            for case in cases(key, &given) {
                seen += 1;
                if let Err(why) = run(&case, &given, &mut golden) {
                    let lines = case.lines.join(" / ");
                    let _ = writeln!(wrong, "[{}] {}: {lines}: {why}", section.word, case.kind);
                }
            }
        }
        let path = folder.join(format!("{}.txt", section.word));
        if std::env::var_os("WEIR_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &golden).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        if committed != golden {
            let differs = committed.lines().zip(golden.lines()).find(|(a, b)| a != b);
            let _ = writeln!(
                wrong,
                "{} is stale, first at {differs:?}; make it anew and read what changed:\n  \
                 WEIR_BLESS=1 cargo test -p weir-conf --lib wrong",
                path.display()
            );
        }
    }
    assert!(wrong.is_empty(), "{seen} cases:\n{wrong}");
    assert!(seen > 700, "{seen}");
}
