//! Ten thousand random cases, each of several ticks, against a reference in another language: equal.

use std::io::Write;
use std::process::{Command, Stdio};

use hpa::Hpa;
use serde_json::{Value, json};
use tidemill_plugin::{
    Autoscaler, Batch, Build, Floats, Freshness, Plugin, Replica, Request, Signal, Texts, Timestamps, Workload, wire,
};

const CASES: usize = 10_000;
const SECOND: i64 = 1_000_000_000;

/// A generator of its own, so that a failing case can be made again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % sides
    }

    /// A decimal with up to three places, as a Kubernetes quantity has.
    fn quantity(&mut self, most: u64) -> f64 {
        let thousandths = match self.below(3) {
            0 => self.below(most) * 1000,
            1 => self.below(most * 10) * 100,
            _ => self.below(most * 1000),
        };
        thousandths as f64 / 1000.0
    }

    fn rules(&mut self, window: u64) -> Value {
        let policy = |dice: &mut Dice| {
            let kind = if dice.below(2) == 0 { "Pods" } else { "Percent" };
            json!({ "type": kind, "value": 1 + dice.below(150), "periodSeconds": 1 + dice.below(90) })
        };
        let policies: Vec<Value> = (0..1 + self.below(3)).map(|_| policy(self)).collect();
        let select = ["Max", "Max", "Min", "Disabled"][self.below(4) as usize];
        json!({
            "stabilizationWindowSeconds": self.below(window),
            "selectPolicy": select,
            "policies": policies,
            "tolerance": self.below(4) as f64 / 10.0,
        })
    }
}

fn case(dice: &mut Dice) -> Value {
    let kinds: Vec<&str> =
        (0..1 + dice.below(3)).map(|_| ["AverageValue", "Value", "Utilization"][dice.below(3) as usize]).collect();
    let targets: Vec<f64> = kinds.iter().map(|_| 1.0 + dice.quantity(100)).collect();
    let by_replica: Vec<bool> = kinds.iter().map(|kind| *kind != "Value" && dice.below(2) == 0).collect();
    let resources: Vec<&str> = kinds.iter().map(|_| ["cpu", "memory"][dice.below(2) as usize]).collect();
    let mut now = 1_000 + dice.below(1_000);
    let mut replicas = dice.below(12);
    let ticks = (0..1 + dice.below(8)).map(|_| {
        now += 1 + dice.below(40);
        if dice.below(2) == 0 {
            replicas = dice.below(15);
        }
        let members: Vec<Value> = (0..replicas.max(1)).map(|_| member(dice, now)).collect();
        let metrics = kinds.iter().zip(&targets).zip(&by_replica).zip(&resources);
        let metrics = metrics.map(|(((kind, target), by_replica), resource)| {
            let missing = dice.below(12) == 0;
            if !by_replica {
                return json!({ "type": kind, "target": target, "value": dice.quantity(400), "missing": missing });
            }
            let members: Vec<Value> = members.iter().map(|member| measured(dice, member, *target)).collect();
            json!({ "type": kind, "resource": resource, "target": target, "request": 0.5 + dice.below(4) as f64, "members": members, "missing": missing })
        });
        let metrics: Vec<Value> = metrics.collect();
        json!({ "now": now, "replicas": replicas, "metrics": metrics })
    });
    let ticks: Vec<Value> = ticks.collect();
    let behavior = json!({ "scaleUp": dice.rules(60), "scaleDown": dice.rules(120) });
    json!({ "settings": { "behavior": behavior }, "ticks": ticks })
}

fn member(dice: &mut Dice, now: u64) -> Value {
    let started = if dice.below(10) == 0 { 0 } else { now - dice.below(700) };
    json!({
        "ready": dice.below(4) > 0,
        "started_at": started,
        "changed_at": started + dice.below(60),
        "measured_at": now - dice.below(60),
    })
}

/// The same replica with a value of one metric, or without. Now and then it is right at the target.
fn measured(dice: &mut Dice, member: &Value, target: f64) -> Value {
    let mut member = member.clone();
    match dice.below(6) {
        0 => (),
        1 => member["value"] = json!(target),
        _ => member["value"] = json!(dice.quantity(4)),
    }
    member
}

/// What the plugin proposes at each tick of a case.
fn proposals(case: &Value) -> Vec<u32> {
    let mut targets = serde_json::Map::new();
    for (at, metric) in case["ticks"][0]["metrics"].as_array().unwrap().iter().enumerate() {
        let mut target = json!({ "type": metric["type"], "target": metric["target"] });
        if metric["resource"].is_string() {
            target["resource"] = metric["resource"].clone();
        }
        targets.insert(format!("m{at}"), target);
    }
    let settings = json!({ "targets": targets, "behavior": case["settings"]["behavior"] });
    let (mut plugin, _) = Hpa::configure(serde_json::from_value(settings).unwrap()).unwrap();
    let mut state = Vec::new();
    let ticks = case["ticks"].as_array().unwrap().iter();
    ticks
        .map(|tick| {
            let proposal = plugin.decide(&request(tick, std::mem::take(&mut state))).unwrap();
            state = proposal.state;
            proposal.replicas
        })
        .collect()
}

fn request(tick: &Value, state: Vec<u8>) -> Request {
    let nanos = |value: &Value| value.as_i64().unwrap() * SECOND;
    let replicas = tick["replicas"].as_u64().unwrap() as u32;
    let mut members: Vec<Replica> = Vec::new();
    let signals = tick["metrics"].as_array().unwrap().iter().enumerate().map(|(at, metric)| {
        let missing = metric["missing"] == json!(true);
        let table = match metric["members"].as_array() {
            _ if missing => Batch::new(0, Vec::new()),
            None => Batch::new(1, vec![column("value", one(metric["value"].as_f64()))]),
            Some(list) => {
                let (mut names, mut values, mut requests, mut times) =
                    (Texts::default(), Floats::default(), Floats::default(), Timestamps::default());
                let first = members.is_empty();
                for (number, member) in list.iter().enumerate() {
                    let name = number.to_string();
                    let (started_at, changed_at) = (nanos(&member["started_at"]), nanos(&member["changed_at"]));
                    let replica =
                        Replica { name: name.clone(), ready: member["ready"] == json!(true), started_at, changed_at };
                    members.extend(first.then_some(replica));
                    names.push(&name);
                    values.push_option(member["value"].as_f64());
                    // A share of what was asked for: a utilization has requests, an average has none.
                    requests.push_option(
                        (metric["type"] == json!("Utilization")).then(|| metric["request"].as_f64().unwrap()),
                    );
                    times.push(nanos(&member["measured_at"]));
                }
                let columns = vec![
                    column("replica", names),
                    column("value", values),
                    column("request", requests),
                    column("timestamp", times),
                ];
                Batch::new(list.len(), columns)
            }
        };
        let freshness = if missing { Freshness::Missing } else { Freshness::Fresh };
        Signal { name: format!("m{at}"), freshness, table, message: String::new(), caught_up_at: None }
    });
    let signals: Vec<Signal> = signals.collect();
    Request {
        now: nanos(&tick["now"]),
        workload: Workload { name: "web".to_owned(), replicas, ready: replicas, min: 0, max: 100, members },
        signals,
        decisions: Vec::new(),
        advice: Vec::new(),
        state,
    }
}

fn one(value: Option<f64>) -> Floats {
    let mut values = Floats::default();
    values.push_option(value);
    values
}

fn column(name: &str, values: impl Build) -> wire::Column {
    let (values, validity) = values.build();
    wire::Column { name: name.to_owned(), values, validity }
}

#[test]
fn equal_to_a_reference_written_from_the_documentation() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference.py");
    let python = Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = python else {
        println!("left out: there is no python3 to run the reference with");
        return;
    };
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let cases: Vec<Value> = (0..CASES).map(|_| case(&mut dice)).collect();
    let mut input = python.stdin.take().unwrap();
    let lines: Vec<String> = cases.iter().map(Value::to_string).collect();
    let writing = std::thread::spawn(move || lines.iter().all(|line| writeln!(input, "{line}").is_ok()));
    let output = python.wait_with_output().unwrap();
    assert!(writing.join().unwrap() && output.status.success());
    let answers = String::from_utf8(output.stdout).unwrap();
    let (mut compared, mut moved) = (0, 0);
    for (case, answer) in cases.iter().zip(answers.lines()) {
        let expected: Vec<u32> = serde_json::from_str(answer).unwrap();
        let proposed = proposals(case);
        assert_eq!(proposed, expected, "case {compared}: {case}");
        compared += 1;
        let ticks = case["ticks"].as_array().unwrap();
        moved += ticks.iter().zip(&expected).filter(|(tick, wanted)| tick["replicas"] != json!(**wanted)).count();
    }
    assert_eq!(compared, CASES);
    assert!(moved > CASES, "the cases must also move: {moved}");
}
