//! docs/control.md says what the code does.

use std::fmt::Write;
use std::path::Path;

use weir_control::{Code, OPERATOR_REQUEST_LIMIT, REQUEST_LIMIT, Request};

const BEGIN: &str = "<!-- codes -->\n";
const END: &str = "<!-- end of codes -->";

fn codes() -> String {
    let mut table = "| code | means |\n|---|---|\n".to_owned();
    for code in Code::ALL {
        let _ = writeln!(table, "| {} | {} |", code.digits(), code.documentation());
    }
    table
}

/// Set `WEIR_BLESS=1` to write the codes as they are now.
#[test]
fn every_code_stands_in_the_document_with_its_meaning() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/control.md");
    let text = std::fs::read_to_string(&path).expect("docs/control.md is there");
    let (before, rest) = text.split_once(BEGIN).expect("the table begins");
    let (table, behind) = rest.split_once(END).expect("the table ends");
    if std::env::var_os("WEIR_BLESS").is_some() {
        let text = format!("{before}{BEGIN}{}{END}{behind}", codes());
        std::fs::write(&path, text).expect("docs/control.md can be written");
        return;
    }
    assert_eq!(
        table,
        codes(),
        "docs/control.md is stale; make it anew: WEIR_BLESS=1 cargo test -p weir-control --test document"
    );
}

#[test]
fn every_example_of_a_request_is_one_and_has_the_role_that_stands_beside_it() {
    let text = include_str!("../../../docs/control.md");
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `{\"do\":"));
    let mut names = Vec::new();
    for row in rows {
        let (request, rest) = row.split_once("` | ").expect("a second column");
        let line = format!("{{\"do\":{request}")
            .replace(
                "\"what\":W,\"filter\":F",
                "\"what\":\"services\",\"filter\":{}",
            )
            .replace("[...]", "[]");
        let request = Request::parse(&line).unwrap_or_else(|error| panic!("{line}: {error:?}"));
        let role = rest.split(' ').next().expect("a role");
        assert_eq!(role, request.needs().name(), "{line}");
        names.extend(
            Request::NAMES
                .iter()
                .find(|name| line.starts_with(&format!("{{\"do\":\"{name}\""))),
        );
    }
    for name in Request::NAMES {
        assert!(names.contains(&name), "`{name}` is not in docs/control.md");
    }
}

#[test]
fn the_limits_that_the_document_names_are_those_of_the_code() {
    let text = include_str!("../../../docs/control.md");
    let line = format!(
        "a line of {} KiB; on an operator socket {} MiB",
        REQUEST_LIMIT >> 10,
        OPERATOR_REQUEST_LIMIT >> 20
    );
    assert!(text.contains(&line), "{line}");
}
