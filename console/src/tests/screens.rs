//! What is seen: every screen on every kind of terminal in every state of the appliance.

use insta::{Settings, assert_snapshot};

use crate::model::screen::ScreenId;
use crate::term::profile::Profile;
use crate::tests::fixture::State;
use crate::tests::stage::{ANSI8, MONO, Stage, WIDE};

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

fn snapshots_of(screen: ScreenId) {
    settings().bind(|| {
        for (terminal, profile, size) in TERMINALS {
            for (state, name) in State::ALL {
                let mut stage = Stage::new(profile, size, state);
                stage.open(screen);
                stage.lose();
                let name = format!("{}.{name}.{terminal}", screen.name().to_lowercase());
                assert_snapshot!(name, stage.picture(terminal.ends_with("ansi8")));
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
    settings().bind(|| assert_snapshot!(format!("{name}.80x24-mono"), stage.picture(false)));
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
}

#[test]
fn help_filter_and_command_line() {
    snapshot("help", State::Calm, "?");
    snapshot("help.searched", State::Calm, "?drain");
    snapshot("filter", State::Calm, "/10.0.1");
    snapshot("paused", State::Calm, "p");
}

/// A picture of a screen that was told already, after some keys.
fn snapshot_on(name: &str, of: State, screen: ScreenId, keys: &str) {
    let mut stage = Stage::new(MONO, (80, 24), of);
    stage.open(screen);
    stage.keys(keys);
    stage.tell();
    stage.pass(1);
    settings().bind(|| assert_snapshot!(format!("{name}.80x24-mono"), stage.picture(false)));
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
