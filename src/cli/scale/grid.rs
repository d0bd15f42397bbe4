//! what a backtest tries: a scaler's plugins with settings changed one by one, or by every combination of a grid
//!
//!     target=60                 a setting; a TOML value, or else text
//!     targets.rps=60            a setting within a table
//!     advisers.hpa.target=60    a setting of an adviser
//!     target=40..80             five values from 40 to 80;  target=40..80:10 goes by tens;  lead=5m,10m names them

use crate::error::{Error, Result};
use serde_json::{Map, Value};

/// Values of one range when nothing is said.
const VALUES: u32 = 5;
/// Combinations of one grid.
const COMBINATIONS_MAX: usize = 1000;

/// One setting and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// the key, with dots between tables
    pub key: String,
    /// the value
    pub value: Value,
}

impl Change {
    /// Reads `key=value`.
    pub fn parse(text: &str) -> Result<Change> {
        let (key, value) = halves(text)?;
        Ok(Change { key: key.to_owned(), value: self::value(value) })
    }

    /// Puts it into settings.
    pub fn apply(&self, settings: &mut Map<String, Value>) -> Result<()> {
        let mut table = settings;
        let mut keys: Vec<&str> = self.key.split('.').collect();
        let last = keys.pop().unwrap_or_default();
        for key in keys {
            let within = table.entry(key).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(within) = within else {
                return Err(Error::invalid(format!("the setting `{key}` of `{}` is no table", self.key)));
            };
            table = within;
        }
        table.insert(last.to_owned(), self.value.clone());
        Ok(())
    }

    /// As the command line has it.
    pub fn shown(&self) -> String {
        match &self.value {
            Value::String(text) => format!("{}={text}", self.key),
            other => format!("{}={other}", self.key),
        }
    }
}

/// Every combination of the axes, each `key=40..80` or `key=a,b`; one empty combination where there is no axis.
pub(super) fn combinations(axes: &[String]) -> Result<Vec<Vec<Change>>> {
    let mut all = vec![Vec::new()];
    for (at, axis) in axes.iter().enumerate() {
        let (key, text) = halves(axis)?;
        if axes.iter().take(at).any(|earlier| halves(earlier).is_ok_and(|(known, _)| known == key)) {
            return Err(Error::invalid(format!(
                "the grid has `{key}` twice; write all its values in one: {key}=4,5,6"
            )));
        }
        let values = values(text)?;
        if all.len() * values.len() > COMBINATIONS_MAX {
            return Err(Error::invalid(format!(
                "the grid has more than {COMBINATIONS_MAX} points; choose fewer values"
            )));
        }
        all = all
            .iter()
            .flat_map(|earlier: &Vec<Change>| {
                values.iter().map(move |value| {
                    let change = Change { key: key.to_owned(), value: value.clone() };
                    earlier.iter().cloned().chain([change]).collect()
                })
            })
            .collect();
    }
    Ok(all)
}

fn halves(text: &str) -> Result<(&str, &str)> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() && !value.trim().is_empty() => Ok((key.trim(), value.trim())),
        _ => Err(Error::invalid(format!("`{text}` is no setting; write it like `target=60`"))),
    }
}

/// A number, true or false, a TOML table or list; what is none of these is text.
fn value(text: &str) -> Value {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}")).ok();
    let parsed = parsed.and_then(|mut table| table.remove("value")).filter(|value| value.as_datetime().is_none());
    parsed.and_then(|value| serde_json::to_value(value).ok()).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn values(text: &str) -> Result<Vec<Value>> {
    let wrong = || Error::invalid(format!("`{text}` is no range; write it like `40..80`, `40..80:10` or `5m,10m`"));
    let Some((from, rest)) = text.split_once("..") else {
        return Ok(text.split(',').map(|one| value(one.trim())).collect());
    };
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(wrong);
    let (until, step) = match rest.split_once(':') {
        Some((until, step)) => (number(until)?, Some(number(step)?)),
        None => (number(rest)?, None),
    };
    let from = number(from)?;
    if until < from {
        return Err(Error::invalid(format!("`{text}` falls; a range begins with its lower end")));
    }
    if step.is_some_and(|step| step <= 0.0) {
        return Err(wrong());
    }
    let count = step.map_or(VALUES - 1, |step| ((until - from) / step + 1e-9).floor() as u32);
    if count as usize > COMBINATIONS_MAX {
        return Err(Error::invalid(format!("`{text}` has more than {COMBINATIONS_MAX} values; choose a longer step")));
    }
    let step = step.unwrap_or((until - from) / f64::from(count));
    // Steps of a tenth would otherwise leave sevens and threes at the end.
    let neat = |number: f64| (number * 1e9).round() / 1e9;
    let whole = |number: f64| match number.fract() == 0.0 {
        true => Value::from(number as i64),
        false => Value::from(number),
    };
    Ok((0..=count).map(|index| whole(neat(from + step * f64::from(index)))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ranges_and_lists_are_multiplied() {
        let axes = ["target=40..80".to_owned(), "lead=5m,10m".to_owned()];
        let all = combinations(&axes).unwrap();
        assert_eq!(all.len(), 10);
        let shown: Vec<String> = all[3].iter().map(Change::shown).collect();
        assert_eq!(shown, ["target=50", "lead=10m"]);
        assert_eq!(values("0.5..0.8:0.1").unwrap(), [json!(0.5), json!(0.6), json!(0.7), json!(0.8)]);
        assert_eq!(combinations(&[]).unwrap(), [Vec::new()]);
        for wrong in ["target", "target=80..40", "target=a..b", "target=1..2:0", "=5", "target=0..1000000:1"] {
            assert!(combinations(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_change_finds_its_table() {
        let mut settings = Map::new();
        for text in ["targets.rps=60", "season=1d", "quick=true", "behavior=none", "since=2026-11-24"] {
            Change::parse(text).unwrap().apply(&mut settings).unwrap();
        }
        let expected = json!({
            "targets": { "rps": 60 }, "season": "1d", "quick": true, "behavior": "none", "since": "2026-11-24",
        });
        assert_eq!(Value::Object(settings.clone()), expected);
        let error = Change::parse("season.x=1").unwrap().apply(&mut settings).unwrap_err().to_string();
        assert_eq!(error, "the setting `season` of `season.x` is no table");
    }
}
