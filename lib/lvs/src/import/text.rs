//! Writes a draft as a file.

use std::fmt::Write;

use super::draft::{Draft, DraftLine, DraftSection};
use super::ports::{FILL_IN, PortGiven};

/// How wide the column of keys is.
const KEYS: usize = 16;

/// Whose a line of the probe is: the section, and its line where it is not the heading.
pub(super) type Owner = Option<(usize, Option<usize>)>;

/// Writes the file for people.
pub(super) fn write(name: &str, draft: &Draft, ports: &[PortGiven]) -> String {
    let name: String = name
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let mut text = format!(
        "# Made from {name} by `weir import`. What was left out stands as a comment in its\n# place. Read it, then `weir check` it.\n"
    );
    for section in draft.sections.iter().filter(|s| s.kind == "node") {
        section_text(&mut text, section);
    }
    port_sections(&mut text, draft, ports);
    for section in draft.sections.iter().filter(|s| s.kind != "node") {
        section_text(&mut text, section);
    }
    text
}

/// Writes the file that asks the schema, with ports from which everything can be reached; each of
/// its lines has an owner.
pub(super) fn probe(draft: &Draft, ports: &[PortGiven]) -> (String, Vec<Owner>) {
    let mut text = String::new();
    let mut owners: Vec<Owner> = Vec::new();
    let given = ports.iter().map(|port| port.name.as_str());
    let names: Vec<&str> = if ports.is_empty() {
        FILL_IN.to_vec()
    } else {
        given.collect()
    };
    for (index, name) in names.iter().enumerate() {
        let _ = writeln!(text, "[port {name}]\ndevice = probe{index}");
        owners.extend([None, None]);
        // Of TEST-NET-like ranges for benchmarks, which no service has.
        if index == 0 {
            text.push_str("address = 198.19.255.253/30\ngateway = 198.19.255.254\n");
            owners.extend([None, None]);
        }
    }
    for (at, section) in draft.sections.iter().enumerate() {
        if section.refused.is_some() {
            continue;
        }
        let _ = writeln!(text, "{}", heading(section));
        owners.push(Some((at, None)));
        for (line_at, line) in section.lines.iter().enumerate() {
            if line.refused.is_none() {
                let _ = writeln!(text, "{} = {}", line.key, line.value);
                owners.push(Some((at, Some(line_at))));
            }
        }
    }
    (text, owners)
}

fn heading(section: &DraftSection) -> String {
    match section.name.as_str() {
        "" => format!("[{}]", section.kind),
        name => format!("[{} {name}]", section.kind),
    }
}

fn port_sections(text: &mut String, draft: &Draft, ports: &[PortGiven]) {
    for port in ports {
        let _ = writeln!(text, "\n[port {}]", port.name);
        let _ = writeln!(text, "{:<KEYS$}= {}", "device", port.device);
        for address in &port.addresses {
            let _ = writeln!(text, "{:<KEYS$}= {address}", "address");
        }
        for gateway in &port.gateways {
            let _ = writeln!(text, "{:<KEYS$}= {gateway}", "gateway");
        }
    }
    if !ports.is_empty() {
        return;
    }
    text.push_str(
        "\n# -- To be filled in: the machine's ports, with addresses that the kernel has.\n# The VIPs are on `wan` or routed to it, local addresses and real servers on `lan`;\n# with one port for both, call it `lan` and leave the other out.\n",
    );
    let [wan, lan] = FILL_IN;
    let device = |at: usize| {
        let known = draft.devices.get(at).map(String::as_str);
        known.unwrap_or("DEVICE").to_owned()
    };
    for (at, name) in [wan, lan].into_iter().enumerate() {
        let device = device(at);
        let _ = writeln!(
            text,
            "# [port {name}]\n# device          = {device}\n# address         = ADDRESS/LENGTH"
        );
        if name == wan {
            text.push_str("# gateway         = ADDRESS\n");
        }
    }
}

fn section_text(text: &mut String, section: &DraftSection) {
    text.push('\n');
    if let Some(reason) = &section.refused {
        comment(text, &format!("left out: {reason}"));
    }
    let mark = if section.refused.is_some() { "# " } else { "" };
    let _ = writeln!(text, "{mark}{}", heading(section));
    for line in &section.lines {
        line_text(text, line, mark);
    }
}

fn line_text(text: &mut String, line: &DraftLine, mark: &str) {
    let width = KEYS.saturating_sub(mark.len());
    match &line.refused {
        Some(reason) if mark.is_empty() => {
            comment(text, &format!("left out: {reason}"));
            let width = KEYS - 2;
            let _ = writeln!(text, "# {:<width$}= {}", line.key, line.value);
        }
        Some(_) | None => {
            let _ = writeln!(text, "{mark}{:<width$}= {}", line.key, line.value);
        }
    }
}

fn comment(text: &mut String, words: &str) {
    let words: String = words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let _ = writeln!(text, "# {words}");
}
