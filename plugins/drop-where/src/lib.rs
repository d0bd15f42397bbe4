//! drops the events that meet every given condition
//!
//!     column ─► one pass a condition, each clearing bytes of a mask ─► the rows still marked are dropped
//!
//! **Always:** a null meets no condition but `is_null = true`; so an event without the field is kept.

use tidemill_conditions::{Settings, Where};
use tidemill_plugin::{Batch, Context, Contract, Filter, Kept, Plugin};

/// A configured filter.
pub struct DropWhere {
    dropped: Where,
}

impl Plugin for DropWhere {
    type Settings = Settings;
    const NAME: &'static str = "drop-where";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(DropWhere, Contract), String> {
        let dropped = Where::new(settings)?;
        let contract = Contract::new().reads(dropped.field());
        Ok((DropWhere { dropped }, contract))
    }
}

impl Filter for DropWhere {
    fn keep(&mut self, input: &Batch, _: &Context, output: &mut Kept) -> Result<(), String> {
        let mask = output.mask();
        self.dropped.mark(input, mask);
        for flag in mask {
            *flag ^= 1;
        }
        Ok(())
    }
}

tidemill_plugin::export_filter!(DropWhere);
