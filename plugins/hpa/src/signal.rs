//! the figure in a signal, or why there is none to be believed

use tidemill_plugin::{Freshness, Signal};

pub enum Reading {
    Value(f64),
    /// Words that follow the signal's name.
    Blind(String),
}

impl Reading {
    /// The first row's `value`, or its only number.
    pub fn of(signal: &Signal) -> Reading {
        let because = |state: &str| match signal.message.as_str() {
            "" => Reading::Blind(state.to_owned()),
            message => Reading::Blind(format!("{state} ({message})")),
        };
        match signal.freshness {
            Freshness::Stale => because("is stale"),
            Freshness::Missing => because("is missing"),
            Freshness::Failed => because("failed"),
            Freshness::Fresh => match first_number(signal) {
                Ok(value) if value.is_finite() && value >= 0.0 => Reading::Value(value),
                Ok(value) => Reading::Blind(format!("is {value}, which is no amount")),
                Err(why) => Reading::Blind(why),
            },
        }
    }
}

fn first_number(signal: &Signal) -> Result<f64, String> {
    let numbers = || signal.table.columns().filter_map(|column| Some((column.name(), column.floats()?)));
    let chosen = match numbers().find(|(name, _)| *name == "value") {
        Some((_, column)) => column,
        None => {
            let mut all = numbers();
            match (all.next(), all.next()) {
                (Some((_, column)), None) => column,
                (None, _) => return Err("has no column of numbers; call one `value`".to_owned()),
                (Some(_), Some(_)) => return Err("has several columns of numbers; call one `value`".to_owned()),
            }
        }
    };
    chosen.get(0).ok_or_else(|| "has no value in its first row".to_owned())
}
