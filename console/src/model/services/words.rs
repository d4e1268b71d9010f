//! How services and their real servers are, in words.

use weir_control::{ServiceRealRow, ServiceRow};

/// Says whether a real server does not answer: its checks, or SYNs.
pub(crate) fn is_down(real: &ServiceRealRow) -> bool {
    matches!(real.state.as_str(), "down" | "inhibited")
}

/// Returns where a service is reached: the first address, and how many more there are.
pub(crate) fn listen(row: &ServiceRow) -> String {
    let first = row.listen.first().map_or("-", String::as_str);
    match row.listen.len() {
        0 | 1 => format!("{first}/{}", row.protocol),
        more => format!("{first}/{} +{}", row.protocol, more - 1),
    }
}

/// Returns the state of a service in a word, and how many of its real servers take new sessions.
pub(crate) fn state(row: &ServiceRow) -> String {
    let counts = row.real_counts;
    let word = match row.state.as_str() {
        "all-down" | "no-quorum" => "DOWN",
        "sorry" => "SORRY",
        _ if counts.down + counts.inhibited > 0 => "DEGR",
        _ if counts.up == 0 && counts.full > 0 => "FULL",
        // Nobody looks whether they answer.
        _ if counts.up > 0 && counts.unchecked == counts.all => "UNCHK",
        _ => "UP",
    };
    format!("{word} {}/{}", counts.up, counts.all)
}

/// Returns the state of a real server in a word.
pub(crate) fn real_state(real: &ServiceRealRow) -> &'static str {
    match real.state.as_str() {
        "up" if real.checked => "UP",
        "up" => "UNCHK",
        "down" => "DOWN",
        "drain" => "DRAIN",
        "sorry" => "SORRY",
        "full" => "FULL",
        "inhibited" => "INHIB",
        _ => "?",
    }
}

pub(super) fn service_text(row: &ServiceRow) -> String {
    let synproxy = if row.synproxy.active { "flood" } else { "" };
    format!(
        "{} {}/{} {} {} {synproxy}",
        row.name,
        row.listen.join(" "),
        row.protocol,
        row.scheduler,
        state(row)
    )
}

pub(super) fn real_text(real: &ServiceRealRow) -> String {
    let by_command = real.by_command.join(" ");
    format!("{} {} {by_command}", real.address, real_state(real))
}

/// Returns the sessions of a service that are at none of its real servers: at such that the
/// configuration no longer has. Without them the lines would not add up.
pub(crate) fn others(row: &ServiceRow) -> u64 {
    let at_reals = row.reals.iter().map(|real| real.sessions + real.inactive);
    row.sessions.saturating_sub(at_reals.sum())
}

/// Returns the weight that a real server has by command, where it has one.
pub(crate) fn weight_by_command(real: &ServiceRealRow) -> Option<u16> {
    let mut words = real.by_command.iter();
    let is_weight = words.any(|words| words.starts_with("has weight"));
    is_weight
        .then_some(u16::try_from(real.weight).ok())
        .flatten()
}
