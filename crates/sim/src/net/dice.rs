//! Chance: one stream of numbers for each question that is asked, all from one seed.

use crate::units::Share;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of numbers is for. Each has its own, so that one probability does not shift the luck of the others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The secrets of a host's stack in one of its lives.
    Stack = 0,
    /// When the connections of a flow begin.
    Start = 1,
    /// What connections send.
    Content = 2,
    /// The random offsets of a middlebox.
    Middlebox = 3,
    Loss = 4,
    Burst = 5,
    Jitter = 6,
    Reorder = 7,
    Duplicate = 8,
    Corrupt = 9,
    Mark = 10,
    /// What a scenario by chance is made of.
    Scenario = 11,
}

/// Dice.
#[derive(Clone, Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of one purpose of the thing with this number.
    pub(crate) fn new(seed: u64, purpose: Purpose, number: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream((number << 8) | purpose as u64);
        Self(rng)
    }

    /// Whether it happens to this packet.
    pub(crate) fn hit(&mut self, share: Share) -> bool {
        u64::from(self.0.next_u32()) < share.parts()
    }

    /// A number below `end`; 0 if that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// Any number.
    pub(crate) fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 32 bytes.
    pub(crate) fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        seed
    }
}
