//! What ipvsadm's commands make of a configuration.

mod pools;
mod write;

use std::net::SocketAddr;

use crate::command::{At, Command, Endpoint, RealSettings, Refusal, ServiceSettings, syntax};
use crate::document::Document;
use crate::service::{Persist, Real, Service, services};

/// What came of commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edited {
    /// What the daemon is to run on.
    pub running: Document,
    /// Services that cannot serve yet: they lack a real server or a local address.
    pub pending: Document,
    /// What is to know, one sentence each.
    pub said: Vec<String>,
}

/// How a command that finds nothing to do is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// As a mistake, as ipvsadm does.
    Single,
    /// As done, so that what `-S` wrote can be restored on top of itself.
    Restoring,
}

/// Carries out commands on a configuration; all of them or none.
///
/// # Errors
/// Says which command is refused, and why.
pub fn edit(
    running: &Document,
    pending: &Document,
    commands: &[Command],
    strictness: Strictness,
) -> Result<Edited, (usize, Refusal)> {
    let mut whole = running.clone();
    for section in &pending.sections {
        // Somebody may have configured it since.
        if whole.find(&section.kind, &section.name).is_none() {
            whole.push(section.clone());
        }
    }
    let before = services(&whole);
    let mut editor = Editor::new(before.clone(), strictness);
    for (index, command) in commands.iter().enumerate() {
        editor.run(command).map_err(|refusal| (index, refusal))?;
    }
    let last = commands.len().saturating_sub(1);
    write::write(whole, &before, &editor.services).map_err(|refusal| (last, refusal))
}

/// Returns all services, those that cannot serve yet last.
#[must_use]
pub fn all_services(running: &Document, pending: &Document) -> Vec<Service> {
    let mut all = services(running);
    let waiting = services(pending).into_iter();
    let waiting: Vec<Service> = waiting
        .filter(|service| all.iter().all(|other| other.at != service.at))
        .collect();
    all.extend(waiting);
    all
}

/// Carries commands out on services, as LVS does.
pub(crate) struct Editor {
    pub(crate) services: Vec<Service>,
    strictness: Strictness,
}

impl Editor {
    pub(crate) fn new(services: Vec<Service>, strictness: Strictness) -> Self {
        Self {
            services,
            strictness,
        }
    }

    pub(crate) fn run(&mut self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::AddService(at, settings) => self.add_service(*at, settings),
            Command::EditService(at, settings) => {
                set_service(self.service(at)?, settings);
                Ok(())
            }
            Command::DeleteService(at) => {
                self.service(at)?;
                self.services.retain(|service| service.at != *at);
                Ok(())
            }
            Command::Clear => {
                self.services.clear();
                Ok(())
            }
            Command::AddReal(at, real, settings) => self.add_real(at, *real, *settings),
            Command::EditReal(at, real, settings) => {
                let at_real = real.of(at);
                let service = self.service(at)?;
                set_real(find_real(service, at_real)?, *settings)
            }
            Command::DeleteReal(at, real) => {
                let at_real = real.of(at);
                let service = self.service(at)?;
                find_real(service, at_real)?;
                service.reals.retain(|real| real.at != at_real);
                Ok(())
            }
            Command::AddLocal(at, local) => {
                let strictness = self.strictness;
                let service = self.service(at)?;
                if service.locals.contains(local) {
                    return match strictness {
                        Strictness::Restoring => Ok(()),
                        Strictness::Single => {
                            syntax(format!("{at} has the local address {local} already"))
                        }
                    };
                }
                service.locals.push(*local);
                Ok(())
            }
            Command::DeleteLocal(at, local) => {
                let service = self.service(at)?;
                if !service.locals.contains(local) {
                    return syntax(format!("{at} has no local address {local}; -G lists them"));
                }
                service.locals.retain(|other| other != local);
                Ok(())
            }
            Command::SetTimeouts { tcp, tcpfin, udp } => {
                self.set_timeouts(*tcp, *tcpfin, *udp);
                Ok(())
            }
            Command::ListLocal(_)
            | Command::List(_)
            | Command::Save
            | Command::Restore
            | Command::Help
            | Command::Version => syntax("it changes nothing and cannot stand among changes"),
        }
    }

    fn service(&mut self, at: &At) -> Result<&mut Service, Refusal> {
        let found = self.services.iter_mut().find(|service| service.at == *at);
        found.ok_or_else(|| {
            Refusal::Syntax(format!(
                "there is no service {at}; add it with -A, `ipvsadm -ln` lists what there is"
            ))
        })
    }

    fn add_service(&mut self, at: At, settings: &ServiceSettings) -> Result<(), Refusal> {
        if let Some(there) = self.services.iter().find(|service| service.at == at) {
            let mut wanted = there.clone();
            if settings.scheduler.is_none() {
                "wlc".clone_into(&mut wanted.scheduler);
            }
            set_service(&mut wanted, settings);
            wanted.idle_given = there.idle_given;
            if self.strictness == Strictness::Restoring && wanted == *there {
                return Ok(());
            }
            return syntax(format!("there is a service {at} already; -E changes it"));
        }
        let section = self.free_name(&at);
        let mut service = Service::new(at, section);
        set_service(&mut service, settings);
        self.services.push(service);
        Ok(())
    }

    /// Makes a name for a `[service]` that none has.
    fn free_name(&self, at: &At) -> String {
        let first = name_of(at);
        let numbered = (2..).map(|number| format!("{first}-{number}"));
        let mut names = std::iter::once(first.clone()).chain(numbered);
        let free = names.find(|name| self.services.iter().all(|s| s.section != *name));
        free.unwrap_or(first)
    }

    fn add_real(
        &mut self,
        at: &At,
        endpoint: Endpoint,
        settings: RealSettings,
    ) -> Result<(), Refusal> {
        let strictness = self.strictness;
        let at_real = endpoint.of(at);
        let service = self.service(at)?;
        let mut real = Real {
            at: at_real,
            weight: 1,
            upper: None,
            lower: None,
            rest: Vec::new(),
        };
        set_real(&mut real, settings)?;
        if let Some(there) = service.reals.iter().find(|real| real.at == at_real) {
            let same = (there.weight, there.upper, there.lower);
            if strictness == Strictness::Restoring && same == (real.weight, real.upper, real.lower)
            {
                return Ok(());
            }
            return syntax(format!(
                "{at} has the real server {at_real} already; -e changes it"
            ));
        }
        service.reals.push(real);
        Ok(())
    }

    fn set_timeouts(&mut self, tcp: u32, tcpfin: u32, udp: u32) {
        for service in &mut self.services {
            let idle = match service.at.protocol {
                weir_model::Protocol::Tcp => tcp,
                weir_model::Protocol::Udp => udp,
            };
            if idle != 0 {
                if service.fin_wait == service.idle {
                    service.fin_wait = idle;
                }
                service.idle = idle;
                service.idle_given = true;
            }
            if tcpfin != 0 && service.at.protocol == weir_model::Protocol::Tcp {
                service.fin_wait = tcpfin;
            }
        }
    }
}

/// Makes a name from an address: `tcp-203.0.113.10-80`.
pub(crate) fn name_of(at: &At) -> String {
    let address = at.address.to_string().replace(':', "-");
    format!("{}-{address}-{}", at.protocol.name(), at.port)
}

fn set_service(service: &mut Service, settings: &ServiceSettings) {
    if let Some(scheduler) = settings.scheduler {
        scheduler.clone_into(&mut service.scheduler);
    }
    if let Some(seconds) = settings.persist {
        let whole = if service.at.address.is_ipv4() {
            32
        } else {
            128
        };
        let prefix = settings.mask.unwrap_or(whole);
        service.persist = Some(Persist { seconds, prefix });
    }
    if let Some(on) = settings.synproxy {
        service.synproxy = on;
    }
    if let Some(idle) = settings.idle {
        if service.fin_wait == service.idle {
            service.fin_wait = idle;
        }
        service.idle = idle;
        service.idle_given = true;
    }
}

fn find_real(service: &mut Service, real_at: SocketAddr) -> Result<&mut Real, Refusal> {
    let at = service.at;
    let found = service.reals.iter_mut().find(|real| real.at == real_at);
    found.ok_or_else(|| {
        Refusal::Syntax(format!(
            "{at} has no real server {real_at}; `ipvsadm -ln` lists them"
        ))
    })
}

fn set_real(real: &mut Real, settings: RealSettings) -> Result<(), Refusal> {
    if let Some(weight) = settings.weight {
        real.weight = weight;
    }
    let limit = |new: Option<u32>, old| new.map_or(old, |limit| Some(limit).filter(|l| *l != 0));
    real.upper = limit(settings.upper, real.upper);
    real.lower = limit(settings.lower, real.lower);
    match (real.upper, real.lower) {
        (None, Some(_)) => {
            syntax("-y says when a full real server takes sessions again, which needs -x")
        }
        (Some(upper), Some(lower)) if lower > upper => {
            syntax(format!("-y {lower} is greater than -x {upper}"))
        }
        (_, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
