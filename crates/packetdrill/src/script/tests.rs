//! Every form of the language, and what is said when a script is wrong.

use super::*;
use lastack_wire::tcp::Flags;

fn parse(text: &str) -> Result<Script, ParseError> {
    Script::parse("x.pkt", text, &Defines::new())
}

fn events(text: &str) -> Vec<Event> {
    parse(text).unwrap_or_else(|error| panic!("{error}")).events
}

fn times(text: &str) -> Vec<Time> {
    events(text).into_iter().map(|event| event.time).collect()
}

fn segment(text: &str) -> TcpPart {
    match events(text).remove(0).action {
        Action::Inject(Packet { transport: Transport::Tcp(tcp), .. })
        | Action::Expect(Packet { transport: Transport::Tcp(tcp), .. }) => tcp,
        other => panic!("{other:?}"),
    }
}

fn call(text: &str) -> CallLine {
    match events(text).remove(0).action {
        Action::Call(call) => call,
        other => panic!("{other:?}"),
    }
}

fn problem(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn options_commands_and_comments_stand_around_events() {
    let script = parse(
        "// about\n--tolerance_usecs=14000\n--ip_version=ipv4\n-D NAME=5\n`./set up`\n/* many\nlines */\n\
         # from the start\n0 close(3) = 0 // why\n`tidy\nup`\n",
    )
    .unwrap();
    let options: Vec<_> =
        script.options.iter().map(|o| (o.line, o.name.as_str(), o.value.as_str())).collect();
    assert_eq!(
        options,
        [(2, "tolerance_usecs", "14000"), (3, "ip_version", "ipv4"), (4, "define", "NAME=5")]
    );
    assert_eq!(script.setup, Some((5, "./set up".into())));
    assert_eq!(script.cleanup, Some((10, "tidy\nup".into())));
    assert_eq!(script.events.len(), 1);
    assert_eq!((script.events[0].line, script.events[0].text.as_str()), (9, "close(3) = 0"));
}

#[test]
fn times_have_seven_forms() {
    let text = "0.1 `a`\n+.25 `a`\n+0 `a`\n* `a`\n.2~.3 `a`\n+.1~+.2 `a`\n+0...0.300 close(3) = 0\n1...2.5 close(3) = 0\n";
    assert_eq!(
        times(text),
        [
            Time::Absolute(100_000),
            Time::Relative(250_000),
            Time::Relative(0),
            Time::Any,
            Time::AbsoluteRange(200_000, 300_000),
            Time::RelativeRange(100_000, 200_000),
            Time::RelativeBlocking(0, 300_000),
            Time::Blocking(1_000_000, 2_500_000),
        ]
    );
}

#[test]
fn segments_have_flags_numbers_and_options() {
    let syn = segment("0 < S 0:0(0) win 32792 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7,eol>");
    assert_eq!((syn.flags, syn.seq, syn.len, syn.ack, syn.win), (Flags::SYN, 0, 0, None, Some(32792)));
    let TcpOption::Timestamp(100, 0) = (match &syn.options {
        Options::List(list) => list[2].clone(),
        Options::Any => panic!(),
    }) else {
        panic!()
    };
    let all = segment("0 > FPR.UEWA 1:1001(1000) ack 5 win 9 urg 3 <...>");
    let flags =
        Flags::FIN | Flags::PSH | Flags::RST | Flags::ACK | Flags::URG | Flags::ECE | Flags::CWR | Flags::AE;
    assert_eq!((all.flags, all.len, all.ack, all.win, all.urg), (flags, 1000, Some(5), Some(9), Some(3)));
    assert_eq!(all.options, Options::Any);
    assert_eq!(segment("0 > - 1:1(0)").flags, Flags::empty());
    let sack = segment("0 > . 1:1(0) ack 1 <nop,nop,sack 1001:2001 3001:4001>");
    let blocks = vec![(1001, 2001), (3001, 4001)];
    assert_eq!(sack.options, Options::List(vec![TcpOption::Nop, TcpOption::Nop, TcpOption::Sack(blocks)]));
    let open = segment("0 > S 0:0(0) <mss 1460,FO,FO 0102,FOEXP a1b2,md5 00ff,md5>");
    let Options::List(list) = open.options else { panic!() };
    assert_eq!(list[1], TcpOption::FastOpen(vec![]));
    assert_eq!(list[2], TcpOption::FastOpen(vec![1, 2]));
    assert_eq!(list[3], TcpOption::FastOpenExperimental(vec![0xa1, 0xb2]));
    assert_eq!((&list[4], &list[5]), (&TcpOption::Md5(Some(vec![0, 0xff])), &TcpOption::Md5(None)));
}

#[test]
fn the_ip_part_and_ports_stand_before_the_flags() {
    let text = "0 > [ect0] . 1:1(0) ack 1\n0 > (tos 0x10, ttl 7) 8080 > 5000: . 1:1(0) ack 1\n0 > [noecn,flowlabel 0x1f] 1 > 2 R 1:1(0)";
    let parts: Vec<_> = events(text)
        .into_iter()
        .map(|event| match event.action {
            Action::Expect(packet) => (packet.ip, packet.ports),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(parts[0], (IpPart { ecn: Some(Ecn::Ect0), ..IpPart::default() }, None));
    assert_eq!(parts[1], (IpPart { tos: Some(16), ttl: Some(7), ..IpPart::default() }, Some((8080, 5000))));
    assert_eq!(parts[2].0, IpPart { ecn: Some(Ecn::None), flow_label: Some(31), ..IpPart::default() });
}

#[test]
fn icmp_and_udp_have_their_own_form() {
    let defines = Defines::from([("CODE".to_owned(), "host_unreachable".to_owned())]);
    let text = "0 < icmp unreachable frag_needed mtu 1200 [1:1001(1000)]\n0 < icmp unreachable CODE [1:1(0)]\n0 < udp (50)\n";
    let events = Script::parse("x", text, &defines).unwrap().events;
    let Action::Inject(Packet { transport: Transport::Icmp(icmp), .. }) = &events[0].action else { panic!() };
    assert_eq!(
        (icmp.kind.as_str(), icmp.code.as_str(), icmp.mtu),
        ("unreachable", "frag_needed", Some(1200))
    );
    assert_eq!(icmp.quoted, Some(Quoted { seq: 1, len: 1000 }));
    let Action::Inject(Packet { transport: Transport::Icmp(icmp), .. }) = &events[1].action else { panic!() };
    assert_eq!(icmp.code, "host_unreachable");
    let Action::Inject(Packet { transport: Transport::Udp(50), .. }) = &events[2].action else { panic!() };
}

#[test]
fn arguments_are_numbers_flags_text_lists_structs_and_blanks() {
    let socket = call("0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3");
    let kind = i64::from(libc::SOCK_STREAM | libc::SOCK_NONBLOCK);
    assert_eq!(socket.args, [Expr::Ellipsis, Expr::Int(kind), Expr::Int(6)]);
    assert_eq!(socket.want, Want::Value(3));
    assert_eq!(call("0 fcntl(3, F_GETFL) = 0x802 (flags O_RDWR|O_NONBLOCK)").want, Want::Value(0x802));
    let linger = call("0 setsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=1, linger=0}, 8) = 0");
    let Expr::Struct(fields) = &linger.args[3] else { panic!() };
    assert_eq!((fields[0].name.as_str(), &fields[0].value), ("onoff", &Expr::Int(1)));
    assert_eq!(
        call("0 read(3, NULL, 0x10) = -1 EFAULT (Bad address)").want,
        Want::Error(libc::EFAULT, "EFAULT".into())
    );
    let message =
        call("0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 1000}], msg_flags=0}, MSG_PEEK) = ...");
    let Expr::Struct(fields) = &message.args[1] else { panic!() };
    assert_eq!((fields[0].name.as_str(), &fields[0].count), ("msg_name", &Some(Expr::Ellipsis)));
    let unnamed = Field { name: String::new(), count: None, value: Expr::Ellipsis };
    let Expr::List(pieces) = &fields[1].value else { panic!() };
    assert_eq!(pieces[0], Expr::Struct(vec![unnamed.clone(), Field { value: Expr::Int(1000), ..unnamed }]));
    let bind = call(
        "0 bind(3, {sa_family = AF_INET, sin_port = htons(8080), sin_addr = inet_addr(\"1.2.3.4\")}, 16) = 0",
    );
    let Expr::Struct(fields) = &bind.args[1] else { panic!() };
    assert_eq!(fields[2].value, Expr::Apply("inet_addr".into(), vec![Expr::Text("1.2.3.4".into())]));
    assert_eq!(message.want, Want::Any);
}

#[test]
fn a_define_stands_for_its_value() {
    let script = "--define=SIZE=0x10\n0 read(3, ..., SIZE) = SIZE\n0 > S 0:0(0) <mss SIZE,FO COOKIE>\n";
    let defines = Defines::from([("COOKIE".to_owned(), "0a0b".to_owned())]);
    let events = Script::parse("x", script, &defines).unwrap().events;
    let Action::Call(call) = &events[0].action else { panic!() };
    assert_eq!((&call.args[2], &call.want), (&Expr::Int(16), &Want::Value(16)));
    let Action::Expect(Packet { transport: Transport::Tcp(tcp), .. }) = &events[1].action else { panic!() };
    assert_eq!(tcp.options, Options::List(vec![TcpOption::Mss(16), TcpOption::FastOpen(vec![10, 11])]));
}

#[test]
fn a_problem_names_the_line_what_was_expected_and_what_is_there() {
    let cases = [
        (
            "0 close(3) = 0\n0 > X 1:1(0)",
            "x.pkt:2: TCP flags (of 'SFRP.UEWA' and 0 to 7, or '-' for none) expected, found 'X 1:1(0)'",
        ),
        ("\n\n0 > . 1:11(9) ack 1", "x.pkt:3: 1:11 are 10 bytes, not 9"),
        ("0 > . 1:1(0)", "x.pkt:1: the flag '.' and 'ack NUMBER' belong together"),
        (
            "0 < . 1:1(0) ack 1 <...>",
            "x.pkt:1: a segment that is injected needs its options in full, not <...>",
        ),
        ("0 close(3) = -1 EWHAT", "x.pkt:1: unknown error name 'EWHAT'"),
        ("0 close(3) 0", "x.pkt:1: '=' and the result of the call expected, found '0'"),
        (
            "close(3) = 0",
            "x.pkt:1: a time ('0.1', '+.1', '*') at the start of an event expected, found 'close(3) = 0'",
        ),
        (
            "+.2~.3 close(3) = 0",
            "x.pkt:1: both ends of a range are absolute, or both are relative ('+.1~+.2')",
        ),
        (
            "0...1 > . 1:1(0) ack 1",
            "x.pkt:1: only a system call has a time when it begins and one when it returns",
        ),
        ("0 < . 1:1(0) ack 1 win 70000", "x.pkt:1: 70000 is out of range for a window (0 to 65535)"),
        ("--=3\n0 `a`", "x.pkt:1: an option is --name=value, not '--=3'"),
        ("0 `a", "x.pkt:1: '`' at the end of a shell command expected, found 'a'"),
        ("// nothing\n", "x.pkt:2: the script has no events"),
        ("0 > . 1:1(0) ack 1 <mss>", "x.pkt:1: an MSS expected, found '>'"),
    ];
    for (text, message) in cases {
        assert_eq!(problem(text), message, "{text}");
    }
}

#[test]
fn what_this_runner_does_not_know_is_told_apart_from_mistakes() {
    for text in [
        "0 > . 1:1(0) ack 1 <exotic 5>",
        "0 setsockopt(3, SOL_TCP, TCP_WHATEVER, [1], 4) = 0",
        "0 > ipv4 1.2.3.4 > 5.6.7.8: . 1:1(0) ack 1",
        "0 %{ import os }%",
    ] {
        assert!(parse(text).unwrap_err().unsupported, "{text}");
    }
    assert!(!parse("0 close(3) = -1 EWHAT").unwrap_err().unsupported);
}

fn run(code: &str) -> Result<Vec<String>, String> {
    let names = |name: &str| match name {
        "tcpi_snd_cwnd" => Some(10),
        "tcpi_state" => Some(1),
        _ => constants::code_constant(name),
    };
    let code = Code::parse(code, 4).map_err(|(line, message)| format!("{line}: {message}"))?;
    code.run(&names, &mut BTreeMap::new()).map_err(|stop| format!("{stop:?}"))
}

#[test]
fn code_asserts_prints_and_assigns() {
    for holds in [
        "assert tcpi_snd_cwnd == 10",
        "assert tcpi_snd_cwnd == 10 and not tcpi_state != TCP_ESTABLISHED, tcpi_state",
        "assert (tcpi_snd_cwnd & 2) != 0; assert 1 < tcpi_snd_cwnd <= 10",
        "x = tcpi_snd_cwnd * 2 - 5 // 2\nassert x == 18\nassert -7 // 2 == -4 and -7 % 2 == 1",
        "assert (tcpi_snd_cwnd ==\n  10), 'text; with # signs' # why",
        "assert 1 << 3 | 1 == 9 and ~0 == -1",
        "assert abs(-3) == max(1, 3, 2) and min(4, 2) == int(2.9) and 7 / 2 == 3.5",
    ] {
        assert_eq!(run(holds), Ok(vec![]), "{holds}");
    }
    assert_eq!(
        run("print(tcpi_snd_cwnd)\nprint 'a', 1\nprint('cwnd=%d!' % tcpi_snd_cwnd)").unwrap(),
        ["10", "a 1", "cwnd=10!"]
    );
    let failed = run("\nassert tcpi_snd_cwnd == 11, 'cwnd=%d' % tcpi_snd_cwnd").unwrap_err();
    let expected = "Failed(5, \"'assert tcpi_snd_cwnd == 11, 'cwnd=%d' % tcpi_snd_cwnd' does not hold (tcpi_snd_cwnd is 10): cwnd=10\")";
    assert_eq!(failed, expected);
    assert_eq!(run("assert what == 1").unwrap_err(), "Unknown(\"the name 'what' is not known\")");
    assert!(run("for x in y: pass").unwrap_err().starts_with("4: "));
}

#[test]
fn any_text_is_read_or_refused_without_a_panic() {
    use proptest::prelude::*;
    let pieces = "[ -~\n]{0,80}";
    proptest!(|(text in pieces)| { let _ = parse(&text); });
    proptest!(|(text in "(0 |\\+\\.1 |\\* |<|>|S|\\.|1:1\\(0\\)| ack 1|\\(|\\)|=|read|\\{|\\}|\\[|%|`|\\.\\.\\.|~|,|-|\n){0,30}")| {
        let _ = parse(&text);
    });
}
