//! conditions on a column, as the settings of filters write them
//!
//! ```text
//! { field = "status", at_least = 500, less_than = 600 } ─► Where ─► a mask: 1 where every condition holds
//! ```
//!
//! `condition` checks the settings; `pass` holds the passes, one tight loop for each type of column.
//!
//! **Always:** a null meets no condition but `is_null = true`.
//! **Never:** a value of an unexpected type stops a batch: it is compared as a number where the setting is a number
//! and the value reads as one, as text where the setting is text, and meets no condition otherwise.

#![warn(missing_docs)]

mod condition;
mod pass;

use tidemill_plugin::Batch;

use condition::Condition;
pub use condition::Settings;

/// Conditions on one column, all of which have to hold.
#[derive(Clone, Debug)]
pub struct Where {
    field: String,
    conditions: Vec<Condition>,
}

impl Where {
    /// The settings, checked. An error says which one is wrong, and what to write instead.
    pub fn new(settings: Settings) -> Result<Where, String> {
        let field = settings.field.clone();
        Ok(Where { field, conditions: settings.conditions()? })
    }

    /// The column that is looked at.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Sets each row's byte of `mask` to 1 where every condition holds, and to 0 elsewhere.
    pub fn mark(&self, input: &Batch, mask: &mut [u8]) {
        match input.column(&self.field) {
            Some(column) => pass::mark(column, &self.conditions, mask),
            None => mask.fill(u8::from(self.conditions.iter().all(Condition::holds_for_null))),
        }
    }
}
