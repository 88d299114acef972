//! BBR, version 3 (draft-ietf-ccwg-bbr): beside the rate and the smallest round trip the model knows how much in flight the path
//! takes without losing more than 2 % of it, and how much of both is left to it just now. It asks for more every two to three
//! seconds, or as often as Reno would.
//!
//! Differences from the draft:
//!
//! - What was in flight when a segment was sent is what has been delivered and lost since; losses are looked at for each
//!   acknowledgement, not for each segment.
//! - The segments lost since another was sent are known to a sixteenth of a flight.
//! - Marks of ECN are losses' equals, as for every algorithm that does not ask for them; the draft leaves them open.

use super::model::{
    Aggregation, BW_UNIT, UNIT, bdp, bytes_per_second, draw, least_packet, micros, pacing_rate,
    packet_segments,
};
use super::{
    AckSample, CaState, CongestionControl, CwndEvent, Flow, INITIAL_SEGMENTS, Needs, Origin, RateSample,
    Report, Start, Window,
};
use crate::time::Instant;
use alloc::boxed::Box;
use core::hash::{Hash, Hasher};
use core::time::Duration;

mod losses;

use losses::Losses;

/// 4 ln 2: the rate doubles each round trip.
const STARTUP_GAIN: u32 = UNIT * 277 / 100;
const DRAIN_GAIN: u32 = UNIT / 2;
const DOWN_GAIN: u32 = UNIT * 9 / 10;
const UP_GAIN: u32 = UNIT * 5 / 4;
const CWND_GAIN: u32 = UNIT * 2;
/// Room to grow into while asking for more.
const UP_CWND_GAIN: u32 = UNIT * 9 / 4;
const PROBE_RTT_GAIN: u32 = UNIT / 2;
const MIN_CWND: u32 = 4;
/// More lost than one in fifty is too much.
const LOSS_THRESHOLD: u64 = 50;
/// What remains of a bound after a loss (0.7), and of the long-term one for others (0.85), in 1/256.
const BETA: u64 = 179;
const HEADROOM: u64 = 218;
/// Acknowledgements with losses in one round trip that end the start-up.
const STARTUP_LOSSES: u8 = 6;
/// The path is full when the rate has not grown by a quarter in three round trips.
const FULL_BW_ROUNDS: u8 = 3;
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
/// More is asked for after two to three seconds, or after so many round trips at the most.
const PROBE_WAIT_MICROS: u64 = 2_000_000;
const PROBE_WAIT_RANDOM: u64 = 1_000_000;
const PROBE_ROUNDS: u32 = 63;
/// Round trips over which lumps of acknowledgements are remembered.
const AGGREGATION_ROUNDS: u8 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Startup,
    Drain,
    /// What was queued drains, and a little more.
    Down,
    /// At the rate that is known, with headroom for others.
    Cruise,
    /// The path is filled for a round trip without queueing.
    Refill,
    /// More is asked for.
    Up,
    ProbeRtt,
}

/// What acknowledgements tell about now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Acks {
    Nothing,
    Refilling,
    /// The probe has begun; its acknowledgements have not.
    Starting,
    Feedback,
    /// The last of the probe's.
    Stopping,
}

/// The bounds; `u64::MAX` and `u32::MAX`: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Bounds {
    /// Rate and flight that losses have left for the present.
    bw_short: u64,
    inflight_short: u32,
    /// The flight that the path takes.
    inflight_long: u32,
}

const UNBOUNDED: Bounds = Bounds { bw_short: u64::MAX, inflight_short: u32::MAX, inflight_long: u32::MAX };

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Bbr3 {
    phase: Phase,
    acks: Acks,
    /// The largest rate of this probing cycle, and of the one before.
    bw: [u64; 2],
    bounds: Bounds,
    /// Those before a loss that may not have been one.
    undo: Bounds,
    /// Of the present round trip: the largest rate and the most delivered, acknowledgements with losses.
    bw_latest: u64,
    inflight_latest: u32,
    loss_round_end: u32,
    loss_events: u8,
    round_end: u32,
    round_start: bool,
    full_bw: u64,
    full_bw_rounds: u8,
    full_bw_now: bool,
    full_bw_reached: bool,
    /// Microseconds; `u32::MAX`: none yet.
    min_rtt: u32,
    min_rtt_at: Instant,
    probe_rtt_min: u32,
    probe_rtt_at: Instant,
    probe_rtt_until: Option<Instant>,
    probe_rtt_round_done: bool,
    /// When the cycle began, how long it lasts, and the round trips of it.
    cycle_at: Instant,
    probe_wait: u32,
    probe_rounds: u32,
    /// Samples are of a probe: a loss among them is an answer to it.
    probe_samples: bool,
    probed_too_high: bool,
    precautionary: bool,
    up_rounds: u8,
    up_acked: u32,
    up_every: u32,
    prior_cwnd: u32,
    prior_state: CaState,
    idle_restart: bool,
    has_seen_rtt: bool,
    pacing_rate: u64,
    losses: Losses,
    aggregation: Aggregation,
    random: u64,
}

impl Bbr3 {
    /// Before the connection is open.
    #[must_use]
    pub fn new() -> Self {
        Bbr3 {
            phase: Phase::Startup,
            acks: Acks::Nothing,
            bw: [0; 2],
            bounds: UNBOUNDED,
            undo: UNBOUNDED,
            bw_latest: 0,
            inflight_latest: 0,
            loss_round_end: 0,
            loss_events: 0,
            round_end: 0,
            round_start: false,
            full_bw: 0,
            full_bw_rounds: 0,
            full_bw_now: false,
            full_bw_reached: false,
            min_rtt: u32::MAX,
            min_rtt_at: Instant::ZERO,
            probe_rtt_min: u32::MAX,
            probe_rtt_at: Instant::ZERO,
            probe_rtt_until: None,
            probe_rtt_round_done: false,
            cycle_at: Instant::ZERO,
            probe_wait: 0,
            probe_rounds: 0,
            probe_samples: false,
            probed_too_high: false,
            precautionary: false,
            up_rounds: 0,
            up_acked: 0,
            up_every: u32::MAX,
            prior_cwnd: 0,
            prior_state: CaState::Open,
            idle_restart: false,
            has_seen_rtt: false,
            pacing_rate: u64::MAX,
            losses: Losses::new(),
            aggregation: Aggregation::new(Instant::ZERO),
            random: 0,
        }
    }

    fn max_bw(&self) -> u64 {
        self.bw[0].max(self.bw[1])
    }

    /// The rate that is believed in now.
    fn bandwidth(&self) -> u64 {
        self.max_bw().min(self.bounds.bw_short)
    }

    fn is_probing(&self) -> bool {
        matches!(self.phase, Phase::Startup | Phase::Refill | Phase::Up)
    }

    fn in_probe_bw(&self) -> bool {
        matches!(self.phase, Phase::Down | Phase::Cruise | Phase::Refill | Phase::Up)
    }

    fn gains(&self) -> (u32, u32) {
        match self.phase {
            Phase::Startup => (STARTUP_GAIN, CWND_GAIN),
            Phase::Drain => (DRAIN_GAIN, CWND_GAIN),
            Phase::Down => (DOWN_GAIN, CWND_GAIN),
            Phase::Cruise | Phase::Refill => (UNIT, CWND_GAIN),
            Phase::Up => (UP_GAIN, UP_CWND_GAIN),
            Phase::ProbeRtt => (UNIT, PROBE_RTT_GAIN),
        }
    }

    /// Segments that fill the path at `bw`, with room for packets that are under way whole at both ends and between.
    fn inflight(&self, bw: u64, gain: u32, mss: u32) -> u32 {
        let packets = 3 * u64::from(packet_segments(self.pacing_rate, mss));
        let full = bdp(bw, self.min_rtt, gain).saturating_add(packets);
        u32::try_from(full).unwrap_or(u32::MAX).max(MIN_CWND)
    }

    fn with_headroom(&self) -> u32 {
        let long = self.bounds.inflight_long;
        if long == u32::MAX {
            return u32::MAX;
        }
        let less = ((u64::from(long) * HEADROOM) >> 8) as u32;
        less.min(long.saturating_sub(1)).max(MIN_CWND)
    }

    fn target(&self, window: &Window) -> u32 {
        let full = bdp(self.bandwidth(), self.min_rtt, UNIT);
        u32::try_from(full).unwrap_or(u32::MAX).min(window.cwnd)
    }

    fn probe_rtt_cwnd(&self) -> u32 {
        let half = bdp(self.bandwidth(), self.min_rtt, PROBE_RTT_GAIN);
        u32::try_from(half).unwrap_or(u32::MAX).max(MIN_CWND)
    }

    fn start_round(&mut self, flow: &Flow) {
        self.round_end = flow.delivered;
    }

    fn reset_full_bw(&mut self, bw: u64) {
        (self.full_bw, self.full_bw_rounds, self.full_bw_now) = (bw, 0, false);
    }

    fn reset_short_term(&mut self) {
        (self.bounds.bw_short, self.bounds.inflight_short) = (u64::MAX, u32::MAX);
    }

    fn reset_congestion_signals(&mut self) {
        (self.loss_events, self.bw_latest, self.inflight_latest) = (0, 0, 0);
    }

    fn save_cwnd(&mut self, window: &Window) {
        let calm = self.prior_state < CaState::Recovery && self.phase != Phase::ProbeRtt;
        self.prior_cwnd = if calm { window.cwnd } else { self.prior_cwnd.max(window.cwnd) };
    }

    // The model.

    /// What the acknowledgement tells of the rate; true if a round trip for which losses are counted is over.
    fn update_rate(&mut self, ack: &AckSample, rate: &RateSample, bw: u64) -> bool {
        let prior = ack.prior_delivered.unwrap_or(0);
        let passed = |end: u32| prior.wrapping_sub(end) as i32 >= 0;
        let loss_round = passed(self.loss_round_end);
        if loss_round {
            self.loss_round_end = ack.flow.delivered;
        }
        self.round_start = passed(self.round_end);
        if self.round_start {
            self.start_round(&ack.flow);
            self.probe_rounds = self.probe_rounds.saturating_add(1);
        }
        self.bw_latest = self.bw_latest.max(bw);
        self.inflight_latest = self.inflight_latest.max(rate.delivered);
        if !rate.is_app_limited || bw >= self.max_bw() {
            self.bw[0] = self.bw[0].max(bw);
        }
        loss_round
    }

    /// After a round trip with losses that no probe asked for, rate and flight stay below what it delivered.
    fn adapt_short_term(&mut self, window: &Window) {
        if self.is_probing() || self.loss_events == 0 {
            return;
        }
        let (max, bounds) = (self.max_bw(), &mut self.bounds);
        let cut = |bound: u64| u64::try_from((u128::from(bound) * u128::from(BETA)) >> 8).unwrap_or(u64::MAX);
        let bw = if bounds.bw_short == u64::MAX { max } else { bounds.bw_short };
        let inflight = if bounds.inflight_short == u32::MAX { window.cwnd } else { bounds.inflight_short };
        bounds.bw_short = self.bw_latest.max(cut(bw));
        bounds.inflight_short = self.inflight_latest.max(cut(inflight.into()) as u32);
    }

    fn check_full(&mut self, bw: u64, app_limited: bool) {
        if self.full_bw_now || !self.round_start || app_limited {
            return;
        }
        if u128::from(bw) * 4 >= u128::from(self.full_bw) * 5 {
            return self.reset_full_bw(bw);
        }
        self.full_bw_rounds += 1;
        self.full_bw_now = self.full_bw_rounds >= FULL_BW_ROUNDS;
        self.full_bw_reached |= self.full_bw_now;
    }

    /// Many losses in a round trip end the start-up too, if recovery has lasted for as long.
    fn check_startup_loss(&mut self, ack: &AckSample, too_high: bool) {
        let recovers = self.prior_state >= CaState::Recovery && ack.flow.state >= CaState::Recovery;
        if self.phase == Phase::Startup && recovers && self.loss_events >= STARTUP_LOSSES && too_high {
            self.full_bw_reached = true;
            let full = bdp(self.max_bw(), self.min_rtt, UNIT);
            self.bounds.inflight_long = u32::try_from(full).unwrap_or(u32::MAX).max(self.inflight_latest);
        }
    }

    fn check_drained(&mut self, window: &mut Window, flow: &Flow) {
        if self.phase == Phase::Startup && self.full_bw_reached {
            self.phase = Phase::Drain;
            window.ssthresh = self.inflight(self.max_bw(), UNIT, flow.mss);
        }
        if self.phase == Phase::Drain && flow.in_flight <= self.inflight(self.max_bw(), UNIT, flow.mss) {
            self.start_down(flow);
        }
    }

    // Probing for more.

    fn start_down(&mut self, flow: &Flow) {
        self.reset_congestion_signals();
        self.up_every = u32::MAX;
        self.probe_rounds = (draw(&mut self.random) & 1) as u32;
        self.probe_wait = (PROBE_WAIT_MICROS + draw(&mut self.random) % PROBE_WAIT_RANDOM) as u32;
        self.cycle_at = flow.now;
        self.acks = Acks::Stopping;
        self.start_round(flow);
        self.phase = Phase::Down;
    }

    fn start_refill(&mut self, flow: &Flow) {
        self.reset_short_term();
        (self.up_rounds, self.up_acked, self.precautionary) = (0, 0, false);
        self.acks = Acks::Refilling;
        self.start_round(flow);
        self.phase = Phase::Refill;
    }

    fn start_up(&mut self, window: &Window, flow: &Flow, bw: u64) {
        self.acks = Acks::Starting;
        self.start_round(flow);
        self.reset_full_bw(bw);
        self.phase = Phase::Up;
        self.raise_slope(window);
    }

    /// The flight that the path takes grows by a segment, two, four ... in a round trip.
    fn raise_slope(&mut self, window: &Window) {
        self.up_every = (window.cwnd >> self.up_rounds).max(1);
        self.up_rounds = (self.up_rounds + 1).min(30);
    }

    fn probe_upward(&mut self, window: &Window, ack: &AckSample) {
        if !ack.is_cwnd_limited || window.cwnd < self.bounds.inflight_long {
            return;
        }
        self.up_acked = self.up_acked.saturating_add(ack.acked);
        let every = self.up_every.max(1);
        let more = self.up_acked / every;
        self.up_acked -= more * every;
        self.bounds.inflight_long = self.bounds.inflight_long.saturating_add(more);
        if self.round_start {
            self.raise_slope(window);
        }
    }

    /// Whose answers these are, and what they say about the flight that the path takes. True if the phase is decided.
    fn adapt_long_term(
        &mut self,
        window: &Window,
        ack: &AckSample,
        app_limited: bool,
        sent: (u32, bool),
    ) -> bool {
        let (in_flight, too_high) = sent;
        if self.acks == Acks::Starting && self.round_start {
            self.acks = Acks::Feedback;
        }
        if self.acks == Acks::Stopping && self.round_start {
            self.probe_samples = false;
            self.acks = Acks::Nothing;
            if self.in_probe_bw() && !app_limited && self.bw[0] > 0 {
                self.bw = [0, self.bw[0]];
            }
            if self.in_probe_bw() && self.precautionary && !self.probed_too_high {
                self.start_refill(&ack.flow);
                return true;
            }
        }
        if too_high {
            if self.probe_samples {
                self.answer_too_high(window, &ack.flow, app_limited, in_flight);
            }
            return false;
        }
        if self.bounds.inflight_long == u32::MAX {
            return false;
        }
        self.bounds.inflight_long = self.bounds.inflight_long.max(in_flight);
        if self.phase == Phase::Up {
            self.probe_upward(window, ack);
        }
        false
    }

    /// The probe lost too much: the path takes no more than that, and not much less than what is known to fit.
    fn answer_too_high(&mut self, window: &Window, flow: &Flow, app_limited: bool, in_flight: u32) {
        self.probe_samples = false;
        self.probed_too_high = true;
        if !app_limited {
            let least = ((u64::from(self.target(window)) * BETA) >> 8) as u32;
            self.bounds.inflight_long = in_flight.max(least).max(MIN_CWND);
        }
        if self.phase == Phase::Up {
            self.start_down(flow);
        }
    }

    fn is_time_to_probe(&self, window: &Window, flow: &Flow) -> bool {
        micros(flow.now - self.cycle_at) > self.probe_wait.into()
            || self.probe_rounds >= self.target(window).min(PROBE_ROUNDS)
    }

    fn is_time_to_go_down(&mut self, window: &Window, ack: &AckSample, bw: u64) -> bool {
        let long = self.bounds.inflight_long;
        if self.probed_too_high && ack.flow.in_flight >= long {
            self.precautionary = true;
            return true;
        }
        if ack.is_cwnd_limited && window.cwnd >= long {
            // The bound is the limit, and not the path.
            self.reset_full_bw(bw);
            return false;
        }
        self.full_bw_now
    }

    fn update_phase(
        &mut self,
        window: &Window,
        ack: &AckSample,
        (bw, app_limited): (u64, bool),
        sent: (u32, bool),
    ) {
        if !self.full_bw_reached || self.adapt_long_term(window, ack, app_limited, sent) {
            return;
        }
        let flow = &ack.flow;
        let goes_down = self.phase == Phase::Up && self.is_time_to_go_down(window, ack, bw);
        match self.phase {
            Phase::Down | Phase::Cruise if self.is_time_to_probe(window, flow) => self.start_refill(flow),
            Phase::Down => {
                let full = self.inflight(self.max_bw(), UNIT, flow.mss).min(self.with_headroom());
                if flow.in_flight <= full {
                    self.phase = Phase::Cruise;
                }
            }
            Phase::Refill if self.round_start => {
                self.probe_samples = true;
                self.start_up(window, flow, bw);
            }
            Phase::Up if goes_down => {
                self.probed_too_high = false;
                self.start_down(flow);
            }
            _ => {}
        }
    }

    // The smallest round trip.

    fn update_min_rtt(&mut self, window: &mut Window, ack: &AckSample) {
        let now = ack.flow.now;
        let expired = now - self.probe_rtt_at > PROBE_RTT_INTERVAL;
        if let Some(rtt) = ack.rtt {
            let rtt = u32::try_from(micros(rtt)).unwrap_or(u32::MAX);
            if rtt < self.probe_rtt_min || (expired && !ack.may_be_delayed) {
                (self.probe_rtt_min, self.probe_rtt_at) = (rtt, now);
            }
        }
        if self.probe_rtt_min < self.min_rtt || now - self.min_rtt_at > MIN_RTT_WINDOW {
            (self.min_rtt, self.min_rtt_at) = (self.probe_rtt_min, self.probe_rtt_at);
        }
        if expired && !self.idle_restart && self.phase != Phase::ProbeRtt {
            self.save_cwnd(window);
            self.phase = Phase::ProbeRtt;
            self.probe_rtt_until = None;
            self.acks = Acks::Stopping;
            self.start_round(&ack.flow);
        }
        if self.phase == Phase::ProbeRtt {
            if self.probe_rtt_until.is_some() {
                self.probe_rtt_round_done |= self.round_start;
                if self.probe_rtt_round_done {
                    self.check_probe_rtt_done(window, &ack.flow);
                }
            } else if ack.flow.in_flight <= self.probe_rtt_cwnd() {
                self.probe_rtt_until = Some(now + PROBE_RTT_TIME);
                self.probe_rtt_round_done = false;
                self.start_round(&ack.flow);
            }
        }
    }

    fn check_probe_rtt_done(&mut self, window: &mut Window, flow: &Flow) {
        if self.probe_rtt_until.is_none_or(|until| flow.now <= until) {
            return;
        }
        self.probe_rtt_at = flow.now;
        window.set_cwnd(window.cwnd.max(self.prior_cwnd));
        self.reset_short_term();
        if self.full_bw_reached {
            self.start_down(flow);
            self.phase = Phase::Cruise;
        } else {
            self.phase = Phase::Startup;
        }
    }

    // What is let out.

    fn init_pacing_rate(&mut self, window: &Window, flow: &Flow) {
        self.has_seen_rtt |= flow.srtt.is_some();
        let rtt = flow.srtt.map_or(1000, |srtt| micros(srtt).max(1));
        self.pacing_rate = pacing_rate(u64::from(window.cwnd) * BW_UNIT / rtt, STARTUP_GAIN, flow);
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

    fn set_cwnd(&mut self, window: &mut Window, ack: &AckSample, gain: u32) {
        let left_loss = self.prior_state == CaState::Loss && ack.flow.state != CaState::Loss;
        self.prior_state = ack.flow.state;
        if left_loss {
            window.set_cwnd(window.cwnd.max(self.prior_cwnd));
        }
        if ack.acked > 0 {
            let room = if self.full_bw_reached { self.aggregation.room(self.bandwidth()) } else { 0 };
            let room = u32::try_from(room).unwrap_or(u32::MAX);
            let most = self.inflight(self.bandwidth(), gain, ack.flow.mss).saturating_add(room);
            let grown = window.cwnd.saturating_add(ack.acked);
            if self.full_bw_reached {
                window.set_cwnd(grown.min(most));
            } else if window.cwnd < most || ack.flow.delivered < INITIAL_SEGMENTS {
                window.set_cwnd(grown);
            }
            window.set_cwnd(window.cwnd.max(MIN_CWND));
        }
        let long = match self.phase {
            Phase::Down | Phase::Refill | Phase::Up => self.bounds.inflight_long,
            Phase::Cruise | Phase::ProbeRtt => self.with_headroom(),
            Phase::Startup | Phase::Drain => u32::MAX,
        };
        let mut most = long.min(self.bounds.inflight_short).max(MIN_CWND);
        if self.phase == Phase::ProbeRtt {
            most = most.min(self.probe_rtt_cwnd());
        }
        window.set_cwnd(window.cwnd.min(most));
    }
}

impl Default for Bbr3 {
    fn default() -> Self {
        Self::new()
    }
}

impl CongestionControl for Bbr3 {
    fn needs(&self) -> Needs {
        Needs::OWN_WINDOW | Needs::PACING | Needs::RANDOM
    }

    fn on_start(&mut self, window: &mut Window, start: &Start) {
        let flow = &start.flow;
        let rtt = flow.min_rtt.map_or(u32::MAX, |rtt| u32::try_from(micros(rtt)).unwrap_or(u32::MAX));
        *self = Bbr3 {
            min_rtt: rtt,
            min_rtt_at: flow.now,
            probe_rtt_min: rtt,
            probe_rtt_at: flow.now,
            round_end: flow.delivered,
            loss_round_end: flow.delivered,
            cycle_at: flow.now,
            aggregation: Aggregation::new(flow.now),
            random: start.seed,
            ..Bbr3::new()
        };
        window.ssthresh = u32::MAX;
        self.init_pacing_rate(window, flow);
    }

    fn on_ack(&mut self, window: &mut Window, ack: &AckSample) {
        self.round_start = false;
        let flow = &ack.flow;
        // Before it is remembered what this one lost.
        let lost = self.losses.since(ack.prior_delivered, flow);
        self.losses.remember(flow);
        self.loss_events = self.loss_events.saturating_add(u8::from(ack.lost > 0)).min(15);
        if let Some(rate) = &ack.rate {
            let bw = u64::from(rate.delivered) * BW_UNIT / micros(rate.interval).max(1);
            let loss_round = self.update_rate(ack, rate, bw);
            // All that was sent before has been delivered or lost.
            let sent = rate.delivered.saturating_add(lost);
            let too_high = u64::from(lost) * LOSS_THRESHOLD > u64::from(sent);
            if loss_round {
                self.adapt_short_term(window);
                self.check_startup_loss(ack, too_high);
            }
            let acked = (flow.delivered_at, ack.acked);
            let span = if self.full_bw_reached { AGGREGATION_ROUNDS } else { 1 };
            self.aggregation.update(window.cwnd, acked, self.bandwidth(), (self.round_start, span));
            self.check_full(bw, rate.is_app_limited);
            self.check_drained(window, flow);
            self.update_phase(window, ack, (bw, rate.is_app_limited), (sent, too_high));
            if loss_round {
                (self.bw_latest, self.inflight_latest, self.loss_events) = (bw, rate.delivered, 0);
            }
        }
        self.update_min_rtt(window, ack);
        if ack.rate.is_some_and(|rate| rate.delivered > 0) {
            self.idle_restart = false;
        }
        let (pacing, cwnd) = self.gains();
        self.set_pacing_rate(window, flow, pacing);
        self.set_cwnd(window, ack, cwnd);
    }

    fn ssthresh(&mut self, window: &Window, _flow: &Flow) -> u32 {
        self.save_cwnd(window);
        self.undo = self.bounds;
        window.ssthresh
    }

    fn on_state(&mut self, _window: &mut Window, state: CaState, _flow: &Flow) {
        if state == CaState::Loss {
            self.prior_state = CaState::Loss;
            self.reset_full_bw(0);
            if !self.is_probing() && self.bounds.inflight_short == u32::MAX {
                self.bounds.inflight_short = self.prior_cwnd.max(MIN_CWND);
            }
        }
    }

    fn on_event(&mut self, window: &mut Window, event: CwndEvent, flow: &Flow) {
        if !matches!(event, CwndEvent::TxStart { .. }) || !flow.is_app_limited {
            return;
        }
        self.idle_restart = true;
        self.aggregation.restart(flow.now);
        if self.in_probe_bw() {
            self.set_pacing_rate(window, flow, UNIT);
        } else if self.phase == Phase::ProbeRtt {
            self.check_probe_rtt_done(window, flow);
        }
    }

    fn undo_cwnd(&mut self, window: &Window, prior_cwnd: u32, _flow: &Flow) -> u32 {
        self.reset_full_bw(0);
        self.loss_events = 0;
        let Bounds { bw_short, inflight_short, inflight_long } = &mut self.bounds;
        *bw_short = (*bw_short).max(self.undo.bw_short);
        *inflight_short = (*inflight_short).max(self.undo.inflight_short);
        *inflight_long = (*inflight_long).max(self.undo.inflight_long);
        window.cwnd.max(prior_cwnd)
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
        self.phase == Phase::ProbeRtt
    }

    fn report(&self, flow: &Flow) -> Option<Report> {
        let (pacing_gain, cwnd_gain) = self.gains();
        let bandwidth = bytes_per_second(self.bandwidth(), UNIT, flow.mss, 100);
        Some(Report::Bbr { bandwidth, min_rtt: self.min_rtt, pacing_gain, cwnd_gain })
    }

    fn clone_box(&self) -> Box<dyn CongestionControl> {
        Box::new(self.clone())
    }

    fn fingerprint(&self, origin: &Origin, mut h: &mut dyn Hasher) {
        let Bbr3 {
            phase,
            acks,
            bw,
            bounds,
            undo,
            bw_latest,
            inflight_latest,
            loss_round_end,
            loss_events,
            round_end,
            round_start,
            full_bw,
            full_bw_rounds,
            full_bw_now,
            full_bw_reached,
            min_rtt,
            min_rtt_at,
            probe_rtt_min,
            probe_rtt_at,
            probe_rtt_until,
            probe_rtt_round_done,
            cycle_at,
            probe_wait,
            probe_rounds,
            probe_samples,
            probed_too_high,
            precautionary,
            up_rounds,
            up_acked,
            up_every,
            prior_cwnd,
            prior_state,
            idle_restart,
            has_seen_rtt,
            pacing_rate,
            losses,
            aggregation,
            random,
        } = self;
        let age = |at: &Instant| (origin.now - *at).min(2 * MIN_RTT_WINDOW);
        let ahead = |end: &u32| end.wrapping_sub(origin.delivered);
        (phase, acks, bw, bounds, undo, bw_latest, inflight_latest).hash(&mut h);
        (ahead(loss_round_end), loss_events, ahead(round_end), round_start).hash(&mut h);
        (full_bw, full_bw_rounds, full_bw_now, full_bw_reached).hash(&mut h);
        (min_rtt, age(min_rtt_at), probe_rtt_min, age(probe_rtt_at)).hash(&mut h);
        (probe_rtt_until.map(|until| until - origin.now), probe_rtt_round_done).hash(&mut h);
        (age(cycle_at), probe_wait, probe_rounds, probe_samples, probed_too_high, precautionary).hash(&mut h);
        (up_rounds, up_acked, up_every, prior_cwnd, prior_state, idle_restart).hash(&mut h);
        (has_seen_rtt, pacing_rate, random).hash(&mut h);
        losses.fingerprint(origin, h);
        aggregation.fingerprint(origin.now, h);
    }
}

#[cfg(test)]
mod tests;
