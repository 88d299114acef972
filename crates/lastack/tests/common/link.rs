//! A link to another process: a device over a pair of Unix datagram sockets.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lastack::device::{Capabilities, Device, Fill, PacketMeta, Sink, Waker};

/// How long a sender waits before it tries a full queue again.
const RETRY: Duration = Duration::from_millis(1);

pub(crate) struct Link {
    socket: Arc<UnixDatagram>,
    own: PathBuf,
    peer: PathBuf,
    /// Taken out by a wait.
    arrived: Option<Vec<u8>>,
    /// Did not fit into the peer's queue.
    kept: Option<Vec<u8>>,
}

impl Link {
    pub(crate) fn new(own: &Path, peer: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::bind(own)?;
        Ok(Self { socket: Arc::new(socket), own: own.into(), peer: peer.into(), arrived: None, kept: None })
    }

    /// False if the queue is full.
    fn send(&mut self, packet: &[u8]) -> bool {
        match self.socket.send_to(packet, &self.peer) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.kept = Some(packet.to_vec());
                false
            }
            // The peer is not there yet or no more: lost, as on a wire.
            _ => true,
        }
    }
}

impl Device for Link {
    fn capabilities(&self) -> Capabilities {
        Capabilities::plain(1500)
    }

    fn receive(&mut self, max: usize, sink: &mut Sink<'_>) -> io::Result<usize> {
        let mut count = 0;
        if let Some(packet) = self.arrived.take() {
            sink(&PacketMeta::default(), &packet);
            count += 1;
        }
        self.socket.set_nonblocking(true)?;
        let mut buffer = [0; 2048];
        while count < max {
            match self.socket.recv(&mut buffer) {
                // A wake-up.
                Ok(0) => {}
                Ok(len) => {
                    sink(&PacketMeta::default(), &buffer[..len]);
                    count += 1;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(count)
    }

    fn transmit(&mut self, fill: &mut Fill<'_>) -> io::Result<usize> {
        self.socket.set_nonblocking(true)?;
        if let Some(packet) = self.kept.take()
            && !self.send(&packet)
        {
            return Ok(0);
        }
        let mut count = 0;
        let mut frame = [0; 2048];
        while let Some((len, _)) = fill(&mut frame) {
            count += 1;
            if !self.send(&frame[..len]) {
                break;
            }
        }
        Ok(count)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = if self.is_full() { Some(RETRY) } else { timeout };
        self.socket.set_nonblocking(false)?;
        self.socket.set_read_timeout(timeout.map(|t| t.max(Duration::from_micros(1))))?;
        let mut buffer = [0; 2048];
        match self.socket.recv(&mut buffer) {
            Ok(0) => Ok(()),
            Ok(len) => {
                self.arrived = Some(buffer[..len].to_vec());
                Ok(())
            }
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn waker(&self) -> Waker {
        let socket = Arc::clone(&self.socket);
        let own = self.own.clone();
        Waker::new(move || {
            // A full queue ends the wait as well.
            let _ = socket.send_to(&[], &own);
        })
    }

    fn is_full(&self) -> bool {
        self.kept.is_some()
    }
}
