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
    /// What the signal says now, or last said.
    pub fn of(signal: &Signal) -> Reading {
        let stale = || match signal.message.as_str() {
            "" => "is stale".to_owned(),
            message => format!("is stale ({message})"),
        };
        match (signal.freshness, signal.amount()) {
            (Freshness::Stale, Ok(value)) => Reading::Stale(value, stale()),
            (Freshness::Stale, Err(why)) => Reading::Blind(format!("{} and {why}", stale())),
            (_, Ok(value)) => Reading::Value(value),
            (_, Err(why)) => Reading::Blind(why),
        }
    }
}
