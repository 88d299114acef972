//! What few connections need, in one box that is made when the first of it is needed.

use super::ecn::EcnCounts;
use super::fast_open::FastOpen;
use super::listen::Listen;
use super::mtu_probe::MtuProbe;
use super::pacing::Pacer;
use alloc::boxed::Box;
use core::ops::Deref;

/// See [`Rare`].
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) listen: Option<Box<Listen>>,
    /// Of a socket that opens connections with text on the SYN, or takes them.
    pub(crate) fast_open: Option<Box<FastOpen>>,
    /// Of a connection that is paced.
    pub(crate) pacer: Option<Pacer>,
    /// Made with the first mark.
    pub(crate) ecn_counts: Option<Box<EcnCounts>>,
    /// The search for the path's MTU.
    pub(crate) mtu_probe: Option<MtuProbe>,
}

impl Parts {
    const NONE: &Self =
        &Self { listen: None, fast_open: None, pacer: None, ecn_counts: None, mtu_probe: None };
}

/// The parts of a connection that most are without. It reads as [`Parts`], all of them `None` before one is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rare(Option<Box<Parts>>);

impl Rare {
    /// The part that `which` points to, if it was made.
    #[inline]
    pub(crate) fn get<T>(&mut self, which: impl FnOnce(&mut Parts) -> &mut Option<T>) -> Option<&mut T> {
        which(self.0.as_deref_mut()?).as_mut()
    }

    /// No part was ever made.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Those there are, if any was ever made.
    #[inline]
    pub(crate) fn existing(&mut self) -> Option<&mut Parts> {
        self.0.as_deref_mut()
    }

    /// All of them, to make one.
    pub(crate) fn parts(&mut self) -> &mut Parts {
        self.0.get_or_insert_with(|| Box::new(Parts::NONE.clone()))
    }
}

impl Deref for Rare {
    type Target = Parts;

    #[inline]
    fn deref(&self) -> &Parts {
        self.0.as_deref().unwrap_or(Parts::NONE)
    }
}
