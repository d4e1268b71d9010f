//! What a static `weir` is linked with beside its crates: Rust's own library and a C library.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::list::Other;
use crate::run::{output, tool};

/// Where the texts of C libraries lie that are in no Debian package of the image.
pub(super) const C_LIBRARY: &str = "c-library";

/// The name of the C library whose text is there.
pub(super) const MUSL: &str = "musl";

/// What glibc says of itself in every static program.
const GLIBC_SAYS: &str = "GNU C Library (";

/// How musl's table of errors begins. musl says its name and number in its loader alone, which a static
/// program does not have; but Rust's library asks for the words of errors, so the table is always there.
const MUSL_ERRORS: &[u8] =
    b"No error information\0Illegal byte sequence\0Domain error\0Result not representable\0Not a tty\0";

/// Finds what a program is linked with.
pub(super) fn linked(program: &[u8], path: &Path) -> Result<Vec<Other>> {
    let comment = output(
        tool("readelf")
            .args(["--string-dump", ".comment"])
            .arg(path),
    )?;
    libraries(program, &comment).with_context(|| format!("{} cannot be listed", path.display()))
}

/// Finds the libraries in a program's bytes and in what its section `.comment` says.
fn libraries(program: &[u8], comment: &str) -> Result<Vec<Other>> {
    let other = |name: &str, version: &str, licence: &str| Other {
        kind: "library",
        name: name.to_owned(),
        version: version.to_owned(),
        licence: licence.to_owned(),
        properties: vec![("weir:linked-into", "/usr/bin/weir".to_owned())],
    };
    let rust = between(comment, "rustc version ", " ")
        .context("its section .comment does not say which Rust made it")?;
    let said = String::from_utf8_lossy(program);
    let c_library = if let Some(named) = between(&said, GLIBC_SAYS, ")") {
        // Other builders' than Debian's say so in the version.
        let version = named.strip_prefix("Debian GLIBC ").unwrap_or(named);
        other("glibc", version, "as in licences/debian/libc6")
    } else if contains(program, MUSL_ERRORS) {
        let version = format!("not in the program; Rust {rust} brings its own");
        let licence = format!("as in licences/{C_LIBRARY}/{MUSL}");
        other(MUSL, &version, &licence)
    } else {
        bail!(
            "it is linked with a C library that is neither glibc nor musl, whose name, version and \
             licence are not known"
        );
    };
    let rust = other("rust-std", rust, "MIT OR Apache-2.0");
    Ok(vec![rust, c_library])
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMENT: &str = "String dump of section '.comment':\n  [  0]  GCC: (Debian 12.2.0-14) 12.2.0\n  \
        [ 27]  rustc version 1.95.0 (59807616e 2026-04-14)\n";

    fn named(program: &[u8]) -> Vec<(String, String, String)> {
        let all = libraries(program, COMMENT).unwrap();
        let of = |other: Other| (other.name, other.version, other.licence);
        all.into_iter().map(of).collect()
    }

    #[test]
    fn a_program_with_glibc_names_it_with_debians_version() {
        let program =
            b"\x7fELF\0GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.\n";
        let found = named(program);
        assert_eq!(found[0].0, "rust-std");
        assert_eq!(found[0].1, "1.95.0");
        let glibc = ("glibc", "2.36-9+deb12u14", "as in licences/debian/libc6");
        let [_, (name, version, licence)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((name.as_str(), version.as_str(), licence.as_str()), glibc);
    }

    #[test]
    fn a_program_with_musl_names_it_with_no_number_that_it_does_not_have() {
        let program = [b"\x7fELF\0", MUSL_ERRORS, b"Permission denied\0"].concat();
        let found = named(&program);
        let musl = (
            "musl",
            "not in the program; Rust 1.95.0 brings its own",
            "as in licences/c-library/musl",
        );
        let [_, (name, version, licence)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((name.as_str(), version.as_str(), licence.as_str()), musl);
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("licences/c-library/musl");
        let text = std::fs::read_to_string(text).unwrap();
        assert!(text.contains("Rich Felker") && text.contains("Permission is hereby granted"));
    }

    #[test]
    fn a_program_with_another_c_library_is_refused() {
        // One of musl's sentences is in other programs, too; its table is not.
        let error = libraries(b"\x7fELF\0No error information\0", COMMENT).unwrap_err();
        assert!(
            error.to_string().contains("neither glibc nor musl"),
            "{error}"
        );
        let error = libraries(b"", "GCC: (Debian 12.2.0-14) 12.2.0").unwrap_err();
        assert!(error.to_string().contains("which Rust made it"), "{error}");
    }
}
