//! docs/control.md says what the code does.

use std::fmt::{self, Write};
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor, value};
use serde_json::{Value, json};
use weir_control::{
    AlarmRow, AppliedRow, Asked, BlockingRow, CapacityRow, CaptureRow, CapturedFrame, ChangeRow,
    CheckRow, ClientRow, Code, DrainRow, EventRow, ExplainRow, FingerprintRow, FloodRates,
    FloodRow, GenerationRow, HealthRow, HistoryRow, IdentityRow, LearnedRow, LedgerRates,
    OPERATOR_REQUEST_LIMIT, OrderedRow, OverrideRow, PoolRealRow, PoolRow, PortRates, PortRow,
    REQUEST_LIMIT, RealCountsRow, Request, ServiceRealRow, ServiceRow, SessionRow, SourceRow,
    StatusRow, SynproxyRow, SyslogRow, Told, TrafficRates, ValueChange, WorkerLedger, WorkerRates,
    WorkerRow,
};
use weir_model::EventClass;

const DOCUMENT: &str = include_str!("../../../docs/control.md");

/// A table of the document that is made of the code, and the words that it stands between.
struct Table {
    name: &'static str,
    text: String,
}

fn codes() -> Table {
    let mut text = "| code | means |\n|---|---|\n".to_owned();
    for code in Code::ALL {
        let _ = writeln!(text, "| {} | {} |", code.digits(), code.documentation());
    }
    Table {
        name: "codes",
        text,
    }
}

fn told() -> Table {
    let mut text = String::new();
    for class in EventClass::NAMES.iter().map(|(_, class)| *class) {
        let of_class = Told::ALL.iter().filter(|told| told.class() == class);
        let names: Vec<_> = of_class.map(|told| format!("`{}`", told.name())).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "- {}: {}", class.name(), names.join(" "));
        }
    }
    Table { name: "told", text }
}

fn rows() -> Table {
    let rows: &[(Code, &str, &[&str])] = &[
        (Code::Service, "services", fields::<ServiceRow>()),
        (Code::Service, "its `synproxy`", fields::<SynproxyRow>()),
        (
            Code::Service,
            "its `real_counts`",
            fields::<RealCountsRow>(),
        ),
        (
            Code::Service,
            "its `per_s`, and that of its `reals`",
            fields::<TrafficRates>(),
        ),
        (Code::Service, "its `reals`", fields::<ServiceRealRow>()),
        (Code::Pool, "pools", fields::<PoolRow>()),
        (Code::Pool, "its `reals`", fields::<PoolRealRow>()),
        (Code::Session, "sessions", fields::<SessionRow>()),
        (Code::Port, "ports", fields::<PortRow>()),
        (Code::Port, "its `per_s`", fields::<PortRates>()),
        (Code::Worker, "workers", fields::<WorkerRow>()),
        (Code::Worker, "its `per_s`", fields::<WorkerRates>()),
        (Code::Ledger, "ledger", &["workers", "second"]),
        (
            Code::Ledger,
            "itself the sum, and its `workers`",
            fields::<WorkerLedger>(),
        ),
        (Code::Ledger, "its `per_s`", fields::<LedgerRates>()),
        (Code::Config, "config: a line as a string", &[]),
        (Code::Health, "health", fields::<HealthRow>()),
        (Code::Health, "its `learned`", fields::<LearnedRow>()),
        (Code::Flood, "flood", fields::<FloodRow>()),
        (Code::Flood, "its `top_sources`", fields::<SourceRow>()),
        (
            Code::Flood,
            "its `top_fingerprints`",
            fields::<FingerprintRow>(),
        ),
        (Code::Flood, "its `capacity`", fields::<CapacityRow>()),
        (Code::Flood, "its `per_s`", fields::<FloodRates>()),
        (Code::Explained, "a decision", fields::<ExplainRow>()),
        (Code::Event, "events", fields::<EventRow>()),
        (Code::Applied, "a configuration", fields::<AppliedRow>()),
        (Code::Change, "an object", fields::<ChangeRow>()),
        (Code::Change, "its `values`", fields::<ValueChange>()),
        (Code::Generation, "generations", fields::<GenerationRow>()),
        (
            Code::Captured,
            "a line of a capture",
            fields::<CaptureRow>(),
        ),
        (Code::Captured, "its `frame`", fields::<CapturedFrame>()),
        (Code::Check, "a finding", fields::<CheckRow>()),
        (Code::Ordered, "what was ordered", fields::<OrderedRow>()),
        (Code::Draining, "a real server", fields::<DrainRow>()),
        (Code::Draining, "its `oldest`", fields::<BlockingRow>()),
        (Code::Syslog, "syslog", fields::<SyslogRow>()),
        (Code::Identity, "a person", fields::<IdentityRow>()),
        (Code::History, "history", fields::<HistoryRow>()),
        (Code::Override, "overrides", fields::<OverrideRow>()),
        (Code::Status, "status", fields::<StatusRow>()),
        (Code::Status, "its `alarm_list`", fields::<AlarmRow>()),
        (Code::Status, "its `clients`", fields::<ClientRow>()),
    ];
    for code in Code::ALL.iter().filter(|c| c.digits().starts_with('1')) {
        let known = rows.iter().any(|(known, _, _)| known == code);
        assert!(known, "the rows of {} are not listed", code.digits());
    }
    let mut text = "| code | of | fields |\n|---|---|---|\n".to_owned();
    for (code, of, fields) in rows {
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        let _ = writeln!(text, "| {} | {of} | {} |", code.digits(), fields.join(" "));
    }
    Table { name: "rows", text }
}

/// Set `WEIR_BLESS=1` to write them as they are now.
#[test]
fn every_code_and_every_field_of_every_row_stands_in_the_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/control.md");
    let mut text = std::fs::read_to_string(&path).expect("docs/control.md is there");
    let blesses = std::env::var_os("WEIR_BLESS").is_some();
    for Table { name, text: made } in [rows(), codes(), told()] {
        let (begin, end) = (
            format!("<!-- {name} -->\n"),
            format!("<!-- end of {name} -->"),
        );
        let (before, rest) = text.split_once(&begin).expect("the table begins");
        let (table, behind) = rest.split_once(&end).expect("the table ends");
        if blesses {
            text = format!("{before}{begin}{made}{end}{behind}");
            continue;
        }
        assert_eq!(
            table, made,
            "docs/control.md is stale; make it anew: WEIR_BLESS=1 cargo test -p weir-control --test document"
        );
    }
    if blesses {
        std::fs::write(&path, text).expect("docs/control.md can be written");
    }
}

/// The part of the document about a request, up to the next heading.
fn part(name: &str) -> &'static str {
    let found = DOCUMENT.split_once(&format!("\n### {name}\n"));
    assert!(
        found.is_some(),
        "docs/control.md has no part about `{name}`"
    );
    let rest = found.map_or("", |(_, rest)| rest);
    rest.split("\n#").next().unwrap_or(rest)
}

fn example(part: &'static str) -> &'static str {
    let line = part.lines().find(|line| line.starts_with("{\"do\":"));
    assert!(line.is_some(), "no example in\n{part}");
    line.unwrap_or_default()
}

#[test]
fn every_request_has_an_example_its_role_all_its_fields_and_its_answers() {
    for name in Request::NAMES {
        let part = part(name);
        let line = example(part);
        let request = Request::parse(line).unwrap_or_else(|error| panic!("{line}: {error:?}"));
        assert_eq!(request.name(), *name, "{line}");
        let words: Vec<&str> = part.split(|c: char| !c.is_ascii_alphabetic()).collect();
        let says = |role: &str| words.contains(&role);
        let is_operators = request.needs() == weir_model::Role::Operator;
        assert_eq!(says("Operator"), is_operators, "{name}");
        assert_eq!(says("Viewer"), !is_operators, "{name}");
        assert!(
            part.contains("\nRows: "),
            "{name} says nothing of its answer"
        );
        let documented: Vec<&str> = part
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        assert_eq!(documented, fields_of(line), "{name}");
        for field in fields_of(line) {
            let row = format!("| `{field}` | needed |");
            let mut value: Value = serde_json::from_str(line).expect("JSON");
            value.as_object_mut().expect("an object").remove(&field);
            let is_needed = Request::parse(&value.to_string()).is_err();
            assert_eq!(part.contains(&row), is_needed, "{field} of {name}");
        }
        for code in part
            .split('`')
            .filter(|word| word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit()))
        {
            let known = Code::ALL.iter().any(|known| known.digits() == code);
            assert!(known, "{code}");
        }
    }
    let parts = DOCUMENT.matches("\n### ").count();
    assert_eq!(parts, Request::NAMES.len(), "a part about no request");
}

/// Returns the fields that a request may have: what it says when it has another one.
fn fields_of(line: &str) -> Vec<String> {
    let mut value: Value = serde_json::from_str(line).expect("JSON");
    let object = value.as_object_mut().expect("an object");
    object.insert("none of them".to_owned(), json!(0));
    let error = serde_json::from_value::<Request>(value).expect_err("an unknown field");
    let error = error.to_string();
    assert!(error.contains("unknown field `none of them`"), "{error}");
    let list = error.split_once("expected").map_or("", |(_, list)| list);
    let fields = list.split('`').skip(1).step_by(2);
    fields.map(str::to_owned).collect()
}

#[test]
fn the_example_of_an_expected_configuration_is_one() {
    let mut lines = DOCUMENT.lines();
    let line = lines.find(|line| line.contains("expect_generation\":"));
    let line = line.unwrap_or_default().trim_start_matches("> ");
    let asked = Asked::parse(line).expect("a request");
    assert!(asked.expect_generation.is_some());
}

#[test]
fn the_limits_that_the_document_names_are_those_of_the_code() {
    let line = format!(
        "a line of {} KiB; on an operator socket {} MiB",
        REQUEST_LIMIT >> 10,
        OPERATOR_REQUEST_LIMIT >> 20
    );
    assert!(DOCUMENT.contains(&line), "{line}");
}

/// Returns the names of a row's fields, those that are left out now and then as well.
fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut found: &'static [&'static str] = &[];
    // It ends with an error as soon as it has said its fields.
    let _ = T::deserialize(Fields(&mut found));
    assert!(!found.is_empty(), "no fields");
    found
}

/// Takes a struct's word for its fields and gives it nothing.
struct Fields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(value::Error::custom("a row is a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(value::Error::custom("that is enough"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fields")
    }
}
