//! a ScaledObject of KEDA, read out of its manifest and written as a scaler and its workload
//!
//! Each trigger becomes a signal whose query has to be filled in, a cron trigger a schedule. KEDA hands the counting to an HPA, whose
//! window of five minutes for scaling down becomes `stabilize_down`. What has no place here is said, with its line.
//!
//! Source: keda.sh, "ScaledObject specification" and the pages of the scalers.

use super::manifest::{Fields, Node, Reader};
use super::object::{Named, Target, float, identifier, one_line, quoted, signals, told, unused};
use std::collections::BTreeSet;

/// For each type of trigger the keys of its threshold, of which it has one, and what that is if not said. Of other types the first key
/// of [`THRESHOLDS`] counts.
const TRIGGERS: [(&str, &[&str], Option<f64>); 14] = [
    ("apache-kafka", &["lagThreshold"], Some(10.0)),
    ("aws-sqs-queue", &["queueLength"], Some(5.0)),
    ("azure-queue", &["queueLength"], Some(5.0)),
    ("azure-servicebus", &["messageCount"], Some(5.0)),
    ("gcp-pubsub", &["value", "subscriptionSize"], Some(10.0)),
    ("kafka", &["lagThreshold"], Some(10.0)),
    ("metrics-api", &["targetValue"], None),
    ("mysql", &["queryValue"], None),
    ("nats-jetstream", &["lagThreshold"], Some(10.0)),
    ("postgresql", &["targetQueryValue"], None),
    ("prometheus", &["threshold"], None),
    ("rabbitmq", &["value", "queueLength"], None),
    ("redis", &["listLength"], Some(5.0)),
    ("redis-streams", &["pendingEntriesCount", "streamLength", "lagCount"], Some(5.0)),
];

/// Under which keys other types of trigger have their threshold.
const THRESHOLDS: [&str; 10] = [
    "threshold",
    "targetValue",
    "value",
    "lagThreshold",
    "queueLength",
    "listLength",
    "messageCount",
    "queryValue",
    "targetQueryValue",
    "targetMetricValue",
];

/// A ScaledObject.
#[derive(Debug)]
pub(super) struct ScaledObject {
    line: u64,
    named: Named,
    target: Target,
    /// seconds between two looks
    every: u32,
    /// seconds without anything active until it goes idle
    cooldown: u32,
    min: u32,
    max: u32,
    idle: Option<u32>,
    /// seconds of the windows: up, down
    windows: (u32, u32),
    triggers: Vec<Trigger>,
    schedules: Vec<Schedule>,
    /// what has no place in a pipeline file: the line, and what it is
    left_out: Vec<(u64, String)>,
}

#[derive(Debug)]
struct Trigger {
    line: u64,
    signal: String,
    threshold: f64,
    activation: f64,
    /// what its query has to answer
    wanted: String,
}

#[derive(Debug)]
struct Schedule {
    start: String,
    end: String,
    timezone: String,
    replicas: u32,
}

impl ScaledObject {
    /// Reads one; what is wrong is among the reader's mistakes.
    pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<ScaledObject> {
        let mut all = reader.map(node, "")?;
        let version = reader.must(&mut all, "apiVersion")?;
        match reader.text(version, "apiVersion")?.as_str() {
            "keda.sh/v1alpha1" => (),
            other => {
                let message = format!("apiVersion `{other}` is not known of a ScaledObject; known is keda.sh/v1alpha1");
                reader.wrong(version.line, message);
                return None;
            }
        }
        all.take("kind");
        all.take("status");
        let named = Named::read(reader, &mut all)?;
        let mut left_out = Vec::new();
        for (line, annotation, value) in &named.annotations {
            if let Some(word) = annotation.strip_prefix("autoscaling.keda.sh/paused") {
                left_out.push((*line, format!("the annotation `autoscaling.keda.sh/paused{word}: {value}`; say it to the scaler by `tidemill scale order`")));
            }
        }
        let spec = reader.must(&mut all, "spec")?;
        reader.done(&all);
        let mut spec = reader.map(spec, "spec")?;
        let target =
            reader.must(&mut spec, "scaleTargetRef").and_then(|node| Target::read(reader, node, Some("Deployment")));
        let count = |reader: &mut Reader, spec: &mut Fields<'_>, name: &'static str, usual: u32| {
            spec.take(name).map_or(Some(usual), |node| reader.count(node, &format!("spec.{name}")))
        };
        let every = count(reader, &mut spec, "pollingInterval", 30);
        let cooldown = count(reader, &mut spec, "cooldownPeriod", 300);
        let min = count(reader, &mut spec, "minReplicaCount", 0);
        let max = count(reader, &mut spec, "maxReplicaCount", 100);
        let idle = match spec.take("idleReplicaCount") {
            Some(node) => Some(reader.count(node, "spec.idleReplicaCount")?),
            None => None,
        };
        for (key, why) in [
            ("fallback", "a signal without a value holds the number, and never lowers it"),
            ("initialCooldownPeriod", "the first start of a scaler takes nothing away"),
        ] {
            left_out.extend(spec.take(key).map(|node| (node.line, format!("`spec.{key}`: {why}"))));
        }
        let windows = match spec.take("advanced") {
            Some(node) => advanced(reader, node, &mut left_out)?,
            None => (0, 300),
        };
        let (mut triggers, mut schedules) = (Vec::new(), Vec::new());
        if let Some(node) = reader.must(&mut spec, "triggers") {
            let list = reader.list(node, "spec.triggers");
            if list.is_empty() {
                reader.wrong(node.line, "`spec.triggers` has no trigger");
            }
            for (at, node) in list.iter().enumerate() {
                trigger(reader, node, &format!("spec.triggers[{at}]"), &mut triggers, &mut schedules);
            }
        }
        reader.done(&spec);
        let mut used = BTreeSet::new();
        for trigger in &mut triggers {
            trigger.signal = unused(&trigger.signal, &mut used);
        }
        let (min, every) = (min?, every?);
        if max.is_some_and(|max| min > max) {
            reader.wrong(node.line, format!("`spec.minReplicaCount` is {min}, which is above `spec.maxReplicaCount`"));
        }
        if let Some(idle) = idle.filter(|idle| *idle >= min) {
            let message =
                format!("`spec.idleReplicaCount` is {idle}; it has to be below `spec.minReplicaCount`, which is {min}");
            reader.wrong(node.line, message);
        }
        Some(ScaledObject {
            line: node.line,
            named,
            target: target?,
            every: every.max(1),
            cooldown: cooldown?,
            min,
            max: max?,
            idle,
            windows,
            triggers,
            schedules,
            left_out,
        })
    }

    /// How many it has while nothing is active.
    fn idle_number(&self) -> u32 {
        self.idle.unwrap_or(self.min)
    }

    /// What has no place in a pipeline file.
    pub(super) fn left_out(&self) -> impl Iterator<Item = (u64, &str)> {
        self.left_out.iter().map(|(line, what)| (*line, what.as_str()))
    }

    /// What has to be filled in: each signal with what its query has to answer.
    pub(super) fn to_fill(&self) -> impl Iterator<Item = (u64, &str, &str)> {
        self.triggers.iter().map(|trigger| (trigger.line, trigger.signal.as_str(), trigger.wanted.as_str()))
    }

    /// The scaler and the workload as TOML, under a name that is not among the used ones.
    pub(super) fn toml(&self, file: &str, used: &mut BTreeSet<String>) -> (String, String) {
        let name = unused(&identifier(&self.named.name), used);
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line(format!("# From the ScaledObject {} ({file}, line {}).", one_line(&self.named.told()), self.line));
        line(format!("[scalers.{name}]\nworkload = \"{name}\"\nplugin = \"keda\"\nevery = \"{}s\"", self.every));
        line(format!("min = {}\nmax = {}", self.idle_number(), self.max));
        for (key, seconds) in [("stabilize_up", self.windows.0), ("stabilize_down", self.windows.1)] {
            if seconds > 0 {
                line(format!("{key} = \"{seconds}s\""));
            }
        }
        // KEDA waits for the cooldown before the last replica goes, and the HPA for its window before others do: here one follows the
        // other.
        let cooldown = if self.idle_number() > 0 { 0 } else { self.cooldown.saturating_sub(self.windows.1) };
        line(format!("\n[scalers.{name}.settings]\ncooldown = \"{cooldown}s\""));
        if let Some(idle) = self.idle {
            line(format!("idle_replicas = {idle}\nmin_replicas = {}", self.min.max(1)));
        }
        for Schedule { start, end, timezone, replicas } in &self.schedules {
            line(format!("\n[[scalers.{name}.settings.schedules]]\nstart = {}\nend = {}", quoted(start), quoted(end)));
            line(format!("timezone = {}\ndesired_replicas = {replicas}", quoted(timezone)));
        }
        if !self.triggers.is_empty() {
            line(format!("\n[scalers.{name}.settings.triggers]"));
        }
        for Trigger { signal, threshold, activation, .. } in &self.triggers {
            line(format!("{signal} = {{ threshold = {}, activation = {} }}", float(*threshold), float(*activation)));
        }
        out.push_str(&signals(&name, self.to_fill()));
        if self.triggers.is_empty() {
            out.push_str("# Its schedules need no signal, and a scaler has one.\nalways = \"SELECT 1 AS value\"\n");
        }
        out.push_str(&self.target.workload(&name, self.named.namespace.as_deref()));
        (name, out)
    }
}

/// The windows of the HPA that KEDA makes: up and down, in seconds.
fn advanced(reader: &mut Reader, node: &Node, left_out: &mut Vec<(u64, String)>) -> Option<(u32, u32)> {
    let mut fields = reader.map(node, "spec.advanced")?;
    for (key, why) in [
        ("restoreToOriginalReplicaCount", "what runs stays when a scaler is taken away"),
        ("scalingModifiers", "a signal's query can put several figures together"),
    ] {
        left_out.extend(fields.take(key).map(|node| (node.line, format!("`spec.advanced.{key}`: {why}"))));
    }
    let mut windows = (0, 300);
    if let Some(node) = fields.take("horizontalPodAutoscalerConfig") {
        let mut config = reader.map(node, "spec.advanced.horizontalPodAutoscalerConfig")?;
        config.take("name");
        if let Some(node) = config.take("behavior") {
            let path = "spec.advanced.horizontalPodAutoscalerConfig.behavior";
            let mut behavior = reader.map(node, path)?;
            for (direction, window) in [("scaleUp", &mut windows.0), ("scaleDown", &mut windows.1)] {
                let Some(node) = behavior.take(direction) else { continue };
                let path = format!("{path}.{direction}");
                let mut rules = reader.map(node, &path)?;
                if let Some(node) = rules.take("stabilizationWindowSeconds") {
                    *window = reader.count(node, &format!("{path}.stabilizationWindowSeconds"))?;
                }
                for field in rules.take_all() {
                    let message =
                        format!("`{path}.{}`; see `up_max`, `up_rate` and their like of the scaler", field.name);
                    left_out.push((field.line, message));
                }
            }
            reader.done(&behavior);
        }
        reader.done(&config);
    }
    reader.done(&fields);
    Some(windows)
}

/// A trigger, as a trigger or a schedule.
fn trigger(
    reader: &mut Reader,
    node: &Node,
    path: &str,
    triggers: &mut Vec<Trigger>,
    schedules: &mut Vec<Schedule>,
) -> Option<()> {
    let mut fields = reader.map(node, path)?;
    let kind_node = reader.must(&mut fields, "type")?;
    let kind = reader.text(kind_node, &format!("{path}.type"))?;
    let name = fields.take("name").and_then(|node| reader.text(node, &format!("{path}.name")));
    if let Some(node) = fields.take("metricType") {
        let word = reader.text(node, &format!("{path}.metricType"))?;
        if word != "AverageValue" {
            let hint = "write a HorizontalPodAutoscaler of it, or a scaler with the plugin `hpa`";
            reader.wrong(
                node.line,
                format!("`{path}.metricType` is `{word}`, and only AverageValue is converted; {hint}"),
            );
            return None;
        }
    }
    // How it signs in, and whether what it asks is kept for a while, is not of the decision.
    fields.take("authenticationRef");
    fields.take("useCachedMetrics");
    let metadata_node = reader.must(&mut fields, "metadata")?;
    reader.done(&fields);
    let path = format!("{path}.metadata");
    let metadata: Vec<(String, String, &Node)> = reader
        .map(metadata_node, &path)?
        .take_all()
        .into_iter()
        .map(|field| (field.name.clone(), told(&field.node), &field.node))
        .collect();
    let found = |key: &str| metadata.iter().find(|(name, _, _)| name == key);
    let number = |reader: &mut Reader, key: &str| -> Option<f64> {
        let (_, text, node) = found(key)?;
        let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        if number.is_none() {
            reader.wrong(node.line, format!("`{path}.{key}` is `{}`, which is no number", one_line(text)));
        }
        number
    };
    match kind.as_str() {
        "cron" => {
            let mut must = |key: &str| match found(key) {
                Some((_, text, _)) => Some(text.clone()),
                None => {
                    reader.wrong(metadata_node.line, format!("`{path}.{key}` is missing"));
                    None
                }
            };
            let (start, end, timezone) = (must("start"), must("end"), must("timezone"));
            let replicas = must("desiredReplicas").and_then(|text| text.trim().parse::<u32>().ok());
            if replicas.is_none() && found("desiredReplicas").is_some() {
                reader.wrong(metadata_node.line, format!("`{path}.desiredReplicas` is no number of replicas"));
            }
            schedules.push(Schedule { start: start?, end: end?, timezone: timezone?, replicas: replicas? });
        }
        "cpu" | "memory" => {
            let hint = "write a HorizontalPodAutoscaler of it, or an adviser with the plugin `hpa`";
            reader.wrong(
                kind_node.line,
                format!("`{kind}` is a share of what replicas ask for, which the plugin `keda` does not know; {hint}"),
            );
        }
        _ => {
            let known = TRIGGERS.iter().find(|known| known.0 == kind);
            let keys = known.map_or(&THRESHOLDS[..], |known| known.1);
            let key = keys.iter().copied().find(|key| found(key).is_some());
            let usual = known.and_then(|known| known.2);
            let threshold = match key {
                Some(key) => number(reader, key)?,
                None => match usual {
                    Some(usual) => usual,
                    None => {
                        reader.wrong(metadata_node.line, format!("`{path}` says no threshold ({})", keys.join(", ")));
                        return None;
                    }
                },
            };
            if threshold <= 0.0 {
                reader
                    .wrong(metadata_node.line, format!("`{path}.{}` must be more than 0", key.unwrap_or("threshold")));
                return None;
            }
            let activation = key.or(keys.first().copied()).map(activation_of).filter(|key| found(key).is_some());
            let activation = activation.map_or(Some(0.0), |key| number(reader, &key))?;
            let wanted = wanted(&kind, &metadata);
            let signal = identifier(name.as_deref().unwrap_or(&kind));
            triggers.push(Trigger { line: node.line, signal, threshold, activation, wanted });
        }
    }
    Some(())
}

/// `lagThreshold` has `activationLagThreshold` beside it.
fn activation_of(key: &str) -> String {
    let mut letters = key.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    format!("activation{}{}", first.map_or(String::new(), String::from), letters.as_str())
}

/// What a trigger's query has to answer.
fn wanted(kind: &str, metadata: &[(String, String, &Node)]) -> String {
    let asked = metadata.iter().find(|(key, _, _)| key == "query");
    // An address may have a password in it, and is of no use to a query here.
    let shown = |(key, text, _): &&(String, String, &Node)| {
        let key = key.to_lowercase();
        let tells = ["host", "connection", "password", "token", "secret", "key"].iter().any(|word| key.contains(word));
        !tells && !text.contains("://") && !text.contains('@')
    };
    let said = |(key, text, _): &(String, String, &Node)| format!("{key} = {text}");
    match asked {
        Some((_, query, _)) => format!("what {kind} is asked by `{query}`, as one number `value`"),
        None => {
            let all: Vec<String> = metadata.iter().filter(shown).map(said).collect();
            format!("what the trigger `{kind}` counts ({}), as one number `value`", all.join(", "))
        }
    }
}
