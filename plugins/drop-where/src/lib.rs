//! drops the events that meet every given condition
//!
//!     column ─► one pass a condition, each clearing bytes of a mask ─► the rows still marked are dropped
//!
//! `condition` checks the settings; `test` holds the passes, one tight loop for each type of column.
//!
//! **Always:** a null meets no condition but `is_null = true`; so an event without the field is kept.
//! **Never:** a value of an unexpected type stops a batch: it is compared as a number where the setting is a number
//! and the value reads as one, as text where the setting is text, and meets no condition otherwise.

mod condition;
mod test;

use tidemill_plugin::{Batch, Context, Contract, Filter, Kept, Plugin};

use condition::{Condition, Settings};

/// A configured filter.
pub struct DropWhere {
    field: String,
    conditions: Vec<Condition>,
}

impl Plugin for DropWhere {
    type Settings = Settings;
    const NAME: &'static str = "drop-where";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(DropWhere, Contract), String> {
        let field = settings.field.clone();
        let conditions = settings.conditions()?;
        let contract = Contract::new().reads(&field);
        Ok((DropWhere { field, conditions }, contract))
    }
}

impl Filter for DropWhere {
    fn keep(&mut self, input: &Batch, _: &Context, output: &mut Kept) -> Result<(), String> {
        let keep = output.mask();
        match input.column(&self.field) {
            Some(column) => test::keep(column, &self.conditions, keep),
            None => keep.fill(u8::from(!self.conditions.iter().all(Condition::holds_for_null))),
        }
        Ok(())
    }
}

tidemill_plugin::export_filter!(DropWhere);
