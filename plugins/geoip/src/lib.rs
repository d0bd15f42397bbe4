//! columns from a table of networks, by address
//!
//! ```text
//! event: client = 203.0.113.9  ─►  table `places`, the narrowest network that holds it  ─►  event: geo_country = 'NZ'
//! ```
//!
//! The host holds the table; a whole column of addresses crosses in one call, each distinct address once.
//!
//! **Always:** null where no network holds the address, where it is no address, and where a cell is empty or no number
//! although `types` says that it is.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use tidemill_plugin::Texts;
use tidemill_plugin::{
    Batch, Build, Column, Context, Contract, DataType, Enriched, Enricher, Floats, Ints, Plugin, Words, tables,
};

/// A configured enricher.
pub struct Geoip {
    table: String,
    network: String,
    field: String,
    columns: Vec<Added>,
}

/// A column of the table, and what it becomes in the event.
struct Added {
    column: String,
    name: String,
    cell: Cell,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The table's name in the stage's `tables`.
    table: String,
    /// The column of the table with networks, such as `10.0.0.0/8`.
    #[serde(default = "network")]
    network: String,
    /// The column of the event with the address.
    #[serde(default = "client")]
    field: String,
    /// The columns to add; all but the network without it.
    columns: Option<Vec<String>>,
    /// Goes before the name of each added column.
    #[serde(default)]
    prefix: String,
    /// The columns of the table that are no text.
    #[serde(default)]
    types: BTreeMap<String, Cell>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Cell {
    Utf8,
    Int64,
    Float64,
}

fn network() -> String {
    "network".to_owned()
}

fn client() -> String {
    "client".to_owned()
}

impl Plugin for Geoip {
    type Settings = Settings;
    const NAME: &'static str = "geoip";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Geoip, Contract), String> {
        let Settings { table, network, field, columns, prefix, types } = settings;
        let has = tables::columns(&table).map_err(|error| format!("`table`: {error}"))?;
        let unknown = |setting: &str, column: &str| {
            format!("`{setting}`: table `{table}` has no column `{column}`; it has {}", list(&has))
        };
        if !has.contains(&network) {
            return Err(unknown("network", &network));
        }
        let wanted = columns.unwrap_or_else(|| has.iter().filter(|column| **column != network).cloned().collect());
        if let Some(column) = wanted.iter().find(|column| !has.contains(column)) {
            return Err(unknown("columns", column));
        }
        if let Some(column) = types.keys().find(|column| !wanted.contains(column)) {
            let columns = list(&wanted);
            return Err(format!("`types`: `{column}` is none of the columns that are added; those are {columns}"));
        }
        if wanted.is_empty() {
            return Err(format!("`columns`: there is nothing to add from table `{table}`; name at least one column"));
        }
        tables::lookup_network(&table, &network, Texts::default(), &wanted)
            .map_err(|error| format!("`network`: column `{network}` of table `{table}`: {error}"))?;
        let added = |column: String| Added {
            name: format!("{prefix}{column}"),
            cell: types.get(&column).copied().unwrap_or(Cell::Utf8),
            column,
        };
        let columns: Vec<Added> = wanted.into_iter().map(added).collect();
        let contract = columns.iter().fold(Contract::new().reads(&field), |contract, added| {
            contract.writes(
                &added.name,
                match added.cell {
                    Cell::Utf8 => DataType::Utf8,
                    Cell::Int64 => DataType::Int64,
                    Cell::Float64 => DataType::Float64,
                },
            )
        });
        Ok((Geoip { table, network, field, columns }, contract))
    }
}

impl Enricher for Geoip {
    fn enrich(&mut self, input: &Batch, _: &Context, output: &mut Enriched) -> Result<(), String> {
        let addresses = input.bytes(&self.field)?;
        let mut searched = Texts::default();
        let mut place_of: HashMap<&[u8], usize> = HashMap::new();
        let places: Vec<Option<usize>> = addresses
            .iter()
            .map(|address| {
                let address = address?;
                let next = place_of.len();
                let place = *place_of.entry(address).or_insert(next);
                if place == next {
                    searched.push(address);
                }
                Some(place)
            })
            .collect();
        let wanted: Vec<String> = self.columns.iter().map(|added| added.column.clone()).collect();
        let found = match searched.rows() {
            0 => None,
            _ => Some(tables::lookup_network(&self.table, &self.network, searched, &wanted)?),
        };
        for (at, added) in self.columns.iter().enumerate() {
            let column = found.as_ref().and_then(|found| found.columns().nth(at));
            let text = |place: Option<usize>| text_of(column, place?);
            match added.cell {
                Cell::Utf8 => {
                    let mut values = Words::with_rows(input.rows());
                    places.iter().for_each(|place| values.push_option(text(*place)));
                    output.column(&added.name, values);
                }
                Cell::Int64 => {
                    let mut values = Ints::with_rows(input.rows());
                    places.iter().for_each(|place| values.push_option(text(*place).and_then(|text| text.parse().ok())));
                    output.column(&added.name, values);
                }
                Cell::Float64 => {
                    let mut values = Floats::with_rows(input.rows());
                    places.iter().for_each(|place| values.push_option(text(*place).and_then(|text| text.parse().ok())));
                    output.column(&added.name, values);
                }
            }
        }
        Ok(())
    }
}

/// A cell of what was found; an empty one is nothing.
fn text_of(column: Option<Column<'_>>, place: usize) -> Option<String> {
    let text = String::from_utf8_lossy(&column?.text_of(place)?).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn list(columns: &[String]) -> String {
    columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ")
}

tidemill_plugin::export_enricher!(Geoip);
