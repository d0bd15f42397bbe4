//! however events are batched, the same ones are kept

use std::ops::Range;

use tidemill_plugin::{Batch, Build, Texts, Timestamps, split, wire};

fn column(name: &str, values: impl Build) -> wire::Column {
    let (values, validity) = values.build();
    wire::Column { name: name.to_owned(), values, validity }
}

/// Events of a few keys, some without one, some late, some without a time.
fn events(rows: Range<usize>) -> Batch {
    let (mut keys, mut times) = (Texts::default(), Timestamps::default());
    for row in rows.clone() {
        let key = split::some(row, 1, 12);
        keys.push_option((key > 0).then(|| format!("key {key}")));
        let late = split::some(row, 2, 10) as i64 - 5;
        times.push_option((key != 3).then_some((row as i64 + late) * 100_000_000));
    }
    Batch::new(rows.len(), vec![column("key", keys), column("timestamp", times)])
}

#[test]
fn where_a_batch_is_cut_makes_no_difference() {
    for settings in [
        r#"{ "one_in": 3 }"#,
        r#"{ "ratio": 0.37 }"#,
        r#"{ "one_in": 2, "key": ["key"] }"#,
        r#"{ "ratio": 0.2, "key": ["key"], "always": [{ "field": "key", "ends_with": "7" }] }"#,
    ] {
        split::filter::<sample::Sample>(settings, events);
    }
}
