//! the figure in a signal, or why there is none to be believed

use tidemill_plugin::{Freshness, Signal};

pub enum Reading {
    Value(f64),
    /// What was last known, and words that follow the signal's name.
    Stale(f64, String),
    /// Words that follow the signal's name.
    Blind(String),
}

impl Reading {
    /// The first row's `value`, or its only number.
    pub fn of(signal: &Signal) -> Reading {
        let because = |state: &str| match signal.message.as_str() {
            "" => state.to_owned(),
            message => format!("{state} ({message})"),
        };
        match (signal.freshness, amount(signal)) {
            (Freshness::Missing, _) => Reading::Blind(because("is missing")),
            (Freshness::Failed, _) => Reading::Blind(because("failed")),
            (Freshness::Fresh, Ok(value)) => Reading::Value(value),
            (Freshness::Stale, Ok(value)) => Reading::Stale(value, because("is stale")),
            (Freshness::Fresh, Err(why)) => Reading::Blind(why),
            (Freshness::Stale, Err(why)) => Reading::Blind(format!("{} and {why}", because("is stale"))),
        }
    }
}

fn amount(signal: &Signal) -> Result<f64, String> {
    match first_number(signal)? {
        value if value.is_finite() && value >= 0.0 => Ok(value),
        value => Err(format!("is {value}, which is no amount")),
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
