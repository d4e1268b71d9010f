//! What a walk says when the world does otherwise, and what a world notices by itself.

#![expect(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, outside of its own function too"
)]

use std::path::{Path, PathBuf};

use weir_testkit::{PacketSpec, Setup, TcpSpec, Transport, World, moved, walk};
use weir_wire::{SeqNumber, TcpFlags};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../director/tests/walks/tcp")
}

const OPENING: &str = "config ../../conf/web.conf
0.000  client > vip   S  C:C(0)   win 64240 <mss 1460>
+0     lip > real     S  L:L(0)   win 64240 <toa client,mss 1460>
";

fn play(rest: &str) -> Result<(), String> {
    let text = format!("{OPENING}{rest}");
    walk::play_text("x.walk", &folder(), &text).map_err(|error| format!("{error:#}"))
}

fn complaint(rest: &str) -> String {
    play(rest).expect_err("the walk is wrong")
}

#[test]
fn a_right_walk_is_walked() {
    assert_eq!(
        play("moved rx 1, tx 1, session-opened 1, toa-inserted 1"),
        Ok(())
    );
}

#[test]
fn a_frame_that_nobody_expects_is_shown() {
    let text = complaint("+1 client > vip S C:C(0) win 64240 <mss 1460>\nmoved rx 2");
    assert!(
        text.starts_with("x.walk:5: moved rx 2: before this line Weir sent"),
        "{text}"
    );
    assert!(text.contains("toa 192.0.2.7:40000,mss 1460"), "{text}");
}

#[test]
fn a_frame_that_does_not_come_is_missed() {
    let text = complaint("+0 client < vip R. 0:0(0) ack C+1 win 0\nmoved rx 1");
    assert_eq!(
        text,
        "x.walk:4: +0 client < vip R. 0:0(0) ack C+1 win 0: nothing came until 1ms after the start"
    );
}

#[test]
fn a_field_that_differs_is_named_with_both_values() {
    let real = "+0 lip < real S. S:S(0) ack L+1 win 65160 <mss 1460>\n";
    let text = complaint(&format!(
        "{real}+0 client < vip S. S:S(0) ack C+2 win 65160 <mss 1452>"
    ));
    assert!(text.contains("should be C+2 = "), "{text}");
    assert!(text.contains("(C+1)"), "{text}");
    let text = complaint(&format!(
        "{real}+0 client < vip S. S:S(0) ack C+1 win 1 <mss 1452>"
    ));
    assert!(text.ends_with("win is 65160, should be 1"), "{text}");
    let text = complaint(&format!(
        "{real}+0 client < vip S. S:S(0) ack C+1 win 65160"
    ));
    assert!(
        text.ends_with("there is one more option: mss 1452"),
        "{text}"
    );
    let text = complaint(&format!(
        "{real}+0 client < vip S. S:S(0) ack C+1 win 65160 <mss 1460>"
    ));
    assert!(
        text.ends_with("an option is `mss 1452`, should be Mss(1460)"),
        "{text}"
    );
}

#[test]
fn a_counter_that_moved_unsaid_is_named() {
    let text = complaint("moved rx 1, tx 1, toa-inserted 1");
    assert!(text.contains("session-opened moved by 1, not 0"), "{text}");
}

#[test]
fn a_walk_ends_with_what_moved() {
    let text = complaint("");
    assert!(text.contains("the last word must be `moved`"), "{text}");
    let error = walk::play_text("x.walk", &folder(), "config ../../conf/web.conf\n").unwrap_err();
    assert_eq!(error.to_string(), "x.walk: nothing happens");
}

#[test]
fn an_early_frame_is_no_late_one() {
    let text = complaint(
        "+0 lip < real S. S:S(0) ack L+1 win 65160 <mss 1460>\n\
         +5 client < vip S. S:S(0) ack C+1 win 65160 <mss 1452>\n",
    );
    assert!(text.contains("too early"), "{text}");
}

fn world() -> World {
    let text = std::fs::read_to_string(folder().join("../../conf/web.conf")).unwrap();
    let snapshot = weir_testkit::snapshot("web.conf", &text).unwrap();
    World::new(snapshot, Setup::default()).unwrap()
}

fn stray(world: &World) -> Vec<u8> {
    PacketSpec {
        src: "192.0.2.7".parse().unwrap(),
        dst: "203.0.113.10".parse().unwrap(),
        eth_dst: world.around().links().first().unwrap().mac,
        transport: Transport::Tcp(TcpSpec {
            src_port: 1,
            dst_port: 80,
            seq: SeqNumber(1),
            flags: TcpFlags::ACK,
            ..TcpSpec::default()
        }),
        ..PacketSpec::default()
    }
    .build()
}

#[test]
fn moved_states_what_one_step_moved() {
    let mut world = world();
    let port = world.around().links().first().unwrap().port;
    let frame = stray(&world);
    let before = world.tally();
    world.inject(0, port, &frame).unwrap();
    moved!(world, before, "rx 1, no-session 1");
}

#[test]
#[should_panic(expected = "rx moved by 1, not 2; no-session moved by 1, not 0")]
fn moved_panics_when_something_else_moved() {
    let mut world = world();
    let port = world.around().links().first().unwrap().port;
    let frame = stray(&world);
    let before = world.tally();
    world.inject(0, port, &frame).unwrap();
    moved!(world, before, "rx 2");
}

const PROXIED: &str = "config ../../conf/cookies.conf
0.000  client > vip   S  C:C(0)   win 64240 <mss 1460>
+0     client < vip   S. K:K(0) ack C+1 win 16384 <mss 1440>
";

fn proxied_complaint(rest: &str) -> String {
    let text = format!("{PROXIED}{rest}");
    let played = walk::play_text("x.walk", &folder(), &text);
    format!("{:#}", played.expect_err("the walk is wrong"))
}

#[test]
fn what_a_service_made_of_its_syns_is_compared_whole() {
    let text = proxied_complaint("flooded vip syn-in 1, active 1");
    assert!(text.ends_with("cookie-sent is 1"), "{text}");
    let text = proxied_complaint("flooded vip syn-in 1, cookie-sent 1, active 1, failed 1");
    assert!(text.ends_with("failed is 0"), "{text}");
    let text = proxied_complaint("flooded vip syns 1");
    assert!(text.contains("`syns` is none of "), "{text}");
    let text = proxied_complaint("flooded real syn-in 1");
    assert!(text.ends_with("no service listens at `real`"), "{text}");
    let text = proxied_complaint("events flood-began 1");
    assert!(text.ends_with("flood-began is 0"), "{text}");
}

#[test]
fn a_restart_comes_when_all_that_moved_was_said() {
    let text = proxied_complaint("restart");
    assert!(text.contains("`moved` comes first"), "{text}");
    let rest = "moved rx 1, tx 1, cookie-sent 1\nrestart\n+1 nothing\nmoved rx 1";
    let text = proxied_complaint(rest);
    assert!(text.contains("rx moved by 0, not 1"), "{text}");
}

#[test]
fn a_payload_that_stands_elsewhere_in_its_patterns_is_another() {
    let held = "+0 client > vip P. C+1:C+11(10) ack K+1 win 64240
+0 lip > real S L:L(0) win 64240 <toa client,mss 1460>
+0 client > vip P. C+11:C+21(10) ack K+1 win 64240
+0 lip < real S. S:S(0) ack L+1 win 65160 <mss 1460>
+0 lip > real P. L+1:L+21(20) ack S+1 win 64240 <toa client>";
    for of in ["", " of 20", " of 10+10 at 1", " of 10+11 at 0"] {
        let text = proxied_complaint(&format!("{held}{of}"));
        let changed = text.contains("the payload was changed");
        assert!(changed || text.contains("ends too soon"), "{of}: {text}");
    }
    let right = format!("{held} of 10+10");
    let text = proxied_complaint(&right);
    assert!(text.contains("the last word must be `moved`"), "{text}");
}
