//! What is seen: every screen on every kind of terminal in every state of the appliance.

use insta::{Settings, assert_snapshot};
use weir_control::Role;

use crate::model::screen::ScreenId;
use crate::term::profile::Profile;
use crate::tests::fixture::State;
use crate::tests::stage::{ANSI8, MONO, Stage, WIDE};
use crate::view::canvas::audit;

const TERMINALS: [(&str, Profile, (u16, u16)); 4] = [
    ("80x24-mono", MONO, (80, 24)),
    ("80x24-ansi8", ANSI8, (80, 24)),
    ("132x43", WIDE, (132, 43)),
    ("200x60", WIDE, (200, 60)),
];

fn settings() -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_snapshot_path("../../tests/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// The picture, where nothing in it is cut or written over something else.
fn picture(stage: &Stage, name: &str, with_looks: bool) -> String {
    let faults = audit::during(|| drop(stage.buffer()));
    let picture = stage.picture(with_looks);
    assert!(faults.is_empty(), "{name}: {faults:#?}\n{picture}");
    picture
}

fn snapshots_of(screen: ScreenId) {
    settings().bind(|| {
        for (terminal, profile, size) in TERMINALS {
            for (state, name) in State::ALL {
                let mut stage = Stage::new(profile, size, state);
                stage.open(screen);
                stage.lose();
                let name = format!("{}.{name}.{terminal}", screen.name().to_lowercase());
                let picture = picture(&stage, &name, terminal.ends_with("ansi8"));
                assert_snapshot!(name, picture);
            }
        }
    });
}

/// A picture of a console after some keys.
fn snapshot(name: &str, of: State, keys: &str) {
    let mut stage = Stage::new(MONO, (80, 24), of);
    stage.keys(keys);
    stage.tell();
    stage.pass(1);
    settings()
        .bind(|| assert_snapshot!(format!("{name}.80x24-mono"), picture(&stage, name, false)));
}

#[test]
fn services() {
    snapshots_of(ScreenId::Services);
}

#[test]
fn details_of_services_and_real_servers() {
    snapshot("services.details", State::Down, "\r");
    snapshot("services.details-real", State::Down, "jj\r");
    snapshot("services.details-flood", State::Flood, "\r");
    snapshot("services.sorted", State::Flood, "ssssz");
    snapshot("services.filtered", State::Down, "/down\r");
}

#[test]
fn questions_before_something_is_done() {
    snapshot("dialog.drain", State::Calm, "jd");
    snapshot("dialog.drain-wrong", State::Calm, "jddrian\r");
    snapshot("dialog.drain-last", State::Down, "jd");
    snapshot("dialog.weight", State::Calm, "jw");
    snapshot("dialog.synproxy", State::Flood, "o");
    snapshot("dialog.maintenance", State::Calm, "m");
    snapshot("dialog.drain-quorum", State::Calm, "/dns\rjd");
    snapshot("dialog.weight-last", State::Down, "jw0\r");
    snapshot("dialog.capture", State::Calm, "c");
    let flood = ScreenId::Flood;
    snapshot_on("dialog.deny", State::Flood, flood, "x");
    snapshot_on(
        "dialog.deny-other",
        State::Flood,
        flood,
        "xdeny 10.0.0.0/8\r",
    );
    snapshot_on("dialog.deny-client", State::Calm, ScreenId::Sessions, "x");
}

#[test]
fn help_filter_and_command_line() {
    snapshot("help", State::Calm, "?");
    snapshot("help.searched", State::Calm, "?drain");
    snapshot("filter", State::Calm, "/10.0.1");
    snapshot("paused", State::Calm, "p");
    snapshot("alarms", State::Down, "A");
}

/// A picture of a screen that was told already, after some keys.
fn snapshot_on(name: &str, of: State, screen: ScreenId, keys: &str) {
    let mut stage = Stage::new(MONO, (80, 24), of);
    stage.open(screen);
    stage.keys(keys);
    stage.tell();
    stage.pass(1);
    settings()
        .bind(|| assert_snapshot!(format!("{name}.80x24-mono"), picture(&stage, name, false)));
}

#[test]
fn pools() {
    snapshots_of(ScreenId::Pools);
    snapshot_on("pools.fullest", State::Exhausted, ScreenId::Pools, "sss");
    snapshot_on("pools.details", State::Exhausted, ScreenId::Pools, "\r");
    snapshot_on(
        "pools.details-real",
        State::Exhausted,
        ScreenId::Pools,
        "j\r",
    );
}

#[test]
fn events() {
    snapshots_of(ScreenId::Events);
    snapshot_on("events.details", State::Down, ScreenId::Events, "kk\r");
    snapshot_on("events.missing", State::Exhausted, ScreenId::Events, "kk");
    snapshot_on("events.filtered", State::Down, ScreenId::Events, "/otto\r");
}

#[test]
fn sessions() {
    snapshots_of(ScreenId::Sessions);
    snapshot_on(
        "sessions.filtered",
        State::Calm,
        ScreenId::Sessions,
        "/198.51.100.12\r",
    );
    snapshot_on("sessions.idle", State::Calm, ScreenId::Sessions, "ssssj");
    snapshot_on("sessions.many", State::Flood, ScreenId::Sessions, "G");
    let mut stage = Stage::new(MONO, (80, 24), State::Calm);
    stage.open(ScreenId::Sessions);
    stage.reply(|stage| stage.keys("j\r"));
    stage.pass(1);
    settings().bind(|| {
        assert_snapshot!(
            "sessions.details.80x24-mono",
            picture(&stage, "details", false)
        );
    });
}

/// A console whose candidate was written with some keys and checked.
fn written(profile: Profile, size: (u16, u16), keys: &str) -> Stage {
    let mut stage = Stage::new(profile, size, State::Calm);
    stage.open(ScreenId::Config);
    stage.keys(keys);
    stage.settle();
    stage
}

const GOOD: &str = "e\x1b[B\x06real = 10.0.1.13\r\x1b[4~\rreal = 10.0.1.14:443 weight=2";
const WRONG: &str = "e\x06real = 10.0.1.13\r\x1b[4~\rreal = 10.0.1.14:443 wieght=2";
/// Everything from the service on is cut, line by line.
const LESS: &str = "e\x06[service\r\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\
                    \x0b\x0b\x0b\x0b\x0b\x0b";

#[test]
fn configuration() {
    snapshots_of(ScreenId::Config);
    let picture = |name: &str, stage: &Stage| {
        settings().bind(|| assert_snapshot!(format!("config.{name}"), picture(stage, name, false)));
    };
    let small = (MONO, (80, 24));
    picture("editor.80x24-mono", &written(small.0, small.1, GOOD));
    picture("editor-wrong.80x24-mono", &written(small.0, small.1, WRONG));
    picture("editor-wrong.132x43", &written(WIDE, (132, 43), WRONG));
    for (name, keys, then) in [
        ("diff", GOOD, "\x03"),
        ("diff-wrong", WRONG, "\x03"),
        ("diff-loss", LESS, "\x03"),
        ("apply", GOOD, "\x03a"),
        ("apply-loss", LESS, "\x03a"),
        ("apply-wrong", WRONG, "\x03a"),
        ("leave", GOOD, "\x03q"),
        ("discard", GOOD, "\x03x"),
        ("candidate", GOOD, "\x03\x7fv"),
        ("find", GOOD, "\x06web"),
    ] {
        let mut stage = written(small.0, small.1, keys);
        stage.keys(then);
        picture(&format!("{name}.80x24-mono"), &stage);
    }
    snapshot_on("config.before", State::Calm, ScreenId::Config, "vvv");
    snapshot_on("config.rollback", State::Calm, ScreenId::Config, "vvvkb");
    let mut stage = Stage::new(MONO, (80, 24), State::Calm);
    stage.daemon.trial = Some(92);
    stage.open(ScreenId::Config);
    picture("trial.80x24-mono", &stage);
    let mut stage = Stage::with_role(MONO, (80, 24), State::Calm, Role::Viewer);
    stage.open(ScreenId::Config);
    picture("viewer.80x24-mono", &stage);
}

#[test]
fn floods() {
    snapshots_of(ScreenId::Flood);
    snapshot_on("flood.all", State::Flood, ScreenId::Flood, "\x7f");
    snapshot_on("flood.always", State::Calm, ScreenId::Flood, "\r");
    snapshot_on("flood.users-day", State::Flood, ScreenId::Flood, "tttv");
}

#[test]
fn ports_workers_and_the_ledger() {
    snapshots_of(ScreenId::Ports);
    snapshot_on("ports.port", State::Flood, ScreenId::Ports, "\r");
    snapshot_on("ports.worker", State::Flood, ScreenId::Ports, "jjj\r");
    snapshot_on("ports.ledger", State::Flood, ScreenId::Ports, "G\r");
}
