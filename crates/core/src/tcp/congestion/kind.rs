//! The algorithm of a connection: a built-in one in place, any other in a box.

use super::{
    AckSample, Algorithm, Bbr, Bbr3, CaState, CongestionControl, Cubic, CwndEvent, Dctcp, Flow, Needs,
    Origin, Reno, Report, Start, Window,
};
use crate::config::TcpConfig;
use crate::time::Instant;
use alloc::boxed::Box;
use core::hash::{Hash, Hasher};
use core::time::Duration;
use lastack_wire::SeqNumber;

/// Window and algorithm of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Congestion {
    pub(crate) window: Window,
    needs: Needs,
    kind: Kind,
}

const _: () = assert!(size_of::<Congestion>() <= 88);

#[derive(Debug)]
enum Kind {
    /// RFC 5681 and RFC 6582.
    Reno,
    /// RFC 9438, the default.
    Cubic(Cubic),
    /// Anything else, with its name.
    Boxed(&'static str, Box<dyn CongestionControl>),
}

/// What the algorithms of every day look at in an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brief {
    pub(crate) now: Instant,
    pub(crate) acked: u32,
    pub(crate) rtt: Option<Duration>,
    /// The window was the limit, and may grow.
    pub(crate) grows: bool,
    pub(crate) una: SeqNumber,
    pub(crate) nxt: SeqNumber,
    pub(crate) paced: bool,
}

/// The built-in algorithms, by name.
const BUILT_IN: [&str; 5] = ["reno", "cubic", "bbr", "bbr3", "dctcp"];

impl Congestion {
    fn of(kind: Kind) -> Self {
        let needs = match &kind {
            Kind::Boxed(_, inner) => inner.needs(),
            Kind::Reno | Kind::Cubic(_) => Needs::empty(),
        };
        Self { window: Window::new(), needs, kind }
    }

    /// Names that [`Congestion::by_name`] knows.
    pub(crate) fn names(cfg: &TcpConfig) -> impl Iterator<Item = &'static str> + '_ {
        let own = cfg.congestion_controls.iter().map(|algorithm| algorithm.name);
        let shadows = own.clone();
        BUILT_IN.into_iter().filter(move |name| !shadows.clone().any(|own| own == *name)).chain(own)
    }

    /// A new algorithm with the initial window; `None` for an unknown name.
    pub(crate) fn by_name(cfg: &TcpConfig, name: &str) -> Option<Self> {
        let own = cfg.congestion_controls.iter().find(|algorithm| algorithm.name == name);
        if let Some(Algorithm { name, make }) = own {
            return Some(Self::of(Kind::Boxed(name, make())));
        }
        match name {
            "cubic" => Some(Self::of(Kind::Cubic(Cubic::with(cfg.hystart)))),
            "reno" => Some(Self::of(Kind::Reno)),
            "bbr" => Some(Self::of(Kind::Boxed("bbr", Box::new(Bbr::new())))),
            "bbr3" => Some(Self::of(Kind::Boxed("bbr3", Box::new(Bbr3::new())))),
            "dctcp" => Some(Self::of(Kind::Boxed("dctcp", Box::new(Dctcp::new())))),
            _ => None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Reno => "reno",
            Kind::Cubic(_) => "cubic",
            Kind::Boxed(name, _) => name,
        }
    }

    /// The same algorithm without state, for a connection that inherits it.
    pub(crate) fn fresh(&self, cfg: &TcpConfig) -> Self {
        match &self.kind {
            Kind::Reno => Self::of(Kind::Reno),
            Kind::Cubic(inner) => Self::of(Kind::Cubic(inner.fresh())),
            Kind::Boxed(name, _) => Self::by_name(cfg, name).unwrap_or_default(),
        }
    }

    #[inline]
    pub(crate) fn needs(&self, what: Needs) -> bool {
        self.needs.contains(what)
    }

    #[inline]
    pub(crate) fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    #[inline]
    pub(crate) fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    /// See [`CongestionControl::buffered_windows`].
    pub(crate) fn buffered_windows(&self) -> u32 {
        match &self.kind {
            Kind::Reno | Kind::Cubic(_) => 2,
            Kind::Boxed(_, inner) => inner.buffered_windows(),
        }
    }

    fn each<T>(&mut self, f: impl FnOnce(&mut dyn CongestionControl, &mut Window) -> T) -> T {
        match &mut self.kind {
            Kind::Reno => f(&mut Reno, &mut self.window),
            Kind::Cubic(inner) => f(inner, &mut self.window),
            Kind::Boxed(_, inner) => f(inner.as_mut(), &mut self.window),
        }
    }

    pub(crate) fn start(&mut self, start: &Start) {
        self.each(|inner, window| inner.on_start(window, start));
    }

    /// It needs no more than a [`Brief`].
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        !matches!(self.kind, Kind::Boxed(..))
    }

    /// [`CongestionControl::on_ack`] of a plain algorithm.
    #[inline]
    pub(crate) fn on_plain_ack(&mut self, brief: &Brief) {
        match &mut self.kind {
            Kind::Reno if brief.grows => Reno::grow(&mut self.window, brief.acked),
            Kind::Cubic(inner) => inner.acked(&mut self.window, brief),
            Kind::Reno | Kind::Boxed(..) => {}
        }
    }

    pub(crate) fn on_ack(&mut self, ack: &AckSample) {
        self.each(|inner, window| inner.on_ack(window, ack));
    }

    /// Sending begins with nothing in flight, after the last packet left at `before`; `flow` for an algorithm that is not plain.
    #[inline]
    pub(crate) fn on_tx_start(&mut self, now: Instant, before: Instant, flow: Option<&Flow>) {
        match (&mut self.kind, flow) {
            (Kind::Cubic(inner), None) => inner.leave_out(now, before),
            (Kind::Reno | Kind::Boxed(..), None) => {}
            (_, Some(flow)) => self.on_event(CwndEvent::TxStart { idle: now - before }, flow),
        }
    }

    /// The rate that the algorithm wants, in bytes per second.
    pub(crate) fn pacing_rate(&self) -> Option<u64> {
        self.boxed()?.pacing_rate()
    }

    pub(crate) fn min_packet(&self, pacing_rate: u64) -> Option<u32> {
        self.boxed()?.min_packet(pacing_rate)
    }

    pub(crate) fn limits_itself(&self) -> bool {
        self.boxed().is_some_and(CongestionControl::limits_itself)
    }

    fn boxed(&self) -> Option<&dyn CongestionControl> {
        match &self.kind {
            Kind::Boxed(_, inner) => Some(inner.as_ref()),
            Kind::Reno | Kind::Cubic(_) => None,
        }
    }

    /// Congestion: the threshold falls.
    pub(crate) fn congest(&mut self, flow: &Flow) {
        let ssthresh = self.each(|inner, window| inner.ssthresh(window, flow));
        self.window.ssthresh = ssthresh.max(1);
        self.window.acked = 0;
    }

    /// Recovery enters `state`; `flow` for an algorithm that is not plain, and for a timeout.
    pub(crate) fn on_state(&mut self, state: CaState, flow: Option<&Flow>) {
        match (&mut self.kind, flow) {
            (Kind::Cubic(inner), Some(flow)) => inner.entered(state, flow),
            (Kind::Boxed(_, inner), Some(flow)) => inner.on_state(&mut self.window, state, flow),
            _ => {}
        }
    }

    pub(crate) fn on_event(&mut self, event: CwndEvent, flow: &Flow) {
        self.each(|inner, window| inner.on_event(window, event, flow));
    }

    /// The last reduction is taken back, as far as the algorithm wants; the threshold at least to `ssthresh`.
    pub(crate) fn undo(&mut self, cwnd: u32, ssthresh: u32, flow: &Flow) {
        let cwnd = self.each(|inner, window| inner.undo_cwnd(window, cwnd, flow));
        self.window.set_cwnd(cwnd);
        self.window.ssthresh = self.window.ssthresh.max(ssthresh);
    }

    /// What the algorithm says of itself; `flow` is made only if it says anything.
    pub(crate) fn report(&self, flow: impl FnOnce() -> Flow) -> Option<Report> {
        match &self.kind {
            Kind::Boxed(_, inner) => inner.report(&flow()),
            Kind::Reno | Kind::Cubic(_) => None,
        }
    }

    /// Another algorithm takes over: window and threshold stay (Linux `tcp_reinit_congestion_control`).
    pub(crate) fn hand_over(&mut self, mut next: Self) {
        next.window = self.window.clone();
        *self = next;
    }

    pub(crate) fn fingerprint(&self, origin: &Origin, mut state: &mut dyn Hasher) {
        let Self { window, needs: _, kind } = self;
        window.hash(&mut state);
        core::mem::discriminant(kind).hash(&mut state);
        match kind {
            Kind::Reno => {}
            Kind::Cubic(inner) => inner.fingerprint(origin, state),
            Kind::Boxed(name, inner) => {
                name.hash(&mut state);
                inner.fingerprint(origin, state);
            }
        }
    }
}

impl Default for Congestion {
    /// CUBIC.
    fn default() -> Self {
        Self::of(Kind::Cubic(Cubic::new()))
    }
}

impl Clone for Kind {
    fn clone(&self) -> Self {
        match self {
            Kind::Reno => Kind::Reno,
            Kind::Cubic(inner) => Kind::Cubic(inner.clone()),
            Kind::Boxed(name, inner) => Kind::Boxed(name, inner.clone_box()),
        }
    }
}
