//! Whether the outcome of a call is what the script says.

use super::control::{self, StampClock};
use super::{epoll_event, member, number, value_bytes};
use crate::call::{Out, Outcome};
use crate::script::constants::errno_name;
use crate::script::{CallLine, Expr, Want};

type Checked = Result<(), String>;

/// Compares an outcome with a line.
///
/// # Errors
/// The first difference.
pub(in crate::run) fn check(line: &CallLine, outcome: &Outcome, clock: &StampClock) -> Checked {
    result(&line.want, outcome, super::makes_descriptor(&line.name))?;
    if outcome.result < 0 {
        return Ok(());
    }
    written(line, outcome, clock)
}

fn result(want: &Want, outcome: &Outcome, descriptor: bool) -> Checked {
    let got = match outcome.result {
        -1 => format!("-1 {}", errno_name(outcome.errno)),
        value => value.to_string(),
    };
    let (fits, expected) = match want {
        Want::Any => (true, String::new()),
        // Which number a new descriptor has is the backend's business.
        Want::Value(value) if descriptor && *value >= 0 => {
            (outcome.result >= 0, format!("descriptor {value}"))
        }
        Want::Value(value) => (*value == outcome.result, value.to_string()),
        Want::Error(number, name) => (outcome.result == -1 && outcome.errno == *number, format!("-1 {name}")),
    };
    if fits { Ok(()) } else { Err(format!("expected {expected}, got {got}")) }
}

fn written(line: &CallLine, outcome: &Outcome, clock: &StampClock) -> Checked {
    let arg = |at: usize| line.args.get(at).unwrap_or(&Expr::Ellipsis);
    match (line.name.as_str(), &outcome.out) {
        ("getsockopt", Out::Value(got)) => option(arg(3), arg(4), got),
        ("ioctl", Out::Int(got)) => match arg(2) {
            Expr::List(list) => match list.as_slice() {
                [Expr::Int(wanted)] if *wanted != i64::from(*got) => {
                    Err(format!("expected [{wanted}], got [{got}]"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        },
        ("poll", Out::Polled(got)) => polled(arg(0), got),
        ("epoll_wait", Out::Events(got)) => events(arg(1), got),
        ("recvmsg", Out::Message { flags, control, .. }) => message(arg(1), *flags, control, clock),
        // Thrown away, not read.
        ("recv" | "recvfrom", _) if matches!(arg(3), Expr::Int(flags) if flags & i64::from(libc::MSG_TRUNC) != 0) => {
            Ok(())
        }
        ("read" | "recv" | "recvfrom" | "readv", Out::Data(bytes)) => zeros(bytes),
        _ => Ok(()),
    }
}

/// The peer of a script sends zeros.
fn zeros(bytes: &[u8]) -> Checked {
    match bytes.iter().position(|byte| *byte != 0) {
        Some(at) => Err(format!("byte {at} of what was read is {}, not 0", bytes.get(at).unwrap_or(&0))),
        None => Ok(()),
    }
}

fn option(wanted: &Expr, len: &Expr, got: &[u8]) -> Checked {
    if let Expr::List(list) = len
        && let [Expr::Int(len)] = list.as_slice()
        && usize::try_from(*len) != Ok(got.len())
    {
        return Err(format!("expected a value of {len} bytes, got {}", got.len()));
    }
    if matches!(wanted, Expr::Ellipsis | Expr::Null) {
        return Ok(());
    }
    let shown = |bytes: &[u8]| match bytes {
        &[a, b, c, d] => i32::from_ne_bytes([a, b, c, d]).to_string(),
        bytes => format!("{bytes:02x?}"),
    };
    let expected = value_bytes(wanted).map_err(|_| "a value of this form cannot be compared".to_owned())?;
    if let Expr::Text(text) = wanted {
        // A string ends at its first zero; the kernel fills the rest.
        let got = got.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(got);
        return if got == text.as_bytes() {
            Ok(())
        } else {
            Err(format!("expected \"{text}\", got \"{name}\""))
        };
    }
    if got.starts_with(&expected) || expected.starts_with(got) && !got.is_empty() {
        Ok(())
    } else {
        Err(format!("expected [{}], got [{}]", shown(&expected), shown(got)))
    }
}

fn polled(entries: &Expr, got: &[i16]) -> Checked {
    let Expr::List(entries) = entries else { return Ok(()) };
    for (at, (entry, got)) in entries.iter().zip(got).enumerate() {
        let Expr::Struct(fields) = entry else { continue };
        // No word about revents is: nothing has happened.
        let wanted = match member(fields, "revents") {
            Some(Expr::Ellipsis) => continue,
            Some(expr) => number(expr).map_err(|_| "revents has to be a number".to_owned())?,
            None => 0,
        };
        if wanted as i16 != *got {
            let (wanted, got) = (poll_text(wanted as i16), poll_text(*got));
            return Err(format!("revents of entry {at}: expected {wanted}, got {got}"));
        }
    }
    Ok(())
}

fn poll_text(events: i16) -> String {
    let names = [
        (libc::POLLIN, "POLLIN"),
        (libc::POLLPRI, "POLLPRI"),
        (libc::POLLOUT, "POLLOUT"),
        (libc::POLLERR, "POLLERR"),
        (libc::POLLHUP, "POLLHUP"),
        (libc::POLLNVAL, "POLLNVAL"),
        (libc::POLLRDNORM, "POLLRDNORM"),
        (libc::POLLRDBAND, "POLLRDBAND"),
        (libc::POLLWRNORM, "POLLWRNORM"),
        (libc::POLLWRBAND, "POLLWRBAND"),
        (libc::POLLRDHUP, "POLLRDHUP"),
    ];
    let set: Vec<_> = names.iter().filter(|(bit, _)| events & bit != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { "0".into() } else { set.join("|") }
}

/// Only as many events as the script names are compared.
fn events(wanted: &Expr, got: &[crate::call::EpollEvent]) -> Checked {
    let single = std::slice::from_ref(wanted);
    let wanted = match wanted {
        Expr::List(list) => list.as_slice(),
        Expr::Struct(_) => single,
        _ => return Ok(()),
    };
    for (wanted, got) in wanted.iter().zip(got) {
        let wanted = epoll_event(wanted).map_err(|_| "an event is {events=..., fd=...}".to_owned())?;
        if wanted != *got {
            let text = |event: &crate::call::EpollEvent| {
                format!("{{events={:#x}, data={}}}", event.events, event.data)
            };
            return Err(format!("event: expected {}, got {}", text(&wanted), text(got)));
        }
    }
    Ok(())
}

fn message(wanted: &Expr, flags: i32, control: &[u8], clock: &StampClock) -> Checked {
    let Expr::Struct(fields) = wanted else { return Ok(()) };
    if let Some(Expr::Int(wanted)) = member(fields, "msg_flags")
        && *wanted as i32 != flags
    {
        return Err(format!("msg_flags: expected {wanted:#x}, got {flags:#x}"));
    }
    match member(fields, "msg_control") {
        Some(Expr::List(list)) => control::compare(list, control, clock),
        _ => Ok(()),
    }
}
