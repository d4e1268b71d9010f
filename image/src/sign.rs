//! Keys and signatures in minisign's format.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};
use sha2::{Digest as _, Sha256};

use crate::Plan;
use crate::files;
use crate::run::{output, tool};

/// The name of the key that developers' images are signed with.
const DEVELOPERS: &str = "developers";

/// Who signs, and whom the image believes.
#[derive(Debug)]
pub struct Keys {
    secret: SecretKey,
    public: Vec<(String, String)>,
}

impl Keys {
    /// Reads the keys of a plan; where it names none, makes and takes those of developers.
    pub fn get(plan: &Plan) -> Result<Self> {
        let folder = plan.output.join("keys");
        let ours = plan.sign.is_none() || plan.update_keys.is_empty();
        if ours {
            make(&folder)?;
            println!(
                "ATTENTION: this image is for development. {}: whoever reads {} can update it.",
                match (&plan.sign, plan.update_keys.is_empty()) {
                    (None, true) => "It believes the developers' key and is signed with it",
                    (None, false) => "Its update file is signed with the developers' key",
                    (Some(_), _) => "It believes the developers' key",
                },
                folder.display()
            );
        }
        let secret = match &plan.sign {
            Some(file) => file.clone(),
            None => folder.join(format!("{DEVELOPERS}.key")),
        };
        let public: Vec<PathBuf> = if plan.update_keys.is_empty() {
            vec![folder.join(format!("{DEVELOPERS}.pub"))]
        } else {
            plan.update_keys.clone()
        };
        Ok(Self {
            secret: read_secret(&secret)?,
            public: public
                .iter()
                .map(|file| Ok((public_name(file), read_public(file)?)))
                .collect::<Result<_>>()?,
        })
    }

    /// Reads a secret key alone, to sign with.
    ///
    /// # Errors
    /// When the file is not a secret key in minisign's format without a password.
    pub fn secret(file: &Path) -> Result<Self> {
        Ok(Self {
            secret: read_secret(file)?,
            public: Vec::new(),
        })
    }

    /// Returns the names and the texts of the keys that the image believes.
    pub(crate) fn public(&self) -> &[(String, String)] {
        &self.public
    }

    /// Signs bytes; returns the text of the signature file.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> Result<String> {
        let signature = minisign::sign(
            None,
            &self.secret,
            Cursor::new(bytes),
            Some(comment),
            Some("signature of the Weir appliance"),
        )
        .context("cannot sign")?;
        Ok(signature.into_string())
    }
}

/// Makes the developers' keys, unless they are there.
fn make(folder: &Path) -> Result<()> {
    let secret = folder.join(format!("{DEVELOPERS}.key"));
    if secret.is_file() {
        return Ok(());
    }
    let pair = KeyPair::generate_unencrypted_keypair().context("cannot make keys")?;
    let public = pair.pk.to_box().context("cannot write the public key")?;
    files::write(
        &folder.join(format!("{DEVELOPERS}.pub")),
        public.to_string(),
    )?;
    let text = pair.sk.to_box(Some("secret key of developers"));
    let text = text.context("cannot write the secret key")?;
    files::write(&secret, text.to_string())?;
    files::set_mode(&secret, 0o600)
}

/// Reads a secret key; one with a password asks for it on the terminal.
fn read_secret(file: &Path) -> Result<SecretKey> {
    let sentence = || {
        format!(
            "{} is not a secret key in minisign's format",
            file.display()
        )
    };
    let text = files::read_text(file)?;
    let sealed = SecretKeyBox::from_string(&text).with_context(sentence)?;
    if let Ok(key) = sealed.into_unencrypted_secret_key() {
        return Ok(key);
    }
    let sealed = SecretKeyBox::from_string(&text).with_context(sentence)?;
    sealed
        .into_secret_key(None)
        .with_context(|| format!("cannot open {}; is the password right?", file.display()))
}

fn read_public(file: &Path) -> Result<String> {
    PublicKey::from_file(file).with_context(|| {
        format!(
            "{} is not a public key in minisign's format",
            file.display()
        )
    })?;
    files::read_text(file)
}

fn public_name(file: &Path) -> String {
    let name = files::name(file);
    format!("{}.pub", name.trim_end_matches(".pub"))
}

/// Returns the SHA-256 of bytes in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digits: Vec<String> = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    digits.concat()
}

/// Returns the SHA-256 of a file in hexadecimal digits.
///
/// # Errors
/// When it cannot be read.
pub fn sum_of(file: &Path) -> Result<String> {
    let said = output(tool("sha256sum").arg(file))?;
    let sum = said.split_whitespace().next();
    Ok(sum.context("sha256sum said nothing")?.to_owned())
}

#[cfg(test)]
mod tests {
    use minisign::{PublicKeyBox, SignatureBox};

    use super::*;

    #[test]
    fn what_is_signed_is_verified_and_what_was_changed_is_not() {
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        let keys = Keys {
            secret: pair.sk,
            public: Vec::new(),
        };
        let text = keys.sign(b"version = 1\n", "weir 1").unwrap();
        let signature = SignatureBox::from_string(&text).unwrap();
        let public = PublicKeyBox::from_string(&pair.pk.to_box().unwrap().to_string()).unwrap();
        let public = public.into_public_key().unwrap();
        let verify = |bytes: &[u8]| {
            minisign::verify(&public, &signature, Cursor::new(bytes), true, false, false)
        };
        assert!(verify(b"version = 1\n").is_ok());
        assert!(verify(b"version = 2\n").is_err());
        assert_eq!(signature.trusted_comment().unwrap(), "weir 1");
    }

    #[test]
    fn a_sum_is_that_of_sha256sum() {
        assert_eq!(
            sha256(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
