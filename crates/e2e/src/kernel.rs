//! The kernel's TCP sockets in the namespace of the calling thread.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use lastack::State;

/// A line of `/proc/net/tcp` or `/proc/net/tcp6`. Records without a socket (TIME_WAIT, an ownerless FIN_WAIT_2, half-open
/// requests) have lines too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kernel's address.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// State.
    pub state: State,
    /// Bytes not acknowledged by the peer.
    pub send_queue: u64,
    /// Bytes not read by the program.
    pub recv_queue: u64,
}

/// All sockets of both families.
///
/// # Panics
/// If the tables cannot be read or have another form than Linux gives them.
#[must_use]
pub fn sockets() -> Vec<Entry> {
    let mut entries = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).expect("procfs");
        entries.extend(text.lines().skip(1).map(|line| parse(line).unwrap_or_else(|| panic!("{line}"))));
    }
    entries
}

/// State of the kernel's end of a connection; CLOSED if it has none.
#[must_use]
pub fn state(local: SocketAddr, remote: SocketAddr) -> State {
    entry(local, remote).map_or(State::Closed, |entry| entry.state)
}

/// The kernel's end of a connection.
#[must_use]
pub fn entry(local: SocketAddr, remote: SocketAddr) -> Option<Entry> {
    sockets().into_iter().find(|entry| entry.local == local && entry.remote == remote)
}

/// What `ss -tan` says: local and remote address and state of each socket.
///
/// # Panics
/// If `ss` cannot be run or prints something else.
#[must_use]
pub fn ss() -> Vec<(SocketAddr, SocketAddr, State)> {
    let output = Command::new("ss").arg("-tanH").output().expect("ss (Debian package iproute2) is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("ss prints text");
    text.lines().map(|line| parse_ss(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

/// Segments that the kernel has sent again in this namespace (`RetransSegs`).
///
/// # Panics
/// If `/proc/net/snmp` has another form than Linux gives it.
#[must_use]
pub fn retransmitted() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").expect("procfs");
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let pair = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "RetransSegs");
    pair.and_then(|(_, value)| value.parse().ok()).expect("RetransSegs")
}

fn parse(line: &str) -> Option<Entry> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let (send, recv) = fields.get(4)?.split_once(':')?;
    Some(Entry {
        local: address(fields.get(1)?)?,
        remote: address(fields.get(2)?)?,
        state: from_code(u8::from_str_radix(fields.get(3)?, 16).ok()?)?,
        send_queue: u64::from_str_radix(send, 16).ok()?,
        recv_queue: u64::from_str_radix(recv, 16).ok()?,
    })
}

/// `0200630A:0050`: words of 32 bits in the byte order of the machine, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for word in ip.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The numbers of Linux's `include/net/tcp_states.h`.
fn from_code(code: u8) -> Option<State> {
    Some(match code {
        1 => State::Established,
        2 => State::SynSent,
        3 => State::SynReceived,
        4 => State::FinWait1,
        5 => State::FinWait2,
        6 => State::TimeWait,
        7 => State::Closed,
        8 => State::CloseWait,
        9 => State::LastAck,
        10 => State::Listen,
        11 => State::Closing,
        12 => State::NewSynRecv,
        _ => return None,
    })
}

fn parse_ss(line: &str) -> Option<(SocketAddr, SocketAddr, State)> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let state = match *fields.first()? {
        "ESTAB" => State::Established,
        "SYN-SENT" => State::SynSent,
        "SYN-RECV" => State::NewSynRecv,
        "FIN-WAIT-1" => State::FinWait1,
        "FIN-WAIT-2" => State::FinWait2,
        "TIME-WAIT" => State::TimeWait,
        "CLOSE-WAIT" => State::CloseWait,
        "LAST-ACK" => State::LastAck,
        "LISTEN" => State::Listen,
        "CLOSING" => State::Closing,
        _ => return None,
    };
    // A listener's peer is `0.0.0.0:*` or `[::]:*`.
    let address = |text: &str| text.replace(":*", ":0").parse().ok();
    Some((address(fields.get(3)?)?, address(fields.get(4)?)?, state))
}

#[cfg(test)]
mod tests {
    use super::{State, parse};

    #[test]
    fn lines_of_both_tables_are_understood() {
        let v4 = "   0: 0100630A:1F90 0200630A:D431 08 00000010:0000002A 00:00000000 00000000 0 0 1 1 0";
        let entry = parse(v4).unwrap();
        assert_eq!((entry.local, entry.state), ("10.99.0.1:8080".parse().unwrap(), State::CloseWait));
        assert_eq!(
            (entry.remote, entry.send_queue, entry.recv_queue),
            ("10.99.0.2:54321".parse().unwrap(), 16, 42)
        );
        let v6 = "   1: 000099FD000000000000000001000000:0050 000099FD000000000000000002000000:0051 06 \
                  00000000:00000000 03:00000ABC 00000000 0 0 0 3 0";
        let entry = parse(v6).unwrap();
        assert_eq!((entry.local, entry.state), ("[fd99::1]:80".parse().unwrap(), State::TimeWait));
        assert_eq!(entry.remote, "[fd99::2]:81".parse().unwrap());
    }
}
