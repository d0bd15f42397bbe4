//! tries what must hold of every plugin that keeps state: where a batch is cut makes no difference
//!
//! Each part goes to an instance of its own, so nothing but the state goes from one to the next.

use std::ops::Range;

use crate::{Batch, Build, Context, Filter, Kept, Texts, Timestamps, wire};

/// What a filter says to so many rows, when they come in batches of these sizes. `rows` gives the batch of some of them.
pub fn kept<P: Filter>(settings: &str, sizes: &[usize], rows: impl Fn(Range<usize>) -> Batch) -> Vec<u8> {
    let mut all = Vec::new();
    let mut state = None;
    for size in sizes {
        let (mut plugin, _) = crate::configure::<P>(settings).unwrap_or_else(|error| panic!("{error}"));
        let mut output = Kept::new(*size);
        let context = Context { now: None, state: state.clone() };
        let done = plugin.keep(&rows(all.len()..all.len() + size), &context, &mut output);
        done.unwrap_or_else(|error| panic!("{error}"));
        let (keep, _, left) = output.into_wire();
        all.extend(keep);
        state = left.or(state);
    }
    all
}

/// Fails unless a filter says the same to 600 rows in one batch, in two cut anywhere, and in many small ones.
pub fn filter<P: Filter>(settings: &str, rows: impl Fn(Range<usize>) -> Batch) {
    const ROWS: usize = 600;
    let whole = kept::<P>(settings, &[ROWS], &rows);
    assert!(whole.contains(&0) && whole.contains(&1), "these rows show nothing: all are kept, or all dropped");
    for cut in (0..=ROWS).step_by(37) {
        assert_eq!(kept::<P>(settings, &[cut, ROWS - cut], &rows), whole, "{settings}: cut after {cut} rows");
    }
    assert_eq!(kept::<P>(settings, &[8; ROWS / 8], &rows), whole, "{settings}: in parts of 8");
    assert_eq!(kept::<P>(settings, &[1; ROWS], &rows), whole, "{settings}: row by row");
}

/// A number below `below` for each row, that looks like chance and is the same every time.
pub fn some(row: usize, salt: u64, below: u64) -> u64 {
    let mut bits = (row as u64).wrapping_add(salt << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (bits ^ bits >> 29) % below
}

/// Events with a `key` and a `timestamp`: a few keys, some without one, some late, some without a time.
pub fn events(rows: Range<usize>) -> Batch {
    let (mut keys, mut times) = (Texts::default(), Timestamps::default());
    for row in rows.clone() {
        let key = some(row, 1, 12);
        keys.push_option((key > 0).then(|| format!("key {key}")));
        let late = some(row, 2, 10) as i64 - 5;
        times.push_option((key != 3).then_some((row as i64 + late) * 100_000_000));
    }
    Batch::new(rows.len(), vec![column("key", keys), column("timestamp", times)])
}

fn column(name: &str, values: impl Build) -> wire::Column {
    let (values, validity) = values.build();
    wire::Column { name: name.to_owned(), values, validity }
}
