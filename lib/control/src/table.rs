//! Tables for people, made from the rows that programs get.

use std::fmt::Write;

use crate::{
    LedgerReply, PoolRow, PortRow, ServiceRealRow, ServiceRow, SessionRow, WorkerLedger, WorkerRow,
};

/// How a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// Columns of text with a heading line.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    lines: Vec<Vec<String>>,
}

impl Table {
    /// Makes an empty table; a heading that starts with `>` is set to the right.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        let columns = headings
            .iter()
            .map(|heading| match heading.strip_prefix('>') {
                Some(heading) => (heading, Align::Right),
                None => (*heading, Align::Left),
            })
            .collect();
        Self {
            columns,
            lines: Vec::new(),
        }
    }

    /// Adds a line.
    pub fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(cells.into_iter().collect());
    }

    /// Returns the text: columns as wide as their widest cell, two blanks apart, no blanks at the
    /// end of a line.
    #[must_use]
    pub fn render(&self) -> String {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, (heading, _))| {
                self.lines
                    .iter()
                    .filter_map(|line| line.get(i))
                    .map(|cell| cell.chars().count())
                    .chain([heading.chars().count()])
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        let mut text = String::new();
        let headings: Vec<&str> = self.columns.iter().map(|(heading, _)| *heading).collect();
        self.render_line(&mut text, &headings, &widths);
        for line in &self.lines {
            let cells: Vec<&str> = line.iter().map(String::as_str).collect();
            self.render_line(&mut text, &cells, &widths);
        }
        text
    }

    fn render_line(&self, text: &mut String, cells: &[&str], widths: &[usize]) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => {
                    line.push_str(cell);
                    line.push_str(&blanks);
                }
                Align::Right => {
                    line.push_str(&blanks);
                    line.push_str(cell);
                }
            }
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// Returns the table of services, each real server below its service.
#[must_use]
pub fn services(rows: &[ServiceRow]) -> String {
    if rows.is_empty() {
        return "no services\n".to_owned();
    }
    let mut table = Table::new(&[
        "SERVICE", "ADDRESS", "SCHED", "STATE", ">WEIGHT", ">ACTIVE", ">INACT", ">NEW/S", ">IN",
        ">OUT",
    ]);
    let mut reasons = Vec::new();
    for service in rows {
        let mut listen = service.listen.iter();
        let first = listen.next().map(String::as_str).unwrap_or_default();
        table.line([
            service.name.clone(),
            format!("{first}/{}", service.protocol),
            service.scheduler.clone(),
            state_of(service),
            String::new(),
            count(service.sessions.saturating_sub(service.inactive)),
            count(service.inactive),
            count(service.sessions_per_s),
            bytes(service.bytes_in),
            bytes(service.bytes_out),
        ]);
        for address in listen {
            table.line([String::new(), format!("{address}/{}", service.protocol)]);
        }
        if let Some(reason) = &service.reason {
            reasons.push(format!("{}: {reason}", service.name));
        }
        for real in &service.reals {
            for words in &real.by_command {
                reasons.push(format!("{} of {} {words}", real.address, service.name));
            }
            table.line([
                String::new(),
                format!("-> {}", real.address),
                String::new(),
                if real.state == "up" && !real.checked {
                    "unchecked".to_owned()
                } else {
                    real.state.clone()
                },
                real.weight.to_string(),
                count(real.sessions),
                count(real.inactive),
                String::new(),
                bytes(real.bytes_in),
                bytes(real.bytes_out),
            ]);
        }
        others(&mut table, service);
    }
    let mut text = table.render();
    // A reason is too long for a column, and most services have none.
    for reason in reasons {
        text.push_str(&reason);
        text.push('\n');
    }
    text
}

/// How many of a service's real servers take new sessions; the sorry server is none of them.
fn state_of(service: &ServiceRow) -> String {
    let reals = || service.reals.iter().filter(|real| real.state != "sorry");
    let up = reals().filter(|real| real.state == "up");
    format!("{}/{} up", up.count(), reals().count())
}

/// What a service has beside its real servers, so that the lines add up: sessions of real servers
/// that the file no longer has, and packets that came to none.
fn others(table: &mut Table, service: &ServiceRow) {
    let sum = |pick: fn(&ServiceRealRow) -> u64| service.reals.iter().map(pick).sum::<u64>();
    let active = service.sessions.saturating_sub(service.inactive);
    let rest = [
        active.saturating_sub(sum(|real| real.sessions)),
        service.inactive.saturating_sub(sum(|real| real.inactive)),
        service.bytes_in.saturating_sub(sum(|real| real.bytes_in)),
        service.bytes_out.saturating_sub(sum(|real| real.bytes_out)),
    ];
    if rest == [0; 4] {
        return;
    }
    let [active, inactive, bytes_in, bytes_out] = rest;
    table.line([
        String::new(),
        "-> none of these".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        count(active),
        count(inactive),
        String::new(),
        bytes(bytes_in),
        bytes(bytes_out),
    ]);
}

/// Returns the table of LIP pools, the use towards each real server below its pool.
#[must_use]
pub fn pools(rows: &[PoolRow]) -> String {
    if rows.is_empty() {
        return "no pools\n".to_owned();
    }
    let mut table = Table::new(&[
        "POOL",
        "REAL SERVER",
        ">LIPS",
        ">USED",
        ">FREE",
        ">SHARE",
        ">EXHAUSTED IN",
    ]);
    for pool in rows {
        table.line([
            pool.name.clone(),
            String::new(),
            pool.addresses.to_string(),
            count(pool.ports_used),
            String::new(),
            String::new(),
            String::new(),
        ]);
        for real in &pool.reals {
            table.line([
                String::new(),
                real.real.clone(),
                String::new(),
                count(real.used),
                count(real.free),
                share(real.used, real.used + real.free),
                real.exhausted_in_s.map_or_else(|| "-".to_owned(), seconds),
            ]);
        }
    }
    table.render()
}

/// Returns the table of sessions.
#[must_use]
pub fn sessions(rows: &[SessionRow]) -> String {
    if rows.is_empty() {
        return "no sessions\n".to_owned();
    }
    let mut table = Table::new(&[
        "CLIENT",
        "SERVICE",
        "LIP",
        "REAL SERVER",
        "STATE",
        ">AGE",
        ">IDLE",
        ">W",
    ]);
    for session in rows {
        table.line([
            session.client.clone(),
            format!("{}/{}", session.listen, session.protocol),
            session.lip.clone(),
            session.real.clone(),
            session.state.clone(),
            seconds(session.age_s),
            seconds(session.idle_s),
            session.worker.to_string(),
        ]);
    }
    table.render()
}

/// Returns the table of ports.
#[must_use]
pub fn ports(rows: &[PortRow]) -> String {
    if rows.is_empty() {
        return "no ports\n".to_owned();
    }
    let mut table = Table::new(&[
        "PORT", "DEVICE", "DRIVER", ">QUEUES", "LINK", ">MTU", ">RX", ">TX", ">LOST",
    ]);
    for port in rows {
        table.line([
            port.name.clone(),
            port.device.clone(),
            port.driver.clone(),
            port.queues.to_string(),
            link(port),
            port.mtu.to_string(),
            count(port.rx),
            count(port.tx),
            count(port.rx_ring_lost + port.tx_ring_lost),
        ]);
    }
    let mut text = table.render();
    for port in rows.iter().filter(|port| !port.reason.is_empty()) {
        let _ = writeln!(
            text,
            "{}: {} {}, because {}",
            port.name, port.driver, port.mode, port.reason
        );
    }
    text
}

/// Returns the table of workers.
#[must_use]
pub fn workers(rows: &[WorkerRow]) -> String {
    if rows.is_empty() {
        return "no workers\n".to_owned();
    }
    let mut table = Table::new(&[
        ">W", ">CPU", "POLL", ">BUSY", ">SESS", ">OF", ">RX", ">TX", ">HAND-IN", ">OUT",
        ">DROPPED", "LEDGER",
    ]);
    for worker in rows {
        table.line([
            worker.worker.to_string(),
            worker
                .cpu
                .map_or_else(|| "any".to_owned(), |cpu| cpu.to_string()),
            worker.poll.clone(),
            format!("{}%", worker.busy_percent),
            count(worker.sessions),
            count(worker.capacity),
            count(worker.rx),
            count(worker.tx),
            count(worker.handed_in),
            count(worker.handed_out),
            count(worker.dropped),
            if worker.balanced { "ok" } else { "OFF" }.to_owned(),
        ]);
    }
    table.render()
}

/// Returns the ledger as a table with a column per worker, the drop reasons that occurred and the
/// counters that moved.
#[must_use]
pub fn ledger(reply: &LedgerReply) -> String {
    let mut columns: Vec<(String, &WorkerLedger)> = vec![("all".to_owned(), &reply.total)];
    if reply.workers.len() > 1 {
        columns.extend(reply.workers.iter().map(|w| {
            let name = w
                .worker
                .map_or_else(String::new, |id| format!("worker {id}"));
            (name, w)
        }));
    }
    let mut table = Grid::default();
    table.heading(columns.iter().map(|(name, _)| name.clone()));
    let exact =
        |pick: fn(&WorkerLedger) -> u64| columns.iter().map(move |(_, w)| pick(w)).collect();
    table.row("rx", exact(|w| w.rx));
    table.row("+ originated", exact(|w| w.originated));
    table.row("+ handed in", exact(|w| w.handed_in));
    table.row("= tx", exact(|w| w.tx));
    table.row("+ delivered", exact(|w| w.delivered));
    table.row("+ dropped", exact(|w| w.dropped.values().sum()));
    for reason in reply.total.dropped.iter().filter(|(_, n)| **n > 0) {
        let of = |w: &WorkerLedger| w.dropped.get(reason.0).copied().unwrap_or_default();
        table.row(
            &format!("    {}", reason.0),
            columns.iter().map(|(_, w)| of(w)).collect(),
        );
    }
    table.row("+ held", exact(|w| w.held));
    table.row("+ handed out", exact(|w| w.handed_out));
    table.words(
        "balanced",
        columns
            .iter()
            .map(|(_, w)| if w.balanced { "yes" } else { "NO" }),
    );
    let moved = reply.total.counters.iter().filter(|(_, n)| **n > 0);
    for (i, (name, _)) in moved.enumerate() {
        if i == 0 {
            table.words("", columns.iter().map(|_| ""));
            // Whoever adds these up to the frames above gets something else.
            table.words(
                "what Weir did, beside the frames above (`weir help NAME` explains each)",
                std::iter::empty(),
            );
        }
        let of = |w: &WorkerLedger| w.counters.get(name).copied().unwrap_or_default();
        table.row(name, columns.iter().map(|(_, w)| of(w)).collect());
    }
    table.render()
}

/// A table whose number of columns is known only at run time: names to the left, numbers to the
/// right.
#[derive(Default)]
struct Grid(Vec<(String, Vec<String>)>);

impl Grid {
    fn heading(&mut self, cells: impl Iterator<Item = String>) {
        self.0.push((String::new(), cells.collect()));
    }

    fn row(&mut self, name: &str, values: Vec<u64>) {
        let cells = values.into_iter().map(|value| value.to_string()).collect();
        self.0.push((name.to_owned(), cells));
    }

    fn words(&mut self, name: &str, words: impl Iterator<Item = &'static str>) {
        self.0
            .push((name.to_owned(), words.map(str::to_owned).collect()));
    }

    fn render(&self) -> String {
        let columns = self.0.iter().filter(|(_, cells)| !cells.is_empty());
        let names = columns.map(|(name, _)| name.len()).max().unwrap_or(0);
        let cells = self.0.iter().flat_map(|(_, cells)| cells);
        let width = cells.map(String::len).max().unwrap_or(0) + 2;
        let mut text = String::new();
        for (name, cells) in &self.0 {
            let mut line = format!("{name:names$}");
            for cell in cells {
                let _ = write!(line, "{cell:>width$}");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn link(port: &PortRow) -> String {
    match (port.link_up, port.speed_mbps) {
        (false, _) => "down".to_owned(),
        (true, None) => "up".to_owned(),
        (true, Some(speed)) if speed >= 1000 && speed.is_multiple_of(1000) => {
            format!("{}G", speed / 1000)
        }
        (true, Some(speed)) => format!("{speed}M"),
    }
}

/// Whole numbers up to six digits, then three digits with a unit: what fits a column and can be
/// compared by eye.
#[must_use]
pub fn count(value: u64) -> String {
    scaled(value, 1000, &["", "k", "M", "G", "T", "P", "E"])
}

fn bytes(value: u64) -> String {
    scaled(
        value,
        1024,
        &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
    )
}

fn scaled(value: u64, base: u64, units: &[&str]) -> String {
    let most = if base == 1000 { 1_000_000 } else { base };
    if value < most {
        return format!("{value}{}", units.first().copied().unwrap_or_default());
    }
    let mut divisor = 1u64;
    let mut unit = "";
    for next in units {
        unit = next;
        if value / divisor < base {
            break;
        }
        if *next != *units.last().unwrap_or(&"") {
            divisor = divisor.saturating_mul(base);
        }
    }
    let whole = value / divisor;
    let tenth = (value % divisor) / (divisor / 10).max(1);
    if whole < 100 {
        return format!("{whole}.{}{unit}", tenth.min(9));
    }
    format!("{whole}{unit}")
}

fn share(part: u64, whole: u64) -> String {
    match (part * 100).checked_div(whole) {
        None => "-".to_owned(),
        Some(percent) => format!("{percent}%"),
    }
}

/// The two largest units of a time span.
pub(crate) fn seconds(value: u64) -> String {
    match value {
        0..60 => format!("{value}s"),
        60..3600 => format!("{}m{:02}s", value / 60, value % 60),
        3600..86_400 => format!("{}h{:02}m", value / 3600, value % 3600 / 60),
        _ => format!("{}d{:02}h", value / 86_400, value % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PoolRealRow, ServiceRealRow};
    use weir_model::{Counter, Counters, DropReason, Ledger, WorkerId};

    #[test]
    fn services_stand_in_aligned_columns_with_their_real_servers_below() {
        let row = ServiceRow {
            name: "web".to_owned(),
            listen: vec!["203.0.113.10:80".to_owned(), "203.0.113.11:80".to_owned()],
            protocol: "tcp".to_owned(),
            scheduler: "wlc".to_owned(),
            sessions: 1207,
            inactive: 7,
            sessions_per_s: 31,
            bytes_in: 2048,
            bytes_out: 5_000_000,
            reals: vec![ServiceRealRow {
                address: "10.0.1.11:80".to_owned(),
                weight: 3,
                state: "up".to_owned(),
                checked: true,
                sessions: 1200,
                inactive: 7,
                bytes_in: 1024,
                bytes_out: 5_000_000,
                ..ServiceRealRow::default()
            }],
            ..ServiceRow::default()
        };
        let text = services(&[row]);
        assert_eq!(
            text,
            "\
SERVICE  ADDRESS              SCHED  STATE   WEIGHT  ACTIVE  INACT  NEW/S      IN     OUT
web      203.0.113.10:80/tcp  wlc    1/1 up            1200      7     31  2.0KiB  4.7MiB
         203.0.113.11:80/tcp
         -> 10.0.1.11:80             up           3    1200      7         1.0KiB  4.7MiB
         -> none of these                                 0      0         1.0KiB      0B
"
        );
    }

    #[test]
    fn a_sorry_server_is_not_counted_among_the_real_servers_that_are_up() {
        let real = |address: &str, state: &str| ServiceRealRow {
            address: address.to_owned(),
            state: state.to_owned(),
            ..ServiceRealRow::default()
        };
        let row = ServiceRow {
            reals: vec![real("10.0.1.11:80", "up"), real("10.0.1.99:80", "sorry")],
            ..ServiceRow::default()
        };
        let text = services(&[row]);
        assert!(text.contains("1/1 up"), "{text}");
        assert!(text.contains("-> 10.0.1.99:80         sorry"), "{text}");
    }

    #[test]
    fn a_real_server_that_nobody_checks_is_not_said_to_be_up() {
        let row = ServiceRow {
            reals: vec![ServiceRealRow {
                address: "10.0.1.11:80".to_owned(),
                state: "up".to_owned(),
                ..ServiceRealRow::default()
            }],
            ..ServiceRow::default()
        };
        let text = services(&[row]);
        assert!(text.contains("-> 10.0.1.11:80         unchecked"), "{text}");
        assert!(!text.contains("none of these"), "{text}");
    }

    #[test]
    fn numbers_keep_at_least_two_digits_and_gain_a_unit_when_long() {
        for (value, text) in [
            (0, "0"),
            (999_999, "999999"),
            (1_000_000, "1.0M"),
            (12_345_678, "12.3M"),
            (123_456_789_012, "123G"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(count(value), text);
        }
        for (value, text) in [
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1_048_575, "1023KiB"),
            (1 << 30, "1.0GiB"),
            (u64::MAX, "15.9EiB"),
        ] {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(
            [0, 59, 60, 3599, 3600, 90_000].map(seconds),
            ["0s", "59s", "1m00s", "59m59s", "1h00m", "1d01h"]
        );
        assert_eq!(
            (share(1, 3), share(0, 0)),
            ("33%".to_owned(), "-".to_owned())
        );
    }

    #[test]
    fn the_ledger_shows_each_worker_what_was_dropped_and_whether_it_balances() {
        let mut first = Ledger {
            rx: 10,
            tx: 9,
            ..Ledger::default()
        };
        first.drop(DropReason::NoRoute);
        let second = Ledger {
            rx: 5,
            tx: 4,
            ..Ledger::default()
        };
        let mut counters = Counters::default();
        counters.count(Counter::SessionOpened);
        let text = ledger(&LedgerReply::new(&[
            (WorkerId(0), first, counters),
            (WorkerId(1), second, Counters::default()),
        ]));
        assert_eq!(
            text,
            "                     all  worker 0  worker 1
rx                    15        10         5
+ originated           0         0         0
+ handed in            0         0         0
= tx                  13         9         4
+ delivered            0         0         0
+ dropped              1         1         0
    no-route           1         1         0
+ held                 0         0         0
+ handed out           0         0         0
balanced              NO       yes        NO

what Weir did, beside the frames above (`weir help NAME` explains each)
session-opened         1         1         0
"
        );
    }

    #[test]
    fn a_pool_says_when_it_will_be_exhausted() {
        let text = pools(&[PoolRow {
            name: "blue".to_owned(),
            addresses: 2,
            ports_used: 100,
            reals: vec![PoolRealRow {
                real: "10.0.1.11:80/tcp".to_owned(),
                used: 100,
                free: 300,
                exhausted_in_s: Some(90),
            }],
            ..PoolRow::default()
        }]);
        let line = text.lines().last().unwrap_or_default();
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            ["10.0.1.11:80/tcp", "100", "300", "25%", "1m30s"]
        );
    }

    #[test]
    fn nothing_to_show_is_a_sentence() {
        assert_eq!(services(&[]), "no services\n");
        assert_eq!(pools(&[]), "no pools\n");
        assert_eq!(sessions(&[]), "no sessions\n");
        assert_eq!(ports(&[]), "no ports\n");
        assert_eq!(workers(&[]), "no workers\n");
    }

    #[test]
    fn tables_of_usual_size_fit_eighty_columns() {
        let port = PortRow {
            name: "wan".to_owned(),
            device: "ens1f0".to_owned(),
            driver: "af-xdp".to_owned(),
            queues: 4,
            link_up: true,
            speed_mbps: Some(25_000),
            mtu: 1500,
            rx: 123_456_789_012,
            tx: 123_456_789_012,
            ..PortRow::default()
        };
        let worker = WorkerRow {
            worker: 3,
            cpu: Some(5),
            poll: "adaptive".to_owned(),
            busy_percent: 37,
            sessions: 2_000_000,
            capacity: 2_000_000,
            rx: 123_456_789_012,
            tx: 123_456_789_012,
            ..WorkerRow::default()
        };
        let pool = PoolRow {
            name: "blue".to_owned(),
            addresses: 24,
            reals: vec![PoolRealRow {
                real: "10.0.1.11:443/tcp".to_owned(),
                used: 1_000_000,
                free: 1_000_000,
                exhausted_in_s: Some(90_000),
            }],
            ..PoolRow::default()
        };
        for text in [ports(&[port]), workers(&[worker]), pools(&[pool])] {
            for line in text.lines() {
                assert!(line.len() <= 80, "{} columns: {line}", line.len());
            }
        }
    }
}
