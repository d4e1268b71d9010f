//! The local consoles: screen and serial line.
//!
//! Whoever stands before the box sees what a viewer sees. The local secret makes an operator of them;
//! a box that nobody has set up asks its first questions here.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use weir_control::{Login, Role};
use zeroize::Zeroizing;

use crate::places::Places;
use crate::prepare::{BOOTED, DATA_FAULT};
use crate::protocol::{Ask, Local, Request, SOCKET};
use crate::secret::{self, Verdict};
use crate::setup::wizard::{self, Answers, Known, Terminal, until};
use crate::socket::client;
use crate::words::Words;
use crate::{backup, durable, setup};

mod menu;

use menu::Choice;

const PROGRAM: &str = "/usr/bin/weir";
const VIEWER: u32 = 201;
const OPERATOR: u32 = 200;
/// No line is longer; a terminal gives no longer ones.
const LONGEST: u64 = 8 * 1024;
/// Whoever chooses nothing for so long has gone, and the console comes back.
const IDLE: Duration = Duration::from_mins(1);
/// How often a terminal with questions looks whether they were answered at another.
const GLANCE: Duration = Duration::from_secs(1);
/// The agent has so long to make the box ready.
const READY_TRIES: u32 = 600;
const READY_EVERY: Duration = Duration::from_millis(100);
/// Noted when somebody took the way back in: once a start.
const RECOVERED: &str = "recovered";

/// Runs the console of the terminal that is the standard input; init starts it again.
pub(crate) fn run() -> ExitCode {
    let places = Places::real();
    let words = Words::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
    let mut tty = Tty {
        name: name(),
        places,
        is_first: false,
    };
    match tty.serve(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error}");
            // Init starts it again at once; the terminal may be gone.
            std::thread::sleep(Duration::from_secs(2));
            ExitCode::FAILURE
        }
    }
}

struct Tty {
    /// E.g. `ttyS0`.
    name: String,
    places: Places,
    /// The first questions are asked, here as at the other terminals.
    is_first: bool,
}

fn name() -> String {
    let path = nix::unistd::ttyname(io::stdin().as_fd()).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Returns a line of the standard input; none at its end.
fn line() -> io::Result<Option<Zeroizing<String>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let input = io::stdin().lock();
    input.take(LONGEST).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(&bytes);
    let line = line.trim_end_matches(['\n', '\r']).to_owned();
    Ok(Some(Zeroizing::new(line)))
}

/// Returns a line that the terminal does not show; the standard input must be one.
pub(crate) fn hidden_line() -> io::Result<Option<Zeroizing<String>>> {
    unshown(line)
}

/// Reads while the terminal shows nothing of what is typed.
fn unshown<T>(read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let input = io::stdin();
    let before = tcgetattr(&input)?;
    let mut quiet = before.clone();
    quiet.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&input, SetArg::TCSANOW, &quiet)?;
    let read = read();
    tcsetattr(&input, SetArg::TCSANOW, &before)?;
    read
}

impl Write for Tty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

impl Terminal for Tty {
    fn line(&mut self) -> io::Result<Option<String>> {
        if self.is_overtaken()? {
            return Ok(None);
        }
        Ok(line()?.map(|line| line.as_str().to_owned()))
    }

    fn hidden_line(&mut self) -> io::Result<Option<Zeroizing<String>>> {
        // A terminal gives whole lines: whoever waits for one must have turned its echo off before.
        unshown(|| {
            if self.is_overtaken()? {
                return Ok(None);
            }
            line()
        })
    }
}

impl Tty {
    fn serve(&mut self, words: &Words) -> io::Result<()> {
        self.wait_for_the_agent();
        let recovered = self.places.run.join(RECOVERED);
        if words.recover && !recovered.exists() {
            self.recover(&recovered)?;
        }
        let is_damaged = self.places.run.join(DATA_FAULT).exists();
        if !setup::is_set_up(&self.places) && !is_damaged {
            return self.set_up();
        }
        self.console(VIEWER)?;
        loop {
            self.head()?;
            write!(self, "{}Choice: ", menu::text(self.has_secret()))?;
            self.flush()?;
            if !waits_for_input(IDLE)? {
                return Ok(());
            }
            let Some(line) = self.line()? else {
                return Ok(());
            };
            match Choice::of(&line) {
                None => write!(self, "  type one of the numbers\r\n")?,
                Some(Choice::Console) => return Ok(()),
                Some(choice) => self.chosen(choice)?,
            }
        }
    }

    /// Waits until somebody types; where the first questions are asked at several terminals, says
    /// that they were answered at another one.
    fn is_overtaken(&self) -> io::Result<bool> {
        if !self.is_first {
            return Ok(false);
        }
        while !waits_for_input(GLANCE)? {
            if setup::is_set_up(&self.places) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Init starts both at once; before the agent has looked at the boot partition nobody knows
    /// whether the box is set up. Without an agent the menu is the only way in.
    fn wait_for_the_agent(&self) {
        let ready = self.places.run.join(BOOTED);
        for _ in 0..READY_TRIES {
            if ready.exists() {
                return;
            }
            std::thread::sleep(READY_EVERY);
        }
    }

    fn has_secret(&self) -> bool {
        secret::file(&self.places).exists()
    }

    fn head(&mut self) -> io::Result<()> {
        let node = backup::node(&self.places).unwrap_or_else(|| "weir".to_owned());
        let name = self.name.clone();
        write!(self, "\r\nweir {node} at {name}\r\n")?;
        for fault in [DATA_FAULT, crate::prepare::MODULES_FAULT] {
            let text = fs::read_to_string(self.places.run.join(fault)).unwrap_or_default();
            for line in text.lines().take(8) {
                write!(self, "  {line}\r\n")?;
            }
        }
        Ok(())
    }

    fn chosen(&mut self, choice: Choice) -> io::Result<()> {
        if !self.is_allowed(choice)? {
            return Ok(());
        }
        match choice {
            Choice::Console => {}
            Choice::Operator => {
                self.tell(Local::Operator);
                self.console(OPERATOR)?;
                self.tell(Local::Left);
            }
            Choice::Key => {
                let mut key = None;
                until(self, "Public key of an operator, or empty", |line| {
                    if !line.is_empty() {
                        crate::keys::Key::parse(line)?;
                        key = Some(line.to_owned());
                    }
                    Ok(())
                })?;
                if let Some(key) = key {
                    let role = Role::Operator;
                    self.ask(Request::KeyAdd { role, key })?;
                }
            }
            Choice::Secret => self.new_secret()?,
            Choice::SetUp => self.set_up()?,
            Choice::Shell => {
                self.tell(Local::Shell);
                write!(
                    self,
                    "You are root. `exit` ends it; what is changed outside /data is gone at the next start.\r\n"
                )?;
                self.flush()?;
                let shell = Command::new("/bin/sh")
                    .env_clear()
                    .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/run")])
                    .env(
                        "TERM",
                        std::env::var("TERM").unwrap_or_else(|_| "vt100".to_owned()),
                    )
                    .current_dir("/run")
                    .status();
                if let Err(error) = shell {
                    write!(self, "  /bin/sh: {error}\r\n")?;
                }
                self.tell(Local::Left);
            }
            Choice::Reboot => self.ask(Request::Reboot)?,
            Choice::PowerOff => self.ask(Request::Poweroff)?,
        }
        Ok(())
    }

    /// Asks for the secret; where there is none only what cannot be undone by pulling the plug is
    /// refused.
    fn is_allowed(&mut self, choice: Choice) -> io::Result<bool> {
        if choice == Choice::SetUp {
            let is_set_up = setup::is_set_up(&self.places);
            if is_set_up {
                write!(self, "  the box is set up; an operator changes it\r\n")?;
            }
            return Ok(!is_set_up);
        }
        if !self.has_secret() {
            if let Some(word) = choice.typed() {
                let mut same = false;
                until(self, &format!("Type {word} if you mean it"), |line| {
                    same = line == word;
                    Ok(())
                })?;
                return Ok(same);
            }
            write!(
                self,
                "  there is no local secret; an operator sets one by SSH (`secret`)\r\n"
            )?;
            return Ok(false);
        }
        write!(self, "Local secret (not shown): ")?;
        self.flush()?;
        let Some(given) = self.hidden_line()? else {
            return Ok(false);
        };
        write!(self, "\r\n")?;
        match secret::verify(&self.places, &given) {
            Ok(Verdict::Right) => return Ok(true),
            Ok(Verdict::Wrong) => {
                write!(self, "  it is not the one\r\n")?;
                self.tell(Local::Wrong);
            }
            Ok(Verdict::Wait(wait)) => {
                let seconds = wait.as_secs() + 1;
                write!(self, "  too many wrong ones; try again in {seconds} s\r\n")?;
            }
            Ok(Verdict::Unset) => write!(self, "  there is none any more\r\n")?,
            Err(sentence) => write!(self, "  {sentence}\r\n")?,
        }
        Ok(false)
    }

    fn new_secret(&mut self) -> io::Result<()> {
        let Some(secret) = wizard::new_secret(self, false)? else {
            return Ok(());
        };
        match secret::set(&self.places, &secret) {
            Ok(()) => {
                self.tell(Local::Secret);
                write!(self, "  it is set\r\n")
            }
            Err(sentence) => write!(self, "  {sentence}\r\n"),
        }
    }

    fn recover(&mut self, noted: &Path) -> io::Result<()> {
        write!(
            self,
            "\r\nThe boot menu was asked for a new local secret; everything else stays as it is.\r\n"
        )?;
        self.new_secret()?;
        if self.has_secret() {
            fs::write(noted, "")?;
        }
        Ok(())
    }

    fn set_up(&mut self) -> io::Result<()> {
        let known = Known {
            cards: cards(&self.places),
            has_configuration: setup::has_configuration(&self.places)
                && !setup::is_set_up(&self.places),
            faults: setup::faults(&self.places),
        };
        self.is_first = true;
        let asked = wizard::ask(self, &known);
        self.is_first = false;
        let Some(answers) = asked? else {
            return Ok(());
        };
        if setup::is_set_up(&self.places) {
            return write!(self, "\r\nSomebody else has set it up meanwhile.\r\n");
        }
        match write_answers(&self.places, &known, &answers) {
            Ok(()) => {
                write!(self, "\r\nThe box is set up.\r\n")?;
                self.tell(Local::SetUp);
                Ok(())
            }
            Err(sentence) => write!(self, "\r\n  {sentence}\r\n"),
        }
    }

    /// Runs the console as an account that can do no more than it should.
    fn console(&mut self, account: u32) -> io::Result<()> {
        self.flush()?;
        let mut console = Command::new(PROGRAM);
        console.arg("console").env_clear().envs([
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/"),
            ("LANG", "C.UTF-8"),
        ]);
        console.env(
            "TERM",
            std::env::var("TERM").unwrap_or_else(|_| "vt100".to_owned()),
        );
        console.env("WEIR_OPERATOR", format!("local-{}", self.name));
        if account == VIEWER {
            console.arg("--read-only");
        }
        if let Err(error) = console.uid(account).gid(account).current_dir("/").status() {
            write!(self, "  {PROGRAM}: {error}\r\n")?;
        }
        Ok(())
    }

    /// Asks the agent for what an operator asks for.
    fn ask(&mut self, request: Request) -> io::Result<()> {
        match self.send(request) {
            Ok(()) => write!(self, "  it is done\r\n"),
            Err(sentence) => write!(self, "  {sentence}\r\n"),
        }
    }

    /// Tells the agent what happened here; without an agent nobody can be told.
    fn tell(&self, what: Local) {
        let terminal = self.name.clone();
        let _ = self.send(Request::Local { what, terminal });
    }

    fn send(&self, request: Request) -> Result<(), String> {
        let ask = Ask {
            request,
            name: Login::try_from(format!("local-{}", self.name)).ok(),
            from: None,
        };
        let asked = client::ask_at(Path::new(SOCKET), &ask, None, &mut |_| {});
        asked.map(drop).map_err(|failure| failure.to_string())
    }
}

/// Says whether somebody types within the time.
fn waits_for_input(time: Duration) -> io::Result<bool> {
    let input = io::stdin();
    let mut files = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    Ok(poll(&mut files, patience)? > 0)
}

fn cards(places: &Places) -> Vec<String> {
    let folder = places.sys.join("class/net");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut cards: Vec<String> = entries
        .filter(|entry| entry.file_name() != "lo")
        .map(|entry| {
            let fact = |name: &str| {
                let text = fs::read_to_string(entry.path().join(name));
                text.unwrap_or_default().trim().to_owned()
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let link = match fact("operstate").as_str() {
                "up" => "link",
                "down" => "no link",
                _ => "",
            };
            format!("{name:<8} {}  {link}", fact("address"))
        })
        .collect();
    cards.sort_unstable();
    cards
}

/// Writes what was confirmed; the mark of a box that is set up comes last.
fn write_answers(places: &Places, known: &Known, answers: &Answers) -> Result<(), String> {
    let cannot = |error: io::Error| format!("it cannot be written: {error}");
    durable::folder(&places.shared(), 0o700).map_err(cannot)?;
    if !known.has_configuration {
        let text = answers.given.render();
        durable::write(&places.config(), text.as_bytes(), 0o600).map_err(cannot)?;
    }
    answers.keys.save(places).map_err(cannot)?;
    if let Some(secret) = &answers.secret {
        secret::set(places, secret)?;
    }
    setup::mark(places, "by hand").map_err(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Key, Keys};
    use crate::setup::given::Given;
    use crate::testing::Folder;

    #[test]
    fn what_was_confirmed_is_a_box_that_is_set_up() {
        let folder = Folder::new("tty-write");
        let places = Places::under(folder.path());
        for path in [&places.etc, &places.run, &places.proc] {
            fs::create_dir_all(path).unwrap();
        }
        let mut keys = Keys::default();
        let key = "ssh-ed25519 \
                   AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti alice";
        keys.add(Role::Operator, Key::parse(key).unwrap()).unwrap();
        let mut given = Given::default();
        given.set("address", "192.0.2.10/24").unwrap();
        let answers = Answers {
            given,
            keys,
            secret: Some(Zeroizing::new("correct horse".to_owned())),
        };
        write_answers(&places, &Known::default(), &answers).unwrap();
        assert!(setup::is_set_up(&places) && setup::has_configuration(&places));
        assert!(secret::is_set(&places));
        assert_eq!(Keys::load(&places).0.count(), 1);
        assert_eq!(backup::node(&places).as_deref(), Some("weir"));
    }

    #[test]
    fn cards_are_listed_with_what_tells_them_apart() {
        let folder = Folder::new("tty-cards");
        let places = Places::under(folder.path());
        for (name, address, state) in [("eth1", "52:54:00:77:00:11", "up"), ("lo", "", "unknown")] {
            let card = places.sys.join("class/net").join(name);
            fs::create_dir_all(&card).unwrap();
            fs::write(card.join("address"), format!("{address}\n")).unwrap();
            fs::write(card.join("operstate"), format!("{state}\n")).unwrap();
        }
        assert_eq!(cards(&places), ["eth1     52:54:00:77:00:11  link"]);
    }
}
