//! drops a log line that repeats the one before it
//!
//! Shows state: the last line of a batch goes out with the answer and comes back with the next batch, so that a
//! repeat across two batches is found too, and a batch that is retried gives the same answer again.

use tidemill_plugin::{Batch, Context, Contract, Filter, Kept, NoSettings, Plugin};

pub struct Dedupe;

impl Plugin for Dedupe {
    type Settings = NoSettings;
    const NAME: &'static str = "dedupe";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(_: NoSettings) -> Result<(Dedupe, Contract), String> {
        Ok((Dedupe, Contract::new().reads("body").keeps_state()))
    }
}

impl Filter for Dedupe {
    fn keep(&mut self, input: &Batch, context: &Context, output: &mut Kept) -> Result<(), String> {
        let bodies = input.bytes("body")?;
        let mut last = context.state.as_deref();
        for (row, body) in bodies.iter().enumerate() {
            if body.is_some() && body == last {
                output.drop_row(row);
            }
            last = body;
        }
        output.state(last.unwrap_or_default().to_vec());
        Ok(())
    }
}

tidemill_plugin::export_filter!(Dedupe);
