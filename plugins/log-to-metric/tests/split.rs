//! however events are batched, the last totals are the same, and deltas add up to them

use std::collections::BTreeMap;
use std::ops::Range;

use log_to_metric::LogToMetric;
use tidemill_plugin::{Batch, Build, Context, Floats, Parsed, Parser, Texts, Timestamps, split, wire};

const ROWS: usize = 600;

const METRICS: &str = r#""series_max": 5, "metrics": [
    { "name": "events_total", "kind": "counter", "labels": { "key": "key" } },
    { "name": "sum_total", "kind": "counter", "field": "value" },
    { "name": "values", "kind": "histogram", "field": "value", "buckets": [10, 20, 50], "labels": { "key": "key" } }
]"#;

fn column(name: &str, values: impl Build) -> wire::Column {
    let (values, validity) = values.build();
    wire::Column { name: name.to_owned(), values, validity }
}

fn events(rows: Range<usize>) -> Batch {
    let (mut keys, mut values, mut times) = (Texts::default(), Floats::default(), Timestamps::default());
    for row in rows.clone() {
        let key = split::some(row, 1, 9);
        keys.push_option((key > 0).then(|| format!("key {key}")));
        values.push_option((key != 4).then_some(split::some(row, 2, 64) as f64));
        times.push((row as i64 + split::some(row, 3, 20) as i64) * 1_000_000);
    }
    Batch::new(rows.len(), vec![column("key", keys), column("value", values), column("timestamp", times)])
}

/// What each series was told in order, by its name and labels, with its time.
fn told(delta: bool, sizes: &[usize]) -> BTreeMap<String, Vec<(i64, f64)>> {
    let settings = format!("{{ \"delta\": {delta}, {METRICS} }}");
    let mut series: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
    let (mut state, mut done) = (None, 0);
    for size in sizes {
        let (mut plugin, _) = tidemill_plugin::configure::<LogToMetric>(&settings).unwrap();
        let mut output = Parsed::new(*size);
        plugin.parse(&events(done..done + size), &Context { now: None, state: state.clone() }, &mut output).unwrap();
        done += size;
        let answer = output.into_wire().unwrap();
        state = answer.state.or(state);
        let rows = Batch::new(answer.rows as usize, answer.columns);
        let text = |column: &str, row| {
            rows.column(column).unwrap().text_of(row).map(|text| String::from_utf8_lossy(&text).into_owned())
        };
        for row in 0..rows.rows() {
            let name = format!("{:?} {:?} {:?}", text("name", row), text("labels.key", row), text("labels.le", row));
            let value = rows.floats("value").unwrap().get(row).unwrap();
            series.entry(name).or_default().push((rows.timestamps("timestamp").unwrap().get(row).unwrap(), value));
        }
    }
    series
}

#[test]
fn totals_and_deltas_agree_however_events_are_batched() {
    let last = |series: BTreeMap<String, Vec<(i64, f64)>>| -> BTreeMap<String, f64> {
        series.into_iter().map(|(name, told)| (name, told.last().unwrap().1)).collect()
    };
    let whole = last(told(false, &[ROWS]));
    assert!(whole.len() > 20, "{whole:?}");
    let mut cuts: Vec<Vec<usize>> = (0..=ROWS).step_by(53).map(|cut| vec![cut, ROWS - cut]).collect();
    cuts.push(vec![1; ROWS]);
    for sizes in cuts {
        let totals = told(false, &sizes);
        for (name, told) in &totals {
            assert!(told.is_sorted_by(|one, next| one.0 <= next.0 && one.1 <= next.1), "{name} goes back: {told:?}");
        }
        assert_eq!(last(totals), whole, "{sizes:?}");
        let sums: BTreeMap<String, f64> = told(true, &sizes)
            .into_iter()
            .map(|(name, told)| (name, told.into_iter().map(|(_, value)| value).sum()))
            .collect();
        assert_eq!(sums, whole, "{sizes:?}");
    }
}
