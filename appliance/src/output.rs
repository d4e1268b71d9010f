//! Files that commands write for their operator: what is there already is not lost by accident.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow};

/// Makes a file that its owner only may read. One that is there is written over with `force` only.
///
/// # Errors
/// When it is there, or cannot be made.
pub(crate) fn create(path: &Path, force: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    match options.open(path) {
        Err(error) if !force && error.kind() == ErrorKind::AlreadyExists => Err(there(path)),
        made => made.with_context(|| format!("cannot make {}", path.display())),
    }
}

/// Says before anything is done that a file is there already.
///
/// # Errors
/// When it is, and is not to be written over.
pub(crate) fn look(path: &Path, force: bool) -> Result<()> {
    // A link that leads nowhere is something, too.
    if !force && path.symlink_metadata().is_ok() {
        return Err(there(path));
    }
    Ok(())
}

fn there(path: &Path) -> Error {
    let path = path.display();
    anyhow!("{path} is there already; name another file, or say --force to write over it")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_that_is_there_is_written_over_by_force_only() {
        let path = std::env::temp_dir().join(format!("weir-{}-output", std::process::id()));
        look(&path, false).unwrap();
        create(&path, false).unwrap().write_all(b"first").unwrap();
        let told = create(&path, false).unwrap_err().to_string();
        assert!(
            told.contains("is there already") && told.contains("--force"),
            "{told}"
        );
        assert_eq!(look(&path, false).unwrap_err().to_string(), told);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        look(&path, true).unwrap();
        create(&path, true).unwrap().write_all(b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        fs::remove_file(&path).unwrap();
    }
}
