//! The verbs of each role, and which of their words may be what.

use weir_control::Role;

use super::LONGEST;

/// The most words of a command.
const MOST_WORDS: usize = 256;
/// Standard input or output.
const DASH: &str = "-";

/// What stands behind an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Nothing.
    Nothing,
    /// A word.
    Word,
    /// A word, or nothing.
    Maybe,
    /// A file: the standard input or output.
    File,
}

/// What the words of a verb that are no options may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// There are none.
    None,
    /// Names and values.
    Any,
    /// One file: the standard input or output, which is also meant where there is none.
    File,
    /// One file: the standard input, or none at all.
    MaybeFile,
}

/// A verb of a role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) needs: Role,
    pub(crate) options: &'static [(&'static str, Behind)],
    pub(crate) words: Words,
    /// An option that is always there: what the verb writes goes to the standard output.
    pub(crate) output: Option<&'static str>,
}

const fn verb(
    name: &'static str,
    needs: Role,
    options: &'static [(&'static str, Behind)],
    words: Words,
) -> Verb {
    Verb {
        name,
        needs,
        options,
        words,
        output: None,
    }
}

const JSON: &[(&str, Behind)] = &[("--json", Behind::Nothing)];
const LVS: [(&str, Behind); 3] = [
    ("--json", Behind::Nothing),
    ("--from", Behind::File),
    ("--lip", Behind::Word),
];

/// What may be asked by SSH; whatever is not here, verb or option, is not.
pub(crate) const VERBS: &[Verb] = &[
    verb(
        "check",
        Role::Viewer,
        &[("--format", Behind::Word), ("--json", Behind::Nothing)],
        Words::File,
    ),
    verb(
        "console",
        Role::Viewer,
        &[
            ("--read-only", Behind::Nothing),
            ("--ascii", Behind::Nothing),
            ("--colour", Behind::Word),
            ("--color", Behind::Word),
        ],
        Words::None,
    ),
    verb("diff", Role::Viewer, &LVS, Words::File),
    verb("doctor", Role::Viewer, JSON, Words::None),
    verb(
        "explain",
        Role::Viewer,
        &[
            ("--flags", Behind::Word),
            ("--candidate", Behind::File),
            ("--json", Behind::Nothing),
        ],
        Words::Any,
    ),
    verb(
        "help",
        Role::Viewer,
        &[("--markdown", Behind::Nothing)],
        Words::Any,
    ),
    verb(
        "show",
        Role::Viewer,
        &[
            ("--json", Behind::Nothing),
            ("--watch", Behind::Maybe),
            ("--service", Behind::Word),
            ("--client", Behind::Word),
            ("--span", Behind::Word),
        ],
        Words::Any,
    ),
    verb(
        "apply",
        Role::Operator,
        &[
            ("--json", Behind::Nothing),
            ("--from", Behind::File),
            ("--lip", Behind::Word),
            ("--confirm", Behind::Word),
        ],
        Words::File,
    ),
    verb("backup", Role::Operator, &[], Words::File),
    verb("box", Role::Operator, JSON, Words::None),
    Verb {
        output: Some("--write"),
        ..verb(
            "capture",
            Role::Operator,
            &[
                ("-w", Behind::File),
                ("--write", Behind::File),
                ("--service", Behind::Word),
                ("--client", Behind::Word),
                ("--dropped", Behind::Maybe),
                ("--limit", Behind::Word),
                ("--seconds", Behind::Word),
            ],
            Words::None,
        )
    },
    verb("confirm", Role::Operator, JSON, Words::None),
    verb(
        "deny",
        Role::Operator,
        &[("--for", Behind::Word), ("--json", Behind::Nothing)],
        Words::Any,
    ),
    verb(
        "drain",
        Role::Operator,
        &[
            ("--deadline", Behind::Word),
            ("--then", Behind::Word),
            ("--watch", Behind::Maybe),
            ("--json", Behind::Nothing),
        ],
        Words::Any,
    ),
    verb("enable", Role::Operator, JSON, Words::Any),
    verb("factory-reset", Role::Operator, &[], Words::Any),
    verb(
        "import",
        Role::Operator,
        &[("--port", Behind::Word), ("--lip", Behind::Word)],
        Words::File,
    ),
    verb(
        "key",
        Role::Operator,
        &[("--last", Behind::Nothing), ("--json", Behind::Nothing)],
        Words::Any,
    ),
    verb("maintenance", Role::Operator, JSON, Words::Any),
    verb("poweroff", Role::Operator, &[], Words::None),
    verb("reboot", Role::Operator, &[], Words::None),
    verb("restart", Role::Operator, &[], Words::MaybeFile),
    verb("restore", Role::Operator, &[], Words::File),
    verb("rollback", Role::Operator, JSON, Words::Any),
    verb("secret", Role::Operator, &[], Words::None),
    Verb {
        output: Some("--output"),
        ..verb(
            "support",
            Role::Operator,
            &[("-o", Behind::File), ("--output", Behind::File)],
            Words::None,
        )
    },
    verb("synproxy", Role::Operator, JSON, Words::Any),
    verb(
        "update",
        Role::Operator,
        &[
            ("--older", Behind::Nothing),
            ("--rollback", Behind::Nothing),
        ],
        Words::File,
    ),
    verb("weight", Role::Operator, JSON, Words::Any),
];

/// Returns the words that this program is run with for a command; of none the console.
///
/// # Errors
/// Says what is not allowed, and what is.
pub(crate) fn decide(role: Role, command: Option<&str>) -> Result<Vec<String>, String> {
    let line = command.map(str::trim).filter(|line| !line.is_empty());
    let line = line.unwrap_or("console");
    if line.len() > LONGEST {
        return Err(format!("a command has at most {LONGEST} characters"));
    }
    let Some(mut words) = shlex::split(line) else {
        return Err("a quote of the command has no end".to_owned());
    };
    if words.first().is_some_and(|word| word == "weir") {
        words.remove(0);
    }
    if words.len() > MOST_WORDS {
        return Err(format!("a command has at most {MOST_WORDS} words"));
    }
    let name = words.first().map_or("console", String::as_str);
    if let ("--help" | "-h" | "--version" | "-V", 1) = (name, words.len()) {
        return Ok(words);
    }
    let known = VERBS.iter().find(|verb| verb.name == name);
    let Some(verb) = known.filter(|verb| permits(role, verb.needs)) else {
        return Err(unknown(role, name, known.is_some()));
    };
    let rest = words.get(1..).unwrap_or_default();
    let mut run = vec![verb.name.to_owned()];
    run.extend(checked(verb, rest)?);
    if verb.name == "console" && role == Role::Viewer && !run.iter().any(|it| it == "--read-only") {
        run.push("--read-only".to_owned());
    }
    Ok(run)
}

fn permits(has: Role, needs: Role) -> bool {
    match needs {
        Role::Viewer => true,
        Role::Operator => has == Role::Operator,
    }
}

fn unknown(role: Role, name: &str, is_operators: bool) -> String {
    let names = VERBS.iter().filter(|verb| permits(role, verb.needs));
    let names: Vec<&str> = names.map(|verb| verb.name).collect();
    let names = names.join(", ");
    let name: String = name.chars().take(40).collect();
    if is_operators {
        return format!("`{name}` is for operators; a viewer has {names}");
    }
    // Today's `scp` asks for sftp, and SSH then for the program of its own path.
    match name.rsplit('/').next().unwrap_or_default() {
        program @ ("scp" | "sftp" | "rsync" | "sftp-server" | "internal-sftp") => format!(
            "files go through the standard input and output, e.g. `ssh operator@... apply < FILE`, \
             not by {program}"
        ),
        _ => format!(
            "`{}` is nothing that can be run here; there are {names}",
            name.escape_debug()
        ),
    }
}

fn checked(verb: &Verb, words: &[String]) -> Result<Vec<String>, String> {
    let mut run = Vec::new();
    let mut plain = 0;
    let mut has_output = false;
    let mut has_source = false;
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        run.push(word.clone());
        if word == DASH || !word.starts_with('-') {
            plain += 1;
            is_plain(verb, word, plain)?;
            continue;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        if let ("--help" | "-h", None) = (name, value) {
            has_source = true;
            continue;
        }
        let found = verb.options.iter().find(|(known, _)| *known == name);
        let Some((_, behind)) = found else {
            return Err(format!(
                "`{}` of {} cannot be given here",
                name.escape_debug(),
                verb.name
            ));
        };
        has_output |= verb.output.is_some() && *behind == Behind::File;
        has_source |= matches!(name, "--from" | "--rollback");
        let value = match (behind, value) {
            (Behind::Nothing, None) => continue,
            (Behind::Nothing, Some(_)) => return Err(format!("{name} takes no value")),
            (_, Some(value)) => value.to_owned(),
            (Behind::Maybe, None) => match words.next_if(|next| !next.starts_with('-')) {
                Some(next) => next.clone(),
                None => continue,
            },
            (Behind::Word | Behind::File, None) => {
                match words.next_if(|next| *next == DASH || !next.starts_with('-')) {
                    Some(next) => next.clone(),
                    None => return Err(format!("there is nothing behind {name}")),
                }
            }
        };
        if !word.contains('=') {
            run.push(value.clone());
        }
        if *behind == Behind::File && value != DASH {
            return Err(no_file(&value));
        }
    }
    if verb.words == Words::File && plain == 0 && !has_source {
        run.push(DASH.to_owned());
    }
    if let Some(output) = verb.output.filter(|_| !has_output) {
        run.extend([output.to_owned(), DASH.to_owned()]);
    }
    Ok(run)
}

fn is_plain(verb: &Verb, word: &str, count: usize) -> Result<(), String> {
    match verb.words {
        Words::Any => Ok(()),
        Words::File | Words::MaybeFile if count == 1 && word == DASH => Ok(()),
        Words::File | Words::MaybeFile if count == 1 => Err(no_file(word)),
        Words::None | Words::File | Words::MaybeFile => Err(format!(
            "`{}` is one word too many for {}",
            word.escape_debug(),
            verb.name
        )),
    }
}

fn no_file(name: &str) -> String {
    let name: String = name.chars().take(80).collect();
    format!(
        "`{}` is a file of this box; by SSH files are the standard input and output only: `-`",
        name.escape_debug()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(line: &str) -> Result<String, String> {
        decide(Role::Operator, Some(line)).map(|words| words.join(" "))
    }

    fn viewer(line: &str) -> Result<String, String> {
        decide(Role::Viewer, Some(line)).map(|words| words.join(" "))
    }

    #[test]
    fn without_a_command_there_is_the_console_of_the_role() {
        for command in [None, Some(""), Some("  "), Some("weir"), Some("console")] {
            assert_eq!(decide(Role::Operator, command).unwrap(), ["console"]);
            assert_eq!(
                decide(Role::Viewer, command).unwrap(),
                ["console", "--read-only"]
            );
        }
        assert_eq!(
            viewer("console --read-only").unwrap(),
            "console --read-only"
        );
    }

    #[test]
    fn an_operator_has_the_verbs_with_their_words() {
        for (line, run) in [
            ("show services --json", "show services --json"),
            ("weir show ledger --watch 1s", "show ledger --watch 1s"),
            ("apply", "apply -"),
            ("apply - --confirm 5m", "apply - --confirm 5m"),
            ("apply --confirm=5m", "apply --confirm=5m -"),
            (
                "apply --from - --lip 10.0.0.1",
                "apply --from - --lip 10.0.0.1",
            ),
            ("drain 10.0.1.11:443@web", "drain 10.0.1.11:443@web"),
            (
                "deny add 192.0.2.0/24 --for 10m",
                "deny add 192.0.2.0/24 --for 10m",
            ),
            ("update", "update -"),
            ("update --older", "update --older -"),
            ("update --rollback", "update --rollback"),
            ("backup", "backup -"),
            ("restart", "restart"),
            ("restart -", "restart -"),
            ("support", "support --output -"),
            ("support -o -", "support -o -"),
            (
                "capture --dropped --limit 5",
                "capture --dropped --limit 5 --write -",
            ),
            (
                "capture -w - --dropped bad-cookie",
                "capture -w - --dropped bad-cookie",
            ),
            (
                "key add viewer 'ssh-ed25519 AAAA bob'",
                "key add viewer ssh-ed25519 AAAA bob",
            ),
            ("apply --help", "apply --help"),
            ("--version", "--version"),
        ] {
            assert_eq!(operator(line).as_deref(), Ok(run), "{line}");
        }
    }

    #[test]
    fn a_viewer_has_what_only_shows() {
        for line in [
            "show status",
            "check",
            "diff -",
            "doctor --json",
            "help service",
        ] {
            assert!(viewer(line).is_ok(), "{line}");
        }
        for verb in VERBS.iter().filter(|verb| verb.needs == Role::Operator) {
            for line in [verb.name.to_owned(), format!("{} --help", verb.name)] {
                let error = viewer(&line).unwrap_err();
                assert!(error.contains("is for operators"), "{line}: {error}");
            }
        }
    }

    #[test]
    fn what_is_no_verb_cannot_be_run_by_anybody() {
        for line in [
            "sh",
            "/bin/sh",
            "bash -i",
            "run",
            "run --config /tmp/x",
            "agent",
            "agent login operator mallory",
            "agent tty",
            "ipvsadm -C",
            "bench",
            "completion bash",
            "scp -t /etc/weir",
            "../../bin/busybox sh",
            "show;reboot",
            "show\u{0}x",
            "--socket /tmp/evil.sock show status",
            "--help apply",
            "-",
            "--",
            "é",
            "'' x",
        ] {
            assert!(operator(line).is_err(), "{line}");
            assert!(viewer(line).is_err(), "{line}");
        }
    }

    #[test]
    fn whoever_copies_files_is_told_how_they_go() {
        // `scp` of old, and what SSH asks for on behalf of `sftp` and of today's `scp`.
        for line in ["scp -t /etc/weir", "/usr/lib/sftp-server", "sftp-server"] {
            let said = operator(line).unwrap_err();
            assert!(
                said.starts_with("files go through the standard input"),
                "{said}"
            );
        }
    }

    #[test]
    fn nothing_of_a_shell_has_a_meaning() {
        for line in [
            "show services; reboot",
            "show services && reboot",
            "show services | sh",
            "show $(reboot)",
            "show `reboot`",
            "show services > /etc/weir/weir.conf",
            "show *",
        ] {
            let words = decide(Role::Viewer, Some(line)).unwrap();
            // They are words of `show`, which knows them not.
            assert_eq!(words[0], "show", "{line}");
            assert!(words.len() >= 2);
        }
        assert!(operator("show 'services").is_err());
        assert_eq!(viewer("show 'serv'ices").unwrap(), "show services");
        assert_eq!(viewer("\"sh\"ow status").unwrap(), "show status");
    }

    #[test]
    fn files_of_the_box_cannot_be_reached() {
        for line in [
            "check /etc/shadow",
            "check /data/shared/secret",
            "check ../x",
            "diff /etc/weir/weir.conf",
            "diff --from /etc/shadow",
            "diff --from=/etc/shadow",
            "explain service=web --candidate /etc/shadow",
            "explain --candidate=/etc/shadow service=web",
            "apply /etc/weir/weir.conf",
            "apply - /etc/shadow",
            "backup /data/x",
            "restart /etc/weir/weir.conf",
            "capture -w /data/x",
            "capture -w/data/x",
            "capture --write=/data/x",
            "support --output /data/x",
            "support -o/data/x",
            "import /etc/shadow",
            "update /data/x",
            "doctor --config /etc/shadow",
            "show status --socket /tmp/x",
            "show status --socket=/tmp/x",
            "check -- /etc/shadow",
            "check - --",
            "check --form",
            "apply --conf 5m",
            "explain --candidate",
            "apply --lip --from=/etc/shadow",
        ] {
            assert!(operator(line).is_err(), "{line}: {:?}", operator(line));
        }
    }

    #[test]
    fn too_much_is_refused_before_it_costs_anything() {
        assert!(operator(&"x".repeat(LONGEST + 1)).is_err());
        assert!(operator(&format!("show {}", "a ".repeat(300))).is_err());
        let error = operator(&"x".repeat(LONGEST)).unwrap_err();
        assert!(error.len() < 1000, "{error}");
        let error = operator("x\u{1b}[2J").unwrap_err();
        assert!(!error.contains('\u{1b}'), "{error}");
    }
}
