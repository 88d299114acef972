//! Chance: one stream of numbers for each question that is asked, all from one seed.

use crate::units::Share;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::time::Duration;

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

    /// A time of the exponential distribution with this mean: from one arrival of a Poisson process to the next. By
    /// comparisons alone (von Neumann's method), since no logarithm is the same on every machine.
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        for whole in 0_u32.. {
            let first = self.word();
            let (mut last, mut descents) = (first, 1);
            loop {
                let next = self.word();
                if next >= last {
                    break;
                }
                (last, descents) = (next, descents + 1);
            }
            if descents % 2 == 1 {
                let part = (u128::from(first) * mean.as_nanos()) >> 64;
                return mean * whole + Duration::from_nanos(part as u64);
            }
        }
        mean
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_times_have_their_mean_and_no_memory() {
        let mut dice = Dice::new(1, Purpose::Start, 0);
        let mean = Duration::from_millis(100);
        let times: Vec<_> = (0..20_000).map(|_| dice.exponential(mean)).collect();
        let average = times.iter().sum::<Duration>() / 20_000;
        assert!((98..102).contains(&average.as_millis()), "{average:?}");
        // e^-1 = 0.368 of all wait for longer than the mean, and the same share of those for longer than twice the mean.
        let longer = |n: u32| times.iter().filter(|time| **time > mean * n).count();
        assert!((7150..7570).contains(&longer(1)), "{}", longer(1));
        assert!((2560..2850).contains(&longer(2)), "{}", longer(2));
    }
}
