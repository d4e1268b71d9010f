//! A terminal that somebody sits at, played by tmux: keys go in, the screen comes out.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command::run;
use crate::lab::Lab;
use crate::namespace::Namespace;

const POLL: Duration = Duration::from_millis(50);

/// A tmux server with one window; it ends when dropped.
#[derive(Debug)]
pub struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    /// Runs a line of words in a window of this size in a namespace. `term` is the TERM that it sees.
    ///
    /// # Errors
    /// When tmux refuses.
    pub fn start(
        lab: &Lab,
        namespace: &Namespace,
        (width, height): (u16, u16),
        term: &str,
        line: &str,
    ) -> Result<Self> {
        let socket = lab.dir().join("tmux.sock");
        let conf = lab.dir().join("tmux.conf");
        let settings = format!(
            "set -g default-terminal {term}\nset -g default-shell /bin/sh\nset -g status off\n\
             set -g remain-on-exit on\nset -s escape-time 0\n"
        );
        fs::write(&conf, settings).context("cannot write tmux.conf")?;
        let mut command = namespace.command("tmux");
        command
            .env("LANG", "C.UTF-8")
            .env_remove("TMUX")
            .arg("-u")
            .arg("-S")
            .arg(&socket)
            .arg("-f")
            .arg(&conf)
            .args(["new-session", "-d", "-x", &width.to_string()])
            .args(["-y", &height.to_string(), line]);
        run(&mut command)?;
        Ok(Self { socket })
    }

    /// Types a text.
    ///
    /// # Errors
    /// When the window is gone.
    pub fn keys(&self, text: &str) -> Result<()> {
        run(self.command("send-keys").args(["-l", "--", text])).map(drop)
    }

    /// Presses a key by its name, such as `Enter`.
    ///
    /// # Errors
    /// As [`Tmux::keys`].
    pub fn press(&self, key: &str) -> Result<()> {
        run(self.command("send-keys").arg(key)).map(drop)
    }

    /// Makes the window larger or smaller.
    ///
    /// # Errors
    /// As [`Tmux::keys`].
    pub fn resize(&self, (width, height): (u16, u16)) -> Result<()> {
        let size = [width.to_string(), height.to_string()];
        let [width, height] = &size;
        run(self
            .command("resize-window")
            .args(["-x", width, "-y", height]))
        .map(drop)
    }

    /// Returns what the window shows.
    ///
    /// # Errors
    /// As [`Tmux::keys`].
    pub fn screen(&self) -> Result<String> {
        run(self.command("capture-pane").arg("-p"))
    }

    /// Returns what the window shows, with the escape sequences of its looks.
    ///
    /// # Errors
    /// As [`Tmux::keys`].
    pub fn screen_with_looks(&self) -> Result<String> {
        run(self.command("capture-pane").args(["-p", "-e"]))
    }

    /// Waits until the window shows what is wanted, and returns what it shows.
    ///
    /// # Errors
    /// When it does not within `patience`, with what it shows instead.
    pub fn wait(
        &self,
        what: &str,
        patience: Duration,
        is_so: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let end = Instant::now() + patience;
        loop {
            let screen = self.screen()?;
            if is_so(&screen) {
                return Ok(screen);
            }
            if Instant::now() >= end {
                bail!("the screen does not show {what} within {patience:?}:\n{screen}");
            }
            thread::sleep(POLL);
        }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).arg(verb);
        command
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // Without a window it is gone already.
        let _ = run(&mut self.command("kill-server"));
    }
}
