//! The keys that updates are signed with, in minisign's format.

use std::fs;
use std::path::Path;

use minisign_verify::{Error, PublicKey, Signature};

/// Where an image has the keys that it believes.
pub(crate) const FOLDER: &str = "/usr/share/weir/update-keys";

/// The public keys of an image.
pub(crate) struct Keys(Vec<PublicKey>);

impl Keys {
    /// Takes the text of one public key.
    ///
    /// # Errors
    /// Says that it is none.
    pub(crate) fn one(text: &str) -> Result<Self, String> {
        let key = PublicKey::decode(text);
        let key = key.map_err(|_| "this is no public key of minisign".to_owned())?;
        Ok(Self(vec![key]))
    }

    /// Reads every `*.pub` of a folder.
    ///
    /// # Errors
    /// Says which cannot be read, or that there is none.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let none = || format!("there is no key for updates in {}", folder.display());
        let mut keys = Vec::new();
        for entry in fs::read_dir(folder).map_err(|_| none())?.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|end| end != "pub") {
                continue;
            }
            let wrong = || format!("{} is no public key of minisign", path.display());
            let text = fs::read_to_string(&path).map_err(|_| wrong())?;
            keys.push(PublicKey::decode(&text).map_err(|_| wrong())?);
        }
        if keys.is_empty() {
            return Err(none());
        }
        Ok(Self(keys))
    }

    /// Says whether one of the keys signed a text.
    ///
    /// # Errors
    /// Says why it is not believed.
    pub(crate) fn verify(&self, text: &[u8], signature: &str) -> Result<(), String> {
        let signature = Signature::decode(signature)
            .map_err(|_| "the update's signature is not one of minisign".to_owned())?;
        let Self(keys) = self;
        let mut why = "the update is signed with a key that this system does not know";
        for key in keys {
            match key.verify(text, &signature, false) {
                Ok(()) => return Ok(()),
                Err(Error::UnexpectedKeyId) => {}
                Err(_) => why = "the update's signature is wrong: somebody changed the update",
            }
        }
        Err(why.to_owned())
    }
}
