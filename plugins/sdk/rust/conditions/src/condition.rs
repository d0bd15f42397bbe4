//! the settings, checked: which conditions a value has to meet

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::Value as Json;
use tidemill_plugin::time;

/// A table of conditions as people write it: `{ field = "status", at_least = 500 }`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The column that is looked at; `labels.x` for a label.
    pub field: String,
    equals: Option<Json>,
    not_equals: Option<Json>,
    one_of: Option<Vec<Json>>,
    starts_with: Option<String>,
    ends_with: Option<String>,
    contains: Option<String>,
    less_than: Option<Json>,
    greater_than: Option<Json>,
    at_least: Option<Json>,
    at_most: Option<Json>,
    is_null: Option<bool>,
}

/// One thing that a value is tested for.
#[derive(Clone, Debug)]
pub enum Condition {
    Equals(Literal),
    NotEquals(Literal),
    OneOf(Vec<Literal>),
    StartsWith(Vec<u8>),
    EndsWith(Vec<u8>),
    Contains(Box<Finder<'static>>),
    LessThan(Literal),
    GreaterThan(Literal),
    AtLeast(Literal),
    AtMost(Literal),
    IsNull(bool),
}

/// A value in the settings, in every form in which an event's value can be compared with it.
#[derive(Clone, Debug)]
pub struct Literal {
    pub text: Vec<u8>,
    /// Where the setting is text, values are compared as text.
    pub is_text: bool,
    pub number: Option<Number>,
    /// Where the text is an RFC 3339 time, for columns of timestamps.
    pub timestamp: Option<i64>,
    pub boolean: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Int(i64),
    Float(f64),
}

/// The name of a setting, its value if it is given, and the condition it makes.
type Comparison = (&'static str, Option<Json>, fn(Literal) -> Condition);

impl Settings {
    /// The conditions; an error names the setting.
    pub fn conditions(self) -> Result<Vec<Condition>, String> {
        if self.field.is_empty() {
            return Err("`field` is missing; name the column to look at".to_owned());
        }
        let mut conditions = Vec::new();
        let comparisons: [Comparison; 6] = [
            ("equals", self.equals, Condition::Equals),
            ("not_equals", self.not_equals, Condition::NotEquals),
            ("less_than", self.less_than, Condition::LessThan),
            ("greater_than", self.greater_than, Condition::GreaterThan),
            ("at_least", self.at_least, Condition::AtLeast),
            ("at_most", self.at_most, Condition::AtMost),
        ];
        for (name, value, condition) in comparisons {
            conditions.extend(value.map(|value| Literal::new(name, value)).transpose()?.map(condition));
        }
        if let Some(values) = self.one_of {
            let literals: Result<Vec<_>, _> = values.into_iter().map(|value| Literal::new("one_of", value)).collect();
            conditions.push(Condition::OneOf(literals?));
        }
        conditions.extend(self.starts_with.map(|text| Condition::StartsWith(text.into_bytes())));
        conditions.extend(self.ends_with.map(|text| Condition::EndsWith(text.into_bytes())));
        conditions.extend(self.contains.map(|text| Condition::Contains(Box::new(Finder::new(&text).into_owned()))));
        conditions.extend(self.is_null.map(Condition::IsNull));
        if conditions.is_empty() {
            return Err("there is no condition; give one or more of `equals`, `not_equals`, `one_of`, `starts_with`, \
                        `ends_with`, `contains`, `less_than`, `greater_than`, `at_least`, `at_most`, `is_null`"
                .to_owned());
        }
        Ok(conditions)
    }
}

impl Condition {
    /// Whether an absent value meets it.
    pub fn holds_for_null(&self) -> bool {
        matches!(self, Condition::IsNull(true))
    }
}

impl Literal {
    fn new(setting: &str, value: Json) -> Result<Literal, String> {
        let empty = Literal { text: Vec::new(), is_text: false, number: None, timestamp: None, boolean: None };
        match value {
            Json::String(text) => Ok(Literal {
                timestamp: time::parse_rfc3339(&text).ok(),
                text: text.into_bytes(),
                is_text: true,
                ..empty
            }),
            Json::Bool(value) => Ok(Literal { text: value.to_string().into_bytes(), boolean: Some(value), ..empty }),
            Json::Number(number) => {
                let value = match number.as_i64() {
                    Some(value) => Number::Int(value),
                    None => Number::Float(number.as_f64().unwrap_or(f64::NAN)),
                };
                Ok(Literal { text: number.to_string().into_bytes(), number: Some(value), ..empty })
            }
            Json::Null | Json::Array(_) | Json::Object(_) => {
                Err(format!("`{setting}` must be text, a number, true or false, not `{value}`"))
            }
        }
    }
}

impl Number {
    pub fn as_float(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }
}
