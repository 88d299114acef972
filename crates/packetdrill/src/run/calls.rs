//! From a call of a script to a [`Call`], and whether what came back is what the script says.

mod check;
mod control;

pub(super) use check::check;
pub(super) use control::StampClock;

use super::settings::Settings;
use crate::call::{Address, Call, Data, EpollEvent, PollFd, Room};
use crate::script::{CallLine, Expr, Field};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A descriptor that no backend has given out: any use of it is EBADF.
const NO_FD: i32 = 1_000_000;
/// Longest buffer that a script may name, in bytes.
const MAX_BUFFER: usize = 64 << 20;

/// Why a call cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The script is wrong.
    Wrong(String),
    /// This runner does not know it.
    Unknown(String),
}

type Prepared<T> = Result<T, Trouble>;

fn wrong<T>(message: impl Into<String>) -> Prepared<T> {
    Err(Trouble::Wrong(message.into()))
}

/// What a call is translated with.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    /// Descriptors: in the script, and the backend's.
    pub(super) fds: &'a BTreeMap<i64, i32>,
}

/// Calls whose result is a new descriptor.
pub(super) fn makes_descriptor(name: &str) -> bool {
    matches!(name, "socket" | "accept" | "accept4" | "epoll_create" | "epoll_create1")
}

struct Args<'a> {
    line: &'a CallLine,
    context: &'a Context<'a>,
}

impl<'a> Args<'a> {
    fn get(&self, at: usize) -> Prepared<&'a Expr> {
        let name = &self.line.name;
        self.line.args.get(at).ok_or_else(|| Trouble::Wrong(format!("{name}() has too few arguments")))
    }

    fn count(&self, least: usize, most: usize) -> Prepared<()> {
        let (name, got) = (&self.line.name, self.line.args.len());
        if (least..=most).contains(&got) {
            Ok(())
        } else {
            wrong(format!("{name}() does not take {got} arguments"))
        }
    }

    fn int(&self, at: usize) -> Prepared<i64> {
        match self.get(at)? {
            Expr::Int(value) => Ok(*value),
            Expr::Null => Ok(0),
            _ => wrong(format!("argument {} of {}() has to be a number", at + 1, self.line.name)),
        }
    }

    fn i32(&self, at: usize) -> Prepared<i32> {
        // As in C: 0xffffffff and -1 are the same int.
        Ok(self.int(at)? as i32)
    }

    fn fd(&self, at: usize) -> Prepared<i32> {
        let script = self.int(at)?;
        Ok(fd(self.context.fds, script))
    }

    /// A length: a number, or `[number]`.
    fn len(&self, at: usize) -> Prepared<i64> {
        match self.get(at)? {
            Expr::List(list) => match list.as_slice() {
                [Expr::Int(value)] => Ok(*value),
                _ => wrong(format!("argument {} of {}() has to be a length", at + 1, self.line.name)),
            },
            _ => self.int(at),
        }
    }

    fn room(&self, buffer: usize, len: usize) -> Prepared<Room> {
        room(self.get(buffer)?, self.int(len)?)
    }

    fn data(&self, buffer: usize, len: usize) -> Prepared<Data> {
        data(self.get(buffer)?, self.int(len)?)
    }

    fn address(&self, at: usize, ip: IpAddr, port: u16) -> Prepared<Address> {
        let settings = self.context.settings;
        match self.get(at)? {
            Expr::Ellipsis => Ok(Address::Inet(settings.socket_address(ip, port))),
            Expr::Null => Ok(Address::Null),
            Expr::Struct(fields) => address(fields),
            _ => wrong(format!("argument {} of {}() has to be an address", at + 1, self.line.name)),
        }
    }
}

fn fd(fds: &BTreeMap<i64, i32>, script: i64) -> i32 {
    if script < 0 { script as i32 } else { fds.get(&script).copied().unwrap_or(NO_FD) }
}

fn size(len: i64) -> Prepared<usize> {
    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_BUFFER);
    len.ok_or_else(|| Trouble::Wrong("this length is negative, or longer than 64 MiB".into()))
}

fn room(buffer: &Expr, len: i64) -> Prepared<Room> {
    let len = size(len)?;
    Ok(if *buffer == Expr::Null { Room::Null(len) } else { Room::Bytes(len) })
}

fn data(buffer: &Expr, len: i64) -> Prepared<Data> {
    let len = size(len)?;
    Ok(match buffer {
        Expr::Null => Data::Null(len),
        Expr::Text(text) => {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(len, 0);
            Data::Bytes(bytes)
        }
        _ => Data::Bytes(vec![0; len]),
    })
}

fn member<'a>(fields: &'a [Field], name: &str) -> Option<&'a Expr> {
    fields.iter().find(|field| field.name == name).map(|field| &field.value)
}

fn number(expr: &Expr) -> Prepared<i64> {
    match expr {
        Expr::Int(value) => Ok(*value),
        Expr::Apply(name, args) if name == "htons" || name == "htonl" => match args.as_slice() {
            [Expr::Int(value)] => Ok(*value),
            _ => wrong(format!("{name}() takes one number")),
        },
        other => wrong(format!("a number expected, not {other:?}")),
    }
}

fn address(fields: &[Field]) -> Prepared<Address> {
    let family = member(fields, "sa_family").or_else(|| member(fields, "sin_family"));
    let family = number(family.or_else(|| member(fields, "sin6_family")).unwrap_or(&Expr::Int(0)))?;
    let port = member(fields, "sin_port").or_else(|| member(fields, "sin6_port"));
    let port = u16::try_from(number(port.unwrap_or(&Expr::Int(0)))?);
    let Ok(port) = port else { return wrong("a port is 0 to 65535") };
    let text = |name: &str| -> Prepared<IpAddr> {
        match member(fields, name) {
            Some(Expr::Apply(_, args)) => {
                let text =
                    args.iter().find_map(|arg| if let Expr::Text(text) = arg { Some(text) } else { None });
                let parsed = text.and_then(|text| text.parse().ok());
                parsed.ok_or_else(|| Trouble::Wrong(format!("{name} is no IP address")))
            }
            Some(Expr::Int(value)) => Ok(Ipv4Addr::from(*value as u32).into()),
            _ if name == "sin_addr" => Ok(Ipv4Addr::UNSPECIFIED.into()),
            _ => Ok(Ipv6Addr::UNSPECIFIED.into()),
        }
    };
    Ok(match i32::try_from(family) {
        Ok(libc::AF_UNSPEC) => Address::Unspecified,
        Ok(libc::AF_INET) => Address::Inet((text("sin_addr")?, port).into()),
        Ok(libc::AF_INET6) => Address::Inet((text("sin6_addr")?, port).into()),
        _ => Address::Other { family: family as u16, len: 16 },
    })
}

/// Translates a call.
pub(super) fn prepare(line: &CallLine, context: &Context<'_>) -> Prepared<Call> {
    let args = Args { line, context };
    let settings = context.settings;
    Ok(match line.name.as_str() {
        "socket" => {
            args.count(3, 3)?;
            let domain = match args.get(0)? {
                Expr::Ellipsis => settings.domain(),
                _ => args.i32(0)?,
            };
            Call::Socket { domain, kind: args.i32(1)?, protocol: args.i32(2)? }
        }
        "bind" => {
            args.count(3, 3)?;
            Call::Bind { fd: args.fd(0)?, address: args.address(1, settings.local_ip, settings.bind_port)? }
        }
        "listen" => Call::Listen { fd: args.fd(0)?, backlog: args.i32(1)? },
        "accept" => Call::Accept { fd: args.fd(0)?, flags: 0 },
        "accept4" => Call::Accept { fd: args.fd(0)?, flags: args.i32(3)? },
        "connect" => {
            args.count(3, 3)?;
            Call::Connect {
                fd: args.fd(0)?,
                address: args.address(1, settings.remote_ip, settings.connect_port)?,
            }
        }
        "shutdown" => Call::Shutdown { fd: args.fd(0)?, how: args.i32(1)? },
        "close" => {
            args.count(1, 1)?;
            Call::Close { fd: args.fd(0)? }
        }
        "fcntl" => {
            args.count(2, 3)?;
            let argument = if line.args.len() > 2 { args.int(2)? } else { 0 };
            Call::Fcntl { fd: args.fd(0)?, command: args.i32(1)?, argument }
        }
        "ioctl" => {
            args.count(3, 3)?;
            let null = *args.get(2)? == Expr::Null;
            Call::Ioctl { fd: args.fd(0)?, request: args.int(1)?.cast_unsigned(), null }
        }
        "poll" => poll(&args)?,
        "getsockopt" | "setsockopt" => option(&args)?,
        "epoll_create" => Call::EpollCreate { size: args.i32(0)? },
        "epoll_create1" => Call::EpollCreate { size: 1 },
        "epoll_ctl" | "epoll_wait" => epoll(&args)?,
        "pipe" => Call::Pipe { flags: 0 },
        "pipe2" => Call::Pipe { flags: args.i32(1)? },
        "splice" => splice(&args)?,
        _ => transfer(&args)?,
    })
}

fn transfer(args: &Args<'_>) -> Prepared<Call> {
    let settings = args.context.settings;
    Ok(match args.line.name.as_str() {
        "read" => {
            args.count(3, 3)?;
            Call::Read { fd: args.fd(0)?, rooms: vec![args.room(1, 2)?] }
        }
        "readv" => Call::Read { fd: args.fd(0)?, rooms: pieces(args.get(1)?, room)? },
        "recv" => {
            args.count(4, 4)?;
            Call::Recv { fd: args.fd(0)?, room: args.room(1, 2)?, flags: args.i32(3)?, wants_address: false }
        }
        "recvfrom" => {
            args.count(6, 6)?;
            let wants_address = *args.get(4)? != Expr::Null;
            Call::Recv { fd: args.fd(0)?, room: args.room(1, 2)?, flags: args.i32(3)?, wants_address }
        }
        "write" => {
            args.count(3, 3)?;
            Call::Write { fd: args.fd(0)?, pieces: vec![args.data(1, 2)?] }
        }
        "writev" => Call::Write { fd: args.fd(0)?, pieces: pieces(args.get(1)?, data)? },
        "send" => {
            args.count(4, 4)?;
            Call::Send { fd: args.fd(0)?, data: args.data(1, 2)?, flags: args.i32(3)?, to: None }
        }
        "sendto" => {
            args.count(6, 6)?;
            let to = match args.address(4, settings.remote_ip, settings.connect_port)? {
                Address::Null => None,
                address => Some(address),
            };
            Call::Send { fd: args.fd(0)?, data: args.data(1, 2)?, flags: args.i32(3)?, to }
        }
        "recvmsg" | "sendmsg" => message(args)?,
        other => {
            return Err(Trouble::Unknown(format!("the system call {other}() is not known to this runner")));
        }
    })
}

/// `[{..., 1000}, {..., 10}]`.
fn pieces<T>(list: &Expr, make: impl Fn(&Expr, i64) -> Prepared<T>) -> Prepared<Vec<T>> {
    let Expr::List(list) = list else { return wrong("a list of buffers expected: [{..., LENGTH}]") };
    let piece = |item: &Expr| {
        let Expr::Struct(fields) = item else { return wrong("a buffer is {..., LENGTH}") };
        match fields.as_slice() {
            [buffer, Field { value: Expr::Int(len), .. }] => make(&buffer.value, *len),
            _ => wrong("a buffer is {..., LENGTH}"),
        }
    };
    list.iter().map(piece).collect()
}

fn message(args: &Args<'_>) -> Prepared<Call> {
    let name = &args.line.name;
    args.count(3, 3)?;
    let Expr::Struct(fields) = args.get(1)? else {
        return wrong(format!("{name}() takes a message {{...}}"));
    };
    let list = member(fields, "msg_iov").cloned().unwrap_or(Expr::List(Vec::new()));
    let (fd, flags) = (args.fd(0)?, args.i32(2)?);
    let control = member(fields, "msg_control");
    if name == "recvmsg" {
        let control_room = if control.is_some() { 512 } else { 0 };
        let name_room = member(fields, "msg_name").map(|_| 128);
        return Ok(Call::RecvMsg { fd, rooms: pieces(&list, room)?, name_room, control_room, flags });
    }
    let control = control.map_or(Ok(Vec::new()), control::bytes)?;
    let settings = args.context.settings;
    let to = member(fields, "msg_name")
        .map(|_| Address::Inet(settings.socket_address(settings.remote_ip, settings.connect_port)));
    Ok(Call::SendMsg { fd, pieces: pieces(&list, data)?, to, control, flags })
}

fn poll(args: &Args<'_>) -> Prepared<Call> {
    args.count(3, 3)?;
    let Expr::List(list) = args.get(0)? else { return wrong("poll() takes a list of {fd=..., events=...}") };
    let entry = |item: &Expr| {
        let Expr::Struct(fields) = item else { return wrong("an entry of poll() is {fd=..., events=...}") };
        let value = |name| member(fields, name).map_or(Ok(0), number);
        Ok(PollFd { fd: fd(args.context.fds, value("fd")?), events: value("events")? as i16 })
    };
    Ok(Call::Poll { fds: list.iter().map(entry).collect::<Prepared<_>>()?, timeout: args.i32(2)? })
}

fn option(args: &Args<'_>) -> Prepared<Call> {
    args.count(5, 5)?;
    let (fd, level, name, len) = (args.fd(0)?, args.i32(1)?, args.i32(2)?, args.len(4)? as i32);
    let value = args.get(3)?;
    if args.line.name == "getsockopt" {
        return Ok(Call::GetSockOpt { fd, level, name, len, null: *value == Expr::Null });
    }
    let mut bytes = match value {
        Expr::Null => None,
        value => Some(value_bytes(value)?),
    };
    if let Some(bytes) = &mut bytes {
        bytes.resize(size(i64::from(len.max(0)))?, 0);
    }
    Ok(Call::SetSockOpt { fd, level, name, value: bytes, len })
}

/// An option's value as it lies in memory.
fn value_bytes(value: &Expr) -> Prepared<Vec<u8>> {
    Ok(match value {
        Expr::Int(value) => (*value as i32).to_ne_bytes().to_vec(),
        Expr::Text(text) => text.as_bytes().to_vec(),
        Expr::List(list) => {
            let mut bytes = Vec::new();
            for item in list {
                bytes.extend(value_bytes(item)?);
            }
            bytes
        }
        Expr::Struct(fields) => {
            // struct linger has two ints, struct timeval two longs.
            let wide = fields.iter().any(|field| field.name.starts_with("tv_"));
            let mut bytes = Vec::new();
            for field in fields {
                let value = number(&field.value)?;
                if wide {
                    bytes.extend(value.to_ne_bytes());
                } else {
                    bytes.extend((value as i32).to_ne_bytes());
                }
            }
            bytes
        }
        other => return wrong(format!("this is no value of an option: {other:?}")),
    })
}

fn epoll_event(expr: &Expr) -> Prepared<EpollEvent> {
    let Expr::Struct(fields) = expr else { return wrong("an event is {events=..., fd=...}") };
    let data = ["fd", "ptr", "u32", "u64"].into_iter().find_map(|name| member(fields, name));
    let data = data.map_or(Ok(0), number)?.cast_unsigned();
    Ok(EpollEvent { events: member(fields, "events").map_or(Ok(0), number)? as u32, data })
}

fn epoll(args: &Args<'_>) -> Prepared<Call> {
    args.count(4, 4)?;
    if args.line.name == "epoll_wait" {
        return Ok(Call::EpollWait { epfd: args.fd(0)?, max: args.i32(2)?, timeout: args.i32(3)? });
    }
    let event = match args.get(3)? {
        Expr::Null => None,
        expr => Some(epoll_event(expr)?),
    };
    Ok(Call::EpollCtl { epfd: args.fd(0)?, op: args.i32(1)?, fd: args.fd(2)?, event })
}

fn splice(args: &Args<'_>) -> Prepared<Call> {
    args.count(6, 6)?;
    let offset = |at: usize| match args.get(at)? {
        Expr::Null | Expr::Int(0) => Ok(None),
        _ => args.len(at).map(Some),
    };
    Ok(Call::Splice {
        from: args.fd(0)?,
        from_offset: offset(1)?,
        to: args.fd(2)?,
        to_offset: offset(3)?,
        len: size(args.int(4)?)?,
        flags: args.int(5)? as u32,
    })
}
