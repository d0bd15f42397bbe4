//! spans of time that are done, and what is left between them
//!
//! **Always:** in order, apart, and as few as there can be.

use crate::error::{Error, Result};

/// Half-open spans of nanoseconds: `[from, to)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<(i64, i64)>);

impl Spans {
    /// What [`Spans::write`] wrote.
    pub fn read(bytes: &[u8]) -> Result<Spans> {
        let read = serde_json::from_slice(bytes).map(Spans);
        read.map_err(|error| Error::internal(format!("a replay's position cannot be read: {error}")))
    }

    /// As JSON.
    pub fn write(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&self.0).map_err(|error| Error::internal(error.to_string()))
    }

    /// Adds a span; one that touches another becomes part of it.
    pub fn add(&mut self, (mut from, mut to): (i64, i64)) {
        if from >= to {
            return;
        }
        self.0.retain(|(start, end)| {
            let apart = *end < from || to < *start;
            if !apart {
                (from, to) = (from.min(*start), to.max(*end));
            }
            apart
        });
        let at = self.0.partition_point(|(start, _)| *start < from);
        self.0.insert(at, (from, to));
    }

    /// Takes a span out.
    pub fn remove(&mut self, (from, to): (i64, i64)) {
        let cut = |(start, end): (i64, i64)| [(start, end.min(from)), (start.max(to), end)];
        self.0 = std::mem::take(&mut self.0).into_iter().flat_map(cut).filter(|(start, end)| start < end).collect();
    }

    /// The parts of a span that are in none of these.
    pub fn rest(&self, (from, to): (i64, i64)) -> Vec<(i64, i64)> {
        let (mut rest, mut at) = (Vec::new(), from);
        for (start, end) in self.0.iter().filter(|(start, end)| *end > from && *start < to) {
            if *start > at {
                rest.push((at, *start));
            }
            at = at.max(*end);
        }
        if at < to {
            rest.push((at, to));
        }
        rest
    }

    /// The parts of a span that are in one of these.
    pub fn within(&self, (from, to): (i64, i64)) -> Vec<(i64, i64)> {
        let cut = self.0.iter().map(|(start, end)| ((*start).max(from), (*end).min(to)));
        cut.filter(|(start, end)| start < end).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_and_what_is_done_make_up_the_whole() {
        let mut done = Spans::default();
        assert_eq!(done.rest((0, 10)), [(0, 10)]);
        for span in [(5, 7), (1, 2), (7, 8), (3, 3), (20, 30)] {
            done.add(span);
        }
        assert_eq!(done, Spans(vec![(1, 2), (5, 8), (20, 30)]));
        assert_eq!(done.rest((0, 25)), [(0, 1), (2, 5), (8, 20)]);
        assert_eq!(done.within((0, 25)), [(1, 2), (5, 8), (20, 25)]);
        assert_eq!(done.rest((6, 8)), []);
        done.add((2, 5));
        assert_eq!(done, Spans(vec![(1, 8), (20, 30)]));
        assert_eq!(Spans::read(&done.write().unwrap()).unwrap(), done);
        let mut less = done.clone();
        less.remove((3, 22));
        assert_eq!(less, Spans(vec![(1, 3), (22, 30)]));
        done.add((0, 100));
        assert_eq!(done.rest((0, 100)), []);
    }
}
