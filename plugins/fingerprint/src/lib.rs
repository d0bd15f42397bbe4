//! one hash for the values of some fields
//!
//! ```text
//! fields ─► 01 and length and bytes, or 00 where absent (see the crate tidemill-keys) ─► xxh3 or sha256 ─► hexadecimal
//! ```
//!
//! **Always:** the same values give the same text, everywhere and in every version.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tidemill_keys::Fields;
use tidemill_plugin::{Batch, Context, Contract, DataType, Enriched, Enricher, Plugin, Texts};

/// A configured enricher.
pub struct Fingerprint {
    fields: Vec<String>,
    algorithm: Algorithm,
    column: String,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The fields, in this order.
    fields: Vec<String>,
    #[serde(default)]
    algorithm: Algorithm,
    /// The column to write.
    #[serde(default = "fingerprint")]
    column: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    /// XXH3, 64 bits: quick, for grouping and finding again.
    #[default]
    Xxh3,
    /// SHA-256: nobody finds other values with the same one.
    Sha256,
}

fn fingerprint() -> String {
    "fingerprint".to_owned()
}

struct Sha(Sha256);

impl tidemill_keys::Digest for Sha {
    fn take(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

impl Plugin for Fingerprint {
    type Settings = Settings;
    const NAME: &'static str = "fingerprint";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Fingerprint, Contract), String> {
        let Settings { fields, algorithm, column } = settings;
        if fields.is_empty() || fields.iter().any(String::is_empty) {
            return Err(
                "`fields` names no field; name those that make an event, such as [\"host\", \"message\"]".to_owned()
            );
        }
        if column.is_empty() {
            return Err("`column` is empty; name the column to write".to_owned());
        }
        let contract = fields.iter().fold(Contract::new(), Contract::reads).writes(&column, DataType::Utf8);
        Ok((Fingerprint { fields, algorithm, column }, contract))
    }
}

impl Enricher for Fingerprint {
    fn enrich(&mut self, input: &Batch, _: &Context, output: &mut Enriched) -> Result<(), String> {
        let fields = Fields::of(input, &self.fields);
        let mut values = Texts::with_rows(input.rows(), 16 * input.rows());
        for row in 0..input.rows() {
            values.push_option(match self.algorithm {
                Algorithm::Xxh3 => fields.hash(row, 0).map(|hash| hex(&hash.to_be_bytes())),
                Algorithm::Sha256 => {
                    let mut sha = Sha(Sha256::new());
                    fields.feed(row, &mut sha).then(|| hex(&sha.0.finalize()))
                }
            });
        }
        output.column(&self.column, values);
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

tidemill_plugin::export_enricher!(Fingerprint);
