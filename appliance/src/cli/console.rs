//! `weir console`: the console where there is a terminal, and the table of services where there is
//! none.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use weir_console::{Capture, ColourWish, Options};
use weir_control::{Introduction, What};

use crate::{capture, show};

/// How the console runs.
#[derive(Debug, clap::Args)]
pub(super) struct ConsoleArguments {
    /// The control socket of the daemon.
    #[arg(long, value_name = "PATH", env = "WEIR_SOCKET")]
    socket: Option<PathBuf>,
    /// Changes nothing, whatever the socket permits.
    #[arg(long)]
    read_only: bool,
    /// Sends nothing but ASCII, whatever the locale says.
    #[arg(long)]
    ascii: bool,
    /// Which colours are sent.
    #[arg(long, alias = "color", value_enum, default_value_t = Colours::Auto)]
    colour: Colours,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Colours {
    /// As TERM and `NO_COLOR` say.
    Auto,
    /// None.
    Never,
    /// The eight that every colour terminal has.
    #[value(name = "8")]
    Eight,
    /// 256.
    #[value(name = "256")]
    Many,
}

impl Colours {
    fn wish(self) -> ColourWish {
        match self {
            Self::Auto => ColourWish::Auto,
            Self::Never => ColourWish::Never,
            Self::Eight => ColourWish::Ansi8,
            Self::Many => ColourWish::Ansi256,
        }
    }
}

/// Runs the console.
pub(super) fn console(arguments: ConsoleArguments) -> ExitCode {
    let said = Introduction::from_environment(|name| std::env::var(name).ok());
    let introduction = match said {
        Ok(said) => said,
        Err(sentence) => return ExitCode::from(super::failed(sentence)),
    };
    let socket = arguments.socket.clone();
    let options = Options {
        socket: arguments.socket,
        read_only: arguments.read_only,
        ascii: arguments.ascii,
        colour: arguments.colour.wish(),
        introduction,
        grammar: super::grammar::grammar(),
        capture: Capture::new(Arc::new(move |order| {
            let taken = capture::capture_beside(socket.clone(), order);
            taken.map_err(|error| format!("{error:#}"))
        })),
    };
    if let Some(sentence) = weir_console::unfit(&options) {
        eprintln!("weir: {sentence}; this is `weir show services`");
        let shown = show::show(&show::Order {
            what: What::Services,
            json: false,
            watch: None,
            service: None,
            client: None,
            span: None,
            socket: options.socket,
        });
        return ExitCode::from(super::asked(shown));
    }
    match weir_console::run(&options) {
        Ok(code) => code,
        Err(error) => ExitCode::from(super::failed(error)),
    }
}
