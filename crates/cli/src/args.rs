//! The command line.

use crate::attach::Attach;
use crate::demo::Scenario;
use crate::limits::LimitArgs;
use crate::output;
use crate::sim::Sim;
use crate::tun2socks::Tun2Socks;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand, ValueEnum};
use lastack_gateway::{DEFAULT_MTU, FaultRule, MTU_RANGE, Publish, SummaryFormat, Upstream, faults};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A TCP/IP stack in user space: watch how connections end, and run any program on it.
#[derive(Debug, Parser)]
#[command(
    name = "lastack",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  lastack demo                              the six steps of a graceful close\n  \
                  lastack run -- curl https://example.com   curl, with lastack as its whole network\n  \
                  lastack bestiary                          bugs of other stacks, rebuilt\n  \
                  lastack check client-closes               every schedule of a small exchange\n  \
                  lastack sim lossy-wifi                    a network of stacks in virtual time\n  \
                  lastack script tests/packetdrill          packetdrill scripts, in virtual time\n\n\
                  Exit status: 0 on success, 1 if an entry of the bestiary, a script, a check or a run failed, 2 for bad usage or a file that\n\
                  cannot be written;\n\
                  'lastack run' has the program's own status (see 'lastack run --help')."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Draw how a connection ends: two stacks in this process, virtual time, no privileges
    Demo(Demo),
    /// Rebuild how connections ended wrongly elsewhere, and show that lastack ends them right
    Bestiary(Bestiary),
    /// Run a program in a network namespace whose whole network is lastack
    Run(Run),
    /// Explore every schedule of two stacks, what is in flight, the applications and the timers
    Check(Check),
    /// Run a scenario: real stacks on links with faults, in virtual time, from a seed
    Sim(Sim),
    /// Carry out packetdrill scripts against lastack, the running kernel, or both
    Script(Script),
    /// Give an existing network namespace its network, in the place of slirp4netns
    Attach(Attach),
    /// Carry what a whole machine sends into a TUN interface on through a proxy
    #[command(name = "tun2socks")]
    Tun2Socks(Tun2Socks),
}

const DEMO_NOTES: &str = "\
Examples:
  lastack demo
  lastack demo simultaneous --full
  lastack demo w16 --why           a canonical exchange: close behind a zero window
  lastack demo graceful --format svg --output graceful.svg
  lastack demo lost-fin --format json | jq '.transitions[]'
  lastack demo abort --capture abort.pcapng

Exit status: 0 on success, 2 for bad usage or a file that cannot be written.";

const JSON_FIELDS: &str = "\
JSON, version 1 (times in microseconds of virtual time; step: the number in the figure, or null):
  version, scenario, title, summary
  connections: number, a, b
  steps:       number, time_us, side (A, B or both), text
  transitions: time_us, side, connection (null for a listener), from, to, cause, initiator, step
  segments:    sent_us, arrived_us (null if lost), lost, from, to, connection, flags, seq, ack,
               seq_relative, ack_relative, forged, len, window (not scaled), retransmission, step
  calls:       time_us, side, connection, text, result, step
  waits:       time_us, side, text (what a side says in a wait of a second or more)";

/// Draw how a connection ends.
///
/// Two lastack stacks, A and B, talk over a link in memory (10 ms each way) in virtual time: nothing waits, no
/// privileges are needed, and the same scenario gives the same bytes each time. States and steps come from the events of the stacks.
#[derive(Debug, Parser)]
#[command(after_help = DEMO_NOTES, after_long_help = format!("{DEMO_NOTES}\n\n{JSON_FIELDS}"))]
pub struct Demo {
    /// How the connection ends; also w1 to w16 and tc1 to tc4, the canonical exchanges (see --list)
    #[arg(value_enum, default_value_t = Scenario::Graceful)]
    pub scenario: Scenario,
    /// List every scenario with a sentence, and play none
    #[arg(long)]
    pub list: bool,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write to FILE instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write the packets of both directions to FILE (pcapng, virtual time, opens in Wireshark)
    #[arg(long, value_name = "FILE.pcapng")]
    pub capture: Option<PathBuf>,
    /// Draw the opening of the connection too (text and svg; json always has it)
    #[arg(long)]
    pub full: bool,
    /// Say below the text what each side waited for in every wait of a second or more, and what would end it
    #[arg(long)]
    pub why: bool,
    /// Draw the text with ASCII characters only
    #[arg(long)]
    pub ascii: bool,
}

/// Explore every schedule.
///
/// Two stacks, the packets in flight, their applications and the timers are one state, on the real code. From each state all that
/// may happen next is tried: a call, a packet that arrives in any order, is lost or arrives twice, a timer that fires. Two states
/// that differ only in absolute time, counters or history count once. In each state the rules must hold (no byte wrong, no end
/// of file too early, states that fit each other, ...), and from each state everything must end once the network delivers.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  lastack check                          the short list: each until its frontier is empty\n  \
                        lastack check --list                   every configuration, with a sentence\n  \
                        lastack check half-close               those of both lists whose names contain the word\n  \
                        lastack check --budget 10m duplex      for ten minutes at the most\n  \
                        lastack check --show unread/reorder    what the applications do, undisturbed, as a ladder\n  \
                        lastack check --all --results all.jsonl      a long run that can be interrupted and taken up again\n\n\
                        A name is the scenario, a slash, and what may go wrong: reorder (nothing but order), loss (one packet),\n\
                        duplicate (one), timer (one fires early), losses (two, and a duplicate), worst (all of these); +ts: with\n\
                        timestamps. A violation prints its schedule as a ladder and writes it as NAME.pcapng, NAME-a.pkt and\n\
                        NAME-b.pkt (packetdrill, one for each end).\n\n\
                        JSON: a list of name, states, transitions, depth, seconds, complete, stopped (null, or transitions, time or\n\
                        memory), violation (null, or rule, what, steps, files). A file of results is of one version of the\n\
                        program: after a change begin another.\n\n\
                        Exit status: 0 if no rule was broken, 1 if one was, 2 for bad usage or a file that cannot be written."
)]
pub struct Check {
    /// Words that are part of the configurations' names; the short list without one
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// List every configuration, explore none
    #[arg(long)]
    pub list: bool,
    /// Explore both lists, the long one too; what does not complete is named with the depth it reached
    #[arg(long)]
    pub all: bool,
    /// Stop each configuration after a time (30s, 10m, 2h) or so many transitions (5000000)
    #[arg(long, value_name = "TIME|TRANSITIONS", value_parser = budget)]
    pub budget: Option<CheckBudget>,
    /// Draw what happens when nothing goes wrong, and explore nothing
    #[arg(long)]
    pub show: bool,
    /// Configurations that are explored at a time; by default as many as the machine has cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Stop a configuration when the tables of states would take more, in MiB; shared by those that are explored at a time
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    pub memory: u32,
    /// Search the plain way: every transition by two stacks, every state once for each budget; the same result, much slower
    #[arg(long)]
    pub full: bool,
    /// Append each result to a file, a line of JSON each; what the file has as complete is not explored again
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// Directory for the files of a violation
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How much of a configuration to explore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckBudget {
    /// For so long.
    Time(Duration),
    /// So many transitions.
    Transitions(usize),
}

fn budget(text: &str) -> Result<CheckBudget, String> {
    let form = || "a time such as 30s, 10m or 2h, or a number of transitions".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return text.parse().map(CheckBudget::Transitions).map_err(|_| form()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| form())?;
    Ok(CheckBudget::Time(Duration::from_secs(number.saturating_mul(unit))))
}

/// Forms of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A ladder of at most 100 columns
    Text,
    /// Every transition, segment and call
    Json,
    /// A figure
    Svg,
}

/// Rebuild how connections ended wrongly elsewhere, and show that lastack ends them right.
///
/// Each entry is a public report about another stack, proxy or program, rebuilt with lastack in the place of what failed:
/// between two stacks in virtual time, or on real hosts over links in memory. No privileges are needed.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  lastack bestiary                     all of them, with a sentence each\n  \
                        lastack bestiary ipstack gvisor      those whose names contain one of the words\n  \
                        lastack bestiary --list\n  lastack bestiary --json | jq '.[] | select(.result == \"failed\")'\n\n\
                        JSON: a list of name, source, theme, wrong, right, result (passed, failed or not rebuilt;\n\
                        absent with --list), failure (only of an entry that failed).\n\n\
                        Exit status: 0 if all passed, 1 if one failed, 2 for bad usage."
)]
pub struct Bestiary {
    /// Words that are part of the entries' names; all entries without one
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// List the entries, do not run them
    #[arg(long)]
    pub list: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Run a program in a network namespace whose whole network is lastack.
///
/// Each TCP connection that the program opens is ended by lastack's TCP and carried on over a socket of the host, and
/// so is UDP. The host's loopback is at 10.0.2.2 and fd00::2. Root is not needed where user namespaces are
/// allowed and /dev/net/tun can be opened. The program sees its own processes only, and they all end with lastack.
#[derive(Debug, Parser)]
#[command(
    override_usage = "lastack run [OPTIONS] -- PROGRAM [ARGS]...",
    after_help = "Examples:\n  lastack run -- curl https://example.com\n  \
                  lastack run --trace --summary -- wget -q http://10.0.2.2:8000/\n  \
                  lastack run --capture session.pcapng -- sh\n  \
                  lastack run --publish 8080:80 -- nginx -g 'daemon off;'\n  \
                  lastack run --fault 'port=443: reset after 10kB' -- curl -O https://example.com/file\n  \
                  lastack run --loss 1% --delay 40 --rate 10M -- iperf3 -c 10.0.2.2\n  \
                  lastack run --upstream socks5://127.0.0.1:1080 -- curl https://example.com\n\n\
                  Exit status: the program's own (128+N if signal N ended it); 125 if lastack itself fails or the\n\
                  command line is wrong, 126 if the program cannot be executed, 127 if it cannot be found,\n\
                  124 with --strict-faults if a fault never took effect."
)]
pub struct Run {
    /// What is shown of the connections
    #[command(flatten)]
    pub seeing: Seeing,
    /// Largest packet inside the namespace, in bytes, 576 to 65535; below 1280 the program has no IPv6
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MTU, value_parser = mtu)]
    pub mtu: u16,
    /// Do not make the host's loopback reachable at 10.0.2.2 and fd00::2
    #[arg(long)]
    pub no_host_loopback: bool,
    /// Lead a port of the host to a port of the program; may be repeated. Without ADDR the host's port is on its loopback
    /// (127.0.0.1 and ::1); with 0.0.0.0 or [::] on all of its addresses of that family
    // What looks like a link is an address.
    #[allow(rustdoc::broken_intra_doc_links)]
    #[arg(long, short, value_name = "[ADDR:]PORT:PORT[/tcp|udp]")]
    pub publish: Vec<Publish>,
    /// Through what connections are made: direct, socks5://[USER:PASSWORD@]HOST:PORT or http://[USER:PASSWORD@]HOST:PORT
    /// (CONNECT). UDP then goes through SOCKS5 proxies that carry it and is refused otherwise, ping is refused; the host's
    /// loopback and name server stay direct
    // What looks like a link is an address.
    #[allow(rustdoc::broken_intra_doc_links)]
    #[arg(long, value_name = "WHERE", default_value = "direct")]
    pub upstream: Upstream,
    /// Break connections on purpose; may be repeated. 'WHICH: VERB [P%]': WHICH is 'all', or port=N, host=ADDRESS,
    /// connection=N and direction=in|out with commas; VERB is 'reset [after SIZE]', 'close early [after SIZE]', 'swallow fin', 'half-open
    /// [after SIZE]', 'delay syn-ack TIME', 'refuse' or 'zero window [after SIZE] for TIME'
    #[arg(long, value_name = "RULE")]
    pub fault: Vec<FaultRule>,
    /// Exit with 124 if one of the faults never took effect
    #[arg(long, requires = "fault")]
    pub strict_faults: bool,
    /// Lose packets, each way: 1% or 0.01
    #[arg(long, value_name = "P", value_parser = faults::share, default_value = "0")]
    pub loss: f64,
    /// Delay every packet, each way, by milliseconds
    #[arg(long, value_name = "MS", value_parser = faults::millis, default_value = "0")]
    pub delay: Duration,
    /// Add up to so many milliseconds to the delay
    #[arg(long, value_name = "MS", value_parser = faults::millis, default_value = "0")]
    pub jitter: Duration,
    /// Let so many bits per second pass, each way: 64k, 10M, 1G
    #[arg(long, value_name = "BITS", value_parser = faults::rate)]
    pub rate: Option<u64>,
    /// Let later packets overtake: 1% or 0.01
    #[arg(long, value_name = "P", value_parser = faults::share, default_value = "0")]
    pub reorder: f64,
    /// Deliver packets twice: 1% or 0.01
    #[arg(long, value_name = "P", value_parser = faults::share, default_value = "0")]
    pub duplicate: f64,
    /// Flip a bit of packets: 1% or 0.01
    #[arg(long, value_name = "P", value_parser = faults::share, default_value = "0")]
    pub corrupt: f64,
    /// For the dice of faults and of the bad network: the same seed and order of packets, the same dice
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = seed)]
    pub seed: u64,
    /// Bounds on what lastack holds
    #[command(flatten)]
    pub limits: LimitArgs,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub command: Vec<OsString>,
}

/// What `run`, `attach` and `tun2socks` show of the connections that they carry.
#[derive(Debug, clap::Args)]
pub struct Seeing {
    /// Print a line on standard error for each change of state, with the connection and the cause
    #[arg(long)]
    pub trace: bool,
    /// Write all packets to FILE (pcapng)
    #[arg(long, value_name = "FILE.pcapng")]
    pub capture: Option<PathBuf>,
    /// At the end, print on standard error each connection, its bytes, how it ended and who ended it
    #[arg(long, value_enum, value_name = "FORM", num_args = 0..=1, require_equals = true,
          default_missing_value = "text")]
    pub summary: Option<Summary>,
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it takes a number from 0 on".to_owned())
}

pub(crate) fn mtu(text: &str) -> Result<u16, String> {
    let (least, most) = (MTU_RANGE.start(), MTU_RANGE.end());
    let value = text.parse().ok().filter(|mtu| MTU_RANGE.contains(mtu));
    value.ok_or_else(|| format!("it takes {least} to {most} bytes"))
}

/// Carry out packetdrill scripts: system calls, packets in, packets that have to come out, each at its time.
///
/// Against lastack a script takes virtual time and no privileges. Against the kernel it takes real time, root, and a
/// network namespace of its own. One line per script; what a script cannot do here is skipped and said.
#[derive(Debug, Parser)]
#[command(
    override_usage = "lastack script [OPTIONS] PATH...",
    after_help = "Examples:\n  lastack script close.pkt\n  \
                  lastack script --against both --jobs 16 tests/packetdrill\n  \
                  lastack script --ip-version ipv6 -D MTU=1280 tests/packetdrill/close\n  \
                  lastack script --json tests/packetdrill | jq -r 'select(.verdict == \"failed\") | .message'\n\n\
                  Exit status: 0 if no script failed, 1 if one failed, 2 for bad usage or a script that cannot be read.\n\
                  JSON: an object per script (script, against, verdict, message, printed), then one with passed, failed,\n\
                  skipped, broken and seconds."
)]
pub struct Script {
    /// The stack under test
    #[arg(long, value_enum, value_name = "STACK", default_value = "lastack")]
    pub against: Against,
    /// Scripts at once; default: one per processor against lastack, 16 against the kernel, which mostly waits
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub jobs: Option<u16>,
    /// Print a JSON object per line
    #[arg(long)]
    pub json: bool,
    /// ipv4, ipv6 or ipv4-mapped-ipv6 (IPv6 sockets, IPv4 packets); wins over the script's own
    #[arg(long, value_name = "VERSION", value_parser = ["ipv4", "ipv6", "ipv4-mapped-ipv6"])]
    pub ip_version: Option<String>,
    /// Give a name in scripts a value; may be repeated
    #[arg(short = 'D', long = "define", value_name = "NAME=VALUE")]
    pub define: Vec<String>,
    /// How far from its time an event may be, in microseconds, at the least; wins over the script's own
    #[arg(long, value_name = "MICROSECONDS")]
    pub tolerance_usecs: Option<u32>,
    /// Fail a script that ends while packets are left that it did not expect
    #[arg(long)]
    pub strict_tail: bool,
    /// Any option line of scripts, such as mtu=1500; may be repeated; wins over the script's own
    #[arg(long = "option", value_name = "NAME=VALUE")]
    pub options: Vec<String>,
    /// Script files, and folders whose files ending in .pkt are taken
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// The stack that scripts are carried out against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Against {
    /// lastack, in virtual time
    Lastack,
    /// The running kernel; needs root
    Kernel,
    /// First lastack, then the kernel
    Both,
}

/// Forms of the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Summary {
    /// A table
    Text,
    /// One JSON object
    Json,
}

/// The verbs, and how each is used.
const VERBS: [(&str, &str); 8] = [
    ("demo", "lastack demo [OPTIONS] [SCENARIO]"),
    ("bestiary", "lastack bestiary [OPTIONS] [NAME]..."),
    ("check", "lastack check [OPTIONS] [NAME]..."),
    ("sim", "lastack sim [OPTIONS] SCENARIO"),
    ("run", "lastack run [OPTIONS] -- PROGRAM [ARGS]..."),
    ("script", "lastack script [OPTIONS] PATH..."),
    ("attach", "lastack attach [OPTIONS] PID|PATH [NAME]"),
    ("tun2socks", "lastack tun2socks [OPTIONS] --tun NAME --upstream WHERE"),
];

fn usage(verb: &str) -> Option<&'static str> {
    VERBS.into_iter().find_map(|(name, usage)| (name == verb).then_some(usage))
}

impl Summary {
    /// The gateway's word for it.
    pub(crate) fn format(self) -> SummaryFormat {
        match self {
            Self::Text => SummaryFormat::Text,
            Self::Json => SummaryFormat::Json,
        }
    }
}

/// Shows the help that was asked for, or says in one line what is wrong with the command line, whose first word is `verb`.
pub fn report(error: &clap::Error, verb: Option<&OsString>) -> ExitCode {
    let help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if help {
        // Standard output or error may be closed; there is nobody left to tell.
        let _ = error.print();
        let asked = error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(crate::FAILURE) };
    }
    let verb = verb.and_then(|v| v.to_str()).filter(|v| usage(v).is_some());
    output::error(&one_line(error, verb));
    ExitCode::from(if verb == Some("run") { crate::RUN_FAILURE } else { crate::FAILURE })
}

fn one_line(error: &clap::Error, verb: Option<&str>) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let (argument, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    let valid = text(ContextKind::ValidValue);
    let problem = match error.kind() {
        ErrorKind::InvalidValue if value.is_empty() => format!("{argument} needs a value"),
        // The canonical exchanges are not spelt out among the values.
        ErrorKind::InvalidValue if argument == "[SCENARIO]" => {
            format!("there is no scenario '{value}'; there are {valid}, w1 to w16 and tc1 to tc4")
        }
        ErrorKind::InvalidValue => format!("'{value}' is not valid for {argument}; it takes {valid}"),
        ErrorKind::MissingRequiredArgument if verb == Some("run") && argument.contains("PROGRAM") => {
            "no program given".to_owned()
        }
        ErrorKind::MissingRequiredArgument if verb == Some("script") => "no script given".to_owned(),
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        ErrorKind::InvalidSubcommand => {
            let names = VERBS.map(|(name, _)| name).join(", ");
            format!("no such verb: '{}'; there are {names}", text(ContextKind::InvalidSubcommand))
        }
        ErrorKind::UnknownArgument if verb == Some("run") && !argument.starts_with('-') => {
            format!("unexpected '{argument}'; the program comes after '--'")
        }
        ErrorKind::UnknownArgument => match text(ContextKind::SuggestedArg) {
            similar if similar.is_empty() => format!("unexpected argument '{argument}'"),
            similar => format!("unexpected argument '{argument}'; did you mean '{similar}'?"),
        },
        _ => {
            let rendered = error.to_string();
            let first = rendered.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    };
    let all = || format!("lastack {} ...", VERBS.map(|(name, _)| name).join("|"));
    let usage = verb.and_then(usage).map_or_else(all, str::to_owned);
    format!(
        "{problem} (usage: {usage}; see 'lastack {}--help')",
        verb.map_or(String::new(), |v| format!("{v} "))
    )
}
