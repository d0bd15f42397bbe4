//! what a scaler remembers across restarts, stored in the same append as the decision's row

use super::actuator::Change;
use super::policy::{History, Order};
use crate::error::{Error, Result};
use crate::event::Position;
use crate::plugin::autoscaler::Decided;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a scaler knows after a restart: stored in the same append as the decision's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// the number last decided
    pub decided: u32,
    /// the decision that made it this number
    #[serde(default)]
    pub change: Option<Change>,
    /// what the plugin handed back for its next call
    #[serde(default, with = "bytes_as_text")]
    pub state: Vec<u8>,
    /// the same of its advisers and its shadow, by name
    #[serde(default)]
    pub states: BTreeMap<String, State>,
    /// what the policy's windows have to heed
    #[serde(default)]
    pub history: History,
    /// an operator's word, while it holds
    #[serde(default)]
    pub order: Option<Order>,
    /// the identity of the shadow that was promoted, if one was
    #[serde(default)]
    pub promoted: Option<String>,
    /// the absence that is heeded: when the life before it had its last tick, and the one after it its first
    #[serde(default)]
    pub away: Option<(i64, i64)>,
    /// the latest decisions, as the plugin is shown them
    #[serde(default)]
    pub recent: Vec<Recent>,
}

/// What a plugin handed back for its next call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct State(#[serde(with = "bytes_as_text")] pub Vec<u8>);

/// An earlier decision, as the plugin is shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// the tick, ns UTC
    pub at: i64,
    /// replicas before
    pub replicas: u32,
    /// what was proposed; none if the plugin failed
    pub proposed: Option<u32>,
    /// what was decided
    pub decided: u32,
    /// why, cut to a line
    pub reason: String,
}

impl Recent {
    /// As the plugin is shown it.
    pub fn shown(&self) -> Decided {
        let Recent { at, replicas, proposed, decided, reason } = self.clone();
        Decided { at, replicas, proposed, decided, reason }
    }
}

/// Bytes in JSON, as base64.
pub(super) mod bytes_as_text {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], writer: S) -> Result<S::Ok, S::Error> {
        writer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(reader)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}

impl Memory {
    /// The name under which a scaler's memory is stored among the positions.
    pub fn name(scaler: &str) -> String {
        format!("scaler:{scaler}")
    }

    /// The memory as it is stored.
    pub fn position(&self, scaler: &str) -> Result<Position> {
        let value = serde_json::to_vec(self)
            .map_err(|error| Error::internal(format!("what a scaler remembers does not become JSON: {error}")))?;
        Ok(Position { name: Memory::name(scaler), value })
    }

    /// Reads what was stored.
    pub fn read(value: &[u8]) -> Result<Memory> {
        serde_json::from_slice(value)
            .map_err(|error| Error::internal(format!("what a scaler remembered cannot be read: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_survives() {
        let memory = Memory {
            decided: 3,
            change: Some(Change { decision: "web/1".to_owned(), to: 3, ..Change::default() }),
            state: vec![0, 255, 10],
            states: BTreeMap::from([("forecast".to_owned(), State(vec![7]))]),
            history: History::begin(5, 3),
            order: Some(Order { replicas: 4, until: 9, why: "a sale".to_owned() }),
            promoted: Some("abc:def".to_owned()),
            away: Some((1, 4)),
            recent: vec![Recent { at: 1, replicas: 2, proposed: None, decided: 3, reason: "load".to_owned() }],
        };
        let position = memory.position("web").unwrap();
        assert_eq!(position.name, "scaler:web");
        assert_eq!(Memory::read(&position.value).unwrap(), memory);
        assert!(Memory::read(b"{").is_err());
    }
}
