//! columns from a lookup table, by key
//!
//!     event: user_id = 7   ─►   table `users`, where id = 7   ─►   event: name = 'Ada', plan = 'pro'
//!
//! The host holds the table; a whole column of keys crosses in one call.
//!
//! **Always:** what is written is text, null where the table has no such row.

use serde::Deserialize;
use tidemill_plugin::{Batch, Context, Contract, DataType, Enriched, Enricher, Plugin, Texts, tables};

/// A configured enricher.
pub struct Lookup {
    table: String,
    key: String,
    field: String,
    /// In the table, and as they are called in the event.
    columns: Vec<(String, String)>,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The table's name in the stage's `tables`.
    table: String,
    /// The column of the table that is searched.
    key: String,
    /// The column of the event to search for; the key's name without it.
    field: Option<String>,
    /// The columns to add; all but the key without it.
    columns: Option<Vec<String>>,
    /// Goes before the name of each added column.
    #[serde(default)]
    prefix: String,
}

impl Plugin for Lookup {
    type Settings = Settings;
    const NAME: &'static str = "lookup";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Lookup, Contract), String> {
        let Settings { table, key, field, columns, prefix } = settings;
        let has = tables::columns(&table).map_err(|error| format!("`table`: {error}"))?;
        if !has.contains(&key) {
            return Err(format!("`key`: table `{table}` has no column `{key}`; it has {}", list(&has)));
        }
        let wanted = columns.unwrap_or_else(|| has.iter().filter(|column| **column != key).cloned().collect());
        if let Some(unknown) = wanted.iter().find(|column| !has.contains(column)) {
            return Err(format!("`columns`: table `{table}` has no column `{unknown}`; it has {}", list(&has)));
        }
        if wanted.is_empty() {
            return Err(format!("`columns`: there is nothing to add from table `{table}`; name at least one column"));
        }
        let field = field.unwrap_or_else(|| key.clone());
        let columns: Vec<_> = wanted.into_iter().map(|column| (column.clone(), format!("{prefix}{column}"))).collect();
        let contract = columns
            .iter()
            .fold(Contract::new().reads(&field), |contract, (_, name)| contract.writes(name, DataType::Utf8));
        Ok((Lookup { table, key, field, columns }, contract))
    }
}

impl Enricher for Lookup {
    fn enrich(&mut self, input: &Batch, _: &Context, output: &mut Enriched) -> Result<(), String> {
        let Some(field) = input.column(&self.field) else {
            self.columns.iter().for_each(|(_, name)| output.column(name, nulls(input.rows())));
            return Ok(());
        };
        let keys: Vec<_> = (0..input.rows()).map(|row| field.text_of(row)).collect();
        let mut searched = Texts::with_rows(input.rows(), 16 * input.rows());
        // A null has a slot too: an empty key is searched for and its answer left out below.
        keys.iter().for_each(|key| searched.push(key.as_deref().unwrap_or_default()));
        let wanted: Vec<String> = self.columns.iter().map(|(column, _)| column.clone()).collect();
        let found = tables::lookup(&self.table, &self.key, searched, &wanted)?;
        for (column, (_, name)) in found.columns().zip(&self.columns) {
            let mut values = Texts::with_rows(input.rows(), 16 * input.rows());
            for (row, key) in keys.iter().enumerate() {
                values.push_option(key.as_ref().and_then(|_| column.text_of(row)));
            }
            output.column(name, values);
        }
        Ok(())
    }
}

fn nulls(rows: usize) -> Texts {
    let mut values = Texts::with_rows(rows, 0);
    (0..rows).for_each(|_| values.push_null());
    values
}

fn list(columns: &[String]) -> String {
    columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ")
}

tidemill_plugin::export_enricher!(Lookup);
