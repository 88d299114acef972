//! Messages, and descriptors, between lastack and the process that it starts inside.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Longest message in bytes; a text is cut to it.
const LONGEST: usize = 4096;

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The namespace is there; with the interface's descriptor.
    Ready,
    /// It is not: a line for the user.
    Failed(String),
    /// The program may start.
    Start,
    /// It runs; with its pidfd.
    Running,
    /// It could not be executed: the error's number.
    NotStarted(i32),
    /// It was stopped by a signal.
    Stopped,
    /// It has exited with a status.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let (kind, number, text) = match self {
            Self::Ready => (0, 0, ""),
            Self::Failed(text) => (1, 0, text.as_str()),
            Self::Start => (2, 0, ""),
            Self::Running => (3, 0, ""),
            Self::NotStarted(errno) => (4, *errno, ""),
            Self::Stopped => (5, 0, ""),
            Self::Exited(status) => (6, *status, ""),
            Self::Signalled(signal) => (7, *signal, ""),
        };
        let mut bytes = vec![kind];
        bytes.extend(i32::to_ne_bytes(number));
        bytes.extend(text.bytes());
        bytes.truncate(LONGEST);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (number, text) = rest.split_first_chunk()?;
        let number = i32::from_ne_bytes(*number);
        Some(match kind {
            0 => Self::Ready,
            1 => Self::Failed(String::from_utf8_lossy(text).into_owned()),
            2 => Self::Start,
            3 => Self::Running,
            4 => Self::NotStarted(number),
            5 => Self::Stopped,
            6 => Self::Exited(number),
            7 => Self::Signalled(number),
            _ => return None,
        })
    }
}

/// One end of a connection between two processes of lastack. It is closed on exec.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(a), Self(b)))
    }

    /// Says something. It blocks only while the other end lags far behind.
    pub(crate) fn send(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = message.encode();
        let descriptors = descriptor.map(|descriptor| [descriptor]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if let Some(descriptors) = &descriptors {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let buffers = [IoSlice::new(&bytes)];
        retry_on_intr(|| sendmsg(&self.0, &buffers, &mut ancillary, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// Waits for a message; `None` when the other end is gone.
    pub(crate) fn receive(&self) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        let mut bytes = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_intr(|| {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            recvmsg(&self.0, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        });
        let len = match received {
            Ok(received) => received.bytes,
            // The other end went before it had read all.
            Err(Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        let descriptor = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => descriptors.last(),
                _ => None,
            })
            .last();
        if len == 0 {
            return Ok(None);
        }
        let message = Message::decode(bytes.get(..len).unwrap_or_default())
            .ok_or_else(|| io::Error::other("a message from inside that is not understood"))?;
        Ok(Some((message, descriptor)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_and_the_end_is_told() {
        let (a, b) = Channel::pair().unwrap();
        let messages = [
            Message::Ready,
            Message::Failed("no".to_owned()),
            Message::Start,
            Message::Running,
            Message::NotStarted(2),
            Message::Stopped,
            Message::Exited(3),
            Message::Signalled(9),
        ];
        for message in &messages {
            a.send(message, None).unwrap();
        }
        for message in messages {
            let (received, descriptor) = b.receive().unwrap().unwrap();
            assert_eq!(received, message);
            assert!(descriptor.is_none());
        }
        a.send(&Message::Ready, Some(std::io::stdin().as_fd())).unwrap();
        assert!(b.receive().unwrap().unwrap().1.is_some());
        drop(a);
        assert!(b.receive().unwrap().is_none());
    }
}
