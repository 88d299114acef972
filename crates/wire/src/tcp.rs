//! TCP segments (RFC 9293 section 3.1).

use core::net::IpAddr;

use crate::checksum::{self, Sum};
use crate::{Error, SeqNumber, ip};

mod accurate_ecn;
mod fast_open;
mod options;

pub use accurate_ecn::AccurateEcn;
pub use fast_open::{FastOpen, MAX_COOKIE_LEN, MIN_COOKIE_LEN};
pub use options::{MAX_OPTIONS_LEN, MAX_SACK_BLOCKS, Options, SackBlocks, UserTimeout};

/// Length of the header without options, in bytes.
pub const HEADER_LEN: usize = 20;
/// Length of the longest header, in bytes.
pub const MAX_HEADER_LEN: usize = HEADER_LEN + MAX_OPTIONS_LEN;
/// Bytes that the timestamps take in a header, with their padding.
pub const TIMESTAMPS_LEN: usize = 12;
/// Byte offset of the checksum field in the header.
pub const CHECKSUM_OFFSET: usize = 16;

bitflags::bitflags! {
    /// The control bits, at the places they have in the 16-bit word with the data offset.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Flags: u16 {
        /// No more data from the sender.
        const FIN = 0x001;
        /// Synchronise sequence numbers.
        const SYN = 0x002;
        /// Reset the connection.
        const RST = 0x004;
        /// Push.
        const PSH = 0x008;
        /// The acknowledgement number is valid.
        const ACK = 0x010;
        /// The urgent pointer is valid.
        const URG = 0x020;
        /// ECN echo (RFC 3168).
        const ECE = 0x040;
        /// Congestion window reduced (RFC 3168).
        const CWR = 0x080;
        /// Accurate ECN; was the nonce sum of RFC 3540.
        const AE = 0x100;
    }
}

/// A received segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Number of the first byte of the payload, or of the SYN.
    pub seq: SeqNumber,
    /// Next byte the sender expects; meaningless without [`Flags::ACK`].
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// The window field as it is on the wire, not scaled.
    pub window: u16,
    /// The urgent pointer; meaningless without [`Flags::URG`].
    pub urgent: u16,
    /// Options.
    pub options: Options,
    /// Data.
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads the header and the options of a segment. Does not look at the checksum: see [`verify_checksum`].
    ///
    /// # Errors
    /// [`Error::Truncated`] below 20 bytes, [`Error::BadHeaderLength`] if the data offset is below 5 or past the end.
    #[inline]
    pub fn parse(segment: &'a [u8]) -> Result<Self, Error> {
        Ok(Self::from_parts(Parts::split(segment)?))
    }

    /// Reads what [`Parts::split`] cut apart.
    #[inline]
    #[must_use]
    pub fn from_parts(parts: Parts<'a>) -> Self {
        let Header { src_port, dst_port, seq, ack, flags, window, urgent } = parts.header();
        let payload = parts.payload;
        let options = Options::default();
        let mut segment = Self { src_port, dst_port, seq, ack, flags, window, urgent, options, payload };
        parts.read_options(&mut segment.options);
        segment
    }

    /// Length in sequence space: the payload, and one each for SYN and FIN (RFC 9293 SEG.LEN).
    #[inline]
    #[must_use]
    pub fn seg_len(&self) -> u32 {
        seg_len(self.flags, self.payload)
    }

    /// The header of this segment, ready to be written.
    #[inline]
    #[must_use]
    pub fn repr(&self) -> Repr {
        Repr {
            src_port: self.src_port,
            dst_port: self.dst_port,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: self.urgent,
            options: self.options,
        }
    }
}

/// Length in sequence space of a segment with these flags and data.
#[inline]
#[must_use]
pub fn seg_len(flags: Flags, payload: &[u8]) -> u32 {
    // No IP packet is longer than 2^32 - 1 bytes, and one that a caller makes up only wraps.
    (payload.len() as u32)
        .wrapping_add(u32::from(flags.contains(Flags::SYN)))
        .wrapping_add(u32::from(flags.contains(Flags::FIN)))
}

/// The fixed part of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Number of the first byte of the payload, or of the SYN.
    pub seq: SeqNumber,
    /// Next byte the sender expects; meaningless without [`Flags::ACK`].
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// The window field as it is on the wire, not scaled.
    pub window: u16,
    /// The urgent pointer; meaningless without [`Flags::URG`].
    pub urgent: u16,
}

impl Header {
    /// Writes the fixed part, with zero in the checksum field, of a header of `len` bytes in all; gives the sum of its
    /// words in native order.
    #[inline]
    fn write(&self, fixed: &mut [u8; HEADER_LEN], len: usize) -> u64 {
        let offset = (len as u32 / 4) << 28;
        let flags = u32::from(self.flags.bits() & Flags::all().bits()) << 16;
        let words = [
            u32::from(self.src_port) << 16 | u32::from(self.dst_port),
            self.seq.0,
            self.ack.0,
            offset | flags | u32::from(self.window),
            self.urgent.into(),
        ];
        let mut sum = 0;
        for (place, word) in fixed.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *place = word.to_be_bytes();
            sum += u64::from(word.to_be());
        }
        sum
    }

    /// The header with options.
    #[inline]
    #[must_use]
    pub fn with(&self, options: Options) -> Repr {
        let Self { src_port, dst_port, seq, ack, flags, window, urgent } = *self;
        Repr { src_port, dst_port, seq, ack, flags, window, urgent, options }
    }

    /// As [`Repr::emit_header_summed`] of this header with no option but, where given, timestamps: what almost every
    /// segment of an open connection carries. The length is 20, or 32 with timestamps.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] if `buf` is shorter than that; nothing is written.
    #[inline]
    pub fn emit_summed(&self, timestamps: Option<(u32, u32)>, buf: &mut [u8]) -> Result<(usize, Sum), Error> {
        let (fixed, rest) = buf.split_first_chunk_mut::<HEADER_LEN>().ok_or(Error::BufferTooSmall)?;
        let Some((value, echo)) = timestamps else {
            return Ok((HEADER_LEN, Sum::of_words(self.write(fixed, HEADER_LEN))));
        };
        let area = rest.first_chunk_mut::<TIMESTAMPS_LEN>().ok_or(Error::BufferTooSmall)?;
        let len = HEADER_LEN + TIMESTAMPS_LEN;
        let sum = self.write(fixed, len) + options::emit_timestamps(area, false, value, echo);
        Ok((len, Sum::of_words(sum)))
    }
}

/// The pieces of a received segment, none of them read yet. A caller that reads them one by one saves moving the whole
/// of a [`Segment`].
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    header: &'a [u8; HEADER_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Finds the end of the header.
    ///
    /// # Errors
    /// Those of [`Segment::parse`].
    #[inline]
    pub fn split(segment: &'a [u8]) -> Result<Self, Error> {
        let (header, rest) = segment.split_first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?;
        let options_len = (usize::from(header[12] >> 4) * 4).wrapping_sub(HEADER_LEN);
        // A data offset below 5 wraps to a huge length.
        let (options, payload) = rest.split_at_checked(options_len).ok_or(Error::BadHeaderLength)?;
        Ok(Self { header, options, payload })
    }

    /// Reads the fixed part of the header.
    #[inline]
    #[must_use]
    pub fn header(&self) -> Header {
        let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, o, f, w0, w1, _, _, u0, u1] = *self.header;
        Header {
            src_port: u16::from_be_bytes([s0, s1]),
            dst_port: u16::from_be_bytes([d0, d1]),
            seq: SeqNumber(u32::from_be_bytes([q0, q1, q2, q3])),
            ack: SeqNumber(u32::from_be_bytes([a0, a1, a2, a3])),
            flags: Flags::from_bits_truncate(u16::from_be_bytes([o, f])),
            window: u16::from_be_bytes([w0, w1]),
            urgent: u16::from_be_bytes([u0, u1]),
        }
    }

    /// The sum over the pseudo-header, the header and its options: with that of the data added it folds to 0xffff if the
    /// checksum is right.
    #[inline]
    #[must_use]
    pub fn header_sum(&self, src: IpAddr, dst: IpAddr) -> Sum {
        let len = HEADER_LEN + self.options.len() + self.payload.len();
        let mut sum = pseudo_header(src, dst, len);
        sum.add_bytes(self.header);
        sum.add_bytes(self.options);
        sum
    }

    /// Reads the options into `options`, which hold nothing yet.
    #[inline]
    pub fn read_options(&self, options: &mut Options) {
        options.read(self.options);
    }

    /// The data.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A header to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Number of the first byte of the payload, or of the SYN.
    pub seq: SeqNumber,
    /// Next byte expected from the peer.
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// The window field as it goes on the wire, already scaled down.
    pub window: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// Options; [`Options::malformed`] is ignored.
    pub options: Options,
}

impl Repr {
    /// Length of the header with its options, in bytes: 20..=60, a multiple of 4.
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> usize {
        HEADER_LEN + self.options.emitted_len()
    }

    /// The fixed part.
    #[inline]
    #[must_use]
    pub fn header(&self) -> Header {
        let Self { src_port, dst_port, seq, ack, flags, window, urgent, .. } = *self;
        Header { src_port, dst_port, seq, ack, flags, window, urgent }
    }

    /// Writes the header, with zero in the checksum field, to the start of `buf` and gives its length.
    ///
    /// The options stand where Linux puts them: MSS, SACK-permitted, timestamps, Accurate ECN, window scale, SACK, user timeout,
    /// padded with no-operations in front to 32 bits. SACK blocks that do not fit are left out, the last first.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] if `buf` is shorter than [`Repr::header_len`]; nothing is written.
    #[inline]
    pub fn emit_header(&self, buf: &mut [u8]) -> Result<usize, Error> {
        self.emit_header_summed(buf).map(|(len, _)| len)
    }

    /// As [`Repr::emit_header`], and gives the sum over the header too, for [`finish_checksum`]: reading back what was
    /// just written would wait for the writes.
    ///
    /// # Errors
    /// Those of [`Repr::emit_header`].
    #[inline]
    pub fn emit_header_summed(&self, buf: &mut [u8]) -> Result<(usize, Sum), Error> {
        let len = self.header_len();
        self.emit_header_of(len, buf).map(|sum| (len, sum))
    }

    /// As [`Repr::emit_header_summed`], for a caller that has asked for the [`Repr::header_len`] before: it is not worked
    /// out again. With another `len` the options do not fit what the header says of them.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] if `buf` is shorter than `len`, or `len` than 20; nothing is written.
    #[inline]
    pub fn emit_header_of(&self, len: usize, buf: &mut [u8]) -> Result<Sum, Error> {
        let header = buf.get_mut(..len).ok_or(Error::BufferTooSmall)?;
        let (fixed, options) = header.split_first_chunk_mut::<HEADER_LEN>().ok_or(Error::BufferTooSmall)?;
        let sum = self.header().write(fixed, len);
        Ok(Sum::of_words(sum + self.options.emit(options)))
    }
}

/// The checksum of a whole segment, header and data, is right.
///
/// False as well if the segment is shorter than a header.
#[inline]
#[must_use]
pub fn verify_checksum(src: IpAddr, dst: IpAddr, segment: &[u8]) -> bool {
    let mut sum = pseudo_header(src, dst, segment.len());
    sum.add_bytes(segment);
    segment.len() >= HEADER_LEN && sum.fold() == 0xffff
}

/// Computes the checksum over a whole segment, header and data, and writes it into its field.
///
/// # Errors
/// [`Error::BufferTooSmall`] if the segment is shorter than a header.
#[inline]
pub fn fill_checksum(src: IpAddr, dst: IpAddr, segment: &mut [u8]) -> Result<(), Error> {
    write_checksum(segment, 0)?;
    let mut sum = pseudo_header(src, dst, segment.len());
    sum.add_bytes(segment);
    write_checksum(segment, sum.finish())
}

/// As [`fill_checksum`], for a segment that was summed while it was written: `sum` is that of the header, as
/// [`Repr::emit_header_summed`] gives it, and of the data, as [`Sum::copy_bytes`] adds it. Nothing is read.
///
/// # Errors
/// [`Error::BufferTooSmall`] if the segment is shorter than a header.
#[inline]
pub fn finish_checksum(src: IpAddr, dst: IpAddr, segment: &mut [u8], sum: Sum) -> Result<(), Error> {
    let mut whole = pseudo_header(src, dst, segment.len());
    whole.add_sum(sum);
    write_checksum(segment, whole.finish())
}

/// Writes the sum over the pseudo-header, not inverted, into the checksum field: the device adds the rest
/// ([`crate::ChecksumState::Partial`]). The length in it is that of the whole `segment`, also if it is to be split.
///
/// # Errors
/// [`Error::BufferTooSmall`] if the segment is shorter than a header.
#[inline]
pub fn set_partial_checksum(src: IpAddr, dst: IpAddr, segment: &mut [u8]) -> Result<(), Error> {
    let sum = pseudo_header(src, dst, segment.len());
    write_checksum(segment, sum.fold())
}

#[inline]
fn pseudo_header(src: IpAddr, dst: IpAddr, len: usize) -> Sum {
    checksum::pseudo_header(src, dst, ip::protocol::TCP, len as u32)
}

#[inline]
fn write_checksum(segment: &mut [u8], value: u16) -> Result<(), Error> {
    let header = segment.first_chunk_mut::<HEADER_LEN>().ok_or(Error::BufferTooSmall)?;
    [header[CHECKSUM_OFFSET], header[CHECKSUM_OFFSET + 1]] = value.to_be_bytes();
    Ok(())
}

#[cfg(test)]
mod tests;
