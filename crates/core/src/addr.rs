//! An IP address in the form in which four-tuples hold it.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The upper half of the lower word of an IPv4 address.
const MAPPED: u64 = 0xffff << 32;

/// Two words, an IPv4 address as the IPv6 address that maps it (RFC 4291 2.5.5.2), which itself is none that packets may
/// have. Compared, hashed and copied without a look at the family: this is done several times for each segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Addr {
    high: u64,
    low: u64,
}

impl Addr {
    /// 0.0.0.0.
    pub(crate) const UNSPECIFIED_V4: Self = Self { high: 0, low: MAPPED };

    /// The same address in the library's type.
    #[inline]
    pub(crate) fn ip(self) -> IpAddr {
        match self.as_v4() {
            Some(bits) => Ipv4Addr::from_bits(bits).into(),
            None => Ipv6Addr::from_bits(u128::from(self.high) << 64 | u128::from(self.low)).into(),
        }
    }

    /// The 32 bits of an IPv4 address.
    #[inline]
    pub(crate) const fn as_v4(self) -> Option<u32> {
        if self.high == 0 && self.low >> 32 == MAPPED >> 32 { Some(self.low as u32) } else { None }
    }

    #[inline]
    pub(crate) const fn is_ipv4(self) -> bool {
        self.as_v4().is_some()
    }

    #[inline]
    pub(crate) const fn is_ipv6(self) -> bool {
        !self.is_ipv4()
    }

    /// Both words.
    #[inline]
    pub(crate) const fn words(self) -> [u64; 2] {
        [self.high, self.low]
    }
}

impl From<Ipv4Addr> for Addr {
    #[inline]
    fn from(addr: Ipv4Addr) -> Self {
        Self { high: 0, low: MAPPED | u64::from(addr.to_bits()) }
    }
}

impl From<Ipv6Addr> for Addr {
    #[inline]
    fn from(addr: Ipv6Addr) -> Self {
        let bits = addr.to_bits();
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }
}

impl From<IpAddr> for Addr {
    #[inline]
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn address_comes_back_as_it_was(four: u32, six: u128) {
            let four = IpAddr::from(Ipv4Addr::from_bits(four));
            prop_assert_eq!((Addr::from(four).ip(), Addr::from(four).is_ipv4()), (four, true));
            let six = IpAddr::from(Ipv6Addr::from_bits(six));
            prop_assert_eq!((Addr::from(six).ip(), Addr::from(six).is_ipv6()), (six, true));
            prop_assert_ne!(Addr::from(four), Addr::from(six));
        }
    }

    #[test]
    fn mapped_address_is_the_ipv4_address() {
        let v4 = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(Addr::from(v4.to_ipv6_mapped()), Addr::from(v4));
        assert_eq!(Addr::UNSPECIFIED_V4.ip(), IpAddr::from(Ipv4Addr::UNSPECIFIED));
        assert!(Addr::from(Ipv6Addr::UNSPECIFIED).is_ipv6());
    }
}
