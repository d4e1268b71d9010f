//! How words become options.

mod table;

use std::fmt::Write;

use super::{Refusal, syntax, unsupported};
use crate::note::quote;
pub(super) use table::{ALL, Opt, Spec, Verb};
use table::{Fate, Takes};

impl Opt {
    /// Returns how a sentence names it.
    pub(super) fn name(self) -> String {
        ALL.iter()
            .find(|spec| spec.opt == self)
            .map_or_else(String::new, Spec::name)
    }
}

impl Spec {
    fn name(&self) -> String {
        match self.short {
            Some(letter) => format!("-{letter}"),
            None => format!("--{}", self.long),
        }
    }
}

/// The options of one command line.
#[derive(Debug, Default)]
pub(super) struct Given(Vec<(&'static Spec, Vec<String>)>);

impl Given {
    /// Reads words: letters may stand together, values may stand behind their letter or behind the
    /// `=` of a long name.
    pub(super) fn read(words: &[String]) -> Result<Self, Refusal> {
        let mut given = Self::default();
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                let spec = find_long(name)?;
                given.add(spec, value, &mut words)?;
                continue;
            }
            let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                return syntax(format!("`{}` is not an option", quote(word)));
            };
            let mut rest = letters.chars();
            while let Some(letter) = rest.next() {
                let spec = find_short(letter)?;
                let behind = rest.as_str();
                let takes = spec.takes != Takes::Nothing && !behind.is_empty();
                // `-p` has a value in its own word only if that is a number: `-pj` is `-p -j`.
                let digits = behind.bytes().all(|byte| byte.is_ascii_digit());
                if takes && (spec.takes != Takes::Perhaps || digits) {
                    given.add(spec, Some(behind.to_owned()), &mut words)?;
                    break;
                }
                given.add(spec, None, &mut words)?;
            }
        }
        Ok(given)
    }

    fn add<'a>(
        &mut self,
        spec: &'static Spec,
        own: Option<String>,
        words: &mut std::iter::Peekable<impl Iterator<Item = &'a String>>,
    ) -> Result<(), Refusal> {
        if self.0.iter().any(|(other, _)| other.opt == spec.opt) && spec.opt != Opt::Numeric {
            return syntax(format!("{} is given twice", spec.name()));
        }
        let mut values: Vec<String> = own.into_iter().collect();
        let most = match spec.takes {
            Takes::Nothing if !values.is_empty() => {
                return syntax(format!("--{} takes no value", spec.long));
            }
            Takes::Nothing => 0,
            Takes::Perhaps | Takes::One => 1,
            Takes::Three => 3,
        };
        while values.len() < most {
            let is_value = |word: &&String| !word.starts_with('-');
            match words.next_if(|word| spec.takes == Takes::One || is_value(word)) {
                Some(word) => values.push(word.clone()),
                None => break,
            }
        }
        if spec.takes == Takes::One && values.is_empty() {
            return syntax(format!("{} needs a value", spec.name()));
        }
        self.0.push((spec, values));
        Ok(())
    }

    /// Returns the command; a list where none is given.
    pub(super) fn command(&self) -> Result<(Opt, Verb), Refusal> {
        if self.0.is_empty() {
            return Ok((Opt::List, Verb::List));
        }
        let mut commands = self.0.iter().filter_map(|(spec, _)| match spec.fate {
            Fate::Command(verb) => Some((spec, verb)),
            Fate::With(_) | Fate::Instead(_) => None,
        });
        let Some((first, verb)) = commands.next() else {
            for (spec, _) in &self.0 {
                if let Fate::Instead(words) = spec.fate {
                    return unsupported(format!("{}: {words}", spec.name()));
                }
            }
            return syntax("the command is missing: one of -A -E -D -a -e -d -P -Q -G -L -S -R -C");
        };
        if let Some((second, _)) = commands.next() {
            return syntax(format!(
                "{} and {} are two commands; give one",
                first.name(),
                second.name()
            ));
        }
        Ok((first.opt, verb))
    }

    /// Checks that every option belongs to the command.
    pub(super) fn check(&self, command: Opt) -> Result<(), Refusal> {
        for (spec, _) in &self.0 {
            match spec.fate {
                Fate::Command(_) => {}
                Fate::Instead(words) => {
                    return unsupported(format!("{}: {words}", spec.name()));
                }
                Fate::With(commands) if commands.contains(&command) => {}
                Fate::With(_) => {
                    return syntax(format!(
                        "{} has no meaning with {}",
                        spec.name(),
                        command.name()
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn has(&self, opt: Opt) -> bool {
        self.0.iter().any(|(spec, _)| spec.opt == opt)
    }

    /// Returns the first value of an option.
    pub(super) fn value(&self, opt: Opt) -> Option<&str> {
        self.values(opt).first().map(String::as_str)
    }

    pub(super) fn values(&self, opt: Opt) -> &[String] {
        let found = self.0.iter().find(|(spec, _)| spec.opt == opt);
        found.map_or(&[], |(_, values)| values)
    }
}

/// Writes what the options mean.
pub(super) fn usage() -> String {
    let mut text = "\
Usage: ipvsadm COMMAND [OPTIONS]
What alibaba's ipvsadm does, on a running Weir. Changes hold at once and survive
a restart; `weir show config` prints them, weir.conf is not written.

"
    .to_owned();
    let mut line = |spec: &Spec| {
        let short = match (spec.opt, spec.short) {
            (Opt::List, _) => "-L|-l".to_owned(),
            (_, Some(letter)) => format!("-{letter}"),
            (_, None) => String::new(),
        };
        let _ = writeln!(text, "  {short:<5} --{:<20} {}", spec.long, spec.help);
    };
    for spec in ALL.iter().filter(|spec| !spec.help.is_empty()) {
        line(spec);
    }
    text.push_str("\nOther options of ipvsadm are answered with what Weir has instead.\n");
    text
}

fn find_short(letter: char) -> Result<&'static Spec, Refusal> {
    let letter = if letter == 'l' { 'L' } else { letter };
    let found = ALL.iter().find(|spec| spec.short == Some(letter));
    found.ok_or_else(|| {
        let letter = quote(&letter.to_string());
        Refusal::Syntax(format!("there is no option -{letter}; -h lists them"))
    })
}

fn find_long(name: &str) -> Result<&'static Spec, Refusal> {
    let found = ALL.iter().find(|spec| spec.long == name);
    found.ok_or_else(|| {
        let name = quote(name);
        Refusal::Syntax(format!("there is no option --{name}; -h lists them"))
    })
}
