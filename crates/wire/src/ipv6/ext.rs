//! The walk over IPv6 extension headers (RFC 8200 section 4).

use super::HEADER_LEN;
use crate::Error;
use crate::ip::protocol;

/// Extension headers followed in one packet; one with more is dropped. RFC 8200 names five kinds, of which one may
/// stand twice. (RFC 8504 section 5.3 allows such limits.)
pub const MAX_EXT_HEADERS: usize = 8;
/// Options that are not padding, followed in one extension header. Linux: `max_dst_opts_number`, 8.
pub const MAX_EXT_OPTIONS: usize = 8;
/// Length of a fragment header, in bytes.
pub const FRAGMENT_HEADER_LEN: usize = 8;

/// ICMPv6 parameter problem code: erroneous header field (RFC 4443).
const ERRONEOUS_FIELD: u8 = 0;
/// ICMPv6 parameter problem code: unrecognised next header.
const UNKNOWN_NEXT_HEADER: u8 = 1;
/// ICMPv6 parameter problem code: unrecognised option.
const UNKNOWN_OPTION: u8 = 2;

const PAD1: u8 = 0;
const PADN: u8 = 1;

/// What the walk found behind the fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtHeaders<'a> {
    /// Protocol of the upper layer; for a fragment, the next-header field of its fragment header.
    /// [`protocol::NO_NEXT`] says that there is none. May be a protocol that nobody knows: the answer to that is a
    /// parameter problem of code 1 at [`ExtHeaders::next_header_offset`].
    pub protocol: u8,
    /// Where the upper layer (of a fragment: its part of the whole) starts, in bytes from the start of the packet.
    pub payload_offset: usize,
    /// Where the field that named `protocol` stands, in bytes from the start of the packet.
    pub next_header_offset: usize,
    /// The upper layer, or the fragment's part of the whole.
    pub payload: &'a [u8],
    /// Set if the packet is a part of a larger one. The walk stops there: what follows is known only after
    /// reassembly. A packet that is whole in spite of a fragment header (RFC 6946) is not a fragment.
    pub fragment: Option<Fragment>,
}

/// A fragment header (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Identification, which the fragments of one packet share.
    pub id: u32,
    /// Where the payload belongs in the whole, in bytes: a multiple of 8, up to 65528.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// Where the fragment header stands, in bytes from the start of the packet: the length of the part before it
    /// that every fragment repeats.
    pub header_offset: usize,
    /// Where the field that named the fragment header stands, in bytes from the start of the packet. Reassembly
    /// writes the fragment's own next header there.
    pub named_at: usize,
}

impl Fragment {
    /// Writes a fragment header that names `next_header` to the start of `buf` and gives its length, 8.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`], [`Error::BadFragmentOffset`] if the offset is not a multiple of 8.
    pub fn emit(&self, next_header: u8, buf: &mut [u8]) -> Result<usize, Error> {
        if self.offset & 7 != 0 {
            return Err(Error::BadFragmentOffset);
        }
        let header = buf.first_chunk_mut::<FRAGMENT_HEADER_LEN>().ok_or(Error::BufferTooSmall)?;
        let [o0, o1] = (self.offset | u16::from(self.more)).to_be_bytes();
        let [i0, i1, i2, i3] = self.id.to_be_bytes();
        *header = [next_header, 0, o0, o1, i0, i1, i2, i3];
        Ok(FRAGMENT_HEADER_LEN)
    }
}

/// Why a packet goes no further than its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtError {
    /// A header runs past the packet. Drop.
    Truncated,
    /// More headers or options than [`MAX_EXT_HEADERS`], [`MAX_EXT_OPTIONS`]. Drop.
    TooMany,
    /// An unknown option whose type asks for a silent drop.
    Discard,
    /// Drop, and tell the sender with an ICMPv6 parameter problem.
    ParameterProblem {
        /// Code: 0 erroneous field, 1 unrecognised next header, 2 unrecognised option.
        code: u8,
        /// The offending byte, from the start of the packet.
        pointer: u32,
        /// Tell even if the packet was sent to a multicast address (RFC 4443 section 2.4 e.3).
        even_if_multicast: bool,
    },
}

impl core::fmt::Display for ExtError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("extension header truncated"),
            Self::TooMany => f.write_str("too many extension headers or options"),
            Self::Discard => f.write_str("unknown option that asks for the packet to be dropped"),
            Self::ParameterProblem { code, pointer, .. } => {
                write!(f, "parameter problem in extension header, code {code}, byte {pointer}")
            }
        }
    }
}

impl core::error::Error for ExtError {}

fn problem(code: u8, pointer: usize) -> ExtError {
    ExtError::ParameterProblem { code, pointer: pointer as u32, even_if_multicast: false }
}

impl<'a> ExtHeaders<'a> {
    /// Walks the headers that `next_header` names, in `payload`, which follows the fixed header.
    ///
    /// # Errors
    /// [`ExtError`].
    #[inline]
    pub fn walk(next_header: u8, payload: &'a [u8]) -> Result<Self, ExtError> {
        let start = Self {
            protocol: next_header,
            payload_offset: HEADER_LEN,
            next_header_offset: 6,
            payload,
            fragment: None,
        };
        // Most packets have none.
        if is_extension(next_header) { start.follow() } else { Ok(start) }
    }

    fn follow(mut self) -> Result<Self, ExtError> {
        for count in 0..=MAX_EXT_HEADERS {
            if !is_extension(self.protocol) {
                return Ok(self);
            }
            if count == MAX_EXT_HEADERS {
                break;
            }
            match self.protocol {
                protocol::FRAGMENT => {
                    self.fragment()?;
                    if self.fragment.is_some() {
                        return Ok(self);
                    }
                }
                protocol::HOP_BY_HOP if count != 0 => {
                    return Err(problem(UNKNOWN_NEXT_HEADER, self.next_header_offset));
                }
                _ => self.sized()?,
            }
        }
        Err(ExtError::TooMany)
    }

    /// A header that states its length: hop-by-hop options, destination options, routing.
    fn sized(&mut self) -> Result<(), ExtError> {
        let &[next, units, ..] = self.payload else { return Err(ExtError::Truncated) };
        let len = 8 + usize::from(units) * 8;
        let (header, rest) = self.payload.split_at_checked(len).ok_or(ExtError::Truncated)?;
        let body = header.get(2..).ok_or(ExtError::Truncated)?;
        if self.protocol == protocol::ROUTING {
            // Nobody routes by it here; with no segment left it is skipped (RFC 8200 section 4.4).
            if body.get(1).is_none_or(|left| *left != 0) {
                return Err(problem(ERRONEOUS_FIELD, self.payload_offset + 2));
            }
        } else {
            options(body, self.payload_offset + 2)?;
        }
        self.advance(next, len, rest);
        Ok(())
    }

    fn fragment(&mut self) -> Result<(), ExtError> {
        let (&[next, _, o0, o1, i0, i1, i2, i3], rest) =
            self.payload.split_first_chunk::<FRAGMENT_HEADER_LEN>().ok_or(ExtError::Truncated)?;
        let word = u16::from_be_bytes([o0, o1]);
        let (offset, more) = (word & !7, word & 1 != 0);
        if offset != 0 || more {
            self.fragment = Some(Fragment {
                id: u32::from_be_bytes([i0, i1, i2, i3]),
                offset,
                more,
                header_offset: self.payload_offset,
                named_at: self.next_header_offset,
            });
        }
        self.advance(next, FRAGMENT_HEADER_LEN, rest);
        Ok(())
    }

    fn advance(&mut self, next: u8, len: usize, rest: &'a [u8]) {
        self.protocol = next;
        self.next_header_offset = self.payload_offset;
        self.payload_offset += len;
        self.payload = rest;
    }
}

const fn is_extension(next_header: u8) -> bool {
    use protocol::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

/// Goes through the options of a header, none of which asks anything of a host here; `at` is where they start.
fn options(mut area: &[u8], mut at: usize) -> Result<(), ExtError> {
    let mut count = 0;
    loop {
        let (kind, len, rest) = match *area {
            [] => return Ok(()),
            [PAD1, ref rest @ ..] => {
                area = rest;
                at += 1;
                continue;
            }
            [kind, len, ref rest @ ..] => (kind, usize::from(len), rest),
            [_] => return Err(ExtError::Truncated),
        };
        let Some(next) = rest.get(len..) else { return Err(ExtError::Truncated) };
        if kind != PADN {
            count += 1;
            if count > MAX_EXT_OPTIONS {
                return Err(ExtError::TooMany);
            }
            unknown_option(kind, at)?;
        }
        area = next;
        at += 2 + len;
    }
}

/// The top two bits of an option's type say what to do if it is not known (RFC 8200 section 4.2).
fn unknown_option(kind: u8, at: usize) -> Result<(), ExtError> {
    match kind >> 6 {
        0 => Ok(()),
        1 => Err(ExtError::Discard),
        action => Err(ExtError::ParameterProblem {
            code: UNKNOWN_OPTION,
            pointer: at as u32,
            even_if_multicast: action == 2,
        }),
    }
}
