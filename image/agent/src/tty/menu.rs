//! What can be chosen at a local console.

use std::fmt::Write as _;

/// A line of the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Console,
    Operator,
    Key,
    Secret,
    SetUp,
    Shell,
    Reboot,
    PowerOff,
}

const ALL: [(Choice, &str); 8] = [
    (Choice::Console, "console, which only shows"),
    (Choice::Operator, "console of an operator"),
    (Choice::Key, "let an operator in by SSH: add a key"),
    (Choice::Secret, "set another local secret"),
    (Choice::SetUp, "set the box up, where nobody has"),
    (Choice::Shell, "maintenance shell"),
    (Choice::Reboot, "start the box again"),
    (Choice::PowerOff, "turn the box off"),
];

impl Choice {
    /// Reads what somebody typed.
    pub(super) fn of(line: &str) -> Option<Self> {
        let number: usize = line.trim().parse().ok()?;
        let (choice, _) = ALL.get(number.checked_sub(1)?)?;
        Some(*choice)
    }

    /// The word that stands for the secret where there is none.
    pub(super) fn typed(self) -> Option<&'static str> {
        match self {
            Self::Reboot => Some("reboot"),
            Self::PowerOff => Some("poweroff"),
            Self::Console
            | Self::Operator
            | Self::Key
            | Self::Secret
            | Self::SetUp
            | Self::Shell => None,
        }
    }
}

/// Returns the menu.
pub(super) fn text(has_secret: bool) -> String {
    let mut text = String::from("\r\n");
    for (number, (_, name)) in (1..).zip(ALL) {
        let _ = write!(text, "  {number}  {name}\r\n");
    }
    text.push_str(if has_secret {
        "All that changes something asks for the local secret.\r\n"
    } else {
        "There is no local secret: an operator sets one by SSH.\r\n"
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_can_be_chosen_by_its_number_and_nothing_else_can() {
        let text = text(true);
        for (number, (choice, name)) in (1..).zip(ALL) {
            assert_eq!(Choice::of(&format!(" {number} ")), Some(choice));
            assert!(text.contains(&format!("  {number}  {name}\r\n")));
        }
        for line in ["", "0", "9", "-1", "1x", "99999999999999999999999", "sh"] {
            assert_eq!(Choice::of(line), None, "{line}");
        }
    }
}
