//! Reads what `ipvsadm -S` wrote.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::command::{At, Command, Refusal};
use crate::edit::{Editor, Strictness, name_of};
use crate::import::draft::{Draft, DraftSection};
use crate::names::Names;
use crate::note::{Notes, Place};
use crate::save::commands;
use crate::service::{Service, duration, write_ranges};

/// Says whether a text is a dump: its first word is an option.
pub(super) fn is_dump(text: &str) -> bool {
    let lines = text.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    lines.next().is_some_and(|line| {
        let rest = line.strip_prefix("ipvsadm").unwrap_or(line).trim_start();
        rest.starts_with('-')
    })
}

/// Reads a dump into a draft: the commands are carried out on an empty configuration.
pub(super) fn read(
    name: &str,
    text: &str,
    names: &dyn Names,
    lip: Option<&str>,
    notes: &mut Notes,
) -> Draft {
    let file: Arc<str> = name.into();
    let place = |line| Place {
        file: file.clone(),
        line,
    };
    let mut editor = Editor::new(Vec::new(), Strictness::Single);
    let mut first_lines: Vec<(At, usize)> = Vec::new();
    let mut lines_of_reals: BTreeMap<(At, SocketAddr), usize> = BTreeMap::new();
    let mut lines_of_locals: BTreeMap<(At, IpAddr), usize> = BTreeMap::new();
    for (line, command) in commands(text, names) {
        let command = match command {
            Ok(command) => command,
            Err(Refusal::Syntax(text)) => {
                notes.bad(&place(line), text);
                continue;
            }
            Err(Refusal::Unsupported(text)) => {
                notes.left_out(&place(line), text);
                continue;
            }
        };
        if matches!(command, Command::SetTimeouts { .. }) {
            let text =
                "--set: timeouts belong to services: `idle`, `timeout-fin-wait`; -V sets the first";
            notes.left_out(&place(line), text);
            continue;
        }
        if let Command::AddService(at, _) = &command {
            first_lines.push((*at, line));
        }
        if let Command::AddReal(at, real, _) = &command {
            lines_of_reals.insert((*at, real.of(at)), line);
        }
        if let Command::AddLocal(at, local) = &command {
            lines_of_locals.entry((*at, *local)).or_insert(line);
        }
        match editor.run(&command) {
            Ok(()) => {}
            Err(_) if is_without_service(&command, &first_lines) => {
                let text = "its service is not in the dump, or was left out";
                notes.left_out(&place(line), text);
            }
            Err(refusal) => notes.bad(&place(line), refusal.to_string()),
        }
    }
    let shared = shared(&editor.services);
    for (key @ (_, local), line) in &lines_of_locals {
        if let Some(other) = shared.get(key) {
            let text = format!("{local} is a local address of {other} as well: both use one pool");
            notes.advice(&place(*line), text);
        }
    }
    let mut draft = Draft::default();
    for service in editor.services {
        let line = first_lines.iter().find(|(at, _)| *at == service.at);
        let at = place(line.map_or(0, |(_, line)| *line));
        let pool = if service.locals.is_empty() {
            lip.map(str::to_owned)
        } else {
            let mut locals = service.locals.clone();
            locals.sort_unstable();
            let pool = draft.free_name("lip-pool", &format!("laddr-{}", name_of(&service.at)));
            let mut section = DraftSection::new("lip-pool", &pool, Some(&at));
            for value in write_ranges(&locals) {
                section.add("address", value, &at, "-P");
            }
            draft.sections.push(section);
            Some(pool)
        };
        let mut section = DraftSection::new("service", &service.section, Some(&at));
        section.add_vital("listen", service.at.to_string(), &at, "-A");
        if let Some(pool) = pool {
            section.add_vital("lip-pool", pool, &at, "-P");
        }
        section.add("scheduler", &service.scheduler, &at, "-s");
        if service.synproxy {
            section.add("synproxy", "always", &at, "-j");
        }
        if service.idle_given {
            section.add("idle", duration(service.idle), &at, "-V");
        }
        if let Some(persist) = service.persist {
            let value = format!("{}  per=/{}", duration(persist.seconds), persist.prefix);
            section.add("persist", value, &at, "-p");
        }
        if service.reals.is_empty() {
            let text = format!("{}: a service without a real server (-a)", service.at);
            notes.left_out(&at, text);
            section.refused = Some("it has no real server".to_owned());
        }
        for real in &service.reals {
            let line = lines_of_reals.get(&(service.at, real.at));
            let at = line.map_or_else(|| at.clone(), |line| place(*line));
            section.add("real", real.value(), &at, "-a");
        }
        draft.sections.push(section);
    }
    draft
}

/// Returns for local addresses of services a service that has the address, too, but not the same ones
/// in all: their pools become one, in which the address counts once.
fn shared(services: &[Service]) -> BTreeMap<(At, IpAddr), At> {
    // Services with the same addresses are one group, named after its first.
    let mut groups: BTreeMap<Vec<IpAddr>, At> = BTreeMap::new();
    let mut group_of = Vec::new();
    for service in services {
        let mut locals = service.locals.clone();
        locals.sort_unstable();
        group_of.push(*groups.entry(locals).or_insert(service.at));
    }
    let mut having: BTreeMap<IpAddr, Vec<At>> = BTreeMap::new();
    for (locals, group) in &groups {
        for local in locals {
            having.entry(*local).or_default().push(*group);
        }
    }
    let mut shared = BTreeMap::new();
    for (service, group) in services.iter().zip(group_of) {
        for local in &service.locals {
            let mut groups = having.get(local).into_iter().flatten();
            if let Some(other) = groups.find(|other| **other != group) {
                shared.insert((service.at, *local), *other);
            }
        }
    }
    shared
}

/// Says whether a command is about a service that no `-A` before it added.
fn is_without_service(command: &Command, added: &[(At, usize)]) -> bool {
    let at = match command {
        Command::EditService(at, _)
        | Command::DeleteService(at)
        | Command::AddReal(at, ..)
        | Command::EditReal(at, ..)
        | Command::DeleteReal(at, _)
        | Command::AddLocal(at, _)
        | Command::DeleteLocal(at, _) => at,
        Command::AddService(..)
        | Command::Clear
        | Command::ListLocal(_)
        | Command::List(_)
        | Command::Save
        | Command::Restore
        | Command::SetTimeouts { .. }
        | Command::Help
        | Command::Version => return false,
    };
    added.iter().all(|(known, _)| known != at)
}
