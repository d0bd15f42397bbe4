//! the first place of a byte that is probably near
//!
//! Fields of a line are short: most ends are within sixteen bytes, and two words show them without a call and without a loop. In
//! WebAssembly each time round a loop costs a look at the deadline.

use memchr::memchr;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// As `memchr`.
#[inline(always)]
pub fn near(byte: u8, hay: &[u8]) -> Option<usize> {
    if let Some((first, rest)) = hay.split_first_chunk() {
        if let Some(at) = within(byte, first) {
            return Some(at);
        }
        if let Some(at) = rest.first_chunk().and_then(|second| within(byte, second)) {
            return Some(8 + at);
        }
    }
    memchr(byte, hay)
}

/// The first place of a byte in a word: where the byte is, the difference is zero, and only a zero borrows from its own highest bit.
/// Borrows go upwards, so that the lowest one found is true.
#[inline]
fn within(byte: u8, word: &[u8; 8]) -> Option<usize> {
    let difference = u64::from_le_bytes(*word) ^ (ONES * u64::from(byte));
    let zeros = difference.wrapping_sub(ONES) & !difference & HIGHS;
    (zeros != 0).then(|| zeros.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_where_memchr_finds_it() {
        // 0x20 ^ 0x21 is 1, from which a wrong borrow would be taken.
        for length in 0..40 {
            for place in 0..=length {
                let mut hay = vec![b'!'; length];
                hay.extend([b' ', b'!', b' ']);
                hay.swap(place, length);
                assert_eq!(near(b' ', &hay), memchr(b' ', &hay), "{length} {place}");
                assert_eq!(near(b'x', &hay), None);
            }
        }
    }
}
