//! Pictures of the console: what a terminal showed, drawn as SVG.

mod svg;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use weir_lab::{machine, scenario};

use crate::{Weir, again_as_root, build, prepare};

/// What the terminal showed, with its escape sequences.
const CAPTURE: &str = "docs/console-flood.ansi";
/// The same without them.
const TEXT: &str = "docs/console-flood.txt";
/// The picture of it.
const PICTURE: &str = "docs/console-flood.svg";

#[derive(Debug, Args)]
pub(crate) struct Picture {
    /// Draw what was captured before, without a lab.
    #[arg(long)]
    draw: bool,
    /// How long the flood lasts before the picture is taken, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[command(flatten)]
    weir: Weir,
}

impl Picture {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if !self.draw {
            let program = self.weir.get()?;
            if !machine::is_root() {
                let mut words = vec!["picture".to_owned(), "--weir".to_owned()];
                words.push(program.display().to_string());
                words.extend(["--seconds".to_owned(), self.seconds.to_string()]);
                return again_as_root(&words);
            }
            let _janitor = prepare()?;
            let capture = scenario::console::picture(&program, self.seconds)?;
            write(CAPTURE, &capture)?;
        }
        let file = build::root().join(CAPTURE);
        let capture = fs::read_to_string(file).with_context(|| format!("cannot read {CAPTURE}"))?;
        let text = svg::text(&capture);
        print!("{text}");
        write(TEXT, &text)?;
        write(PICTURE, &svg::draw(&capture))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn write(name: &str, text: &str) -> Result<()> {
    let file = build::root().join(name);
    fs::write(file, text).with_context(|| format!("cannot write {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_picture_is_that_of_the_committed_capture() {
        let read = |name: &str| fs::read_to_string(build::root().join(name)).unwrap();
        let capture = read(CAPTURE);
        assert_eq!(read(PICTURE), svg::draw(&capture));
        assert_eq!(read(TEXT), svg::text(&capture));
        assert!(read(TEXT).contains("ledger ok"));
    }
}
