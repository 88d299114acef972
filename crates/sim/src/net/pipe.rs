//! One direction of a link, and what goes wrong on it.

use super::dice::{Dice, Purpose};
use super::edit;
use super::queue::Queue;
use crate::scenario::{Bursts, Direction, Reorder};
use crate::units::{Rate, Share, Time};
use lastack_core::Instant;
use std::time::Duration;

/// Largest packet where a scenario does not say.
const MTU: u16 = 1500;

/// Why a packet was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// By chance, by itself.
    Random,
    /// In a burst.
    Burst,
    /// The link was down.
    Down,
    /// The queue was full.
    QueueFull,
    /// CoDel dropped it.
    CoDel,
    /// It was larger than the link's MTU.
    TooBig,
    /// There was no way to where it wanted to go, or it went round in circles.
    NoRoute,
    /// The host was off.
    HostOff,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Random,
        Self::Burst,
        Self::Down,
        Self::QueueFull,
        Self::CoDel,
        Self::TooBig,
        Self::NoRoute,
        Self::HostOff,
    ];

    /// In a word or two.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Burst => "burst",
            Self::Down => "link down",
            Self::QueueFull => "queue full",
            Self::CoDel => "CoDel",
            Self::TooBig => "too big",
            Self::NoRoute => "no route",
            Self::HostOff => "host off",
        }
    }
}

/// What one direction of a link did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Packets that came to the link, and their bytes.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Packets that came out at its end, and their bytes.
    pub(crate) delivered: u64,
    pub(crate) delivered_bytes: u64,
    /// Packets lost, by [`Loss`].
    pub(crate) lost: [u64; Loss::ALL.len()],
    pub(crate) delayed: u64,
    pub(crate) reordered: u64,
    pub(crate) duplicated: u64,
    pub(crate) corrupted: u64,
    pub(crate) marked: u64,
}

#[derive(Clone, Copy, Debug)]
struct SizeChange {
    at: Instant,
    mtu: u16,
    before: u16,
    fired: u64,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    from: Instant,
    to: Instant,
    fired: u64,
}

/// One direction of a link.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// Number of the node at its start, and at its end.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Number of its link; 0 forward, 1 backward.
    pub(crate) link: usize,
    pub(crate) way: usize,
    pub(crate) queue: Queue,
    /// A packet is being sent.
    pub(crate) busy: bool,
    pub(crate) tally: Tally,
    pub(crate) black_hole: bool,
    rate: Option<u64>,
    delay: Duration,
    jitter: (Duration, Dice),
    mtu: u16,
    sizes: Vec<SizeChange>,
    loss: (Share, Dice),
    bursts: Option<(Bursts, Dice)>,
    in_burst: bool,
    reorder: Option<(Reorder, Dice)>,
    duplicate: (Share, Dice),
    corrupt: (Share, Dice),
    mark: (Share, Dice),
    down: Vec<Outage>,
    /// Arrival of the last packet that was not held back.
    last: Instant,
}

impl Pipe {
    pub(crate) fn new(spec: &Direction, seed: u64, (link, way): (usize, usize), ends: [usize; 2]) -> Self {
        let number = (link * 2 + way) as u64;
        let dice = |purpose| Dice::new(seed, purpose, number);
        let at = |Time(at): Time| Instant::ZERO + at;
        let mtu = spec.mtu.unwrap_or(MTU);
        let mut before = mtu;
        let mut sizes = Vec::new();
        for change in &spec.mtu_changes {
            sizes.push(SizeChange { at: at(change.at), mtu: change.mtu, before, fired: 0 });
            before = change.mtu;
        }
        Self {
            from: ends[way],
            to: ends[1 - way],
            link,
            way,
            queue: Queue::new(spec.queue),
            busy: false,
            tally: Tally::default(),
            black_hole: spec.black_hole.unwrap_or(false),
            rate: spec.rate.map(|Rate(rate)| rate),
            delay: spec.delay.unwrap_or_default().0,
            jitter: (spec.jitter.unwrap_or_default().0, dice(Purpose::Jitter)),
            mtu,
            sizes,
            loss: (spec.loss.unwrap_or_default(), dice(Purpose::Loss)),
            bursts: spec.bursts.map(|bursts| (bursts, dice(Purpose::Burst))),
            in_burst: false,
            reorder: spec.reorder.map(|reorder| (reorder, dice(Purpose::Reorder))),
            duplicate: (spec.duplicate.unwrap_or_default(), dice(Purpose::Duplicate)),
            corrupt: (spec.corrupt.unwrap_or_default(), dice(Purpose::Corrupt)),
            mark: (spec.mark.unwrap_or_default(), dice(Purpose::Mark)),
            down: spec.down.iter().map(|w| Outage { from: at(w.from), to: at(w.to), fired: 0 }).collect(),
            last: Instant::ZERO,
        }
    }

    /// The link is down. Counts the packet that meets it.
    pub(crate) fn is_down(&mut self, now: Instant) -> bool {
        let mut outages = self.down.iter_mut();
        let outage = outages.find(|outage| outage.from <= now && now < outage.to);
        outage.map(|outage| outage.fired += 1).is_some()
    }

    /// Largest packet now.
    pub(crate) fn mtu(&self, now: Instant) -> u16 {
        self.sizes.iter().rev().find(|change| change.at <= now).map_or(self.mtu, |change| change.mtu)
    }

    /// Whether a packet of so many bytes fits.
    pub(crate) fn fits(&mut self, now: Instant, len: usize) -> bool {
        let fits = len <= usize::from(self.mtu(now));
        if let Some(change) = self.sizes.iter_mut().rev().find(|change| change.at <= now) {
            // It made a difference to this packet.
            change.fired += u64::from(fits != (len <= usize::from(change.before)));
        }
        fits
    }

    /// Whether chance takes the packet.
    pub(crate) fn loses(&mut self) -> Option<Loss> {
        let (share, dice) = &mut self.loss;
        let random = *share > Share::default() && dice.hit(*share);
        let mut burst = false;
        if let Some((bursts, dice)) = &mut self.bursts {
            let turn = if self.in_burst { bursts.end } else { bursts.begin };
            self.in_burst ^= dice.hit(turn);
            // Always two throws, so that a burst does not shift what comes after it.
            burst = dice.hit(bursts.loss) && self.in_burst;
        }
        match (random, burst) {
            (true, _) => Some(Loss::Random),
            (_, true) => Some(Loss::Burst),
            _ => None,
        }
    }

    /// Changes the packet by chance; true: it is to be sent twice.
    pub(crate) fn disturb(&mut self, packet: &mut [u8]) -> bool {
        let (share, dice) = &mut self.corrupt;
        if *share > Share::default() && dice.hit(*share) {
            let bit = dice.below(packet.len() as u64 * 8) as usize;
            packet[bit / 8] ^= 1 << (bit % 8);
            self.tally.corrupted += 1;
        }
        let (share, dice) = &mut self.mark;
        if *share > Share::default() && dice.hit(*share) && edit::mark_congestion(packet) {
            self.tally.marked += 1;
        }
        let (share, dice) = &mut self.duplicate;
        let twice = *share > Share::default() && dice.hit(*share);
        self.tally.duplicated += u64::from(twice);
        twice
    }

    /// How long it takes to send so many bytes; `None` without a rate.
    pub(crate) fn sending(&self, len: usize) -> Option<Duration> {
        // At most 65,535 bytes: no overflow.
        self.rate.map(|rate| Duration::from_nanos((len as u64 * 8_000_000_000).div_ceil(rate)))
    }

    /// When a packet arrives of which the last bit was sent at `sent`.
    pub(crate) fn arrival(&mut self, sent: Instant) -> Instant {
        let mut at = sent + self.delay;
        let (jitter, dice) = &mut self.jitter;
        if *jitter > Duration::ZERO {
            let more = dice.below(jitter.as_nanos() as u64 + 1);
            self.tally.delayed += u64::from(more > 0);
            at += Duration::from_nanos(more);
        }
        if let Some((reorder, dice)) = &mut self.reorder
            && dice.hit(reorder.share)
        {
            self.tally.reordered += 1;
            return at + reorder.by.0;
        }
        self.last = self.last.max(at);
        self.last
    }

    /// Marks of both kinds: by chance and by the queue.
    pub(crate) fn marked(&self) -> u64 {
        self.tally.marked + self.queue.tally.marked
    }

    /// What was asked for, in words, and how often it happened.
    pub(crate) fn faults(&self) -> Vec<(String, u64)> {
        let mut faults = Vec::new();
        let lost = |cause: Loss| self.tally.lost[cause as usize];
        let mut ask = |share: Share, name: &str, fired: u64| {
            if share > Share::default() {
                faults.push((format!("{name} {}", percent(share)), fired));
            }
        };
        ask(self.loss.0, "loss", lost(Loss::Random));
        ask(self.duplicate.0, "duplicate", self.tally.duplicated);
        ask(self.corrupt.0, "corrupt", self.tally.corrupted);
        ask(self.mark.0, "mark", self.tally.marked);
        if let Some((bursts, _)) = &self.bursts {
            faults.push((format!("bursts {}", percent(bursts.begin)), lost(Loss::Burst)));
        }
        if let Some((reorder, _)) = &self.reorder {
            faults.push((format!("reorder {}", percent(reorder.share)), self.tally.reordered));
        }
        if self.queue.marks() {
            faults.push(("marks of the queue".to_owned(), self.queue.tally.marked));
        }
        if self.black_hole {
            faults.push(("black hole".to_owned(), lost(Loss::TooBig)));
        }
        if self.jitter.0 > Duration::ZERO {
            faults.push((format!("jitter {}", Time(self.jitter.0)), self.tally.delayed));
        }
        for outage in &self.down {
            faults.push((format!("down from {} s to {} s", outage.from, outage.to), outage.fired));
        }
        for change in &self.sizes {
            faults.push((format!("MTU {} from {} s on", change.mtu, change.at), change.fired));
        }
        faults
    }
}

fn percent(share: Share) -> String {
    // Rounded to what a person wrote.
    format!("{}%", (share.as_f64() * 1e6).round() / 1e4)
}
