//! Which process opened a connection: looked up in `/proc` on a thread of its own, so that no connection waits for it.
//!
//! The kernel's tables of the namespace (`/proc/PID/net/tcp` and its like) give the number of the socket that has an
//! address; the descriptors of the processes in the namespace give who holds that socket. A process that has ended by
//! then, or that this user may not look at, stays unknown.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::publish::Protocol;

/// Questions that wait at the most; the owner of more stays unknown.
const MAX_QUESTIONS: usize = 4096;
/// Questions that one look answers at the most.
const BATCH: usize = 512;

/// A process, as it was when it opened something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// Its name, as `ps -o comm` shows it: 15 bytes at the most.
    pub program: String,
    /// Its number, as lastack sees it.
    pub pid: u32,
    /// Its number as it sees itself.
    pub pid_inside: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, pid, pid_inside } = self;
        write!(f, "{program} (pid {pid}")?;
        if pid != pid_inside {
            write!(f, ", inside {pid_inside}")?;
        }
        f.write_str(")")
    }
}

/// A network namespace, by the file that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceId {
    device: u64,
    inode: u64,
}

impl NamespaceId {
    /// That of a file as `/proc/PID/ns/net` or `/run/netns/NAME`.
    ///
    /// # Errors
    /// Those of stat(2).
    pub fn of(file: &Path) -> io::Result<Self> {
        let file = fs::metadata(file)?;
        Ok(Self { device: file.dev(), inode: file.ino() })
    }
}

/// Who asks, and what becomes of the answer.
pub(crate) struct Question {
    pub(crate) protocol: Protocol,
    /// The program's address.
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) tell: Box<dyn FnOnce(Option<Owner>) + Send>,
}

/// Answers questions. Dropping it ends its thread.
#[derive(Debug)]
pub(crate) struct Owners {
    questions: SyncSender<Question>,
}

impl Owners {
    /// Starts the thread that looks into `namespace`.
    pub(crate) fn start(namespace: NamespaceId) -> io::Result<Self> {
        let (questions, asked) = sync_channel(MAX_QUESTIONS);
        thread::Builder::new().name("lastack-owners".to_owned()).spawn(move || answer(&asked, namespace))?;
        Ok(Self { questions })
    }

    pub(crate) fn ask(&self, question: Question) {
        // A full queue leaves it unanswered: the connection does not wait.
        let _ = self.questions.try_send(question);
    }
}

fn answer(questions: &Receiver<Question>, namespace: NamespaceId) {
    while let Ok(first) = questions.recv() {
        let begun = Instant::now();
        let mut batch = vec![first];
        batch.extend(questions.try_iter().take(BATCH));
        // Holders first: a socket may outlive its holder, and what ends meanwhile is lost.
        let processes = processes_in(namespace);
        let mut holders = HashMap::new();
        processes.iter().for_each(|pid| add_sockets(*pid, &mut holders));
        let mut tables = Tables::new(processes.first().copied());
        for question in batch {
            let socket = tables.find(&question);
            let pid = socket.and_then(|socket| holders.get(&socket));
            (question.tell)(pid.and_then(|pid| owner(*pid)));
        }
        rest(begun.elapsed());
    }
}

/// As long as the look took: at the most half of a processor goes into this.
fn rest(time: Duration) {
    thread::sleep(time);
}

/// The processes whose network namespace it is, in the order of their numbers.
fn processes_in(namespace: NamespaceId) -> Vec<u32> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut processes: Vec<u32> = numbers
        .filter(|pid| {
            let file = format!("/proc/{pid}/ns/net");
            NamespaceId::of(Path::new(&file)).is_ok_and(|found| found == namespace)
        })
        .collect();
    processes.sort_unstable();
    processes
}

/// Notes the sockets that a process holds, where no other was found to.
fn add_sockets(pid: u32, holders: &mut HashMap<u64, u32>) {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return };
    for descriptor in descriptors.flatten() {
        let Ok(link) = fs::read_link(descriptor.path()) else { continue };
        let socket = link.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        if let Some(socket) = socket.and_then(|number| number.parse().ok()) {
            holders.entry(socket).or_insert(pid);
        }
    }
}

fn owner(pid: u32) -> Option<Owner> {
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // The numbers in all namespaces, its own the last.
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let inside = numbers.and_then(|numbers| numbers.split_whitespace().next_back()?.parse().ok());
    Some(Owner { program: program.trim_end().to_owned(), pid, pid_inside: inside.unwrap_or(pid) })
}

/// A row: local address, remote address, number of the socket.
type Row = (SocketAddr, SocketAddr, u64);

/// The kernel's tables of sockets in a namespace, each read when it is needed first. Its name, and its rows by local port.
struct Tables {
    /// A process in the namespace.
    pid: Option<u32>,
    read: HashMap<&'static str, HashMap<u16, Vec<Row>>>,
}

impl Tables {
    fn new(pid: Option<u32>) -> Self {
        Self { pid, read: HashMap::new() }
    }

    fn find(&mut self, question: &Question) -> Option<u64> {
        // A socket of IPv6 can do IPv4 too.
        let names: &[_] = match (question.protocol, question.local.is_ipv4()) {
            (Protocol::Tcp, true) => &["tcp", "tcp6"],
            (Protocol::Tcp, false) => &["tcp6"],
            (Protocol::Udp, true) => &["udp", "udp6"],
            (Protocol::Udp, false) => &["udp6"],
        };
        names.iter().find_map(|name| self.find_in(name, question))
    }

    fn find_in(&mut self, name: &'static str, question: &Question) -> Option<u64> {
        let pid = self.pid?;
        let rows = self.read.entry(name).or_insert_with(|| {
            let text = fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
            let mut rows = HashMap::<u16, Vec<Row>>::new();
            lines(&text).for_each(|row| rows.entry(row.0.port()).or_default().push(row));
            rows
        });
        // A socket of UDP need not be connected, nor bound to an address.
        let loose = question.protocol == Protocol::Udp;
        let fits =
            |bound: SocketAddr, address: SocketAddr| bound == address || loose && bound.ip().is_unspecified();
        let same_port = rows.get(&question.local.port())?;
        let found =
            same_port.iter().find(|(at, to, _)| fits(*at, question.local) && fits(*to, question.remote));
        found.map(|(_, _, socket)| *socket)
    }
}

/// Local address, remote address and number of each socket of a table. A socket whose number is 0 has no holder.
fn lines(text: &str) -> impl Iterator<Item = Row> {
    text.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let (local, remote) = (columns.nth(1)?, columns.next()?);
        let socket = columns.nth(6)?.parse().ok().filter(|socket| *socket != 0)?;
        Some((address(local)?, address(remote)?, socket))
    })
}

/// `0F02000A:1F90`, or four such words for IPv6: each in the order of this machine's bytes.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = if address.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let mut bytes = [0; 16];
        for (index, place) in bytes.chunks_exact_mut(4).enumerate() {
            place.copy_from_slice(&word(index * 8)?);
        }
        Ipv6Addr::from(bytes).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::process;
    use std::sync::mpsc::channel;

    fn own() -> Owners {
        Owners::start(NamespaceId::of(Path::new("/proc/self/ns/net")).unwrap()).unwrap()
    }

    fn asked(owners: &Owners, protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Option<Owner> {
        let (told, answer) = channel();
        let tell = Box::new(move |owner| told.send(owner).unwrap());
        owners.ask(Question { protocol, local, remote, tell });
        answer.recv().unwrap()
    }

    #[test]
    fn owner_of_a_socket_is_found_over_both_families_and_protocols() {
        let owners = own();
        for loopback in ["127.0.0.1", "::1"] {
            let listener = TcpListener::bind((loopback, 0)).unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let owner = asked(&owners, Protocol::Tcp, local, remote).unwrap();
            assert_eq!(owner.pid, process::id());
            assert!(!owner.program.is_empty());
            let socket = UdpSocket::bind((loopback, 0)).unwrap();
            let local = socket.local_addr().unwrap();
            let owner = asked(&owners, Protocol::Udp, local, remote).unwrap();
            assert_eq!(owner.pid, process::id());
        }
    }

    #[test]
    fn nobody_owns_an_address_that_no_socket_has() {
        let nowhere = "127.0.0.1:1".parse().unwrap();
        assert_eq!(asked(&own(), Protocol::Tcp, nowhere, nowhere), None);
    }

    #[test]
    fn table_lines_are_read_in_the_kernels_form() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n\
            1: 0000000000000000FFFF00000100007F:0050 00000000000000000000000001000000:0051 01 0:0 0:0 0 0 0 12 1\n\
            2: 0100007F:1F90 00000000:0000 06 00000000:00000000 00:00000000 00000000     0        0 0 1 x\n";
        let found: Vec<_> =
            lines(text).map(|(local, remote, socket)| format!("{local} {remote} {socket}")).collect();
        if cfg!(target_endian = "little") {
            assert_eq!(found, ["127.0.0.1:8080 0.0.0.0:0 4711", "127.0.0.1:80 [::1]:81 12"]);
        }
    }

    #[test]
    fn owner_says_both_numbers_where_they_differ() {
        let owner = Owner { program: "curl".to_owned(), pid: 4711, pid_inside: 4711 };
        assert_eq!(owner.to_string(), "curl (pid 4711)");
        assert_eq!(Owner { pid_inside: 3, ..owner }.to_string(), "curl (pid 4711, inside 3)");
    }
}
