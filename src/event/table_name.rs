//! the name of a table: `access`, `tidemill.decisions`

use crate::error::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// The schema of the tables that Tidemill writes about itself.
pub const SYSTEM_SCHEMA: &str = "tidemill";

/// A table's name; safe as a folder's name by construction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName(Arc<str>);

impl TableName {
    /// A table of the user's: `[a-z_][a-z0-9_]{0,62}`.
    pub fn user(name: &str) -> Result<Self> {
        if well_formed(name) {
            return Ok(TableName(name.into()));
        }
        Err(Error::invalid(format!(
            "`{name}` cannot name a table; use lower-case letters, digits and _, at most 63, not starting with a digit"
        )))
    }

    /// A table that Tidemill writes about itself: `tidemill.<name>`.
    pub fn system(name: &str) -> Self {
        TableName(format!("{SYSTEM_SCHEMA}.{name}").into())
    }

    /// Reads either, as it stands in the catalog.
    pub fn parse(name: &str) -> Result<Self> {
        match name.strip_prefix("tidemill.") {
            Some(rest) if well_formed(rest) => Ok(TableName(name.into())),
            _ => TableName::user(name),
        }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The schema it stands in, if it is a system table, and its last part.
    pub fn parts(&self) -> (Option<&str>, &str) {
        match self.0.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, &self.0),
        }
    }

    /// Whether Tidemill writes it about itself.
    pub fn is_system(&self) -> bool {
        self.parts().0.is_some()
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a name is one that tables, sources, stages, scalers and workloads may have.
pub fn well_formed(name: &str) -> bool {
    let mut letters = name.bytes();
    let first = letters.next().is_some_and(|c| c.is_ascii_lowercase() || c == b'_');
    first && name.len() <= 63 && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
}
