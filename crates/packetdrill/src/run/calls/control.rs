//! Control messages of `recvmsg` and `sendmsg`.

use super::{Prepared, member, number, value_bytes, wrong};
use crate::run::time::seconds;
use crate::script::{Expr, Field};
use std::time::Duration;

/// `struct cmsghdr`: length, level, type.
const HEADER: usize = 16;

/// How times that the stack tells (SO_TIMESTAMPING) become the script's.
#[derive(Clone, Copy, Debug)]
pub(in crate::run) struct StampClock {
    /// Time 0 of the script on the clock of the stamps.
    pub(in crate::run) epoch: Duration,
    /// How far a stamp may be from what the script says, in microseconds.
    pub(in crate::run) tolerance: i64,
}

type Checked = Result<(), String>;

/// A field of a structure in memory: name, offset, bytes.
type Place = (&'static str, usize, usize);

/// `struct sock_extended_err`.
const EXTENDED_ERROR: [Place; 7] = [
    ("ee_errno", 0, 4),
    ("ee_origin", 4, 1),
    ("ee_type", 5, 1),
    ("ee_code", 6, 1),
    ("ee_pad", 7, 1),
    ("ee_info", 8, 4),
    ("ee_data", 12, 4),
];

/// Compares what the script names: levels, types, and data where it is given.
pub(super) fn compare(wanted: &[Expr], got: &[u8], clock: &StampClock) -> Checked {
    let mut rest = got;
    for wanted in wanted {
        let Expr::Struct(fields) = wanted else {
            return Err("a control message is {cmsg_level=..., ...}".into());
        };
        let Some((header, _)) = rest.split_at_checked(HEADER) else {
            return Err("a control message is missing".into());
        };
        let len = usize::try_from(unsigned(header, 0, 8)).unwrap_or(0).max(HEADER);
        for (name, at) in [("cmsg_level", 8), ("cmsg_type", 12)] {
            let got = unsigned(header, at, 4) as i32;
            if let Some(Expr::Int(wanted)) = member(fields, name)
                && *wanted as i32 != got
            {
                return Err(format!("{name}: expected {wanted}, got {got}"));
            }
        }
        let data = rest.get(HEADER..len).unwrap_or_default();
        match member(fields, "cmsg_data") {
            None | Some(Expr::Ellipsis) => {}
            Some(Expr::Struct(fields)) => structure(fields, data, clock)?,
            Some(expr) => {
                let wanted = value_bytes(expr).map_err(|_| "cmsg_data has to be a number".to_owned())?;
                if wanted != data {
                    return Err(format!("cmsg_data: expected {wanted:02x?}, got {data:02x?}"));
                }
            }
        }
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    if rest.is_empty() { Ok(()) } else { Err("there are more control messages than the script names".into()) }
}

fn unsigned(bytes: &[u8], at: usize, len: usize) -> u64 {
    let mut word = [0; 8];
    let there = bytes.get(at..at + len).unwrap_or_default();
    word.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(word)
}

fn structure(fields: &[Field], data: &[u8], clock: &StampClock) -> Checked {
    if fields.iter().any(|field| field.name.starts_with("scm_")) {
        return stamp(fields, data, clock);
    }
    for Field { name, value, .. } in fields {
        let place = EXTENDED_ERROR.iter().find(|(known, ..)| known == name);
        let Some((_, at, len)) = place else { return Err(format!("cmsg_data has no field {name}")) };
        if *value == Expr::Ellipsis {
            continue;
        }
        let wanted = number(value).map_err(|_| format!("{name} has to be a number"))?;
        let got = unsigned(data, *at, *len);
        // As in C: -1 is the largest number.
        let mask = if *len == 8 { u64::MAX } else { (1 << (8 * len)) - 1 };
        if wanted.cast_unsigned() & mask != got {
            return Err(format!("{name}: expected {wanted}, got {got}"));
        }
    }
    Ok(())
}

/// `struct scm_timestamping`: the first of its three times is the software's.
fn stamp(fields: &[Field], data: &[u8], clock: &StampClock) -> Checked {
    let part = |name: &str| {
        member(fields, name).map_or(Ok(0), number).map_err(|_| format!("{name} has to be a number"))
    };
    let wanted = part("scm_sec")? * 1_000_000 + part("scm_nsec")? / 1000;
    let got = Duration::new(unsigned(data, 0, 8), unsigned(data, 8, 8) as u32);
    if got.is_zero() {
        return Err("the stamp has no time".into());
    }
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    let got = micros(got) - micros(clock.epoch);
    if (got - wanted).abs() > clock.tolerance {
        return Err(format!("time of the stamp: expected {}, got {}", seconds(wanted), seconds(got)));
    }
    Ok(())
}

/// Control messages for `sendmsg` as they lie in memory.
pub(super) fn bytes(list: &Expr) -> Prepared<Vec<u8>> {
    let Expr::List(list) = list else { return wrong("msg_control is a list: [{cmsg_level=..., ...}]") };
    let mut bytes = Vec::new();
    for message in list {
        let Expr::Struct(fields) = message else {
            return wrong("a control message is {cmsg_level=..., ...}");
        };
        let word = |name: &str| member(fields, name).map_or(Ok(0), number);
        let data = member(fields, "cmsg_data").map_or(Ok(Vec::new()), value_bytes)?;
        bytes.extend((HEADER + data.len()).to_ne_bytes());
        bytes.extend((word("cmsg_level")? as i32).to_ne_bytes());
        bytes.extend((word("cmsg_type")? as i32).to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    Ok(bytes)
}
