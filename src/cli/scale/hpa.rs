//! a HorizontalPodAutoscaler, read out of its manifest and written as a scaler and its workload
//!
//! What it measures by name (`cpu`, a metric of an adapter) has no name here: each becomes a signal whose query has to be filled in, with
//! what it must answer said beside it. Everything else has a place: `settings` of the plugin `hpa`, `min` and `max`, the workload.
//!
//! Source: the API reference of autoscaling/v2 and autoscaling/v1.

use super::manifest::{Node, Reader};
use super::object::{Named, Target, float, identifier, one_line, quoted, signals, told, unused};
use std::collections::BTreeSet;

/// The HPA controller looks every 15 s unless it is told otherwise.
const EVERY: &str = "15s";

/// A HorizontalPodAutoscaler.
#[derive(Debug)]
pub(super) struct Hpa {
    line: u64,
    named: Named,
    target: Target,
    min: u32,
    max: u32,
    metrics: Vec<Metric>,
    behavior: Vec<Rules>,
}

/// One thing that it measures.
#[derive(Debug)]
struct Metric {
    line: u64,
    signal: String,
    /// of a resource metric, its name
    resource: Option<String>,
    kind: &'static str,
    target: f64,
    /// what its query has to answer
    wanted: String,
}

/// `scaleUp` or `scaleDown`, each value as TOML.
#[derive(Debug)]
struct Rules {
    direction: &'static str,
    keys: Vec<(&'static str, String)>,
}

impl Hpa {
    /// Reads one; what is wrong is among the reader's mistakes.
    pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<Hpa> {
        let mut all = reader.map(node, "")?;
        let version =
            reader.must(&mut all, "apiVersion").and_then(|node| Some((node.line, reader.text(node, "apiVersion")?)));
        let (version_line, version) = version?;
        all.take("kind");
        // What the controller reports is no setting.
        all.take("status");
        let named = Named::read(reader, &mut all)?;
        for (line, annotation, _) in &named.annotations {
            let reports = annotation.ends_with("/conditions") || annotation.ends_with("/current-metrics");
            if annotation.starts_with("autoscaling.alpha.kubernetes.io/") && !reports {
                let told = format!(
                    "the annotation `{annotation}` is not converted; write it as autoscaling/v2 (`kubectl get hpa.v2.autoscaling`)"
                );
                reader.wrong(*line, told);
            }
        }
        let spec = reader.must(&mut all, "spec")?;
        reader.done(&all);
        let mut spec = reader.map(spec, "spec")?;
        let target = reader.must(&mut spec, "scaleTargetRef").and_then(|node| Target::read(reader, node, None));
        let min = spec.take("minReplicas").map_or(Some(1), |node| reader.count(node, "spec.minReplicas"));
        let max = reader.must(&mut spec, "maxReplicas").and_then(|node| reader.count(node, "spec.maxReplicas"));
        let (mut metrics, mut behavior) = (Vec::new(), Vec::new());
        match version.as_str() {
            "autoscaling/v1" => {
                let node = spec.take("targetCPUUtilizationPercentage");
                let percent = node.and_then(|node| reader.count(node, "spec.targetCPUUtilizationPercentage"));
                metrics.push(cpu(node.map_or(spec.line(), |node| node.line), percent.unwrap_or(80)));
            }
            "autoscaling/v2" | "autoscaling/v2beta2" => {
                if let Some(node) = spec.take("metrics") {
                    for (at, node) in reader.list(node, "spec.metrics").iter().enumerate() {
                        metrics.extend(metric(reader, node, &format!("spec.metrics[{at}]")));
                    }
                }
                if metrics.is_empty() && reader.mistakes.is_empty() {
                    metrics.push(cpu(spec.line(), 80));
                }
                if let Some(node) = spec.take("behavior") {
                    behavior = read_behavior(reader, node);
                }
            }
            other => {
                reader.wrong(
                    version_line,
                    format!("apiVersion `{other}` is not known; known are autoscaling/v2 and autoscaling/v1"),
                );
                return None;
            }
        }
        reader.done(&spec);
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            reader.wrong(node.line, format!("`spec.minReplicas` is {min}, which is above `spec.maxReplicas`, {max}"));
        }
        let mut used = BTreeSet::new();
        for metric in &mut metrics {
            metric.signal = unused(&metric.signal, &mut used);
        }
        Some(Hpa { line: node.line, named, target: target?, min: min?, max: max?, metrics, behavior })
    }

    /// What has to be filled in: each signal with what its query has to answer.
    pub(super) fn to_fill(&self) -> impl Iterator<Item = (u64, &str, &str)> {
        self.metrics.iter().map(|metric| (metric.line, metric.signal.as_str(), metric.wanted.as_str()))
    }

    /// The scaler and the workload as TOML, under a name that is not among the used ones.
    pub(super) fn toml(&self, file: &str, used: &mut BTreeSet<String>) -> (String, String) {
        let name = unused(&identifier(&self.named.name), used);
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line(format!(
            "# From the HorizontalPodAutoscaler {} ({file}, line {}).",
            one_line(&self.named.told()),
            self.line
        ));
        line(format!("[scalers.{name}]\nworkload = \"{name}\"\nplugin = \"hpa\"\nevery = \"{EVERY}\""));
        line(format!("min = {}\nmax = {}\n", self.min, self.max));
        line(format!("[scalers.{name}.settings.targets]"));
        for metric in &self.metrics {
            // A utilization is taken to be the processor's, all else not.
            let usual = metric.resource.as_ref().is_none_or(|name| (name == "cpu") == (metric.kind == "Utilization"));
            let resource = metric.resource.as_ref().filter(|_| !usual);
            let resource = resource.map_or(String::new(), |name| format!("resource = {}, ", quoted(name)));
            let (signal, kind, target) = (&metric.signal, metric.kind, float(metric.target));
            line(format!("{signal} = {{ type = \"{kind}\", {resource}target = {target} }}"));
        }
        for rules in &self.behavior {
            line(format!("\n[scalers.{name}.settings.behavior.{}]", rules.direction));
            for (key, value) in &rules.keys {
                line(format!("{key} = {value}"));
            }
        }
        out.push_str(&signals(&name, self.to_fill()));
        out.push_str(&self.target.workload(&name, self.named.namespace.as_deref()));
        (name, out)
    }
}

/// What is measured where nothing is said.
fn cpu(line: u64, percent: u32) -> Metric {
    let wanted = resource_wanted("cpu", "Utilization", None);
    let (signal, resource) = ("cpu".to_owned(), Some("cpu".to_owned()));
    Metric { line, signal, resource, kind: "Utilization", target: f64::from(percent), wanted }
}

fn metric(reader: &mut Reader, node: &Node, path: &str) -> Option<Metric> {
    let mut fields = reader.map(node, path)?;
    let kind_node = reader.must(&mut fields, "type")?;
    let kind = reader.text(kind_node, &fields.path("type"))?;
    let field = match kind.as_str() {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        other => {
            let known = "Resource, ContainerResource, Pods, Object and External";
            reader.wrong(kind_node.line, format!("`{path}.type` is `{other}`; known are {known}"));
            return None;
        }
    };
    let inside = reader.must(&mut fields, field)?;
    reader.done(&fields);
    let path = format!("{path}.{field}");
    let mut fields = reader.map(inside, &path)?;
    let (signal, said, container) = match field {
        "resource" | "containerResource" => {
            let name = reader.must(&mut fields, "name").and_then(|node| reader.text(node, &format!("{path}.name")))?;
            let container = match field {
                "containerResource" => Some(
                    reader
                        .must(&mut fields, "container")
                        .and_then(|node| reader.text(node, &format!("{path}.container")))?,
                ),
                _ => None,
            };
            let signal = container.as_ref().map_or(name.clone(), |container| format!("{name}_{container}"));
            (signal, name, container)
        }
        _ => {
            let described = match field {
                "object" => {
                    let node = reader.must(&mut fields, "describedObject")?;
                    let (kind, name) = target_of(reader, node, &format!("{path}.describedObject"))?;
                    format!(" of the {kind} `{name}`")
                }
                _ => String::new(),
            };
            let node = reader.must(&mut fields, "metric")?;
            let (name, selector) = metric_name(reader, node, &format!("{path}.metric"))?;
            (name.clone(), format!("the metric `{name}`{described}{selector}"), None)
        }
    };
    let node = reader.must(&mut fields, "target")?;
    reader.done(&fields);
    let (kind, target) = metric_target(reader, node, &format!("{path}.target"), field)?;
    let wanted = match field {
        "resource" | "containerResource" => resource_wanted(&said, kind, container.as_deref()),
        "pods" => format!("{said}, summed over all replicas, as one number `value`"),
        _ if kind == "AverageValue" => {
            format!("{said}, its total (it is divided by the replicas), as one number `value`")
        }
        _ => format!("{said}, as one number `value`"),
    };
    let resource = matches!(field, "resource" | "containerResource").then_some(said);
    Some(Metric { line: inside.line, signal: identifier(&signal), resource, kind, target, wanted })
}

fn resource_wanted(resource: &str, kind: &str, container: Option<&str>) -> String {
    let of = container.map_or("all containers".to_owned(), |container| format!("the container `{container}`"));
    let unit = match resource {
        "cpu" => "in cores",
        "memory" => "in bytes",
        _ => "in its own unit",
    };
    match kind {
        "Utilization" => {
            format!(
                "what {of} of the ready replicas use of `{resource}`, in percent of what they request together, as one number `value`"
            )
        }
        _ => format!("what {of} of the replicas use of `{resource}` {unit}, summed, as one number `value`"),
    }
}

/// An object's kind and name.
fn target_of(reader: &mut Reader, node: &Node, path: &str) -> Option<(String, String)> {
    let mut fields = reader.map(node, path)?;
    let mut text = |reader: &mut Reader, name: &'static str| {
        let node = reader.must(&mut fields, name)?;
        reader.text(node, &format!("{path}.{name}"))
    };
    let (kind, name) = (text(reader, "kind"), text(reader, "name"));
    fields.take("apiVersion");
    reader.done(&fields);
    Some((kind?, name?))
}

/// A metric's name, and its selector in words.
fn metric_name(reader: &mut Reader, node: &Node, path: &str) -> Option<(String, String)> {
    let mut fields = reader.map(node, path)?;
    let name = reader.must(&mut fields, "name").and_then(|node| reader.text(node, &format!("{path}.name")));
    let mut words = Vec::new();
    if let Some(node) = fields.take("selector") {
        let path = format!("{path}.selector");
        let mut selector = reader.map(node, &path)?;
        if let Some(node) = selector.take("matchLabels") {
            for field in reader.map(node, &format!("{path}.matchLabels"))?.take_all() {
                words.push(format!("{} = {}", field.name, told(&field.node)));
            }
        }
        if let Some(node) = selector.take("matchExpressions") {
            for node in reader.list(node, &format!("{path}.matchExpressions")) {
                words.push(told(node));
            }
        }
        reader.done(&selector);
    }
    reader.done(&fields);
    let selector = if words.is_empty() { String::new() } else { format!(" where {}", words.join(", ")) };
    Some((name?, selector))
}

/// The target's type and number.
fn metric_target(reader: &mut Reader, node: &Node, path: &str, of: &str) -> Option<(&'static str, f64)> {
    let mut fields = reader.map(node, path)?;
    let kind_node = reader.must(&mut fields, "type")?;
    let kind = reader.text(kind_node, &format!("{path}.type"))?;
    let allowed: &[(&'static str, &'static str)] = match of {
        "resource" | "containerResource" => &[("Utilization", "averageUtilization"), ("AverageValue", "averageValue")],
        "pods" => &[("AverageValue", "averageValue")],
        _ => &[("Value", "value"), ("AverageValue", "averageValue")],
    };
    let Some((kind, field)) = allowed.iter().find(|allowed| allowed.0 == kind) else {
        let known: Vec<&str> = allowed.iter().map(|allowed| allowed.0).collect();
        reader.wrong(
            kind_node.line,
            format!("`{path}.type` is `{kind}`; of this metric it can be {}", known.join(" or ")),
        );
        return None;
    };
    let value = reader.must(&mut fields, field);
    reader.done(&fields);
    let value = value?;
    let number = reader.quantity(value, &format!("{path}.{field}"))?;
    if number <= 0.0 {
        reader.wrong(value.line, format!("`{path}.{field}` must be more than 0"));
        return None;
    }
    Some((*kind, number))
}

fn read_behavior(reader: &mut Reader, node: &Node) -> Vec<Rules> {
    let Some(mut fields) = reader.map(node, "spec.behavior") else { return Vec::new() };
    let rules = ["scaleUp", "scaleDown"].into_iter().filter_map(|direction| {
        let node = fields.take(direction)?;
        rules(reader, node, direction)
    });
    let rules = rules.collect();
    reader.done(&fields);
    rules
}

fn rules(reader: &mut Reader, node: &Node, direction: &'static str) -> Option<Rules> {
    let path = format!("spec.behavior.{direction}");
    let mut fields = reader.map(node, &path)?;
    let mut keys = Vec::new();
    if let Some(node) = fields.take("stabilizationWindowSeconds") {
        let seconds = reader.count(node, &format!("{path}.stabilizationWindowSeconds"));
        keys.extend(seconds.map(|seconds| ("stabilizationWindowSeconds", seconds.to_string())));
    }
    if let Some(node) = fields.take("selectPolicy") {
        let word = reader.text(node, &format!("{path}.selectPolicy"))?;
        if !["Max", "Min", "Disabled"].contains(&word.as_str()) {
            reader.wrong(node.line, format!("`{path}.selectPolicy` is `{word}`; known are Max, Min and Disabled"));
        }
        keys.push(("selectPolicy", quoted(&word)));
    }
    if let Some(node) = fields.take("tolerance") {
        keys.extend(reader.quantity(node, &format!("{path}.tolerance")).map(|share| ("tolerance", float(share))));
    }
    if let Some(node) = fields.take("policies") {
        let mut policies = Vec::new();
        for (at, node) in reader.list(node, &format!("{path}.policies")).iter().enumerate() {
            policies.extend(policy(reader, node, &format!("{path}.policies[{at}]")));
        }
        if !policies.is_empty() {
            keys.push(("policies", format!("[{}]", policies.join(", "))));
        }
    }
    reader.done(&fields);
    Some(Rules { direction, keys })
}

fn policy(reader: &mut Reader, node: &Node, path: &str) -> Option<String> {
    let mut fields = reader.map(node, path)?;
    let kind = reader.must(&mut fields, "type")?;
    let word = reader.text(kind, &format!("{path}.type"))?;
    if !["Pods", "Percent"].contains(&word.as_str()) {
        reader.wrong(kind.line, format!("`{path}.type` is `{word}`; known are Pods and Percent"));
    }
    let value = reader.must(&mut fields, "value").and_then(|node| reader.count(node, &format!("{path}.value")));
    let period =
        reader.must(&mut fields, "periodSeconds").and_then(|node| reader.count(node, &format!("{path}.periodSeconds")));
    reader.done(&fields);
    Some(format!("{{ type = {}, value = {}, periodSeconds = {} }}", quoted(&word), value?, period?))
}
