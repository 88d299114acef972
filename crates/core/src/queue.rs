//! A queue whose first entry lies in place: most connections never have a second one in flight, and pay for no
//! allocation then.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// See the module's documentation. An entry that finds the queue empty goes to `first`, every other to `rest`, and none moves: what is
/// in `first` is in front, and `rest` may hold entries without it.
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
    fn rest_is_empty(&self) -> bool {
        self.rest.as_ref().is_none_or(|rest| rest.is_empty())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest_is_empty()
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
        match &self.first {
            None => self.rest.as_ref()?.front(),
            first => first.as_ref(),
        }
    }

    /// The entry, if there is exactly one.
    #[inline]
    pub(crate) fn only(&self) -> Option<&T> {
        match &self.first {
            None => self.rest.as_ref().filter(|rest| rest.len() == 1)?.front(),
            first if self.rest_is_empty() => first.as_ref(),
            _ => None,
        }
    }

    /// Drops the entry that is known to be the only one, and memory for more than `most` entries.
    #[inline]
    pub(crate) fn clear_only(&mut self, most: usize) {
        self.pop_front();
        self.shrink_idle(most);
    }

    #[inline]
    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        match &mut self.first {
            None => self.rest.as_mut()?.front_mut(),
            first => first.as_mut(),
        }
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

    /// Where in `rest` the entry with this number is; `None`: it is in `first`.
    #[inline]
    fn place(&self, index: usize) -> Option<usize> {
        index.checked_sub(usize::from(self.first.is_some()))
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        match self.place(index) {
            None => self.first.as_ref(),
            Some(index) => self.rest.as_ref()?.get(index),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match self.place(index) {
            None => self.first.as_mut(),
            Some(index) => self.rest.as_mut()?.get_mut(index),
        }
    }

    #[inline]
    pub(crate) fn push_back(&mut self, value: T) {
        if self.is_empty() {
            self.first = Some(value);
        } else {
            self.rest.get_or_insert_default().push_back(value);
        }
    }

    /// Puts `value` at `index`, at most the length; what was there and after it moves back.
    pub(crate) fn insert(&mut self, index: usize, value: T) {
        if self.is_empty() {
            self.first = Some(value);
            return;
        }
        let place = self.place(index);
        let rest = self.rest.get_or_insert_default();
        match place {
            Some(index) => rest.insert(index.min(rest.len()), value),
            None => {
                if let Some(old) = self.first.replace(value) {
                    rest.push_front(old);
                }
            }
        }
    }

    /// Takes the entry at `index` out.
    pub(crate) fn remove(&mut self, index: usize) -> Option<T> {
        match self.place(index) {
            None => self.first.take(),
            Some(index) => self.rest.as_mut()?.remove(index),
        }
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        match self.first.take() {
            None => self.rest.as_mut()?.pop_front(),
            first => first,
        }
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
            Some(first) if !pred(first) => 0,
            first => {
                usize::from(first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.partition_point(pred))
            }
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

    /// Lets go of memory for more than `most` entries, if `rest` is empty.
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
        fn queue_behaves_as_a_deque(steps in proptest::collection::vec(0u32..8, 0..200)) {
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
                    5 => {
                        queue.insert(n % (model.len() + 1), n);
                        model.insert(n % (model.len() + 1), n);
                    }
                    6 => prop_assert_eq!(queue.remove(n % 3), model.remove(n % 3)),
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
                // Entries are not in order where they were put between others.
                for border in 0..=model.len() {
                    let before = |value: &usize| model.iter().position(|other| other == value) < Some(border);
                    prop_assert_eq!(queue.partition_point(before), border);
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
