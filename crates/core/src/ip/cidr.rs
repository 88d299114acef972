//! An address with the length of its prefix.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// An address and the length of its network prefix (RFC 4632), as in `10.0.0.1/24`.
///
/// The host part is kept: the same value says which address an interface has and which network it is connected to.
///
/// ```
/// use lastack_core::Cidr;
/// let cidr: Cidr = "10.0.0.1/24".parse()?;
/// assert!(cidr.contains([10, 0, 0, 77].into()));
/// assert_eq!(cidr.to_string(), "10.0.0.1/24");
/// # Ok::<(), lastack_core::CidrError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    addr: IpAddr,
    prefix: u8,
}

/// Why a text or a pair of numbers is no [`Cidr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CidrError {
    /// The part before the slash is not an IPv4 or IPv6 address.
    Address,
    /// The prefix length is not a number, or is above 32 for IPv4 or 128 for IPv6.
    Prefix,
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "not an IP address; write for example 10.0.0.1/24 or fd00::1/64",
            Self::Prefix => "prefix length is not a number in 0..=32 for IPv4 or 0..=128 for IPv6",
        })
    }
}

impl core::error::Error for CidrError {}

impl Cidr {
    /// `prefix` is in bits: 0..=32 for IPv4, 0..=128 for IPv6.
    ///
    /// # Errors
    /// [`CidrError::Prefix`] if it is larger.
    pub const fn new(addr: IpAddr, prefix: u8) -> Result<Self, CidrError> {
        if prefix > Self::bits(addr) {
            return Err(CidrError::Prefix);
        }
        Ok(Self { addr, prefix })
    }

    /// The address, host part included.
    #[must_use]
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Length of the prefix in bits.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `addr` is of the same family and has the same prefix.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let host = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & !host == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let host = u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & !host == 0
            }
            _ => false,
        }
    }

    /// The directed broadcast address of the network: IPv4 with a prefix of up to 30 bits (RFC 919; RFC 3021 for 31).
    #[must_use]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.addr {
            IpAddr::V4(own) if self.prefix <= 30 => {
                Some(Ipv4Addr::from_bits(own.to_bits() | (u32::MAX >> self.prefix)))
            }
            _ => None,
        }
    }

    /// The network: the address with a host part of zero.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        match self.addr {
            IpAddr::V4(own) => {
                let host = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                Ipv4Addr::from_bits(own.to_bits() & !host).into()
            }
            IpAddr::V6(own) => {
                let host = u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                Ipv6Addr::from_bits(own.to_bits() & !host).into()
            }
        }
    }

    const fn bits(addr: IpAddr) -> u8 {
        match addr {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }
}

/// A single host: a prefix of the full length.
impl From<IpAddr> for Cidr {
    fn from(addr: IpAddr) -> Self {
        Self { addr, prefix: Self::bits(addr) }
    }
}

/// `address/prefix`; without a slash a single host, as Linux's `ip address add` reads it.
impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (addr, prefix) = match text.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (text, None),
        };
        let addr = addr.parse().map_err(|_| CidrError::Address)?;
        match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Self::new(addr, digits.parse().map_err(|_| CidrError::Prefix)?)
            }
            Some(_) => Err(CidrError::Prefix),
            None => Ok(addr.into()),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}
