//! What SSH offers elsewhere and not here: passwords, forwarding, other programs, files.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use weir_lab::command::words;
use weir_lab::process::Process;
use weir_lab::scenario::Run;

use crate::site::Site;

/// A way to log in or to get more than a verb, and the words in which it is refused.
struct Way {
    what: &'static str,
    /// Words of `ssh` before all others; the first of two that contradict each other counts.
    options: &'static str,
    account: &'static str,
    line: &'static str,
    refusal: &'static str,
}

const WAYS: [Way; 4] = [
    Way {
        what: "a password is not even asked for",
        options: "-o PubkeyAuthentication=no \
                  -o PreferredAuthentications=password,keyboard-interactive",
        account: "operator",
        line: "show status",
        refusal: "Permission denied (publickey).",
    },
    Way {
        what: "root does not log in, with a key either",
        options: "",
        account: "root",
        line: "show status",
        refusal: "Permission denied (publickey).",
    },
    Way {
        what: "no port is forwarded from the desk",
        options: "-W 127.0.0.1:22",
        account: "operator",
        line: "",
        refusal: "administratively prohibited",
    },
    Way {
        what: "no port is forwarded to the desk",
        options: "-o ExitOnForwardFailure=yes -R 8022:127.0.0.1:22",
        account: "operator",
        line: "show status",
        refusal: "remote port forwarding failed",
    },
];

/// Tries what is refused; each costs a login.
pub(super) fn run(run: &mut Run, site: &Site) {
    for way in &WAYS {
        run.check(&format!("image: {}", way.what), || {
            let log_in = site
                .operator
                .log_in()
                .replacen("ssh ", &format!("ssh {} ", way.options), 1)
                .replacen(" operator@", &format!(" {}@", way.account), 1);
            let line = format!("ip netns exec {} {log_in} {}", site.desk.name(), way.line);
            refused(&mut words(&line), way.refusal)
        });
    }
    run.check("image: no file is copied, by sftp or by scp", || {
        let file = site.dir().join("to-the-box");
        fs::write(&file, "data").context("cannot write a file")?;
        // The words of a login, for programs that call `ssh` themselves.
        let log_in = site.operator.log_in();
        let (options, to) = log_in.rsplit_once(' ').context("nobody to log in as")?;
        let options = options.replacen("ssh ", "", 1);
        let copy = |program: &str| {
            let line = format!(
                "ip netns exec {} {program} {options} {} {to}:/data/",
                site.desk.name(),
                file.display()
            );
            let refusal = "files go through the standard input and output";
            refused(&mut words(&line), refusal)
        };
        Ok(format!("{}; {}", copy("scp -s")?, copy("scp -O")?))
    });
}

/// Runs a command that is to fail with these words, and returns the line that has them.
fn refused(command: &mut Command, refusal: &str) -> Result<String> {
    let output = command.output().context("cannot run ssh")?;
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        bail!("it is not refused: {said}");
    }
    let line = said.lines().find(|line| line.contains(refusal));
    let line = line.with_context(|| format!("it does not say `{refusal}`: {said}"))?;
    Ok(line.trim().to_owned())
}

/// What shows in the maintenance shell who is logged in, and whose agents can be used.
pub(super) const LINES: [&str; 2] = [
    "echo con''soles=$(ps -o user,args | grep -c '^operator .*console')",
    "echo ag''ents=$(ls -d /tmp/dropbear-* 2>/dev/null | wc -l)",
];

/// Logs in with an agent that is to be forwarded, and stays.
pub(super) fn with_an_agent(site: &Site) -> Result<Process> {
    let log_in = site.operator.log_in().replacen("ssh ", "ssh -A -tt ", 1);
    // Nothing is typed, and the line does not end.
    let line = format!("sleep 120 | exec ssh-agent {log_in}");
    let mut command = site.desk.command("sh");
    command.args(["-c", &line]);
    site.lab.start("ssh-agent", &mut command)
}

/// Looks whether the one who is logged in brought an agent.
pub(super) fn check_agent(said: &str) -> Result<String> {
    let count = |name: &str| -> Result<u32> {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(name));
        let line = line.with_context(|| format!("nobody says {name}"))?;
        line.parse().with_context(|| format!("{name}{line}"))
    };
    let (consoles, agents) = (count("consoles=")?, count("agents=")?);
    ensure!(consoles > 0, "nobody is logged in");
    ensure!(agents == 0, "{agents} agents can be used");
    Ok(format!("{consoles} logged in, no socket of an agent"))
}
