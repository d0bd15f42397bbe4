//! replicas that were ready a tick ago and have ended or fallen silent since, though nobody stopped them

use super::actuator::{Phase, ReplicaStatus};
use std::collections::BTreeMap;

/// Those that were ready at the last look, and how often each had been started again.
#[derive(Default)]
pub struct Losses {
    ready: BTreeMap<String, u64>,
}

impl Losses {
    /// What was lost since the last look, a sentence each. `calm` is whether nobody is changing their number.
    pub fn look(&mut self, replicas: &[ReplicaStatus], calm: bool) -> Vec<String> {
        let (mut told, mut ready) = (Vec::new(), BTreeMap::new());
        for replica in replicas {
            let name = replica.called();
            let before = self.ready.get(&name).copied();
            let ended = before.is_some_and(|restarts| replica.restarts > restarts);
            match replica.phase {
                Phase::Waiting | Phase::Starting | Phase::Unready if before.is_some() => told.push(words(replica)),
                Phase::Ready if ended => told.push(words(replica)),
                // One that ends by itself is seen like this for a moment; one that is told to end drains before.
                Phase::Stopping if calm => drop(before.map(|restarts| ready.insert(name.clone(), restarts))),
                _ => (),
            }
            if replica.phase == Phase::Ready {
                ready.insert(name, replica.restarts);
            }
        }
        self.ready = ready;
        told
    }
}

fn words(replica: &ReplicaStatus) -> String {
    let why = if replica.message.is_empty() { String::new() } else { format!(": {}", replica.message) };
    match replica.phase {
        Phase::Ready => format!("Replica {} ended by itself and was started again{why}.", replica.called()),
        phase => format!("Replica {} was ready, and is {}{why}.", replica.called(), phase.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_by_itself_is_told_once() {
        let mut losses = Losses::default();
        let replica = |phase, restarts, message: &str| ReplicaStatus {
            number: 1,
            phase,
            restarts,
            message: message.to_owned(),
            ..ReplicaStatus::default()
        };
        let steps = [
            (Phase::Starting, 0, true, ""),
            (Phase::Ready, 0, true, ""),
            (Phase::Unready, 0, true, "Replica 1 was ready, and is unready: no answer."),
            (Phase::Unready, 0, true, ""),
            (Phase::Ready, 0, true, ""),
            (Phase::Stopping, 0, true, ""),
            (Phase::Ready, 1, true, "Replica 1 ended by itself and was started again: no answer."),
            (Phase::Stopping, 1, false, ""),
            (Phase::Starting, 1, false, ""),
        ];
        for (phase, restarts, calm, told) in steps {
            assert_eq!(losses.look(&[replica(phase, restarts, "no answer")], calm).join(" "), told, "{phase:?}");
        }
    }
}
