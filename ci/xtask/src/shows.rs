//! What the appliance image must show, in virtual machines.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use weir_image::Plan;
use weir_lab::machine;
use weir_qemu::images::Images;
use weir_qemu::{guest, shows};

use crate::{build, gate, prepare};

/// How long an image may take to build, its program apart.
const BUILD: Duration = Duration::from_mins(1);

#[derive(Debug, Args)]
pub(crate) struct Shows {
    /// What must show something.
    what: What,
    /// Take only the parts whose names contain one of these.
    #[arg(long, value_name = "NAME")]
    part: Vec<String>,
    /// Take short figures: three power cuts, two bad updates, no installer.
    #[arg(long)]
    short: bool,
    /// Put this static binary into the images instead of building one.
    #[arg(long, value_name = "FILE", env = "WEIR_IMAGE_PROGRAM")]
    weir: Option<PathBuf>,
    /// Where the images go [default: target/image].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Add the kernel modules (NAME.ko) of this folder; with a netmap.ko there, traffic takes it.
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Take the images that are there.
    #[arg(long, hide = true)]
    built: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The appliance image.
    Image,
}

impl Shows {
    /// Plans the short form with this static binary, or one that is built for it.
    pub(crate) fn short(weir: Option<&Path>) -> Self {
        Self {
            what: What::Image,
            part: Vec::new(),
            short: true,
            weir: weir.map(Path::to_owned),
            output: None,
            modules: None,
            built: false,
        }
    }

    pub(crate) fn run(&self) -> Result<ExitCode> {
        let tally = self.tally()?;
        tally.print();
        Ok(ExitCode::from(u8::from(tally.failed > 0)))
    }

    pub(crate) fn tally(&self) -> Result<gate::Tally> {
        let What::Image = self.what;
        for part in &self.part {
            if !shows::PARTS.iter().any(|name| name.contains(part.as_str())) {
                bail!(
                    "no part is named like `{part}`; there are {:?}",
                    shows::PARTS
                );
            }
        }
        if machine::is_root() {
            guest::install_tools()?;
        }
        let mut tally = gate::Tally::default();
        let plan = tally.time("image program", |_| self.plan())?;
        let images = if self.built {
            Images::built(&plan)?
        } else {
            let images = tally.time("image build, two versions", |_| Images::build(&plan))?;
            if self.part.is_empty() {
                again(&mut tally, &plan, &images);
            }
            images
        };
        if !machine::is_root() {
            tally.add(gate::listen(machine::as_root()?.args(self.words(&plan)))?);
            return Ok(tally);
        }
        let _janitor = prepare()?;
        tally.add(shows::run(&images, !self.short, &self.part).into());
        Ok(tally)
    }

    fn plan(&self) -> Result<Plan> {
        let root = build::root();
        let whole = |path: &PathBuf| {
            std::path::absolute(path).with_context(|| format!("cannot use {}", path.display()))
        };
        let weir = match &self.weir {
            Some(weir) => weir.clone(),
            None => build::for_image()?,
        };
        Ok(Plan {
            repository: root.to_owned(),
            weir: whole(&weir)?,
            output: match &self.output {
                Some(output) => whole(output)?,
                None => root.join("target/image"),
            },
            modules: self.modules.as_ref().map(whole).transpose()?,
            update_keys: Vec::new(),
            sign: None,
            build: 1,
            disk_only: self.short,
        })
    }

    /// Returns the words that do the same with the images that are built.
    fn words(&self, plan: &Plan) -> Vec<String> {
        let mut words = ["shows", "image", "--built", "--weir"]
            .map(str::to_owned)
            .to_vec();
        words.push(plan.weir.display().to_string());
        words.extend(["--output".to_owned(), plan.output.display().to_string()]);
        if let Some(modules) = &plan.modules {
            words.extend(["--modules".to_owned(), modules.display().to_string()]);
        }
        words.extend(self.short.then(|| "--short".to_owned()));
        for part in &self.part {
            words.extend(["--part".to_owned(), part.clone()]);
        }
        words
    }
}

/// Builds the image once more, which must give the same bytes, and in time.
fn again(tally: &mut gate::Tally, plan: &Plan, images: &Images) {
    const NAME: &str = "image: built once more, the same bytes";
    let begin = Instant::now();
    let outcome = weir_image::verify(plan, &images.first);
    let seconds = begin.elapsed().as_secs_f32();
    match outcome {
        Err(error) => tally.fail(NAME, &error),
        Ok(()) if begin.elapsed() > BUILD => {
            tally.fail(NAME, &anyhow::anyhow!("it took {seconds:.1} s"));
        }
        Ok(()) => {
            tally.passed += 1;
            println!("ok    {NAME}: in {seconds:.1} s");
        }
    }
}

/// Builds the disk of an appliance and returns where it is.
pub(crate) fn disk(weir: Option<&Path>) -> Result<PathBuf> {
    let plan = Shows::short(weir).plan()?;
    Ok(weir_image::build(&plan)?.disk)
}
