//! Packets as a script writes them.

use super::cursor::{Cursor, Parsed, parse_number};
use lastack_wire::tcp::Flags;

/// Bits of the ECN field that a line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// `noecn`: not capable.
    None,
    /// `ect0`.
    Ect0,
    /// `ect1`.
    Ect1,
    /// `ect01`: either of the two.
    Ect01,
    /// `ce`.
    Ce,
}

/// What a line says of the IP header. What it does not say is not compared, and takes its usual value when sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpPart {
    /// ECN bits.
    pub ecn: Option<Ecn>,
    /// Whole TOS or traffic class byte.
    pub tos: Option<u8>,
    /// Time to live or hop limit.
    pub ttl: Option<u8>,
    /// Flow label of IPv6.
    pub flow_label: Option<u32>,
}

/// A TCP option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// Kind 0.
    Eol,
    /// Kind 1.
    Nop,
    /// Kind 2.
    Mss(u16),
    /// Kind 3.
    WindowScale(u8),
    /// Kind 4.
    SackOk,
    /// Kind 5: pairs of left and right edges, as the script counts.
    Sack(Vec<(u32, u32)>),
    /// Kind 8: value and echo, as the script counts.
    Timestamp(u32, u32),
    /// Kind 19: the digest; `None` for any (on a line that is expected).
    Md5(Option<Vec<u8>>),
    /// Kind 34: Fast Open with a cookie, empty for a request.
    FastOpen(Vec<u8>),
    /// Kind 172 or 174: byte counters of Accurate ECN, by name, in the order of the line.
    AccurateEcn(Vec<(EcnBytes, u32)>),
    /// Kind 254 with Fast Open's magic number 0xF989.
    FastOpenExperimental(Vec<u8>),
}

/// Which byte counter of Accurate ECN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EcnBytes {
    /// `e0b`: of ECT(0).
    Ect0,
    /// `ceb`: marked.
    Ce,
    /// `e1b`: of ECT(1).
    Ect1,
}

/// The list of options of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Options {
    /// `<...>`: any.
    Any,
    /// Exactly these, in order.
    List(Vec<TcpOption>),
}

/// A TCP segment; numbers as the script counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpPart {
    /// Control bits.
    pub flags: Flags,
    /// Sequence number.
    pub seq: u32,
    /// Bytes of payload.
    pub len: u32,
    /// Acknowledgement number.
    pub ack: Option<u32>,
    /// Window field.
    pub win: Option<u16>,
    /// Urgent pointer.
    pub urg: Option<u16>,
    /// Options.
    pub options: Options,
}

/// The segment that an ICMP error quotes: `[1:1001(1000)]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Sequence number.
    pub seq: u32,
    /// Bytes of payload.
    pub len: u32,
}

/// An ICMP message. The numbers of type and code are found when the family is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// `unreachable`, `packet_too_big`, ...
    pub kind: String,
    /// `host_unreachable`, `frag_needed`, ...; empty for none.
    pub code: String,
    /// `mtu N`.
    pub mtu: Option<u32>,
    /// `id N`.
    pub id: Option<u16>,
    /// The segment it quotes.
    pub quoted: Option<Quoted>,
}

/// What the IP header carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(TcpPart),
    /// UDP with so many bytes.
    Udp(u32),
    /// ICMP.
    Icmp(Icmp),
}

/// A packet of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its IP part.
    pub ip: IpPart,
    /// Source and destination port, where the line names them.
    pub ports: Option<(u16, u16)>,
    /// The rest.
    pub transport: Transport,
}

pub(super) fn packet(cursor: &mut Cursor<'_>, inbound: bool) -> Parsed<Packet> {
    let ip = ip_part(cursor)?;
    for outer in ["ipv4", "ipv6", "gre", "mpls"] {
        cursor.skip();
        if cursor.peek_word() == outer {
            return Err(
                cursor.unsupported(&format!("an outer header ('{outer} ...') is not known to this runner"))
            );
        }
    }
    let ports = ports(cursor)?;
    cursor.skip();
    let transport = match cursor.peek_word() {
        "icmp" => Transport::Icmp(icmp(cursor)?),
        "udp" => Transport::Udp(udp(cursor)?),
        _ => Transport::Tcp(tcp(cursor, inbound)?),
    };
    Ok(Packet { ip, ports, transport })
}

fn ip_part(cursor: &mut Cursor<'_>) -> Parsed<IpPart> {
    let mut part = IpPart::default();
    let end = if cursor.eat("(") {
        ")"
    } else if cursor.eat("[") {
        "]"
    } else {
        return Ok(part);
    };
    while !cursor.eat(end) {
        cursor.eat(",");
        match cursor.word("'ect0', 'ect1', 'ect01', 'ce', 'noecn', 'tos', 'ttl' or 'flowlabel'")? {
            "ecn" => {}
            "ect0" => part.ecn = Some(Ecn::Ect0),
            "ect1" => part.ecn = Some(Ecn::Ect1),
            "ect01" => part.ecn = Some(Ecn::Ect01),
            "ce" => part.ecn = Some(Ecn::Ce),
            "noecn" => part.ecn = Some(Ecn::None),
            "tos" => part.tos = Some(cursor.number_as("a TOS byte")?),
            "ttl" | "hoplimit" => part.ttl = Some(cursor.number_as("a time to live")?),
            "flowlabel" => part.flow_label = Some(cursor.number_as("a flow label")?),
            other => return Err(cursor.error(&format!("unknown word '{other}' for the IP header"))),
        }
    }
    Ok(part)
}

fn ports(cursor: &mut Cursor<'_>) -> Parsed<Option<(u16, u16)>> {
    cursor.skip();
    if !cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
        return Ok(None);
    }
    let from = cursor.number_as("a source port")?;
    cursor.expect(">", "between two ports")?;
    let to = cursor.number_as("a destination port")?;
    cursor.eat(":");
    Ok(Some((from, to)))
}

fn udp(cursor: &mut Cursor<'_>) -> Parsed<u32> {
    cursor.word("udp")?;
    cursor.expect("(", "before the length of a datagram")?;
    let len = cursor.number_as("a length")?;
    cursor.expect(")", "after the length of a datagram")?;
    Ok(len)
}

fn icmp(cursor: &mut Cursor<'_>) -> Parsed<Icmp> {
    cursor.word("icmp")?;
    let kind = cursor.word("a type of ICMP message")?.to_owned();
    let mut icmp = Icmp { kind, code: String::new(), mtu: None, id: None, quoted: None };
    loop {
        cursor.skip_blanks();
        if cursor.rest().starts_with('[') {
            cursor.eat("[");
            let (seq, len) = span(cursor)?;
            cursor.expect("]", "after the quoted segment")?;
            icmp.quoted = Some(Quoted { seq, len });
            return Ok(icmp);
        }
        match cursor.peek_word() {
            "mtu" => {
                cursor.word("mtu")?;
                icmp.mtu = Some(cursor.number_as("an MTU")?);
            }
            "id" => {
                cursor.word("id")?;
                icmp.id = Some(cursor.number_as("an identifier")?);
            }
            word if word.starts_with(|c: char| c.is_ascii_alphabetic()) && icmp.code.is_empty() => {
                let word = cursor.word("a code")?;
                icmp.code = cursor.defines.get(word).map_or(word, String::as_str).to_owned();
            }
            _ => return Ok(icmp),
        }
    }
}

/// `SEQ:END(LENGTH)`.
fn span(cursor: &mut Cursor<'_>) -> Parsed<(u32, u32)> {
    let seq: u32 = cursor.number_as("a sequence number")?;
    cursor.expect(":", "after the first sequence number")?;
    let end: u32 = cursor.number_as("the sequence number of the end")?;
    cursor.expect("(", "before the length of the payload")?;
    let len: u32 = cursor.number_as("the length of the payload")?;
    cursor.expect(")", "after the length of the payload")?;
    if seq.wrapping_add(len) != end {
        let distance = end.wrapping_sub(seq);
        return Err(cursor.error(&format!("{seq}:{end} are {distance} bytes, not {len}")));
    }
    Ok((seq, len))
}

fn tcp(cursor: &mut Cursor<'_>, inbound: bool) -> Parsed<TcpPart> {
    let flags = flags(cursor)?;
    let (seq, len) = span(cursor)?;
    let mut part =
        TcpPart { flags, seq, len, ack: None, win: None, urg: None, options: Options::List(Vec::new()) };
    loop {
        cursor.skip_blanks();
        match cursor.peek_word() {
            "ack" => {
                cursor.word("ack")?;
                part.ack = Some(cursor.number_as("an acknowledgement number")?);
            }
            "win" => {
                cursor.word("win")?;
                part.win = Some(cursor.number_as("a window (0 to 65535)")?);
            }
            "urg" => {
                cursor.word("urg")?;
                part.urg = Some(cursor.number_as("an urgent pointer")?);
            }
            _ => break,
        }
    }
    if flags.contains(Flags::ACK) != part.ack.is_some() && !(inbound && part.ack.is_some()) {
        return Err(cursor.error("the flag '.' and 'ack NUMBER' belong together"));
    }
    cursor.skip_blanks();
    if cursor.rest().starts_with('<') {
        cursor.eat("<");
        part.options = options(cursor)?;
        if inbound && part.options == Options::Any {
            return Err(cursor.error("a segment that is injected needs its options in full, not <...>"));
        }
    }
    Ok(part)
}

fn flags(cursor: &mut Cursor<'_>) -> Parsed<Flags> {
    cursor.skip();
    let mut flags = Flags::empty();
    let mut any = false;
    while let Some(c) = cursor.peek().filter(|c| !c.is_whitespace()) {
        flags |= match c {
            'S' => Flags::SYN,
            'F' => Flags::FIN,
            'R' => Flags::RST,
            'P' => Flags::PSH,
            '.' => Flags::ACK,
            'U' => Flags::URG,
            'E' => Flags::ECE,
            'W' => Flags::CWR,
            'A' => Flags::AE,
            // The three flags of Accurate ECN as a number.
            '0'..='7' => Flags::from_bits_truncate((c as u16 - '0' as u16) << 6),
            '-' => Flags::empty(),
            _ => return Err(cursor.expected("TCP flags (of 'SFRP.UEWA' and 0 to 7, or '-' for none)")),
        };
        any = true;
        cursor.bump();
    }
    if any { Ok(flags) } else { Err(cursor.expected("TCP flags")) }
}

fn options(cursor: &mut Cursor<'_>) -> Parsed<Options> {
    if cursor.eat("...") {
        cursor.expect(">", "after the options")?;
        return Ok(Options::Any);
    }
    let mut list = Vec::new();
    while !cursor.eat(">") {
        if !list.is_empty() {
            cursor.expect(",", "between options")?;
        }
        list.push(option(cursor)?);
    }
    Ok(Options::List(list))
}

fn option(cursor: &mut Cursor<'_>) -> Parsed<TcpOption> {
    Ok(match cursor.word("a TCP option")? {
        "nop" => TcpOption::Nop,
        "eol" => TcpOption::Eol,
        "mss" => TcpOption::Mss(cursor.number_as("an MSS")?),
        "wscale" => TcpOption::WindowScale(cursor.number_as("a window scale")?),
        "sackOK" => TcpOption::SackOk,
        "sack" => TcpOption::Sack(sack(cursor)?),
        "TS" => {
            if !cursor.eat_word("val") {
                return Err(cursor.expected("'val' of a timestamp"));
            }
            let value = timestamp(cursor)?;
            if !cursor.eat_word("ecr") {
                return Err(cursor.expected("'ecr' of a timestamp"));
            }
            TcpOption::Timestamp(value, timestamp(cursor)?)
        }
        "md5" => {
            let bytes = hex(cursor)?;
            TcpOption::Md5((!bytes.is_empty()).then_some(bytes))
        }
        "ECN" | "ecn" => TcpOption::AccurateEcn(ecn_bytes(cursor)?),
        "FO" => TcpOption::FastOpen(hex(cursor)?),
        "FOEXP" => TcpOption::FastOpenExperimental(hex(cursor)?),
        other => return Err(cursor.unsupported(&format!("unknown TCP option '{other}'"))),
    })
}

fn timestamp(cursor: &mut Cursor<'_>) -> Parsed<u32> {
    cursor.number_as("a timestamp")
}

fn sack(cursor: &mut Cursor<'_>) -> Parsed<Vec<(u32, u32)>> {
    let mut blocks = Vec::new();
    loop {
        cursor.skip_blanks();
        if !cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
            break;
        }
        let left = cursor.number_as("the left edge of a SACK block")?;
        cursor.expect(":", "between the edges of a SACK block")?;
        blocks.push((left, cursor.number_as("the right edge of a SACK block")?));
    }
    if blocks.is_empty() { Err(cursor.expected("a SACK block A:B")) } else { Ok(blocks) }
}

/// `e1b 1 ceb 0 e0b 1`: the marked bytes stand second, and the last may be left out.
fn ecn_bytes(cursor: &mut Cursor<'_>) -> Parsed<Vec<(EcnBytes, u32)>> {
    let mut list = Vec::new();
    loop {
        cursor.skip_blanks();
        let name = match cursor.peek_word() {
            "e0b" => EcnBytes::Ect0,
            "ceb" => EcnBytes::Ce,
            "e1b" => EcnBytes::Ect1,
            _ => break,
        };
        cursor.word("a byte counter")?;
        list.push((name, cursor.number_as("the value of a byte counter")?));
    }
    let order: Vec<EcnBytes> = list.iter().map(|(name, _)| *name).collect();
    let known =
        [[EcnBytes::Ect0, EcnBytes::Ce, EcnBytes::Ect1], [EcnBytes::Ect1, EcnBytes::Ce, EcnBytes::Ect0]];
    if known.iter().any(|known| known.starts_with(&order)) {
        Ok(list)
    } else {
        Err(cursor.error(
            "byte counters stand as 'e0b N ceb N e1b N' or 'e1b N ceb N e0b N', the last left out or not",
        ))
    }
}

/// Pairs of hexadecimal digits, or a name that was given a value; none is allowed.
fn hex(cursor: &mut Cursor<'_>) -> Parsed<Vec<u8>> {
    cursor.skip_blanks();
    let mut text = cursor.peek_word().to_owned();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    cursor.word("hexadecimal digits")?;
    if let Some(value) = cursor.defines.get(&text) {
        value.clone_into(&mut text);
    }
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        parse_number(&format!("0x{pair}")).and_then(|byte| u8::try_from(byte).ok())
    });
    pairs
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| cursor.error(&format!("pairs of hexadecimal digits expected, found '{text}'")))
}
