//! What cannot be meant in a scenario.

use super::{
    BoxSpec, Direction, FlowSpec, HostSpec, IpVersion, LinkSpec, MAX_CONNECTIONS, MAX_HOSTS, Model, Scenario,
    StackKind,
};
use crate::units::{Size, Time};
use std::time::Duration;

impl Scenario {
    /// Looks for what cannot be meant.
    ///
    /// # Errors
    /// A sentence about the first such thing.
    pub fn check(&self) -> Result<(), String> {
        let names: Vec<_> = self.hosts.iter().map(|h| &h.name).chain(&self.routers).collect();
        if let Some((i, name)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            return Err(format!("the name '{name}' is given twice (entry {})", i + 1));
        }
        if self.hosts.len() < 2 || self.hosts.len() > MAX_HOSTS {
            return Err(format!("a scenario has 2 to {MAX_HOSTS} hosts, not {}", self.hosts.len()));
        }
        self.hosts.iter().try_for_each(check_host)?;
        self.links.iter().try_for_each(|link| self.check_link(link))?;
        self.flows.iter().try_for_each(|flow| self.check_flow(flow))?;
        let connections: u64 = self.flows.iter().map(|flow| u64::from(flow.count)).sum();
        if connections > MAX_CONNECTIONS {
            return Err(format!("{connections} connections are more than {MAX_CONNECTIONS}"));
        }
        Ok(())
    }

    fn check_link(&self, link: &LinkSpec) -> Result<(), String> {
        let title = link.title();
        let at = |what: &str| Err(format!("link {title}: {what}"));
        if let Some(name) = link.between.iter().find(|name| self.node(name).is_none()) {
            return at(&format!("there is no host or router '{name}'"));
        }
        if link.between[0] == link.between[1] {
            return at("its two ends are the same");
        }
        let least = if self.ip == IpVersion::V6 { 1280 } else { 576 };
        for direction in [link.both.with(&link.forward), link.both.with(&link.backward)] {
            let sizes = direction.mtu.into_iter().chain(direction.mtu_changes.iter().map(|c| c.mtu));
            if let Some(mtu) = sizes.into_iter().find(|mtu| *mtu < least) {
                return at(&format!("an MTU of {mtu} bytes is less than {least}"));
            }
            if direction.queue.is_some() && direction.rate.is_none() {
                return at("a queue has no effect without a rate");
            }
            check_times(&direction).or_else(|wrong| at(&wrong))?;
        }
        for spec in &link.middleboxes {
            if matches!(spec, BoxSpec::Split { bytes, .. } if *bytes == 0) {
                return at("a segment cannot be split into pieces of 0 bytes");
            }
        }
        Ok(())
    }

    fn check_flow(&self, flow: &FlowSpec) -> Result<(), String> {
        let title = flow.title();
        let at = |what: String| Err(format!("flow {title}: {what}"));
        for name in [&flow.from, &flow.to] {
            if self.hosts.iter().all(|host| host.name != *name) {
                return at(format!("there is no host '{name}'"));
            }
        }
        if flow.from == flow.to {
            return at("its two ends are the same".to_owned());
        }
        if flow.fast_open {
            let able = |name: &String| self.hosts.iter().any(|host| host.name == *name && host.fast_open);
            if !able(&flow.from) || !able(&flow.to) {
                return at("both of its hosts need fast-open = true".to_owned());
            }
            if !matches!(flow.model, Model::RequestResponse { .. }) {
                return at("fast-open is for the model request-response".to_owned());
            }
        }
        if flow.simultaneous && flow.fast_open {
            return at("nobody listens where both connect: fast-open needs a listener".to_owned());
        }
        match flow.model {
            Model::SlowReader { piece: Size(0), .. } => at("a read of 0 bytes gets nowhere".to_owned()),
            Model::Crash { bytes, after, .. } if after > bytes => {
                at(format!("it cannot crash after {after} of {bytes} bytes"))
            }
            Model::Crash { .. } if !flow.may_fail => {
                at("a crash ends connections early: it needs may-fail = true".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// What only lastack has is not asked of another stack.
fn check_host(host: &HostSpec) -> Result<(), String> {
    let given = [
        ("sack", host.sack.is_some()),
        ("timestamps", host.timestamps.is_some()),
        ("window-scaling", host.window_scaling.is_some()),
        ("ecn", host.ecn.is_some()),
        ("orphan-retries", host.orphan_retries.is_some()),
        ("mtu-probing", host.mtu_probing.is_some()),
        ("fast-open", host.fast_open),
    ];
    match given.into_iter().find(|(_, given)| *given && host.stack == StackKind::Smoltcp) {
        Some((knob, _)) => Err(format!("host {}: smoltcp has no knob '{knob}'", host.name)),
        None => Ok(()),
    }
}

/// Times of a direction that are none, or out of order.
fn check_times(direction: &Direction) -> Result<(), String> {
    if let Some(window) = direction.down.iter().find(|w| w.from >= w.to) {
        return Err(format!("it is down from {} to {}, which is no time", window.from, window.to));
    }
    if direction.reorder.is_some_and(|reorder| reorder.by == Time(Duration::ZERO)) {
        return Err("a packet that is held back for no time is not overtaken".to_owned());
    }
    let changes = direction.mtu_changes.windows(2);
    match changes.into_iter().find(|two| two[0].at >= two[1].at) {
        Some(two) => Err(format!("its MTU changes at {} and then at {}", two[0].at, two[1].at)),
        None => Ok(()),
    }
}
