//! One public key, read strictly.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use weir_control::Login;

/// No line with a key is longer; SSH itself reads 4200 bytes, and options are dropped.
const LONGEST: usize = 8 * 1024;
/// RSA keys of fewer bits can be broken, and of more only cost time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The longest name.
const LONGEST_NAME: usize = 64;

/// What is inside a key behind its type (RFC 4253 section 6.6, RFC 5656, RFC 8709, and OpenSSH's
/// PROTOCOL.u2f).
#[derive(Clone, Copy)]
enum Shape {
    /// 32 bytes.
    Ed25519,
    /// The name of the curve and a point of so many bytes.
    Ecdsa(&'static str, usize),
    /// Exponent and modulus.
    Rsa,
    /// Of a security key: as the other, and for which application.
    Ed25519OfToken,
    /// Of a security key: as the other, and for which application.
    EcdsaOfToken,
}

const KINDS: [(&str, Shape); 7] = [
    ("ssh-ed25519", Shape::Ed25519),
    ("ecdsa-sha2-nistp256", Shape::Ecdsa("nistp256", 65)),
    ("ecdsa-sha2-nistp384", Shape::Ecdsa("nistp384", 97)),
    ("ecdsa-sha2-nistp521", Shape::Ecdsa("nistp521", 133)),
    ("ssh-rsa", Shape::Rsa),
    ("sk-ssh-ed25519@openssh.com", Shape::Ed25519OfToken),
    ("sk-ecdsa-sha2-nistp256@openssh.com", Shape::EcdsaOfToken),
];

/// A public key with the name of who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    kind: &'static str,
    blob: Vec<u8>,
    name: Login,
}

impl Key {
    /// Reads a line as in `id_ed25519.pub` or `authorized_keys`; options before the key are dropped.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim();
        if line.len() > LONGEST {
            return Err(format!("a key has at most {LONGEST} characters"));
        }
        if line.contains("PRIVATE KEY") {
            return Err(
                "this is a private key, which nobody else may have; the one to give ends in .pub"
                    .to_owned(),
            );
        }
        if line.contains(|c: char| c.is_control() && c != '\t') {
            return Err("a key is one line of text".to_owned());
        }
        let words = words(line);
        let mut rest = words.iter().copied();
        let first = rest.next().unwrap_or_default();
        let (kind, shape) = match kind(first) {
            Some(known) => known,
            None => match rest.next().map(kind) {
                Some(Some(known)) => known,
                Some(None) | None => return Err(unknown(first)),
            },
        };
        let Some(body) = rest.next() else {
            return Err(format!("there is nothing behind {kind}"));
        };
        let blob = STANDARD.decode(body).map_err(|_| {
            format!("what stands behind {kind} is no key: it is cut off, or no base64")
        })?;
        check(kind, shape, &blob).map_err(|what| format!("the {kind} key is damaged: {what}"))?;
        let comment = rest.collect::<Vec<_>>().join(" ");
        let name = match sanitized(&comment) {
            Some(name) => name,
            None => name_of_print(&blob)?,
        };
        Ok(Self { kind, blob, name })
    }

    /// Returns the name of who has it.
    pub(crate) fn name(&self) -> &Login {
        &self.name
    }

    /// Returns its type.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Says whether another one opens for the same person, whatever the name.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.blob == other.blob
    }

    /// Returns it under another name.
    pub(crate) fn named(self, name: Login) -> Self {
        Self { name, ..self }
    }

    /// Returns its print, as `ssh-keygen -l` writes it.
    pub(crate) fn fingerprint(&self) -> String {
        let print = Sha256::digest(&self.blob);
        format!("SHA256:{}", STANDARD_NO_PAD.encode(print))
    }

    /// Returns type, key and name in one line.
    pub(crate) fn line(&self) -> String {
        let body = STANDARD.encode(&self.blob);
        format!("{} {body} {}", self.kind, self.name)
    }
}

/// A key without a name has one of its print.
fn name_of_print(blob: &[u8]) -> Result<Login, String> {
    let print = Sha256::digest(blob);
    let digits = print.iter().take(4).map(|byte| format!("{byte:02x}"));
    Login::try_from(format!("key-{}", digits.collect::<String>()))
}

/// Returns what a key's comment says as a name that events and the command line can carry.
fn sanitized(comment: &str) -> Option<Login> {
    let keep = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
    let name: String = comment
        .trim()
        .chars()
        .map(|c| if keep(c) { c } else { '-' })
        .take(LONGEST_NAME)
        .collect();
    // It stands on a command line: it must not look like an option.
    let name = name.trim_matches('-');
    Login::try_from(name.to_owned()).ok()
}

/// Returns a name with a number behind it.
pub(super) fn numbered(name: &Login, number: usize) -> Option<Login> {
    let end = format!("-{number}");
    let text = name.to_string();
    let room = LONGEST_NAME.checked_sub(end.len())?;
    let head = text.get(..text.len().min(room))?;
    Login::try_from(format!("{head}{end}")).ok()
}

fn kind(word: &str) -> Option<(&'static str, Shape)> {
    KINDS.into_iter().find(|(name, _)| *name == word)
}

fn unknown(first: &str) -> String {
    if first == "ssh-dss" {
        return "DSA keys can be broken; make one with `ssh-keygen -t ed25519`".to_owned();
    }
    if first.contains("-cert-v01@") {
        return "this is a certificate; give the key itself".to_owned();
    }
    "this is no public key; it begins with its type, e.g. `ssh-ed25519 AAAA... alice`".to_owned()
}

/// Splits a line at blanks that are not between quotes.
fn words(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let mut escaped = false;
    let mut found = line.split(move |c: char| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '\\' => escaped = !was_escaped,
            '"' if !was_escaped => quoted = !quoted,
            _ => {}
        }
        !quoted && (c == ' ' || c == '\t')
    });
    let mut words: Vec<&str> = found.by_ref().collect();
    words.retain(|word| !word.is_empty());
    words
}

/// Takes a string of SSH: its length in four bytes, and itself.
fn string<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    const SHORT: &str = "it is too short";
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(SHORT)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (string, rest) = rest.split_at_checked(length).ok_or(SHORT)?;
    *bytes = rest;
    Ok(string)
}

fn check(kind: &str, shape: Shape, blob: &[u8]) -> Result<(), String> {
    let mut rest = blob;
    if string(&mut rest)? != kind.as_bytes() {
        return Err("it says another type inside".to_owned());
    }
    match shape {
        Shape::Ed25519 => ed25519(&mut rest)?,
        Shape::Ecdsa(curve, length) => ecdsa(&mut rest, curve, length)?,
        Shape::Rsa => rsa(&mut rest)?,
        Shape::Ed25519OfToken => {
            ed25519(&mut rest)?;
            string(&mut rest)?;
        }
        Shape::EcdsaOfToken => {
            ecdsa(&mut rest, "nistp256", 65)?;
            string(&mut rest)?;
        }
    }
    if !rest.is_empty() {
        return Err("something stands behind its end".to_owned());
    }
    Ok(())
}

fn ed25519(rest: &mut &[u8]) -> Result<(), &'static str> {
    if string(rest)?.len() == 32 {
        Ok(())
    } else {
        Err("it has not 32 bytes")
    }
}

fn ecdsa(rest: &mut &[u8], curve: &str, length: usize) -> Result<(), &'static str> {
    if string(rest)? != curve.as_bytes() {
        return Err("it says another curve inside");
    }
    let point = string(rest)?;
    if point.len() == length && point.first() == Some(&4) {
        Ok(())
    } else {
        Err("its point has another length, or is compressed")
    }
}

fn rsa(rest: &mut &[u8]) -> Result<(), String> {
    let exponent = string(rest)?;
    if exponent.len() > 8 || matches!(exponent, [] | [0 | 1]) {
        return Err("its exponent is wrong".to_owned());
    }
    let modulus = string(rest)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let head = modulus.get(zeros).map_or(8, |byte| byte.leading_zeros());
    let bits = (modulus.len() - zeros) * 8 - (head as usize).min((modulus.len() - zeros) * 8);
    if RSA_BITS.contains(&bits) {
        return Ok(());
    }
    let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
    Err(format!(
        "it has {bits} bits, and must have {least} to {most}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn blob(parts: &[&[u8]]) -> String {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(part);
        }
        STANDARD.encode(bytes)
    }

    fn error(line: &str) -> String {
        Key::parse(line).unwrap_err()
    }

    #[test]
    fn a_key_of_openssh_is_read_with_its_print_and_name() {
        let key = Key::parse(&format!("ssh-ed25519 {BODY} alice@laptop\n")).unwrap();
        assert_eq!(key.kind(), "ssh-ed25519");
        assert_eq!(key.name().to_string(), "alice@laptop");
        // What ssh-keygen -l says of it.
        assert_eq!(
            key.fingerprint(),
            "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ"
        );
        assert_eq!(key.line(), format!("ssh-ed25519 {BODY} alice@laptop"));
    }

    #[test]
    fn options_are_dropped_whatever_is_in_their_quotes() {
        for options in [
            "no-pty",
            "command=\"/bin/sh -c \\\"id; ssh-ed25519 x\\\"\",no-pty",
            "from=\"10.0.0.0/8\",environment=\"LD_PRELOAD=/tmp/x y\"",
        ] {
            let key = Key::parse(&format!("{options} ssh-ed25519 {BODY} alice")).unwrap();
            assert_eq!(key.line(), format!("ssh-ed25519 {BODY} alice"), "{options}");
        }
    }

    #[test]
    fn a_name_becomes_one_that_a_command_line_can_carry() {
        for (comment, name) in [
            ("Alice Smith <a@b>", "Alice-Smith--a@b"),
            ("--help", "help"),
            ("x\"; reboot; \"", "x---reboot"),
            ("$(reboot)", "reboot"),
            ("Jürgen", "J-rgen"),
            ("a,no-pty", "a-no-pty"),
        ] {
            let key = Key::parse(&format!("ssh-ed25519 {BODY} {comment}")).unwrap();
            assert_eq!(key.name().to_string(), name, "{comment}");
        }
        let long = Key::parse(&format!("ssh-ed25519 {BODY} {}", "x".repeat(500))).unwrap();
        assert_eq!(long.name().to_string().len(), 64);
        let none = Key::parse(&format!("ssh-ed25519 {BODY}")).unwrap();
        assert!(none.name().to_string().starts_with("key-"));
        let none = Key::parse(&format!("ssh-ed25519 {BODY} ---")).unwrap();
        assert!(none.name().to_string().starts_with("key-"));
    }

    #[test]
    fn a_long_name_keeps_room_for_its_number() {
        let name = Login::try_from("x".repeat(64)).unwrap();
        let name = numbered(&name, 12).unwrap().to_string();
        assert_eq!((name.len(), name.ends_with("x-12")), (64, true));
    }

    #[test]
    fn every_type_is_read_and_weak_or_odd_ones_are_not() {
        let point = [&[4][..], &[7; 64]].concat();
        let ecdsa = blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &point]);
        assert!(Key::parse(&format!("ecdsa-sha2-nistp256 {ecdsa} a")).is_ok());
        let token = blob(&[b"sk-ssh-ed25519@openssh.com", &[9; 32], b"ssh:"]);
        assert!(Key::parse(&format!("sk-ssh-ed25519@openssh.com {token} a")).is_ok());
        let rsa = |length: usize| {
            let modulus = [&[0, 0x80][..], &vec![1; length - 1]].concat();
            format!("ssh-rsa {} a", blob(&[b"ssh-rsa", &[1, 0, 1], &modulus]))
        };
        assert!(Key::parse(&rsa(256)).is_ok());
        assert!(Key::parse(&rsa(1024)).is_ok());
        assert!(error(&rsa(128)).contains("it has 1024 bits"));
        assert!(error(&rsa(1025)).contains("it has 8200 bits"));
        let empty = blob(&[b"ssh-rsa", &[1, 0, 1], b""]);
        assert!(error(&format!("ssh-rsa {empty} a")).contains("it has 0 bits"));
        assert!(error("ssh-dss AAAA a").contains("ssh-keygen -t ed25519"));
        assert!(error("ssh-ed25519-cert-v01@openssh.com AAAA a").contains("certificate"));
    }

    #[test]
    fn damaged_keys_are_refused_with_a_sentence() {
        let short = blob(&[b"ssh-ed25519", &[1; 31]]);
        let behind = blob(&[b"ssh-ed25519", &[1; 32], b"x"]);
        let other = blob(&[b"ssh-rsa", &[1; 32]]);
        let lies = STANDARD.encode([0xff, 0xff, 0xff, 0xff, 1, 2]);
        for (line, says) in [
            (String::new(), "begins with its type"),
            ("hello world".to_owned(), "begins with its type"),
            ("ssh-ed25519".to_owned(), "nothing behind"),
            (format!("ssh-ed25519 {}", &BODY[..40]), "too short"),
            (format!("ssh-ed25519 {}", &BODY[..41]), "cut off"),
            (format!("ssh-ed25519 {BODY}="), "cut off"),
            ("ssh-ed25519 !!!!".to_owned(), "cut off"),
            (format!("ssh-ed25519 {short}"), "32 bytes"),
            (format!("ssh-ed25519 {behind}"), "behind its end"),
            (format!("ssh-ed25519 {other}"), "another type"),
            (format!("ssh-ed25519 {lies}"), "too short"),
            (format!("ssh-ed25519 {BODY} a\nssh-rsa"), "one line"),
            (format!("ssh-ed25519 {BODY} a\u{1b}[2J"), "one line"),
            ("x".repeat(LONGEST + 1), "at most"),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(),
                "private key",
            ),
        ] {
            let error = error(&line);
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
