//! the replicas when every signal was last fresh: what a stale level is measured against
//!
//!     state = … the window's entries, replicas u32, little-endian
//!
//! A level that stands still (a latency, a share) would ask for more at each tick, because each time there are more replicas to
//! multiply it by. So it is multiplied by the replicas there were when it was known.

use crate::window::ENTRY_BYTES;

#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub replicas: u32,
}

impl Known {
    /// What the state remembers; the replicas of now where it remembers nothing, or where there are fewer by now.
    pub fn read(state: &[u8], replicas: u32) -> Known {
        let (_, rest) = state.as_chunks::<ENTRY_BYTES>();
        let known = <[u8; 4]>::try_from(rest).map_or(replicas, u32::from_le_bytes);
        Known { replicas: known.min(replicas) }
    }

    /// The same, for the next tick.
    pub fn write(self) -> [u8; 4] {
        self.replicas.to_le_bytes()
    }
}
