//! The two processes between lastack and the program.
//!
//! The **keeper** enters the namespaces, makes the interface and hands its descriptor over. Its child, the **first**
//! process of the process namespace, starts the program, waits for whatever is left without a parent, and tells lastack
//! what becomes of the program. When the first process ends the kernel ends all that lives in its namespace, daemons
//! too. It ends when lastack says so, when its connection to lastack breaks, and when lastack is killed.

use std::ffi::OsString;
use std::io;
use std::process::{Command, exit};

use lastack_device::Device;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, pidfd_open};

use super::Program;
use crate::channel::{Channel, Message};
use crate::namespace::{self, Inside, files};
use crate::sys;

/// The keeper's life, in a process of its own. `lastack` is its parent.
pub(super) fn keep(channel: Channel, inside: &Inside, program: Program, lastack: Pid) -> ! {
    let status = match prepare(&channel, inside, lastack) {
        Ok(()) => live(channel, program),
        Err(error) => {
            // If nobody listens, nobody wants to know.
            let _ = channel.send(&Message::Failed(error.to_string()), None);
            1
        }
    };
    exit(status);
}

fn prepare(channel: &Channel, inside: &Inside, lastack: Pid) -> io::Result<()> {
    // What the terminal sends is the program's business.
    SigSet::all().thread_block()?;
    let tun = namespace::enter(inside)?;
    // Only now: a change of credentials takes it back.
    die_with(lastack)?;
    let descriptor = tun.poll_fd().ok_or_else(|| io::Error::other("the interface has no descriptor"))?;
    channel.send(&Message::Ready, Some(descriptor))
}

/// Has the kernel kill this process when its parent ends.
fn die_with(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
}

fn live(channel: Channel, program: Program) -> i32 {
    match sys::fork() {
        Ok(Some(first)) => {
            drop(channel);
            while waitpid(first, None) == Err(Errno::EINTR) {}
            0
        }
        // It ends the namespace by returning.
        Ok(None) => match be_first(&channel, program) {
            Ok(()) => 0,
            Err(error) => {
                let _ = channel.send(&Message::Failed(error.to_string()), None);
                1
            }
        },
        Err(error) => {
            let _ = channel.send(&Message::Failed(format!("cannot start a process: {error}")), None);
            1
        }
    }
}

fn be_first(channel: &Channel, program: Program) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    files::mount_proc();
    let Some((Message::Start, _)) = channel.receive()? else { return Ok(()) };
    let mut ended = SigSet::empty();
    ended.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&ended, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let Program { name, args, mask, open_files } = program;
    let pid = match spawn(&name, &args, mask, open_files) {
        Ok(pid) => pid,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
            return channel.send(&Message::NotStarted(errno), None);
        }
    };
    let number = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = pidfd_open(number, PidfdFlags::empty())?;
    channel.send(&Message::Running, Some(std::os::fd::AsFd::as_fd(&pidfd)))?;
    drop(pidfd);
    loop {
        let mut ready = [PollFd::new(&signals, PollFlags::IN), PollFd::new(channel, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // lastack says nothing any more: it is gone, or wants this to end.
        if !ready[1].revents().is_empty() {
            return Ok(());
        }
        while signals.read_signal()?.is_some() {}
        reap(channel, pid)?;
    }
}

/// Waits for all that has ended, and tells what became of the program.
fn reap(channel: &Channel, program: Pid) -> io::Result<()> {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
    loop {
        let status = match waitpid(None, Some(flags)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Err(Errno::EINTR) => continue,
            status => status?,
        };
        let message = match status {
            WaitStatus::Exited(pid, status) if pid == program => Message::Exited(status),
            WaitStatus::Signaled(pid, signal, _) if pid == program => Message::Signalled(signal as i32),
            WaitStatus::Stopped(pid, _) if pid == program => Message::Stopped,
            _ => continue,
        };
        channel.send(&message, None)?;
    }
}

fn spawn(name: &OsString, args: &[OsString], mask: SigSet, open_files: (u64, u64)) -> io::Result<Pid> {
    let mut command = Command::new(name);
    command.args(args);
    sys::before_exec(&mut command, move || {
        setrlimit(Resource::RLIMIT_NOFILE, open_files.0, open_files.1)?;
        mask.thread_set_mask()?;
        Ok(())
    });
    let child = command.spawn()?;
    i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)
}
