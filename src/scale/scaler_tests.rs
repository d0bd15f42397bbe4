//! a scaler on made-up parts: answers, a plugin, a disk and a workload that do as the test says

use super::*;
use crate::plugin::Proposal;
use crate::scale::Adviser;
use crate::scale::actuator::Status;
use crate::scale::deciders::Decide;
use crate::scale::policy::{Clamp, Order};
use arrow::array::{Array, AsArray, Float64Array};
use arrow::datatypes::{Float64Type, Int64Type};
use std::sync::{Mutex, MutexGuard};

/// What the parts do and what they saw.
#[derive(Default)]
struct World {
    /// the signal's answer: none is no row
    value: Option<f64>,
    /// why the source is stale
    stale: Option<String>,
    /// what the plugin proposes; none makes it fail
    proposes: Option<u32>,
    disk_full: bool,
    actuator_fails: bool,
    /// an application takes until this is false
    slow: bool,
    /// how long an application may take
    patience: Option<Duration>,
    /// why nobody knows how many there are
    unknown: String,
    /// what was asked of the actuator
    changes: Vec<Change>,
    asked: u32,
    /// the workload is others' too
    shared: bool,
    /// it cannot be seen
    unseen: bool,
    /// why nothing can be changed
    standby: String,
    /// what happened, in order
    happened: Vec<String>,
    rows: Vec<RecordBatch>,
    position: Option<Position>,
    states: Vec<Vec<u8>>,
    request: Option<Request>,
    /// so many are ready, if not all
    ready: Option<u32>,
    members: Vec<ReplicaStatus>,
    /// the next number is not reached while somebody waits for it
    not_reached: bool,
}

/// A plugin that always proposes the same, and counts its calls in its state.
struct Fixed(u32);

impl Decide for Fixed {
    fn decide(&mut self, request: Request) -> BoxFuture<'_, Result<Proposal>> {
        let state = vec![request.state.first().map_or(1, |calls| calls + 1)];
        let replicas = self.0;
        Box::pin(async move { Ok(Proposal { replicas, reason: "always".to_owned(), state }) })
    }

    fn plugin_hash(&self) -> &str {
        "f1xed"
    }

    fn reads_time(&self) -> bool {
        false
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl Ask for Shared {
    fn ask<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<RecordBatch>> {
        let values: Vec<f64> = self.lock().value.into_iter().collect();
        let column: arrow::array::ArrayRef = Arc::new(Float64Array::from(values));
        Box::pin(async move { Ok(RecordBatch::try_from_iter([("value", column)])?) })
    }
}

impl Fresh for Shared {
    fn stale(&self, tables: &[TableName], _: i64) -> Option<String> {
        assert_eq!(tables, [TableName::user("access").unwrap()]);
        self.lock().stale.clone()
    }

    fn caught_up_at(&self, _: &[TableName]) -> Option<i64> {
        Some(17)
    }
}

impl Decide for Shared {
    fn decide(&mut self, request: Request) -> BoxFuture<'_, Result<Proposal>> {
        Box::pin(async move {
            let mut world = self.lock();
            world.states.push(request.state.clone());
            world.request = Some(request.clone());
            let replicas = world.proposes.ok_or_else(|| Error::new(ErrorKind::Foreign, "it trapped"))?;
            let state = vec![request.state.first().map_or(1, |calls| calls + 1)];
            Ok(Proposal { replicas, reason: format!("load wants {replicas}"), state })
        })
    }

    fn plugin_hash(&self) -> &str {
        "5eed"
    }

    fn reads_time(&self) -> bool {
        false
    }
}

impl Ledger for Shared {
    fn record(&self, rows: RecordBatch, memory: Option<Position>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut world = self.lock();
            if world.disk_full {
                return Err(Error::new(ErrorKind::Unavailable, "the disk is full"));
            }
            let event = text(&rows, "event").unwrap();
            // A first decision that waits decides nothing.
            let decided = number(&rows, "decided").map(|decided| format!(" {decided}"));
            world.happened.push(format!("{event}{}", decided.unwrap_or_default()));
            world.rows.push(rows);
            world.position = memory.or(world.position.take());
            Ok(())
        })
    }
}

impl Actuator for Shared {
    fn apply(&self, replicas: u32) -> BoxFuture<'_, Result<Outcome>> {
        Box::pin(async move {
            {
                let mut world = self.lock();
                world.happened.push(format!("apply {replicas}"));
                if world.actuator_fails {
                    return Err(Error::new(ErrorKind::Io, "no process can be started"));
                }
                world.asked = replicas;
            }
            while self.lock().slow {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let reached = !std::mem::take(&mut self.lock().not_reached);
            Ok(Outcome { reached, words: format!("{replicas} run") })
        })
    }

    fn carry_out<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Outcome>> {
        self.lock().changes.push(change.clone());
        self.apply(change.to)
    }

    fn patience(&self) -> Duration {
        self.lock().patience.unwrap_or(Duration::from_secs(60))
    }

    fn shared(&self) -> bool {
        self.lock().shared
    }

    fn status(&self) -> Status {
        let world = self.lock();
        let (asked, unknown, standby) = (world.asked, world.unknown.clone(), world.standby.clone());
        let found = Some(asked).filter(|_| world.shared && !world.unseen);
        let ready = world.ready.unwrap_or(asked);
        let replicas = world.members.clone();
        Status { asked, found, running: asked, ready, unknown, standby, replicas, ..Status::default() }
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

fn text(rows: &RecordBatch, column: &str) -> Option<String> {
    let values = rows.column_by_name(column).unwrap().as_string::<i32>();
    values.is_valid(0).then(|| values.value(0).to_owned())
}

fn number(rows: &RecordBatch, column: &str) -> Option<i64> {
    let values = rows.column_by_name(column).unwrap().as_primitive::<Int64Type>();
    values.is_valid(0).then(|| values.value(0))
}

fn config(more: &str) -> Config {
    let text = format!(
        "plugin = \"hpa\"\nworkload = \"web\"\nmin = 1\nmax = 5\nevery = \"100ms\"\n{more}\n\
         signals.rps = \"SELECT 1.0 AS value FROM access\""
    );
    toml::from_str(&text).unwrap()
}

fn scaler_and_desk(world: &Shared, clock: &Clock, more: &str, last: Option<Memory>) -> (Scaler, Desk) {
    let config = config(more);
    let plugin = |decide: Box<dyn Decide>| Decider { plugin: "hpa".to_owned(), settings: "{}".to_owned(), decide };
    let fixed = |_: &Adviser| plugin(Box::new(Fixed(7)));
    let tables = BTreeMap::from([("rps".to_owned(), vec![TableName::user("access").unwrap()])]);
    let parts = Parts {
        ask: Arc::new(world.clone()),
        fresh: Arc::new(world.clone()),
        deciders: Deciders {
            live: plugin(Box::new(world.clone())),
            advisers: config.advisers.iter().map(|(name, adviser)| (name.clone(), fixed(adviser))).collect(),
            shadow: config.shadow.as_ref().map(fixed),
        },
        record: Arc::new(world.clone()),
        actuator: Arc::new(world.clone()),
        clock: clock.clone(),
    };
    Scaler::new("web", &config, &tables, last, parts)
}

fn scaler(world: &Shared, clock: &Clock, more: &str, last: Option<Memory>) -> Scaler {
    scaler_and_desk(world, clock, more, last).0
}

fn world(proposes: u32) -> Shared {
    let world = Shared::default();
    (world.lock().value, world.lock().proposes) = (Some(120.0), Some(proposes));
    world
}

fn replica(number: u32, phase: Phase, message: &str) -> ReplicaStatus {
    ReplicaStatus { number, phase, message: message.to_owned(), ..ReplicaStatus::default() }
}

/// Waits for what is under way, as the loop does.
async fn settle(scaler: &mut Scaler) {
    scaler.settle().await;
}

#[tokio::test]
async fn a_decision_is_on_disk_before_it_is_acted_on_and_its_outcome_follows() {
    let (world, clock) = (world(3), Clock::held(1_000));
    let mut scaler = scaler(&world, &clock, "", None);
    scaler.tick().await.unwrap();
    settle(&mut scaler).await;
    clock.advance(Duration::from_secs(5));
    let decision = scaler.tick().await.unwrap();
    settle(&mut scaler).await;
    assert_eq!((decision.replicas, decision.reason.as_str()), (3, "load wants 3."));
    let expected = ["decision 1", "apply 1", "outcome 1", "decision 3", "apply 3", "outcome 3"];
    assert_eq!(world.lock().happened, expected);
    clock.advance(Duration::from_secs(5));
    scaler.tick().await.unwrap();
    settle(&mut scaler).await;
    assert_eq!(world.lock().happened.last().unwrap(), "decision 3", "nothing to do, but every tick is a row");

    let world = world.lock();
    let (row, outcome) = (&world.rows[2], &world.rows[3]);
    let body = text(row, "body").unwrap();
    assert_eq!(body, "web from 1 to 3: load wants 3.");
    assert_eq!((number(row, "replicas"), number(row, "desired"), number(row, "ready")), (Some(1), Some(3), Some(1)));
    assert_eq!(row.column_by_name("value").unwrap().as_primitive::<Float64Type>().value(0), 120.0);
    let signals: serde_json::Value = serde_json::from_str(&text(row, "signals").unwrap()).unwrap();
    assert_eq!((&signals["rps"]["value"], &signals["rps"]["freshness"]), (&120.0.into(), &"fresh".into()));
    assert_eq!((text(row, "plugin"), text(row, "plugin_name")), (Some("5eed".to_owned()), Some("hpa".to_owned())));
    assert_eq!(text(outcome, "outcome").unwrap(), "3 run");
    assert_eq!(number(outcome, "tick"), number(row, "tick"));
    assert_eq!(number(outcome, "replicas"), None, "so that `decided <> replicas` finds each change once");
}

#[tokio::test]
async fn doubtful_evidence_never_scales_down() {
    let (world, clock) = (world(1), Clock::held(0));
    let last = Memory { decided: 4, ..Memory::default() };
    let mut scaler = scaler(&world, &clock, "", Some(last));
    scaler.tick().await.unwrap();
    let doubts: [fn(&mut World); 4] = [
        |world| world.stale = Some("access.log is 3 MB behind".to_owned()),
        |world| world.value = None,
        |world| world.value = Some(f64::NAN),
        |world| world.proposes = None,
    ];
    for doubt in doubts {
        doubt(&mut world.lock());
        let decision = scaler.tick().await.unwrap();
        assert_eq!(decision.replicas, 4, "{}", decision.reason);
        let names: Vec<&str> = decision.clamps.iter().map(|Clamp { name, .. }| *name).collect();
        assert!(names == ["evidence"] || names == ["plugin_failed"], "{names:?}");
        let mut world = world.lock();
        (world.stale, world.value, world.proposes) = (None, Some(0.0), Some(1));
    }
    assert_eq!(scaler.tick().await.unwrap().replicas, 1, "a quiet service is fresh and may scale down");
}

#[tokio::test]
async fn a_stale_value_may_add_replicas_and_the_row_says_so() {
    let (world, clock) = (world(3), Clock::held(0));
    let mut scaler = scaler(&world, &clock, "", Some(Memory { decided: 2, ..Memory::default() }));
    scaler.tick().await.unwrap();
    world.lock().stale = Some("the target `h:9100` does not answer".to_owned());
    let decision = scaler.tick().await.unwrap();
    let reason =
        "load wants 3. Scaled up although signal `rps` is stale: its last value may add replicas, never take any.";
    assert_eq!((decision.replicas, decision.reason.as_str()), (3, reason));
    assert_eq!(text(world.lock().rows.last().unwrap(), "reason").unwrap(), reason);
    world.lock().value = None;
    world.lock().proposes = Some(5);
    assert_eq!(scaler.tick().await.unwrap().replicas, 3, "a missing value holds");
}

#[tokio::test]
async fn what_is_not_recorded_is_not_done() {
    let (world, clock) = (world(3), Clock::held(0));
    let mut scaler = scaler(&world, &clock, "", None);
    world.lock().disk_full = true;
    assert!(scaler.tick().await.is_none());
    assert!(world.lock().happened.is_empty(), "a first start is a decision too");
    world.lock().disk_full = false;
    scaler.tick().await.unwrap();
    settle(&mut scaler).await;
    scaler.tick().await.unwrap();
    world.lock().disk_full = true;
    settle(&mut scaler).await;
    world.lock().proposes = Some(5);
    assert!(scaler.tick().await.is_none());
    world.lock().disk_full = false;
    scaler.tick().await.unwrap();
    settle(&mut scaler).await;
    let expected =
        ["decision 1", "apply 1", "outcome 1", "decision 3", "apply 3", "outcome 3", "decision 5", "apply 5"];
    assert_eq!(world.lock().happened[..8], expected, "the late outcome is written before the next decision");
    assert_eq!(world.lock().states, [vec![], vec![1], vec![1]], "a state that was not recorded is not taken");
}

#[tokio::test]
async fn a_restart_goes_on_with_the_last_number() {
    let (world, clock) = (world(4), Clock::held(0));
    let mut first = scaler(&world, &clock, "initial = 2", None);
    assert_eq!(first.tick().await.unwrap().replicas, 2);
    first.tick().await.unwrap();
    drop(first);
    let position = world.lock().position.clone().unwrap();
    assert_eq!(position.name, Memory::name("web"));
    let last = Memory::read(&position.value).unwrap();
    assert_eq!((last.decided, &last.state, last.recent.len()), (4, &vec![1], 1));
    assert_eq!(last.history.last().unwrap().to, 4);
    world.lock().asked = 0;
    world.lock().disk_full = true;
    let mut second = scaler(&world, &clock, "initial = 2", Some(last.clone()));
    assert_eq!(second.tick().await.unwrap().replicas, 4, "it was on disk before, so a full disk does not hold it up");
    settle(&mut second).await;
    assert_eq!(world.lock().asked, 4);
    world.lock().disk_full = false;
    let mut third = scaler(&world, &clock, "initial = 2", Some(Memory { decided: 9, ..last }));
    assert_eq!(third.tick().await.unwrap().replicas, 5, "the policy has become narrower");
}

#[tokio::test]
async fn after_an_absence_nothing_is_taken_for_twice_as_long() {
    let (world, clock) = (world(4), Clock::held(0));
    let mut first = scaler(&world, &clock, "", None);
    first.tick().await.unwrap();
    first.tick().await.unwrap();
    settle(&mut first).await;
    drop(first);
    let last = Memory::read(&world.lock().position.clone().unwrap().value).unwrap();
    clock.advance(Duration::from_secs(60));
    // The query's window is empty: nobody collected.
    world.lock().proposes = Some(1);
    let mut second = scaler(&world, &clock, "", Some(last));
    assert_eq!(second.tick().await.unwrap().replicas, 4);
    for (passes, replicas) in [(1, 4), (118, 4), (2, 1)] {
        clock.advance(Duration::from_secs(passes));
        let decision = second.tick().await.unwrap();
        assert_eq!(decision.replicas, replicas, "{}", decision.reason);
        assert_eq!(decision.reason.contains("nothing was collected for 1m"), replicas == 4, "{}", decision.reason);
    }
    world.lock().proposes = Some(5);
    assert_eq!(second.tick().await.unwrap().replicas, 5);
}

#[tokio::test]
async fn a_second_restart_forgets_no_absence() {
    let (world, clock) = (world(4), Clock::held(0));
    let mut first = scaler(&world, &clock, "", None);
    first.tick().await.unwrap();
    first.tick().await.unwrap();
    settle(&mut first).await;
    drop(first);
    let last = |world: &Shared| Some(Memory::read(&world.lock().position.clone().unwrap().value).unwrap());
    world.lock().proposes = Some(1);
    clock.advance(Duration::from_secs(60));
    let mut second = scaler(&world, &clock, "", last(&world));
    second.tick().await.unwrap();
    clock.advance(Duration::from_secs(1));
    second.tick().await.unwrap();
    settle(&mut second).await;
    drop(second);
    clock.advance(Duration::from_secs(1));
    let mut third = scaler(&world, &clock, "", last(&world));
    for (passes, replicas) in [(0, 4), (117, 4), (2, 1)] {
        clock.advance(Duration::from_secs(passes));
        let decision = third.tick().await.unwrap();
        assert_eq!(decision.replicas, replicas, "{}", decision.reason);
    }
}

#[tokio::test]
async fn a_failed_application_is_tried_again_at_the_next_tick() {
    let (world, clock) = (world(1), Clock::held(0));
    let mut scaler = scaler(&world, &clock, "", None);
    world.lock().actuator_fails = true;
    scaler.tick().await.unwrap();
    settle(&mut scaler).await;
    assert_eq!(text(world.lock().rows.last().unwrap(), "outcome").unwrap(), "no process can be started");
    world.lock().actuator_fails = false;
    scaler.tick().await.unwrap();
    settle(&mut scaler).await;
    assert_eq!(text(world.lock().rows.last().unwrap(), "outcome").unwrap(), "1 run");
}

#[tokio::test]
async fn the_loop_ticks_while_it_acts_and_stops_when_told() {
    let (world, clock) = (world(2), Clock::system());
    world.lock().slow = true;
    let scaler = scaler(&world, &clock, "", None);
    let stop = CancellationToken::new();
    let running = tokio::spawn(scaler.run(stop.clone()));
    let ticked = async {
        while world.lock().happened.iter().filter(|what| *what == "decision 2").count() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ticked).await.unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), running).await.unwrap().unwrap();
    let world = world.lock();
    let outcomes: Vec<String> = world.rows.iter().filter_map(|row| text(row, "outcome")).collect();
    let expected = "tidemill stopped before it was done";
    assert_eq!(outcomes, [expected, expected], "one for the start, one for the change");
    let ticks: Vec<i64> = world.rows.iter().filter_map(|row| number(row, "desired").and(number(row, "tick"))).collect();
    assert!(ticks.is_sorted_by(|a, b| a < b));
}

#[tokio::test]
async fn an_actuator_that_hangs_holds_nothing_up_and_every_row_says_so() {
    let (world, clock) = (world(2), Clock::held(1_000));
    let mut scaler = scaler(&world, &clock, "", None);
    scaler.tick().await.unwrap();
    settle(&mut scaler).await;
    (world.lock().slow, world.lock().patience) = (true, Some(Duration::from_millis(50)));
    world.lock().asked = 0;
    clock.advance(Duration::from_secs(5));
    assert_eq!(scaler.tick().await.unwrap().replicas, 2);
    // What hangs does not tell what it was asked for.
    world.lock().asked = 0;
    world.lock().proposes = Some(4);
    for seconds in [5, 10] {
        clock.advance(Duration::from_secs(5));
        assert_eq!(scaler.tick().await.unwrap().replicas, 4, "decisions go on");
        let told = format!("the change to 2 replicas has been under way for {seconds} s");
        let world = world.lock();
        let row = world.rows.iter().rfind(|row| text(row, "event").unwrap() == "decision").unwrap();
        assert_eq!(text(row, "under_way"), Some(told.clone()));
        assert!(text(row, "body").unwrap().ends_with(&format!("Meanwhile {told}.")));
    }
    settle(&mut scaler).await;
    let outcomes: Vec<String> = world.lock().rows.iter().filter_map(|row| text(row, "outcome")).collect();
    let expected = "given up: the actuator said nothing for 50ms; the next tick asks again";
    assert_eq!(outcomes[1..], [expected, expected], "one of each number, and 4 was not asked for twice");
    (world.lock().slow, world.lock().asked) = (false, 0);
    scaler.tick().await.unwrap();
    settle(&mut scaler).await;
    let world = world.lock();
    assert_eq!(text(world.rows.last().unwrap(), "outcome").unwrap(), "4 run");
    let asked: Vec<(u32, u32)> = world.changes.iter().map(|change| (change.from, change.to)).collect();
    assert_eq!(asked, [(0, 1), (1, 2), (2, 4), (2, 4)]);
    assert_eq!(world.changes[2], world.changes[3], "the same decision, under the same name");
}

#[tokio::test]
async fn a_decision_has_one_name_also_after_a_restart() {
    let (world, clock) = (world(4), Clock::held(1_000));
    let mut first = scaler(&world, &clock, "", None);
    first.tick().await.unwrap();
    clock.advance(Duration::from_secs(5));
    first.tick().await.unwrap();
    settle(&mut first).await;
    // Killed after it was told, before its outcome was written.
    drop(first);
    let told = world.lock().changes[1].clone();
    assert_eq!((told.decision.as_str(), told.from, told.to), ("web/5000001000", 1, 4));
    assert_eq!((told.scaler.as_str(), told.reason.as_str()), ("web", "load wants 4."));
    let last = Memory::read(&world.lock().position.clone().unwrap().value).unwrap();
    clock.advance(Duration::from_secs(60));
    let mut second = scaler(&world, &clock, "", Some(last));
    second.tick().await.unwrap();
    settle(&mut second).await;
    assert_eq!(world.lock().changes[2], told, "who has heard it knows that it is the same");
}

#[tokio::test]
async fn nothing_is_taken_away_while_nobody_knows_how_many_there_are() {
    let (world, clock) = (world(1), Clock::held(0));
    (world.lock().asked, world.lock().unknown) = (4, "observe answered 500".to_owned());
    let (mut scaler, desk) = scaler_and_desk(&world, &clock, "", None);
    assert!(scaler.tick().await.is_none(), "a first start waits");
    let waiting = text(world.lock().rows.last().unwrap(), "reason").unwrap();
    assert!(waiting.contains("how many replicas web has is not known (observe answered 500)"), "{waiting}");
    assert_eq!(text(world.lock().rows.last().unwrap(), "event").unwrap(), "waiting");
    assert_eq!(number(world.lock().rows.last().unwrap(), "decided"), None);
    assert_eq!(desk.standing().borrow().replicas(0), Err(waiting));
    world.lock().unknown = String::new();
    assert_eq!(scaler.tick().await.unwrap().replicas, 4, "what was found is not taken away");
    settle(&mut scaler).await;
    assert!(desk.standing().borrow().replicas(0).is_err(), "a start looks at no evidence");
    world.lock().unknown = "observe answered 500".to_owned();
    let decision = scaler.tick().await.unwrap();
    let reason = "load wants 1. Not scaled down: signal `number of replicas` is missing (observe answered 500).";
    assert_eq!((decision.replicas, decision.reason.as_str()), (4, reason));
    assert!(desk.standing().borrow().replicas(0).is_err());
    world.lock().proposes = Some(5);
    assert_eq!(scaler.tick().await.unwrap().replicas, 5, "more is asked for all the same");
    assert_eq!(desk.standing().borrow().replicas(0), Ok(5));
}

#[tokio::test]
async fn a_recorded_tick_is_decided_again_to_the_same_answer() {
    let (world, clock) = (world(9), Clock::held(1_000));
    let mut scaler = scaler(&world, &clock, "up_max = 2\nstabilize_down = \"10s\"", None);
    for wants in [9, 9, 1, 0, 4] {
        world.lock().proposes = Some(wants);
        scaler.tick().await.unwrap();
        clock.advance(Duration::from_secs(3));
    }
    let world = world.lock();
    let mut replayed = 0;
    for row in &world.rows {
        let packed = row.column_by_name("record").unwrap().as_binary::<i32>();
        if packed.is_null(0) {
            continue;
        }
        replayed += 1;
        let record = Record::unpack(packed.value(0)).unwrap();
        let again = record.decide(&record.answer).unwrap();
        assert_eq!(Some(i64::from(again.replicas)), number(row, "decided"));
        assert_eq!(Some(again.reason), text(row, "reason"));
        assert_eq!(Some(serde_json::to_string(&again.clamps).unwrap()), text(row, "clamps"));
        assert_eq!(record.request().unwrap().signals[0].caught_up_at, Some(17));
    }
    assert_eq!(replayed, 4, "the start is no tick that asks anybody");
}

#[tokio::test]
async fn a_first_start_takes_nothing_away_from_what_runs() {
    let (world, clock) = (world(2), Clock::held(0));
    world.lock().asked = 4;
    assert_eq!(scaler(&world, &clock, "", None).tick().await.unwrap().replicas, 4);
    world.lock().asked = 9;
    assert_eq!(scaler(&world, &clock, "", None).tick().await.unwrap().replicas, 5, "the policy has the last word");
}

#[tokio::test]
async fn a_start_is_no_move_but_one_with_a_lowered_max_is() {
    let (world, clock) = (world(4), Clock::held(0));
    let mut started = scaler(&world, &clock, "initial = 2\nup_rate = \"2/1m\"", None);
    started.tick().await.unwrap();
    clock.advance(Duration::from_secs(5));
    assert_eq!(started.tick().await.unwrap().replicas, 4, "what it began with was not added");
    let more_than_max = Memory { decided: 9, ..Memory::default() };
    assert_eq!(scaler(&world, &clock, "", Some(more_than_max)).tick().await.unwrap().replicas, 5);
    let kept = Memory::read(&world.lock().position.as_ref().unwrap().value).unwrap();
    let moves = format!("{:?}", kept.history);
    assert!(moves.contains("from: 9, to: 5, ordered: true"), "{moves}");
}

#[tokio::test]
async fn who_is_on_the_way_out_is_no_replica_for_the_plugins() {
    let (world, clock) = (world(2), Clock::held(0));
    world.lock().members = vec![
        replica(1, Phase::Ready, ""),
        replica(2, Phase::Starting, ""),
        replica(3, Phase::Draining, ""),
        replica(4, Phase::Stopping, ""),
        replica(5, Phase::Unready, ""),
    ];
    let mut scaler = scaler(&world, &clock, "", None);
    scaler.tick().await.unwrap();
    scaler.tick().await.unwrap();
    let world = world.lock();
    let members = &world.request.as_ref().unwrap().members;
    let shown: Vec<(&str, bool)> = members.iter().map(|member| (member.name.as_str(), member.ready)).collect();
    assert_eq!(shown, [("1", true), ("2", false), ("5", false)]);
}

#[tokio::test]
async fn advisers_are_heard_and_a_shadow_only_recorded() {
    let (world, clock) = (world(3), Clock::held(0));
    let more = "advisers.forecast.plugin = \"forecast\"\nshadow.plugin = \"queue\"";
    let mut scaler = scaler(&world, &clock, more, None);
    scaler.tick().await.unwrap();
    scaler.tick().await.unwrap();
    assert_eq!(scaler.tick().await.unwrap().replicas, 3);
    let world = world.lock();
    let request = world.request.as_ref().unwrap();
    assert_eq!((request.advice.len(), request.advice[0].replicas), (1, Some(7)), "the shadow advises nobody");
    assert_eq!((request.decisions.len(), request.decisions[0].decided), (1, 3));
    let advice: serde_json::Value = serde_json::from_str(&text(world.rows.last().unwrap(), "advice").unwrap()).unwrap();
    assert_eq!((&advice["shadow"]["replicas"], &advice["forecast"]["reason"]), (&7.into(), &"always".into()));
    let memory = Memory::read(&world.position.as_ref().unwrap().value).unwrap();
    assert_eq!((&memory.states["shadow"].0, &memory.states["forecast"].0), (&vec![2], &vec![2]));
}

#[tokio::test]
async fn an_order_holds_until_it_is_released_and_a_shadow_is_promoted() {
    let (world, clock) = (world(2), Clock::held(0));
    let (scaler, desk) = scaler_and_desk(&world, &clock, "shadow.plugin = \"queue\"", None);
    let stop = CancellationToken::new();
    let running = tokio::spawn(scaler.run(stop.clone()));
    let decided = async |replicas: i64| {
        let reached = async {
            let last = |world: &World| {
                world
                    .rows
                    .iter()
                    .rfind(|row| text(row, "event").unwrap() == "decision")
                    .and_then(|row| number(row, "decided"))
            };
            while last(&world.lock()) != Some(replicas) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reached).await.unwrap();
    };
    decided(2).await;
    let order = Order { replicas: 4, until: i64::MAX, why: "a sale".to_owned() };
    assert_eq!(desk.hand(Command::Order(order)).await.unwrap(), "4 replicas from the next tick on");
    assert!(Memory::read(&world.lock().position.clone().unwrap().value).unwrap().order.is_some(), "it is on disk");
    decided(4).await;
    desk.hand(Command::Release).await.unwrap();
    decided(2).await;
    assert_eq!(desk.hand(Command::Release).await.unwrap(), "there was no order");
    desk.hand(Command::Promote).await.unwrap();
    decided(5).await;
    let last = Memory::read(&world.lock().position.clone().unwrap().value).unwrap();
    assert!(last.promoted.as_ref().unwrap().starts_with("f1xed:"), "{:?}", last.promoted);
    stop.cancel();
    running.await.unwrap();
    // After a restart the promoted one still decides.
    let mut again = super::tests::scaler(&world, &clock, "shadow.plugin = \"queue\"", Some(last));
    again.tick().await.unwrap();
    assert_eq!(again.tick().await.unwrap().desired, Some(7));
}

#[test]
fn mistakes_in_a_config() {
    for (more, key, named) in [
        ("max = 5\ninitial = 9", "initial", "outside of min = 1 and max = 5"),
        ("min = 6\nmax = 5", "min", "min cannot be above max"),
        ("max = 5\ntolerance = 1.5", "tolerance", "no share"),
        ("max = 5\nflap_budget = \"1/10m\"", "flap_budget", "write at least 2"),
        ("max = 5\nup_rate = \"0/10m\"", "up_rate", "lets nothing happen"),
        ("max = 5\nfreeze = [{ cron = \"0 2 * * *\" }]", "freeze", "freeze 1: write either"),
        ("max = 5\nadvisers.shadow.plugin = \"hpa\"", "advisers.shadow", "that name is the shadow's"),
    ] {
        let config: Config = toml::from_str(&format!("plugin = \"hpa\"\nworkload = \"web\"\n{more}")).unwrap();
        let faults = config.faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].key == key && faults[0].error.message().contains(named), "{faults:?}");
    }
    for wrong in
        ["max = 0", "max = 1\nevery = \"1ms\"", "max = 5\nup_max = 0", "max = 5\ndown_max = 0", "max = 5\nmaxx = 3"]
    {
        let text = format!("plugin = \"hpa\"\nworkload = \"web\"\n{wrong}");
        assert!(toml::from_str::<Config>(&text).is_err(), "{wrong}");
    }
}

fn events(world: &Shared) -> Vec<String> {
    world.lock().happened.clone()
}

#[tokio::test]
async fn a_shared_workload_is_gone_on_with_as_it_was_found() {
    let (world, clock) = (world(5), Clock::held(0));
    (world.lock().shared, world.lock().unseen, world.lock().standby) = (true, true, "it cannot be seen".to_owned());
    // What was decided before is no reason to overwrite what others did since.
    let mut scaler = scaler(&world, &clock, "initial = 5", Some(Memory { decided: 4, ..Memory::default() }));
    assert!(scaler.tick().await.is_none());
    assert_eq!(text(world.lock().rows.last().unwrap(), "body").unwrap(), "Not started yet: it cannot be seen.");
    (world.lock().asked, world.lock().unseen, world.lock().standby) = (2, false, String::new());
    assert_eq!(scaler.tick().await.unwrap().replicas, 2);
    assert_eq!(events(&world), ["waiting", "found 2"], "nothing is applied by a start");
    assert_eq!(scaler.tick().await.unwrap().replicas, 5);
    settle(&mut scaler).await;
    world.lock().asked = 3;
    assert_eq!(scaler.tick().await.unwrap().replicas, 5);
    settle(&mut scaler).await;
    let expected = ["decision 5", "apply 5", "outcome 5", "found 3", "decision 5", "apply 5", "outcome 5"];
    assert_eq!(events(&world)[2..], expected);
    let world = world.lock();
    let (found, decision) = (&world.rows[4], &world.rows[5]);
    assert!(text(found, "body").unwrap().starts_with("Found 3 replicas, 5 decided last"), "{found:?}");
    assert_eq!(number(decision, "replicas"), Some(3), "decided from what was found");
}

#[tokio::test]
async fn who_may_not_act_decides_and_records_and_changes_nothing() {
    let (world, clock) = (world(4), Clock::held(0));
    (world.lock().shared, world.lock().asked) = (true, 1);
    let mut scaler = scaler(&world, &clock, "up_rate = \"3/1h\"", None);
    scaler.tick().await.unwrap();
    world.lock().standby = "not the leader: `b` holds the lease".to_owned();
    for _ in 0..3 {
        let decision = scaler.tick().await.unwrap();
        assert_eq!((decision.replicas, decision.desired), (1, Some(4)));
        assert_eq!(decision.clamps.last().unwrap().name, "standby");
        assert_eq!(decision.reason, "load wants 4. Not the leader: `b` holds the lease.");
    }
    world.lock().standby = String::new();
    assert_eq!(scaler.tick().await.unwrap().replicas, 4, "what was not done is not held against it");
    world.lock().actuator_fails = true;
    settle(&mut scaler).await;
    assert_eq!(events(&world).iter().filter(|event| event.starts_with("apply")).count(), 1);
    world.lock().actuator_fails = false;
    assert_eq!(scaler.tick().await.unwrap().replicas, 4, "nor what failed: its move is taken back");
    settle(&mut scaler).await;
    assert_eq!(world.lock().asked, 4);
}

#[tokio::test]
async fn what_is_lost_and_what_comes_true_after_all_is_told() {
    let (world, clock) = (world(2), Clock::held(1_000));
    let mut scaler = scaler(&world, &clock, "", None);
    scaler.tick().await.unwrap();
    settle(&mut scaler).await;
    let turn = async |scaler: &mut Scaler| {
        clock.advance(Duration::from_secs(5));
        world.lock().happened.clear();
        scaler.tick().await.unwrap();
        settle(scaler).await;
        world.lock().happened.clone()
    };
    // A second replica is decided, and cannot be had for a while.
    (world.lock().ready, world.lock().not_reached) = (Some(1), true);
    assert_eq!(turn(&mut scaler).await, ["decision 2", "apply 2", "outcome 2"]);
    assert_eq!(turn(&mut scaler).await, ["decision 2"]);
    world.lock().ready = None;
    world.lock().members = vec![replica(1, Phase::Ready, ""), replica(2, Phase::Ready, "")];
    assert_eq!(turn(&mut scaler).await, ["outcome 2", "decision 2"]);
    let row = world.lock().rows.iter().rev().nth(1).unwrap().clone();
    assert_eq!(text(&row, "outcome").unwrap(), "after all, 2 replicas are ready 10 s after the decision");
    assert_eq!(turn(&mut scaler).await, ["decision 2"]);
    // One ends by itself, another one because it was told to.
    world.lock().members =
        vec![replica(1, Phase::Waiting, "it ended with exit code 1"), replica(2, Phase::Draining, "")];
    assert_eq!(turn(&mut scaler).await, ["lost 2", "decision 2"]);
    let row = world.lock().rows.iter().rev().nth(1).unwrap().clone();
    assert_eq!(text(&row, "reason").unwrap(), "Replica 1 was ready, and is waiting: it ended with exit code 1.");
    assert_eq!(turn(&mut scaler).await, ["decision 2"]);
}
