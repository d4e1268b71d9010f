//! Making the appliance image.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use weir_image::Plan;

use crate::build;

#[derive(Debug, Args)]
pub(crate) struct Image {
    /// Put this static binary into the image instead of building dist/weir.
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
    /// Where the image goes, with what is kept for the next build [default: target/image].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Add the kernel modules (NAME.ko) of this folder.
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Let the appliance take updates that this key signed; may be given more than once.
    #[arg(long, value_name = "FILE.pub")]
    update_key: Vec<PathBuf>,
    /// Sign the update file with this secret key.
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    /// The number of this build, the 12 of 0.1.0+12.
    #[arg(long, value_name = "N", default_value_t = 1)]
    build: u32,
    /// Make the raw disk and the update file only.
    #[arg(long)]
    disk_only: bool,
    /// Build it twice and see that both are the same, byte for byte.
    #[arg(long)]
    verify: bool,
}

impl Image {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let root = build::root();
        let weir = if let Some(weir) = self.weir {
            weir
        } else {
            build::dist()?;
            root.join("dist/weir")
        };
        let whole = |path: PathBuf| {
            std::path::absolute(&path).with_context(|| format!("cannot use {}", path.display()))
        };
        let plan = Plan {
            repository: root.to_owned(),
            weir: whole(weir)?,
            output: whole(self.output.unwrap_or_else(|| root.join("target/image")))?,
            modules: self.modules.map(whole).transpose()?,
            update_keys: self
                .update_key
                .into_iter()
                .map(whole)
                .collect::<Result<_>>()?,
            sign: self.sign.map(whole).transpose()?,
            build: self.build,
            disk_only: self.disk_only,
        };
        let image = weir_image::build(&plan)?;
        if self.verify {
            weir_image::verify(&plan, &image)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
