//! A bulk sender over one bottleneck, for the tests of algorithms that model the path.

use super::tests::Path;
use super::{AckSample, CaState, CongestionControl, Flow, RateSample, Start};
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// A packet on its way: when it left, when its acknowledgement arrives, and what it carries for the sample.
#[derive(Clone, Copy)]
pub(super) struct Packet {
    sent: Instant,
    acked: Instant,
    delivered: u32,
    delivered_at: Instant,
    first_sent: Instant,
    lost: bool,
}

/// An algorithm that goes through modes.
pub(super) trait Modal: CongestionControl {
    type Mode: Copy + PartialEq;

    fn mode(&self) -> Self::Mode;
}

/// A bulk sender over one bottleneck.
pub(super) struct Bottleneck<C: Modal> {
    pub(super) path: Path<C>,
    /// Time of a packet at the bottleneck.
    pub(super) service: Duration,
    /// Packets that the queue takes, and which of them is lost all the same: one in so many, if any.
    pub(super) queue: u32,
    pub(super) loses_one_in: Option<u32>,
    sent: u32,
    pub(super) lost: u32,
    /// Where recovery stands.
    pub(super) state: CaState,
    busy_until: Instant,
    next_send: Instant,
    pub(super) flight: VecDeque<Packet>,
    pub(super) delivered: u32,
    delivered_at: Instant,
    first_sent: Instant,
    pub(super) modes: Vec<C::Mode>,
}

pub(super) const MSS: u64 = 1460;

impl<C: Modal> Bottleneck<C> {
    pub(super) fn new(cc: C, segments_per_second: u32, rtt: Duration, seed: u64) -> Self {
        let mut path = Path::new(cc, rtt);
        let flow = Flow { srtt: Some(rtt), min_rtt: Some(rtt), ..path.flow() };
        path.cc.on_start(&mut path.window, &Start { flow, ecn: false, seed });
        let now = path.now;
        Bottleneck {
            path,
            service: Duration::from_secs(1) / segments_per_second,
            queue: u32::MAX,
            loses_one_in: None,
            sent: 0,
            lost: 0,
            state: CaState::Open,
            busy_until: now,
            next_send: now,
            flight: VecDeque::new(),
            delivered: 0,
            delivered_at: now,
            first_sent: now,
            modes: Vec::new(),
        }
    }

    pub(super) fn flow(&self) -> Flow {
        Flow {
            in_flight: self.flight.len() as u32,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            lost: self.lost,
            state: self.state,
            next_send: self.next_send.max(self.path.now),
            ..self.path.flow()
        }
    }

    fn send(&mut self) {
        let now = self.path.now;
        if self.flight.is_empty() {
            (self.delivered_at, self.first_sent) = (now, now);
        }
        let arrives = now + self.path.rtt / 2;
        self.sent += 1;
        let waits = (self.busy_until - arrives).as_nanos() / self.service.as_nanos();
        let lost = waits >= u128::from(self.queue)
            || self.loses_one_in.is_some_and(|every| self.sent.is_multiple_of(every));
        if !lost {
            self.busy_until = self.busy_until.max(arrives) + self.service;
        }
        self.flight.push_back(Packet {
            sent: now,
            acked: self.busy_until + self.path.rtt / 2,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            lost,
        });
        let nanos = MSS * 1_000_000_000 / self.path.cc.pacing_rate().unwrap_or(u64::MAX).max(1);
        self.next_send = now + Duration::from_nanos(nanos);
    }

    fn receive(&mut self) {
        let mut lost = 0;
        while self.flight.front().is_some_and(|packet| packet.lost) && self.flight.len() > 1 {
            self.flight.pop_front();
            lost += 1;
        }
        self.lost += lost;
        let Some(packet) = self.flight.pop_front() else { return };
        let prior_in_flight = self.flight.len() as u32 + 1 + lost;
        let now = packet.acked;
        self.path.now = now;
        self.delivered += 1;
        (self.delivered_at, self.first_sent) = (now, packet.sent);
        let send_interval = packet.sent - packet.first_sent;
        let ack_interval = now - packet.delivered_at;
        let sample = AckSample {
            flow: self.flow(),
            acked: 1,
            lost,
            rtt: Some(now - packet.sent),
            prior_in_flight,
            prior_delivered: Some(packet.delivered),
            rate: Some(RateSample {
                delivered: self.delivered - packet.delivered,
                interval: send_interval.max(ack_interval),
                send_interval,
                ack_interval,
                is_app_limited: false,
                is_retransmission: false,
            }),
            ..self.path.sample(1)
        };
        self.path.cc.on_ack(&mut self.path.window, &sample);
        if self.modes.last() != Some(&self.path.cc.mode()) {
            self.modes.push(self.path.cc.mode());
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.path.now + time;
        while self.path.now < end {
            let room = (self.flight.len() as u32) < self.path.window.cwnd;
            let send_at = self.next_send.max(self.path.now);
            match self.flight.front() {
                Some(first) if !room || first.acked <= send_at => self.receive(),
                _ => {
                    self.path.now = send_at;
                    self.send();
                }
            }
        }
    }
}
