//! What operators do, and what the console does of it.

mod orders;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use weir_control::{Filter, Reply, Request, Role, What};

use crate::grammar::{Command, Grammar};
use crate::model::link::LinkNews;
use crate::model::screen::ScreenId;
use crate::model::{Effect, Mode};
use crate::term::input::Key;
use crate::tests::fixture::{Daemon, State};
use crate::tests::stage::{MONO, Stage};
use crate::update::Message;

fn stage(state: State) -> Stage {
    Stage::new(MONO, (80, 24), state)
}

fn seen(stage: &Stage, text: &str) -> bool {
    stage.lines().iter().any(|line| line.contains(text))
}

fn sent(effects: &[Effect]) -> Vec<Request> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send { asked, .. } => Some(asked.request.clone()),
        Effect::Refresh | Effect::Redraw | Effect::AskSize | Effect::Leave => None,
    });
    sent.collect()
}

#[test]
fn a_drain_is_sent_only_once_its_verb_is_typed_and_can_be_undone() {
    let mut stage = stage(State::Calm);
    assert_eq!(sent(&stage.keys("jd\r")), []);
    assert_eq!(sent(&stage.keys("drian\r")), []);
    assert!(matches!(stage.model.mode, Mode::Dialog(_)));
    let effects = stage.keys("\x15drain\r");
    let drain = Request::Drain {
        service: "web-tls".to_owned(),
        real: "10.0.1.11:443".to_owned(),
        deadline_ms: None,
        then: None,
    };
    assert_eq!(sent(&effects), [drain]);
    let Some(Effect::Send { ticket, .. }) = effects.first() else {
        panic!("{effects:?}");
    };
    let row = json!({"text": "10.0.1.11:443 of web-tls gets no new sessions"});
    let rows = Ok(vec![row]);
    stage.message(Message::Replied {
        ticket: *ticket,
        rows,
    });
    let toast = stage.model.toast.clone().unwrap().text;
    assert!(
        toast.ends_with("gets no new sessions  (u undoes it)"),
        "{toast}"
    );
    let enable = Request::Enable {
        service: "web-tls".to_owned(),
        real: "10.0.1.11:443".to_owned(),
    };
    assert_eq!(sent(&stage.keys("u")), [enable]);
}

#[test]
fn the_last_real_server_is_drained_only_once_its_service_is_typed() {
    let mut stage = stage(State::Down);
    stage.keys("jd");
    assert_eq!(sent(&stage.keys("drain\r")), []);
    assert_eq!(sent(&stage.keys("\x15web-tls\r")).len(), 1);
}

#[test]
fn a_viewer_is_told_why_not_and_sends_nothing() {
    let mut stage = Stage::with_role(MONO, (80, 24), State::Calm, Role::Viewer);
    assert_eq!(sent(&stage.keys("jd")), []);
    assert!(matches!(stage.model.mode, Mode::Screen));
    let toast = stage.model.toast.clone().unwrap().text;
    assert_eq!(toast, "d: needs operator: this socket is for viewers");
    let hints = stage.lines().pop().unwrap();
    assert!(hints.contains("(d drain)"), "{hints}");
}

#[test]
fn an_operator_who_does_nothing_for_ten_minutes_only_views() {
    let mut stage = stage(State::Calm);
    stage.keys("jd");
    for _ in 0..10 {
        stage.pass(60);
    }
    assert!(stage.model.fell_back);
    assert!(matches!(stage.model.mode, Mode::Screen));
    assert_eq!(sent(&stage.keys("d")), []);
    stage.keys("operator\r");
    assert!(!stage.model.fell_back);
    stage.keys("d");
    assert_eq!(sent(&stage.keys("drain\r")).len(), 1);
}

#[test]
fn a_daemon_that_restarts_leaves_view_sort_and_filter_and_takes_questions_back() {
    let mut stage = stage(State::Calm);
    stage.keys("sss/web\rjjd");
    assert!(matches!(stage.model.mode, Mode::Dialog(_)));
    let before = stage.model.services.cursor;
    stage.message(Message::Link(LinkNews::Down("it was closed".to_owned())));
    assert!(matches!(stage.model.mode, Mode::Screen));
    assert!(stage.lines().first().unwrap().contains("LOST weir"));
    assert_eq!(sent(&stage.keys("d")), []);
    stage.pass(0);
    stage.message(Message::Link(LinkNews::Up {
        greeting: Daemon::greeting(Role::Operator),
        identity: None,
    }));
    stage.tell();
    assert_eq!(stage.model.services.filter.text, "web");
    assert_eq!(stage.model.services.cursor, before);
    assert!(!stage.lines().iter().any(|line| line.contains("STALE")));
}

#[test]
fn a_paste_does_nothing_but_where_text_is_typed() {
    let mut stage = stage(State::Calm);
    let paste = "d\rdrain\rq".repeat(100);
    assert_eq!(stage.keys(&paste), []);
    assert!(matches!(stage.model.mode, Mode::Screen));
    // Its end comes later, in a read of its own.
    assert_eq!(stage.keys("d"), []);
    assert!(matches!(stage.model.mode, Mode::Screen));
}

#[test]
fn everywhere_escape_goes_back_and_changes_nothing() {
    for keys in ["?", "/web", ":drain", "jd", "jw", "m", "\r", "o"] {
        let mut stage = stage(State::Calm);
        let mut effects = stage.keys(keys);
        effects.extend(stage.key(Key::Esc));
        effects.extend(stage.key(Key::Esc));
        assert_eq!(effects, [], "{keys}");
        assert!(matches!(stage.model.mode, Mode::Screen), "{keys}");
        assert_eq!(stage.model.services.zoom, None, "{keys}");
    }
}

#[test]
fn no_size_of_a_terminal_is_too_small_to_say_so() {
    for (width, height) in [(2, 2), (20, 5), (79, 24), (80, 23), (80, 24), (1000, 300)] {
        for keys in ["", "?", "jd", "\r", ":x"] {
            let mut stage = Stage::new(MONO, (width, height), State::Flood);
            stage.keys(keys);
            stage.frame();
        }
    }
}

#[test]
fn names_that_try_to_rule_the_terminal_are_shown_harmless() {
    let mut stage = stage(State::Calm);
    if let Some(told) = &mut stage.model.data.services
        && let Some(row) = told.value.first_mut()
    {
        row.name = "web\x1b]0;owned\x07\u{202e}\u{9b}2J".to_owned();
    }
    let bytes = stage.frame();
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        !text.contains("\x1b]") && !text.contains('\x07'),
        "{text:?}"
    );
    assert!(text.contains("web?]0;"), "{text:?}");
}

/// A grammar that knows a drain, a status and how to leave.
fn grammar() -> Grammar {
    let read = |words: &[String]| match words {
        [verb, name] if verb == "drain" => {
            let (real, service) = name.split_once('@').ok_or("it is REAL@SERVICE")?;
            let request = Request::Drain {
                service: service.to_owned(),
                real: real.to_owned(),
                deadline_ms: Some(1000),
                then: None,
            };
            Ok(Command::Ask(format!("drain of {name}"), request))
        }
        [show, what] if show == "show" && what == "status" => {
            let what = What::Status;
            let filter = Filter::default();
            Ok(Command::Show(what, Request::Show { what, filter }))
        }
        [show, what] if show == "show" && what == "pools" => {
            let what = What::Pools;
            let filter = Filter::default();
            Ok(Command::Show(what, Request::Show { what, filter }))
        }
        [quit] if quit == "quit" => Ok(Command::Leave),
        _ => Err("there is no such verb".to_owned()),
    };
    let words = |before: &[String]| match before {
        [] => ["drain", "show", "synproxy"].map(str::to_owned).to_vec(),
        _ => Vec::new(),
    };
    Grammar::new(Arc::new(read), Arc::new(words))
}

#[test]
fn the_command_line_completes_names_and_climbs_the_same_ladder() {
    let mut stage = stage(State::Calm);
    stage.model.grammar = grammar();
    stage.keys(":dr\t10.0.1.11\t");
    let Mode::Command(line) = &stage.model.mode else {
        panic!("{:?}", stage.model.mode);
    };
    assert_eq!(line.text(), "drain 10.0.1.11:");
    stage.keys("443\t");
    assert_eq!(sent(&stage.keys("\r")), []);
    assert!(
        stage
            .lines()
            .iter()
            .any(|line| line.contains("Drain real server"))
    );
    let requests = sent(&stage.keys("drain\r"));
    let [
        Request::Drain {
            deadline_ms, real, ..
        },
    ] = requests.as_slice()
    else {
        panic!("{requests:?}");
    };
    assert_eq!((*deadline_ms, real.as_str()), (Some(1000), "10.0.1.11:443"));
}

#[test]
fn a_mistake_on_the_command_line_is_said_and_can_be_mended() {
    let mut stage = stage(State::Calm);
    stage.model.grammar = grammar();
    stage.keys(":shwo pools\r");
    assert!(
        stage
            .lines()
            .iter()
            .any(|line| line.contains("there is no such verb"))
    );
    assert!(matches!(stage.model.mode, Mode::Command(_)));
    stage.keys("\x15show pools\r");
    assert_eq!(stage.model.screen, ScreenId::Pools);
    assert_eq!(stage.keys(":quit\r"), [Effect::Leave]);
}

#[test]
fn what_has_no_screen_is_shown_as_the_shell_prints_it() {
    let mut stage = stage(State::Down);
    stage.model.grammar = grammar();
    let effects = stage.keys(":show status\r");
    let Some(Effect::Send { ticket, asked }) = effects.first() else {
        panic!("{effects:?}");
    };
    let Request::Show { what, filter } = &asked.request else {
        panic!("{asked:?}");
    };
    let rows = stage.daemon.lines(*what, filter);
    let rows = rows.iter().filter_map(|line| {
        let reply: Reply = serde_json::from_str(line).unwrap();
        reply.row
    });
    let rows = Ok(rows.collect());
    stage.message(Message::Replied {
        ticket: *ticket,
        rows,
    });
    let lines = stage.lines();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("error: vpn takes no new sessions: no real server is up")),
        "{lines:#?}"
    );
    stage.key(Key::Esc);
    assert!(matches!(stage.model.mode, Mode::Screen));
}

#[test]
fn answers_that_take_long_are_not_called_late_before_they_are() {
    let mut stage = stage(State::Calm);
    let told = stage
        .daemon
        .told(What::Services, Filter::default(), stage.clock.up);
    let Message::Told {
        what,
        filter,
        answer,
        at,
        ..
    } = told
    else {
        panic!("no answer");
    };
    let took = Duration::from_millis(100);
    stage.message(Message::Told {
        what,
        filter,
        answer,
        at,
        took,
    });
    // It is asked for again after four seconds.
    stage.clock.up += Duration::from_secs(6);
    stage.message(Message::Tick);
    assert!(!seen(&stage, "LATE"));
    stage.clock.up += Duration::from_millis(300);
    stage.message(Message::Tick);
    assert!(seen(&stage, "LATE"));
}

#[test]
fn a_daemon_that_is_slow_is_called_late_within_seconds() {
    let mut stage = stage(State::Calm);
    // An answer that took five seconds, and then none.
    stage.model.link.took = Duration::from_secs(5);
    stage.clock.up += Duration::from_secs(20);
    stage.message(Message::Tick);
    assert!(!seen(&stage, "LATE"));
    stage.clock.up += Duration::from_secs(3);
    stage.message(Message::Tick);
    assert!(seen(&stage, "LATE"));
}

#[test]
fn whoever_types_maintenance_on_never_ends_one() {
    let mut stage = stage(State::Calm);
    let read = |_: &[String]| -> Result<Command, String> {
        let request = Request::Maintenance { on: true };
        Ok(Command::Ask("maintenance".to_owned(), request))
    };
    stage.model.grammar = Grammar::new(
        Arc::new(read),
        Arc::new(|_: &[String]| Vec::<String>::new()),
    );
    assert_eq!(sent(&stage.keys(":maintenance on\r")), []);
    assert!(matches!(stage.model.mode, Mode::Dialog(_)));
    stage.key(Key::Esc);
    if let Some(told) = &mut stage.model.data.status {
        told.value.maintenance = true;
    }
    assert_eq!(sent(&stage.keys(":maintenance on\r")), []);
    let toast = stage.model.toast.clone().unwrap().text;
    assert!(
        toast.starts_with("maintenance has begun already"),
        "{toast}"
    );
    let end = Request::Maintenance { on: false };
    assert_eq!(sent(&stage.keys("m")), [end]);
}

#[test]
fn an_answer_that_comes_late_does_not_turn_what_is_typed_into_keys() {
    let mut stage = stage(State::Calm);
    stage.model.grammar = grammar();
    let effects = stage.keys(":show status\r");
    let Some(Effect::Send { ticket, .. }) = effects.first() else {
        panic!("{effects:?}");
    };
    // A name is being typed: its `e` would enable what is selected.
    stage.keys("j:");
    let row = serde_json::to_value(weir_control::StatusRow::default()).unwrap();
    stage.message(Message::Replied {
        ticket: *ticket,
        rows: Ok(vec![row]),
    });
    assert_eq!(sent(&stage.keys("qed")), []);
    let Mode::Command(line) = &stage.model.mode else {
        panic!("{:?}", stage.model.mode);
    };
    assert_eq!(line.text(), "qed");
    stage.key(Key::Esc);
    assert!(matches!(stage.model.mode, Mode::Page(_)));
}

#[test]
fn a_denial_says_whom_it_cuts_off_without_any_look_at_the_sessions() {
    let mut stage = stage(State::Calm);
    let read = |_: &[String]| {
        let request = Request::Deny {
            network: "198.51.100.0/28".to_owned(),
            on: true,
            for_ms: Some(600_000),
        };
        Ok(Command::Ask("denial".to_owned(), request))
    };
    stage.model.grammar = Grammar::new(
        Arc::new(read),
        Arc::new(|_: &[String]| Vec::<String>::new()),
    );
    let effects = stage.keys(":deny\r");
    assert!(matches!(stage.model.mode, Mode::Dialog(_)));
    let Some(Effect::Send { ticket, asked }) = effects.first() else {
        panic!("{effects:?}");
    };
    let Request::Show { what, filter } = &asked.request else {
        panic!("{asked:?}");
    };
    assert_eq!(*what, What::Sessions);
    let lines = stage.daemon.lines(*what, filter).into_iter();
    let rows = lines.map(|line| serde_json::from_str::<Reply>(&line).unwrap());
    let rows: Vec<_> = rows.filter_map(|reply| reply.row).collect();
    // Clients .10 to .15 are inside.
    stage.message(Message::Replied {
        ticket: *ticket,
        rows: Ok(rows),
    });
    let text = stage.lines().join("\n");
    assert!(text.contains("6 of 1,"), "{text}");
    assert!(text.contains("that are open."), "{text}");
    // What was not typed yet is still to be typed.
    let typed = sent(&stage.keys("deny\r"));
    assert!(matches!(typed.as_slice(), [Request::Deny { on: true, .. }]));
}

#[test]
fn what_is_wrong_is_said_on_every_screen_and_listed_by_a_key() {
    let mut stage = stage(State::Down);
    for screen in ScreenId::ALL {
        stage.open(screen);
        assert!(seen(&stage, "- vpn takes no new sessions"), "{screen:?}");
    }
    stage.keys("A");
    assert!(seen(&stage, "3 alarms, the worst first"));
    assert!(seen(&stage, "ERROR  vpn takes no new sessions"));
    assert!(seen(
        &stage,
        "WARN   1 of 3 real servers of web-tls are down"
    ));
    stage.key(Key::Esc);
    assert!(!seen(&stage, "the worst first"));
}

#[test]
fn after_an_answered_change_all_is_told_anew_and_after_a_question_it_is_not() {
    let mut stage = stage(State::Calm);
    let effects = stage.keys("jjw5\r");
    let Some(Effect::Send { ticket, .. }) = effects.first() else {
        panic!("{effects:?}");
    };
    let rows = Ok(vec![json!({"text": "the weight is 5"})]);
    let ticket = *ticket;
    let answered = stage.message(Message::Replied { ticket, rows });
    assert!(matches!(answered.as_slice(), [Effect::Refresh]));
    stage.model.grammar = grammar();
    let effects = stage.keys(":show status\r");
    let Some(Effect::Send { ticket, .. }) = effects.first() else {
        panic!("{effects:?}");
    };
    let ticket = *ticket;
    let row = serde_json::to_value(weir_control::StatusRow::default()).unwrap();
    let rows = Ok(vec![row]);
    assert_eq!(stage.message(Message::Replied { ticket, rows }), []);
}

#[test]
fn an_undo_is_of_what_was_done_last() {
    let mut stage = stage(State::Calm);
    stage.keys("jd");
    let effects = stage.keys("drain\r");
    let Some(Effect::Send { ticket, .. }) = effects.first() else {
        panic!("{effects:?}");
    };
    let rows = Ok(vec![json!({"text": "drained"})]);
    stage.message(Message::Replied {
        ticket: *ticket,
        rows,
    });
    assert!(stage.model.undo.is_some());
    // Another one is enabled: `u` would enable the first.
    assert_eq!(sent(&stage.keys("jje")).len(), 1);
    assert_eq!(sent(&stage.keys("u")), []);
}

#[test]
fn what_a_hostile_paste_has_behind_its_end_does_nothing() {
    let mut stage = stage(State::Calm);
    // The mark in the middle is of whoever wrote the text.
    let paste = "\x1b[200~harmless\x1b[201~\x1b[A\x03jdrain\r";
    assert_eq!(stage.keys(paste), []);
    assert!(matches!(stage.model.mode, Mode::Screen));
}

#[test]
fn a_filter_that_is_pasted_filters() {
    let mut stage = stage(State::Calm);
    stage.keys("/\x1b[200~10.0.3.31\x1b[201~");
    assert_eq!(stage.model.services.filter.text, "10.0.3.31");
    assert!(!stage.lines().iter().any(|line| line.contains("web-tls")));
}

#[test]
fn the_rest_of_an_answer_to_a_question_that_is_gone_is_no_key() {
    let mut stage = stage(State::Calm);
    stage.keys("jddra");
    stage.message(Message::Link(LinkNews::Down("it was closed".to_owned())));
    stage.message(Message::Link(LinkNews::Up {
        greeting: Daemon::greeting(Role::Operator),
        identity: None,
    }));
    assert_eq!(stage.keys("eq\r"), []);
    assert!(matches!(stage.model.mode, Mode::Screen));
}

#[test]
fn a_drain_that_became_one_of_the_last_real_server_asks_again() {
    let mut stage = stage(State::Calm);
    stage.keys("jd");
    if let Some(told) = &mut stage.model.data.services
        && let Some(row) = told.value.first_mut()
    {
        for real in row.reals.iter_mut().skip(1) {
            real.state = "down".to_owned();
        }
    }
    assert_eq!(sent(&stage.keys("drain\r")), []);
    let lines = stage.lines();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("NO REAL SERVER IS LEFT")),
        "{lines:#?}"
    );
    assert_eq!(sent(&stage.keys("drain\r")), []);
    assert_eq!(sent(&stage.keys("\x15web-tls\r")).len(), 1);
}

#[test]
fn a_flood_of_which_no_source_stands_out_is_said_to_be_spread() {
    let mut stage = stage(State::Flood);
    stage.open(ScreenId::Flood);
    if let Some(told) = &mut stage.model.data.flood {
        for row in &mut told.value {
            row.top_sources.clear();
            row.spread_over = Some(32);
        }
    }
    assert!(
        seen(&stage, " spread over more than 32 "),
        "{:#?}",
        stage.lines()
    );
    stage.keys("x");
    assert!(seen(&stage, "No prefix stands out"));
}

#[test]
fn what_is_told_of_one_service_is_not_taken_for_all_floods() {
    let mut stage = stage(State::Flood);
    stage.open(ScreenId::Flood);
    stage.open(ScreenId::Services);
    stage.key(Key::Enter);
    stage.pass(1);
    // Nothing more is told: the link is gone.
    stage.message(Message::Link(LinkNews::Down("it was closed".to_owned())));
    stage.keys("3");
    stage.key(Key::Esc);
    let lines = stage.lines();
    for service in ["web-tls", "web ", "mail", "vpn"] {
        let has = |line: &String| line.contains(&format!(" {service}"));
        assert!(lines.iter().any(has), "{service}: {lines:#?}");
    }
}

#[test]
fn nothing_in_the_header_is_written_over_who_you_are() {
    let mut stage = stage(State::Down);
    if let Some(told) = &mut stage.model.data.status {
        told.value.confirm_within_s = Some(599);
        told.value.maintenance = true;
        told.value.alarms = 12;
    }
    let head = stage.lines().remove(0);
    for part in [
        "UNCONFIRMED 9m59s  MAINT  12 ALARMS !",
        "operator anna  12:04",
    ] {
        assert!(head.contains(part), "{head}");
    }
    if let Some(greeting) = &mut stage.model.link.greeting {
        greeting.node = "x".repeat(300);
    }
    let head = stage.lines().remove(0);
    for part in ["12 ALARMS !", "operator  12:04"] {
        assert!(head.contains(part), "{head}");
    }
}

#[test]
fn a_daemon_that_does_not_come_back_has_a_reason() {
    let mut stage = stage(State::Calm);
    let why = "the daemon is version 9".to_owned();
    stage.message(Message::Link(LinkNews::Down(why.clone())));
    assert!(!stage.lines().remove(0).contains(&why));
    stage.clock.up += Duration::from_secs(11);
    stage.message(Message::Tick);
    assert!(stage.lines().remove(0).contains(&why));
}
