//! `weir help`: commands, sections, keys, drop reasons and counters.

use clap::Command;

/// Returns the help on a command, or on something that the configuration or the ledger has; on
/// everything when the name is empty.
///
/// # Errors
/// Returns a sentence when nothing has the name.
pub(super) fn on(mut command: Command, name: &str) -> Result<String, String> {
    // Usage lines name the binary only when the tree of commands is complete.
    command.build();
    if name.is_empty() {
        let sections = weir_conf::help("")?;
        return Ok(format!("{}\n{sections}", command.render_help()));
    }
    if let Some(verb) = command.find_subcommand_mut(name) {
        return Ok(verb.render_long_help().to_string());
    }
    weir_conf::help(name).map_err(|sentence| {
        let verbs: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let instead = weir_conf::instead(name, &verbs);
        if sentence.contains("did you mean") || !instead.starts_with("did you mean") {
            return sentence;
        }
        format!("there is no command and no section `{name}`; {instead}")
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::arguments::Arguments;

    fn on(name: &str) -> Result<String, String> {
        super::on(Arguments::command(), name)
    }

    #[test]
    fn help_on_a_command_has_a_usage_line_that_can_be_typed() {
        let text = on("run").unwrap();
        assert!(text.contains("Usage: weir run [OPTIONS]"), "{text}");
    }

    #[test]
    fn help_without_a_name_lists_commands_and_sections() {
        let text = on("").unwrap();
        assert!(text.contains("  check ") && text.contains("[lip-pool NAME]"));
    }

    #[test]
    fn a_slip_is_answered_with_the_command_section_or_key_that_was_meant() {
        for (name, sentence) in [
            (
                "chekc",
                "there is no command and no section `chekc`; did you mean `check`?",
            ),
            (
                "servce",
                "there is no section `servce`; did you mean `service`?",
            ),
            (
                "service.idel",
                "there is no key `idel` in [service]; did you mean `service.idle`?",
            ),
            (
                "xyzzy",
                "there is no section `xyzzy`; `weir help` lists the sections",
            ),
        ] {
            assert_eq!(on(name).unwrap_err(), sentence);
        }
    }
}
