//! The proof that `lastack-core` needs no standard library and no libc: a program with an entry point, a panic handler
//! and an allocator of its own, in which two stacks open a connection, carry data and close it. `cargo xtask no-std`
//! links it with `-nostdlib -nostartfiles -static` and runs it; the exit status is 0 only if the bytes arrived.
//!
//! It can fail. With `extern crate std;` in the core, or a dependency with its `std` feature on, the build ends with
//! `error[E0152]: found duplicate lang item `panic_impl``; with a call of libc (say, its clock), with
//! `undefined reference to `clock_gettime``.
#![no_std]
#![no_main]

extern crate alloc;

mod runtime;

use lastack_core::wire::Capabilities;
use lastack_core::{Config, Instant, Stack};

/// Runs the exchange. The number of the step that failed, or 0.
fn exchange() -> i32 {
    let now = Instant::from_secs(1);
    let (mut a, mut b) = (stack([10, 0, 0, 1], 1), stack([10, 0, 0, 2], 2));
    let Ok(address) = "10.0.0.2:80".parse() else { return 1 };
    let listener = b.tcp_socket();
    if b.tcp_bind(listener, address).is_err() || b.tcp_listen(now, listener, 1).is_err() {
        return 2;
    }
    let client = a.tcp_socket();
    if a.tcp_connect(now, client, address).is_err() {
        return 3;
    }
    carry(now, &mut a, &mut b);
    let Ok(server) = b.tcp_accept(listener) else { return 4 };
    if a.tcp_write(now, client, b"hello") != Ok(5) {
        return 5;
    }
    a.tcp_close(now, client);
    carry(now, &mut a, &mut b);
    let mut buf = [0; 16];
    if b.tcp_read(now, server, &mut buf) != Ok(5) || buf[..5] != *b"hello" {
        return 6;
    }
    if b.tcp_read(now, server, &mut buf) != Ok(0) {
        return 7;
    }
    b.tcp_close(now, server);
    carry(now, &mut a, &mut b);
    // B is done with it; A keeps a TIME_WAIT record, which its timer ends.
    if a.counts().time_wait != 1 {
        return 8;
    }
    while let Some(deadline) = a.next_timeout() {
        a.handle_timeout(deadline);
    }
    if a.is_idle() { 0 } else { 9 }
}

fn stack(address: [u8; 4], seed: u8) -> Stack {
    let mut config = Config::default();
    config.addresses.extend(lastack_core::Cidr::new(address.into(), 24));
    Stack::new(config, Capabilities::plain(1500), [seed; 32], Instant::ZERO)
}

/// Carries packets both ways until both sides are silent.
fn carry(now: Instant, a: &mut Stack, b: &mut Stack) {
    let mut frame = [0; 1500];
    while one_way(now, a, b, &mut frame) | one_way(now, b, a, &mut frame) {}
}

fn one_way(now: Instant, from: &mut Stack, to: &mut Stack, frame: &mut [u8]) -> bool {
    let mut moved = false;
    while let Some((len, meta)) = from.transmit(now, frame) {
        to.receive(now, &meta, &frame[..len]);
        moved = true;
    }
    moved
}
