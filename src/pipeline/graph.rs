//! the graph of sources, stages and tables, and what events look like at each node
//!
//! **Always:** a graph that was built without mistakes has no cycle, and everything in it is fed and feeds something.

use crate::error::did_you_mean;
use crate::event::columns::{BODY, LABELS, TIMESTAMP};
use crate::event::dead_letter::CODEC;
use crate::event::{Kind, Type, labels};
use crate::plugin::{Contract, World};
use std::collections::{BTreeMap, BTreeSet};

/// Where events go from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// into a stage
    Stage(String),
    /// into a table
    Table(String),
}

/// Who feeds whom.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    feeds: BTreeMap<String, Vec<Node>>,
    inputs: BTreeMap<String, Vec<String>>,
    stages: Vec<String>,
}

/// A mistake in the graph: the key it is under (`stages.nginx.inputs`), and the sentence.
pub type GraphMistake = (String, String);

/// What events look like at a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// logs or metrics
    pub kind: Kind,
    /// columns that events may have here, as far as they are known
    pub columns: BTreeMap<String, Type>,
    /// events may bring columns of their own
    pub open: bool,
}

impl Graph {
    /// Builds the graph from names and inputs, and tells every mistake.
    pub fn build(
        sources: &[&str],
        stages: &[(&str, &[String])],
        tables: &[(&str, &[String])],
    ) -> (Graph, Vec<GraphMistake>) {
        let mut mistakes = Vec::new();
        let known: Vec<&str> = sources.iter().copied().chain(stages.iter().map(|(name, _)| *name)).collect();
        if stages.iter().any(|(name, _)| *name == CODEC) {
            let message = "dead letters name so what a source itself could not read; give the stage another name";
            mistakes.push((format!("stages.{CODEC}"), format!("`{CODEC}`: {message}")));
        }
        for (name, _) in stages.iter().filter(|(name, _)| sources.contains(name)) {
            mistakes
                .push((format!("stages.{name}"), format!("`{name}` names a source too; give the stage another name")));
        }
        let mut graph = Graph::default();
        let wired = stages.iter().map(|wire| ("stages", wire)).chain(tables.iter().map(|wire| ("tables", wire)));
        for (section, (name, inputs)) in wired {
            let path = format!("{section}.{name}.inputs");
            if inputs.is_empty() {
                mistakes
                    .push((path.clone(), format!("`{name}` has no inputs; name the sources or stages that feed it")));
            }
            for (at, input) in inputs.iter().enumerate() {
                if inputs.iter().take(at).any(|other| other == input) {
                    let twice =
                        format!("`{input}` is named twice, and each of its events would come twice; name it once");
                    mistakes.push((path.clone(), twice));
                    continue;
                }
                if !known.contains(&input.as_str()) {
                    let hint = did_you_mean(input, known.iter().copied());
                    let all = known.join(", ");
                    mistakes.push((
                        path.clone(),
                        format!("there is no source or stage `{input}`{hint} (there are: {all})"),
                    ));
                    continue;
                }
                let node = match section {
                    "stages" => Node::Stage((*name).to_owned()),
                    _ => Node::Table((*name).to_owned()),
                };
                graph.feeds.entry(input.clone()).or_default().push(node);
            }
            if section == "stages" {
                graph.inputs.insert((*name).to_owned(), inputs.to_vec());
            }
        }
        let sections =
            sources.iter().map(|name| ("sources", *name)).chain(stages.iter().map(|(name, _)| ("stages", *name)));
        for (section, name) in sections {
            if !graph.feeds.contains_key(name) {
                let what = if section == "sources" { "source" } else { "stage" };
                mistakes.push((
                    format!("{section}.{name}"),
                    format!(
                        "the {what} `{name}` feeds nothing; name it in the inputs of a stage or table, or take it out"
                    ),
                ));
            }
        }
        graph.order(sources, stages, &mut mistakes);
        (graph, mistakes)
    }

    /// Where events of a source or stage go.
    pub fn feeds(&self, name: &str) -> &[Node] {
        self.feeds.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Stages, each after those that feed it.
    pub fn stages(&self) -> &[String] {
        &self.stages
    }

    /// The sources whose events can reach these inputs.
    pub fn sources_of(&self, inputs: &[String]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<&String> = inputs.iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            if !seen.insert(name) {
                continue;
            }
            match self.inputs.get(name) {
                Some(inputs) => waiting.extend(inputs),
                None => drop(found.insert(name.clone())),
            }
        }
        found
    }

    /// Puts stages after those that feed them; the ones that cannot be are in a cycle.
    fn order(&mut self, sources: &[&str], stages: &[(&str, &[String])], mistakes: &mut Vec<GraphMistake>) {
        let mut waiting: Vec<(&str, &[String])> = stages.to_vec();
        loop {
            // A source of the same name is told already, and feeds no circle.
            let names = waiting.iter().map(|(name, _)| *name).filter(|name| !sources.contains(name));
            let names: BTreeSet<&str> = names.collect();
            let (later, ready): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, inputs)| inputs.iter().any(|input| names.contains(input.as_str())));
            self.stages.extend(ready.iter().map(|(name, _)| (*name).to_owned()));
            if ready.is_empty() {
                for (name, _) in &later {
                    let path = format!("stages.{name}.inputs");
                    mistakes
                        .push((path, format!("the stage `{name}` is in a circle: its events would come back to it")));
                }
                return;
            }
            waiting = later;
        }
    }
}

impl Flow {
    /// Events of a source.
    pub fn of_source(kind: Kind, open: bool) -> Flow {
        let base = kind.base();
        let typed =
            base.fields().iter().filter_map(|field| Some((field.name().clone(), Type::of(field.data_type()).ok()?)));
        Flow { kind, columns: typed.collect(), open }
    }

    /// Events of several inputs together, each with its name; `Err` when some are logs and some metrics, or where a column has types that
    /// no column can hold both.
    pub fn together(flows: &[(String, Flow)]) -> Result<Option<Flow>, String> {
        let mut all: Option<Flow> = None;
        for (at, (input, flow)) in flows.iter().enumerate() {
            match &mut all {
                None => all = Some(flow.clone()),
                Some(together) if together.kind != flow.kind => {
                    return Err("its inputs mix logs and metrics; take them apart into two".to_owned());
                }
                Some(together) => {
                    for (name, new) in &flow.columns {
                        let old = together.columns.get(name).copied();
                        let Some(r#type) = old.map_or(Some(*new), |old| meeting(name, old, *new)) else {
                            let before = flows.iter().take(at).find(|(_, flow)| flow.columns.contains_key(name));
                            let other = before.map_or("another", |(other, _)| other.as_str());
                            let (old, new) = (old.map_or("", Type::word), new.word());
                            return Err(format!(
                                "the column `{name}` is {old} from `{other}` and {new} from `{input}`; give one of them another name or \
                                 type, or each input a table of its own"
                            ));
                        };
                        together.columns.insert(name.clone(), r#type);
                    }
                    together.open |= flow.open;
                }
            }
        }
        Ok(all)
    }

    /// Whether events may have a column.
    pub fn may_have(&self, column: &str) -> bool {
        let label = self.kind == Kind::Metrics && column.starts_with(labels::PREFIX);
        self.open || label || self.columns.contains_key(column) || column.ends_with('*')
    }

    /// What events look like after a stage whose parser reads `field` in place of the line; the stage's key and a sentence for every
    /// column that it reads and nobody makes, and for every one that it makes as another type than the event has it. A pattern
    /// (`http.*`) reads what there is, which may be nothing.
    pub fn after(&self, world: World, contract: &Contract, field: Option<&str>) -> (Flow, Vec<(&'static str, String)>) {
        // The line crosses as `body`, whatever else the plugin reads.
        let others = contract.reads.iter().filter(|name| field.is_none() || *name != BODY);
        let reads = others.map(|name| ("settings", name.as_str())).chain(field.map(|field| ("field", field)));
        let missing = reads.filter(|(_, name)| !self.may_have(name)).map(|(key, name)| {
            let hint = did_you_mean(name, self.columns.keys().map(String::as_str));
            (key, format!("it reads the column `{name}`, which nothing before it makes{hint} ({})", self.list()))
        });
        let mut wrong: Vec<(&str, String)> = missing.collect();
        let mut flow = self.clone();
        if world == World::Parser && contract.produces != self.kind {
            flow = Flow::of_source(contract.produces, false);
        }
        for (name, r#type) in &contract.writes {
            // A parser makes columns anew, but not those that every event has.
            let fixed = world == World::Enricher || flow.kind.base().field_with_name(name).is_ok();
            if let Some(old) =
                flow.columns.get(name).filter(|old| fixed && meeting(name, **old, *r#type) != Some(**old))
            {
                let (old, new) = (old.word(), r#type.word());
                let message = format!(
                    "it makes the column `{name}` as {new}, and events have it as {old}; let it make one of another name"
                );
                wrong.push(("settings", message));
            }
            match name.strip_prefix(labels::PREFIX) {
                Some(_) => drop(flow.columns.insert(LABELS.to_owned(), Type::Labels)),
                None => drop(flow.columns.insert(name.clone(), *r#type)),
            }
        }
        flow.open |= contract.open_schema;
        (flow, wrong)
    }

    /// The columns, for an error.
    fn list(&self) -> String {
        let names: Vec<&str> = self.columns.keys().map(String::as_str).filter(|name| *name != TIMESTAMP).collect();
        format!("there are: {TIMESTAMP}, {}", names.join(", "))
    }
}

/// The type of a column whose values have these two, if one can hold both: what meets in a table without anything being set aside.
fn meeting(name: &str, a: Type, b: Type) -> Option<Type> {
    match (a, b) {
        _ if a == b => Some(a),
        (Type::Int64, Type::Float64) | (Type::Float64, Type::Int64) => Some(Type::Float64),
        // A line is bytes on its way and text in its table.
        (Type::Utf8, Type::Binary) | (Type::Binary, Type::Utf8) if name == BODY => Some(a),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(sources: &[&str], stages: &[(&str, &[&str])], tables: &[(&str, &[&str])]) -> String {
        let owned = |wires: &[(&str, &[&str])]| -> Vec<(String, Vec<String>)> {
            wires.iter().map(|(n, i)| ((*n).to_owned(), i.iter().map(|i| (*i).to_owned()).collect())).collect()
        };
        let (stages, tables) = (owned(stages), owned(tables));
        let stages: Vec<(&str, &[String])> = stages.iter().map(|(n, i)| (n.as_str(), i.as_slice())).collect();
        let tables: Vec<(&str, &[String])> = tables.iter().map(|(n, i)| (n.as_str(), i.as_slice())).collect();
        let (_, mistakes) = Graph::build(sources, &stages, &tables);
        mistakes.into_iter().map(|(path, message)| format!("{path}: {message}\n")).collect()
    }

    #[test]
    fn names_are_told_and_not_taken_for_a_circle() {
        let same = mistakes(&["a"], &[("a", &["a"])], &[("t", &["a"])]);
        assert_eq!(same, "stages.a: `a` names a source too; give the stage another name\n");
        let codec = mistakes(&["a"], &[("codec", &["a"])], &[("t", &["codec"])]);
        assert!(
            codec.starts_with("stages.codec: `codec`: dead letters name so") && codec.lines().count() == 1,
            "{codec}"
        );
    }

    #[test]
    fn tells_every_mistake() {
        assert_eq!(mistakes(&["a"], &[("p", &["a"])], &[("t", &["p"])]), "");
        let all = mistakes(&["a", "b"], &[("p", &["q"]), ("q", &["p", "aa"])], &[("t", &["a", "a"]), ("u", &[])]);
        for part in [
            "stages.q.inputs: there is no source or stage `aa`; did you mean `a`?",
            "tables.u.inputs: `u` has no inputs",
            "tables.t.inputs: `a` is named twice",
            "sources.b: the source `b` feeds nothing",
            "stages.p.inputs: the stage `p` is in a circle",
        ] {
            assert!(all.contains(part), "{part} is not in\n{all}");
        }
    }

    #[test]
    fn a_column_nobody_makes_is_named() {
        let contract = Contract {
            reads: vec!["bdy".into()],
            writes: vec![("status".into(), Type::Int64)],
            reads_time: false,
            open_schema: false,
            keeps_state: false,
            produces: Kind::Logs,
        };
        let (after, missing) = Flow::of_source(Kind::Logs, false).after(World::Parser, &contract, None);
        assert!(missing.iter().any(|(_, m)| m.contains("`bdy`") && m.contains("did you mean `body`")), "{missing:?}");
        assert!(after.may_have("status") && !after.may_have("path"));
    }

    #[test]
    fn types_that_disagree_are_told() {
        let contract = |writes: &[(&str, Type)]| Contract {
            reads: vec!["body".into(), "http.*".into()],
            writes: writes.iter().map(|(name, r#type)| ((*name).to_owned(), *r#type)).collect(),
            reads_time: false,
            open_schema: false,
            keeps_state: false,
            produces: Kind::Logs,
        };
        let made = |world, flow: &Flow, writes: &[(&str, Type)]| flow.after(world, &contract(writes), None);
        let source = Flow::of_source(Kind::Logs, false);
        let parser = |writes: &[(&str, Type)]| made(World::Parser, &source, writes).0;
        let (whole, text) = (parser(&[("n", Type::Int64)]), parser(&[("n", Type::Utf8)]));
        let float = parser(&[("n", Type::Float64)]);
        let together = |a: &Flow, b: &Flow| Flow::together(&[("a".to_owned(), a.clone()), ("b".to_owned(), b.clone())]);
        let error = together(&whole, &text).unwrap_err();
        assert!(error.contains("`n` is int64 from `a` and utf8 from `b`"), "{error}");
        assert_eq!(together(&whole, &float).unwrap().unwrap().columns["n"], Type::Float64);
        // What a plugin makes beside what there is.
        for (world, writes, says) in [
            (World::Enricher, ("n", Type::Int64), ""),
            (World::Enricher, ("n", Type::Utf8), "`n` as utf8, and events have it as int64"),
            (World::Enricher, ("body", Type::Binary), ""),
            (World::Parser, ("n", Type::Utf8), ""),
            (World::Parser, ("timestamp", Type::Utf8), "`timestamp` as utf8, and events have it as timestamp"),
        ] {
            let (_, wrong) = made(world, &whole, &[writes]);
            assert_eq!(wrong.is_empty(), says.is_empty(), "{writes:?}: {wrong:?}");
            assert!(wrong.iter().all(|(_, wrong)| wrong.contains(says)), "{wrong:?}");
        }
    }
}
