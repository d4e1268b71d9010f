//! What shells need to complete the command line.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, Command, ValueEnum};
use clap_complete::{Shell, generate};

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CompletionShell {
    /// GNU bash, with bash-completion.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// Writes the script of a shell to standard output.
///
/// # Errors
/// When it cannot be written.
pub(super) fn print(command: Command, shell: CompletionShell) -> io::Result<()> {
    io::stdout().write_all(&script(command, shell))
}

/// Makes the script of a shell.
fn script(command: Command, shell: CompletionShell) -> Vec<u8> {
    let shell = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut command = with_names(command);
    let mut script = Vec::new();
    generate(shell, &mut command, "weir", &mut script);
    if shell == Shell::Fish {
        script.extend(fish_words(&command).into_bytes());
    }
    script
}

/// The generator leaves out the words that stand without an option, for fish only.
fn fish_words(command: &Command) -> String {
    let mut text = String::new();
    for verb in command.get_subcommands() {
        let words = verb.get_positionals().flat_map(Arg::get_possible_values);
        for word in words {
            let help = word.get_help().map(ToString::to_string);
            let _ = writeln!(
                text,
                "complete -c weir -n \"__fish_weir_using_subcommand {}\" -f -a '{}' -d '{}'",
                verb.get_name(),
                word.get_name(),
                quoted(&help.unwrap_or_default())
            );
        }
    }
    text
}

/// Escapes what ends a string in single quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

/// Adds what `weir help` knows to its argument. The parser itself does without: it has better
/// sentences for a name that is not there.
fn with_names(command: Command) -> Command {
    let verbs = command.get_subcommands();
    let verbs: Vec<PossibleValue> = verbs
        .filter(|verb| !verb.is_hide_set())
        .map(|verb| {
            let about = verb.get_about().map(ToString::to_string);
            PossibleValue::new(verb.get_name().to_owned()).help(about.unwrap_or_default())
        })
        .collect();
    let names = weir_conf::names().map(|(name, help)| PossibleValue::new(name).help(help));
    let names: Vec<PossibleValue> = verbs.into_iter().chain(names).collect();
    command.mut_subcommand("help", |help| {
        help.mut_arg("name", |name| {
            name.value_parser(PossibleValuesParser::new(names))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command as Process;

    use clap::CommandFactory;

    use super::super::arguments::Arguments;
    use super::*;

    fn text(shell: CompletionShell) -> String {
        String::from_utf8(script(Arguments::command(), shell)).unwrap()
    }

    #[test]
    fn every_shell_is_told_verbs_nouns_of_show_and_names_of_help() {
        for shell in CompletionShell::value_variants() {
            let text = text(*shell);
            for word in ["check", "sessions", "watch", "service.idle", "no-session"] {
                assert!(text.contains(word), "{shell:?} is not told {word}");
            }
        }
    }

    #[test]
    fn fish_is_told_words_with_their_descriptions() {
        let text = text(CompletionShell::Fish);
        for line in [
            "__fish_weir_using_subcommand show\" -f -a 'sessions' -d 'Sessions, one row each'",
            "__fish_weir_using_subcommand help\" -f -a 'service.mss-adjust' -d 'Whether the maximum",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert_eq!(quoted("a client's \\"), "a client\\'s \\\\");
    }

    /// What bash offers for the last of the words, as it calls the script's function.
    fn offered(words: &[&str]) -> Option<Vec<String>> {
        let name = format!("weir-completion-{}.bash", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text(CompletionShell::Bash)).unwrap();
        let last = words.len() - 1;
        let line = format!(
            ". {path}; COMP_WORDS=({words}); COMP_CWORD={last}; \
             _weir weir \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{before}]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            path = path.display(),
            words = words.join(" "),
            before = last - 1,
        );
        let output = Process::new("bash").args(["-c", &line]).output().ok()?;
        fs::remove_file(&path).unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        Some(text.lines().map(str::to_owned).collect())
    }

    #[test]
    fn bash_completes_keys_of_the_configuration_and_nouns() {
        let Some(keys) = offered(&["weir", "help", "service.id"]) else {
            eprintln!("there is no bash here");
            return;
        };
        assert_eq!(keys, ["service.idle"]);
        assert_eq!(offered(&["weir", "show", "sess"]).unwrap(), ["sessions"]);
        assert_eq!(offered(&["weir", "che"]).unwrap(), ["check"]);
    }
}
