//! Scenarios by chance: another one for each seed, and the same one for the same seed.

use crate::net::{Dice, Purpose};
use crate::scenario::{
    Aim, BoxSpec, Bursts, Direction, FlowSpec, HostSpec, IpVersion, LinkSpec, Model, MtuChange, OptionName,
    Outage, QueueSpec, Reorder, Scenario, StackKind, Unfired, Way, Who, Window,
};
use crate::units::{Rate, Share, Size, Time};
use std::time::Duration;

/// A flow that cannot go on because of an outage or a partition waits for this long at the most.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// As an owned connection has (`tcp_retries2`), so that the work has to be done whoever closed. Linux's 8 are 102 s, and those
/// are soon over where losses have backed a timer off: an ACK of what was sent twice gives no round-trip time without
/// timestamps, so the back-off stays (`tests/packetdrill/timers/orphan-keeps-its-back-off.pkt`).
const ORPHAN_RETRIES: u8 = 15;

/// The scenario of a seed. It is small, so that thousands can be run: a handful of connections, some megabytes.
///
/// What it asks for is reported where it did not happen, instead of failing the run: chance asked for it.
#[must_use]
pub fn random_scenario(seed: u64) -> Scenario {
    let mut maker = Maker { dice: Dice::new(seed, Purpose::Scenario, 0), endangered: false, resets: false };
    maker.scenario(seed)
}

struct Maker {
    dice: Dice,
    /// Something may last so long, or go so wrong, that connections end early.
    endangered: bool,
    /// Resets are forged that are right.
    resets: bool,
}

impl Maker {
    /// True once in `n`.
    fn once_in(&mut self, n: u64) -> bool {
        self.dice.below(n) == 0
    }

    /// From `least` to `most`, small numbers as likely as large ones.
    fn between(&mut self, least: u64, most: u64) -> u64 {
        let doublings = (most / least.max(1)).max(1).ilog2();
        let base = least << self.dice.below(u64::from(doublings) + 1);
        (base + self.dice.below(base + 1)).clamp(least, most)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.dice.below(of.len() as u64) as usize]
    }

    fn millis(&mut self, least: u64, most: u64) -> Time {
        Time(Duration::from_millis(self.between(least, most)))
    }

    fn scenario(&mut self, seed: u64) -> Scenario {
        let routed = self.once_in(3);
        let mut hosts = vec![self.host("client"), self.host("server")];
        let ip = if self.once_in(4) { IpVersion::V6 } else { IpVersion::V4 };
        let mut links = vec![self.link(["client", if routed { "router" } else { "server" }], ip)];
        if routed {
            links.push(self.link(["router", "server"], ip));
        }
        let smoltcp = hosts.iter().any(|host| host.stack == StackKind::Smoltcp);
        if smoltcp {
            // It repeats its SYN-ACK for ever to a peer that is gone.
            hosts.iter_mut().for_each(|host| host.outages.clear());
        }
        let mut boxes = links.iter().flat_map(|l| &l.middleboxes);
        // smoltcp does not hear ICMP, and behind such boxes nobody does: what it quotes was never sent, or a box makes
        // packets of a size that nobody chose.
        let deaf = |b: &BoxSpec| {
            matches!(b, BoxSpec::RewriteSeq { .. } | BoxSpec::Coalesce { .. } | BoxSpec::Split { .. })
        };
        if smoltcp || boxes.any(deaf) {
            one_mtu(&mut links);
        }
        // Text on a SYN that arrives a second time, after its connection is over or lost, opens another one (RFC 7413 2.1).
        let doubled = |l: &LinkSpec| {
            [&l.both, &l.forward, &l.backward].into_iter().any(|direction| direction.duplicate.is_some())
        };
        let once = !self.resets && !self.endangered && !links.iter().any(doubled);
        let flows = (0..self.dice.below(3) + 1).map(|_| self.flow(&hosts, once)).collect();
        Scenario {
            name: format!("soak-{seed}"),
            summary: "made by chance".to_owned(),
            ip,
            limit: Time(Duration::from_secs(24 * 3600)),
            unfired: Unfired::Report,
            hosts,
            routers: if routed { vec!["router".to_owned()] } else { Vec::new() },
            links,
            flows,
        }
    }

    fn host(&mut self, name: &str) -> HostSpec {
        let smoltcp = self.once_in(10);
        let mut host = HostSpec { name: name.to_owned(), ..HostSpec::default() };
        if smoltcp {
            host.stack = StackKind::Smoltcp;
            host.congestion = Some(self.pick(&["none", "reno", "cubic"]).to_owned());
            return host;
        }
        host.congestion = Some(self.pick(&["cubic", "cubic", "reno", "bbr", "dctcp"]).to_owned());
        host.sack = self.once_in(6).then_some(false);
        host.timestamps = self.once_in(6).then_some(false);
        host.window_scaling = self.once_in(8).then_some(false);
        host.ecn = self.once_in(2).then(|| self.pick(&[0, 1, 3, 4, 5]));
        host.orphan_retries = Some(ORPHAN_RETRIES);
        host.mtu_probing = Some(self.pick(&[1, 1, 1, 2]));
        host.fast_open = self.once_in(2);
        host.send_buffer = self.once_in(4).then(|| Size(self.between(4096, 1 << 20)));
        host.recv_buffer = self.once_in(4).then(|| Size(self.between(4096, 1 << 20)));
        if self.once_in(20) {
            self.endangered = true;
            let lasts = if self.once_in(4) { None } else { Some(self.millis(10, 60_000)) };
            host.outages.push(Outage { at: self.millis(20, 5000), lasts });
        }
        host
    }

    fn link(&mut self, between: [&str; 2], ip: IpVersion) -> LinkSpec {
        let both = Direction { delay: Some(self.millis(1, 200)), mtu: self.mtu(ip), ..Direction::default() };
        let (forward, backward) = (self.direction(ip), self.direction(ip));
        let count = if self.once_in(4) { 1 + self.dice.below(2) } else { 0 };
        let middleboxes = (0..count).map(|_| self.middlebox()).collect();
        LinkSpec { name: None, between: between.map(str::to_owned), both, forward, backward, middleboxes }
    }

    fn mtu(&mut self, ip: IpVersion) -> Option<u16> {
        let sizes: &[u16] = if ip == IpVersion::V6 { &[1280, 1400, 9000] } else { &[576, 1006, 1400, 9000] };
        self.once_in(3).then(|| self.pick(sizes))
    }

    fn direction(&mut self, ip: IpVersion) -> Direction {
        let mut direction = Direction::default();
        if !self.once_in(5) {
            let rate = self.between(200_000, 200_000_000);
            direction.rate = Some(Rate(rate));
            direction.queue = Some(self.queue());
        }
        direction.black_hole = self.once_in(8).then_some(true);
        direction.jitter = self.once_in(4).then(|| self.millis(1, 50));
        direction.loss = self.once_in(2).then(|| Share::per_mille(self.between(1, 60) as u32));
        direction.bursts = self.once_in(6).then(|| Bursts {
            begin: Share::per_mille(self.between(1, 10) as u32),
            // Retransmissions of a lone connection are what moves it on, and it has six SYNs.
            end: Share::per_mille(800 + self.dice.below(150) as u32),
            loss: Share::ALL,
        });
        direction.reorder = self.once_in(4).then(|| Reorder {
            share: Share::per_mille(self.between(1, 100) as u32),
            by: self.millis(1, 100),
        });
        direction.duplicate = self.once_in(5).then(|| Share::per_mille(self.between(1, 50) as u32));
        direction.corrupt = self.once_in(6).then(|| Share::per_mille(self.between(1, 30) as u32));
        direction.mark = self.once_in(8).then(|| Share::per_mille(self.between(1, 100) as u32));
        if self.once_in(8) {
            let from = self.millis(10, 3000);
            let lasts = self.millis(50, 5000);
            direction.down.push(Window { from, to: Time(from.0 + lasts.0) });
        }
        if self.once_in(12) {
            let mtu = if ip == IpVersion::V6 { 1280 } else { self.pick(&[576, 1200]) };
            direction.mtu_changes.push(MtuChange { at: self.millis(10, 2000), mtu });
        }
        direction
    }

    fn queue(&mut self) -> QueueSpec {
        if self.once_in(3) {
            return QueueSpec::CoDel { target: None, interval: None, packets: None, ecn: self.once_in(2) };
        }
        let packets = Some(self.between(10, 1000) as u32);
        let mark_above = self.once_in(5).then(|| self.between(5, 50) as u32);
        QueueSpec::DropTail { packets, bytes: None, mark_above }
    }

    fn middlebox(&mut self) -> BoxSpec {
        let way = self.pick(&[Way::Both, Way::Forward, Way::Backward]);
        match self.dice.below(6) {
            0 => BoxSpec::StripOptions {
                options: vec![self.pick(&[
                    OptionName::Sack,
                    OptionName::Timestamps,
                    OptionName::WindowScale,
                    OptionName::Mss,
                ])],
                // Options that were agreed on and then vanish break any TCP, so boxes leave them alone.
                syn_only: true,
                way: Way::Both,
            },
            // So few pieces that a short queue holds all of a segment.
            1 => BoxSpec::Split { bytes: self.between(400, 1000) as u16, way },
            2 => BoxSpec::Coalesce { hold: self.millis(1, 20), way },
            3 => BoxSpec::RewriteSeq { forgets_sack: self.once_in(3) },
            // Four boxes at the most take less than the eight FINs that a stack sends for nobody.
            4 => BoxSpec::SwallowFin { count: 1, way },
            _ => {
                let aim = self.pick(&[Aim::Exact, Aim::InWindow, Aim::Outside]);
                self.resets |= aim == Aim::Exact;
                BoxSpec::ForgeReset { aim, after: self.between(1, 60) as u32, way }
            }
        }
    }

    /// `once`: no SYN arrives twice.
    fn flow(&mut self, hosts: &[HostSpec], once: bool) -> FlowSpec {
        let turned = self.once_in(4);
        let [from, to] = if turned { [&hosts[1], &hosts[0]] } else { [&hosts[0], &hosts[1]] };
        let model = self.model();
        let crash = matches!(model, Model::Crash { .. });
        let asks = matches!(model, Model::RequestResponse { .. });
        let smoltcp = hosts.iter().any(|host| host.stack == StackKind::Smoltcp);
        // smoltcp has few sockets that listen at the same time.
        let many =
            matches!(model, Model::RequestResponse { rounds: 1, .. }) && to.stack == StackKind::Lastack;
        let most = if many { 60 } else { 4 };
        FlowSpec {
            name: None,
            from: from.name.clone(),
            to: to.name.clone(),
            count: self.between(1, most) as u32,
            start: self.millis(1, 2000),
            spacing: self.millis(1, 200),
            spread: self.millis(1, 100),
            poisson: self.once_in(4),
            model,
            congestion: None,
            simultaneous: false,
            nodelay: self.once_in(3),
            fast_open: once && asks && hosts.iter().all(|host| host.fast_open),
            patience: Some(Time(PATIENCE)),
            may_fail: crash || smoltcp || self.endangered || self.resets,
        }
    }

    fn model(&mut self) -> Model {
        let bytes = Size(self.between(1, 500_000));
        match self.dice.below(8) {
            0 => Model::Bulk { bytes, down: self.once_in(2) },
            1 => Model::Duplex { bytes },
            2 => Model::RequestResponse {
                rounds: 1,
                request: Size(self.between(1, 3000)),
                response: Size(self.between(1, 20_000)),
                think: Time::default(),
            },
            3 => Model::RequestResponse {
                rounds: self.between(2, 20) as u32,
                request: Size(self.between(1, 3000)),
                response: Size(self.between(1, 20_000)),
                think: self.millis(1, 3000),
            },
            4 => Model::Paced {
                piece: Size(self.between(1, 5000)),
                every: self.millis(1, 1000),
                count: self.between(1, 50) as u32,
            },
            5 => Model::HalfClose { up: bytes, down: Size(self.between(1, 500_000)) },
            6 => {
                let piece = Size(self.between(1 + bytes.0 / 100, 1 + bytes.0 / 5));
                Model::SlowReader { bytes, piece, every: self.millis(1, 1000) }
            }
            _ => Model::Crash {
                bytes,
                after: Size(self.dice.below(bytes.0 + 1)),
                who: self.pick(&Who::BOTH),
                reset: self.once_in(2),
            },
        }
    }
}

/// Takes away every reason for a packet to be too large on its way.
fn one_mtu(links: &mut [LinkSpec]) {
    for link in links {
        link.both.mtu = None;
        link.forward.mtu_changes.clear();
        link.backward.mtu_changes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_seed_has_a_scenario_that_can_be_written_down_and_read_again() {
        for seed in 0..500 {
            let scenario = random_scenario(seed);
            let text = scenario.to_toml().expect("TOML");
            let again = Scenario::parse(&text).unwrap_or_else(|error| panic!("{seed}: {error}\n{text}"));
            assert_eq!(text, again.to_toml().expect("TOML"));
            assert_eq!(text, random_scenario(seed).to_toml().expect("TOML"));
        }
    }

    #[test]
    fn a_few_hundred_seeds_try_every_box_and_every_model() {
        let (mut boxes, mut models) = (BTreeSet::new(), BTreeSet::new());
        for seed in 0..500 {
            let scenario = random_scenario(seed);
            boxes.extend(scenario.links.iter().flat_map(|l| &l.middleboxes).map(BoxSpec::kind));
            models.extend(scenario.flows.iter().map(|flow| flow.model.kind()));
        }
        // A stream may fill a send buffer that a slow line takes hours to empty.
        assert_eq!((boxes.len(), models.len()), (6, 7), "{boxes:?} {models:?}");
    }
}
