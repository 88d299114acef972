//! A schedule as a packetdrill script: what one end did, and what the other sent to it.

use crate::configuration::{Configuration, RETRIES2};
use lastack_core::wire::tcp::{Flags, Segment};
use lastack_core::{Instant, Shutdown};
use lastack_sim::{Call, Log, Op, Outcome, Side, What, packet, segment_of};
use std::fmt::Write;

/// Descriptor of the listener.
const LISTENER: u8 = 3;

/// Descriptor of the connection.
const fn connection(side: Side) -> u8 {
    match side {
        Side::A => LISTENER,
        Side::B => LISTENER + 1,
    }
}

/// The script of one end: `lastack script` and packetdrill play it. It ends where the machine crashes.
#[must_use]
pub fn script(configuration: &Configuration, log: &Log, side: Side) -> String {
    let mut writer = Writer { text: String::new(), side, at: Instant::ZERO, segments: log.segments() };
    let _ =
        writeln!(writer.text, "// {}, {}'s end: {}.", configuration.name, side.name(), configuration.summary);
    let _ = writeln!(
        writer.text,
        "`sysctl -q net.ipv4.tcp_retries2={RETRIES2} net.ipv4.tcp_syn_linear_timeouts=0 net.ipv4.tcp_timestamps={}`",
        u8::from(configuration.timestamps)
    );
    for record in log.records.iter().filter(|record| record.side == side) {
        match &record.what {
            What::Call(call) if matches!(call.op, Op::Reboot | Op::PowerOff) => {
                writer.text.push_str("// Here the machine crashes.\n");
                break;
            }
            What::Call(call) => writer.call(record.at, call),
            What::Sent(index) => writer.packet(record.at, log, *index, '>'),
            What::Arrived(index) => writer.packet(record.at, log, *index, '<'),
            What::Transition(_) => {}
        }
    }
    writer.text
}

struct Writer {
    text: String,
    side: Side,
    /// Time of the last line.
    at: Instant,
    segments: Vec<packet::Sent>,
}

impl Writer {
    fn line(&mut self, at: Instant, what: &str) {
        let pause = at.saturating_since(self.at);
        self.at = at;
        let _ = writeln!(self.text, "+{}.{:06} {what}", pause.as_secs(), pause.subsec_micros());
    }

    fn call(&mut self, at: Instant, call: &Call) {
        let fd = connection(self.side);
        let result = match call.outcome {
            Outcome::Bytes(n) => n.to_string(),
            Outcome::Started => "-1 EINPROGRESS (in progress)".to_owned(),
            Outcome::Done => "0".to_owned(),
            Outcome::Failed(error) => format!("-1 {}", error.errno_name()),
        };
        match call.op {
            Op::Listen => {
                self.socket(at, LISTENER);
                self.line(at, &format!("bind({LISTENER}, ..., ...) = 0"));
                self.line(at, &format!("listen({LISTENER}, 4) = {result}"));
            }
            Op::Accept if call.outcome == Outcome::Done => {
                self.line(at, &format!("accept({LISTENER}, ..., ...) = {fd}"));
                self.line(at, &no_delay(fd));
            }
            Op::Accept => self.line(at, &format!("accept({LISTENER}, ..., ...) = {result}")),
            Op::Connect if call.outcome == Outcome::Started => {
                self.socket(at, fd);
                self.line(at, &no_delay(fd));
                self.line(at, &format!("fcntl({fd}, F_SETFL, O_RDWR|O_NONBLOCK) = 0"));
                self.line(at, &format!("connect({fd}, ..., ...) = {result}"));
            }
            Op::Connect => {
                let error = match call.outcome {
                    Outcome::Failed(error) => error.errno_name(),
                    _ => "0",
                };
                self.line(at, &format!("getsockopt({fd}, SOL_SOCKET, SO_ERROR, [{error}], [4]) = 0"));
            }
            Op::Write(len) => self.line(at, &format!("write({fd}, ..., {len}) = {result}")),
            Op::Read => self.line(at, &format!("read({fd}, ..., 4096) = {result}")),
            Op::Shutdown(how) => {
                let how = match how {
                    Shutdown::Read => "SHUT_RD",
                    Shutdown::Write => "SHUT_WR",
                    Shutdown::Both => "SHUT_RDWR",
                };
                self.line(at, &format!("shutdown({fd}, {how}) = {result}"));
            }
            Op::SetOption("SO_LINGER") => self.line(at, &linger_zero(fd)),
            Op::SetOption(_) => {
                for (level, name, value) in [
                    ("SOL_TCP", "TCP_KEEPIDLE", 10),
                    ("SOL_TCP", "TCP_KEEPINTVL", 5),
                    ("SOL_TCP", "TCP_KEEPCNT", 3),
                    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
                ] {
                    self.line(at, &format!("setsockopt({fd}, {level}, {name}, [{value}], 4) = 0"));
                }
            }
            // Sockets know no abort; this is how a program asks for one.
            Op::Abort => {
                self.line(at, &linger_zero(fd));
                self.line(at, &format!("close({fd}) = 0"));
            }
            Op::Close => self.line(at, &format!("close({fd}) = 0")),
            Op::CloseListener => self.line(at, &format!("close({LISTENER}) = 0")),
            Op::PowerOff | Op::Reboot => {}
        }
    }

    fn socket(&mut self, at: Instant, descriptor: u8) {
        self.line(at, &format!("socket(..., SOCK_STREAM, IPPROTO_TCP) = {descriptor}"));
        let reuse = format!("setsockopt({descriptor}, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0");
        self.line(at, &reuse);
    }

    fn packet(&mut self, at: Instant, log: &Log, index: usize, direction: char) {
        let Some(packet) = log.packets.get(index) else { return };
        let Some((_, tcp)) = segment_of(&packet.bytes) else { return };
        let Some(sent) = self.segments.get(index).copied() else { return };
        // In a script numbers count from the SYN.
        // A reset without a connection has the number 0 on the wire.
        let start = if sent.wire_seq.0 == 0 { 0 } else { sent.seq + 1 };
        let end = start + sent.len as i32;
        let mut text = format!("{direction} {} {start}:{end}({})", flags(tcp.flags), sent.len);
        if let Some(ack) = sent.ack {
            let _ = write!(text, " ack {}", ack + 1);
        }
        if direction == '<' {
            let _ = write!(text, " win {}", tcp.window);
        }
        let _ = write!(text, " <{}>", options(&tcp, direction));
        self.line(at, &text);
    }
}

fn no_delay(fd: u8) -> String {
    format!("setsockopt({fd}, SOL_TCP, TCP_NODELAY, [1], 4) = 0")
}

fn linger_zero(fd: u8) -> String {
    format!("setsockopt({fd}, SOL_SOCKET, SO_LINGER, {{onoff=1, linger=0}}, 8) = 0")
}

/// What is sent is compared without its options; what arrives needs them.
fn options(tcp: &Segment<'_>, direction: char) -> String {
    if direction == '>' {
        return "...".to_owned();
    }
    let mut list = Vec::new();
    let options = &tcp.options;
    if let Some(mss) = options.mss {
        list.push(format!("mss {mss}"));
    }
    if options.sack_permitted {
        list.push("sackOK".to_owned());
    }
    if let Some((value, echo)) = options.timestamps {
        list.push(format!("TS val {value} ecr {echo}"));
    }
    if let Some(shift) = options.window_scale {
        list.push(format!("nop,wscale {shift}"));
    }
    list.join(",")
}

fn flags(flags: Flags) -> String {
    let letters =
        [(Flags::SYN, 'S'), (Flags::FIN, 'F'), (Flags::RST, 'R'), (Flags::PSH, 'P'), (Flags::ACK, '.')];
    letters.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, letter)| letter).collect()
}
