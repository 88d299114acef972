//! A connected socket of the kernel or of lastack, with one set of calls, so that one table of steps drives both.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use lastack::{TcpOption, blocking};
use socket2::SockRef;

use crate::awaited::Awaited;
use crate::lab::{Family, Lab, PATIENCE};

/// Errno of what would block; here, of what did not happen within [`PATIENCE`].
const EAGAIN: i32 = 11;

/// A listener of the kernel's or of lastack's.
pub enum Listener {
    /// The kernel's.
    Kernel(TcpListener),
    /// lastack's.
    Lastack(blocking::TcpListener),
}

/// One end of a connection.
pub enum Socket {
    /// The kernel's.
    Kernel(TcpStream),
    /// The kernel's, held by another process alone.
    Held(Process),
    /// lastack's, blocking.
    Lastack(blocking::TcpStream),
    /// lastack's for tokio, each call awaited.
    Tokio(Awaited),
}

/// A process of the test's, killed when this is dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It fails if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two ends of a connection that was just established, and their addresses.
pub struct Connected {
    /// The kernel's end.
    pub kernel: Socket,
    /// lastack's end.
    pub lastack: Socket,
    /// The kernel's address.
    pub kernel_addr: SocketAddr,
    /// lastack's address.
    pub lastack_addr: SocketAddr,
}

/// Opens a connection; the client is the kernel or lastack.
///
/// # Panics
/// If that fails.
#[must_use]
pub fn connect(lab: &Lab, family: Family, kernel_is_client: bool) -> Connected {
    let (kernel, lastack) = if kernel_is_client {
        let listener = blocking::TcpListener::bind(&lab.host, family.lastack(0)).expect("lastack binds");
        let address = listener.local_addr().expect("an address");
        let kernel = TcpStream::connect(address).expect("the kernel connects to lastack");
        (kernel, listener.accept().expect("lastack accepts").0)
    } else {
        let listener = TcpListener::bind(family.kernel(0)).expect("the kernel binds");
        let address = listener.local_addr().expect("an address");
        let lastack = blocking::TcpStream::connect(&lab.host, address).expect("lastack connects");
        (listener.accept().expect("the kernel accepts").0, lastack)
    };
    let (kernel_addr, lastack_addr) = (kernel.local_addr().unwrap(), lastack.local_addr().unwrap());
    assert_eq!(kernel.peer_addr().unwrap(), lastack_addr);
    assert_eq!(lastack.peer_addr().unwrap(), kernel_addr);
    kernel.set_read_timeout(Some(PATIENCE)).unwrap();
    kernel.set_write_timeout(Some(PATIENCE)).unwrap();
    lastack.set_read_timeout(Some(PATIENCE)).unwrap();
    lastack.set_write_timeout(Some(PATIENCE)).unwrap();
    Connected { kernel: Socket::Kernel(kernel), lastack: Socket::Lastack(lastack), kernel_addr, lastack_addr }
}

/// The errno of a failure of either stack.
///
/// # Panics
/// If the error has none.
#[must_use]
pub fn errno(error: &io::Error) -> i32 {
    if error.kind() == ErrorKind::WouldBlock {
        return EAGAIN;
    }
    let inside = lastack::error_of(error).map(lastack::ConnectionError::errno);
    error.raw_os_error().or(inside).unwrap_or_else(|| panic!("no errno in {error:?}"))
}

impl Socket {
    /// Reads what is there, or waits for it.
    ///
    /// # Errors
    /// The errno.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, i32> {
        match self {
            Self::Kernel(stream) => stream.read(buf),
            Self::Lastack(stream) => stream.read(buf),
            Self::Tokio(stream) => stream.read(buf),
            Self::Held(_) => held(),
        }
        .map_err(|e| errno(&e))
    }

    /// Bytes that can be read now, up to the size of `buf`; waits for the first.
    ///
    /// # Errors
    /// The errno.
    pub fn peek(&mut self, buf: &mut [u8]) -> Result<usize, i32> {
        match self {
            Self::Kernel(stream) => stream.peek(buf),
            Self::Lastack(stream) => stream.peek(buf),
            Self::Tokio(stream) => stream.peek(buf),
            Self::Held(_) => held(),
        }
        .map_err(|e| errno(&e))
    }

    /// Writes what there is room for, or waits for room.
    ///
    /// # Errors
    /// The errno.
    pub fn write(&mut self, data: &[u8]) -> Result<usize, i32> {
        match self {
            Self::Kernel(stream) => stream.write(data),
            Self::Lastack(stream) => stream.write(data),
            Self::Tokio(stream) => stream.write(data),
            Self::Held(_) => held(),
        }
        .map_err(|e| errno(&e))
    }

    /// Shuts a direction down.
    ///
    /// # Errors
    /// The errno.
    pub fn shutdown(&mut self, how: Shutdown) -> Result<(), i32> {
        match self {
            Self::Kernel(stream) => stream.shutdown(how),
            Self::Lastack(stream) => stream.shutdown(how),
            Self::Tokio(stream) => stream.shutdown(how),
            Self::Held(_) => held(),
        }
        .map_err(|e| errno(&e))
    }

    /// `SO_ERROR`, 0 if none is stored.
    #[must_use]
    pub fn take_error(&mut self) -> i32 {
        let error = match self {
            Self::Kernel(stream) => stream.take_error(),
            Self::Lastack(stream) => stream.take_error(),
            Self::Tokio(stream) => stream.take_error(),
            Self::Held(_) => held(),
        };
        error.expect("SO_ERROR is read").map_or(0, |e| errno(&e))
    }

    /// Waits for room or does not.
    pub fn set_nonblocking(&mut self, on: bool) {
        match self {
            Self::Kernel(stream) => stream.set_nonblocking(on),
            Self::Lastack(stream) => stream.set_nonblocking(on),
            Self::Tokio(stream) => stream.set_nonblocking(on),
            Self::Held(_) => held(),
        }
        .expect("the mode is set");
    }

    /// Sets linger 0.
    pub fn set_linger_zero(&mut self) {
        match self {
            Self::Kernel(stream) => SockRef::from(&*stream).set_linger(Some(Duration::ZERO)),
            Self::Lastack(stream) => stream.set_linger_zero(true),
            Self::Tokio(stream) => stream.set_linger_zero(true),
            Self::Held(_) => held(),
        }
        .expect("linger is set");
    }

    /// Sets `TCP_USER_TIMEOUT`.
    pub fn set_user_timeout(&mut self, limit: Duration) {
        match self {
            Self::Kernel(stream) => SockRef::from(&*stream).set_tcp_user_timeout(Some(limit)),
            Self::Lastack(stream) => stream.set_user_timeout(Some(limit)),
            Self::Tokio(stream) => stream.set_user_timeout(Some(limit)),
            Self::Held(_) => held(),
        }
        .expect("the user timeout is set");
    }

    /// Probes after a second, each second, twice.
    pub fn set_keepalive(&mut self) {
        let second = Duration::from_secs(1);
        match self {
            Self::Kernel(stream) => {
                let params =
                    socket2::TcpKeepalive::new().with_time(second).with_interval(second).with_retries(2);
                SockRef::from(&*stream).set_tcp_keepalive(&params)
            }
            Self::Lastack(stream) => probe_each_second(|option| stream.set_option(option)),
            Self::Tokio(stream) => probe_each_second(|option| stream.set_option(option)),
            Self::Held(_) => held(),
        }
        .expect("keep-alive is set");
    }

    /// Gives a socket of the kernel's to another process and keeps none of it.
    ///
    /// # Panics
    /// If the socket is not the kernel's; if `sleep` cannot be run.
    #[must_use]
    pub fn into_process(self) -> Self {
        let Self::Kernel(stream) = self else { panic!("only the kernel's sockets belong to processes") };
        let mut command = Command::new("sleep");
        command.arg("infinity").stdin(Stdio::from(OwnedFd::from(stream)));
        // The command holds the test's copy of the socket until it is dropped.
        Self::Held(Process(command.spawn().expect("sleep is run")))
    }

    /// Kills the process that holds the socket (`SIGKILL`).
    ///
    /// # Panics
    /// If there is none.
    pub fn kill(self) {
        assert!(matches!(self, Self::Held(_)), "no process holds the socket");
    }

    /// lastack's `abort()`.
    ///
    /// # Panics
    /// If the socket is not lastack's.
    pub fn abort(self) {
        let Self::Lastack(stream) = self else { panic!("only lastack has abort()") };
        stream.abort();
    }

    /// Writes until nothing goes any more, neither on the way nor into the peer's buffer; how many bytes went.
    ///
    /// # Panics
    /// If a write fails otherwise.
    pub fn fill(&mut self, mut data: impl FnMut(u64, &mut [u8])) -> u64 {
        let mut chunk = vec![0; 64 << 10];
        let (mut written, mut quiet) = (0, 0);
        self.set_nonblocking(true);
        // Buffers grow while the peer acknowledges: quiet for a while is full.
        while quiet < 10 {
            data(written, &mut chunk);
            match self.write(&chunk) {
                Ok(len) => (written, quiet) = (written + len as u64, 0),
                Err(EAGAIN) => {
                    quiet += 1;
                    thread::sleep(Duration::from_millis(20));
                }
                Err(errno) => panic!("write: errno {errno}"),
            }
        }
        self.set_nonblocking(false);
        written
    }
}

fn probe_each_second(set: impl Fn(TcpOption) -> io::Result<()>) -> io::Result<()> {
    let second = Duration::from_secs(1);
    [
        TcpOption::KeepIdle(second),
        TcpOption::KeepInterval(second),
        TcpOption::KeepCount(2),
        TcpOption::KeepAlive(true),
    ]
    .into_iter()
    .try_for_each(set)
}

fn held<T>() -> io::Result<T> {
    panic!("the socket belongs to another process")
}
