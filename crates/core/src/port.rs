//! Ephemeral ports (RFC 6056; Linux `__inet_hash_connect`): chosen per four-tuple, so that a port in use towards one peer
//! is free for another, and in an order that nobody can foretell.

use crate::ctx::Ctx;
use crate::demux::{Found, Tables};
use crate::tcp::tcb::Tuple;
use crate::tcp::time_wait::Inheritance;

/// Whether a four-tuple can be taken by an outgoing connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Availability {
    Free,
    /// A TIME_WAIT record may be taken over.
    Reusable(Found, Inheritance),
    Taken,
}

pub(crate) fn availability(tables: &Tables, cx: &Ctx, tuple: &Tuple) -> Availability {
    match tables.find(cx, tuple) {
        None => Availability::Free,
        Some(found @ Found::TimeWait4(key)) => {
            reusable(found, tables.time_wait4.get(key).and_then(|record| record.may_be_reused(cx)))
        }
        Some(found @ Found::TimeWait6(key)) => {
            reusable(found, tables.time_wait6.get(key).and_then(|record| record.may_be_reused(cx)))
        }
        Some(Found::Connection(_) | Found::Request(_)) => Availability::Taken,
    }
}

fn reusable(found: Found, inheritance: Option<Inheritance>) -> Availability {
    inheritance.map_or(Availability::Taken, |inheritance| Availability::Reusable(found, inheritance))
}

/// A port for `tuple` (whose local port is not set) and how the four-tuple can be had. Each port of the range is tried
/// once, beginning where the last search for this destination ended; free ones first, TIME_WAIT records last.
pub(crate) fn choose(tables: &mut Tables, cx: &Ctx, tuple: &Tuple) -> Option<(u16, Availability)> {
    let (low, high) = cx.cfg.ephemeral_ports;
    let (low, high) = (low.max(1), high.max(low.max(1)));
    let count = u32::from(high - low) + 1;
    let hash = cx.port_hash(tuple);
    let bucket = (hash >> 48) as u16;
    let offset = hash as u32 % count;
    let start = u32::from(*tables.port_counter(bucket));
    let mut second_best = None;
    for step in 0..count {
        let position = (start + step) % count;
        let port = low + ((offset + position) % count) as u16;
        if !tables.port_is_unbound(port) {
            continue;
        }
        let candidate = Tuple { local_port: port, ..*tuple };
        match availability(tables, cx, &candidate) {
            Availability::Free => {
                *tables.port_counter(bucket) = ((position + 1) % count) as u16;
                return Some((port, Availability::Free));
            }
            reusable @ Availability::Reusable(..) => {
                second_best.get_or_insert((position, port, reusable));
            }
            Availability::Taken => {}
        }
    }
    second_best.map(|(position, port, availability)| {
        *tables.port_counter(bucket) = ((position + 1) % count) as u16;
        (port, availability)
    })
}
