//! Questions about a real server: what is left of its service once it takes no new sessions.

use weir_control::{Request, ServiceRealRow, ServiceRow};

use crate::model::dialog::{Ask, Deed, Dialog, Rung};
use crate::model::services::Name;
use crate::model::{Model, Tone};
use crate::units::{exact, plural, span};
use crate::update::screen::Effects;

/// What is left of a service once a real server has another weight.
struct Left {
    reals: u64,
    of: u64,
    weight: u64,
    of_weight: u64,
    /// Whether nobody takes its new sessions any more.
    stops: bool,
    /// The weight that is needed and was there, and is not any more; and that which is there.
    quorum: Option<(u64, u64)>,
    has_sorry: bool,
}

impl Left {
    fn of(service: &ServiceRow, real: &ServiceRealRow, weight: u32) -> Self {
        let others = || {
            let reals = service.reals.iter();
            reals.filter(|other| other.address != real.address)
        };
        let sum = |state: fn(&str) -> bool| -> u64 {
            let with = others().filter(|other| state(&other.state));
            with.map(|other| u64::from(other.weight)).sum()
        };
        let is_up = |state: &str| matches!(state, "up" | "full");
        let is_real = |state: &str| state != "sorry";
        let takes = u64::from(real.state == "up" && weight > 0);
        let reals = others().filter(|other| other.state == "up").count() as u64 + takes;
        let up = |weight: u32| {
            let own = if is_up(&real.state) { weight } else { 0 };
            sum(is_up) + u64::from(own)
        };
        let quorum = service.quorum.filter(|quorum| {
            let (before, after) = (up(real.weight), up(weight));
            before >= *quorum && after < *quorum
        });
        Self {
            reals,
            of: others().filter(|other| is_real(&other.state)).count() as u64 + 1,
            weight: sum(|state| state == "up") + takes * u64::from(weight),
            of_weight: sum(is_real) + u64::from(real.weight),
            stops: reals == 0 && real.state == "up",
            quorum: quorum.map(|quorum| (quorum, up(weight))),
            has_sorry: service.reals.iter().any(|other| other.state == "sorry"),
        }
    }

    fn lines(&self, service: &str) -> Vec<String> {
        let mut lines = vec![format!(
            "What is left: {} of {} real servers, weight {} of {}.",
            self.reals,
            self.of,
            exact(self.weight),
            exact(self.of_weight)
        )];
        if self.stops {
            let then = if self.has_sorry {
                format!("the sorry server of {service} takes its new sessions.")
            } else {
                format!("{service} refuses all new sessions.")
            };
            lines.push(format!("NO REAL SERVER IS LEFT: {then}"));
        } else if let Some((needed, left)) = self.quorum {
            lines.push(format!(
                "NO QUORUM: a weight of {} is up then, {} is needed:",
                exact(left),
                exact(needed)
            ));
            lines.push(if self.has_sorry {
                format!("the sorry server of {service} takes its new sessions.")
            } else {
                format!("the addresses of {service} are no longer answered for.")
            });
        }
        lines
    }

    fn rung(&self, service: &str, verb: &str) -> Rung {
        if self.stops || self.quorum.is_some() {
            return Rung::Stops {
                object: service.to_owned(),
            };
        }
        Rung::Capacity {
            verb: verb.to_owned(),
        }
    }
}

/// Returns the question that stands before a request of a real server, with what it leads to in
/// numbers; none where it takes nothing that matters, or the real server is not known.
pub(super) fn question(model: &Model, request: &Request) -> Option<Dialog> {
    let (Request::Drain { service, real, .. } | Request::Weight { service, real, .. }) = request
    else {
        return None;
    };
    let name = Name {
        service: service.clone(),
        real: Some(real.clone()),
    };
    let (service, real) = model.data.real(&name)?;
    if let Request::Weight { weight, .. } = request {
        let weight = u32::from((*weight)?);
        return weight_question(service, real, weight, request);
    }
    Some(drain_question(service, real, request))
}

/// Asks before a real server gets no new sessions.
pub(crate) fn drain(model: &mut Model, service: &ServiceRow, real: &ServiceRealRow) -> Effects {
    if real.state == "drain" {
        let text = format!("{} is drained already; e enables it", real.address);
        model.say(Tone::Warn, text);
        return Effects::new();
    }
    let request = Request::Drain {
        service: service.name.clone(),
        real: real.address.clone(),
        deadline_ms: None,
        then: None,
    };
    let question = drain_question(service, real, &request);
    model.question(question);
    Effects::new()
}

fn drain_question(service: &ServiceRow, real: &ServiceRealRow, request: &Request) -> Dialog {
    let (mut lasts, mut then) = (None, None);
    if let Request::Drain {
        deadline_ms,
        then: ordered,
        ..
    } = request
    {
        (lasts, then) = (*deadline_ms, ordered.as_deref());
    }
    // Those that are over, or not open yet, have nobody who would miss them.
    let open = plural(real.sessions, "open session");
    let (lasts, then) = match (lasts, then) {
        (None, None) => (
            format!("{open} may go on"),
            "until they end, or as long as `drain` of the service says, if it has one.".to_owned(),
        ),
        (Some(ms), then) => (
            format!("{open} may go on for {},", span(ms.div_ceil(1000))),
            match then {
                Some(then) => format!("then: {then}."),
                None => {
                    "then they are reset, or kept if `drain` of the service says so.".to_owned()
                }
            },
        ),
        (None, Some(then)) => (
            format!("{open} may go on until they end,"),
            format!("or as long as `drain` of the service says, then: {then}."),
        ),
    };
    let left = Left::of(service, real, 0);
    let mut lines = vec![
        format!("{}   in service {}", real.address, service.name),
        String::new(),
        format!("New sessions stop now.  {lasts}"),
        then,
    ];
    lines.extend(left.lines(&service.name));
    lines.push("Undo with  e  at any time.".to_owned());
    let deed = Deed::Send {
        what: format!("drain of {}@{}", real.address, service.name),
        request: request.clone(),
    };
    let rung = left.rung(&service.name, "drain");
    Dialog::confirm("Drain real server", lines, rung, deed)
}

/// A weight stops what it leaves nobody for: that is asked as a drain is.
fn weight_question(
    service: &ServiceRow,
    real: &ServiceRealRow,
    weight: u32,
    request: &Request,
) -> Option<Dialog> {
    let left = Left::of(service, real, weight);
    if !left.stops && left.quorum.is_none() {
        return None;
    }
    let mut lines = vec![
        format!("{}   in service {}", real.address, service.name),
        String::new(),
        format!("Its weight becomes {weight}; it is {} now.", real.weight),
    ];
    lines.extend(left.lines(&service.name));
    lines.push("Undo with  u  once it is done.".to_owned());
    let deed = Deed::Send {
        what: format!("weight of {}@{}", real.address, service.name),
        request: request.clone(),
    };
    let rung = left.rung(&service.name, "weight");
    Some(Dialog::confirm("Weigh real server", lines, rung, deed))
}

/// Gives a real server new sessions again: that takes nothing from anybody.
pub(crate) fn enable(model: &mut Model, service: &ServiceRow, real: &ServiceRealRow) -> Effects {
    let request = Request::Enable {
        service: service.name.clone(),
        real: real.address.clone(),
    };
    let what = format!("enable of {}@{}", real.address, service.name);
    model.order(what, request)
}

/// Asks for the weight of a real server.
pub(crate) fn weight(model: &mut Model, service: &ServiceRow, real: &ServiceRealRow) -> Effects {
    let all: u32 = service.reals.iter().map(|it| it.weight).sum();
    let lines = vec![
        format!("{}   in service {}", real.address, service.name),
        String::new(),
        format!("Its weight is {} of {all} of the service.", real.weight),
        "0 gives it no new sessions; default is what is configured.".to_owned(),
    ];
    let ask = Ask::Weight {
        service: service.name.clone(),
        real: real.address.clone(),
    };
    let prompt = "Weight, 0 to 65535, or default:".to_owned();
    model.question(Dialog::ask("Weigh real server", lines, prompt, ask));
    Effects::new()
}

/// Reads a weight.
pub(super) fn read_weight(typed: &str) -> Result<Option<u16>, String> {
    if typed == "default" {
        return Ok(None);
    }
    let weight: Result<u16, _> = typed.parse();
    weight
        .map(Some)
        .map_err(|_| "it is 0 to 65535, or default".to_owned())
}
