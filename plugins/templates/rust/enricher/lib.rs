//! the class of an HTTP status beside it: 404 is `4xx`
//!
//! ```text
//! status ─► status_class
//! ```
//!
//! A plugin is handed a batch of rows as columns and hands columns back. It sees nothing else: no files, no network, no clock.

use tidemill_plugin::{Batch, Context, Contract, DataType, Enriched, Enricher, Plugin, Words};

/// The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The column with the status; `status` if not given.
    field: Option<String>,
}

pub struct Classes {
    field: String,
}

impl Plugin for Classes {
    type Settings = Settings;
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    /// Checks the settings, and says what is read and what is written. Only columns named in `reads` are handed over.
    fn configure(settings: Settings) -> Result<(Classes, Contract), String> {
        let field = settings.field.unwrap_or_else(|| "status".to_owned());
        if field.is_empty() {
            return Err("`field` is empty; name the column with the status".to_owned());
        }
        let contract = Contract::new()
            .reads(field.as_str())
            .writes("status_class", DataType::Utf8);
        Ok((Classes { field }, contract))
    }
}

impl Enricher for Classes {
    fn enrich(&mut self, input: &Batch, _: &Context, output: &mut Enriched) -> Result<(), String> {
        let mut classes = Words::default(); // text with few distinct values
        // A column that is made is as long as the input: a value or a null for each row.
        for (row, status) in input.ints(&self.field)?.iter().enumerate() {
            match status {
                Some(status @ 100..=599) => classes.push(format!("{}xx", status / 100)),
                Some(other) => {
                    // The row goes to `tidemill.dead_letters` with this reason; the others go on.
                    output.error(
                        row,
                        format!("`{}` is {other}, which is no HTTP status", self.field),
                    );
                    classes.push_null();
                }
                None => classes.push_null(),
            }
        }
        output.column("status_class", classes);
        Ok(())
    }
}

tidemill_plugin::export_enricher!(Classes);
