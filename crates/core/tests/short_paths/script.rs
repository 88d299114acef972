//! What happens, by chance: configurations, calls, faults.

use super::chance::Chance;
use super::common::{ms, s};
use super::world::{Faults, World};
use core::time::Duration;
use lastack_core::tcp::congestion::HyStart;
use lastack_core::wire::Capabilities;
use lastack_core::{
    Config, EcnKind, EcnOption, EcnPolicy, MtuProbing, SendFlags, ShortPaths, Shutdown, TcpOption,
};

/// Plays the script of a seed to its end.
pub(crate) fn play(seed: u64, declined: ShortPaths) -> World {
    let chance = &mut Chance::new(seed);
    let v6 = chance.in_thousand(250);
    let caps = capabilities(chance);
    // Usually both are alike.
    let one = configuration(chance);
    let two = if chance.in_thousand(300) { configuration(chance) } else { one.clone() };
    let mut world = World::new(v6, caps, [one, two], declined, seed);
    world.latency = chance.of(&[Duration::from_micros(20), ms(1), ms(20), ms(20), ms(150)]);
    world.faults = faults(chance);
    for _ in 0..1 + chance.below(2) {
        let options: Vec<_> = (0..chance.below(3)).map(|_| option(chance)).collect();
        world.connect(chance.below(2), &options);
    }
    let first = if chance.in_thousand(850) { world.latency * 4 + ms(1) } else { Duration::ZERO };
    world.run(first);
    for _ in 0..10 + chance.below(30) {
        step(&mut world, chance);
    }
    for socket in 0..world.sockets() {
        world.let_go(socket, chance.in_thousand(100));
        world.run(world.latency * 4);
    }
    world.run(s(200));
    world
}

/// A long text over a line whose round trip grows, so that slow start ends without a loss; then requests and answers, and writes
/// that nearly fill a small buffer.
pub(crate) fn play_growing_round_trip(declined: ShortPaths) -> World {
    let caps = Capabilities::plain(4500);
    let mut world = World::new(false, caps, [Config::default(), Config::default()], declined, 0);
    world.latency = ms(20);
    world.connect(0, &[]);
    world.run(ms(100));
    for _ in 0..8 {
        world.send(0, 100_000, SendFlags::empty());
        world.run(world.latency * 2);
        world.read(1, 1 << 20);
        world.latency += ms(5);
    }
    for _ in 0..10 {
        world.run(ms(200));
        world.read(1, 1 << 20);
    }
    world.latency = ms(20);
    world.option(0, TcpOption::SendBuffer(4096));
    for (len, pause) in [(100, 0), (100, 50), (2000, 10), (4000, 0), (4096, 0), (300, 1)] {
        for socket in [0, 1] {
            world.send(socket, len, SendFlags::empty());
            world.run(world.latency * 2);
            world.read(1 - socket, 65_536);
        }
        world.run(ms(pause));
    }
    world
}

fn capabilities(chance: &mut Chance) -> Capabilities {
    let mtu = chance.of(&[1500, 1500, 1500, 1280, 9000, 65_535, 65_535, 65_535]);
    let (tx_checksum, gso) = chance.of(&[(false, 0), (false, 0), (false, 0), (true, 0), (true, 65_535)]);
    Capabilities { mtu, tx_checksum, tx_gso_v4: gso, tx_gso_v6: gso }
}

fn faults(chance: &mut Chance) -> Faults {
    if chance.half() {
        return Faults::default();
    }
    let rate = |chance: &mut Chance| chance.of(&[0, 0, 0, 10, 50, 200]);
    Faults {
        lost: rate(chance),
        twice: rate(chance),
        late: rate(chance),
        marked: rate(chance),
        damaged: chance.of(&[0, 0, 0, 20]),
        reported: chance.of(&[0, 0, 5, 30]),
        forged: chance.of(&[0, 0, 0, 20, 100]),
    }
}

fn configuration(chance: &mut Chance) -> Config {
    let mut config = Config::default();
    let tcp = &mut config.tcp;
    let rarely = |chance: &mut Chance| chance.in_thousand(120);
    tcp.timestamps = !rarely(chance);
    tcp.sack = !rarely(chance);
    tcp.window_scaling = !rarely(chance);
    if chance.in_thousand(300) {
        let kinds = [EcnKind::Off, EcnKind::Classic, EcnKind::Accurate];
        tcp.ecn = EcnPolicy { accept: chance.of(&kinds), connect: chance.of(&kinds) };
        tcp.ecn_option = chance.of(&[EcnOption::Never, EcnOption::Sparing, EcnOption::Always]);
    }
    tcp.congestion = chance.of(&["cubic", "cubic", "cubic", "reno", "bbr", "bbr3", "dctcp"]).into();
    tcp.hystart = chance.of(&[HyStart::Classic, HyStart::Classic, HyStart::PlusPlus, HyStart::Off]);
    tcp.recv_buffer_initial = chance.of(&[65_536, 65_536, 65_536, 2048, 500_000]);
    tcp.moderate_recv_buffer = !rarely(chance);
    tcp.shrink_window = rarely(chance);
    tcp.receive_memory_model = rarely(chance).then_some(212_992);
    tcp.send_buffer_max = chance.of(&[4 << 20, 4 << 20, 4 << 20, 16_384, 4096]);
    tcp.segmentation_model = rarely(chance).then_some(2);
    tcp.slow_start_after_idle = !rarely(chance);
    tcp.tail_loss_probes = !rarely(chance);
    tcp.frto = !rarely(chance);
    tcp.initial_window = chance.of(&[10, 10, 10, 1, 2]);
    tcp.mtu_probing = if rarely(chance) { MtuProbing::Always } else { MtuProbing::Off };
    tcp.max_out_of_order_ranges = if rarely(chance) { 3 } else { 1024 };
    tcp.fin_timeout = s(5);
    tcp.time_wait = s(5);
    if rarely(chance) {
        config.memory_limit = 60_000;
    }
    config
}

fn option(chance: &mut Chance) -> TcpOption {
    match chance.below(16) {
        0..=2 => TcpOption::NoDelay(chance.in_thousand(700)),
        3 | 4 => TcpOption::Cork(chance.half()),
        5 => TcpOption::QuickAck(chance.half()),
        6 => TcpOption::KeepAlive(true),
        7 => TcpOption::KeepIdle(s(1)),
        8 => TcpOption::UserTimeout(s(3)),
        9 => TcpOption::SendBuffer(chance.of(&[4096, 20_000])),
        10 => TcpOption::RecvBuffer(chance.of(&[2048, 10_000])),
        11 => TcpOption::Congestion(chance.of(&["cubic", "reno", "bbr", "bbr3", "dctcp"]).into()),
        12 => TcpOption::MaxPacingRate(chance.of(&[10_000, 1_000_000, u64::MAX])),
        13 => TcpOption::OobInline(chance.half()),
        14 => TcpOption::NotsentLowat(chance.of(&[0, 1000])),
        _ => TcpOption::WindowClamp(chance.of(&[0, 3000])),
    }
}

fn length(chance: &mut Chance) -> usize {
    let around = chance.below(40);
    match chance.below(8) {
        0 => 1 + around,
        1 | 2 => 100 + around,
        3 => 1420 + around,
        4 => 2840 + around,
        5 => 6000 + around,
        6 => 20_000,
        _ => 100_000 + around,
    }
}

fn step(world: &mut World, chance: &mut Chance) {
    let socket = chance.below(world.sockets());
    match chance.below(35) {
        0..=3 | 32..=34 => dialog(world, chance, socket),
        4 | 5 => bulk(world, chance, socket),
        6..=9 => {
            let plain = chance.in_thousand(800);
            let all = [SendFlags::MORE, SendFlags::END_OF_RECORD, SendFlags::URGENT, SendFlags::SLEEPS];
            let flags = if plain { SendFlags::empty() } else { chance.of(&all) };
            world.send(socket, length(chance), flags);
        }
        10 | 11 => {
            for _ in 0..2 + chance.below(6) {
                world.send(socket, 1 + chance.below(300), SendFlags::empty());
            }
        }
        12..=14 => {
            let most = chance.of(&[1, 100, 3000, 65_536]);
            world.read(socket, most);
        }
        15 => world.greedy(socket, chance.half()),
        16 | 17 => world.option(socket, option(chance)),
        18 => world.read_urgent(socket),
        19 => world.push(socket),
        20 => world
            .shutdown(socket, chance.of(&[Shutdown::Write, Shutdown::Write, Shutdown::Read, Shutdown::Both])),
        21 if chance.half() => world.let_go(socket, chance.in_thousand(200)),
        22 => world.faults = faults(chance),
        23 if chance.in_thousand(200) => world.connect(chance.below(2), &[]),
        24 => world.run(chance.of(&[s(1), s(3), s(30)])),
        25 | 26 => {
            world.run(chance.of(&[Duration::ZERO, Duration::from_micros(100), ms(3), ms(45), ms(210)]));
        }
        _ => world.run(world.latency * (1 + chance.below(12) as u32) / 2),
    }
}

/// A long text, to readers that keep up.
fn bulk(world: &mut World, chance: &mut Chance, socket: usize) {
    for _ in 0..1 + chance.below(3) {
        world.send(socket, 60_000, SendFlags::empty());
        for _ in 0..3 {
            world.run(world.latency * 2);
            for other in 0..world.sockets() {
                world.read(other, 65_536);
            }
        }
    }
}

/// Requests and answers.
fn dialog(world: &mut World, chance: &mut Chance, socket: usize) {
    let other = chance.below(world.sockets());
    let (request, answer) = (1 + chance.below(2000), 1 + chance.below(3000));
    let pause = chance.of(&[Duration::ZERO, Duration::ZERO, ms(50), ms(600)]);
    for _ in 0..4 + chance.below(10) {
        for (from, to, len) in [(socket, other, request), (other, socket, answer)] {
            world.send(from, len, SendFlags::empty());
            world.run(world.latency * 2);
            world.read(to, 65_536);
        }
        world.run(pause);
    }
}
