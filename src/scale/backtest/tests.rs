//! runs with deciders of one line, whose outcomes can be counted by hand

use super::*;
use crate::plugin::{Freshness, Signal};
use arrow::array::AsArray;
use arrow::datatypes::Float64Type;

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;

fn trace(csv: &str) -> Trace {
    Trace::read(csv.as_bytes(), &Form { rates: true, ..Form::default() }).unwrap()
}

fn setup(trace: &Trace) -> Setup {
    Setup {
        workload: "web".into(),
        policy: Policy::bounds(1, 50),
        every: 15 * SECOND,
        from: trace.begin(),
        warm_up: 0,
        until: trace.end(),
        initial: None,
        model: Model { capacity: 10.0, service_time: 0.1, start: 30.0, objective: 0.5, timeout: 20.0 },
        signals: BTreeMap::from([("rps".to_owned(), Variable::Arrivals)]),
        window: 15 * SECOND,
        bucket: 900 * SECOND,
        memory: 8 * 24 * HOUR,
    }
}

fn panel(live: impl FnMut(&Request) -> Result<Proposal> + 'static) -> Panel {
    Panel { live: Box::new(live), advisers: BTreeMap::new() }
}

fn value(signal: &Signal) -> Option<f64> {
    let column = signal.table.column_by_name("value")?.as_primitive::<Float64Type>().clone();
    (!column.is_empty()).then(|| column.value(0))
}

fn by_load(per_replica: f64) -> impl FnMut(&Request) -> Result<Proposal> {
    move |request: &Request| {
        let load = value(&request.signals[0]).ok_or_else(|| Error::invalid("no load"))?;
        let replicas = (load / per_replica).ceil() as u32;
        Ok(Proposal { replicas, reason: format!("load {load:.0}"), state: vec![] })
    }
}

fn fixed(replicas: u32) -> impl FnMut(&Request) -> Result<Proposal> {
    move |_: &Request| Ok(Proposal { replicas, reason: "always".into(), state: vec![] })
}

#[test]
fn a_service_does_not_start_with_what_is_counted() {
    let trace = trace("0,20\n1,20\n2,20\n3,20\n");
    let from = trace.begin() + 120 * SECOND;
    let cold = Setup { from, ..setup(&trace) };
    let report = run(&cold, &trace, &mut panel(by_load(5.0))).unwrap();
    assert_eq!((report.changes, report.seconds), (1, 120.0));
    // As far as the trace goes back.
    let warm = Setup { warm_up: HOUR, ..cold };
    let report = run(&warm, &trace, &mut panel(by_load(5.0))).unwrap();
    assert_eq!((report.changes, report.seconds, report.requests.round()), (0, 120.0, 2400.0));
    assert!((report.replica_hours - 4.0 * 120.0 / 3600.0).abs() < 1e-9, "{}", report.replica_hours);
}

#[test]
fn a_fixed_number_costs_what_it_costs() {
    let trace = trace("0,10\n1,10\n2,10\n3,10\n");
    let report = run(&setup(&trace), &trace, &mut panel(fixed(2))).unwrap();
    assert_eq!((report.requests.round(), report.changes, report.flaps), (2400.0, 0, 0));
    assert!((report.replica_hours - 2.0 * 240.0 / 3600.0).abs() < 1e-9, "{}", report.replica_hours);
    assert_eq!((report.seconds_over, report.latency_worst, report.replicas_most), (0.0, 0.2, 2));
    // One is full: 10 of 10 a second.
    let one = Setup { initial: Some(1), ..setup(&trace) };
    let report = run(&one, &trace, &mut panel(fixed(1))).unwrap();
    assert_eq!((report.share_over, report.seconds_over), (1.0, 240.0));
}

#[test]
fn a_step_is_followed_after_the_start_and_told_why() {
    let trace = trace("0,8\n1,8\n2,80\n3,80\n4,80\n5,80\n6,8\n7,8\n");
    let setup = Setup { initial: Some(2), ..setup(&trace) };
    let report = run(&setup, &trace, &mut panel(by_load(7.0))).unwrap();
    assert!(report.seconds_over > 0.0 && report.seconds_over < 240.0, "{}", report.seconds_over);
    assert_eq!(report.replicas_most, 12);
    let first = &report.moves[0];
    assert!(first.at >= 90 * SECOND && first.reason.starts_with("load "), "{first:?}");
    assert!(report.flaps >= 1, "up and down within ten minutes: {report:?}");
    // The rules are the live ones.
    let policy = Policy { up_max: Some(1), ..Policy::bounds(1, 5) };
    let bound = Setup { policy, ..setup };
    let slow = run(&bound, &trace, &mut panel(by_load(7.0))).unwrap();
    assert_eq!(slow.replicas_most, 5);
    assert!(slow.moves.iter().any(|change| change.reason.contains("At most 1 more in one tick.")), "{:?}", slow.moves);
    assert!(slow.gone > 0.0 && slow.latency_worst == 20.0, "{slow:?}");
}

#[test]
fn the_same_again_is_the_same_to_the_bit() {
    let csv: String = (0..600).map(|minute| format!("{minute},{}\n", 40 + (minute * 37) % 101)).collect();
    let trace = trace(&csv);
    let once = run(&setup(&trace), &trace, &mut panel(by_load(6.0))).unwrap();
    let again = run(&setup(&trace), &trace, &mut panel(by_load(6.0))).unwrap();
    assert_eq!(once, again);
    assert!(once.changes > 10);
}

#[test]
fn nothing_is_taken_away_in_a_gap() {
    let trace = trace("0,60\n1,60\n2,60\n30,6\n31,6\n32,6\n");
    let report = run(&setup(&trace), &trace, &mut panel(by_load(6.0))).unwrap();
    assert!(report.gap_seconds > 26.0 * 60.0, "{}", report.gap_seconds);
    let in_gap = |change: &&report::Move| change.at > 180 * SECOND && change.at < 1800 * SECOND;
    assert_eq!(report.moves.iter().find(in_gap), None);
    assert!(report.failures > 0 && report.first_failure.as_deref().unwrap().ends_with("no load"));
    // The decider that asks for fewer without evidence is not heeded either.
    let report = run(&setup(&trace), &trace, &mut panel(fixed(1))).unwrap();
    assert_eq!(report.moves.iter().find(in_gap), None);
}

#[test]
fn advisers_are_asked_with_their_own_state_and_the_past_is_only_the_past() {
    let csv: String = (0..300).map(|minute| format!("{minute},{}\n", 10 + minute)).collect();
    let trace = trace(&csv);
    let counting = |request: &Request| -> Result<Proposal> {
        let count = request.state.first().copied().unwrap_or(0);
        Ok(Proposal { replicas: 30, reason: format!("tick {count}"), state: vec![count.wrapping_add(1)] })
    };
    let live = |request: &Request| {
        assert!(request.state.is_empty() || request.state == [9]);
        let advice = &request.advice[0];
        assert_eq!((advice.name.as_str(), advice.replicas), ("counting", Some(30)));
        let tick = (request.now / (15 * SECOND)) as u8;
        assert_eq!(advice.reason, format!("tick {tick}"));
        let past = request.signals.iter().find(|signal| signal.name == "history").unwrap();
        match past.freshness {
            Freshness::Missing => assert!(request.now < 900 * SECOND),
            _ => {
                let times = past.table.column(0).as_primitive::<arrow::datatypes::TimestampNanosecondType>();
                assert!(times.values().iter().all(|at| at + 900 * SECOND <= request.now));
                assert_eq!(times.len() as i64, request.now / (900 * SECOND));
            }
        }
        Ok(Proposal { replicas: advice.replicas.unwrap(), reason: advice.reason.clone(), state: vec![9] })
    };
    let mut panel = panel(live);
    panel.advisers.insert("counting".into(), Box::new(counting));
    let mut setup = setup(&trace);
    setup.signals.insert("history".into(), Variable::History);
    let report = run(&setup, &trace, &mut panel).unwrap();
    // The policy does not add on a first bucket that is missing; afterwards it does.
    assert_eq!(report.failures, 0);
    assert_eq!(report.replicas_most, 30);
}

#[test]
fn what_nobody_could_try_is_refused() {
    let trace = trace("0,1\n1,1\n");
    let refused = |change: fn(&mut Setup)| {
        let mut setup = setup(&trace);
        change(&mut setup);
        run(&setup, &trace, &mut panel(fixed(1))).unwrap_err().to_string()
    };
    assert!(refused(|setup| setup.model.objective = 0.1).contains("not above the service time"));
    assert!(refused(|setup| setup.until = setup.from).contains("not after the begin"));
    assert!(refused(|setup| setup.model.capacity = 0.0).contains("more than 0"));
}

#[test]
fn the_grids_edge_is_what_nobody_beats() {
    let outcomes = [(10.0, 0.5), (20.0, 0.1), (20.0, 0.2), (15.0, 0.5), (40.0, 0.0), (40.0, 0.0)];
    assert_eq!(pareto(&outcomes), [true, true, false, false, true, true]);
}
