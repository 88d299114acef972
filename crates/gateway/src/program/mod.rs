//! The program: started in namespaces of its own, waited for, its end turned into an exit status.

mod inside;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use lastack_device::tun::{Tun, TunOptions};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::pidfd_send_signal;

use crate::channel::{Channel, Message};
use crate::namespace::Inside;
use crate::owner::NamespaceId;
use crate::sys;

/// Exit status when lastack itself fails, as with `env` and `chroot`.
pub const STATUS_FAILED: i32 = 125;
/// Exit status when the program is there but cannot be executed.
pub const STATUS_NOT_EXECUTABLE: i32 = 126;
/// Exit status when there is no such program.
pub const STATUS_NOT_FOUND: i32 = 127;
/// Added to the number of the signal that ended the program.
const STATUS_SIGNALLED: i32 = 128;

/// Signals that are passed on to the program.
const PASSED_ON: [(Signal, rustix::process::Signal); 8] = {
    use rustix::process::Signal as To;
    [
        (Signal::SIGHUP, To::HUP),
        (Signal::SIGINT, To::INT),
        (Signal::SIGQUIT, To::QUIT),
        (Signal::SIGTERM, To::TERM),
        (Signal::SIGUSR1, To::USR1),
        (Signal::SIGUSR2, To::USR2),
        (Signal::SIGTSTP, To::TSTP),
        (Signal::SIGCONT, To::CONT),
    ]
};

/// What to start, and what it gets back of what lastack changed for itself.
pub(crate) struct Program {
    pub(crate) name: OsString,
    pub(crate) args: Vec<OsString>,
    /// Its signal mask.
    pub(crate) mask: SigSet,
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
        PASSED_ON.into_iter().for_each(|(signal, _)| held.add(signal));
        let before = SigSet::thread_get_mask()?;
        held.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self { file: SignalFd::with_flags(&held, flags)?, before })
    }

    /// The mask to go back to.
    pub(crate) fn before(&self) -> SigSet {
        self.before
    }
}

/// Why the program did not start, or how lastack lost it.
#[derive(Debug)]
pub(crate) enum StartError {
    Exec { name: OsString, error: io::Error },
    Lost(String),
}

impl StartError {
    pub(crate) fn status(&self) -> i32 {
        match self {
            Self::Exec { error, .. } if error.kind() == io::ErrorKind::NotFound => STATUS_NOT_FOUND,
            Self::Exec { .. } => STATUS_NOT_EXECUTABLE,
            Self::Lost(_) => STATUS_FAILED,
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Lost(format!("cannot watch the program: {error}"))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec { name, error } if error.kind() == io::ErrorKind::NotFound => {
                let name = name.display();
                write!(f, "{name}: not found; give the name of a program in PATH, or a path to one")
            }
            Self::Exec { name, error } => write!(f, "{}: cannot be executed: {error}", name.display()),
            Self::Lost(message) => f.write_str(message),
        }
    }
}

/// The namespaces, and the program in them. What lives there ends when this is dropped.
pub(crate) struct Launcher {
    name: OsString,
    channel: Option<Channel>,
    keeper: Pid,
}

impl Launcher {
    /// Makes the namespaces. The program starts with [`run`](Self::run). Has to be called before this process has a
    /// second thread, on a thread that stays.
    ///
    /// # Errors
    /// A line that says what is missing.
    pub(crate) fn new(inside: &Inside, program: Program) -> Result<(Self, Tun), String> {
        let fail = |error: io::Error| format!("cannot start a process: {error}");
        let name = program.name.clone();
        let (channel, theirs) = Channel::pair().map_err(fail)?;
        let lastack = getpid();
        let Some(keeper) = sys::fork().map_err(fail)? else {
            drop(channel);
            inside::keep(theirs, inside, program, lastack);
        };
        drop(theirs);
        let launcher = Self { name, channel: Some(channel), keeper };
        let tun = launcher.interface(inside.mtu)?;
        Ok((launcher, tun))
    }

    fn channel(&self) -> io::Result<&Channel> {
        self.channel.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn interface(&self, mtu: u16) -> Result<Tun, String> {
        let fail = |error: io::Error| format!("cannot take the program's interface over: {error}");
        match self.channel().and_then(Channel::receive).map_err(fail)? {
            Some((Message::Ready, Some(descriptor))) => {
                let options = TunOptions { mtu: Some(mtu), offloads: true, ..TunOptions::default() };
                Tun::from_fd(descriptor, &options).map_err(fail)
            }
            Some((Message::Failed(message), _)) => Err(message),
            _ => Err("the process that makes the namespaces was killed".to_owned()),
        }
    }

    /// The program's network namespace, if it may be looked at.
    pub(crate) fn namespace(&self) -> Option<NamespaceId> {
        NamespaceId::of(Path::new(&format!("/proc/{}/ns/net", self.keeper))).ok()
    }

    /// Starts the program and waits for its end; its exit status, or 128 + n for signal n. What it has left running
    /// inside lives on until the launcher is dropped.
    pub(crate) fn run(&self, signals: &Signals) -> Result<i32, StartError> {
        let channel = self.channel()?;
        channel.send(&Message::Start, None)?;
        let mut program = None;
        loop {
            let mut ready = [PollFd::new(&signals.file, PollFlags::IN), PollFd::new(channel, PollFlags::IN)];
            // Until the program is there its signals wait.
            let watched = if program.is_some() { &mut ready[..] } else { &mut ready[1..] };
            match poll(watched, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            if !ready[1].revents().is_empty() {
                match channel.receive()? {
                    Some((Message::Running, pidfd)) => program = pidfd,
                    Some((Message::NotStarted(errno), _)) => {
                        let error = io::Error::from_raw_os_error(errno);
                        return Err(StartError::Exec { name: self.name.clone(), error });
                    }
                    Some((Message::Stopped, _)) => {
                        if let Some(program) = &program {
                            stop_with(program)?;
                        }
                    }
                    Some((Message::Exited(status), _)) => return Ok(status),
                    Some((Message::Signalled(signal), _)) => return Ok(STATUS_SIGNALLED + signal),
                    Some((Message::Failed(message), _)) => return Err(StartError::Lost(message)),
                    Some((Message::Ready | Message::Start, _)) => {}
                    None => {
                        let message = "the processes inside were killed, and the program with them";
                        return Err(StartError::Lost(message.to_owned()));
                    }
                }
            }
            if let Some(program) = &program {
                pass_on(&signals.file, program)?;
            }
        }
    }
}

fn pass_on(signals: &SignalFd, program: &OwnedFd) -> io::Result<()> {
    while let Some(info) = signals.read_signal()? {
        // What the terminal sends goes to the whole foreground process group: the program has it already.
        if info.ssi_code == libc::SI_KERNEL {
            continue;
        }
        let same = |signal: &Signal| u32::try_from(*signal as i32) == Ok(info.ssi_signo);
        if let Some((_, signal)) = PASSED_ON.into_iter().find(|(signal, _)| same(signal)) {
            // It fails only if the program has just ended.
            let _ = pidfd_send_signal(program, signal);
        }
    }
    Ok(())
}

/// The program has been stopped, by Ctrl-Z say: so is lastack, until it is continued, so that whoever waits for it sees
/// the job as it is.
fn stop_with(program: &OwnedFd) -> io::Result<()> {
    // It may have been continued meanwhile, with lastack or without.
    if !is_stopped(program) {
        return Ok(());
    }
    raise(Signal::SIGSTOP)?;
    // It fails only if the program has just ended.
    let _ = pidfd_send_signal(program, rustix::process::Signal::CONT);
    Ok(())
}

fn is_stopped(program: &OwnedFd) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).unwrap_or_default();
    let number = info.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim);
    let stat = number.map(|number| fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default());
    // The name before the state may hold anything.
    stat.is_some_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.channel = None;
        while waitpid(self.keeper, None) == Err(Errno::EINTR) {}
    }
}
