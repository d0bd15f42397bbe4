//! as many replicas as keep the time to answer below an objective
//!
//!     busy servers = arrivals × service time                                   (Little's law)
//!     time to answer = service time + wait(busy, servers)                      (Erlang's C formula)
//!     replicas = the fewest whose servers keep it below the objective, have room for bursts, and drain the backlog in time
//!     bursts = spread × √busy                                                  (square-root staffing)
//!
//! `arrivals` (a second) is a signal; the service time is a setting or the signal `service_time` (seconds); the signal `backlog`, if there
//! is one, is what waits already.
//!
//! **Always:** while a signal is not fresh, no fewer replicas than now are proposed.

use serde::Deserialize;
use tidemill_plugin::{Autoscaler, Contract, Freshness, Plugin, Proposal, Request, time};
use tidemill_plugin::{in_replicas, whole_replicas};

/// As written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    objective: String,
    service_time: Option<String>,
    #[serde(default = "one")]
    concurrency: u32,
    #[serde(default = "half_a_minute")]
    drain: String,
    #[serde(default = "most")]
    utilization: f64,
    #[serde(default)]
    spread: f64,
}

fn one() -> u32 {
    1
}

fn half_a_minute() -> String {
    "30s".to_owned()
}

fn most() -> f64 {
    0.95
}

/// A configured decider; times in seconds.
pub struct Queue {
    objective: f64,
    service_time: Option<f64>,
    concurrency: u32,
    drain: f64,
    utilization: f64,
    /// room for bursts, in standard deviations of how many are busy by chance
    spread: f64,
}

/// More room for bursts than anybody can mean.
const SPREAD_MAX: f64 = 100.0;
/// The most servers that are looked at.
const SERVERS_MAX: u32 = 1_000_000;

impl Plugin for Queue {
    type Settings = Written;
    const NAME: &'static str = "queue";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(written: Written) -> Result<(Queue, Contract), String> {
        let seconds = |key: &str, text: &str| match time::parse_duration(text) {
            Ok(nanos) if nanos > 0 => Ok(nanos as f64 / 1e9),
            Ok(_) => Err(format!("`{key}` is nothing; it must be more than 0")),
            Err(error) => Err(format!("`{key}`: {error}")),
        };
        let objective = seconds("objective", &written.objective)?;
        let service_time = written.service_time.as_deref().map(|text| seconds("service_time", text)).transpose()?;
        if service_time.is_some_and(|service_time| service_time >= objective) {
            return Err(
                "`objective` is not above `service_time`: no number of replicas answers faster than one serves"
                    .to_owned(),
            );
        }
        if written.concurrency == 0 {
            return Err("`concurrency` is 0; a replica serves at least 1 at a time".to_owned());
        }
        if !(written.utilization > 0.0 && written.utilization < 1.0) {
            return Err(format!(
                "`utilization` is {}; it is a share above 0 and below 1, like 0.95",
                written.utilization
            ));
        }
        if !(0.0..=SPREAD_MAX).contains(&written.spread) {
            return Err(format!("`spread` is {}; write 0 to {SPREAD_MAX}", written.spread));
        }
        let drain = seconds("drain", &written.drain)?;
        let queue = Queue {
            objective,
            service_time,
            concurrency: written.concurrency,
            drain,
            utilization: written.utilization,
            spread: written.spread,
        };
        let contract = Contract::new().reads("arrivals");
        let contract = if queue.service_time.is_none() { contract.reads("service_time") } else { contract };
        Ok((queue, contract))
    }
}

impl Autoscaler for Queue {
    fn decide(&mut self, request: &Request) -> Result<Proposal, String> {
        let arrivals = match request.amount("arrivals") {
            Ok(arrivals) => arrivals,
            Err(why) => return Ok(request.hold(&why)),
        };
        let service_time = match (request.signal("service_time").is_some(), self.service_time) {
            (true, usual) => match (request.amount("service_time"), usual) {
                (Ok(measured), _) if measured > 0.0 => measured,
                // Nothing was served lately: what is usual counts.
                (_, Some(usual)) => usual,
                (Ok(_), None) => return Ok(request.hold("service_time is 0")),
                (Err(why), None) => return Ok(request.hold(&why)),
            },
            (false, Some(usual)) => usual,
            (false, None) => return Err("give the setting `service_time`, or a signal of that name".to_owned()),
        };
        let mut unknown = String::new();
        let backlog = match request.signal("backlog") {
            Some(_) => match request.amount("backlog") {
                Ok(backlog) => backlog,
                // More may be needed for what arrives alone; fewer are not asked for below.
                Err(why) => {
                    unknown = format!(", {why}");
                    0.0
                }
            },
            None => 0.0,
        };
        let (servers, wait) = self.servers(arrivals, service_time);
        let draining = (arrivals + backlog / self.drain) * service_time / self.utilization;
        let needed = f64::from(servers).max(if backlog > 0.0 { draining } else { 0.0 });
        let replicas = whole_replicas(needed / f64::from(self.concurrency));
        let now = request.workload.replicas;
        let doubtful = request.signals.iter().any(|signal| signal.freshness != Freshness::Fresh);
        if doubtful && replicas < now {
            let unknown = unknown.trim_start_matches(", ");
            return Ok(request.hold(if unknown.is_empty() { "a signal is not fresh" } else { unknown }));
        }
        let busy = arrivals * service_time;
        let backlog =
            if backlog > 0.0 { format!(", backlog {backlog:.0} gone in {:.0} s", self.drain) } else { String::new() };
        let reason = format!(
            "arrivals {arrivals:.2}/s × {service_time:.3} s = {busy:.2} busy; {servers} servers answer in {:.3} s (objective {:.3} s){backlog}{unknown} → {}; was {now}",
            service_time + wait,
            self.objective,
            in_replicas(replicas)
        );
        Ok(Proposal { replicas, reason, state: Vec::new() })
    }
}

impl Queue {
    /// The fewest servers that keep the mean time to answer below the objective, are busy at most `utilization` of the time and have
    /// room for bursts; and the mean wait with them. Where serving alone takes longer than the objective, utilization decides.
    fn servers(&self, arrivals: f64, service_time: f64) -> (u32, f64) {
        let busy = arrivals * service_time;
        if busy <= 0.0 {
            return (0, 0.0);
        }
        let least = (busy / self.utilization).max(busy + self.spread * busy.sqrt());
        let least = whole_replicas(least).clamp(1, SERVERS_MAX);
        // Erlang B by its recurrence, then C from it: exact, and no factorials.
        let mut blocked = 1.0;
        let mut servers = 0;
        loop {
            servers += 1;
            blocked = busy * blocked / (f64::from(servers) + busy * blocked);
            if servers < least {
                continue;
            }
            let idle = 1.0 - busy / f64::from(servers);
            let waits = blocked / (idle + (1.0 - idle) * blocked);
            let wait = waits * service_time / (f64::from(servers) * idle);
            let patience = (self.objective - service_time).max(0.0);
            if wait <= patience || patience == 0.0 || servers >= SERVERS_MAX {
                return (servers, wait);
            }
        }
    }
}

tidemill_plugin::export_autoscaler!(Queue);

#[cfg(test)]
mod tests {
    use super::*;

    /// Erlang C by its definition, for small systems.
    fn wait_by_definition(arrivals: f64, service_time: f64, servers: u32) -> f64 {
        let busy: f64 = arrivals * service_time;
        let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
        let all = busy.powi(servers as i32) / factorial(servers) * f64::from(servers) / (f64::from(servers) - busy);
        let some: f64 = (0..servers).map(|n| busy.powi(n as i32) / factorial(n)).sum();
        all / (some + all) * service_time / (f64::from(servers) - busy)
    }

    #[test]
    fn room_for_bursts_grows_with_the_root() {
        let queue =
            Queue { objective: 9.0, service_time: None, concurrency: 1, drain: 30.0, utilization: 0.8, spread: 2.0 };
        let servers = |busy: f64| queue.servers(busy, 1.0).0;
        assert_eq!((servers(1.0), servers(4.0), servers(16.0), servers(400.0)), (3, 8, 24, 500));
    }

    #[test]
    fn waits_are_erlangs() {
        for (arrivals, service_time, objective) in
            [(3.0, 0.5, 0.6), (10.0, 0.2, 0.25), (1.0, 0.9, 1.0), (40.0, 0.25, 0.3)]
        {
            let queue =
                Queue { objective, service_time: None, concurrency: 1, drain: 30.0, utilization: 0.95, spread: 0.0 };
            let (servers, wait) = queue.servers(arrivals, service_time);
            let exact = wait_by_definition(arrivals, service_time, servers);
            assert!((wait - exact).abs() < 1e-9, "{wait} {exact}");
            assert!(wait <= objective - service_time);
            let fewer = servers - 1;
            let too_slow = f64::from(fewer) <= arrivals * service_time
                || wait_by_definition(arrivals, service_time, fewer) > objective - service_time
                || arrivals * service_time / f64::from(fewer) > 0.95;
            assert!(too_slow, "{fewer} servers would do");
        }
    }
}
