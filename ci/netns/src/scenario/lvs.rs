//! The way in from LVS: a script of ipvsadm builds a service, a dump restores it, and a
//! keepalived.conf takes its place.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::soundness::pages;
use crate::command::{run as run_command, run_with_input};
use crate::lab::{Lab, Topology, VIP, lip, real_address};
use crate::server::Nginx;
use crate::{WeirConf, WeirProcess};

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

    fn keepalived(&self) -> Result<String> {
        let real = |n| {
            let address = real_address(n);
            format!("real_server {address} 80 {{\n TCP_CHECK {{\n connect_timeout 1\n }}\n}}\n")
        };
        let text = format!(
            "local_address_group g {{\n {}\n}}\nvirtual_server {VIP} 80 {{\n delay_loop 2\n lb_algo wrr\n lb_kind FNAT\n syn_proxy\n laddr_group_name g\n {}{}}}\nvrrp_instance V {{\n interface wan\n}}\n",
            lip(1),
            real(0),
            real(1)
        );
        let file = self.lab.dir().join("keepalived.conf");
        fs::write(&file, text)?;
        let diff = self.weir(&format!("diff --from {}", file.display()))?;
        ensure!(diff.contains("[service"), "{diff}");
        self.weir(&format!("apply --from {}", file.display()))?;
        let saved = self.ipvsadm("-S -n")?;
        ensure!(saved.contains("-s wrr -j enable"), "{saved}");
        pages(self.lab)
    }
}
