//! ICMP errors in every state (rows S27 to S29).

mod common;
use common::matrix::run_row;
use common::*;

fn check(kind: &'static str, setup: &Setup, row: &str, quoted: impl Fn(Start) -> i64) {
    let mut failures = Vec::new();
    let cells = run_row(
        kind,
        setup,
        row,
        |start, rig| {
            rig.icmp(kind, 1000, quoted(start));
            None
        },
        &mut failures,
    );
    assert!(cells > 0);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

const QUIET: &str = "| LI,NSR = - | sync = - | F2o = - | TW = - keep";

/// Holds: MUST-54, SHLD-26
#[test]
fn hard_errors_end_attempts_only() {
    // S27. The quoted number is in flight. In LISTEN and without a record there is nothing to hit.
    for (kind, errno) in [("port", "ECONNREFUSED"), ("protocol", "ENOPROTOOPT")] {
        let row = format!("CL = - | SS,SR gone - {errno} {QUIET}");
        check(kind, &Setup::default(), &row, Start::snd_una);
    }
    // Over IPv6 Linux ends half-open requests by the hard ones, over IPv4 by the soft ones.
    let row =
        format!("CL = - | SS,SR gone - ECONNREFUSED {QUIET}").replace("LI,NSR = -", "LI = - | NSR gone -");
    check("port", &Setup::v6(), &row, Start::snd_una);
}

/// Holds: MUST-56
#[test]
fn soft_errors_end_attempts_and_half_open_requests() {
    // S28, n29.
    let quiet = "CL,LI = - | sync = - | F2o = - | TW = - keep";
    for (kind, errno) in
        [("net", "ENETUNREACH"), ("host", "EHOSTUNREACH"), ("ttl", "EHOSTUNREACH"), ("parameter", "EPROTO")]
    {
        for setup in [Setup::default(), Setup::v6()] {
            let request = if setup.v6 && kind != "parameter" { "=" } else { "gone" };
            check(kind, &setup, &format!("SS,SR gone - {errno} | NSR {request} - | {quiet}"), Start::snd_una);
        }
    }
}

/// Holds: MUST-54
#[test]
fn errors_that_quote_nothing_in_flight_are_ignored() {
    for kind in ["port", "host", "big"] {
        let row = "SS,NSR,SR = - | sync = - | F2o = - | TW = - keep";
        check(kind, &Setup::default(), row, |start| start.snd_nxt() + 5000);
        check(kind, &Setup::default(), row, |start| start.snd_una() - 5000);
    }
}

#[test]
fn too_big_cuts_the_segment_size_and_sends_again_at_once() {
    // S29.
    for setup in [Setup::default(), Setup { mtu: 1500, ..Setup::v6() }] {
        let v6 = setup.v6;
        let mut rig = Start::Established.rig(setup);
        rig.write_len(5000);
        rig.close();
        rig.take();
        let mtu = if v6 { 1300 } else { 1000 };
        rig.icmp("big", mtu, 0);
        let sent: Vec<_> = rig.sent.drain(..).collect();
        assert!(!sent.is_empty());
        assert!(sent.iter().all(|sent| sent.packet.len() <= usize::from(mtu)), "{sent:?}");
        assert_eq!(sent[0].rel_seq, 0);
        rig.expect_state(State::FinWait1);
        rig.inject(seg("ACK", 0, 5001));
        rig.expect_state(State::FinWait2);
        rig.advance(s(60));
        rig.expect_all_freed();
    }
}

#[test]
fn too_big_ends_nothing_in_any_state() {
    check("big", &Setup::default(), "SS,SR,NSR = - | ES,F2 = - | F2o = - | TW = - keep", Start::snd_una);
    for start in [Start::FinWait1, Start::Closing, Start::LastAck, Start::LastAckOrphan] {
        let mut rig = start.rig(Setup::default());
        rig.icmp("big", 1000, 0);
        assert_eq!(rig.state(), start.state());
        for text in rig.take() {
            assert!(text.starts_with("FIN,ACK 0(0)"), "{text}");
        }
        rig.inject(seg("ACK", start.rcv_nxt(), 1));
        assert_ne!(rig.state(), start.state());
    }
}

#[test]
fn a_host_unreachable_about_the_segment_under_back_off_undoes_one_doubling() {
    // RFC 6069.
    let mut rig = Start::Established.rig(Setup::default());
    rig.write(b"hello").unwrap();
    rig.advance(s(2));
    let before = rig.stack.tcp_info(rig.h()).unwrap().backoff;
    rig.icmp("host", 0, 0);
    assert_eq!(rig.stack.tcp_info(rig.h()).unwrap().backoff, before - 1);
}

#[test]
fn a_refused_datagram_draws_port_unreachable_that_quotes_it() {
    for setup in [Setup::default(), Setup::v6()] {
        let v6 = setup.v6;
        let mut rig = Start::Nothing.rig(setup);
        rig.stack.udp_refuse(rig.now, rig.local, rig.peer, 100, lastack_core::IcmpUnreach::Port);
        rig.pump();
        let [packet] = &rig.others[..] else { panic!("one packet, not {}", rig.others.len()) };
        let head = if v6 { 40 } else { 20 };
        assert_eq!(packet[head..head + 2], if v6 { [1, 4] } else { [3, 3] }, "type and code");
        // Behind the ICMP header the datagram's own: addresses, then ports and length.
        let quote = &packet[head + 8..];
        let ports = [rig.peer.port(), rig.local.port(), 108].map(u16::to_be_bytes).concat();
        assert_eq!(quote[head..head + 6], ports);
        let addresses = if v6 { quote[8..40].to_vec() } else { quote[12..20].to_vec() };
        let both = [rig.peer, rig.local].map(|addr| match addr.ip() {
            std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
            std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
        });
        assert_eq!(addresses, both.concat());
    }
}
