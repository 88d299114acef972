//! Who sends over the road, and the receiver: the running kernel in namespaces of its own, and a host of lastack.

use super::road::Road;
use super::{Flow, Point, Sender};
use lastack::device::tun::{Tun, TunOptions};
use lastack::device::{Capabilities, Device};
use lastack::{Config, Host, TcpConfig};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};
use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
const LASTACK: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 3);
const PREFIX: u8 = 24;
const PORT: u16 = 7000;
const MTU: u16 = 1500;
/// Largest buffers of both stacks: more than the longest and widest road holds.
const BUFFER: usize = 64 << 20;
/// Bytes of one write or read.
const BLOCK: usize = 64 << 10;
/// How long a run waits for its flows to begin.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a socket waits before it looks whether the run is over.
const LOOK: Duration = Duration::from_millis(50);

type Failure = Box<dyn Error + Send + Sync>;
type Worker = JoinHandle<Result<(), Failure>>;

/// What all threads of a run share.
struct Run {
    over: AtomicBool,
    /// Flows whose first bytes have arrived.
    begun: AtomicUsize,
    /// Bytes that have arrived, by flow.
    arrived: Vec<AtomicU64>,
}

impl Run {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Waits for the first bytes of all flows, but not for ever: a handshake may be lost again and again.
    fn wait_for_begin(&self) {
        let waited = Instant::now();
        while self.begun.load(Ordering::Relaxed) < self.arrived.len() && waited.elapsed() < PATIENCE {
            sleep(Duration::from_millis(1));
        }
    }

    fn arrived(&self) -> Vec<u64> {
        self.arrived.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect()
    }
}

/// Ends a run, however it went.
struct End<'a>(&'a Run);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// Sends all `flows` at once over one road; of each, bits per second of its data that arrived between `skip` and `skip + time`
/// after the first bytes of all have. What a lost SYN costs is the same for both stacks, and would be most of a short run.
///
/// # Errors
/// Not root, or a congestion control that a stack does not have.
pub(super) fn goodput(
    point: &Point,
    flows: &[Flow],
    seed: u64,
    (skip, time): (Duration, Duration),
) -> Result<Vec<f64>, Failure> {
    let (forward, back) = point.impairments();
    let mut road = Road::new(seed, forward, back, point.jitter(flows.len()))?;
    let arrived = flows.iter().map(|_| AtomicU64::new(0)).collect();
    let run = &Arc::new(Run { over: AtomicBool::new(false), begun: AtomicUsize::new(0), arrived });
    let end = End(run);
    let of = |sender| -> Vec<(usize, String)> {
        let mine = flows.iter().enumerate().filter(|(_, flow)| flow.sender == sender);
        mine.map(|(id, flow)| (id, flow.congestion.clone())).collect()
    };

    let mut workers = Vec::new();
    let its = Arc::clone(run);
    let (receiver, worker) = namespace(RECEIVER, move || receive(&its))?;
    workers.push(worker);
    let (kernels, its) = (of(Sender::Kernel), Arc::clone(run));
    let (go, ready) = mpsc::channel();
    if !kernels.is_empty() {
        let (tun, worker) = namespace(KERNEL, move || {
            ready.recv()?;
            kernel_sends(&its, &kernels)
        })?;
        road.join_kernel(KERNEL, tun);
        workers.push(worker);
    }
    let ours = of(Sender::Lastack);
    let host = match ours.first() {
        Some((_, congestion)) => Some(host(&mut road, receiver.capabilities(), congestion)?),
        None => None,
    };
    let its = Arc::clone(run);
    workers.push(thread::spawn(move || Ok(road.carry(receiver, &its.over)?)));
    // Its receiver is gone if there is no kernel that sends.
    let _ = go.send(());
    if let Some(host) = host.clone() {
        for (id, _) in ours {
            let (its, host) = (Arc::clone(run), host.clone());
            workers.push(thread::spawn(move || lastack_sends(&its, &host, id)));
        }
    }

    run.wait_for_begin();
    let begun = Instant::now();
    sleep(skip);
    let (from, before) = (begun.elapsed(), run.arrived());
    sleep((skip + time).saturating_sub(begun.elapsed()));
    let (to, after) = (begun.elapsed(), run.arrived());
    drop(end);
    if let Some(host) = host {
        // What it still had is not wanted.
        let _ = host.close(Duration::ZERO);
    }
    for worker in workers {
        worker.join().map_err(|_| "a thread panicked")??;
    }
    let bits = |(before, after): (u64, u64)| (after - before) as f64 * 8.0 / (to - from).as_secs_f64();
    Ok(before.into_iter().zip(after).map(bits).collect())
}

/// Runs `work` on a thread in a new network namespace with a TUN, which is given back.
fn namespace(
    address: Ipv4Addr,
    work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> Result<(Tun, Worker), Failure> {
    let (give, take) = mpsc::channel();
    let worker = thread::spawn(move || {
        give.send(enter(address)).map_err(|_| "nobody waits for the interface")?;
        drop(give);
        work()
    });
    Ok((take.recv()??, worker))
}

fn enter(address: Ipv4Addr) -> Result<Tun, Failure> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("cannot make a network namespace (root is needed): {error}"))?;
    for name in ["tcp_rmem", "tcp_wmem"] {
        fs::write(format!("/proc/sys/net/ipv4/{name}"), format!("4096 131072 {BUFFER}"))?;
    }
    Ok(Tun::open(&TunOptions { mtu: Some(MTU), ipv4: Some((address, PREFIX)), ..TunOptions::default() })?)
}

fn host(road: &mut Road, capabilities: Capabilities, congestion: &str) -> Result<Host, Failure> {
    let tcp = TcpConfig {
        congestion: congestion.to_owned(),
        recv_buffer_max: BUFFER,
        send_buffer_max: BUFFER,
        ..TcpConfig::default()
    };
    let device = road.join_host(LASTACK, capabilities);
    let host =
        Host::builder().config(Config { tcp, ..Config::default() }).address(LASTACK, PREFIX).device(device);
    Ok(host.start()?)
}

/// Does the same with each of `all`, on a thread of its own.
fn together<T: Sync>(all: &[T], work: impl Fn(&T) -> Result<(), Failure> + Sync) -> Result<(), Failure> {
    thread::scope(|scope| {
        let threads: Vec<_> = all.iter().map(|one| scope.spawn(|| work(one))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })
}

fn kernel_sends(run: &Run, flows: &[(usize, String)]) -> Result<(), Failure> {
    together(flows, |(id, congestion)| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket
            .set_tcp_congestion(congestion.as_bytes())
            .map_err(|error| format!("the kernel has no congestion control '{congestion}': {error}"))?;
        socket.connect(&SocketAddr::from((RECEIVER, PORT)).into())?;
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_write_timeout(Some(LOOK))?;
        send(run, *id, TcpStream::from(socket))
    })
}

fn lastack_sends(run: &Run, host: &Host, id: usize) -> Result<(), Failure> {
    let stream = lastack::blocking::TcpStream::connect(host, (RECEIVER, PORT))?;
    stream.set_write_timeout(Some(LOOK))?;
    send(run, id, stream)
}

/// Says which flow it is, and sends until the run is over.
fn send(run: &Run, id: usize, mut stream: impl Write) -> Result<(), Failure> {
    stream.write_all(&u32::try_from(id)?.to_be_bytes())?;
    let block = vec![0; BLOCK];
    while !run.is_over() {
        match stream.write(&block) {
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            // The run may have ended meanwhile, and the host with it.
            Err(_) if run.is_over() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Counts what arrives, until the run is over.
fn receive(run: &Run) -> Result<(), Failure> {
    let listener = TcpListener::bind((RECEIVER, PORT))?;
    listener.set_nonblocking(true)?;
    thread::scope(|scope| {
        while !run.is_over() {
            match listener.accept() {
                Ok((stream, _)) => drop(scope.spawn(move || count(run, stream))),
                Err(error) if is_timeout(&error) => sleep(Duration::from_millis(1)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
}

/// Counts one flow's bytes. A connection that breaks off has no more of them.
fn count(run: &Run, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LOOK))?;
    let mut id = [0; 4];
    while let Err(error) = stream.read_exact(&mut id) {
        if run.is_over() || !is_timeout(&error) {
            return Err(error);
        }
    }
    run.begun.fetch_add(1, Ordering::Relaxed);
    let Some(arrived) = run.arrived.get(u32::from_be_bytes(id) as usize) else { return Ok(()) };
    let mut block = vec![0; BLOCK];
    while !run.is_over() {
        match stream.read(&mut block) {
            Ok(0) => break,
            Ok(len) => drop(arrived.fetch_add(len as u64, Ordering::Relaxed)),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
