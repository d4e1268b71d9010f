//! What operators do that costs something, and what takes it back.

use std::time::Duration;

use serde_json::json;
use weir_control::{ModeWish, Request};

use super::{seen, sent, stage};
use crate::model::screen::ScreenId;
use crate::model::{Effect, Mode};
use crate::tests::fixture::State;
use crate::tests::stage::{MONO, Stage};
use crate::update::Message;

fn said(stage: &Stage) -> String {
    let toast = stage.model.toast.clone();
    toast.map(|toast| toast.text).unwrap_or_default()
}

#[test]
fn a_weight_that_leaves_nobody_asks_as_a_drain_does() {
    let mut stage = stage(State::Down);
    assert_eq!(sent(&stage.keys("jw0\r")), []);
    assert!(seen(&stage, "NO REAL SERVER IS LEFT: web-tls refuses"));
    assert_eq!(sent(&stage.keys("weight\r")), []);
    let weight = Request::Weight {
        service: "web-tls".to_owned(),
        real: "10.0.1.11:443".to_owned(),
        weight: Some(0),
    };
    assert_eq!(sent(&stage.keys("\x15web-tls\r")), [weight]);
    // Of one of several, it is done at once.
    let mut stage = super::stage(State::Calm);
    assert_eq!(sent(&stage.keys("jw0\r")).len(), 1);
}

#[test]
fn what_takes_a_service_below_its_quorum_is_named_with_its_name() {
    for keys in ["d", "w0\r"] {
        let mut stage = stage(State::Calm);
        stage.keys("/dns\rj");
        assert_eq!(sent(&stage.keys(keys)), [], "{keys}");
        assert!(seen(
            &stage,
            "NO QUORUM: a weight of 1 is up then, 2 is needed"
        ));
        assert_eq!(sent(&stage.keys("drain\r")), [], "{keys}");
        assert_eq!(sent(&stage.keys("\x15dns\r")).len(), 1, "{keys}");
    }
}

#[test]
fn an_order_is_for_the_configuration_that_was_seen_when_it_was_asked_about() {
    let mut stage = stage(State::Calm);
    stage.keys("jd");
    // Another one runs by the time the word is typed.
    stage.daemon.trial = Some(100);
    stage.pass(2);
    assert_eq!(
        stage.model.data.status.as_ref().unwrap().value.generation,
        119
    );
    let effects = stage.keys("drain\r");
    let Some(Effect::Send { asked, .. }) = effects.first() else {
        panic!("{effects:?}");
    };
    assert_eq!(asked.expect_generation, Some(118));
    let effects = stage.keys("e");
    let Some(Effect::Send { asked, .. }) = effects.first() else {
        panic!("{effects:?}");
    };
    assert_eq!(asked.expect_generation, Some(119));
}

/// Answers what was sent as a daemon does that did it.
fn done(stage: &mut Stage, effects: &[Effect]) {
    for effect in effects {
        if let Effect::Send { ticket, .. } = effect {
            let (ticket, rows) = (*ticket, Ok(vec![json!({"text": "done"})]));
            stage.message(Message::Replied { ticket, rows });
        }
    }
}

#[test]
fn an_undo_gives_back_the_override_that_was_there_with_what_is_left_of_its_time() {
    let mut stage = stage(State::Flood);
    let synproxy = |service: &str, mode, for_ms| Request::Synproxy {
        service: service.to_owned(),
        mode,
        for_ms,
    };
    // vpn is set to `always` by somebody else, web-tls is not set.
    stage.keys("/vpn\ro");
    let effects = stage.keys("off\r");
    done(&mut stage, &effects);
    let back = synproxy("vpn", ModeWish::Always, None);
    assert_eq!(sent(&stage.keys("u")), [back]);
    if let Some(told) = &mut stage.model.data.overrides {
        for row in &mut told.value {
            row.until = Some("2026-11-22T12:14:29Z".to_owned());
        }
    }
    stage.keys("o");
    let effects = stage.keys("default\r");
    done(&mut stage, &effects);
    stage.clock.up += Duration::from_secs(10);
    let back = synproxy("vpn", ModeWish::Always, Some(590_000));
    assert_eq!(sent(&stage.keys("u")), [back]);
    let mut stage = super::stage(State::Flood);
    stage.keys("o");
    let effects = stage.keys("always\r");
    done(&mut stage, &effects);
    let back = synproxy("web-tls", ModeWish::Default, None);
    assert_eq!(sent(&stage.keys("u")), [back]);
}

fn deny(network: &str, on: bool, for_ms: Option<u64>) -> Request {
    let network = network.to_owned();
    Request::Deny {
        network,
        on,
        for_ms,
    }
}

#[test]
fn a_prefix_of_the_flood_is_denied_by_its_number_and_can_be_undone() {
    let mut stage = stage(State::Flood);
    stage.open(ScreenId::Flood);
    stage.keys("x");
    assert!(seen(&stage, "1  198.51.100.0/24"), "{:#?}", stage.lines());
    for wrong in ["1\r", "\x15deny\r", "\x15deny 9\r", "\x15deny all\r"] {
        assert_eq!(sent(&stage.keys(wrong)), [], "{wrong}");
        assert!(matches!(stage.model.mode, Mode::Dialog(_)), "{wrong}");
    }
    let effects = stage.keys("\x15deny 2 for 1h\r");
    assert_eq!(
        sent(&effects),
        [deny("192.0.2.0/24", true, Some(3_600_000))]
    );
    done(&mut stage, &effects);
    assert_eq!(sent(&stage.keys("u")), [deny("192.0.2.0/24", false, None)]);
}

#[test]
fn a_prefix_that_is_not_on_the_screen_is_asked_about_with_its_size() {
    let mut stage = stage(State::Flood);
    stage.open(ScreenId::Flood);
    let asked = sent(&stage.keys("xdeny 10.0.0.0/8\r"));
    assert!(matches!(asked.as_slice(), [Request::Show { .. }]));
    assert!(seen(&stage, "10.0.0.0/8 has 16,777,216 addresses."));
    assert_eq!(sent(&stage.keys("deny\r")), []);
    let requests = sent(&stage.keys("\x1510.0.0.0/8\r"));
    assert_eq!(requests, [deny("10.0.0.0/8", true, Some(600_000))]);
}

#[test]
fn the_client_of_a_session_is_denied_or_captured() {
    let mut stage = stage(State::Calm);
    stage.open(ScreenId::Sessions);
    let client = stage.model.sessions.at_cursor().unwrap().client.clone();
    let address = client.split(':').next().unwrap();
    stage.keys("x");
    assert!(
        seen(&stage, &format!("1  {address}/32")),
        "{:#?}",
        stage.lines()
    );
    let requests = sent(&stage.keys("deny 1\r"));
    assert_eq!(
        requests,
        [deny(&format!("{address}/32"), true, Some(600_000))]
    );
    stage.keys("c");
    assert!(seen(&stage, "It ends after 10 s or 1,000 frames"));
    let requests = sent(&stage.keys("5 dropped\r"));
    let [Request::Capture(order)] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    assert_eq!(order.client.unwrap().to_string(), address);
    assert_eq!(
        (order.seconds, order.limit, &order.service),
        (5, 1_000, &None)
    );
    assert_eq!(order.dropped.as_deref(), Some("any"));
}

#[test]
fn a_capture_says_where_its_file_is() {
    let mut stage = stage(State::Calm);
    stage.keys("c");
    let effects = stage.keys("\r");
    let Some(Effect::Send { ticket, .. }) = effects.first() else {
        panic!("{effects:?}");
    };
    assert!(seen(
        &stage,
        "capture of service web-tls: asked, no answer yet"
    ));
    let text = "/tmp/weir-20261122T120431Z.pcapng has 12 frames captured";
    stage.message(Message::Replied {
        ticket: *ticket,
        rows: Ok(vec![json!({ "text": text })]),
    });
    assert_eq!(said(&stage), text);
}

#[test]
fn a_screen_that_shows_nothing_changes_nothing() {
    for size in [(79, 24), (80, 23), (20, 5)] {
        let mut stage = Stage::new(MONO, size, State::Calm);
        for keys in ["jd", "m", "e", "u", "w0", "/web", "3", "?"] {
            assert_eq!(stage.keys(keys), [], "{keys}");
        }
        assert!(matches!(stage.model.mode, Mode::Screen));
        assert_eq!(stage.model.screen, ScreenId::Services);
        assert_eq!(stage.keys("r"), [Effect::Redraw, Effect::AskSize]);
        assert_eq!(stage.keys("q"), [Effect::Leave]);
    }
    // A question that was there is not answered blindly either.
    let mut stage = stage(State::Calm);
    stage.keys("jddrain");
    stage.message(Message::Size(ratatui::layout::Size::new(79, 24)));
    assert_eq!(stage.keys("\r"), []);
    stage.message(Message::Size(ratatui::layout::Size::new(80, 24)));
    assert_eq!(sent(&stage.keys("\r")).len(), 1);
}
