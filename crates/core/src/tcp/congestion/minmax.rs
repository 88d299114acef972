//! The largest value of a sliding window, with three samples of memory (Linux `lib/win_minmax.c`, after Kathleen Nichols).

/// A value, and when it was seen, on a clock that only the caller knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    at: u32,
    value: u64,
}

/// The best, the second and the third best of a window, in the order in which they were seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunningMax([Sample; 3]);

impl RunningMax {
    /// Forgets everything but one value.
    pub(super) fn reset(&mut self, at: u32, value: u64) -> u64 {
        self.0 = [Sample { at, value }; 3];
        value
    }

    /// The largest value.
    pub(super) fn get(&self) -> u64 {
        self.0[0].value
    }

    /// Takes a value in; gives the largest of the last `window` ticks.
    pub(super) fn update(&mut self, window: u32, at: u32, value: u64) -> u64 {
        let new = Sample { at, value };
        let [first, second, third] = &mut self.0;
        if value >= first.value || at.wrapping_sub(third.at) > window {
            return self.reset(at, value);
        }
        if value >= second.value {
            (*second, *third) = (new, new);
        } else if value >= third.value {
            *third = new;
        }
        let age = at.wrapping_sub(first.at);
        if age > window {
            // The best is too old: the others move up, perhaps both of them.
            (*first, *second, *third) = (*second, *third, new);
            if at.wrapping_sub(first.at) > window {
                (*first, *second, *third) = (*second, *third, new);
            }
        } else if second.at == first.at && age > window / 4 {
            (*second, *third) = (new, new);
        } else if third.at == second.at && age > window / 2 {
            *third = new;
        }
        self.0[0].value
    }

    /// Values and ages as of `now`.
    pub(super) fn relative(&self, now: u32) -> [(u64, u32); 3] {
        self.0.map(|sample| (sample.value, now.wrapping_sub(sample.at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_largest_value_is_forgotten_after_the_window() {
        let mut max = RunningMax::default();
        assert_eq!(max.update(10, 0, 7), 7);
        assert_eq!(max.update(10, 4, 5), 7);
        assert_eq!(max.update(10, 8, 3), 7);
        assert_eq!(max.update(10, 11, 1), 5);
        assert_eq!(max.update(10, 30, 2), 2);
        assert_eq!(max.get(), 2);
    }

    proptest! {
        #[test]
        fn it_is_never_less_than_the_newest_nor_more_than_the_largest(
            values in prop::collection::vec((0u32..4, 0u64..100), 1..50),
        ) {
            let (mut max, mut now) = (RunningMax::default(), 0);
            let mut seen = alloc::vec::Vec::new();
            for (pause, value) in values {
                now += pause;
                seen.push((now, value));
                let got = max.update(10, now, value);
                let largest = seen.iter().filter(|(at, _)| now - at <= 10).map(|(_, value)| *value).max();
                prop_assert!(got >= value && Some(got) <= largest);
            }
        }
    }
}
