//! The way in from LVS: a script of ipvsadm builds a service, a dump restores it, and a
//! keepalived.conf takes its place.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::soundness::pages;
use crate::command::{run as run_command, run_with_input};
use crate::lab::{Lab, Topology, VIP, lip, real_address};
use crate::server::Nginx;
use crate::{WeirConf, WeirProcess};

/// The keepalived.conf of the user's manual of LVS with FullNAT, whose words are tested in `weir-lvs`.
const MANUAL: &str = include_str!("../../../../lib/lvs/tests/import/fnat.conf");

pub(super) fn run(run: &mut Run) -> Result<()> {
    let lab = Lab::new(Topology::default())?;
    let _nginx = Nginx::start_all(&lab)?;
    let mut conf = WeirConf::new("af-packet", 1, lab.dir());
    conf.pools.clear();
    conf.services.clear();
    let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
    let operator = Operator {
        lab: &lab,
        weir: run.weir.clone(),
        socket: conf.socket.clone(),
    };
    run.check("ipvsadm: a script builds a service", || operator.script());
    run.check("ipvsadm: the commands of the manual", || operator.manual());
    run.check("ipvsadm: its tables have the columns of LVS", || {
        operator.tables()
    });
    run.check("ipvsadm: -S restores to itself, after -C as well", || {
        operator.restore()
    });
    run.check(
        "ipvsadm: what Weir has not is answered and changes nothing",
        || operator.refusals(),
    );
    run.check("a keepalived.conf is imported and runs", || {
        operator.keepalived()
    });
    run.check("ledger", || Ok(weir.ledger()?.to_string()));
    Ok(())
}

/// Somebody with a shell on the load balancer.
struct Operator<'lab> {
    lab: &'lab Lab,
    weir: PathBuf,
    socket: PathBuf,
}

impl Operator<'_> {
    fn command(&self, line: &str) -> Command {
        let mut command = self.lab.lb.command(&self.weir);
        command.env("WEIR_SOCKET", &self.socket);
        command.args(line.split_whitespace());
        command
    }

    fn weir(&self, line: &str) -> Result<String> {
        run_command(&mut self.command(line))
    }

    fn ipvsadm(&self, line: &str) -> Result<String> {
        self.weir(&format!("ipvsadm {line}"))
    }

    fn script(&self) -> Result<String> {
        let (first, second) = (real_address(0), real_address(1));
        for line in [
            format!("-A -t {VIP}:80 -s rr -V 300"),
            format!("-P -t {VIP}:80 -z {}", lip(0)),
            format!("-a -t {VIP}:80 -r {first}:80 -b -w 10"),
            format!("-a -t {VIP}:80 -r {second}:80 -b -w 10"),
            format!("-e -t {VIP}:80 -r {second}:80 -b -w 20"),
        ] {
            self.ipvsadm(&line)?;
        }
        pages(self.lab)
    }

    /// Each command of the manual that has to do with FullNAT, and what `-S` says of it.
    fn manual(&self) -> Result<String> {
        let before = self.ipvsadm("-S -n")?;
        let (first, second) = (real_address(0), real_address(1));
        let (web, dns) = (format!("-t {VIP}:8080"), format!("-u {VIP}:53"));
        let (one, other) = (lip(1), lip(2));
        let commands = [
            (
                format!("-A {web} -s wlc -p 300 -M 255.255.255.0 -j enable -V 60"),
                "-s wlc -p 300 -M 255.255.255.0 -j enable -V 60",
            ),
            (format!("-P {web} -z {one}"), "-P"),
            (
                format!("-a {web} -r {first}:80 -b -w 5 -x 1000 -y 800"),
                "-b -w 5 -x 1000 -y 800",
            ),
            (
                format!("-a {web} -r {second}:80 --fullnat --weight 7"),
                "-b -w 7",
            ),
            (format!("-P {web} --laddr {other}"), "-P"),
            (
                format!("-E {web} -s rr -j disable"),
                "-s rr -p 300 -M 255.255.255.0 -j disable -V 60",
            ),
            (
                format!("-e {web} -r {first}:80 -b -w 9"),
                "-b -w 9 -x 1000 -y 800",
            ),
            ("--set 120 30 40".to_owned(), "-V 120"),
            // Before another service has the same pool.
            (format!("-Q {web} -z {other}"), "-P"),
            (format!("-A {dns} -s rr"), "-s rr -j disable"),
            (format!("-P {dns} -z {one}"), "-P"),
            (format!("-a {dns} -r {first}:53 -b"), ":53 -b -w 1"),
            (format!("-d {web} -r {second}:80"), "-b -w 9"),
            (format!("-D {dns}"), ""),
            (format!("-D {web}"), ""),
        ];
        let count = commands.len();
        for (line, words) in commands {
            let told = self.ipvsadm(&line).map(drop);
            told.with_context(|| format!("ipvsadm {line}"))?;
            let saved = self.ipvsadm("-S -n")?;
            ensure!(saved.contains(words), "{line}: {saved}");
        }
        for line in [
            "-L -n --rate",
            "-ln --thresholds",
            "-ln --persistent-conn",
            "-ln --stats --exact",
            "-ln --sort",
            "-ln --nosort",
            "-l --daemon",
            "-h",
            "-v",
        ] {
            self.ipvsadm(line)?;
        }
        let set = self.ipvsadm("-l --timeout")?;
        ensure!(set == "Timeout (tcp tcpfin udp): 120 30 30\n", "{set}");
        self.ipvsadm("--set 300 900 30")?;
        let after = self.ipvsadm("-S -n")?;
        ensure!(after == before, "{before} became {after}");
        Ok(format!("{count} changes, and back"))
    }

    fn tables(&self) -> Result<String> {
        let text = self.ipvsadm("-ln")?;
        let mut lines = text.lines().skip(1);
        let mut next = || lines.next().unwrap_or_default().to_owned();
        ensure!(
            [next(), next()]
                == [
                    "Prot LocalAddress:Port Scheduler Established(Sec.) Flags",
                    "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
                ],
            "{text}"
        );
        let expected = format!(
            "{:<22} rr        300              ",
            format!("TCP  {VIP}:80")
        );
        ensure!(next() == expected, "{text}");
        for (real, weight) in [(0, 10), (1, 20)] {
            let real = format!("{}:80", real_address(real));
            let begin = format!("  -> {real:<28} FullNat {weight:<6} ");
            ensure!(next().starts_with(&begin), "{text}");
        }
        let stats = self.ipvsadm("-ln --stats --exact")?;
        let line = stats.lines().find(|line| line.starts_with("TCP"));
        let sessions = line.and_then(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
        let sessions = sessions.with_context(|| format!("no figures in {stats}"))?;
        ensure!(sessions > 0, "no session was counted: {stats}");
        let locals = self.ipvsadm("-G")?;
        let line = locals.lines().nth(2).unwrap_or_default();
        ensure!(line.contains(&lip(0).to_string()), "{locals}");
        self.ipvsadm("-lnc")?;
        self.ipvsadm("-l --timeout")?;
        Ok(format!("{sessions} sessions counted"))
    }

    fn restore(&self) -> Result<String> {
        let saved = self.ipvsadm("-S -n")?;
        run_with_input(&mut self.command("ipvsadm -R"), &saved)?;
        ensure!(
            self.ipvsadm("-S -n")? == saved,
            "another one on top of itself"
        );
        self.ipvsadm("-C")?;
        ensure!(
            self.ipvsadm("-S -n")?.is_empty(),
            "something is left after -C"
        );
        run_with_input(&mut self.command("ipvsadm -R"), &saved)?;
        ensure!(self.ipvsadm("-S -n")? == saved, "another one after -C");
        let lines = saved.lines().count();
        Ok(format!("{lines} lines; {}", pages(self.lab)?))
    }

    fn refusals(&self) -> Result<String> {
        let saved = self.ipvsadm("-S -n")?;
        for (line, words) in [
            ("-A -f 1".to_owned(), "marks"),
            (format!("-a -t {VIP}:80 -r 10.1.1.1 -g"), "direct routing"),
            ("--start-daemon master".to_owned(), "[ha]"),
            (format!("-A -t {VIP}:80"), "already"),
        ] {
            let told = self.ipvsadm(&line).err().context("it was carried out")?;
            let told = told.to_string();
            ensure!(
                told.contains("exit status: 2") && told.contains(words),
                "{told}"
            );
        }
        ensure!(self.ipvsadm("-S -n")? == saved, "something changed");
        Ok("four refused".to_owned())
    }

    /// The file of the user's manual, with the addresses that the lab has.
    fn keepalived(&self) -> Result<String> {
        let mut text = MANUAL.to_owned();
        for (theirs, ours) in [
            ("203.0.113.10 443", format!("{VIP} 80")),
            ("203.0.113.53 53", format!("{VIP} 53")),
            ("10.0.8.1-14", lip(1).to_string()),
            ("10.0.8.40", lip(2).to_string()),
            ("10.0.1.11 443", format!("{} 80", real_address(0))),
            ("10.0.1.12 443", format!("{} 80", real_address(1))),
            ("10.0.2.11 53", format!("{} 53", real_address(0))),
            ("10.0.2.12 53", format!("{} 53", real_address(1))),
        ] {
            ensure!(text.contains(theirs), "{theirs} is not in the file");
            text = text.replace(theirs, &ours);
        }
        let file = self.lab.dir().join("keepalived.conf");
        fs::write(&file, text)?;
        let imported = self
            .command(&format!("import {}", file.display()))
            .output()?;
        let told = String::from_utf8_lossy(&imported.stderr).into_owned();
        ensure!(imported.status.success(), "{told}");
        ensure!(
            told.contains("`vrrp_instance`: VRRP is not supported yet"),
            "{told}"
        );
        let diff = self.weir(&format!("diff --from {}", file.display()))?;
        ensure!(diff.contains("[service"), "{diff}");
        self.weir(&format!("apply --from {}", file.display()))?;
        let saved = self.ipvsadm("-S -n")?;
        ensure!(saved.contains("-s wrr -j enable -V 300"), "{saved}");
        // `alpha`: nobody is up before his first answer.
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let health = self.weir("show health --json")?;
            if health.matches("\"state\":\"up\"").count() >= 2 {
                break;
            }
            ensure!(Instant::now() < end, "still not up: {health}");
            std::thread::sleep(Duration::from_millis(50));
        }
        pages(self.lab)
    }
}
