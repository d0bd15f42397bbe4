//! one line taken apart into fields
//!
//! ```text
//! no quote in the line ─► cut at the delimiters, nothing is copied
//! a quote              ─► csv-core, into a buffer of its own
//! ```

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use memchr::{memchr, memchr_iter};

/// Takes lines apart, one after the other; keeps where the last one's fields are.
pub struct Record {
    delimiter: u8,
    quote: Option<u8>,
    reader: Reader,
    /// Fields with quotes resolved, where the line has some.
    buffer: Vec<u8>,
    is_buffered: bool,
    /// Where each field ends; it starts behind the one before, and in a line behind the delimiter.
    ends: Vec<usize>,
    fields: usize,
    columns: usize,
    /// Which fields become columns.
    wanted: Vec<usize>,
}

impl Record {
    /// `quote` is `None` where quotes mean nothing.
    pub fn new(delimiter: u8, quote: Option<u8>) -> Record {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(delimiter).quote(quote.unwrap_or(b'"')).quoting(quote.is_some());
        Record {
            delimiter,
            quote,
            reader: builder.build(),
            buffer: Vec::new(),
            is_buffered: false,
            ends: Vec::new(),
            fields: 0,
            columns: 0,
            wanted: Vec::new(),
        }
    }

    /// How many columns there are, and which of them have a name.
    pub fn wanted(&mut self, columns: usize, wanted: Vec<usize>) {
        self.columns = columns;
        self.wanted = wanted;
    }

    /// How many fields the line has.
    pub fn split(&mut self, line: &[u8]) -> Result<usize, String> {
        self.is_buffered = self.quote.is_some_and(|quote| memchr(quote, line).is_some());
        if self.is_buffered {
            return self.split_quoted(line);
        }
        self.ends.clear();
        self.ends.extend(memchr_iter(self.delimiter, line));
        self.ends.push(line.len());
        self.fields = self.ends.len();
        Ok(self.fields)
    }

    fn split_quoted(&mut self, line: &[u8]) -> Result<usize, String> {
        self.reader.reset();
        self.buffer.resize(self.buffer.len().max(line.len() + 1), 0);
        let fields_max = memchr_iter(self.delimiter, line).count() + 2;
        self.ends.resize(self.ends.len().max(fields_max), 0);
        let (result, read, written, fields) = self.reader.read_record(line, &mut self.buffer, &mut self.ends);
        let is_closed = matches!(result, ReadRecordResult::InputEmpty) && !self.is_inside_quotes(line);
        if !is_closed {
            return Err(match result {
                ReadRecordResult::Record => format!("byte {}: the record ends before the line does", read + 1),
                _ => "a quote is not closed; a record has to stand in one line".to_owned(),
            });
        }
        // Nothing more comes: the last field ends here.
        let (result, _, _, last) = self.reader.read_record(&[], &mut self.buffer[written..], &mut self.ends[fields..]);
        match result {
            ReadRecordResult::Record => {
                self.fields = fields + last;
                Ok(self.fields)
            }
            _ => Err("it is not a record".to_owned()),
        }
    }

    /// Whether the line's last field has no closing quote: a quote opens a field only at its start, and two are one inside.
    fn is_inside_quotes(&self, line: &[u8]) -> bool {
        let Some(quote) = self.quote else { return false };
        let mut rest = line;
        loop {
            rest = match rest.strip_prefix(&[quote]) {
                Some(inside) => match end_of_quoted(inside, quote) {
                    Some(after) => after,
                    None => return true,
                },
                None => rest,
            };
            match memchr(self.delimiter, rest) {
                Some(at) => rest = &rest[at + 1..],
                None => return false,
            }
        }
    }

    /// A field of the line that was split last.
    pub fn field<'a>(&'a self, line: &'a [u8], index: usize) -> &'a [u8] {
        let gap = usize::from(!self.is_buffered);
        let source = if self.is_buffered { &self.buffer } else { line };
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| end + gap);
        self.ends.get(index).and_then(|end| source.get(start..*end)).unwrap_or_default()
    }

    /// The field of a column, if the line has it.
    pub fn wanted_field<'a>(&'a self, line: &'a [u8], column: usize) -> Option<&'a [u8]> {
        let index = *self.wanted.get(column)?;
        (index < self.fields).then(|| self.field(line, index))
    }

    /// Whether the line has as many fields as there are columns.
    pub fn check_count(&self, fields: usize, is_flexible: bool) -> Result<(), String> {
        if fields == self.columns || is_flexible {
            return Ok(());
        }
        Err(format!("the line has {fields} fields, and {} columns are named; is the delimiter another?", self.columns))
    }
}

/// What follows the closing quote.
fn end_of_quoted(mut inside: &[u8], quote: u8) -> Option<&[u8]> {
    loop {
        let at = memchr(quote, inside)?;
        match inside.get(at + 1) {
            Some(next) if *next == quote => inside = &inside[at + 2..],
            _ => return Some(&inside[at + 1..]),
        }
    }
}
