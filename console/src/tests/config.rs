//! How a configuration is written, checked, tried and kept.

use std::time::Duration;

use weir_control::{Request, Role};

use crate::model::config::Part;
use crate::model::editor::Verdict;
use crate::model::link::LinkNews;
use crate::model::screen::ScreenId;
use crate::model::{Effect, Mode};
use crate::term::input::Key;
use crate::tests::fixture::{Daemon, State};
use crate::tests::stage::{MONO, Stage};
use crate::tests::worked;
use crate::update::Message;

const GOOD: &str = "e\x06real = 10.0.1.13\r\x1b[4~\rreal = 10.0.1.14:443 weight=2";

fn stage(role: Role) -> Stage {
    let mut stage = Stage::with_role(MONO, (80, 24), State::Calm, role);
    stage.open(ScreenId::Config);
    stage
}

fn text(stage: &Stage) -> String {
    stage.model.config.editor.as_ref().unwrap().text()
}

fn toast(stage: &Stage) -> String {
    let toast = stage.model.toast.as_ref();
    toast.map(|toast| toast.text.clone()).unwrap_or_default()
}

#[test]
fn the_daemon_checks_what_is_typed_once_nothing_more_is() {
    let mut stage = stage(Role::Operator);
    assert!(stage.keys(GOOD).is_empty());
    let asked = stage.settle();
    let [Request::Diff { texts }] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert!(
        texts
            .first()
            .unwrap()
            .text
            .contains("10.0.1.14:443 weight=2")
    );
    // Nothing is asked twice.
    assert_eq!(stage.settle(), []);
    stage.keys("\x15\x15x");
    assert_eq!(stage.settle().len(), 1);
}

#[test]
fn what_is_typed_before_the_daemon_said_what_runs_is_text_and_no_key() {
    let mut stage = stage(Role::Operator);
    stage.model.data.config = None;
    stage.keys("e");
    assert!(stage.keys("\x1b[200~pasted\x1b[201~").is_empty());
    assert!(toast(&stage).ends_with("nothing of the paste was taken"));
    stage.keys("# q\r");
    assert!(matches!(stage.model.mode, Mode::Editor));
    assert!(
        stage
            .lines()
            .iter()
            .any(|line| line.contains("what you type is kept"))
    );
    stage.tell();
    assert!(text(&stage).starts_with("# q\n"), "{}", text(&stage));
    assert_eq!(stage.settle().len(), 1);
    // Who leaves before it is told has typed nothing.
    stage.model.config.editor = None;
    stage.model.data.config = None;
    stage.keys("\x03exyz\x03");
    assert!(matches!(stage.model.mode, Mode::Screen));
    stage.tell();
    assert!(stage.model.config.editor.is_none());
    stage.keys("e");
    assert!(!text(&stage).contains("xyz"));
    // A daemon that is silent for long fills no memory.
    stage.keys("\x03");
    stage.model.config.editor = None;
    stage.model.data.config = None;
    stage.keys("e");
    for _ in 0..5000 {
        stage.key(Key::Char('x'));
    }
    assert!(toast(&stage).ends_with("no more keys are kept"));
    stage.tell();
    let length = text(&stage).chars().filter(|c| *c == 'x').count();
    assert!((1024..2000).contains(&length), "{length}");
}

#[test]
fn a_candidate_is_tried_with_a_time_and_kept_once_it_is_confirmed() {
    let mut stage = stage(Role::Operator);
    stage.keys(GOOD);
    stage.settle();
    stage.keys("\x03a");
    assert!(matches!(stage.model.mode, Mode::Dialog(_)));
    assert!(stage.keys("aply\r").is_empty());
    assert!(stage.keys("\x15apply soon\r").is_empty());
    let asked = stage.reply(|stage| stage.keys("\x15apply 5m\r"));
    let [
        Request::Apply {
            texts,
            confirm_ms,
            over,
        },
        ..,
    ] = asked.as_slice()
    else {
        panic!("{asked:?}");
    };
    assert_eq!(*confirm_ms, Some(300_000));
    assert!(texts.first().unwrap().text.contains("10.0.1.14"));
    assert!(
        over.as_ref()
            .is_some_and(|over| !over.contains("10.0.1.14"))
    );
    assert!(toast(&stage).contains("c confirms it within 5m00s"));
    assert_eq!(stage.model.config.tried.map(|tried| tried.0), Some(119));
    stage.daemon.trial = Some(250);
    stage.pass(1);
    let lines = stage.lines();
    assert!(lines.iter().any(|line| line.contains("ON TRIAL, 4m10s")));
    let asked = stage.reply(|stage| stage.keys("c"));
    assert!(asked.contains(&Request::Confirm {}));
    assert!(stage.model.config.editor.is_none());
}

#[test]
fn what_is_written_while_a_candidate_is_on_trial_outlives_its_confirmation() {
    for is_open in [true, false] {
        let mut stage = stage(Role::Operator);
        stage.keys(GOOD);
        stage.settle();
        stage.keys("\x03a");
        stage.reply(|stage| stage.keys("apply 5m\r"));
        stage.daemon.trial = Some(250);
        stage.pass(1);
        stage.keys(if is_open { "e" } else { "e5\x03" });
        let confirmed = stage
            .model
            .order("confirmation".to_owned(), Request::Confirm {});
        stage.reply(|_| confirmed);
        assert!(stage.model.config.editor.is_some(), "open: {is_open}");
        assert!(toast(&stage).ends_with("is confirmed"), "{}", toast(&stage));
    }
}

#[test]
fn who_confirms_a_trial_of_somebody_else_goes_on_where_they_are() {
    let mut stage = stage(Role::Operator);
    stage.model.config.part = Part::Generations;
    stage.daemon.trial = Some(250);
    stage.pass(1);
    stage.reply(|stage| stage.keys("c"));
    assert!(toast(&stage).ends_with("is confirmed"), "{}", toast(&stage));
    assert_eq!(stage.model.config.part, Part::Generations);
}

#[test]
fn a_trial_that_is_rolled_back_leaves_the_candidate_to_be_mended() {
    let mut stage = stage(Role::Operator);
    stage.keys(GOOD);
    stage.settle();
    stage.keys("\x03a");
    stage.reply(|stage| stage.keys("apply\r"));
    stage.daemon.trial = Some(100);
    stage.pass(1);
    stage.keys("b");
    let asked = stage.reply(|stage| stage.keys("rollback\r"));
    let back = Request::Rollback { generation: None };
    assert!(asked.contains(&back), "{asked:?}");
    assert!(text(&stage).contains("10.0.1.14:443"));
    assert_eq!(stage.model.config.tried, None);
}

#[test]
fn what_ends_sessions_is_applied_only_once_its_name_is_typed() {
    let mut stage = stage(Role::Operator);
    stage.keys("e\x06[service\r");
    stage.keys(&"\x0b".repeat(24));
    stage.settle();
    stage.keys("\x03a");
    let is_apply = |request: &Request| matches!(request, Request::Apply { .. });
    assert!(
        !stage
            .reply(|stage| stage.keys("apply\r"))
            .iter()
            .any(is_apply)
    );
    let asked = stage.reply(|stage| stage.keys("\x15web-tls\r"));
    assert!(asked.iter().any(is_apply), "{asked:?}");
}

#[test]
fn a_viewer_writes_and_checks_but_runs_nothing() {
    let mut stage = stage(Role::Viewer);
    stage.keys(GOOD);
    assert_eq!(stage.settle().len(), 1);
    stage.keys("\x03");
    assert_eq!(stage.model.config.part, Part::Diff);
    assert!(stage.keys("a").is_empty());
    assert_eq!(
        toast(&stage),
        "a: needs operator: this socket is for viewers"
    );
    // More than the daemon takes of a viewer is not sent.
    stage.keys("e");
    let long = "# words\n".repeat(16 * 1024);
    let length = long.len();
    stage.message(Message::Paste(long, length));
    assert_eq!(stage.settle(), []);
    let editor = stage.model.config.editor.as_ref().unwrap();
    assert!(matches!(editor.verdict, Verdict::Failed(_)));
}

#[test]
fn what_was_written_survives_a_restart_of_the_daemon_and_is_asked_for_before_leaving() {
    let mut stage = stage(Role::Operator);
    stage.keys(GOOD);
    stage.message(Message::Link(LinkNews::Down("it was closed".to_owned())));
    stage.keys("0");
    assert!(matches!(stage.model.mode, Mode::Editor));
    assert_eq!(stage.settle(), []);
    let up = Message::Link(LinkNews::Up {
        greeting: Daemon::greeting(Role::Operator),
        identity: None,
    });
    assert_eq!(stage.reply(|stage| stage.message(up)).len(), 1);
    assert!(text(&stage).contains("10.0.1.14:443 weight=20"));
    stage.keys("\x03");
    assert!(stage.keys("q").is_empty());
    assert!(matches!(stage.model.mode, Mode::Dialog(_)));
    stage.keys("\x03");
    assert!(text(&stage).contains("10.0.1.14:443"));
    stage.keys("q");
    assert_eq!(stage.keys("leave\r"), [Effect::Leave]);
}

#[test]
fn a_paste_of_a_megabyte_is_taken_as_a_whole_and_of_more_not_at_all() {
    let before_all = worked();
    let mut stage = stage(Role::Operator);
    stage.keys("e");
    let before = text(&stage).len();
    let line = "# a comment that is pasted\r";
    let paste = line.repeat((1 << 20) / line.len());
    let marked = format!("\x1b[200~{paste}\x1b[201~");
    stage.keys(&marked);
    assert_eq!(text(&stage).len(), before + paste.len());
    stage.frame();
    stage.clock.up += Duration::from_secs(1);
    stage.keys("x");
    stage.frame();
    let asked = stage.settle();
    assert_eq!(asked.len(), 1);
    let before = text(&stage).len();
    stage.keys(&format!("\x1b[200~{}\x1b[201~", "x".repeat((1 << 20) + 1)));
    assert!(toast(&stage).contains("is too long: nothing of it was taken"));
    assert_eq!(text(&stage).len(), before);
    let took = worked().saturating_sub(before_all);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn an_unmarked_paste_is_text_to_its_last_character() {
    let mut stage = stage(Role::Operator);
    stage.keys("e");
    stage.keys(&"# words of a comment\r".repeat(20));
    // What is left over of it comes as keys; none of them does something.
    stage.keys("# the end\r");
    let text = text(&stage);
    assert_eq!(text.matches("# words of a comment\n").count(), 20);
    assert!(text.contains("# the end\n"));
}
