//! the first place of a byte that is probably near
//!
//! Fields of a line are short: most ends are within sixteen bytes, and two words show them without a call and without a loop. In
//! WebAssembly each time round a loop costs a look at the deadline, and vectors have sixteen bytes, half of what `memchr` has natively:
//! there a block of two vectors is looked at each time round.

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

/// As `memchr2`.
#[cfg(not(target_arch = "wasm32"))]
#[inline(always)]
pub fn either(bytes: [u8; 2], hay: &[u8]) -> Option<usize> {
    memchr::memchr2(bytes[0], bytes[1], hay)
}

/// As `memchr2`.
#[cfg(target_arch = "wasm32")]
#[inline(always)]
pub fn either(bytes: [u8; 2], hay: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Three blocks each time round: most fields end within one round.
    while let Some(rest) = hay.get(at..).and_then(|rest| rest.first_chunk::<{ 3 * BLOCK }>()) {
        for block in 0..3 {
            let start = block * BLOCK;
            if let Some(found) = rest[start..].first_chunk().and_then(|block| in_block(bytes, block)) {
                return Some(at + start + found);
            }
        }
        at += 3 * BLOCK;
    }
    for _ in 0..2 {
        let Some(block) = hay.get(at..).and_then(|rest| rest.first_chunk()) else { break };
        if let Some(found) = in_block(bytes, block) {
            return Some(at + found);
        }
        at += BLOCK;
    }
    match hay.last_chunk() {
        // What of it was looked at already has neither.
        Some(last) => in_block(bytes, last).map(|found| hay.len() - BLOCK + found),
        None => memchr::memchr2(bytes[0], bytes[1], hay),
    }
}

/// Bytes looked at each time round.
#[cfg(target_arch = "wasm32")]
const BLOCK: usize = 32;

#[cfg(target_arch = "wasm32")]
#[inline(always)]
fn in_block(bytes: [u8; 2], block: &[u8; BLOCK]) -> Option<usize> {
    use core::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_splat, u64x2, v128_or};
    let word = |at: usize| block[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    let half = |at: usize| {
        let half = u64x2(word(at), word(at + 8));
        let found = v128_or(u8x16_eq(half, u8x16_splat(bytes[0])), u8x16_eq(half, u8x16_splat(bytes[1])));
        u32::from(u8x16_bitmask(found))
    };
    let found = half(0) | half(16) << 16;
    (found != 0).then(|| found.trailing_zeros() as usize)
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
