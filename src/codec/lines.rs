//! bytes cut into lines
//!
//!     feed(bytes) ─► values: line line line | the line that has not ended ─► take() ─► a Binary array, without a copy
//!
//! A line ends with LF or CRLF; empty lines are no events, and a byte order mark before the first line is not of it. Else bytes stay
//! as they are, valid UTF-8 or not. A line longer than the limit becomes one dead letter that keeps its start; the rest of it is
//! counted and not kept.
//!
//! With a [`Joiner`], lines that belong together are one value, with LF between them, and so are the empty lines among them:
//!
//!     values: event event | what is held: its lines so far | the line that has not ended

use super::multiline::Joiner;
use super::{BAD_LINES_MAX, BadLine, Decoded, Received};
use crate::error::Result;
use crate::event::DeadLetter;
use crate::event::columns::{BODY, PART, SOURCE, TIMESTAMP, Type, field};
use arrow::array::{Array, ArrayRef, BinaryArray, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use memchr::memchr_iter;
use std::sync::Arc;

/// Offsets of an Arrow array are 32 bits: no array may grow beyond this.
const ARRAY_BYTES_MAX: usize = 1 << 30;
/// Bytes that one batch may cover, though nothing of them is kept (empty lines).
const SKIPPED_BYTES_MAX: u64 = 64 << 20;

/// What some editors and systems put before the first line of a file of UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// How much a batch of lines may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// lines
    pub rows: usize,
    /// bytes of all lines; the last line may go beyond
    pub bytes: usize,
    /// bytes of one line
    pub line: usize,
    /// lines that are too long; the start of each is kept
    pub long: usize,
}

/// Cuts bytes into lines, across as many buffers as they come in.
#[derive(Clone)]
pub struct Lines {
    limits: Limits,
    joiner: Option<Joiner>,
    held: Option<Held>,
    /// the part that the last event was, at least 1
    part: u32,
    /// further parts of events: the row, and which part it is
    parts: Vec<(usize, u32)>,
    /// complete lines without their ends, what is held, then the start of the line that has not ended
    values: Vec<u8>,
    /// where complete lines end in `values`
    offsets: Vec<i32>,
    /// the number of each complete line
    numbers: Vec<u64>,
    /// bytes of the line that has not ended, beyond what is kept of it
    beyond: u64,
    /// whether the last byte seen of a line that is too long is a CR
    beyond_cr: bool,
    long: Vec<LongLine>,
    /// bytes as they came, of all lines that ended
    bytes: u64,
    /// lines that ended, ever
    number: u64,
}

/// An event that may get further lines.
#[derive(Clone, Copy)]
struct Held {
    /// where it ends in `values`
    end: usize,
    /// its lines, empty ones included
    lines: usize,
    /// empty lines after it, which are of it if more of it comes
    blanks: usize,
    /// bytes as they came, of all these
    bytes: u64,
    /// the number of its first line
    number: u64,
    /// which part of an event it is; 0 for a whole one
    part: u32,
}

/// Lines that ended.
#[derive(Debug)]
pub struct Taken {
    /// an event a row: a line without its end, or lines that belong together
    pub body: BinaryArray,
    /// the number of the first line of each, from 1
    pub numbers: Vec<u64>,
    /// events that are a part of a larger one: the row, and which part it is, from 1
    pub parts: Vec<(usize, u32)>,
    /// lines that are too long
    pub long: Vec<LongLine>,
    /// bytes as they came, ends and empty lines included
    pub bytes: u64,
}

/// A line that is too long.
#[derive(Clone, Debug)]
pub struct LongLine {
    /// which one, from 1
    pub number: u64,
    /// its length
    pub bytes: u64,
    /// what is kept of it
    pub start: Vec<u8>,
    /// what it may have
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { rows: 8192, bytes: 4 << 20, line: 1 << 20, long: 8 }
    }
}

impl Lines {
    /// Nothing read yet.
    pub fn new(limits: Limits) -> Self {
        Lines::joined(limits, None)
    }

    /// Nothing read yet; lines are joined as the joiner says.
    pub fn joined(limits: Limits, joiner: Option<Joiner>) -> Self {
        let limits = Limits {
            rows: limits.rows.max(1),
            bytes: limits.bytes.min(ARRAY_BYTES_MAX),
            line: limits.line.min(ARRAY_BYTES_MAX / 2),
            long: limits.long.max(1),
        };
        Lines {
            limits,
            joiner,
            held: None,
            part: 1,
            parts: Vec::new(),
            values: Vec::new(),
            offsets: vec![0],
            numbers: Vec::new(),
            beyond: 0,
            beyond_cr: false,
            long: Vec::new(),
            bytes: 0,
            number: 0,
        }
    }

    /// Reads on until the bytes end or the batch is full; says how many bytes it has read.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        if self.is_full() {
            return 0;
        }
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes) {
            self.extend(bytes.get(start..end).unwrap_or_default());
            self.end_line(1);
            start = end + 1;
            if self.is_full() {
                return start;
            }
        }
        self.extend(bytes.get(start..).unwrap_or_default());
        bytes.len()
    }

    /// Whether lines have to be taken before more can be read.
    pub fn is_full(&self) -> bool {
        self.numbers.len() >= self.limits.rows
            || self.complete() >= self.limits.bytes
            || self.long.len() >= self.limits.long
            || self.bytes >= SKIPPED_BYTES_MAX.max(self.limits.bytes as u64)
    }

    /// Whether nothing is complete that was not taken.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes read of the line that has not ended.
    pub fn partial(&self) -> u64 {
        (self.values.len() - self.line_start()) as u64 + self.beyond
    }

    /// The number of the first line of an event that may get further ones, if there is such an event.
    pub fn held(&self) -> Option<u64> {
        self.held.map(|held| held.number)
    }

    /// Says that the line that has not ended, and the event that is held, will get no more.
    pub fn end_partial(&mut self) {
        if self.partial() > 0 {
            self.end_line(0);
        }
        self.complete_held();
        if let Some(joiner) = &mut self.joiner {
            joiner.reset();
        }
    }

    /// Says that nothing more has come for too long: what is held is complete. What still comes of it is a further part.
    pub fn release(&mut self) {
        if self.complete_held()
            && let Some(joiner) = &mut self.joiner
        {
            joiner.released();
        }
    }

    /// The events that are complete. What is held, and the line that has not ended, stay.
    pub fn take(&mut self) -> Result<Taken> {
        let complete = self.complete();
        let mut rest = Vec::with_capacity(if self.is_full() { self.values.len() } else { 0 });
        rest.extend_from_slice(self.values.get(complete..).unwrap_or_default());
        let mut values = std::mem::replace(&mut self.values, rest);
        values.truncate(complete);
        if let Some(held) = &mut self.held {
            held.end -= complete;
        }
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Taken {
            body: BinaryArray::try_new(offsets, Buffer::from_vec(values), None)?,
            numbers: std::mem::take(&mut self.numbers),
            parts: std::mem::take(&mut self.parts),
            long: std::mem::take(&mut self.long),
            bytes: std::mem::take(&mut self.bytes),
        })
    }

    fn complete(&self) -> usize {
        self.offsets.last().and_then(|end| usize::try_from(*end).ok()).unwrap_or(0)
    }

    /// Where the line starts that has not ended.
    fn line_start(&self) -> usize {
        self.held.map_or_else(|| self.complete(), |held| held.end)
    }

    /// One byte more than the limit is kept, because it may be the CR of a CRLF.
    fn extend(&mut self, bytes: &[u8]) {
        let room = (self.limits.line + 1).saturating_sub(self.values.len() - self.line_start());
        match bytes.split_at_checked(room) {
            Some((kept, beyond)) if !beyond.is_empty() => {
                self.values.extend_from_slice(kept);
                self.beyond += beyond.len() as u64;
                self.beyond_cr = beyond.last() == Some(&b'\r');
            }
            _ => self.values.extend_from_slice(bytes),
        }
    }

    fn end_line(&mut self, end_bytes: u64) {
        let start = self.line_start();
        self.number += 1;
        let came = (self.values.len() - start) as u64 + self.beyond + end_bytes;
        let marked = |line: &[u8]| line.starts_with(BYTE_ORDER_MARK);
        if self.number == 1 && self.beyond == 0 && self.values.get(start..).is_some_and(marked) {
            self.values.drain(start..start + BYTE_ORDER_MARK.len());
        }
        let kept = self.values.len() - start;
        let has_cr = if self.beyond > 0 { self.beyond_cr } else { kept > 0 && self.values.last() == Some(&b'\r') };
        let length = kept as u64 + self.beyond - u64::from(has_cr);
        (self.beyond, self.beyond_cr) = (0, false);
        if length > self.limits.line as u64 {
            self.values.truncate(start + self.limits.line);
            let kept = self.values.split_off(start);
            self.complete_held();
            if let Some(joiner) = &mut self.joiner {
                joiner.reset();
            }
            self.bytes += came;
            self.long.push(LongLine { number: self.number, bytes: length, start: kept, bytes_max: self.limits.line });
            return;
        }
        self.values.truncate(start + kept - usize::from(has_cr));
        if self.joiner.is_some() {
            self.join(start, came);
        } else {
            self.bytes += came;
            if length > 0 {
                self.complete_at(self.values.len(), self.number);
            }
        }
    }

    /// A line has ended that stands from `start` to the end of `values`.
    fn join(&mut self, start: usize, came: u64) {
        let from = self.complete();
        let Some(joiner) = &mut self.joiner else { return };
        let (before, line) = self.values.split_at_checked(start).unwrap_or((&self.values, &[]));
        let text = self.held.and_then(|held| before.get(from..held.end));
        let (place, length) = (joiner.place(text, line), line.len());
        let (lines_max, bytes_max) = (joiner.lines_max, joiner.bytes_max);
        let joined = self.held.filter(|held| place.joins && held.lines + held.blanks < lines_max);
        match joined {
            // It is of the event if more of that comes.
            Some(held) if length == 0 => {
                self.held = Some(Held { blanks: held.blanks + 1, bytes: held.bytes + came, ..held });
            }
            None if length == 0 => {
                self.complete_held();
                self.bytes += came;
            }
            Some(held) if held.end - from + held.blanks + 1 + length <= bytes_max => {
                let ends = held.blanks + 1;
                self.values.splice(start..start, std::iter::repeat_n(b'\n', ends));
                let (end, lines, bytes) = (self.values.len(), held.lines + ends, held.bytes + came);
                self.held = Some(Held { end, lines, blanks: 0, bytes, ..held });
            }
            _ => {
                if let Some(held) = self.held.as_mut().filter(|_| place.joins) {
                    held.part = held.part.max(1);
                }
                self.complete_held();
                let part = if place.joins { self.part.saturating_add(1) } else { 0 };
                let (end, number) = (self.values.len(), self.number);
                self.held = Some(Held { end, lines: 1, blanks: 0, bytes: came, number, part });
            }
        }
        if place.ends {
            self.complete_held();
        }
    }

    /// What is held gets no more; says whether anything was held. The line that has not ended stands right behind it.
    fn complete_held(&mut self) -> bool {
        let Some(held) = self.held.take() else { return false };
        if held.part > 0 {
            self.parts.push((self.numbers.len(), held.part));
        }
        self.part = held.part.max(1);
        self.bytes += held.bytes;
        self.complete_at(held.end, held.number);
        true
    }

    fn complete_at(&mut self, end: usize, number: u64) {
        self.offsets.push(i32::try_from(end).unwrap_or(i32::MAX));
        self.numbers.push(number);
    }
}

impl Taken {
    /// In how many places events were cut into parts.
    pub fn cuts(&self) -> u64 {
        self.parts.iter().filter(|(_, part)| *part > 1).count() as u64
    }
}

impl LongLine {
    /// Why it is no event.
    pub fn reason(&self) -> String {
        format!(
            "line of {} bytes is longer than {} bytes (`line_bytes_max`); its start is kept",
            self.bytes, self.bytes_max
        )
    }
}

/// Lines that are too long, as dead letters and as bad lines.
pub(super) fn refuse(long: Vec<LongLine>, received: &Received) -> (Vec<DeadLetter>, Vec<BadLine>) {
    let bad =
        long.iter().take(BAD_LINES_MAX).map(|line| BadLine { line: line.number, reason: line.reason() }).collect();
    (long.into_iter().map(|line| received.dead(line.reason(), line.start)).collect(), bad)
}

/// Lines as events: `timestamp` is when they were received, `body` the line; where one was cut, `part` says which part it is.
pub fn decode(taken: Taken, received: &Received) -> Result<Decoded> {
    let rows = taken.body.len();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from_value(received.at, rows).with_timezone("UTC")),
        Arc::new(taken.body),
        Arc::new(StringArray::new_repeated(&*received.source, rows)),
    ];
    let mut fields = vec![field(TIMESTAMP, Type::Timestamp), field(BODY, Type::Binary), field(SOURCE, Type::Utf8)];
    if !taken.parts.is_empty() {
        let mut parts = vec![None; rows];
        for (row, part) in taken.parts {
            if let Some(cell) = parts.get_mut(row) {
                *cell = Some(i64::from(part));
            }
        }
        fields.push(field(PART, Type::Int64));
        columns.push(Arc::new(Int64Array::from(parts)));
    }
    let (dead, bad) = refuse(taken.long, received);
    Ok(Decoded { columns: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?, dead, bad })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[&[u8]], line: usize) -> (Vec<Vec<u8>>, Vec<u64>, u64, u64) {
        let mut lines = Lines::new(Limits { line, ..Limits::default() });
        for chunk in chunks {
            assert_eq!(lines.feed(chunk), chunk.len());
        }
        let partial = lines.partial();
        let taken = lines.take().unwrap();
        let body = taken.body.iter().map(|line| line.unwrap().to_vec()).collect();
        (body, taken.long.iter().map(|long| long.bytes).collect(), taken.bytes, partial)
    }

    #[allow(clippy::type_complexity, reason = "a table of cases")]
    #[test]
    fn lines_are_cut_as_written() {
        let rows: &[(&[u8], &[&[u8]], &[u64], u64, u64)] = &[
            (b"", &[], &[], 0, 0),
            (b"a\nb\n", &[b"a", b"b"], &[], 4, 0),
            (b"a\r\nb\r\n", &[b"a", b"b"], &[], 6, 0),
            (b"\n\r\n\n", &[], &[], 4, 0),
            (b"a\n\nb", &[b"a"], &[], 3, 1),
            (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", &[b"a", b"\xef\xbb\xbfb"], &[], 10, 0),
            (b"\xef\xbb\xbf\r\na\n", &[b"a"], &[], 7, 0),
            (b"\xef\xbb\xbf12345678\n", &[], &[11], 12, 0),
            (b"a\rb\n", &[b"a\rb"], &[], 4, 0),
            (b"\xff\xfe\n\0\n", &[b"\xff\xfe", b"\0"], &[], 5, 0),
            (b"12345678\n", &[b"12345678"], &[], 9, 0),
            (b"12345678\r\n", &[b"12345678"], &[], 10, 0),
            (b"123456789\nx\n", &[b"x"], &[9], 12, 0),
            (b"123456789\r\nx\n", &[b"x"], &[9], 13, 0),
            (b"1234567890123456789\r\nx\n", &[b"x"], &[19], 23, 0),
            (b"x\n1234567890", &[b"x"], &[], 2, 10),
        ];
        for (text, body, long, bytes, partial) in rows {
            let want = (body.iter().map(|b| b.to_vec()).collect::<Vec<_>>(), long.to_vec(), *bytes, *partial);
            assert_eq!(all(&[text], 8), want, "{text:?}");
            for cut in 0..text.len() {
                let (left, right) = text.split_at(cut);
                assert_eq!(all(&[left, right], 8), want, "{text:?} cut at {cut}");
            }
            let single: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(all(&single, 8), want, "{text:?} byte by byte");
        }
    }

    #[test]
    fn a_hundred_megabytes_without_an_end_are_one_dead_letter() {
        let mut lines = Lines::new(Limits { line: 1 << 20, ..Limits::default() });
        lines.feed(b"before\n");
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            assert_eq!(lines.feed(&chunk), chunk.len());
            assert!(lines.values.capacity() < 4 << 20);
        }
        assert_eq!(lines.feed(b"\nafter\n"), 1, "a batch that covers so much is full");
        let taken = lines.take().unwrap();
        assert_eq!(lines.feed(b"after\n"), 6);
        assert_eq!(lines.take().unwrap().numbers, [3]);
        assert_eq!(taken.body.iter().flatten().collect::<Vec<_>>(), [b"before"]);
        let received = Received { source: "s".into(), at: 7 };
        let decoded = decode(taken, &received).unwrap();
        assert_eq!(decoded.dead.len(), 1);
        assert_eq!(decoded.dead[0].raw.len(), 1 << 20);
        assert!(decoded.dead[0].reason.starts_with("line of 104857600 bytes is longer than 1048576 bytes"));
        assert_eq!(decoded.bad[0].line, 2);
    }

    #[test]
    fn a_full_batch_stops_reading() {
        let mut lines = Lines::new(Limits { rows: 2, bytes: 100, line: 100, long: 8 });
        assert_eq!(lines.feed(b"a\nb\nc\n"), 4);
        assert_eq!(lines.feed(b"c\n"), 0);
        assert_eq!(lines.take().unwrap().body.len(), 2);
        assert_eq!(lines.feed(b"c\nd"), 3);
        assert_eq!(lines.partial(), 1);
        lines.end_partial();
        let taken = lines.take().unwrap();
        assert_eq!((taken.body.value(1), taken.bytes), (b"d".as_slice(), 3));
        assert_eq!(taken.numbers, [3, 4]);
    }
}
