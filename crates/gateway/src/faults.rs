//! Faults on purpose: what a rule does to the connections that it matches.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::summary::Direction;

/// How the command line writes a rule.
const FORM: &str = "WHICH: VERB [P%], where WHICH is 'all' or port=N, host=ADDRESS, connection=N, direction=in|out joined by commas, and VERB \
                    is one of: reset [after SIZE], close early [after SIZE], swallow fin, half-open [after SIZE], delay \
                    syn-ack TIME, refuse, zero window [after SIZE] for TIME; as in 'port=443: reset after 10kB'";

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The connection is reset once so many bytes were carried in one of its directions, and delivered.
    Reset {
        /// Bytes.
        after: u64,
    },
    /// The server's stream ends for the program after so many bytes; the rest of it is lost.
    CloseEarly {
        /// Bytes.
        after: u64,
    },
    /// The end of the server's stream never reaches the program.
    SwallowFin,
    /// The server falls silent for the program once so many bytes were carried in one direction.
    HalfOpen {
        /// Bytes.
        after: u64,
    },
    /// The answer to the program's SYN takes longer.
    DelaySynAck {
        /// How much longer.
        by: Duration,
    },
    /// The connection is refused.
    Refuse,
    /// Once so many bytes were carried in one direction, the program may send nothing for some time.
    ZeroWindow {
        /// Bytes.
        after: u64,
        /// How long.
        time: Duration,
    },
}

/// A rule: which connections, what happens to them, and how often. It counts how often it did.
#[derive(Clone, Debug)]
pub struct FaultRule {
    text: String,
    port: Option<u16>,
    host: Option<IpAddr>,
    connection: Option<u32>,
    direction: Option<Direction>,
    verb: Verb,
    /// Of the connections that match: 0.0 to 1.0.
    chance: f64,
    fired: Arc<AtomicU64>,
}

impl FromStr for FaultRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).map_err(|problem| format!("{problem}; the form is {FORM}"))
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse(text: &str) -> Result<FaultRule, String> {
    // An IPv6 address has colons too; the one before the verb has a space behind it.
    let (which, verb) = text.split_once(": ").ok_or("no ': ' between what is meant and what happens")?;
    let mut rule = FaultRule {
        text: text.to_owned(),
        port: None,
        host: None,
        connection: None,
        direction: None,
        verb: Verb::Refuse,
        chance: 1.0,
        fired: Arc::default(),
    };
    for part in which.split(',').map(str::trim).filter(|part| *part != "all") {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("'{part}' is not KEY=VALUE"))?;
        let wrong = || format!("'{value}' is no {key}");
        match key {
            "port" => rule.port = Some(value.parse().map_err(|_| wrong())?),
            "host" => rule.host = Some(value.parse().map_err(|_| wrong())?),
            "connection" => {
                rule.connection = Some(value.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)?);
            }
            "direction" => {
                rule.direction = Some(match value {
                    "in" => Direction::Inbound,
                    "out" => Direction::Outbound,
                    _ => return Err(wrong()),
                });
            }
            _ => return Err(format!("there is no '{key}' to choose connections by")),
        }
    }
    let mut words: Vec<&str> = verb.split_whitespace().collect();
    if let Some(percent) = words.last().and_then(|word| word.strip_suffix('%')) {
        let value = percent.parse().ok().filter(|value: &f64| (0.0..=100.0).contains(value));
        rule.chance = value.ok_or_else(|| format!("'{percent}%' is no share from 0% to 100%"))? / 100.0;
        words.pop();
    }
    rule.verb = verb_of(&words)?;
    Ok(rule)
}

fn verb_of(words: &[&str]) -> Result<Verb, String> {
    Ok(match words {
        ["reset"] => Verb::Reset { after: 0 },
        ["reset", "after", size] => Verb::Reset { after: bytes(size)? },
        ["close", "early"] => Verb::CloseEarly { after: 0 },
        ["close", "early", "after", size] => Verb::CloseEarly { after: bytes(size)? },
        ["swallow", "fin"] => Verb::SwallowFin,
        ["half-open"] => Verb::HalfOpen { after: 0 },
        ["half-open", "after", size] => Verb::HalfOpen { after: bytes(size)? },
        ["delay", "syn-ack", time] => Verb::DelaySynAck { by: duration(time)? },
        ["refuse"] => Verb::Refuse,
        ["zero", "window", "for", time] => Verb::ZeroWindow { after: 0, time: duration(time)? },
        ["zero", "window", "after", size, "for", time] => {
            Verb::ZeroWindow { after: bytes(size)?, time: duration(time)? }
        }
        _ => return Err(format!("there is no verb '{}'", words.join(" "))),
    })
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let factor: Option<u64> = match unit {
        "" | "B" => Some(1),
        "kB" => Some(1000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let value =
        number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    value.ok_or_else(|| format!("'{text}' is no size, as in 10kB, 64KiB or 1MB"))
}

/// A number of bytes as in `500B`, `10kB` or `64MiB`; at least 1.
///
/// # Errors
/// One line that shows the form.
pub fn size(text: &str) -> Result<usize, String> {
    let value = bytes(text)?;
    usize::try_from(value)
        .ok()
        .filter(|value| *value > 0)
        .ok_or_else(|| format!("'{text}' is no size, as in 64MiB"))
}

/// A time as in `250ms`, `2s` or `1m`.
///
/// # Errors
/// One line that shows the form.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let millis: Option<u64> = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let value = number.parse::<u64>().ok().zip(millis).and_then(|(number, unit)| number.checked_mul(unit));
    value.map(Duration::from_millis).ok_or_else(|| format!("'{text}' is no time, as in 250ms, 2s or 1m"))
}

/// A share as in `5%` or `0.05`, from 0 to 1.
///
/// # Errors
/// One line that shows the form.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let value = number.parse::<f64>().ok().map(|value| value / whole);
    let value = value.filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| format!("'{text}' is no share, as in 5% or 0.05"))
}

/// Milliseconds as in `20`, or a time as [`duration`] takes it.
///
/// # Errors
/// One line that shows the form.
pub fn millis(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).or_else(|_| duration(text))
}

/// Bits per second as in `1000000`, `64k`, `10M` or `1G`; at least 1.
///
/// # Errors
/// One line that shows the form.
pub fn rate(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let factor: Option<u64> = match unit {
        "" => Some(1),
        "k" => Some(1000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        _ => None,
    };
    let value =
        number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    value
        .filter(|rate| *rate > 0)
        .ok_or_else(|| format!("'{text}' is no rate in bits per second, as in 64k, 10M or 1G"))
}

impl FaultRule {
    /// How often it took effect.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.fired.load(Ordering::Relaxed)
    }

    fn matches(&self, direction: Direction, number: u32, destination: SocketAddr) -> bool {
        self.direction.is_none_or(|only| only == direction)
            && self.port.is_none_or(|port| port == destination.port())
            && self.host.is_none_or(|host| host == destination.ip())
            && self.connection.is_none_or(|connection| connection == number)
    }
}

/// A rule that applies to a connection.
#[derive(Clone, Debug)]
pub(crate) struct Armed {
    fired: Arc<AtomicU64>,
}

impl Armed {
    /// It has taken effect.
    pub(crate) fn fire(&self) {
        self.fired.fetch_add(1, Ordering::Relaxed);
    }
}

/// What happens to one connection. Of several rules with the same verb the first that matches counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) refuse: Option<Armed>,
    pub(crate) delay: Option<(Duration, Armed)>,
    pub(crate) reset: Option<(u64, Armed)>,
    pub(crate) close: Option<(u64, Armed)>,
    pub(crate) silence: Option<(u64, Armed)>,
    pub(crate) zero_window: Option<(u64, Duration, Armed)>,
    pub(crate) swallow_fin: Option<Armed>,
}

/// All rules of a gateway.
#[derive(Debug)]
pub(crate) struct Faults {
    rules: Vec<FaultRule>,
    seed: u64,
}

impl Faults {
    pub(crate) fn new(rules: Vec<FaultRule>, seed: u64) -> Self {
        Self { rules, seed }
    }

    /// What is to happen to a connection: its number, as the trace has it, and the destination that was named by who opened
    /// it. It depends on these, the seed and the rules, and on nothing else.
    pub(crate) fn plan(&self, direction: Direction, number: u32, destination: SocketAddr) -> Plan {
        let mut plan = Plan::default();
        for (rule, index) in self.rules.iter().zip(0u64..) {
            if !rule.matches(direction, number, destination) || !self.chosen(rule, number, index) {
                continue;
            }
            let armed = || Armed { fired: Arc::clone(&rule.fired) };
            match rule.verb {
                Verb::Refuse => _ = plan.refuse.get_or_insert_with(armed),
                Verb::SwallowFin => _ = plan.swallow_fin.get_or_insert_with(armed),
                Verb::DelaySynAck { by } => _ = plan.delay.get_or_insert_with(|| (by, armed())),
                Verb::Reset { after } => _ = plan.reset.get_or_insert_with(|| (after, armed())),
                Verb::CloseEarly { after } => _ = plan.close.get_or_insert_with(|| (after, armed())),
                Verb::HalfOpen { after } => _ = plan.silence.get_or_insert_with(|| (after, armed())),
                Verb::ZeroWindow { after, time } => {
                    plan.zero_window.get_or_insert_with(|| (after, time, armed()));
                }
            }
        }
        plan
    }

    fn chosen(&self, rule: &FaultRule, number: u32, index: u64) -> bool {
        if rule.chance >= 1.0 {
            return true;
        }
        let bits = mix(self.seed ^ mix(number.into()) ^ mix(index << 32)) >> 11;
        // 53 bits: every value is exact.
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
        let share = bits as f64 / (1u64 << 53) as f64;
        share < rule.chance
    }
}

/// SplitMix64's finisher: nearby numbers become unlike ones.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb(text: &str) -> Verb {
        text.parse::<FaultRule>().unwrap().verb
    }

    #[test]
    fn each_verb_has_its_form() {
        assert_eq!(verb("port=443: reset after 10kB"), Verb::Reset { after: 10_000 });
        assert_eq!(verb("all: close early after 64KiB"), Verb::CloseEarly { after: 65_536 });
        assert_eq!(verb("all: close early"), Verb::CloseEarly { after: 0 });
        assert_eq!(verb("all: swallow fin"), Verb::SwallowFin);
        assert_eq!(verb("host=fd00::2,port=1: half-open"), Verb::HalfOpen { after: 0 });
        assert_eq!(verb("all: delay syn-ack 2s"), Verb::DelaySynAck { by: Duration::from_secs(2) });
        assert_eq!(verb("connection=3: refuse"), Verb::Refuse);
        let zero = Verb::ZeroWindow { after: 1_000_000, time: Duration::from_secs(30) };
        assert_eq!(verb("all: zero window after 1MB for 30s"), zero);
        assert!((("all: refuse 10%").parse::<FaultRule>().unwrap().chance - 0.1).abs() < 1e-9);
    }

    #[test]
    fn bad_rule_is_answered_with_the_problem_and_the_form() {
        for (text, problem) in [
            ("reset", "no ': '"),
            ("port=443: explode", "there is no verb 'explode'"),
            ("port=http: refuse", "'http' is no port"),
            ("colour=red: refuse", "there is no 'colour'"),
            ("all: reset after lots", "'lots' is no size"),
            ("all: delay syn-ack 2", "'2' is no time"),
            ("all: refuse 110%", "'110%' is no share"),
            ("connection=0: refuse", "'0' is no connection"),
            ("direction=up: refuse", "'up' is no direction"),
        ] {
            let error = text.parse::<FaultRule>().unwrap_err();
            assert!(error.starts_with(problem) && error.contains("the form is"), "{text}: {error}");
            assert!(!error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn shares_times_and_rates_have_their_forms() {
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("0.05"), Ok(0.05));
        assert!(share("101%").is_err() && share("-1").is_err() && share("NaN").is_err());
        assert_eq!(millis("20"), Ok(Duration::from_millis(20)));
        assert_eq!(millis("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(rate("10M"), Ok(10_000_000));
        assert!(rate("0").is_err() && rate("10Mbit").is_err());
    }

    #[test]
    fn dice_depend_on_the_seed_and_the_order_alone() {
        let roll = |seed| {
            let faults = Faults::new(vec!["all: refuse 30%".parse().unwrap()], seed);
            let to = "192.0.2.1:80".parse().unwrap();
            (1..=1000)
                .map(|number| faults.plan(Direction::Outbound, number, to).refuse.is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(roll(1), roll(1));
        assert_ne!(roll(1), roll(2));
        let refused = roll(7).into_iter().filter(|refused| *refused).count();
        assert!((230..370).contains(&refused), "{refused}");
    }

    #[test]
    fn rule_of_a_port_leaves_others_alone() {
        let faults = Faults::new(vec!["port=443: reset".parse().unwrap()], 0);
        let plan = |to: &str| faults.plan(Direction::Outbound, 1, to.parse().unwrap());
        assert!(plan("192.0.2.1:443").reset.is_some());
        assert!(plan("192.0.2.1:80").reset.is_none());
    }

    #[test]
    fn rule_of_a_direction_or_a_number_leaves_others_alone() {
        let rules = ["direction=in: refuse", "connection=2: swallow fin"].map(|rule| rule.parse().unwrap());
        let faults = Faults::new(rules.to_vec(), 0);
        let seen = [Direction::Inbound, Direction::Outbound].map(|direction| {
            [1, 2].map(|number| {
                let plan = faults.plan(direction, number, "192.0.2.1:80".parse().unwrap());
                (plan.refuse.is_some(), plan.swallow_fin.is_some())
            })
        });
        assert_eq!(seen, [[(true, false), (true, true)], [(false, false), (false, true)]]);
    }
}
