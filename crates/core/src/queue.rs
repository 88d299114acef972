//! A queue whose first entry lies in place: most connections never have a second one in flight, and pay for no
//! allocation then.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// See the module's documentation. The first entry is there if any is.
#[derive(Clone, Debug)]
pub(crate) struct Queue<T> {
    first: Option<T>,
    #[allow(clippy::box_collection, reason = "a null pointer is all that most queues need of it")]
    rest: Option<Box<VecDeque<T>>>,
}

impl<T> Queue<T> {
    /// An empty queue; allocates nothing.
    pub(crate) const fn new() -> Self {
        Self { first: None, rest: None }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    /// Entries that there is memory for beside the first.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.capacity())
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    /// The entry, if there is exactly one.
    #[inline]
    pub(crate) fn only(&self) -> Option<&T> {
        if self.rest.as_ref().is_some_and(|rest| !rest.is_empty()) { None } else { self.first.as_ref() }
    }

    /// Drops the entry that is known to be the only one, and memory for more than `most` entries.
    #[inline]
    pub(crate) fn clear_only(&mut self, most: usize) {
        self.first = None;
        self.shrink_idle(most);
    }

    #[inline]
    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    #[inline]
    pub(crate) fn back(&self) -> Option<&T> {
        self.rest.as_ref().and_then(|rest| rest.back()).or(self.first.as_ref())
    }

    #[inline]
    pub(crate) fn back_mut(&mut self) -> Option<&mut T> {
        match self.rest.as_mut().and_then(|rest| rest.back_mut()) {
            Some(last) => Some(last),
            None => self.first.as_mut(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        match index.checked_sub(1) {
            None => self.first.as_ref(),
            Some(index) => self.rest.as_ref()?.get(index),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match index.checked_sub(1) {
            None => self.first.as_mut(),
            Some(index) => self.rest.as_mut()?.get_mut(index),
        }
    }

    #[inline]
    pub(crate) fn push_back(&mut self, value: T) {
        if self.first.is_none() {
            self.first = Some(value);
        } else {
            self.rest.get_or_insert_default().push_back(value);
        }
    }

    /// Puts `value` at `index`, at most the length; what was there and after it moves back.
    pub(crate) fn insert(&mut self, index: usize, value: T) {
        match (index, self.first.is_none()) {
            (_, true) => self.first = Some(value),
            (0, false) => {
                if let Some(old) = self.first.replace(value) {
                    self.rest.get_or_insert_default().push_front(old);
                }
            }
            (index, false) => {
                let rest = self.rest.get_or_insert_default();
                rest.insert((index - 1).min(rest.len()), value);
            }
        }
    }

    /// Takes the entry at `index` out.
    pub(crate) fn remove(&mut self, index: usize) -> Option<T> {
        match index.checked_sub(1) {
            None => self.pop_front(),
            Some(index) => self.rest.as_mut()?.remove(index),
        }
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
        core::mem::replace(&mut self.first, next)
    }

    #[inline]
    pub(crate) fn pop_back(&mut self) -> Option<T> {
        match self.rest.as_mut().and_then(|rest| rest.pop_back()) {
            Some(last) => Some(last),
            None => self.first.take(),
        }
    }

    /// Number of entries at the front for which `pred` holds; it must hold for none after the first for which it does
    /// not.
    pub(crate) fn partition_point(&self, mut pred: impl FnMut(&T) -> bool) -> usize {
        match &self.first {
            Some(first) if pred(first) => 1 + self.rest.as_ref().map_or(0, |rest| rest.partition_point(pred)),
            _ => 0,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.first.iter_mut().chain(self.rest.iter_mut().flat_map(|rest| rest.iter_mut()))
    }

    /// Drops all entries; the memory stays.
    pub(crate) fn clear(&mut self) {
        self.first = None;
        if let Some(rest) = self.rest.as_mut() {
            rest.clear();
        }
    }

    /// Lets go of memory for more than `most` entries, if no entry but the first is left.
    #[inline]
    pub(crate) fn shrink_idle(&mut self, most: usize) {
        if let Some(rest) = self.rest.as_ref()
            && rest.is_empty()
            && rest.capacity() > most
        {
            self.rest = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn queue_behaves_as_a_deque(steps in proptest::collection::vec(0u32..6, 0..200)) {
            let mut queue = Queue::new();
            let mut model = VecDeque::new();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    0..3 => {
                        queue.push_back(n);
                        model.push_back(n);
                    }
                    3 => prop_assert_eq!(queue.pop_front(), model.pop_front()),
                    4 => prop_assert_eq!(queue.pop_back(), model.pop_back()),
                    _ => queue.shrink_idle(0),
                }
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(queue.front(), model.front());
                prop_assert_eq!(queue.back_mut(), model.back_mut());
                prop_assert_eq!(queue.back(), model.back());
                prop_assert_eq!(queue.only(), model.front().filter(|_| model.len() == 1));
                prop_assert_eq!(queue.iter().collect::<Vec<_>>(), model.iter().collect::<Vec<_>>());
                for index in 0..=model.len() {
                    prop_assert_eq!(queue.get(index), model.get(index));
                    prop_assert_eq!(queue.get_mut(index), model.get_mut(index));
                }
                for border in 0..=n {
                    let below = |value: &usize| *value < border;
                    prop_assert_eq!(queue.partition_point(below), model.partition_point(below));
                }
            }
        }
    }

    #[test]
    fn one_entry_allocates_nothing() {
        let mut queue = Queue::new();
        for n in 0..100 {
            queue.push_back(n);
            assert_eq!((queue.pop_front(), queue.capacity()), (Some(n), 0));
        }
    }
}
