//! Whether a packet of the stack is the one that a line expects.

use super::build::{self, Numbers};
use super::flow::Flow;
use super::observed::{Body, Observed, Tcp, flag_text, option_text};
use super::settings::Settings;
use crate::script::{Ecn, IpPart, Options, Packet, TcpPart, Transport};
use lastack_wire::tcp::Flags;

type Checked = Result<(), String>;

fn same<T: PartialEq + std::fmt::Display>(what: &str, expected: T, got: T) -> Checked {
    if expected == got { Ok(()) } else { Err(format!("{what}: expected {expected}, got {got}")) }
}

/// Compares everything that a line says with a packet.
///
/// # Errors
/// The first difference.
pub(super) fn packet(line: &Packet, seen: &Observed, flow: Option<&Flow>, settings: &Settings) -> Checked {
    ip(&line.ip, seen)?;
    match (&line.transport, &seen.body) {
        (Transport::Tcp(part), Body::Tcp(tcp)) => {
            let flow = flow.ok_or("the segment belongs to another connection")?;
            segment(part, tcp, flow, settings)
        }
        (Transport::Udp(len), Body::Udp { len: got, .. }) => same("length of the datagram", *len, *got),
        (Transport::Icmp(message), Body::Icmp { kind, code, rest }) => {
            let (wanted, wanted_code) = build::icmp_numbers(message, settings.ip_version.is_v6())?;
            same("ICMP type", wanted, *kind)?;
            same("ICMP code", wanted_code, *code)?;
            message.mtu.map_or(Ok(()), |mtu| {
                let got = u32::from_be_bytes(*rest);
                same("MTU", mtu, if settings.ip_version.is_v6() { got } else { got & 0xffff })
            })
        }
        _ => Err("a packet of another protocol".into()),
    }
}

fn ip(part: &IpPart, seen: &Observed) -> Checked {
    let bits = seen.tos & 3;
    let ecn = match part.ecn {
        None => true,
        Some(Ecn::None) => bits == 0,
        Some(Ecn::Ect1) => bits == 1,
        Some(Ecn::Ect0) => bits == 2,
        Some(Ecn::Ce) => bits == 3,
        Some(Ecn::Ect01) => bits == 1 || bits == 2,
    };
    if !ecn {
        let names = ["noecn", "ect1", "ect0", "ce"];
        return Err(format!("ECN bits: got {}", names.get(usize::from(bits)).copied().unwrap_or_default()));
    }
    part.tos.map_or(Ok(()), |tos| same("TOS", tos, seen.tos))?;
    part.ttl.map_or(Ok(()), |ttl| same("TTL", ttl, seen.ttl))?;
    part.flow_label.map_or(Ok(()), |label| same("flow label", label, seen.flow_label))
}

fn segment(part: &TcpPart, seen: &Tcp, flow: &Flow, settings: &Settings) -> Checked {
    if !seen.checksum_ok {
        return Err("the TCP checksum is wrong".into());
    }
    same("TCP flags", flag_text(part.flags), flag_text(seen.flags))?;
    same("reserved bits", 0, seen.reserved)?;
    // A RST that answers a segment without ACK has the number 0, whatever the connection's numbers are.
    let no_number = seen.flags == Flags::RST | Flags::ACK && (seen.seq, part.seq) == (0, 0);
    if !no_number {
        same("sequence number", part.seq, flow.local_in_script(seen.seq))?;
    }
    same("length of the payload", part.len, seen.len)?;
    match part.ack {
        Some(ack) => same("acknowledgement number", ack, Flow::remote_in_script(seen.ack))?,
        None => same("acknowledgement number without its flag", 0, seen.ack)?,
    }
    let urgent = part.urg.unwrap_or(0);
    if part.urg.is_some() || !part.flags.contains(Flags::URG) {
        same("urgent pointer", urgent, seen.urgent)?;
    }
    part.win.map_or(Ok(()), |win| same("window", win, seen.window))?;
    if !seen.zeros {
        return Err("the payload is not what the program wrote: a byte is not zero".into());
    }
    let Options::List(list) = &part.options else { return Ok(()) };
    let mut expected = build::options(list, &Ours { seen, flow, tick: settings.timestamp_tick })?;
    copy_any_digest(list, &mut expected, &seen.options);
    if expected != seen.options {
        let (expected, got) = (option_text(&expected), option_text(&seen.options));
        return Err(format!("TCP options: expected <{expected}>, got <{got}>"));
    }
    Ok(())
}

/// Options that the stack sends: it speaks of the peer's data, and chooses its timestamps itself.
struct Ours<'a> {
    seen: &'a Tcp,
    flow: &'a Flow,
    tick: i64,
}

impl Numbers for Ours<'_> {
    fn edge(&self, script: u32) -> u32 {
        Flow::remote(script)
    }

    fn timestamp(&self, value: u32, echo: u32) -> Result<(u32, u32), String> {
        let Some((got, got_echo)) = timestamp(&self.seen.options) else { return Ok((value, echo)) };
        if self.tick == 0 {
            return Ok((got, got_echo));
        }
        // A stamp may be one tick of the clock beside.
        let near = |wanted: u32| got.wrapping_sub(wanted).cast_signed().abs() <= 1;
        let wanted = self.flow.timestamp_at(value, self.tick).unwrap_or(got);
        Ok((if near(wanted) { got } else { wanted }, echo))
    }
}

/// Value and echo of the timestamp in an option list.
pub(super) fn timestamp(mut options: &[u8]) -> Option<(u32, u32)> {
    loop {
        match options {
            [1, rest @ ..] => options = rest,
            [8, 10, v0, v1, v2, v3, e0, e1, e2, e3, ..] => {
                return Some((
                    u32::from_be_bytes([*v0, *v1, *v2, *v3]),
                    u32::from_be_bytes([*e0, *e1, *e2, *e3]),
                ));
            }
            [kind, len, ..] if *kind > 1 && *len >= 2 => options = options.get(usize::from(*len)..)?,
            _ => return None,
        }
    }
}

/// `md5` without a digest stands for any.
fn copy_any_digest(list: &[crate::script::TcpOption], expected: &mut [u8], seen: &[u8]) {
    if !list.contains(&crate::script::TcpOption::Md5(None)) {
        return;
    }
    for at in 0..expected.len().saturating_sub(17) {
        if expected.get(at..at + 2) == Some(&[19, 18])
            && let (Some(to), Some(from)) = (expected.get_mut(at + 2..at + 18), seen.get(at + 2..at + 18))
        {
            to.copy_from_slice(from);
        }
    }
}
