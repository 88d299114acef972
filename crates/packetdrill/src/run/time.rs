//! When an event has to happen.

use crate::script::Time;

/// An event's time since the start of the script, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When {
    pub(super) from: i64,
    pub(super) to: i64,
    /// Whenever.
    pub(super) any: bool,
    /// When a call returns that begins at `from`.
    pub(super) ends: Option<i64>,
    /// How far beside its time an event may be.
    pub(super) tolerance: i64,
    least_tolerance: i64,
    part: i64,
    reference: i64,
}

impl When {
    /// `tolerance` in microseconds, or a `part` of the time since the event before, in millionths.
    pub(super) fn new(time: Time, reference: i64, (tolerance, part): (i64, i64)) -> Self {
        let (from, to, ends) = match time {
            Time::Absolute(at) => (at, at, None),
            Time::Relative(by) => (reference + by, reference + by, None),
            Time::AbsoluteRange(from, to) => (from, to, None),
            Time::RelativeRange(from, to) => (reference + from, reference + to, None),
            Time::Any => (reference, reference, None),
            Time::Blocking(from, end) => (from, from, Some(end)),
            Time::RelativeBlocking(from, end) => (reference + from, reference + from, Some(reference + end)),
        };
        let mut when = Self {
            from,
            to,
            any: time == Time::Any,
            ends,
            tolerance,
            least_tolerance: tolerance,
            part,
            reference,
        };
        when.tolerance = when.tolerance_for(to);
        when
    }

    /// A part of the time since the event before, at least what is configured.
    pub(super) fn tolerance_for(&self, at: i64) -> i64 {
        self.least_tolerance.max((at - self.reference).saturating_mul(self.part) / 1_000_000)
    }

    /// The line leaves the moment open.
    pub(super) fn is_loose(&self) -> bool {
        self.any || self.from != self.to
    }

    /// Something that happened at `at` was in time.
    pub(super) fn holds(&self, at: i64) -> bool {
        self.any || (self.from - self.tolerance..=self.to + self.tolerance).contains(&at)
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self { any: true, .. } => "*".into(),
            Self { from, to, .. } if from == to => seconds(*from),
            Self { from, to, .. } => format!("{}~{}", seconds(*from), seconds(*to)),
        }
    }

    pub(super) fn expected(&self) -> String {
        format!("expected at {} (tolerance {})", self.text(), seconds(self.tolerance))
    }
}

/// Microseconds as seconds with six decimals.
pub(super) fn seconds(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    format!("{sign}{}.{:06}", us.abs() / 1_000_000, us.abs() % 1_000_000)
}
