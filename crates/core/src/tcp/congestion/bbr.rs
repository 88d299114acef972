//! BBR, version 1: the window and the pacing rate follow a model of the path, the rate at which it delivers and its
//! smallest round trip (Cardwell and others, ACM Queue 14:5; Linux 6.18 `tcp_bbr.c`).
//!
//! Units as in Linux: a rate is segments per microsecond, times 2^24; a gain is times 256. What Linux counts in ticks of its
//! clock is exact here.

use super::minmax::RunningMax;
use super::model::{
    Aggregation, BW_UNIT, MARGIN_PERCENT, UNIT, bdp, bytes_per_second, draw, least_packet, micros,
    pacing_rate, packet_segments, segments_in,
};
use super::{
    AckSample, CaState, CongestionControl, CwndEvent, Flow, INITIAL_SEGMENTS, Needs, Origin, RateSample,
    Report, Start, Window,
};
use crate::time::Instant;
use alloc::boxed::Box;
use core::hash::{Hash, Hasher};
use core::time::Duration;

/// 2 / ln 2: the smallest gain that lets the rate double each round trip.
const HIGH_GAIN: u32 = UNIT * 2885 / 1000 + 1;
/// Empties in one round trip the queue that the start-up made.
const DRAIN_GAIN: u32 = UNIT * 1000 / 2885;
/// Twice the product of rate and round trip: room for delayed and stretched acknowledgements.
const CWND_GAIN: u32 = UNIT * 2;
/// A cycle of PROBE_BW: ask for more, drain what that queued, cruise.
const CYCLE: [u32; 8] = [UNIT * 5 / 4, UNIT * 3 / 4, UNIT, UNIT, UNIT, UNIT, UNIT, UNIT];
/// A cycle begins at any phase but the draining one.
const CYCLE_RANDOM: u64 = 7;
/// Round trips over which the largest rate holds.
const BW_ROUNDS: u32 = 10;
/// How long the smallest round trip holds, and how long it is looked for with next to nothing in flight.
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
const MIN_CWND: u32 = 4;
/// The path is full when the rate has not grown by a quarter in three round trips.
const FULL_BW_GAIN: u64 = UNIT as u64 * 5 / 4;
const FULL_BW_ROUNDS: u8 = 3;
/// A policer is looked for over intervals of so many round trips with losses of at least 50/256 ...
const LT_ROUNDS: u8 = 4;
const LT_LOSS: u64 = 50;
/// ... of which two deliver the same rate, to an eighth or to 4 kbit/s; that rate is then believed for 48 round trips.
const LT_RATIO: u64 = UNIT as u64 / 8;
const LT_DIFFERENCE: u64 = 4000 / 8;
const LT_MAX_ROUNDS: u8 = 48;
/// Round trips over which lumps of acknowledgements are remembered.
const AGGREGATION_ROUNDS: u8 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// The rate doubles each round trip, until the path is full.
    Startup,
    /// The queue that this made drains.
    Drain,
    /// The rate is asked for, again and again.
    ProbeBw,
    /// Next to nothing in flight, to see the smallest round trip.
    ProbeRtt,
}

/// The long-term rate that a policer lets through.
#[derive(Clone, Debug, Hash)]
struct LongTerm {
    /// The rate of the last interval; 0 before the first.
    bw: u64,
    in_use: bool,
    sampling: bool,
    /// Round trips of this interval, or of its use.
    rounds: u8,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Bbr {
    mode: Mode,
    /// The largest rate of the last ten round trips.
    bw: RunningMax,
    /// Round trips counted; the present one ends when what was delivered at its start has been.
    rounds: u32,
    round_end: u32,
    round_start: bool,
    /// The smallest round trip in microseconds, and when it was seen; `u32::MAX`: none yet.
    min_rtt: u32,
    min_rtt_at: Instant,
    /// Until when PROBE_RTT lasts; and a round trip of it is over.
    probe_rtt_until: Option<Instant>,
    probe_rtt_round_done: bool,
    pacing_gain: u32,
    cwnd_gain: u32,
    pacing_rate: u64,
    has_seen_rtt: bool,
    full_bw: u64,
    full_bw_rounds: u8,
    full_bw_reached: bool,
    cycle: u8,
    cycle_at: Instant,
    /// The window before recovery or PROBE_RTT.
    prior_cwnd: u32,
    prior_state: CaState,
    packet_conservation: bool,
    idle_restart: bool,
    lt: LongTerm,
    lt_at: Instant,
    lt_delivered: u32,
    lt_lost: u32,
    aggregation: Aggregation,
    random: u64,
}

impl Bbr {
    /// Before the connection is open.
    #[must_use]
    pub fn new() -> Self {
        Bbr {
            mode: Mode::Startup,
            bw: RunningMax::default(),
            rounds: 0,
            round_end: 0,
            round_start: false,
            min_rtt: u32::MAX,
            min_rtt_at: Instant::ZERO,
            probe_rtt_until: None,
            probe_rtt_round_done: false,
            pacing_gain: HIGH_GAIN,
            cwnd_gain: HIGH_GAIN,
            pacing_rate: u64::MAX,
            has_seen_rtt: false,
            full_bw: 0,
            full_bw_rounds: 0,
            full_bw_reached: false,
            cycle: 0,
            cycle_at: Instant::ZERO,
            prior_cwnd: 0,
            prior_state: CaState::Open,
            packet_conservation: false,
            idle_restart: false,
            lt: LongTerm { bw: 0, in_use: false, sampling: false, rounds: 0 },
            lt_at: Instant::ZERO,
            lt_delivered: 0,
            lt_lost: 0,
            aggregation: Aggregation::new(Instant::ZERO),
            random: 0,
        }
    }

    /// The rate that is believed in now.
    fn bandwidth(&self) -> u64 {
        if self.lt.in_use { self.lt.bw } else { self.bw.get() }
    }

    /// Before a measurement: the window in a round trip, or in a millisecond.
    fn init_pacing_rate(&mut self, window: &Window, flow: &Flow) {
        self.has_seen_rtt |= flow.srtt.is_some();
        let rtt = flow.srtt.map_or(1000, |srtt| micros(srtt).max(1));
        self.pacing_rate = pacing_rate(u64::from(window.cwnd) * BW_UNIT / rtt, HIGH_GAIN, flow);
    }

    fn set_pacing_rate(&mut self, window: &Window, flow: &Flow, gain: u32) {
        let rate = pacing_rate(self.bandwidth(), gain, flow);
        if !self.has_seen_rtt && flow.srtt.is_some() {
            self.init_pacing_rate(window, flow);
        }
        if self.full_bw_reached || rate > self.pacing_rate {
            self.pacing_rate = rate;
        }
    }

    /// Segments of a packet at the present rate.
    fn packet_segments(&self, mss: u32) -> u32 {
        packet_segments(self.pacing_rate, mss)
    }

    /// Segments in flight that fill the path, times `gain`.
    fn bdp(&self, bw: u64, gain: u32) -> u64 {
        bdp(bw, self.min_rtt, gain)
    }

    /// Room for packets that are under way whole, at both ends and between; an even number; and a little more to probe with.
    fn quantized(&self, cwnd: u64, mss: u32) -> u64 {
        let cwnd = cwnd.saturating_add(3 * u64::from(self.packet_segments(mss)));
        let probes = self.mode == Mode::ProbeBw && self.cycle == 0;
        (cwnd.saturating_add(1) & !1).saturating_add(if probes { 2 } else { 0 })
    }

    fn inflight(&self, bw: u64, gain: u32, mss: u32) -> u64 {
        self.quantized(self.bdp(bw, gain), mss)
    }

    /// What of `in_flight` will still be in the network when the next packet may leave.
    fn in_net_at_departure(&self, in_flight: u32, flow: &Flow) -> u64 {
        let delivered = segments_in(self.bandwidth(), micros(flow.next_send - flow.now));
        let more = if self.pacing_gain > UNIT { self.packet_segments(flow.mss) } else { 0 };
        (u64::from(in_flight) + u64::from(more)).saturating_sub(delivered)
    }

    fn save_cwnd(&mut self, window: &Window) {
        let calm = self.prior_state < CaState::Recovery && self.mode != Mode::ProbeRtt;
        self.prior_cwnd = if calm { window.cwnd } else { self.prior_cwnd.max(window.cwnd) };
    }

    // The model.

    /// The rate of delivery, and whether a round trip is over.
    fn update_bandwidth(&mut self, ack: &AckSample, rate: &RateSample) {
        let prior = ack.prior_delivered.unwrap_or(0);
        if prior.wrapping_sub(self.round_end) as i32 >= 0 {
            self.round_end = ack.flow.delivered;
            self.rounds = self.rounds.wrapping_add(1);
            self.round_start = true;
            self.packet_conservation = false;
        }
        self.sample_long_term(&ack.flow, ack.lost > 0, rate.is_app_limited);
        let bw = u64::from(rate.delivered) * BW_UNIT / micros(rate.interval).max(1);
        if !rate.is_app_limited || bw >= self.bw.get() {
            self.bw.update(BW_ROUNDS, self.rounds, bw);
        }
    }

    fn update_cycle(&mut self, ack: &AckSample) {
        if self.mode == Mode::ProbeBw && self.phase_is_over(ack) {
            self.next_phase(&ack.flow);
        }
    }

    fn phase_is_over(&self, ack: &AckSample) -> bool {
        let flow = &ack.flow;
        let full = micros(flow.delivered_at - self.cycle_at) > self.min_rtt.into();
        if self.pacing_gain == UNIT {
            return full;
        }
        let in_flight = self.in_net_at_departure(ack.prior_in_flight, flow);
        let bw = self.bw.get();
        if self.pacing_gain > UNIT {
            // Until the queue was made that the gain aims at, or something overflowed.
            full && (ack.lost > 0 || in_flight >= self.inflight(bw, self.pacing_gain, flow.mss))
        } else {
            full || in_flight <= self.inflight(bw, UNIT, flow.mss)
        }
    }

    fn next_phase(&mut self, flow: &Flow) {
        self.cycle = (self.cycle + 1) % CYCLE.len() as u8;
        self.cycle_at = flow.delivered_at;
    }

    fn enter_probe_bw(&mut self, flow: &Flow) {
        self.mode = Mode::ProbeBw;
        self.cycle = CYCLE.len() as u8 - 1 - (draw(&mut self.random) % CYCLE_RANDOM) as u8;
        self.next_phase(flow);
    }

    fn check_full(&mut self, app_limited: bool) {
        if self.full_bw_reached || !self.round_start || app_limited {
            return;
        }
        let bw = self.bw.get();
        if u128::from(bw) >= (u128::from(self.full_bw) * u128::from(FULL_BW_GAIN)) >> 8 {
            (self.full_bw, self.full_bw_rounds) = (bw, 0);
            return;
        }
        self.full_bw_rounds += 1;
        self.full_bw_reached = self.full_bw_rounds >= FULL_BW_ROUNDS;
    }

    fn check_drain(&mut self, window: &mut Window, flow: &Flow) {
        if self.mode == Mode::Startup && self.full_bw_reached {
            self.mode = Mode::Drain;
            let full = self.inflight(self.bw.get(), UNIT, flow.mss);
            window.ssthresh = u32::try_from(full).unwrap_or(u32::MAX);
        }
        if self.mode == Mode::Drain
            && self.in_net_at_departure(flow.in_flight, flow) <= self.inflight(self.bw.get(), UNIT, flow.mss)
        {
            self.enter_probe_bw(flow);
        }
    }

    fn update_min_rtt(&mut self, window: &mut Window, ack: &AckSample) {
        let flow = &ack.flow;
        let expired = flow.now - self.min_rtt_at > MIN_RTT_WINDOW;
        if let Some(rtt) = ack.rtt {
            let rtt = u32::try_from(micros(rtt)).unwrap_or(u32::MAX);
            if rtt < self.min_rtt || (expired && !ack.may_be_delayed) {
                (self.min_rtt, self.min_rtt_at) = (rtt, flow.now);
            }
        }
        if expired && !self.idle_restart && self.mode != Mode::ProbeRtt {
            self.save_cwnd(window);
            self.mode = Mode::ProbeRtt;
            self.probe_rtt_until = None;
        }
        if self.mode == Mode::ProbeRtt {
            if self.probe_rtt_until.is_some() {
                self.probe_rtt_round_done |= self.round_start;
                if self.probe_rtt_round_done {
                    self.check_probe_rtt_done(window, flow);
                }
            } else if flow.in_flight <= MIN_CWND {
                self.probe_rtt_until = Some(flow.now + PROBE_RTT_TIME);
                self.probe_rtt_round_done = false;
                self.round_end = flow.delivered;
            }
        }
        if ack.rate.is_some_and(|rate| rate.delivered > 0) {
            self.idle_restart = false;
        }
    }

    fn check_probe_rtt_done(&mut self, window: &mut Window, flow: &Flow) {
        if self.probe_rtt_until.is_none_or(|until| flow.now <= until) {
            return;
        }
        self.min_rtt_at = flow.now;
        window.set_cwnd(window.cwnd.max(self.prior_cwnd));
        if self.full_bw_reached {
            self.enter_probe_bw(flow);
        } else {
            self.mode = Mode::Startup;
        }
    }

    fn update_gains(&mut self) {
        (self.pacing_gain, self.cwnd_gain) = match self.mode {
            Mode::Startup => (HIGH_GAIN, HIGH_GAIN),
            Mode::Drain => (DRAIN_GAIN, HIGH_GAIN),
            Mode::ProbeBw if self.lt.in_use => (UNIT, CWND_GAIN),
            Mode::ProbeBw => (CYCLE[usize::from(self.cycle % 8)], CWND_GAIN),
            Mode::ProbeRtt => (UNIT, UNIT),
        };
    }

    // The policer.

    fn begin_interval(&mut self, flow: &Flow) {
        (self.lt_at, self.lt_delivered, self.lt_lost) = (flow.delivered_at, flow.delivered, flow.lost);
        self.lt.rounds = 0;
    }

    fn forget_long_term(&mut self, flow: &Flow) {
        self.lt = LongTerm { bw: 0, in_use: false, sampling: false, rounds: 0 };
        self.begin_interval(flow);
    }

    fn sample_long_term(&mut self, flow: &Flow, losses: bool, app_limited: bool) {
        if self.lt.in_use {
            if self.mode == Mode::ProbeBw && self.round_start {
                self.lt.rounds = self.lt.rounds.saturating_add(1);
                if self.lt.rounds >= LT_MAX_ROUNDS {
                    self.forget_long_term(flow);
                    self.enter_probe_bw(flow);
                }
            }
            return;
        }
        if !self.lt.sampling {
            if !losses {
                return;
            }
            self.begin_interval(flow);
            self.lt.sampling = true;
        }
        if app_limited {
            return self.forget_long_term(flow);
        }
        self.lt.rounds += u8::from(self.round_start);
        if self.lt.rounds < LT_ROUNDS {
            return;
        }
        if self.lt.rounds > 4 * LT_ROUNDS {
            return self.forget_long_term(flow);
        }
        let lost = flow.lost.wrapping_sub(self.lt_lost);
        let delivered = flow.delivered.wrapping_sub(self.lt_delivered);
        if !losses || delivered == 0 || u64::from(lost) << 8 < LT_LOSS * u64::from(delivered) {
            return;
        }
        let millis = (flow.delivered_at - self.lt_at).as_millis() as u64;
        if millis > 0 {
            self.end_interval(u64::from(delivered) * BW_UNIT / (millis * 1000), flow);
        }
    }

    /// An interval with a policer's losses delivered at `bw`.
    fn end_interval(&mut self, bw: u64, flow: &Flow) {
        if self.lt.bw > 0 {
            let difference = bw.abs_diff(self.lt.bw);
            let near =
                u128::from(difference) * u128::from(UNIT) <= u128::from(LT_RATIO) * u128::from(self.lt.bw);
            let percent = 100 - MARGIN_PERCENT;
            if near || bytes_per_second(difference, UNIT, flow.mss, percent) <= LT_DIFFERENCE {
                self.lt = LongTerm { bw: bw.midpoint(self.lt.bw), in_use: true, rounds: 0, ..self.lt };
                self.pacing_gain = UNIT;
                return;
            }
        }
        self.lt.bw = bw;
        self.begin_interval(flow);
    }

    // The window.

    /// In the first round trip of a recovery a segment leaves for each that was delivered. `Err`: the window is decided.
    fn recover_or_restore(&mut self, cwnd: u32, ack: &AckSample) -> Result<u32, u32> {
        let (before, state) = (self.prior_state, ack.flow.state);
        let conserved = ack.flow.in_flight.saturating_add(ack.acked);
        let mut cwnd = cwnd.saturating_sub(ack.lost).max(1);
        if state == CaState::Recovery && before != CaState::Recovery {
            self.packet_conservation = true;
            self.round_end = ack.flow.delivered;
            cwnd = conserved;
        } else if before >= CaState::Recovery && state < CaState::Recovery {
            cwnd = cwnd.max(self.prior_cwnd);
            self.packet_conservation = false;
        }
        self.prior_state = state;
        if self.packet_conservation { Err(cwnd.max(conserved)) } else { Ok(cwnd) }
    }

    /// Room for acknowledgements that come in lumps.
    fn aggregation_room(&self) -> u64 {
        if self.full_bw_reached { self.aggregation.room(self.bandwidth()) } else { 0 }
    }

    fn set_cwnd(&mut self, window: &mut Window, ack: &AckSample) {
        if ack.acked > 0 {
            let cwnd = self.recover_or_restore(window.cwnd, ack).map(|cwnd| {
                let target =
                    self.bdp(self.bandwidth(), self.cwnd_gain).saturating_add(self.aggregation_room());
                let target = u32::try_from(self.quantized(target, ack.flow.mss)).unwrap_or(u32::MAX);
                let grown = cwnd.saturating_add(ack.acked);
                let cwnd = if self.full_bw_reached {
                    grown.min(target)
                } else if cwnd < target || ack.flow.delivered < INITIAL_SEGMENTS {
                    grown
                } else {
                    cwnd
                };
                cwnd.max(MIN_CWND)
            });
            window.set_cwnd(cwnd.unwrap_or_else(|cwnd| cwnd));
        }
        if self.mode == Mode::ProbeRtt {
            window.set_cwnd(window.cwnd.min(MIN_CWND));
        }
    }
}

impl Default for Bbr {
    fn default() -> Self {
        Self::new()
    }
}

impl CongestionControl for Bbr {
    fn needs(&self) -> Needs {
        Needs::OWN_WINDOW | Needs::PACING | Needs::RANDOM
    }

    fn on_start(&mut self, window: &mut Window, start: &Start) {
        let flow = &start.flow;
        *self = Bbr {
            min_rtt: flow.min_rtt.map_or(u32::MAX, |rtt| u32::try_from(micros(rtt)).unwrap_or(u32::MAX)),
            min_rtt_at: flow.now,
            round_end: flow.delivered,
            aggregation: Aggregation::new(flow.now),
            random: start.seed,
            ..Bbr::new()
        };
        window.ssthresh = u32::MAX;
        self.init_pacing_rate(window, flow);
        self.forget_long_term(flow);
    }

    fn on_ack(&mut self, window: &mut Window, ack: &AckSample) {
        self.round_start = false;
        if let Some(rate) = &ack.rate {
            self.update_bandwidth(ack, rate);
            let (acked, bw) = ((ack.flow.delivered_at, ack.acked), self.bandwidth());
            self.aggregation.update(window.cwnd, acked, bw, (self.round_start, AGGREGATION_ROUNDS));
        }
        self.update_cycle(ack);
        self.check_full(ack.rate.is_some_and(|rate| rate.is_app_limited));
        self.check_drain(window, &ack.flow);
        self.update_min_rtt(window, ack);
        self.update_gains();
        self.set_pacing_rate(window, &ack.flow, self.pacing_gain);
        self.set_cwnd(window, ack);
    }

    fn ssthresh(&mut self, window: &Window, _flow: &Flow) -> u32 {
        self.save_cwnd(window);
        window.ssthresh
    }

    fn on_state(&mut self, _window: &mut Window, state: CaState, flow: &Flow) {
        if state == CaState::Loss {
            self.prior_state = CaState::Loss;
            self.full_bw = 0;
            // A timeout ends a round trip.
            self.round_start = true;
            self.sample_long_term(flow, true, false);
        }
    }

    fn on_event(&mut self, window: &mut Window, event: CwndEvent, flow: &Flow) {
        if !matches!(event, CwndEvent::TxStart { .. }) || !flow.is_app_limited {
            return;
        }
        self.idle_restart = true;
        self.aggregation.restart(flow.now);
        match self.mode {
            // No burst after the pause: at the rate that was measured.
            Mode::ProbeBw => self.set_pacing_rate(window, flow, UNIT),
            Mode::ProbeRtt => self.check_probe_rtt_done(window, flow),
            Mode::Startup | Mode::Drain => {}
        }
    }

    fn undo_cwnd(&mut self, window: &Window, _prior_cwnd: u32, flow: &Flow) -> u32 {
        (self.full_bw, self.full_bw_rounds) = (0, 0);
        self.forget_long_term(flow);
        window.cwnd
    }

    fn pacing_rate(&self) -> Option<u64> {
        Some(self.pacing_rate)
    }

    fn min_packet(&self, pacing_rate: u64) -> Option<u32> {
        Some(least_packet(pacing_rate))
    }

    /// As in Linux: while lost packets of one window are sent again, acknowledgements of the next still come in.
    fn buffered_windows(&self) -> u32 {
        3
    }

    fn limits_itself(&self) -> bool {
        self.mode == Mode::ProbeRtt
    }

    fn report(&self, flow: &Flow) -> Option<Report> {
        Some(Report::Bbr {
            bandwidth: bytes_per_second(self.bandwidth(), UNIT, flow.mss, 100),
            min_rtt: self.min_rtt,
            pacing_gain: self.pacing_gain,
            cwnd_gain: self.cwnd_gain,
        })
    }

    fn clone_box(&self) -> Box<dyn CongestionControl> {
        Box::new(self.clone())
    }

    fn fingerprint(&self, origin: &Origin, mut h: &mut dyn Hasher) {
        let Bbr {
            mode,
            bw,
            rounds,
            round_end,
            round_start,
            min_rtt,
            min_rtt_at,
            probe_rtt_until,
            probe_rtt_round_done,
            pacing_gain,
            cwnd_gain,
            pacing_rate,
            has_seen_rtt,
            full_bw,
            full_bw_rounds,
            full_bw_reached,
            cycle,
            cycle_at,
            prior_cwnd,
            prior_state,
            packet_conservation,
            idle_restart,
            lt,
            lt_at,
            lt_delivered,
            lt_lost,
            aggregation,
            random,
        } = self;
        let now = origin.now;
        (mode, bw.relative(*rounds), round_end.wrapping_sub(origin.delivered), round_start).hash(&mut h);
        (min_rtt, (now - *min_rtt_at).min(2 * MIN_RTT_WINDOW), probe_rtt_until.map(|until| until - now))
            .hash(&mut h);
        (probe_rtt_round_done, pacing_gain, cwnd_gain, pacing_rate, has_seen_rtt, full_bw).hash(&mut h);
        (full_bw_rounds, full_bw_reached, cycle, now - *cycle_at, prior_cwnd, prior_state).hash(&mut h);
        (packet_conservation, idle_restart, lt, now - *lt_at).hash(&mut h);
        (origin.delivered.wrapping_sub(*lt_delivered), origin.lost.wrapping_sub(*lt_lost)).hash(&mut h);
        random.hash(&mut h);
        aggregation.fingerprint(now, h);
    }
}

#[cfg(test)]
mod tests;
