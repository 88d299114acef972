//! The program: started in namespaces of its own, waited for, its end turned into an exit status.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use lastack_device::tun::Tun;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getppid};

use crate::namespace::{self, Inside};
use crate::sys;

/// Exit status when lastack itself fails, as with `env` and `chroot`.
pub const STATUS_FAILED: i32 = 125;
/// Exit status when the program is there but cannot be executed.
pub const STATUS_NOT_EXECUTABLE: i32 = 126;
/// Exit status when there is no such program.
pub const STATUS_NOT_FOUND: i32 = 127;
/// Added to the number of the signal that ended the program.
const STATUS_SIGNALLED: i32 = 128;

/// Signals that are passed on to the program. (Stop and continue reach it with its process group.)
const PASSED_ON: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];

/// What to start, and what it gets back of what lastack changed for itself.
pub(crate) struct Program {
    pub(crate) name: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) signals: Signals,
    /// Soft and hard limit of open files.
    pub(crate) open_files: (u64, u64),
}

/// Signals held back from lastack's threads and read here.
pub(crate) struct Signals {
    file: SignalFd,
    /// The mask before, which is the program's.
    before: SigSet,
}

impl Signals {
    /// Blocks the signals in the calling thread and in those that it starts from now on.
    pub(crate) fn hold() -> io::Result<Self> {
        sys::watch_children()?;
        let mut held = SigSet::empty();
        PASSED_ON.into_iter().chain([Signal::SIGCHLD]).for_each(|signal| held.add(signal));
        let before = SigSet::thread_get_mask()?;
        held.thread_block()?;
        Ok(Self { file: SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC)?, before })
    }

    /// The mask to go back to.
    pub(crate) fn before(&self) -> SigSet {
        self.before
    }
}

/// Why the program did not start.
#[derive(Debug)]
pub(crate) struct StartError {
    name: OsString,
    error: io::Error,
}

impl StartError {
    pub(crate) fn status(&self) -> i32 {
        if self.error.kind() == io::ErrorKind::NotFound { STATUS_NOT_FOUND } else { STATUS_NOT_EXECUTABLE }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.display();
        match self.error.kind() {
            io::ErrorKind::NotFound => {
                write!(f, "{name}: not found; give the name of a program in PATH, or a path to one")
            }
            _ => write!(f, "{name}: cannot be executed: {}", self.error),
        }
    }
}

/// The thread that lives in the namespaces.
pub(crate) struct Launcher {
    start: SyncSender<()>,
    thread: JoinHandle<Result<i32, StartError>>,
}

impl Launcher {
    /// Makes the namespaces. The program starts with [`run`](Self::run); without that the namespaces go.
    pub(crate) fn new(inside: Inside, program: Program) -> io::Result<(Self, Tun)> {
        let (start, started) = sync_channel(0);
        let (send_tun, receive_tun) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("lastack-program".to_owned())
            .spawn(move || live_inside(&inside, program, &send_tun, &started))?;
        let tun = receive_tun.recv().map_err(|_| io::Error::other("the program's thread panicked"))??;
        Ok((Self { start, thread }, tun))
    }

    /// Starts the program and waits for its end; its exit status, or 128 + n for signal n.
    pub(crate) fn run(self) -> Result<i32, StartError> {
        // If the thread is gone, joining it says so.
        let _ = self.start.send(());
        self.thread.join().unwrap_or_else(|_| {
            Err(StartError {
                name: OsString::from("lastack"),
                error: io::Error::other("the program's thread panicked"),
            })
        })
    }
}

/// The thread's life. It has to outlast the program, whose death signal is tied to it.
fn live_inside(
    inside: &Inside,
    program: Program,
    tun: &SyncSender<io::Result<Tun>>,
    started: &Receiver<()>,
) -> Result<i32, StartError> {
    let entered = namespace::enter(inside);
    let usable = entered.is_ok();
    if tun.send(entered).is_err() || !usable || started.recv().is_err() {
        return Ok(STATUS_FAILED);
    }
    let Program { name, args, signals, open_files } = program;
    let started =
        spawn(&name, &args, signals.before, open_files).and_then(|child| wait(child, &signals.file));
    match started {
        Ok(status) => Ok(exit_status(status)),
        Err(error) => Err(StartError { name, error }),
    }
}

fn spawn(name: &OsString, args: &[OsString], mask: SigSet, open_files: (u64, u64)) -> io::Result<Child> {
    let mut command = Command::new(name);
    command.args(args);
    let parent = Pid::this();
    sys::before_exec(&mut command, move || {
        // The program ends with lastack, however that ends.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != parent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        setrlimit(Resource::RLIMIT_NOFILE, open_files.0, open_files.1)?;
        mask.thread_set_mask()?;
        Ok(())
    });
    command.spawn()
}

/// Waits for the child and passes signals on. Both happen on this thread, so a signal never goes to a process that has
/// been waited for.
fn wait(mut child: Child, signals: &SignalFd) -> io::Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let Some(info) = signals.read_signal()? else { continue };
        // What the terminal sends goes to the whole foreground process group: the program has it already.
        if info.ssi_code == libc::SI_KERNEL {
            continue;
        }
        let signal = PASSED_ON.into_iter().find(|signal| u32::try_from(*signal as i32) == Ok(info.ssi_signo));
        if let Some(signal) = signal {
            // It fails only if the program has just ended.
            let _ = kill(pid, signal);
        }
    }
}

fn exit_status(status: ExitStatus) -> i32 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => STATUS_SIGNALLED + signal,
        (None, None) => STATUS_FAILED,
    }
}
