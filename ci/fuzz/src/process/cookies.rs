//! A naive model of what cookies promise: whoever opens a session at a service that asks for
//! cookies was sent one, for exactly this tuple, not too long ago.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use weir_model::{
    ClientWindow, DropReason, Protocol, Service, Snapshot, SynproxyMode, Time, TimestampMode,
    Verdict,
};
use weir_wire::{L4, Parsed, SeqNumber};

use super::segment::{Options, Segment};
use super::{Tuple, service_at};

/// How long a cookie of any profile is good at least: a third of the shortest lifetime.
const FRESH: Duration = Duration::from_secs(5);
/// When cookies are forgotten: after the longest lifetime.
const FORGOTTEN: Duration = Duration::from_secs(64);
/// Cookies that are remembered at least.
const REMEMBERED: usize = 64;
/// The smallest maximum segment size that a cookie can hold, and what stands for none.
const LEAST_MSS: u16 = 536;

/// A cookie that came out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issue {
    /// The client's initial sequence number.
    pub(super) isn: SeqNumber,
    /// The sequence number of the SYN-ACK.
    pub(super) cookie: SeqNumber,
    /// The `TSval` of the SYN-ACK.
    pub(super) timestamps: Option<u32>,
    at: Time,
    /// How long it is good at most.
    lifetime: Duration,
    /// Whether the configuration has changed since.
    reloaded: bool,
    /// Whether what was learned of the real servers has changed since.
    drifted: bool,
    /// What the client offered.
    wanted: Options,
    /// What the client was offered.
    offered: Options,
}

/// The cookies that came out, and who was let in by one.
#[derive(Default)]
pub(super) struct Cookies {
    issued: Vec<(Tuple, Issue)>,
    /// The cookie of each tuple's latest session, and whether its client showed timestamps.
    admitted: BTreeMap<Tuple, (Issue, bool)>,
}

/// Says whether a verdict means that a cookie was not recognised.
pub(super) const fn says_unknown(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Drop(DropReason::BadCookie | DropReason::StaleCookie | DropReason::NoSession)
    )
}

impl Cookies {
    /// Says whether a frame has any right to open a session.
    pub(super) fn may_open(&self, snapshot: &Snapshot, now: Time, frame: &[u8]) -> bool {
        let Some(segment) = Segment::of(frame) else {
            let parsed = Parsed::parse(frame);
            let v4 = parsed.as_ref().ok().and_then(Parsed::v4);
            return v4.is_some_and(|it| matches!(it.l4_kind, L4::Udp { .. }));
        };
        if segment.is_syn() {
            return service_at(snapshot, segment.tuple.1, Protocol::Tcp)
                .is_some_and(|it| it.synproxy.mode != SynproxyMode::Always);
        }
        // Where no service listens any more there may be an old session to be taken over.
        self.proof(now, &segment).is_some()
    }

    /// Says whether a tuple has an issue that must be recognised: young, of this configuration, of
    /// a service that asks for cookies always.
    pub(super) fn is_fresh(&self, snapshot: &Snapshot, now: Time, frame: &[u8]) -> bool {
        let Some(segment) = Segment::of(frame) else {
            return false;
        };
        let asks = service_at(snapshot, segment.tuple.1, Protocol::Tcp)
            .is_some_and(|it| it.synproxy.mode == SynproxyMode::Always);
        asks && self
            .proof(now, &segment)
            .is_some_and(|issue| !issue.reloaded && now.since(issue.at) < FRESH)
    }

    /// Returns one of the cookies.
    pub(super) fn nth(&self, at: u8) -> Option<(Tuple, Issue)> {
        // Most often one of the latest.
        let back = match at {
            0..160 => at % 4,
            _ => at % REMEMBERED as u8,
        };
        let count = self.issued.len();
        let at = count.checked_sub(1 + usize::from(back).checked_rem(count)?)?;
        self.issued.get(at).copied()
    }

    /// Notes that the configuration changed.
    pub(super) fn reload(&mut self) {
        for (_, issue) in &mut self.issued {
            issue.reloaded = true;
        }
    }

    /// Notes that what was learned of the real servers changed.
    pub(super) fn drift(&mut self) {
        for (_, issue) in &mut self.issued {
            issue.drifted = true;
        }
    }

    /// Remembers the cookie that answered a SYN, and takes it out of the answers.
    pub(super) fn issue(
        &mut self,
        snapshot: &Snapshot,
        now: Time,
        syn: &Segment,
        sent: &mut Vec<Segment>,
    ) {
        let service = service_at(snapshot, syn.tuple.1, Protocol::Tcp);
        let place = sent.iter().position(|it| answers(it, syn));
        let Some(place) = place else {
            return;
        };
        let answer = sent.remove(place);
        if self.issued.len() >= REMEMBERED {
            self.issued
                .retain(|(_, issue)| now.since(issue.at) <= FORGOTTEN);
        }
        let issue = Issue {
            isn: syn.seq,
            cookie: answer.seq,
            timestamps: answer.options.timestamps.map(|(value, _)| value),
            at: now,
            // Where no service listens any more the client has an old session.
            lifetime: service.map_or(FORGOTTEN, |it| it.synproxy.cookie_lifetime),
            reloaded: false,
            drifted: false,
            wanted: syn.options,
            offered: answer.options,
        };
        self.issued.push((syn.tuple, issue));
    }

    /// Judges what became of one frame that came alone.
    pub(super) fn judge(
        &mut self,
        snapshot: &Snapshot,
        now: Time,
        segment: &Segment,
        outcome: (Verdict, u64),
        sent: &[Segment],
    ) -> Result<()> {
        let (verdict, opened) = outcome;
        let service = service_at(snapshot, segment.tuple.1, Protocol::Tcp);
        if let (Verdict::Reply, Some(service)) = (verdict, service)
            && let Some(answer) = sent.iter().find(|it| answers(it, segment))
        {
            check_offer(service, segment, answer)?;
        }
        if opened == 0 {
            return Ok(());
        }
        let (Some(issue), Some(service)) = (self.proof(now, segment), service) else {
            self.admitted.remove(&segment.tuple);
            return Ok(());
        };
        let strips = service.timestamps == TimestampMode::Strip;
        let timestamps = segment.options.timestamps.is_some() && !strips;
        self.admitted.insert(segment.tuple, (issue, timestamps));
        Ok(())
    }

    /// Forgets who was let in by what, because a burst does not tell.
    pub(super) fn forget(&mut self, tuple: &Tuple) {
        self.admitted.remove(tuple);
    }

    /// Checks the SYN to a real server against what its client and Weir agreed on.
    pub(super) fn check_syn(&self, tuple: &Tuple, syn: &Segment) -> Result<()> {
        let Some((issue, timestamps)) = self.admitted.get(tuple) else {
            return Ok(());
        };
        let (is, wanted, offered) = (&syn.options, &issue.wanted, &issue.offered);
        let most = wanted.mss.unwrap_or(LEAST_MSS).max(LEAST_MSS);
        ensure!(
            is.mss.is_some_and(|mss| mss <= most),
            "a maximum segment size of {:?} where the client can take {most}",
            is.mss
        );
        ensure!(
            is.sack == (wanted.sack && offered.sack),
            "SACK is {} where {wanted:?} was answered by {offered:?}",
            is.sack
        );
        let wscale = offered.wscale.and(wanted.wscale).map(|it| it.min(14));
        ensure!(
            is.wscale == wscale || issue.reloaded,
            "a window scale of {:?} where {wanted:?} was answered by {offered:?}",
            is.wscale
        );
        // Who shows timestamps that he was not offered may get them or not.
        let changed = issue.reloaded || issue.drifted;
        let agreed = offered.timestamps.is_some() && *timestamps && !changed;
        ensure!(
            if is.timestamps.is_some() {
                *timestamps
            } else {
                !agreed
            },
            "timestamps are {:?} where {offered:?} was offered and {timestamps} shown",
            is.timestamps
        );
        Ok(())
    }

    /// Returns the cookie in force that a segment shows.
    fn proof(&self, now: Time, segment: &Segment) -> Option<Issue> {
        if !segment.is_ack() {
            return None;
        }
        let mut all = self.issued.iter().rev();
        let found = all.find(|(tuple, issue)| {
            *tuple == segment.tuple
                && issue.isn + 1 == segment.seq
                && issue.cookie + 1 == segment.ack
                && now.since(issue.at) <= issue.lifetime
        });
        found.map(|(_, issue)| *issue)
    }
}

/// Says whether a segment is the SYN-ACK to a SYN.
fn answers(answer: &Segment, syn: &Segment) -> bool {
    let (client, vip) = syn.tuple;
    syn.is_syn()
        && answer.is_syn_ack()
        && answer.tuple == (vip, client)
        && answer.ack == syn.seq + 1
}

/// A SYN-ACK is made from scratch, no longer than it must be, and offers nothing that the client
/// did not ask for.
fn check_offer(service: &Service, syn: &Segment, answer: &Segment) -> Result<()> {
    let (wanted, offered) = (&syn.options, &answer.options);
    let head = (answer.ttl, answer.tos, answer.ident, answer.dont_fragment);
    ensure!(
        head == (64, 0, 0, true),
        "a TTL, TOS, identification and DF of {head:?}"
    );
    ensure!(
        answer.eth == (syn.eth.1, syn.eth.0),
        "not sent back to where the SYN came from"
    );
    ensure!(answer.len == 0, "a SYN-ACK with a payload");
    ensure!(
        answer.ip_len <= syn.ip_len + if wanted.mss.is_none() { 4 } else { 0 },
        "a SYN-ACK of {} bytes to a SYN of {}",
        answer.ip_len,
        syn.ip_len
    );
    ensure!(
        (offered.wscale.is_none() || wanted.wscale.is_some())
            && (!offered.sack || wanted.sack)
            && (offered.timestamps.is_none() || wanted.timestamps.is_some()),
        "{wanted:?} was answered by {offered:?}"
    );
    if let (Some((_, echo)), Some((value, _))) = (offered.timestamps, wanted.timestamps) {
        ensure!(echo == value, "a TSecr of {echo} to a TSval of {value}");
    }
    let window = u32::from(answer.window);
    match service.synproxy.client_window {
        ClientWindow::Closed if window > 0 => {
            bail!("a window of {window} although no data is wanted yet")
        }
        ClientWindow::Open | ClientWindow::Closed => {}
    }
    ensure!(
        window <= service.synproxy.early_data,
        "a window of {window} although less is held"
    );
    Ok(())
}
