//! The namespaces, and the tools in them.

use super::load::Load;
use super::{Run, Tool};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// Address of the server, in a network that the host has a route to.
const SERVER: &str = "198.51.100.7:7000";
const SERVER_NETWORK: (&str, &str) = ("198.51.100.1/24", "198.51.100.7/24");
/// Another address there.
const NOBODY: &str = "198.51.100.9";
/// How long a tool may take to give a namespace its network.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A host and a server.
pub struct Place {
    lastack: PathBuf,
    this: PathBuf,
    _server: Process,
}

impl Place {
    /// Makes this process the host, in namespaces of its own that end with it, and starts the server. For a process with one
    /// thread.
    ///
    /// # Errors
    /// Not root, or `ip` (iproute2) is not there.
    pub fn new(lastack: &Path) -> Result<Self, Box<dyn Error>> {
        let lastack = fs::canonicalize(lastack).map_err(|error| {
            format!("{}: {error}; build it: cargo build --release -p lastack-cli", lastack.display())
        })?;
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .map_err(|error| format!("cannot make namespaces (root is needed): {error}"))?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        // pasta gives root up; a device of this host's own is open to everybody.
        mount(Some("none"), "/dev/net", Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
        done(Command::new("mknod").args(["-m", "0666", "/dev/net/tun", "c", "10", "200"]))?;
        let this = std::env::current_exe()?;
        let mut server = Command::new("unshare")
            .args(["--net", "--kill-child"])
            .arg(&this)
            .arg("gateway-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = BufReader::new(server.stdout.take().ok_or("no output")?);
        let server = Process(server);
        let mut line = String::new();
        ready.read_line(&mut line)?;
        let id = server.0.id().to_string();
        let (host, there) = SERVER_NETWORK;
        ip("link set lo up")?;
        ip(&format!("link add eth0 type veth peer name eth0 netns {id}"))?;
        ip(&format!("addr add {host} dev eth0"))?;
        ip("link set eth0 up")?;
        // pasta takes the host's address and default route for the program's, and the gateway's address for its loopback.
        ip(&format!("route add default via {NOBODY}"))?;
        for words in ["link set lo up", "link set eth0 up", &format!("addr add {there} dev eth0")] {
            done(Command::new("nsenter").args(["--net", "--target", &id, "ip"]).args(words.split(' ')))?;
        }
        Ok(Self { lastack, this, _server: server })
    }

    /// Puts a load on a tool.
    ///
    /// # Errors
    /// The tool is not there, or does not carry the load.
    pub fn run(&self, tool: Tool, load: Load, mtu: u16, seconds: f64) -> Result<Run, Box<dyn Error>> {
        let mtu = mtu.to_string();
        let mut holder = None;
        let mut helper = None;
        let mut command = match tool {
            Tool::Lastack => {
                let mut command = Command::new(&self.lastack);
                command.args(["run", "--mtu", &mtu, "--"]);
                command
            }
            Tool::Pasta => {
                // It does not like root.
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "pasta"]);
                command.args(["--quiet", "--foreground", "--config-net", "--ipv4-only", "--mtu", &mtu, "--"]);
                command
            }
            Tool::Slirp4netns => {
                let namespace =
                    Process(Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn()?);
                let id = namespace.0.id().to_string();
                wait_for(|| other_network(&id))?;
                let mut slirp = Command::new("slirp4netns");
                slirp
                    .args(["--configure", "--mtu", &mtu, &id, "tap0"])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                helper = Some(Process(slirp.spawn()?));
                wait_for(|| {
                    let routes =
                        Command::new("nsenter").args(["--net", "--target", &id, "ip", "route"]).output();
                    routes.is_ok_and(|routes| routes.stdout.starts_with(b"default"))
                })?;
                let mut command = Command::new("nsenter");
                command.args(["--net", "--target", &id]);
                holder = Some(namespace);
                command
            }
        };
        command.arg(&self.this).args(["gateway-load", SERVER, &load.word(), &seconds.to_string()]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let child = child.map_err(|error| format!("cannot start {}: {error}", tool.name()))?;
        let mut child = Process(child);
        let mut output = BufReader::new(child.0.stdout.take().ok_or("no output")?);
        let carrier = helper.as_ref().map_or(child.0.id(), |helper| helper.0.id());
        // Two lines: it has begun, and it is done. It goes on when its input ends.
        let mut read = || -> Result<String, Box<dyn Error>> {
            let mut line = String::new();
            output.read_line(&mut line)?;
            if line.is_empty() {
                return Err(format!("{} did not carry {}", tool.name(), load.name()).into());
            }
            Ok(line)
        };
        read()?;
        let (begun, before) = (Instant::now(), cpu_time(carrier)?);
        let rate: f64 = read()?.trim().parse()?;
        let cpu = (cpu_time(carrier)? - before) / begun.elapsed().as_secs_f64();
        drop(child.0.stdin.take());
        let _ = child.0.wait();
        if let Some(helper) = &helper {
            kill(Pid::from_raw(i32::try_from(helper.0.id())?), Signal::SIGTERM)?;
        }
        drop((helper, holder));
        Ok(Run { rate, cpu })
    }
}

/// Keeps a namespace for the server, until its input ends.
///
/// # Errors
/// The address is not there to listen at.
pub fn server() -> io::Result<()> {
    println!("ready");
    let listener = loop {
        // The host gives this namespace its address.
        match std::net::TcpListener::bind(SERVER) {
            Ok(listener) => break listener,
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => sleep(Duration::from_millis(5)),
            Err(error) => return Err(error),
        }
    };
    thread::spawn(move || super::load::serve(&listener));
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// Puts the load on, inside: says when it begins and what its rate was, and waits until its input ends.
///
/// # Errors
/// The load is unknown, or a connection failed.
pub fn client(server: &str, load: &str, seconds: f64) -> Result<(), Box<dyn Error>> {
    let (server, load) = (server.parse()?, Load::parse(load)?);
    thread::spawn(move || {
        sleep(PATIENCE + Duration::from_secs_f64(seconds * 3.0));
        eprintln!("a connection hangs");
        std::process::exit(1);
    });
    // The first connection is not measured: the tool may have to learn something for it. pasta starts the program before it
    // has a network.
    let until = Instant::now() + PATIENCE;
    while let Err(error) = Load::Latency.run(server, Duration::from_millis(20)) {
        if error.kind() != io::ErrorKind::NetworkUnreachable || Instant::now() > until {
            return Err(error.into());
        }
        sleep(Duration::from_millis(5));
    }
    println!("begin");
    println!("{}", load.run(server, Duration::from_secs_f64(seconds))?);
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// CPU time that a process has used with all of its threads, in seconds (proc_pid_stat(5): utime and stime).
fn cpu_time(process: u32) -> Result<f64, Box<dyn Error>> {
    const PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    Ok(ticks as f64 / PER_SECOND)
}

fn other_network(process: &str) -> bool {
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let theirs = network(process);
    theirs.is_some() && theirs != network("self")
}

fn wait_for(there: impl Fn() -> bool) -> Result<(), Box<dyn Error>> {
    let until = Instant::now() + PATIENCE;
    while !there() {
        if Instant::now() > until {
            return Err("a namespace did not get its network".into());
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn ip(words: &str) -> Result<(), Box<dyn Error>> {
    done(Command::new("ip").args(words.split(' ')))
}

fn done(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
}
