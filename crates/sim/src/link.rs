//! The link: how long a packet takes, and what happens to it.

use crate::log::Side;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::time::Duration;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives after the link's delay.
    Deliver,
    /// It is lost.
    Lose,
    /// It arrives later by this much, so that others may overtake it.
    Delay(Duration),
    /// It arrives, and a second time later by this much.
    Duplicate(Duration),
}

/// Decides about each packet that a stack sends, at the moment of sending.
pub type Rule = Box<dyn FnMut(Side, &[u8]) -> Fate>;

/// The link between the two stacks.
pub struct Link {
    /// Largest packet in bytes.
    pub mtu: u16,
    /// Time from one end to the other.
    pub delay: Duration,
    /// What becomes of each packet.
    pub rule: Rule,
}

impl Link {
    /// A link that loses nothing.
    #[must_use]
    pub fn perfect(mtu: u16, delay: Duration) -> Self {
        Self { mtu, delay, rule: Box::new(|_, _| Fate::Deliver) }
    }
}

/// Faults by chance: the same seed gives the same faults for the same packets. Of each packet, in this order, is asked
/// whether it is lost, held back, or doubled.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Where chance begins.
    pub seed: u64,
    /// Packets lost, of a thousand.
    pub lose: u32,
    /// Packets held back, of a thousand.
    pub delay: u32,
    /// Packets that arrive twice, of a thousand.
    pub duplicate: u32,
    /// How long a packet is held back, and how much later its double comes.
    pub by: Duration,
}

impl Faults {
    /// The rule that makes these faults.
    #[must_use]
    pub fn rule(self) -> Rule {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut happens = move |of_thousand: u32| rng.next_u32() % 1000 < of_thousand;
        Box::new(move |_, _| {
            // Always three throws, so that one probability does not shift the luck of the others.
            let [lose, delay, duplicate] = [self.lose, self.delay, self.duplicate].map(&mut happens);
            match (lose, delay, duplicate) {
                (true, ..) => Fate::Lose,
                (_, true, _) => Fate::Delay(self.by),
                (.., true) => Fate::Duplicate(self.by),
                _ => Fate::Deliver,
            }
        })
    }
}
