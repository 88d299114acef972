//! The packet that an ICMP error quotes.

use core::net::{IpAddr, Ipv4Addr};

use crate::ip::protocol;
use crate::ipv6::{self, ExtError, ExtHeaders};
use crate::{Error, SeqNumber};

/// What an ICMP error says of the packet it is about: enough to find the connection, and to see that whoever sent
/// the error saw the packet (RFC 5927).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Source address: ours, if the error is about a packet that we sent.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol of the upper layer.
    pub protocol: u8,
    /// Source port of TCP and UDP; 0 for other protocols.
    pub src_port: u16,
    /// Destination port of TCP and UDP; 0 for other protocols.
    pub dst_port: u16,
    /// The sequence number, if it is TCP.
    pub tcp_seq: Option<SeqNumber>,
    /// Length of the quoted packet as its header states it, in bytes: what an old router that gives no MTU found
    /// too long (RFC 1191 section 5).
    pub total_len: u32,
}

impl Quoted {
    /// Reads the start of an IPv4 packet. Its checksum may be stale, and it is usually cut short.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the header, or the first 8 bytes of TCP (4 of UDP), are not all there,
    /// [`Error::BadVersion`], [`Error::BadHeaderLength`], [`Error::NotFirstFragment`].
    pub fn parse_v4(bytes: &[u8]) -> Result<Self, Error> {
        let header = bytes.first_chunk::<20>().ok_or(Error::Truncated)?;
        if header[0] >> 4 != 4 {
            return Err(Error::BadVersion);
        }
        let header_len = usize::from(header[0] & 0x0f) * 4;
        if header_len < 20 {
            return Err(Error::BadHeaderLength);
        }
        if u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0 {
            return Err(Error::NotFirstFragment);
        }
        let upper = bytes.get(header_len..).ok_or(Error::Truncated)?;
        let src = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
        let dst = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
        let total_len = u32::from(u16::from_be_bytes([header[2], header[3]]));
        Self::upper(src.into(), dst.into(), header[9], upper, total_len)
    }

    /// Reads the start of an IPv6 packet and follows its extension headers.
    ///
    /// # Errors
    /// As [`Quoted::parse_v4`], and [`Error::BadExtensionHeader`].
    pub fn parse_v6(bytes: &[u8]) -> Result<Self, Error> {
        let (header, src, dst, rest) = ipv6::split(bytes).ok_or(Error::Truncated)?;
        if header[0] >> 4 != 6 {
            return Err(Error::BadVersion);
        }
        let ext = ExtHeaders::walk(header[6], rest).map_err(|error| match error {
            ExtError::Truncated => Error::Truncated,
            _ => Error::BadExtensionHeader,
        })?;
        if ext.fragment.is_some_and(|f| f.offset != 0) {
            return Err(Error::NotFirstFragment);
        }
        let total_len = ipv6::HEADER_LEN as u32 + u32::from(u16::from_be_bytes([header[4], header[5]]));
        Self::upper(IpAddr::from(*src), IpAddr::from(*dst), ext.protocol, ext.payload, total_len)
    }

    fn upper(src: IpAddr, dst: IpAddr, proto: u8, upper: &[u8], total_len: u32) -> Result<Self, Error> {
        let mut quoted =
            Self { src, dst, protocol: proto, src_port: 0, dst_port: 0, tcp_seq: None, total_len };
        if matches!(proto, protocol::TCP | protocol::UDP) {
            let &[s0, s1, d0, d1] = upper.first_chunk().ok_or(Error::Truncated)?;
            quoted.src_port = u16::from_be_bytes([s0, s1]);
            quoted.dst_port = u16::from_be_bytes([d0, d1]);
        }
        if proto == protocol::TCP {
            let &[_, _, _, _, q0, q1, q2, q3] = upper.first_chunk().ok_or(Error::Truncated)?;
            quoted.tcp_seq = Some(SeqNumber(u32::from_be_bytes([q0, q1, q2, q3])));
        }
        Ok(quoted)
    }
}

#[cfg(test)]
mod tests;
