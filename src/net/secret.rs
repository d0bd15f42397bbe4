//! a token or password that is compared and sent, but never printed

use crate::error::{Error, Result};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// A token or password. Formatting it in any way prints `***`.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Keeps this text secret.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Secret(text.into())
    }

    /// Reads it from a file; white space around it (the line's end) does not belong to it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::io(format_args!("`{}`: cannot read the secret", path.display()), error))?;
        match text.trim() {
            "" => Err(Error::invalid(format!("`{}`: the file is empty; write the secret into it", path.display()))),
            secret => Ok(Secret::new(secret)),
        }
    }

    /// The text itself, for the one place that must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a caller named the same text. Takes as long for a near miss as for a far one.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        // Hashed first, so that not even the lengths are compared.
        let (ours, theirs) = (Sha256::digest(self.0.as_bytes()), Sha256::digest(candidate));
        ours.as_slice().ct_eq(theirs.as_slice()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        String::deserialize(reader).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_and_never_prints() {
        let secret = Secret::new("correct horse");
        assert!(secret.matches(b"correct horse"));
        for wrong in ["", "correct", "correct horse ", "Correct horse"] {
            assert!(!secret.matches(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
    }

    #[test]
    fn reads_a_file_without_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        assert_eq!(Secret::read(&path).unwrap().reveal(), "s3cret");
        std::fs::write(&path, " \n").unwrap();
        assert!(Secret::read(&path).unwrap_err().message().contains("empty"));
        assert!(Secret::read(&folder.path().join("none")).unwrap_err().message().contains("cannot read the secret"));
    }
}
