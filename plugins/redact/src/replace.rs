//! what stands in place of what was found

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use crate::find::{Finders, Place};

/// What to put there.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Replace {
    /// `[email]`
    #[default]
    Label,
    /// `***@*******.***`: letters and digits become `*`; of a card number the last four digits stay
    Mask,
    /// `[email:9f86d081884c7d65]`: the same for the same, and nobody without the key can try out what it was
    Hash,
}

/// Puts it there.
pub struct Replacer {
    replace: Replace,
    hmac: Option<Hmac<Sha256>>,
}

/// A shorter key could be tried out.
const KEY_BYTES_MIN: usize = 16;

impl Replacer {
    /// The settings, checked.
    pub fn new(replace: Replace, key: Option<String>) -> Result<Replacer, String> {
        let hmac = match (replace, key) {
            (Replace::Hash, Some(key)) if key.len() >= KEY_BYTES_MIN => {
                Some(Hmac::new_from_slice(key.as_bytes()).map_err(|error| format!("`key`: {error}"))?)
            }
            (Replace::Hash, Some(_)) => {
                return Err(format!("`key` is shorter than {KEY_BYTES_MIN} bytes, and could be found by trying"));
            }
            (Replace::Hash, None) => {
                return Err("`replace` is \"hash\": give a secret as `key`, such as \"${REDACT_KEY}\"".to_owned());
            }
            (Replace::Label | Replace::Mask, Some(_)) => {
                return Err("`key` is for `replace = \"hash\"`; leave it out, or write that".to_owned());
            }
            (Replace::Label | Replace::Mask, None) => None,
        };
        Ok(Replacer { replace, hmac })
    }

    /// The text with every place replaced. Places are in order and apart.
    pub fn replace(&self, text: &[u8], places: &[Place], finders: &Finders) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 16 * places.len());
        let mut from = 0;
        for place in places {
            out.extend_from_slice(&text[from..place.start]);
            let found = &text[place.start..place.end];
            match self.replace {
                Replace::Label => out.extend_from_slice(format!("[{}]", finders.label(place.what)).as_bytes()),
                Replace::Mask => mask(found, if finders.is_card(place.what) { 4 } else { 0 }, &mut out),
                Replace::Hash => {
                    out.extend_from_slice(
                        format!("[{}:{:016x}]", finders.label(place.what), self.hash(found)).as_bytes(),
                    );
                }
            }
            from = place.end;
        }
        out.extend_from_slice(&text[from..]);
        out
    }

    /// The first 8 bytes of HMAC-SHA256.
    fn hash(&self, found: &[u8]) -> u64 {
        let Some(mut hmac) = self.hmac.clone() else { return 0 };
        hmac.update(found);
        let bytes = hmac.finalize().into_bytes();
        bytes.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}

/// A `*` for each letter, digit and byte beyond ASCII, but not for the last `left` of them.
fn mask(found: &[u8], left: usize, out: &mut Vec<u8>) {
    let is_hidden = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    let hidden = found.iter().filter(|byte| is_hidden(byte)).count().saturating_sub(left);
    let mut seen = 0;
    for byte in found {
        seen += usize::from(is_hidden(byte));
        out.push(if is_hidden(byte) && seen <= hidden { b'*' } else { *byte });
    }
}
