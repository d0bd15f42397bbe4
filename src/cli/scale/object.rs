//! what manifests of autoscalers have in common: a name, an object that is scaled, and how both are written in a pipeline file

use super::manifest::{Fields, Node, Reader, Value};
use crate::scale::actuator::kubernetes::KNOWN;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A manifest's metadata.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// the line, the name and the text of each
    pub(super) annotations: Vec<(u64, String, String)>,
}

/// What is scaled.
#[derive(Debug)]
pub(super) struct Target {
    api_version: Option<String>,
    kind: String,
    name: String,
}

impl Named {
    pub(super) fn read(reader: &mut Reader, all: &mut Fields<'_>) -> Option<Named> {
        let node = reader.must(all, "metadata")?;
        let mut fields = reader.map(node, "metadata")?;
        let name = reader.must(&mut fields, "name").and_then(|node| reader.text(node, "metadata.name"));
        let namespace = fields.take("namespace").and_then(|node| reader.text(node, "metadata.namespace"));
        let mut annotations = Vec::new();
        if let Some(node) = fields.take("annotations") {
            let path = fields.path("annotations");
            let found = reader.map(node, &path)?.take_all();
            annotations.extend(found.into_iter().map(|field| (field.line, field.name.clone(), told(&field.node))));
        }
        // Labels, uid and the like are the API server's.
        fields.take_all();
        Some(Named { namespace, name: name?, annotations })
    }

    /// Its name and place, for people.
    pub(super) fn told(&self) -> String {
        let namespace = self.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        format!("{namespace}{}", self.name)
    }
}

impl Target {
    /// Reads a `scaleTargetRef`; where its kind need not be said, it is the usual one.
    pub(super) fn read(reader: &mut Reader, node: &Node, usual: Option<&str>) -> Option<Target> {
        let path = "spec.scaleTargetRef";
        let mut fields = reader.map(node, path)?;
        let api_version =
            fields.take("apiVersion").and_then(|node| reader.text(node, "spec.scaleTargetRef.apiVersion"));
        let kind = match (fields.take("kind"), usual) {
            (Some(node), _) => reader.text(node, "spec.scaleTargetRef.kind"),
            (None, Some(usual)) => Some(usual.to_owned()),
            (None, None) => reader.must(&mut fields, "kind").map(|_| String::new()),
        };
        let name = reader.must(&mut fields, "name").and_then(|node| reader.text(node, "spec.scaleTargetRef.name"));
        // Where KEDA looks for a trigger's variables: there are none here.
        if usual.is_some() {
            fields.take("envSourceContainerName");
        }
        reader.done(&fields);
        Some(Target { api_version, kind: kind?, name: name? })
    }

    /// As a workload of a pipeline file, with an empty line before it.
    pub(super) fn workload(&self, name: &str, namespace: Option<&str>) -> String {
        let mut out = format!("\n[workloads.{name}]\ntype = \"kubernetes\"\n");
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(out, "{key} = {}", quoted(value));
        };
        if let Some(namespace) = namespace {
            line("namespace", namespace);
        }
        line("kind", &self.kind);
        if let Some(api) = self.api_version.as_ref().filter(|api| known_api(&self.kind) != Some(api.as_str())) {
            line("api_version", api);
        }
        line("name", &self.name);
        out
    }
}

/// The signals of a scaler as TOML, with an empty line before them: each is left to be filled in, with what it has to answer beside it.
pub(super) fn signals<'a>(name: &str, to_fill: impl Iterator<Item = (u64, &'a str, &'a str)>) -> String {
    let mut out = format!("\n[scalers.{name}.signals]\n");
    for (_, signal, wanted) in to_fill {
        let _ = writeln!(out, "# Fill in: {}.\n{signal} = \"SELECT value FROM fill_in_{signal}\"", one_line(wanted));
    }
    out
}

/// The API that a workload of this kind has without saying so.
fn known_api(kind: &str) -> Option<&'static str> {
    KNOWN.iter().find(|known| known.0 == kind).map(|known| known.1)
}

/// A name as pipeline files have them.
pub(super) fn identifier(name: &str) -> String {
    let mut out: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if !out.starts_with(|c: char| c.is_ascii_lowercase()) {
        out.insert(0, 'x');
    }
    out.truncate(60);
    out
}

/// The name, or the first with a number that is not used yet.
pub(super) fn unused(name: &str, used: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let free = std::iter::once(name.to_owned()).chain(numbered).find(|name| !used.contains(name)).unwrap_or_default();
    used.insert(free.clone());
    free
}

pub(super) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string().trim().to_owned()
}

pub(super) fn float(number: f64) -> String {
    toml_edit::Value::from(number).to_string().trim().to_owned()
}

pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A node in words, for a comment.
pub(super) fn told(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Flag(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::List(list) => {
            let items: Vec<String> = list.iter().map(told).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(fields) => {
            let mut out = String::new();
            for field in fields {
                let _ = write!(out, "{}{}", if out.is_empty() { "" } else { " " }, told(&field.node));
            }
            out
        }
    }
}
