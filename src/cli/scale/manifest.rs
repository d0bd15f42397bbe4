//! a manifest of Kubernetes as a tree that knows its lines: YAML or JSON, several documents, lists as kubectl prints them

use crate::error::{Error, Result, did_you_mean};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// A value and where it is.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// from 1
    pub(super) line: u64,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Field>),
}

/// A named value.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// the name's own, from 1
    pub(super) line: u64,
    pub(super) node: Node,
}

/// Reads all documents of a text, the items of lists among them.
pub(super) fn read(file: &str, text: &str) -> Result<Vec<Node>> {
    let documents: Vec<Node> = serde_saphyr::from_multiple(text).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let told = error.without_snippet().to_string();
        Error::invalid(format!("{file}:{line}: this is no YAML: {}", told.lines().next().unwrap_or_default()))
    })?;
    Ok(documents.into_iter().flat_map(items).collect())
}

/// A list's items, or the document itself.
fn items(document: Node) -> Vec<Node> {
    let Value::Map(fields) = &document.value else { return vec![document] };
    let kind = fields.iter().find(|field| field.name == "kind").map(|field| &field.node.value);
    let is_list = matches!(kind, Some(Value::Text(kind)) if kind.ends_with("List"));
    let items = fields.iter().find(|field| field.name == "items").map(|field| &field.node.value);
    match items {
        Some(Value::List(items)) if is_list => items.iter().map(|item| with_kind(item.clone(), fields)).collect(),
        _ => vec![document],
    }
}

/// An item of a typed list, as the API answers it, has no kind of its own: `HorizontalPodAutoscalerList` says it for all.
fn with_kind(mut item: Node, list: &[Field]) -> Node {
    let Value::Map(fields) = &mut item.value else { return item };
    for said in list.iter().filter(|field| ["apiVersion", "kind"].contains(&field.name.as_str())) {
        let own = match &said.node.value {
            Value::Text(text) if said.name == "kind" => text.trim_end_matches("List").to_owned(),
            Value::Text(text) => text.clone(),
            _ => continue,
        };
        if !own.is_empty() && !fields.iter().any(|field| field.name == said.name) {
            let node = Node { line: said.line, value: Value::Text(own) };
            fields.push(Field { name: said.name.clone(), line: said.line, node });
        }
    }
    item
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Node, D::Error> {
        let spanned = Spanned::<Value>::deserialize(reader)?;
        Ok(Node { line: spanned.referenced.line(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Value, D::Error> {
        struct Any;
        #[allow(clippy::cast_precision_loss, reason = "counts and targets are far below 2^53")]
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
                Value::deserialize(reader)
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
                Ok(Value::Flag(flag))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(node) = items.next_element()? {
                    list.push(node);
                }
                Ok(Value::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, node)) = entries.next_entry::<Spanned<String>, Node>()? {
                    fields.push(Field { line: name.referenced.line(), name: name.value, node });
                }
                Ok(Value::Map(fields))
            }
        }
        reader.deserialize_any(Any)
    }
}

/// Reads fields by name, and collects what is wrong with its lines.
pub(super) struct Reader {
    file: String,
    pub(super) mistakes: Vec<String>,
}

/// A map whose fields are taken out one by one; what is left is unknown.
pub(super) struct Fields<'n> {
    path: String,
    line: u64,
    left: Vec<&'n Field>,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// A field, if it is there and not null.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        let at = self.left.iter().position(|field| field.name == name)?;
        Some(&self.left.remove(at).node).filter(|node| !matches!(node.value, Value::Null))
    }

    /// All of it, whatever it is.
    pub(super) fn take_all(&mut self) -> Vec<&'n Field> {
        std::mem::take(&mut self.left)
    }

    /// A field's path.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The line that it begins at.
    pub(super) fn line(&self) -> u64 {
        self.line
    }
}

impl Reader {
    pub(super) fn new(file: &str) -> Reader {
        Reader { file: file.to_owned(), mistakes: Vec::new() }
    }

    pub(super) fn wrong(&mut self, line: u64, what: impl fmt::Display) {
        self.mistakes.push(format!("{}:{line}: {what}", self.file));
    }

    pub(super) fn map<'n>(&mut self, node: &'n Node, path: &str) -> Option<Fields<'n>> {
        let Value::Map(fields) = &node.value else {
            self.wrong(node.line, format!("`{path}` is no map"));
            return None;
        };
        Some(Fields { path: path.to_owned(), line: node.line, left: fields.iter().collect(), known: Vec::new() })
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Node] {
        match &node.value {
            Value::List(list) => list,
            _ => {
                self.wrong(node.line, format!("`{path}` is no list"));
                &[]
            }
        }
    }

    pub(super) fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => {
                self.wrong(node.line, format!("`{path}` is no text"));
                None
            }
        }
    }

    pub(super) fn count(&mut self, node: &Node, path: &str) -> Option<u32> {
        match node.value {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "looked at before")]
            Value::Number(number) if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) => {
                Some(number as u32)
            }
            _ => {
                self.wrong(node.line, format!("`{path}` is no whole number"));
                None
            }
        }
    }

    /// `500m`, `1.5`, `2Gi`: a quantity as the API writes it.
    pub(super) fn quantity(&mut self, node: &Node, path: &str) -> Option<f64> {
        let found = match &node.value {
            Value::Number(number) => Some(*number),
            Value::Text(text) => quantity(text),
            Value::Null | Value::Flag(_) | Value::List(_) | Value::Map(_) => None,
        };
        if found.is_none() {
            self.wrong(node.line, format!("`{path}` is no quantity; write one such as `500m`, `1.5` or `2Gi`"));
        }
        found
    }

    /// A field that has to be there.
    pub(super) fn must<'n>(&mut self, fields: &mut Fields<'n>, name: &'static str) -> Option<&'n Node> {
        let found = fields.take(name);
        if found.is_none() {
            self.wrong(fields.line, format!("`{}` is missing", fields.path(name)));
        }
        found
    }

    /// Whatever was not taken is unknown.
    pub(super) fn done(&mut self, fields: &Fields<'_>) {
        for field in &fields.left {
            let hint = did_you_mean(&field.name, fields.known.iter().copied());
            self.wrong(field.line, format!("unknown field `{}`{hint}", fields.path(&field.name)));
        }
    }
}

/// Source: kubernetes.io, "Quantity": a number with m, k, M, G, T, P, E, Ki … Ei, or an exponent.
fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: &[(&str, f64)] = &[
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let with_suffix = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = with_suffix.unwrap_or((text, 1.0));
    let plain = number.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-'));
    let number: f64 = number.parse().ok().filter(|number: &f64| plain && number.is_finite())?;
    // 500 thousandths are a half, not 0.5000000000000001.
    Some(if factor < 1.0 { number / (1.0 / factor).round() } else { number * factor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_the_apis() {
        for (text, value) in [
            ("500m", Some(0.5)),
            ("1", Some(1.0)),
            ("1.5", Some(1.5)),
            ("2Gi", Some(2_147_483_648.0)),
            ("10k", Some(10_000.0)),
            ("1e3", Some(1000.0)),
            ("3E", Some(3e18)),
            ("100m", Some(0.1)),
            ("inf", None),
            ("ten", None),
            ("", None),
            ("5 m", None),
        ] {
            assert_eq!(quantity(text), value, "{text}");
        }
    }

    #[test]
    fn documents_lists_and_json_are_read_with_their_lines() {
        let text =
            "a: 1\n---\n# nothing\n---\nkind: List\nitems:\n- kind: A\n- kind: B\n  deep: {x: [1, two, ~, true]}\n";
        let nodes = read("x.yaml", text).unwrap();
        let lines: Vec<u64> = nodes.iter().map(|node| node.line).collect();
        assert_eq!(lines, [1, 7, 8]);
        let json = read("x.json", "{\"kind\": \"List\",\n \"items\": [\n  {\"kind\": \"A\"}]}").unwrap();
        assert_eq!((json.len(), json[0].line), (1, 3));
        let error = read("x.yaml", "a: 1\nb: [1\n").unwrap_err().to_string();
        assert!(error.starts_with("x.yaml:") && error.contains("no YAML"), "{error}");
        let mut reader = Reader::new("x.yaml");
        let node = &read("x.yaml", "name: web\nmaxReplica: 3\n").unwrap()[0];
        let mut fields = reader.map(node, "spec").unwrap();
        fields.take("name");
        fields.take("maxReplicas");
        reader.done(&fields);
        assert_eq!(reader.mistakes, ["x.yaml:2: unknown field `spec.maxReplica`; did you mean `maxReplicas`?"]);
    }
}
