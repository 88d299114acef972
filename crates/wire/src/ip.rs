//! IP packets of either version, and protocol numbers.

use core::net::IpAddr;

use crate::{Error, ipv4, ipv6};

/// Protocol numbers (IPv4 protocol, IPv6 next header) that lastack knows.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6: nothing follows.
    pub const NO_NEXT: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// An IP packet of either version.
#[derive(Clone, Copy, Debug)]
pub enum Packet<'a> {
    /// IPv4.
    V4(ipv4::Packet<'a>),
    /// IPv6.
    V6(ipv6::Packet<'a>),
}

impl<'a> Packet<'a> {
    /// Reads the IP header; its version field says which.
    ///
    /// # Errors
    /// [`Error::Truncated`] for no bytes, [`Error::BadVersion`] for neither 4 nor 6, and those of
    /// [`ipv4::Packet::parse`] and [`ipv6::Packet::parse`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        match bytes.first().ok_or(Error::Truncated)? >> 4 {
            4 => ipv4::Packet::parse(bytes).map(Self::V4),
            6 => ipv6::Packet::parse(bytes).map(Self::V6),
            _ => Err(Error::BadVersion),
        }
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn src(&self) -> IpAddr {
        match self {
            Self::V4(p) => p.src().into(),
            Self::V6(p) => p.src().into(),
        }
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> IpAddr {
        match self {
            Self::V4(p) => p.dst().into(),
            Self::V6(p) => p.dst().into(),
        }
    }

    /// The protocol field of IPv4, the next-header field of IPv6 (which may name an extension header:
    /// [`ipv6::Packet::ext_headers`]).
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        match self {
            Self::V4(p) => p.protocol(),
            Self::V6(p) => p.next_header(),
        }
    }

    /// Time to live, or hop limit.
    #[inline]
    #[must_use]
    pub fn ttl(&self) -> u8 {
        match self {
            Self::V4(p) => p.ttl(),
            Self::V6(p) => p.hop_limit(),
        }
    }

    /// Type of service, or traffic class: DSCP in the upper six bits, ECN in the lower two.
    #[inline]
    #[must_use]
    pub fn tos(&self) -> u8 {
        match self {
            Self::V4(p) => p.tos(),
            Self::V6(p) => p.traffic_class(),
        }
    }

    /// Length of the IP header in bytes: with options for IPv4, without extension headers for IPv6.
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> usize {
        match self {
            Self::V4(p) => p.header_len(),
            Self::V6(_) => ipv6::HEADER_LEN,
        }
    }

    /// What follows the header, without bytes past the length that the header states.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        match self {
            Self::V4(p) => p.payload(),
            Self::V6(p) => p.payload(),
        }
    }
}

#[cfg(test)]
mod tests;
