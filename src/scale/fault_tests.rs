//! ten thousand random traces of faults through whole scalers: what they must never do
//!
//! In every tick anything may go wrong: answers that are text, null, NaN, infinite, none or late, plugins that trap or ask for four
//! billion, a disk that is full, a workload that cannot be changed or does something else, a clock that is set forth or back, a kill -9,
//! a store that was lost; and on some workloads a second controller decides, too.

use super::*;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Position, TableName};
use crate::plugin::{Proposal, Request};
use arrow::array::{ArrayRef, Float64Array, StringArray};
use arrow::record_batch::RecordBatch;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

const SECOND: i64 = 1_000_000_000;
const TRACES: u64 = 10_000;

/// A generator of its own, so that a failing trace can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap_or(0) % sides
    }

    fn once_in(&mut self, sides: u32) -> bool {
        self.below(sides) == 0
    }
}

/// What a signal says.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    Number(f64),
    Numbers,
    Text,
    Null,
    Nothing,
    Failure,
}

/// What the parts of one controller do next.
#[derive(Clone, Default)]
struct Parts(Arc<Mutex<Next>>);

#[derive(Default)]
struct Next {
    says: Vec<Option<Says>>,
    stale: Vec<bool>,
    /// none: the plugin traps
    proposes: Option<u32>,
    disk_full: bool,
    position: Option<Position>,
}

/// The workload, which several controllers may change.
#[derive(Clone, Default)]
struct Workload(Arc<Mutex<(u32, bool)>>);

impl Parts {
    fn lock(&self) -> MutexGuard<'_, Next> {
        self.0.lock().unwrap()
    }
}

impl Ask for Parts {
    fn ask<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RecordBatch>> {
        let says = self.lock().says[sql.parse::<usize>().unwrap()];
        Box::pin(async move {
            let numbers = |values: Vec<Option<f64>>| Arc::new(Float64Array::from(values)) as ArrayRef;
            let column = match says {
                Some(Says::Number(number)) => numbers(vec![Some(number)]),
                Some(Says::Numbers) => numbers(vec![Some(3.0), None, Some(f64::NAN)]),
                Some(Says::Text) => Arc::new(StringArray::from(vec!["three"])),
                Some(Says::Null) => numbers(vec![None]),
                Some(Says::Nothing) | None => numbers(Vec::new()),
                Some(Says::Failure) => return Err(Error::new(ErrorKind::Limit, "it took too long")),
            };
            Ok(RecordBatch::try_from_iter_with_nullable([("value", column, true)])?)
        })
    }
}

impl Fresh for Parts {
    fn stale(&self, tables: &[TableName], _: i64) -> Option<String> {
        let at: usize = tables[0].as_str().strip_prefix("t").unwrap().parse().unwrap();
        self.lock().stale[at].then(|| "its file is behind".to_owned())
    }

    fn caught_up_at(&self, _: &[TableName]) -> Option<i64> {
        None
    }
}

impl Decide for Parts {
    fn decide(&mut self, request: Request) -> BoxFuture<'_, Result<Proposal>> {
        let proposes = self.lock().proposes;
        let state = vec![request.state.first().map_or(0, |calls| calls.wrapping_add(1))];
        Box::pin(async move {
            let replicas = proposes.ok_or_else(|| Error::new(ErrorKind::Foreign, "trap: unreachable"))?;
            Ok(Proposal { replicas, reason: format!("{replicas} wanted"), state })
        })
    }

    fn plugin_hash(&self) -> &str {
        "0"
    }

    fn reads_time(&self) -> bool {
        false
    }
}

impl Ledger for Parts {
    fn record(&self, _: RecordBatch, memory: Option<Position>) -> BoxFuture<'_, Result<()>> {
        let mut next = self.lock();
        let done = match next.disk_full {
            true => Err(Error::new(ErrorKind::Unavailable, "the disk is full")),
            false => {
                next.position = memory.or(next.position.take());
                Ok(())
            }
        };
        Box::pin(async move { done })
    }
}

impl Actuator for Workload {
    fn apply(&self, replicas: u32) -> BoxFuture<'_, Result<Outcome>> {
        let mut workload = self.0.lock().unwrap();
        let fails = workload.1;
        if !fails {
            workload.0 = replicas;
        }
        Box::pin(async move {
            match fails {
                true => Err(Error::new(ErrorKind::Io, "no process can be started")),
                false => Ok(Outcome { reached: true, words: String::new() }),
            }
        })
    }

    fn status(&self) -> Status {
        let asked = self.0.lock().unwrap().0;
        Status { asked, running: asked, ready: asked, ..Status::default() }
    }

    fn targets(&self) -> Vec<String> {
        Vec::new()
    }

    fn dry_run(&self) -> bool {
        false
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// One controller, and what its decisions were.
struct Controller {
    config: Config,
    clock: Clock,
    parts: Parts,
    workload: Workload,
    scaler: Scaler,
    /// the number it decided last, as far as it is on disk
    decided: Option<u32>,
    /// changes since the store was lost: when, and whether up
    moves: Vec<(i64, bool)>,
    /// the time of the last tick: within a life it only grows, whatever the clock does
    tick: i64,
}

fn begin(config: &Config, clock: &Clock, parts: &Parts, workload: &Workload, last: Option<Memory>) -> Scaler {
    let decider = Decider { plugin: "p".to_owned(), settings: "{}".to_owned(), decide: Box::new(parts.clone()) };
    let given = scaler::Parts {
        ask: Arc::new(parts.clone()),
        fresh: Arc::new(parts.clone()),
        deciders: Deciders { live: decider, advisers: BTreeMap::new(), shadow: None },
        record: Arc::new(parts.clone()),
        actuator: Arc::new(workload.clone()),
        clock: clock.clone(),
    };
    let table = |at: &String| vec![TableName::user(&format!("t{at}")).unwrap()];
    let tables = config.signals.iter().map(|(name, at)| (name.clone(), table(at))).collect();
    Scaler::new("s", config, &tables, last, given).0
}

fn config(dice: &mut Dice, signals: u32) -> Config {
    let min = dice.below(4);
    let max = min.max(1) + dice.below(10);
    let mut text = format!("plugin = \"p\"\nworkload = \"w\"\nmin = {min}\nmax = {max}\n");
    let options = [
        format!("tolerance = 0.{}", dice.below(4)),
        format!("stabilize_up = \"{}s\"", dice.below(20)),
        format!("stabilize_down = \"{}s\"", dice.below(60)),
        format!("up_max = {}", 1 + dice.below(4)),
        format!("down_max = {}", 1 + dice.below(4)),
        format!("up_rate = \"{}/30s\"", 1 + dice.below(6)),
        format!("down_rate = \"{}/30s\"", 1 + dice.below(6)),
        format!("cooldown = \"{}s\"", dice.below(60)),
    ];
    options.iter().filter(|_| dice.once_in(3)).for_each(|option| text += &format!("{option}\n"));
    if dice.once_in(2) {
        text += &format!("flap_budget = \"{}/2m\"\n", 2 + dice.below(3));
    }
    (0..signals).for_each(|at| text += &format!("signals.s{at} = \"{at}\"\n"));
    toml::from_str(&text).unwrap()
}

impl Controller {
    fn new(dice: &mut Dice, workload: &Workload) -> Controller {
        let signals = dice.below(3);
        let config = config(dice, signals);
        let (clock, parts) = (Clock::held(1_000 * SECOND), Parts::default());
        let scaler = begin(&config, &clock, &parts, workload, None);
        Controller {
            config,
            clock,
            parts,
            workload: workload.clone(),
            scaler,
            decided: None,
            moves: Vec::new(),
            tick: 0,
        }
    }

    /// What goes wrong before a tick.
    fn fault(&mut self, dice: &mut Dice) {
        self.clock.advance(Duration::from_secs(1 + u64::from(dice.below(5))));
        if dice.once_in(15) {
            let far = i64::from(dice.below(7200)) * SECOND;
            self.clock.jump(if dice.once_in(2) { far } else { -far });
        }
        let mut next = self.parts.lock();
        next.says = self.config.signals.iter().map(|_| Some(says(dice))).collect();
        next.stale = self.config.signals.iter().map(|_| dice.once_in(8)).collect();
        next.proposes = (!dice.once_in(8)).then(|| if dice.once_in(15) { u32::MAX } else { dice.below(20) });
        next.disk_full = dice.once_in(15);
        drop(next);
        self.workload.0.lock().unwrap().1 = dice.once_in(10);
        if dice.once_in(12) {
            let lost = dice.once_in(4);
            let written = self.parts.lock().position.clone().filter(|_| !lost);
            let last = written.map(|position| Memory::read(&position.value).unwrap());
            self.decided = last.as_ref().map(|last| last.decided);
            if lost {
                self.parts.lock().position = None;
                self.moves.clear();
            }
            self.tick = 0;
            self.scaler = begin(&self.config, &self.clock, &self.parts, &self.workload, last);
        }
    }

    async fn turn(&mut self, trace: u64, count: &mut Count) {
        let policy = self.config.policy();
        let running = self.workload.status().asked;
        let before = self.decided.map_or_else(|| policy.within(running), |decided| policy.within(decided));
        self.tick = self.clock.now().max(self.tick.saturating_add(1));
        let decision = self.scaler.tick().await;
        self.scaler.settle().await;
        let Some(decision) = decision else { return };
        let told = format!("trace {trace}: {before} to {}: {} {policy:?}", decision.replicas, decision.reason);
        assert!((policy.min..=policy.max).contains(&decision.replicas), "{told}");
        {
            let next = self.parts.lock();
            let doubtful = |at: usize| {
                let number = match next.says[at] {
                    Some(Says::Number(number)) => number.is_finite(),
                    // A table is an answer: the plugin says what it makes of it.
                    Some(Says::Numbers) => true,
                    Some(Says::Text | Says::Null | Says::Nothing | Says::Failure) | None => false,
                };
                !number || next.stale[at]
            };
            let blind = next.proposes.is_none() || (0..next.says.len()).any(doubtful);
            assert!(!blind || decision.replicas >= before, "{told}");
            count.held += u32::from(blind && next.proposes.is_some_and(|proposes| proposes < before));
        }
        count.downs += u32::from(decision.replicas < before);
        // A first start may find more than it would have begun with: that is no move of its own.
        if let Some(decided) = self.decided.filter(|decided| *decided != decision.replicas) {
            self.moves.push((self.tick, decision.replicas > decided));
        }
        self.decided = Some(decision.replicas);
        if let Some(budget) = policy.flap_budget {
            // What lies ahead of a clock that was set back counts as now.
            let within = |at: i64| self.tick.saturating_sub(at) < crate::clock::nanos(budget.per.0);
            let pairs = self.moves.windows(2).filter(|pair| pair[0].1 != pair[1].1 && within(pair[1].0));
            let turned = u32::try_from(pairs.count()).unwrap();
            assert!(turned <= budget.count, "{turned} turns, {told}");
            count.turns += turned;
        }
    }
}

fn says(dice: &mut Dice) -> Says {
    match dice.below(14) {
        0 => Says::Nothing,
        1 => Says::Null,
        2 => Says::Text,
        3 => Says::Number(f64::NAN),
        4 => Says::Number(f64::INFINITY),
        5 => Says::Failure,
        6 => Says::Numbers,
        _ => Says::Number(f64::from(dice.below(100))),
    }
}

/// So that the traces do what they are for.
#[derive(Default)]
struct Count {
    downs: u32,
    turns: u32,
    held: u32,
}

fn traces(numbers: std::ops::Range<u64>) -> Count {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut count = Count::default();
    for trace in numbers {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (trace + 1).wrapping_mul(0x2545_F491_4F6C_DD1D));
        let workload = Workload::default();
        workload.0.lock().unwrap().0 = dice.below(12);
        let controllers = if dice.once_in(4) { 2 } else { 1 };
        let mut controllers: Vec<Controller> =
            (0..controllers).map(|_| Controller::new(&mut dice, &workload)).collect();
        runtime.block_on(async {
            // Most are short; some are long enough for a direction that turns again and again.
            for _ in 0..if trace.is_multiple_of(4) { 12 } else { 4 } {
                for controller in &mut controllers {
                    controller.fault(&mut dice);
                    controller.turn(trace, &mut count).await;
                }
            }
        });
    }
    count
}

#[test]
fn ten_thousand_fault_traces_through_whole_scalers() {
    let halves = [0..TRACES / 2, TRACES / 2..TRACES].map(|half| std::thread::spawn(move || traces(half)));
    let counts = halves.map(|half| half.join().unwrap());
    let sum = |of: fn(&Count) -> u32| counts.iter().map(of).sum::<u32>();
    let (downs, turns, held) = (sum(|count| count.downs), sum(|count| count.turns), sum(|count| count.held));
    assert!(
        downs > 1000 && turns > 1000 && held > 1000,
        "they must scale down, turn and hold: {downs}, {turns}, {held}"
    );
}
