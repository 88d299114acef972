//! `lastack-bench`: lastack and smoltcp side by side, for a person to read.

use clap::{Parser, Subcommand, ValueEnum};
use lastack_bench::alloc::Counting;
use lastack_bench::callgrind::{self, Instructions};
use lastack_bench::gateway::load::Load;
use lastack_bench::gateway::{self, Tool, place};
use lastack_bench::memory::{self, Figure};
use lastack_bench::summary::{self, Outcome};
use lastack_bench::wan::{self, Plan, Point, Section};
use lastack_bench::workload::{Case, Peer, WINDOW};
use lastack_bench::{competition, matrix, page};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// Benchmarks of lastack with smoltcp beside it, in memory and on one thread, and of its gateway beside others.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// Pin the program to this CPU.
    #[arg(long, global = true, value_name = "N")]
    cpu: Option<usize>,
}

#[derive(Subcommand)]
enum What {
    /// Throughput of one connection: MTU 1500, MTU 65535, MTU 1500 with segmentation left to the device.
    Bulk(Timing),
    /// Connections per second: with TIME_WAIT on both sides, on neither, on lastack's; beside 1,000 and 10,000 idle ones.
    Churn(Timing),
    /// Bytes per idle connection and per TIME_WAIT record.
    Memory(Memory),
    /// Bulk, churn and memory.
    All(All),
    /// Instructions per segment and per connection, under valgrind.
    Callgrind(Callgrind),
    /// `lastack run` beside slirp4netns and pasta: throughput, new connections and round trips of a program. Needs root.
    Gateway(Gateway),
    /// lastack and the kernel as senders over the same emulated road, in real time: goodput of one connection. Needs root.
    ///
    /// Example: lastack-bench wan --rate 10,100 --rtt 50,200 --loss 0,1 --congestion cubic,bbr --parallel 4
    Wan(Wan),
    /// Connections of lastack, of the kernel, and of both side by side on one road: Jain's index. Needs root.
    Fairness(Wan),
    /// Goodput over 90 roads in virtual time, lastack with each congestion control and smoltcp: the same on every machine.
    Matrix(Table),
    /// Short flows beside long ones on one bottleneck in virtual time: how long they take, with each congestion control and queue.
    Competition(Table),
    /// Jain's index of 2, 4 and 16 connections in virtual time, with each congestion control.
    Sharing(Table),
    /// The server's side of `gateway`.
    #[command(hide = true)]
    GatewayServer,
    /// The program's side of `gateway`.
    #[command(hide = true)]
    GatewayLoad {
        /// The server.
        server: String,
        /// The load.
        load: String,
        /// How long.
        seconds: f64,
    },
    /// One case's work with collection turned on around it; `callgrind` runs this under valgrind.
    #[command(hide = true)]
    Count {
        /// The case.
        case: Case,
        /// The stack.
        peer: Peer,
        /// Units of work, for a profiler that needs more than callgrind.
        #[arg(long)]
        work: Option<u64>,
        /// Window and socket buffers of the bulk cases, in bytes.
        #[arg(long, default_value_t = WINDOW, value_parser = window)]
        window: usize,
    },
}

#[derive(clap::Args)]
struct Timing {
    /// Runs of each stack, in turns.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Work of a run, in per cent of the usual.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    work: u64,
    /// Only this case; may be given several times. By default all of the command's.
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<Case>,
    /// Window and socket buffers of the bulk cases, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = WINDOW, value_parser = window)]
    window: usize,
}

fn window(text: &str) -> Result<usize, String> {
    let bytes = text.parse().map_err(|error| format!("{error}"))?;
    // One segment of the largest link, and what a window can say.
    if (65_536..=1 << 30).contains(&bytes) { Ok(bytes) } else { Err("from 65536 to 1073741824".to_owned()) }
}

#[derive(clap::Args)]
struct Memory {
    /// Connections to open.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=131_000))]
    count: u32,
}

#[derive(clap::Args)]
struct All {
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    memory: Memory,
}

#[derive(clap::Args)]
struct Callgrind {
    /// Cases; all if none is given.
    cases: Vec<Case>,
    /// One stack only.
    #[arg(long)]
    peer: Option<Peer>,
    /// Also list the N functions with the most instructions of their own.
    #[arg(long, value_name = "N", default_value_t = 0)]
    top: usize,
    /// Keep the profiles in this directory, for `callgrind_annotate` or KCachegrind.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Gateway {
    /// Loads, as up1, up8, down1, down8, churn, latency; all if none is given.
    loads: Vec<String>,
    /// Rounds: every tool once.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Seconds of a run.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only this MTU.
    #[arg(long)]
    mtu: Option<u16>,
    /// Only these tools; may be repeated.
    #[arg(long)]
    tool: Vec<Tool>,
    /// The command; by default the one beside this program, or of the release build.
    #[arg(long, value_name = "PATH")]
    lastack: Option<PathBuf>,
}

/// Where a table in virtual time goes.
#[derive(clap::Args)]
struct Table {
    /// Compare with the table in this file, between its marks, and fail if it differs.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Put the table into this file, between its marks.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    write: Option<PathBuf>,
    /// Runs at the same time; default: one per processor.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

impl Table {
    fn run(
        &self,
        name: &str,
        measure: fn(usize) -> Result<String, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let table = measure(self.jobs.map_or(cores, usize::from))?;
        let Some(file) = self.check.as_ref().or(self.write.as_ref()) else {
            print!("{table}");
            return Ok(());
        };
        let fresh = place(file, name, &table)?;
        if self.write.is_some() {
            return Ok(std::fs::write(file, fresh)?);
        }
        let text = std::fs::read_to_string(file)?;
        if fresh != text {
            let difference = page::difference(&text, &fresh);
            return Err(format!(
                "{} is not what the code gives now:\n{difference}\
                 look at it, and write it anew: cargo run --release -p lastack-bench -- {name} --write {0}",
                file.display()
            )
            .into());
        }
        Ok(())
    }
}

#[derive(clap::Args)]
struct Wan {
    /// Rates of the bottleneck in Mbit/s.
    #[arg(long, value_delimiter = ',', default_value = "100", value_parser = positive)]
    rate: Vec<f64>,
    /// Round-trip times in ms.
    #[arg(long, value_delimiter = ',', default_value = "50", value_parser = positive)]
    rtt: Vec<f64>,
    /// Data packets lost, in per cent.
    #[arg(long, value_delimiter = ',', default_value = "0", value_parser = per_cent)]
    loss: Vec<f64>,
    /// Data packets overtaken, in per cent.
    #[arg(long, value_delimiter = ',', default_value = "0", value_parser = per_cent)]
    reorder: Vec<f64>,
    /// Congestion controls, by their names in Linux.
    #[arg(long, value_delimiter = ',', default_value = "cubic")]
    congestion: Vec<String>,
    /// Runs of each.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Seconds of a run; default: of `wan` twenty round trips and at least 2 s, of `fairness` 45 s. `fairness` does not count
    /// the first third.
    #[arg(long, value_parser = positive)]
    seconds: Option<f64>,
    /// Runs at once at the most, while their roads carry no more than 400 Mbit/s together.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// Put the table into this file, between the marks `<!-- wan -->` or `<!-- fairness -->` and their ends.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl Wan {
    fn plan(&self) -> Plan {
        Plan { rounds: self.runs, seconds: self.seconds, parallel: self.parallel.into() }
    }

    /// Puts a section into the file, if one is wanted. That it has a place there is seen before anything is measured.
    fn write(&self, section: &Section) -> Result<(), Box<dyn Error>> {
        let Some(file) = &self.write else { return Ok(()) };
        Ok(std::fs::write(file, place(file, section.name, &section.text)?)?)
    }

    fn check_place(&self, name: &str) -> Result<(), Box<dyn Error>> {
        self.write.as_ref().map_or(Ok(()), |file| place(file, name, "").map(drop))
    }

    fn goodput(&self) -> Result<Vec<wan::Outcome>, Box<dyn Error>> {
        self.check_place("wan")?;
        let outcomes = wan::goodput(&self.points(), &self.congestion, self.plan())?;
        self.write(&Section::goodput(&outcomes, self.plan(), &machine()))?;
        Ok(outcomes)
    }

    fn fairness(&self) -> Result<Vec<wan::Shares>, Box<dyn Error>> {
        self.check_place("fairness")?;
        let shares = wan::fairness(&self.points(), &self.congestion, self.plan())?;
        self.write(&Section::fairness(&shares, self.plan(), &machine()))?;
        Ok(shares)
    }

    /// Every combination.
    fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for &rate in &self.rate {
            for &rtt in &self.rtt {
                for &loss in &self.loss {
                    points.extend(self.reorder.iter().map(|&reorder| Point { rate, rtt, loss, reorder }));
                }
            }
        }
        points
    }
}

/// The text of `file` with `table` between the marks of that name.
fn place(file: &Path, name: &str, table: &str) -> Result<String, Box<dyn Error>> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let fresh = page::replace(&text, name, table);
    Ok(fresh.ok_or_else(|| format!("{} has no marks <!-- {name} --> for the table", file.display()))?)
}

/// The kernel and the size of the machine, for the heading of a table.
fn machine() -> String {
    let name = rustix::system::uname();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let release = name.release().to_string_lossy();
    let version = release.split('-').next().unwrap_or_default();
    format!("Linux {version}, {cores} processors")
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if number > 0.0 && number < 1e6 { Ok(number) } else { Err("it takes a number above 0".to_owned()) }
}

fn per_cent(text: &str) -> Result<f64, String> {
    let number = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("it takes 0 to 100".to_owned()) }
}

impl Gateway {
    fn lastack(&self) -> Result<PathBuf, Box<dyn Error>> {
        if let Some(path) = &self.lastack {
            return Ok(path.clone());
        }
        let this = std::env::current_exe()?;
        let folder = this.parent().ok_or("this program is nowhere")?;
        let beside = folder.join("lastack");
        Ok(if beside.exists() { beside } else { folder.join("../release/lastack") })
    }

    fn measure(&self) -> Result<Vec<gateway::Outcome>, Box<dyn Error>> {
        let wanted = self.loads.iter().map(|word| Load::parse(word)).collect::<Result<Vec<_>, _>>()?;
        let cases: Vec<_> = gateway::cases()
            .into_iter()
            .filter(|(load, mtu)| {
                (wanted.is_empty() || wanted.contains(load)) && self.mtu.is_none_or(|only| only == *mtu)
            })
            .collect();
        let tools = if self.tool.is_empty() { &Tool::ALL[..] } else { &self.tool };
        gateway::measure(&self.lastack()?, tools, &cases, usize::from(self.runs), self.seconds)
    }
}

/// All that a run found out.
#[derive(Default, Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    timing: Vec<Outcome>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    memory: Vec<Figure>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateway: Vec<gateway::Outcome>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    wan: Vec<wan::Outcome>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fairness: Vec<wan::Shares>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    instructions: Vec<Instructions>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hot: Vec<String>,
}

impl Report {
    fn time(&mut self, cases: &[Case], timing: &Timing) {
        for &case in cases.iter().filter(|case| timing.cases.is_empty() || timing.cases.contains(case)) {
            eprintln!("{} ...", case.name());
            self.timing.push(summary::measure(case, timing.window, usize::from(timing.runs), timing.work));
        }
    }

    fn memory(&mut self, memory: &Memory) -> Result<(), Box<dyn Error>> {
        eprintln!("memory ...");
        self.memory = memory::measure(&ALLOCATOR, usize::try_from(memory.count)?);
        Ok(())
    }

    fn callgrind(&mut self, arguments: &Callgrind) -> Result<(), Box<dyn Error>> {
        let cases = match &arguments.cases[..] {
            [] => Case::value_variants(),
            cases => cases,
        };
        let scratch = std::env::temp_dir().join(format!("lastack-bench-{}", std::process::id()));
        let dir = arguments.keep.as_ref().unwrap_or(&scratch);
        std::fs::create_dir_all(dir)?;
        for &case in cases {
            for peer in Peer::ALL.into_iter().filter(|p| arguments.peer.is_none_or(|only| only == *p)) {
                eprintln!("{} on {} ...", case.name(), peer.name());
                self.instructions.push(callgrind::instructions(case, peer, dir)?);
                if arguments.top > 0 {
                    let hot = callgrind::hot_functions(case, peer, dir, arguments.top)?;
                    self.hot.push(format!("{} on {}\n{hot}", case.name(), peer.name()));
                }
            }
        }
        if arguments.keep.is_none() {
            std::fs::remove_dir_all(&scratch)?;
        }
        Ok(())
    }

    fn print(&self, json: bool) -> Result<(), Box<dyn Error>> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        let mut tables = Vec::new();
        if !self.timing.is_empty() {
            tables.push(summary::table(&self.timing));
        }
        if !self.memory.is_empty() {
            tables.push(memory::table(&self.memory));
        }
        if !self.instructions.is_empty() {
            tables.push(callgrind::table(&self.instructions));
        }
        if !self.gateway.is_empty() {
            tables.push(gateway::table(&self.gateway));
        }
        if !self.wan.is_empty() {
            tables.push(wan::table(&self.wan));
        }
        if !self.fairness.is_empty() {
            tables.push(wan::fairness_table(&self.fairness));
        }
        tables.extend(self.hot.iter().cloned());
        print!("{}", tables.join("\n"));
        Ok(())
    }
}

fn pin(cpu: usize) -> Result<(), Box<dyn Error>> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(format!("--cpu {cpu}: CPUs are numbered 0 to {}", CpuSet::MAX_CPU - 1).into());
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|e| format!("--cpu {cpu}: {e}").into())
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if let Some(cpu) = arguments.cpu {
        pin(cpu)?;
    }
    let mut report = Report::default();
    match &arguments.what {
        What::Bulk(timing) => report.time(&Case::BULK, timing),
        What::Churn(timing) => report.time(&Case::CHURN, timing),
        What::Memory(memory) => report.memory(memory)?,
        What::All(all) => {
            report.time(&Case::BULK, &all.timing);
            report.time(&Case::CHURN, &all.timing);
            report.memory(&all.memory)?;
        }
        What::Callgrind(arguments) => report.callgrind(arguments)?,
        What::Gateway(arguments) => report.gateway = arguments.measure()?,
        What::Wan(arguments) => report.wan = arguments.goodput()?,
        What::Fairness(arguments) => report.fairness = arguments.fairness()?,
        What::Matrix(table) => return table.run("matrix", matrix::measure),
        What::Competition(table) => return table.run("competition", competition::durations),
        What::Sharing(table) => return table.run("sharing", competition::sharing),
        What::GatewayServer => return Ok(place::server()?),
        What::GatewayLoad { server, load, seconds } => return place::client(server, load, *seconds),
        What::Count { case, peer, work, window } => {
            println!("{}", serde_json::to_string(&callgrind::count(*case, *peer, *work, *window))?);
            return Ok(());
        }
    }
    report.print(arguments.json)
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lastack-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
