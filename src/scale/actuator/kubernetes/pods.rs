//! the pods behind a scale, as replicas: which start, which are ready, which are on their way out
//!
//! As the Horizontal Pod Autoscaler looks at them: a failed pod is none, one that is being deleted is on its way out, and one that is
//! pending has not started.

use crate::scale::actuator::{Phase, ReplicaStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

/// Pods that are told apart; of more, none is.
pub const PODS_MAX: usize = 250;

/// A PodList, as much of it as is looked at: what a pod is made of is most of it.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Pod>,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    more: String,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Meta,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    deletion_timestamp: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: String,
    conditions: Vec<Condition>,
    start_time: Option<Time>,
    #[serde(rename = "podIP")]
    pod_ip: String,
    container_statuses: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    r#type: String,
    status: String,
    last_transition_time: Option<Time>,
    reason: String,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    restart_count: u64,
    state: State,
}

#[derive(Default, Deserialize)]
struct State {
    waiting: Option<Waiting>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

/// Where the pods of a selector are listed.
pub fn path(namespace: &str, selector: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("labelSelector", selector)
        .append_pair("limit", &PODS_MAX.to_string())
        .finish();
    format!("/api/v1/namespaces/{namespace}/pods?{query}")
}

/// The pods of an answer, by name; nothing where there are too many to tell apart.
pub fn replicas(answer: &[u8]) -> serde_json::Result<Option<Vec<ReplicaStatus>>> {
    let List { metadata, mut items } = serde_json::from_slice(answer)?;
    if !metadata.more.is_empty() {
        return Ok(None);
    }
    items.retain(|pod| pod.status.phase != "Failed");
    items.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    Ok(Some((1..).zip(items).map(|(number, pod)| replica(number, pod)).collect()))
}

fn replica(number: u32, pod: Pod) -> ReplicaStatus {
    let Pod { metadata, status } = pod;
    let readiness = status.conditions.iter().find(|condition| condition.r#type == "Ready");
    let is_pending = matches!(status.phase.as_str(), "" | "Pending");
    let phase = match readiness {
        _ if metadata.deletion_timestamp.is_some() => Phase::Stopping,
        _ if is_pending => Phase::Waiting,
        Some(readiness) if readiness.status == "True" => Phase::Ready,
        _ => Phase::Unready,
    };
    let started_at = status.start_time.as_ref().filter(|_| !is_pending).map_or(0, nanos);
    let since = readiness.and_then(|readiness| readiness.last_transition_time.as_ref()).map_or(started_at, nanos);
    ReplicaStatus {
        number,
        name: metadata.name,
        phase,
        since,
        started_at,
        restarts: status.container_statuses.iter().map(|container| container.restart_count).sum(),
        message: trouble(&status).unwrap_or_default(),
        address: status.pod_ip,
        ..ReplicaStatus::default()
    }
}

fn nanos(time: &Time) -> i64 {
    i64::try_from(time.0.as_nanosecond()).unwrap_or(0)
}

/// Why it does not run, as its containers or the cluster say it: `CrashLoopBackOff: back-off 10s restarting failed container`.
fn trouble(status: &PodStatus) -> Option<String> {
    let mut waiting = status.container_statuses.iter().filter_map(|container| container.state.waiting.as_ref());
    let unscheduled = status.conditions.iter().find(|it| it.r#type == "PodScheduled" && it.status == "False");
    let (reason, message) = match (waiting.next(), unscheduled) {
        (Some(waiting), _) => (&waiting.reason, &waiting.message),
        (None, Some(condition)) => (&condition.reason, &condition.message),
        (None, None) => return None,
    };
    let words: Vec<&str> = [reason, message].map(String::as_str).into_iter().filter(|word| !word.is_empty()).collect();
    Some(words.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_replicas_as_an_hpa_sees_them() {
        let ready = |is: &str, at: &str| json!([{"type": "Ready", "status": is, "lastTransitionTime": at}]);
        let pod = |name: &str, phase: &str, conditions: serde_json::Value| {
            json!({"metadata": {"name": name}, "status": {"phase": phase, "conditions": conditions,
                   "startTime": "2026-11-29T05:00:00Z", "podIP": "10.0.0.7"}})
        };
        let mut leaving = pod("web-e", "Running", ready("True", "2026-11-29T05:00:09Z"));
        leaving["metadata"]["deletionTimestamp"] = json!("2026-11-29T05:10:00Z");
        let mut looping = pod("web-b", "Running", ready("False", "2026-11-29T05:00:00Z"));
        looping["status"]["containerStatuses"] = json!([{"name": "web", "ready": false, "restartCount": 4, "image": "", "imageID": "",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}}]);
        let unscheduled =
            json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]);
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [
            leaving, looping, pod("web-a", "Running", ready("True", "2026-11-29T05:00:09Z")),
            pod("web-d", "Failed", json!([])), pod("web-c", "Pending", unscheduled)]});
        let told = replicas(list.to_string().as_bytes()).unwrap().unwrap();
        let told: Vec<_> = told
            .iter()
            .map(|it| {
                (it.number, it.name.as_str(), it.phase, (it.since - it.started_at) / 1_000_000_000, it.message.as_str())
            })
            .collect();
        assert_eq!(
            told,
            [
                (1, "web-a", Phase::Ready, 9, ""),
                (2, "web-b", Phase::Unready, 0, "CrashLoopBackOff: back-off 40s"),
                (3, "web-c", Phase::Waiting, 0, "Unschedulable: 0/3 nodes"),
                (4, "web-e", Phase::Stopping, 9, ""),
            ]
        );
        let more = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": "abc"}, "items": []});
        assert_eq!(replicas(more.to_string().as_bytes()).unwrap(), None);
        assert_eq!(
            path("shop", "app=web,tier in (a)"),
            "/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb%2Ctier+in+%28a%29&limit=250"
        );
    }
}
