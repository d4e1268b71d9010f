//! From a keepalived.conf, or a dump of ipvsadm, to a weir.conf.

pub(crate) mod draft;
mod dump;
mod pools;
mod ports;
mod probe;
mod text;

use crate::keepalived::{self, Files};
use crate::names::Names;
use crate::note::{Note, Notes, Severity};
use crate::service::range;
use draft::{Draft, DraftSection};
pub use ports::PortGiven;

/// What the file cannot know.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The ports of the machine; without any the result has lines to fill in.
    pub ports: Vec<PortGiven>,
    /// Local addresses of services that name none.
    pub lips: Vec<String>,
}

/// A weir.conf, and what is to know about it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The file; none when the input cannot be read.
    pub text: Option<String>,
    /// What was not carried over and why, in the order of the input.
    pub notes: Vec<Note>,
    /// The mistakes that a whole result still has, as `weir check` would report them.
    pub report: Option<weir_conf::Report>,
}

/// Makes a weir.conf of a file.
pub fn import(
    name: &str,
    text: &str,
    files: &dyn Files,
    names: &dyn Names,
    given: &Given,
) -> Imported {
    made(name, text, files, names, given, &probe::refuse)
}

/// Leaves out of a draft what a build does not take.
type Refuse = dyn Fn(&mut Draft, &[PortGiven], &mut Notes);

fn made(
    name: &str,
    text: &str,
    files: &dyn Files,
    names: &dyn Names,
    given: &Given,
    refuse: &Refuse,
) -> Imported {
    let mut notes = Notes::default();
    let lip = (!given.lips.is_empty()).then_some("lip");
    for lip in given.lips.iter().filter(|lip| range(lip).is_none()) {
        let text = format!("--lip {lip} is no address, range FIRST-LAST or network");
        notes.add(None, Severity::Bad, text);
    }
    let mut draft = if dump::is_dump(text) {
        dump::read(name, text, names, lip, &mut notes)
    } else {
        keepalived::read(name, text, files, lip, &mut notes)
    };
    if let Some(lip) = lip {
        let mut pool = DraftSection::new("lip-pool", lip, None);
        for address in &given.lips {
            let place = crate::note::Place {
                file: "--lip".into(),
                line: 1,
            };
            pool.add("address", address, &place, "--lip");
        }
        draft.sections.push(pool);
    }
    if draft.sections.is_empty() && !notes.has_left_out() {
        let text =
            format!("{name} has nothing of a keepalived.conf or of what `ipvsadm -S` writes");
        notes.add(None, Severity::Bad, text);
    }
    if notes.has_bad() {
        return Imported {
            text: None,
            notes: notes.into_sorted(),
            report: None,
        };
    }
    without_local_addresses(&mut draft, &mut notes);
    pools::join(&mut draft, &mut notes);
    ports::place(&mut draft, &given.ports, &mut notes);
    order(&mut draft);
    refuse(&mut draft, &given.ports, &mut notes);
    timeouts(&draft, &mut notes);
    if draft.of_kind("service").all(|s| s.refused.is_some()) {
        let text = "there is no service in it that Weir can serve".to_owned();
        notes.add(None, Severity::Advice, text);
    }
    let text = text::write(name, &draft, &given.ports);
    let report = if given.ports.is_empty() {
        None
    } else {
        weir_conf::parse_str("weir.conf", &text, None).err()
    };
    Imported {
        text: Some(text),
        notes: notes.into_sorted(),
        report,
    }
}

fn without_local_addresses(draft: &mut Draft, notes: &mut Notes) {
    for service in &mut draft.sections {
        let is_other = service.kind != "service" || service.has_key("lip-pool");
        if is_other || service.has_key("forward") {
            continue;
        }
        let reason = "it has no local addresses (laddr_group_name, -P); say which with --lip";
        service.refused = Some(reason.to_owned());
        let text = format!("[service {}]: {reason}", service.name);
        notes.add(service.place.as_ref(), Severity::LeftOut, text);
    }
}

/// Brings sections into the order of a file that is read from top to bottom.
fn order(draft: &mut Draft) {
    let rank = |section: &DraftSection| match section.kind {
        "node" => 0,
        "lip-pool" => 1,
        "health" => 2,
        _ => 3,
    };
    draft.sections.sort_by_key(rank);
}

/// LVS has timeouts that are in neither file.
fn timeouts(draft: &Draft, notes: &mut Notes) {
    let silent = |s: &DraftSection| {
        let udp = s
            .lines
            .iter()
            .any(|l| l.key == "listen" && l.value.ends_with("/udp"));
        s.refused.is_none() && !udp && !s.has_key("idle")
    };
    if draft.of_kind("service").any(silent) {
        let text = "services without a timeout of their own keep silent sessions 15m, LVS does so for 90 s unless its sysctl says otherwise; `idle` changes it";
        notes.add(None, Severity::Advice, text.to_owned());
    }
}

#[cfg(test)]
mod tests;
