//! Lines that are read and refused.

use super::*;
use proptest::prelude::*;

#[test]
fn codes_are_four_digits_each_once() {
    for (i, code) in Code::ALL.iter().enumerate() {
        assert_eq!(code.digits().len(), 4);
        assert!(code.digits().bytes().all(|digit| digit.is_ascii_digit()));
        assert!(
            Code::ALL
                .iter()
                .skip(i + 1)
                .all(|other| other.digits() != code.digits())
        );
        assert_eq!(
            serde_json::to_string(code).unwrap(),
            format!("\"{}\"", code.digits())
        );
    }
}

#[test]
fn the_names_are_those_of_all_requests() {
    // What serde knows is what there is: it says so where none is meant.
    let error = serde_json::from_str::<Request>("{\"do\":\"none of them\"}").unwrap_err();
    let error = error.to_string();
    let (_, list) = error.split_once("expected one of ").unwrap();
    let mut there: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
    let mut named = Request::NAMES.to_vec();
    there.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, there);
}

#[test]
fn a_request_reads_back_as_it_was_written() {
    let request = Request::Show {
        what: What::Sessions,
        filter: Filter {
            service: Some("web".to_owned()),
            client: Some("192.0.2.1".parse().unwrap()),
            ..Filter::default()
        },
    };
    let line = request.to_line();
    assert_eq!(
        line,
        "{\"do\":\"show\",\"what\":\"sessions\",\"filter\":{\"service\":\"web\",\"client\":\"192.0.2.1\"}}\n"
    );
    assert_eq!(Request::parse(line.trim_end()), Ok(request));
    assert_eq!(
        Request::parse("{\"do\":\"show\",\"what\":\"ports\"}"),
        Ok(Request::Show {
            what: What::Ports,
            filter: Filter::default()
        })
    );
}

#[test]
fn a_question_reads_back_as_it_was_written_and_asks_about_a_syn_where_it_names_no_flags() {
    let words = ["client=192.0.2.1:40000", "service=203.0.113.10:443/tcp"];
    let question = Question::from_words(words, "R.".parse().unwrap()).unwrap();
    let request = Request::Explain(question.clone());
    let line = request.to_line();
    assert_eq!(
        line,
        "{\"do\":\"explain\",\"client\":\"192.0.2.1:40000\",\
         \"service\":\"203.0.113.10:443/tcp\",\"flags\":\"R.\"}\n"
    );
    assert_eq!(Request::parse(line.trim_end()), Ok(request));
    assert_eq!(
        Request::parse(&line.trim_end().replace(",\"flags\":\"R.\"", "")),
        Ok(Request::Explain(Question {
            flags: crate::Flags::SYN,
            ..question
        }))
    );
}

#[test]
fn each_kind_of_bad_request_has_its_code() {
    for (line, code) in [
        ("", Code::NotJson),
        ("{", Code::NotJson),
        ("[1]", Code::NotJson),
        ("{}", Code::UnknownRequest),
        ("{\"do\":7}", Code::UnknownRequest),
        ("{\"do\":\"destroy\"}", Code::UnknownRequest),
        ("{\"do\":\"show\"}", Code::BadArgument),
        ("{\"do\":\"show\",\"what\":\"secrets\"}", Code::BadArgument),
        (
            "{\"do\":\"show\",\"what\":\"pools\",\"filter\":{\"client\":\"nobody\"}}",
            Code::BadArgument,
        ),
        (
            "{\"do\":\"show\",\"what\":\"pools\",\"filter\":{\"color\":\"red\"}}",
            Code::BadArgument,
        ),
        (
            "{\"do\":\"show\",\"what\":\"pools\",\"sudo\":true}",
            Code::BadArgument,
        ),
        ("{\"do\":\"explain\"}", Code::BadArgument),
        (
            "{\"do\":\"explain\",\"client\":\"192.0.2.1\",\"service\":\"192.0.2.2:1/tcp\"}",
            Code::BadArgument,
        ),
        (
            "{\"do\":\"explain\",\"client\":\"192.0.2.1:1\",\"service\":\"192.0.2.2:1/tcp\",\
             \"flags\":\"Q\"}",
            Code::BadArgument,
        ),
    ] {
        let rejection = Request::parse(line).unwrap_err();
        assert_eq!(rejection.code, code, "{line}: {}", rejection.text);
    }
}

#[test]
fn deep_nesting_and_long_names_are_refused_with_a_short_sentence() {
    let deep = "[".repeat(60_000);
    assert_eq!(Request::parse(&deep).unwrap_err().code, Code::NotJson);
    let long = format!("{{\"do\":\"{}\"}}", "x".repeat(60_000));
    assert!(Request::parse(&long).unwrap_err().text.len() < 400);
}

#[test]
fn a_viewer_may_not_do_what_needs_an_operator() {
    assert!(permits(Role::Operator, Role::Operator));
    assert!(permits(Role::Operator, Role::Viewer));
    assert!(permits(Role::Viewer, Role::Viewer));
    assert!(!permits(Role::Viewer, Role::Operator));
    let show = Request::Show {
        what: What::Ledger,
        filter: Filter::default(),
    };
    assert_eq!(show.permitted(Role::Viewer), Ok(()));
}

#[test]
fn replies_read_back_as_they_were_written() {
    let row = Reply::row(What::Sessions, &crate::SessionRow::default());
    for reply in [
        row,
        Reply::done(3),
        Reply::refused(&Rejection {
            code: Code::Busy,
            text: "eight are under way".to_owned(),
        }),
    ] {
        let line = reply.to_line();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert_eq!(serde_json::from_str::<Reply>(&line).unwrap(), reply);
    }
    assert_eq!(Reply::done(3).to_line(), "{\"code\":\"0000\",\"rows\":3}\n");
}

proptest! {
    #[test]
    fn any_text_is_answered(line in ".{0,300}") {
        if let Err(rejection) = Request::parse(&line) {
            prop_assert!(rejection.code.digits().starts_with('9'));
            prop_assert!(!rejection.text.is_empty());
        }
    }
}
