//! The questions of the first start, line by line, as a serial line shows them.

use std::io::{self, Write};

use weir_control::Role;
use zeroize::Zeroizing;

use super::given::{self, Address, Given};
use crate::keys::{Key, Keys};
use crate::secret;

/// The terminal of whoever is asked.
pub(crate) trait Terminal: Write {
    /// Returns a line without its end; none when the terminal was hung up.
    fn line(&mut self) -> io::Result<Option<String>>;
    /// Returns a line that was not shown while it was typed.
    fn hidden_line(&mut self) -> io::Result<Option<Zeroizing<String>>>;
}

/// What is known before the first question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The network cards, one line each.
    pub(crate) cards: Vec<String>,
    /// There is a configuration already: only keys and secret are asked for.
    pub(crate) has_configuration: bool,
    /// What was wrong with files of the boot partition.
    pub(crate) faults: String,
}

/// What was answered and confirmed.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) given: Given,
    pub(crate) keys: Keys,
    pub(crate) secret: Option<Zeroizing<String>>,
}

/// Asks until somebody says yes; none when the terminal was hung up.
pub(crate) fn ask(terminal: &mut dyn Terminal, known: &Known) -> io::Result<Option<Answers>> {
    write!(
        terminal,
        "\r\nThis appliance is not set up yet. Nothing is written before you say yes at the end.\r\n"
    )?;
    if !known.faults.is_empty() {
        write!(terminal, "\r\nOf what lies on the boot partition:\r\n")?;
        for line in known.faults.lines() {
            write!(terminal, "  {}\r\n", plain(line))?;
        }
    }
    loop {
        let Some(answers) = questions(terminal, known)? else {
            return Ok(None);
        };
        match confirmed(terminal, known, &answers)? {
            Some(true) => return Ok(Some(answers)),
            Some(false) => write!(terminal, "\r\nOnce more.\r\n")?,
            None => return Ok(None),
        }
    }
}

fn questions(terminal: &mut dyn Terminal, known: &Known) -> io::Result<Option<Answers>> {
    let mut given = Given::default();
    if !known.has_configuration && network(terminal, known, &mut given)?.is_none() {
        return Ok(None);
    }
    let Some(keys) = key(terminal)? else {
        return Ok(None);
    };
    let Some(secret) = new_secret(terminal, true)? else {
        return Ok(None);
    };
    Ok(Some(Answers {
        given,
        keys,
        secret: (!secret.is_empty()).then_some(secret),
    }))
}

fn network(
    terminal: &mut dyn Terminal,
    known: &Known,
    given: &mut Given,
) -> io::Result<Option<()>> {
    write!(terminal, "\r\nNetwork cards:\r\n")?;
    for card in &known.cards {
        write!(terminal, "  {}\r\n", plain(card))?;
    }
    let mut take = |terminal: &mut dyn Terminal, ask: &str, name: &str, or: &str| {
        until(terminal, ask, |line| {
            let value = if line.is_empty() { or } else { line };
            if value.is_empty() {
                return Ok(());
            }
            let mut tried = given.clone();
            tried.set(name, value)?;
            if let (Some(Address::Fixed(net)), Some(gateway)) = (tried.address, tried.gateway)
                && let Some(mistake) = given::gateway_mistake(net, gateway)
            {
                return Err(mistake);
            }
            *given = tried;
            Ok(())
        })
    };
    let name = "Name of the appliance [weir]";
    if take(terminal, name, "node", "weir")?.is_none() {
        return Ok(None);
    }
    let address = "Management address on eth0, e.g. 192.0.2.10/24, or dhcp [dhcp]";
    if take(terminal, address, "address", "dhcp")?.is_none() {
        return Ok(None);
    }
    if given.address != Some(Address::Dhcp) {
        let gateway = "Gateway of the management network, or empty";
        let mut take = |line: &str| match (line, given.address) {
            ("", _) => Ok(()),
            (line, address) => {
                let mut tried = given.clone();
                tried.set("gateway", line)?;
                if let (Some(Address::Fixed(net)), Some(ip)) = (address, tried.gateway)
                    && let Some(mistake) = given::gateway_mistake(net, ip)
                {
                    return Err(mistake);
                }
                *given = tried;
                Ok(())
            }
        };
        if until(terminal, gateway, &mut take)?.is_none() {
            return Ok(None);
        }
    }
    ports(terminal, given)
}

fn ports(terminal: &mut dyn Terminal, given: &mut Given) -> io::Result<Option<()>> {
    write!(
        terminal,
        "\r\nData ports, one a line: NAME=DEVICE,ADDRESS/LENGTH,gateway=ADDRESS\r\n\
         (addresses and gateway may be left out), e.g. wan=eth1,198.51.100.2/24\r\n"
    )?;
    loop {
        let mut is_last = false;
        let asked = until(terminal, "Data port, or empty for no more", |line| {
            is_last = line.is_empty();
            if is_last {
                return Ok(());
            }
            given.set("port", line)
        })?;
        if asked.is_none() {
            return Ok(None);
        }
        if is_last {
            return Ok(Some(()));
        }
    }
}

fn key(terminal: &mut dyn Terminal) -> io::Result<Option<Keys>> {
    write!(
        terminal,
        "\r\nThe public key of the first operator, one line as in id_ed25519.pub.\r\n"
    )?;
    let mut keys = Keys::default();
    let asked = until(terminal, "Key", |line| {
        if line.is_empty() {
            return Err("without it nobody could log in by SSH".to_owned());
        }
        keys.add(Role::Operator, Key::parse(line)?)
    })?;
    Ok(asked.map(|()| keys))
}

/// Asks for a new secret twice; an empty one is none, where there may be none.
pub(crate) fn new_secret(
    terminal: &mut dyn Terminal,
    may_be_empty: bool,
) -> io::Result<Option<Zeroizing<String>>> {
    write!(
        terminal,
        "\r\nThe local secret opens operator and maintenance on this screen and serial line.\r\n"
    )?;
    if may_be_empty {
        write!(
            terminal,
            "Empty: none; an operator can set one later by SSH (`secret`).\r\n"
        )?;
    }
    loop {
        write!(terminal, "Local secret (not shown): ")?;
        let Some(first) = hidden(terminal)? else {
            return Ok(None);
        };
        if first.is_empty() && may_be_empty {
            return Ok(Some(first));
        }
        if let Some(sentence) = secret::weakness(&first) {
            write!(terminal, "  {sentence}\r\n")?;
            continue;
        }
        write!(terminal, "Once more: ")?;
        let Some(second) = hidden(terminal)? else {
            return Ok(None);
        };
        if first == second {
            return Ok(Some(first));
        }
        write!(terminal, "  they are not the same\r\n")?;
    }
}

fn hidden(terminal: &mut dyn Terminal) -> io::Result<Option<Zeroizing<String>>> {
    terminal.flush()?;
    let line = terminal.hidden_line()?;
    write!(terminal, "\r\n")?;
    Ok(line)
}

fn confirmed(
    terminal: &mut dyn Terminal,
    known: &Known,
    answers: &Answers,
) -> io::Result<Option<bool>> {
    if !known.has_configuration {
        let mistakes = answers.given.mistakes();
        for mistake in &mistakes {
            write!(terminal, "  {}\r\n", plain(mistake))?;
        }
        if !mistakes.is_empty() {
            return Ok(Some(false));
        }
        write!(terminal, "\r\nThe configuration:\r\n\r\n")?;
        for line in answers.given.render().lines().skip(2) {
            write!(terminal, "  {line}\r\n")?;
        }
    }
    write!(terminal, "\r\n")?;
    for row in answers.keys.rows() {
        write!(
            terminal,
            "  operator      {} ({} {})\r\n",
            row.name, row.kind, row.fingerprint
        )?;
    }
    let secret = if answers.secret.is_some() {
        "set"
    } else {
        "none: this console will only show"
    };
    write!(terminal, "  local secret  {secret}\r\n\r\n")?;
    let mut yes = None;
    let asked = until(terminal, "Write this? yes or no", |line| {
        yes = match line {
            "yes" => Some(true),
            "no" => Some(false),
            _ => return Err("type yes or no".to_owned()),
        };
        Ok(())
    })?;
    Ok(asked.and(yes))
}

/// Asks until the answer is taken; none when the terminal was hung up.
pub(crate) fn until(
    terminal: &mut dyn Terminal,
    question: &str,
    mut take: impl FnMut(&str) -> Result<(), String>,
) -> io::Result<Option<()>> {
    loop {
        write!(terminal, "{question}: ")?;
        terminal.flush()?;
        let Some(line) = terminal.line()? else {
            return Ok(None);
        };
        match take(line.trim()) {
            Ok(()) => return Ok(Some(())),
            Err(sentence) => write!(terminal, "  {}\r\n", plain(&sentence))?,
        }
    }
}

/// Nothing that a terminal obeys.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const ALICE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti alice";

    #[derive(Default)]
    struct Script {
        lines: VecDeque<String>,
        shown: Vec<u8>,
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.shown.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Terminal for Script {
        fn line(&mut self) -> io::Result<Option<String>> {
            Ok(self.lines.pop_front())
        }

        fn hidden_line(&mut self) -> io::Result<Option<Zeroizing<String>>> {
            Ok(self.lines.pop_front().map(Zeroizing::new))
        }
    }

    fn play(known: &Known, lines: &[&str]) -> (Option<Answers>, String) {
        let mut script = Script {
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            ..Script::default()
        };
        let answers = ask(&mut script, known).unwrap();
        (answers, String::from_utf8(script.shown).unwrap())
    }

    #[test]
    fn whoever_answers_everything_gets_a_box_with_a_key_and_a_secret() {
        let known = Known {
            cards: vec!["eth0  52:54:00:77:00:10  link".to_owned()],
            ..Known::default()
        };
        let (answers, shown) = play(
            &known,
            &[
                "lb1",
                "192.0.2.10/24",
                "192.0.2.1",
                "wan=eth1,198.51.100.2/24",
                "lan=eth2",
                "",
                ALICE,
                "correct horse",
                "correct horse",
                "yes",
            ],
        );
        let answers = answers.unwrap();
        assert_eq!(answers.given.ports.len(), 2);
        assert_eq!(answers.keys.count(), 1);
        assert_eq!(answers.secret.unwrap().as_str(), "correct horse");
        assert!(shown.contains("52:54:00:77:00:10"), "{shown}");
        assert!(shown.contains("address = 192.0.2.10/24"), "{shown}");
        assert!(shown.contains("SHA256:UCUiLr7"), "{shown}");
        assert!(!shown.contains("correct horse"), "{shown}");
    }

    #[test]
    fn a_wrong_answer_is_told_and_asked_again() {
        let (answers, shown) = play(
            &Known::default(),
            &[
                "a b",
                "",
                "192.0.2.10",
                "192.0.2.10/24",
                "10.0.0.1",
                "192.0.2.1",
                "eth0",
                "",
                "",
                "ssh-dss AAAA",
                ALICE,
                "short",
                "correct horse",
                "correct house",
                "correct horse",
                "correct horse",
                "maybe",
                "yes",
            ],
        );
        assert!(answers.is_some(), "{shown}");
        for says in [
            "a name has",
            "prefix length",
            "is not in 192.0.2.0/24",
            "management device",
            "nobody could log in",
            "DSA",
            "10 to 128",
            "not the same",
            "type yes or no",
        ] {
            assert!(shown.contains(says), "{says}: {shown}");
        }
    }

    #[test]
    fn no_at_the_end_begins_anew_and_hanging_up_writes_nothing() {
        let round = ["", "", "", ALICE, "", "no"];
        let (answers, shown) = play(&Known::default(), &round);
        assert!(answers.is_none());
        assert_eq!(shown.matches("Name of the appliance").count(), 2);
        let again = [&round[..], &["", "", "", ALICE, "", "yes"]].concat();
        let answers = play(&Known::default(), &again).0.unwrap();
        assert_eq!(answers.given.address, Some(Address::Dhcp));
        assert!(answers.secret.is_none());
        for count in 0..round.len() {
            assert!(play(&Known::default(), &round[..count]).0.is_none());
        }
    }

    #[test]
    fn where_there_is_a_configuration_only_key_and_secret_are_asked_for() {
        let known = Known {
            has_configuration: true,
            faults: "operator.keys:1: \u{1b}[2J".to_owned(),
            ..Known::default()
        };
        let (answers, shown) = play(&known, &[ALICE, "", "yes"]);
        assert!(!answers.unwrap().given.has_network());
        assert!(!shown.contains("Management address"), "{shown}");
        assert!(shown.contains("operator.keys:1"), "{shown}");
        assert!(!shown.contains('\u{1b}'));
    }
}
