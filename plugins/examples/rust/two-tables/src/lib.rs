//! replicas for the busiest zone: a table of load and a table of capacity, joined by zone
//!
//! Shows an autoscaler that reads whole tables: signal `load` has a row a zone (`zone`, `value`), signal `capacity`
//! says how much one replica takes there (`zone`, `value`).

use tidemill_plugin::{Autoscaler, Contract, Freshness, NoSettings, Plugin, Proposal, Request, Signal};

pub struct TwoTables;

impl Plugin for TwoTables {
    type Settings = NoSettings;
    const NAME: &'static str = "two-tables";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(_: NoSettings) -> Result<(TwoTables, Contract), String> {
        Ok((TwoTables, Contract::new()))
    }
}

impl Autoscaler for TwoTables {
    fn decide(&mut self, request: &Request) -> Result<Proposal, String> {
        let now = request.workload.replicas;
        let hold = |why: String| Proposal { replicas: now, reason: format!("held at {now}: {why}"), state: Vec::new() };
        let (load, capacity) = match (by_zone(request, "load"), by_zone(request, "capacity")) {
            (Ok(load), Ok(capacity)) => (load, capacity),
            (Err(why), _) | (_, Err(why)) => return Ok(hold(why)),
        };
        let mut busiest = (0, "no load in any zone".to_owned());
        for (zone, load) in &load {
            let Some((_, each)) = capacity.iter().find(|(other, each)| other == zone && *each > 0.0) else {
                return Ok(hold(format!("zone {zone} has load {load} and no capacity")));
            };
            let replicas = (load / each).ceil() as u32;
            if replicas > busiest.0 {
                busiest = (replicas, format!("zone {zone}: {load} / {each} a replica → {replicas}"));
            }
        }
        Ok(Proposal { replicas: busiest.0, reason: busiest.1, state: Vec::new() })
    }
}

fn by_zone(request: &Request, name: &str) -> Result<Vec<(String, f64)>, String> {
    let signal = request.signal(name).ok_or_else(|| format!("there is no signal `{name}`"))?;
    if signal.freshness != Freshness::Fresh {
        return Err(format!("{name} is {:?}: {}", signal.freshness, signal.message));
    }
    rows(signal)
}

fn rows(signal: &Signal) -> Result<Vec<(String, f64)>, String> {
    let zones = signal.table.text("zone")?;
    let values = signal.table.floats("value")?;
    let complete = |(zone, value): (Option<_>, Option<f64>)| Some((String::from(zone?), value?));
    Ok(zones.iter().zip(values.iter()).filter_map(complete).collect())
}

tidemill_plugin::export_autoscaler!(TwoTables);
