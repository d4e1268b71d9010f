//! The console on a terminal of its own, in front of a daemon that is played: whatever happens to it,
//! the terminal is given back as it was.

mod desk;
mod played;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ratatui::layout::Size;
use weir_control::Request;

use crate::grammar::Grammar;
use crate::tests::fixture::State;
use crate::{Options, run, unfit};
use desk::{Desk, Seen, socket, wait_for_end};
use played::Played;

/// The name of the test that is the console.
const CONSOLE: &str = "tests::pty::the_console_itself";
/// The variable with the folder of its socket.
const FOLDER: &str = "WEIR_TEST_FOLDER";
/// What asks a terminal for the place of its cursor.
const QUERY: &[u8] = b"\x1b[6n";

/// A folder that goes away with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("weir-console-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A daemon and the folder of its socket.
fn daemon(name: &str) -> (Folder, Played) {
    let folder = Folder::new(name);
    let played = Played::listen(&socket(&folder.0), State::Calm);
    (folder, played)
}

/// A console that is open on an XTERM of the usual size.
fn open(folder: &Path) -> Desk {
    let desk = Desk::start(folder, "xterm", (80, 24));
    desk.wait_for_console();
    desk
}

fn holds(seen: &Seen, bytes: &[u8]) -> bool {
    seen.bytes.windows(bytes.len()).any(|it| it == bytes)
}

/// Says whether the question stands there whether a real server is to be drained.
fn asks(seen: &Seen) -> bool {
    let text = seen.terminal.screen().contents();
    text.contains("Drain real server")
}

/// Returns the last line that the terminal shows.
fn hints(seen: &Seen) -> String {
    let screen = seen.terminal.screen();
    let (_, width) = screen.size();
    screen.rows(0, width.get()).last().unwrap_or_default()
}

#[test]
#[ignore = "the other tests run it on a terminal"]
fn the_console_itself() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    std::fs::write(folder.join("pid"), std::process::id().to_string()).unwrap();
    let options = Options {
        socket: Some(socket(&folder)),
        grammar: Grammar::new(
            Arc::new(|words| panic!("{words:?} is too much")),
            Arc::new(|_| Vec::new()),
        ),
        ..Options::default()
    };
    if let Some(sentence) = unfit(&options) {
        println!("{sentence}");
        std::process::exit(3);
    }
    let code = run(&options).unwrap();
    let number = (0..=u8::MAX).find(|number| ExitCode::from(*number) == code);
    std::process::exit(i32::from(number.unwrap()));
}

#[test]
fn every_terminal_is_given_back_and_sent_only_what_it_knows() {
    let (folder, _played) = daemon("terminals");
    for (term, no_color) in [
        ("vt100", false),
        ("vt220", false),
        ("linux", false),
        ("xterm", false),
        ("xterm-256color", false),
        ("xterm-256color", true),
    ] {
        let mut variables = vec![("TERM", term), ("LANG", "C.UTF-8")];
        variables.extend(no_color.then_some(("NO_COLOR", "1")));
        let desk = Desk::with(&folder.0, &variables, (80, 24));
        desk.wait_for_console();
        // The cursor goes at the end of a frame, whose bytes may come in pieces.
        desk.wait_until("a cursor as the terminal can have it", |seen| {
            seen.terminal.screen().hide_cursor() == (term != "vt100")
        });
        let is_old = term.starts_with("vt");
        desk.look(|seen| {
            let screen = seen.terminal.screen();
            let cells = (0..24).flat_map(|y| (0..80).map(move |x| (y, x)));
            let colours = cells
                .filter_map(|(y, x)| screen.cell(y, x))
                .filter(|cell| cell.fgcolor() != vt100::Color::Default)
                .count();
            assert_eq!(
                colours == 0,
                is_old || no_color,
                "{term}: {colours} coloured"
            );
            let ascii = seen.bytes.is_ascii();
            assert_eq!(ascii, is_old, "{term}");
            let second = screen.alternate_screen();
            assert_eq!(second, term.starts_with("xterm"), "{term}");
        });
        desk.keys("q");
        assert_eq!(desk.left(), 0, "{term}");
        desk.assert_restored();
        if term.starts_with("xterm") {
            assert!(desk.text().contains("a shell"), "{term}: {}", desk.text());
        }
    }
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_gets_a_sentence() {
    let (folder, _played) = daemon("dumb");
    let desk = Desk::start(&folder.0, "dumb", (80, 24));
    assert_eq!(desk.left(), 3);
    assert!(desk.text().contains("TERM is `dumb`"), "{}", desk.text());
    desk.look(|seen| assert!(!seen.bytes.contains(&0x1b)));
    desk.assert_restored();
}

#[test]
fn ctrl_c_leaves() {
    let (folder, _played) = daemon("ctrl-c");
    let desk = open(&folder.0);
    desk.keys("\x03");
    assert_eq!(desk.left(), 0);
    desk.assert_restored();
}

#[test]
fn signals_end_it_as_they_end_others_and_the_terminal_is_restored() {
    let (folder, _played) = daemon("signals");
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ] {
        let desk = open(&folder.0);
        desk.signal(signal);
        assert_eq!(desk.left(), 128 + signal as u8);
        desk.assert_restored();
        drop(desk);
        std::fs::remove_file(folder.0.join("pid")).unwrap();
    }
}

#[test]
fn it_ends_when_the_line_is_hung_up() {
    let (folder, _played) = daemon("hang-up");
    let mut desk = open(&folder.0);
    let pid = desk.pid();
    desk.hang_up();
    wait_for_end(pid);
}

#[test]
fn a_panic_is_told_on_a_restored_terminal() {
    let (folder, _played) = daemon("panic");
    let desk = open(&folder.0);
    desk.keys(":too much\r");
    assert_eq!(desk.left(), 101);
    desk.assert_restored();
    let text = desk.text();
    assert!(
        text.contains("a shell") && text.contains("is too much"),
        "{text}"
    );
}

#[test]
fn a_line_that_knows_no_size_is_asked_and_the_kernel_told() {
    let (folder, _played) = daemon("asked");
    for pieces in [&["\x1b[30;100R"][..], &["\x1b[30", ";10", "0R"]] {
        let desk = Desk::start(&folder.0, "vt220", (0, 0));
        desk.wait_until("the question", |seen| holds(seen, QUERY));
        desk.look(|seen| assert!(!holds(seen, b"Services"), "drawn before the answer"));
        desk.resize_shown(100, 30);
        for piece in pieces {
            desk.keys(piece);
            thread::sleep(Duration::from_millis(30));
        }
        desk.wait_for_console();
        desk.wait_until("hints in line 30", |seen| hints(seen).contains("q quit"));
        let size = Size {
            width: 100,
            height: 30,
        };
        assert_eq!(desk.size(), size);
        desk.keys("q");
        assert_eq!(desk.left(), 0);
        desk.assert_restored();
    }
}

#[test]
fn a_terminal_that_does_not_say_its_size_has_80_by_24() {
    let (folder, _played) = daemon("never");
    let began = Instant::now();
    let desk = Desk::start(&folder.0, "vt100", (0, 0));
    desk.wait_for_console();
    assert!(began.elapsed() >= Duration::from_millis(500));
    desk.wait_until("hints in line 24", |seen| hints(seen).contains("q quit"));
    // The answer comes when nobody waits for it any more.
    desk.resize_shown(132, 43);
    desk.keys("\x1b[43;132R");
    desk.wait_until("hints in line 43", |seen| hints(seen).contains("q quit"));
    desk.keys("q");
    assert_eq!(desk.left(), 0);
    desk.assert_restored();
}

#[test]
fn a_storm_of_resizes_ends_with_the_last_size() {
    let (folder, _played) = daemon("resizes");
    let desk = open(&folder.0);
    for step in 0..300_u16 {
        match step % 7 {
            0 => desk.resize(1, 1),
            1 => desk.resize(400, 150),
            2 => desk.resize(0, 0),
            rest => desk.resize(20 + 17 * rest + step % 50, 5 + step % 60),
        }
        if step % 50 == 0 {
            desk.keys("\t");
        }
        thread::sleep(Duration::from_millis(2));
    }
    // Six times Tab: the screen before the first.
    desk.keys("1");
    desk.resize(100, 30);
    desk.wait_until("hints in line 30", |seen| hints(seen).contains("q quit"));
    desk.wait_for_console();
    desk.keys("q");
    assert_eq!(desk.left(), 0);
    desk.assert_restored();
}

#[test]
fn a_paste_of_a_megabyte_does_nothing_whether_it_is_marked_or_not() {
    let (folder, played) = daemon("paste");
    let text = "qjd\rdrain\r".repeat(1024 * 1024 / 10);
    for (term, is_marked) in [("xterm", true), ("vt220", false)] {
        let desk = Desk::start(&folder.0, term, (80, 24));
        desk.wait_for_console();
        if is_marked {
            assert!(desk.look(|seen| holds(seen, b"\x1b[?2004h")));
            desk.keys("\x1b[200~");
        }
        desk.keys(&text);
        if is_marked {
            desk.keys("\x1b[201~");
            desk.wait(&format!("a paste of {} bytes is ignored", text.len()));
        } else {
            desk.wait("bytes is ignored");
        }
        thread::sleep(Duration::from_millis(500));
        // It is still there, and takes keys again.
        desk.keys("5");
        desk.wait("WORKER");
        assert_eq!(played.changes(), []);
        desk.keys("q");
        assert_eq!(desk.left(), 0, "{term}");
        desk.assert_restored();
    }
}

#[test]
fn a_restarted_daemon_finds_the_view_as_it_was_and_is_asked_for_nothing_twice() {
    let (folder, played) = daemon("restart");
    let desk = open(&folder.0);
    desk.keys("/web\r");
    desk.wait("with web");
    desk.keys("ssss");
    desk.wait("by new/s");
    desk.keys("jd");
    desk.wait("Drain real server");
    desk.keys("drain\r");
    desk.wait_until("the question is answered", |seen| !asks(seen));
    played.wait_for_change();
    let asked = played.changes();
    assert!(
        matches!(asked.as_slice(), [Request::Drain { .. }]),
        "{asked:?}"
    );
    // A question that stands there when the daemon goes is taken back.
    desk.keys("d");
    desk.wait("Drain real server");
    drop(played);
    desk.wait("LOST weir");
    desk.wait_until("no question any more", |seen| !asks(seen));
    desk.wait("STALE");
    let played = Played::listen(&socket(&folder.0), State::Calm);
    desk.wait_until("the values are new", |seen| {
        let text = seen.terminal.screen().contents();
        let is_new = !text.contains("LOST") && !text.contains("STALE");
        is_new && text.contains("ledger ok") && hints(seen).contains("q quit")
    });
    let text = desk.text();
    assert!(text.contains("10.0.1.11:443"), "{text}");
    assert!(!text.contains("mail"), "the filter is gone:\n{text}");
    assert!(text.contains("vNEW/s"), "the order is gone:\n{text}");
    thread::sleep(Duration::from_millis(1_500));
    assert_eq!(played.changes(), [], "it was asked again");
    desk.keys("q");
    assert_eq!(desk.left(), 0);
    desk.assert_restored();
}

#[test]
fn a_candidate_is_asked_about_when_nobody_touches_a_key() {
    let (folder, played) = daemon("candidate");
    let desk = open(&folder.0);
    desk.keys("7");
    desk.wait("RUNNING");
    desk.keys("e");
    desk.wait("CANDIDATE");
    desk.keys("# a word\r");
    played.wait_for_change();
    let asked = played.changes();
    assert!(
        matches!(asked.as_slice(), [Request::Diff { .. }, ..]),
        "{asked:?}"
    );
}
