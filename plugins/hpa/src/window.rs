//! the proposals of the last while: fewer replicas only when none of them asked for more
//!
//!     state = (time i64, replicas u32) × n, little-endian, oldest first, replicas strictly falling; then what `known` keeps
//!
//! A proposal that a later one matches or exceeds can never be the highest again, so it is forgotten: the state
//! holds at most one entry for each number of replicas.

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposed {
    pub at: i64,
    pub replicas: u32,
}

#[derive(Debug)]
pub struct Window {
    length: i64,
    now: i64,
    proposed: Vec<Proposed>,
}

pub const ENTRY_BYTES: usize = 12;

impl Window {
    /// What the state remembers within the window. At the very first tick the replicas of now count as proposed, so
    /// that a new scaler does not begin by taking away.
    pub fn read(state: &[u8], length: i64, now: i64, replicas: u32) -> Window {
        let mut window = Window { length, now, proposed: Vec::new() };
        let (entries, _) = state.as_chunks::<ENTRY_BYTES>();
        if length > 0 && entries.is_empty() {
            window.remember(Proposed { at: now, replicas });
        }
        for [a, b, c, d, e, f, g, h, i, j, k, l] in entries {
            let entry = Proposed {
                at: i64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
                replicas: u32::from_le_bytes([*i, *j, *k, *l]),
            };
            if now.saturating_sub(entry.at) < length {
                window.remember(entry);
            }
        }
        window
    }

    /// How many replicas it comes to, and the older proposal that made it more than asked.
    pub fn stabilise(&mut self, asked: u32, replicas: u32) -> (u32, Option<Proposed>) {
        if self.length == 0 {
            return (asked, None);
        }
        self.remember(Proposed { at: self.now, replicas: asked });
        let highest = self.proposed[0];
        let stable = highest.replicas.min(replicas);
        if asked >= replicas || stable <= asked { (asked, None) } else { (stable, Some(highest)) }
    }

    pub fn write(&self) -> Vec<u8> {
        let entry = |entry: &Proposed| [entry.at.to_le_bytes().as_slice(), &entry.replicas.to_le_bytes()].concat();
        self.proposed.iter().flat_map(entry).collect()
    }

    fn remember(&mut self, latest: Proposed) {
        while self.proposed.last().is_some_and(|earlier| earlier.replicas <= latest.replicas) {
            self.proposed.pop();
        }
        self.proposed.push(latest);
    }
}
