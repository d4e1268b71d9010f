//! Tests in virtual machines.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use weir_lab::machine;

use crate::{again_as_root, build, prepare};

#[derive(Debug, Args)]
pub(crate) struct Qemu {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Proves on QEMU's virtio-net that frames arrive on the queue that was foretold.
    Rss {
        /// Use this program as the guest's init instead of building one.
        #[arg(long, value_name = "FILE")]
        init: Option<PathBuf>,
    },
}

impl Qemu {
    /// What `test --long` does.
    pub(crate) const fn rss() -> Self {
        Self {
            what: What::Rss { init: None },
        }
    }

    pub(crate) fn run(self) -> Result<ExitCode> {
        let What::Rss { init } = self.what;
        let init = match init {
            Some(init) => init,
            None => build::guest("rss-guest")?,
        };
        if !machine::is_root() {
            let words = ["qemu", "rss", "--init", &init.display().to_string()];
            return again_as_root(&words.map(str::to_owned));
        }
        let _janitor = prepare()?;
        weir_qemu::rss::prove(&init, &build::root().join("target/qemu/kernel"))?;
        Ok(ExitCode::SUCCESS)
    }
}
