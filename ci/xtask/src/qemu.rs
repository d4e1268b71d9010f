//! Tests in virtual machines.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use weir_lab::machine;
use weir_qemu::developer;
use weir_qemu::guest::{self, Firmware};

use crate::{again_as_root, build, prepare, shows};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Qemu {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    appliance: Appliance,
}

/// The running appliance, with a client and two real servers around it.
#[derive(Debug, Default, Args)]
struct Appliance {
    /// Start this raw disk instead of building an image.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Put this static binary into the image instead of building one.
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    weir: Option<PathBuf>,
    /// Start with UEFI instead of a BIOS.
    #[arg(long)]
    uefi: bool,
    /// The driver of the data ports.
    #[arg(long, default_value = "auto")]
    driver: String,
    /// Memory in MiB.
    #[arg(long, default_value_t = 512)]
    memory: u32,
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
    pub(crate) fn rss() -> Self {
        Self {
            what: Some(What::Rss { init: None }),
            appliance: Appliance::default(),
        }
    }

    pub(crate) fn run(self) -> Result<ExitCode> {
        let Some(What::Rss { init }) = self.what else {
            return self.appliance.run();
        };
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

impl Appliance {
    fn run(self) -> Result<ExitCode> {
        let image = match &self.image {
            Some(image) => image.clone(),
            None => shows::disk(self.weir.as_deref())?,
        };
        if !machine::is_root() {
            let mut words = vec!["qemu".to_owned(), "--image".to_owned()];
            words.push(image.display().to_string());
            words.extend(["--driver".to_owned(), self.driver.clone()]);
            words.extend(["--memory".to_owned(), self.memory.to_string()]);
            words.extend(self.uefi.then(|| "--uefi".to_owned()));
            return again_as_root(&words);
        }
        guest::install_tools()?;
        let _janitor = prepare()?;
        let firmware = if self.uefi {
            Firmware::Uefi
        } else {
            Firmware::Bios
        };
        developer::open(&image, firmware, &self.driver, self.memory)?;
        Ok(ExitCode::SUCCESS)
    }
}
