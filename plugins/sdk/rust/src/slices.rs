//! text that is cut out of an input column: only where it stands goes out, the host cuts
//!
//! ```text
//! body     127.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a%20b HTTP/1.1" …
//! client   └───────┘ 0, 9                                  └────┘ path 49, 6
//! ```
//!
//! What stands elsewhere in memory (an escape resolved, a number written out) goes along as it is.

use crate::batch::{Batch, BytesColumn};
use crate::builders::{Build, Texts, Validity};
use crate::wire;

/// A column of text, most of it cut out of one input column. What is not UTF-8 becomes U+FFFD.
#[derive(Clone, Debug)]
pub struct Slices<'a> {
    of: &'a str,
    source: &'a [u8],
    spans: Vec<u32>,
    extra: Vec<u8>,
    validity: Validity,
}

impl<'a> Slices<'a> {
    /// Room for so many rows cut out of this column.
    pub fn with_rows(rows: usize, of: &BytesColumn<'a>) -> Slices<'a> {
        let source = of.plain().map_or(&[][..], |(_, data)| data);
        Slices {
            of: of.name(),
            source,
            spans: Vec::with_capacity(2 * rows),
            extra: Vec::new(),
            validity: Validity::default(),
        }
    }

    /// The next row's value: a slice of the column, or anything else.
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        let start = (value.as_ptr() as usize).wrapping_sub(self.source.as_ptr() as usize);
        let is_inside = start <= self.source.len() && value.len() <= self.source.len() - start;
        let start = if is_inside { start } else { self.keep(value) };
        self.spans.extend_from_slice(&[start as u32, value.len() as u32]);
        self.validity.push_valid();
    }

    /// The next row has none.
    #[inline(always)]
    pub fn push_null(&mut self) {
        self.validity.push_null(self.rows());
        self.spans.extend_from_slice(&[0, 0]);
    }

    /// The next row's value, if it has one.
    #[inline]
    pub fn push_option(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.push(value),
            None => self.push_null(),
        }
    }

    #[cold]
    fn keep(&mut self, value: &[u8]) -> usize {
        let start = self.source.len() + self.extra.len();
        self.extra.extend_from_slice(value);
        start
    }
}

impl Build for Slices<'_> {
    fn rows(&self) -> usize {
        self.spans.len() / 2
    }

    fn build(self) -> (wire::Values, Option<Vec<u8>>) {
        let slices = wire::Slices { of: self.of.to_owned(), spans: self.spans, extra: self.extra };
        (wire::Values::SlicedUtf8(slices), self.validity.into_bytes())
    }
}

/// Cuts a column out of its input as the host does, for native callers; other columns stay as they are.
pub fn cut_out(column: wire::Column, input: &Batch) -> Result<wire::Column, String> {
    let wire::Values::SlicedUtf8(slices) = &column.values else { return Ok(column) };
    let source = input.bytes(&slices.of)?;
    let source = source.plain().map_or(&[][..], |(_, data)| data);
    let mut texts = Texts::with_rows(slices.spans.len() / 2, source.len());
    for span in slices.spans.chunks_exact(2) {
        let (start, length) = (span[0] as usize, span[1] as usize);
        let value = match start.checked_sub(source.len()) {
            None => source.get(start..start + length),
            Some(start) => slices.extra.get(start..start + length),
        };
        texts.push(value.ok_or_else(|| format!("column `{}` is cut out from beyond `{}`", column.name, slices.of))?);
    }
    Ok(wire::Column { values: texts.build().0, ..column })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_goes_as_a_position_and_the_rest_as_it_is() {
        let mut body = Texts::default();
        body.push("one two");
        body.push("three");
        let (values, validity) = body.build();
        let input = Batch::new(2, vec![wire::Column { name: "body".into(), values, validity }]);
        let bodies = input.bytes("body").unwrap();
        let mut cut = Slices::with_rows(5, &bodies);
        cut.push(&bodies.get(0).unwrap()[4..]);
        cut.push(b"elsewhere");
        cut.push_null();
        cut.push(bodies.get(1).unwrap());
        cut.push(b"");
        let (values, validity) = cut.build();
        let wire::Values::SlicedUtf8(slices) = &values else { unreachable!() };
        assert_eq!(slices.spans[..6], [4, 3, 12, 9, 0, 0]);
        assert_eq!(slices.extra, b"elsewhere");
        let column = cut_out(wire::Column { name: "cut".into(), values, validity }, &input).unwrap();
        let output = Batch::new(5, vec![column]);
        let texts: Vec<_> = output.text("cut").unwrap().iter().collect();
        let shown: Vec<_> = texts.iter().map(|text| text.as_deref()).collect();
        assert_eq!(shown, [Some("two"), Some("elsewhere"), None, Some("three"), Some("")]);
    }

    #[test]
    fn a_span_from_beyond_the_end_is_refused() {
        let slices = wire::Slices { of: "body".into(), spans: vec![0, 1], extra: vec![] };
        let column = wire::Column { name: "x".into(), values: wire::Values::SlicedUtf8(slices), validity: None };
        assert!(cut_out(column, &Batch::new(1, vec![])).unwrap_err().contains("beyond `body`"));
    }
}
