//! a plugin's memory as bytes: small, and read with care
//!
//! ```text
//! Writer: number, signed, bytes … ─► finish ─► state ─► Reader: the same in the same order
//! ```
//!
//! A state begins with a tag, such as a hash of the settings that it was made under: under other settings it is not
//! read, and the plugin starts afresh. So does a plugin whose state was cut or is another version's.

/// Collects values into the bytes of a state.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty state under a tag.
    pub fn new(tag: u64) -> Writer {
        Writer { bytes: tag.to_le_bytes().to_vec() }
    }

    /// A number: one byte for each seven bits of it.
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// A number with a sign; small ones on either side of zero are short.
    pub fn signed(&mut self, value: i64) {
        self.number((value << 1 ^ value >> 63) as u64);
    }

    /// Eight bytes, for hashes.
    pub fn fixed(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A float, exactly.
    pub fn float(&mut self, value: f64) {
        self.fixed(value.to_bits());
    }

    /// Bytes of any length.
    pub fn bytes(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// The state.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads what a [`Writer`] wrote. Every method is `None` where the bytes end too early.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A state that was written under this tag; `None` for any other, and for none at all.
    pub fn new(state: Option<&'a [u8]>, tag: u64) -> Option<Reader<'a>> {
        let mut reader = Reader { rest: state? };
        (reader.fixed()? == tag).then_some(reader)
    }

    /// A number.
    pub fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A number with a sign.
    pub fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Eight bytes.
    pub fn fixed(&mut self) -> Option<u64> {
        let (bytes, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    /// A float.
    pub fn float(&mut self) -> Option<f64> {
        self.fixed().map(f64::from_bits)
    }

    /// Bytes of any length.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Whether everything was read.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let numbers = [0, 1, 127, 128, 300, u64::MAX];
        let signed = [0, -1, 1, i64::MIN, i64::MAX];
        let mut writer = Writer::new(7);
        numbers.iter().for_each(|number| writer.number(*number));
        signed.iter().for_each(|number| writer.signed(*number));
        writer.float(-0.5);
        writer.bytes(b"abc");
        let state = writer.finish();
        let mut reader = Reader::new(Some(&state), 7).unwrap();
        assert_eq!(numbers.map(|_| reader.number().unwrap()), numbers);
        assert_eq!(signed.map(|_| reader.signed().unwrap()), signed);
        assert_eq!(reader.float(), Some(-0.5));
        assert_eq!(reader.bytes(), Some(&b"abc"[..]));
        assert!(reader.is_at_end());
    }

    #[test]
    fn what_is_cut_or_another_ones_is_not_read() {
        let mut writer = Writer::new(7);
        writer.number(300);
        writer.bytes(b"abc");
        let state = writer.finish();
        assert!(Reader::new(Some(&state), 8).is_none());
        assert!(Reader::new(None, 7).is_none());
        for length in 0..state.len() {
            let mut reader = Reader::new(Some(&state[..length]), 7);
            let read = reader.as_mut().and_then(|reader| Some((reader.number()?, reader.bytes()?)));
            assert!(read.is_none(), "{length} bytes");
        }
        assert!(Reader::new(Some(&[vec![0; 8], vec![0xff; 20]].concat()), 0).unwrap().number().is_none());
    }
}
