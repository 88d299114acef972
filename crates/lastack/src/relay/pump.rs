//! One direction of a relay.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Buffers moved in one poll at the most, so that a busy relay lets others run.
const BUDGET: usize = 16;

/// Spare buffers kept per thread.
const SPARE: usize = 4;

thread_local! {
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer for the length of a poll; kept longer only while it holds data.
fn take_buffer(size: usize) -> Box<[u8]> {
    let spare = BUFFERS.with_borrow_mut(|spare| {
        let at = spare.iter().position(|buffer| buffer.len() == size)?;
        Some(spare.swap_remove(at))
    });
    spare.unwrap_or_else(|| vec![0; size].into_boxed_slice())
}

fn give_buffer(buffer: Box<[u8]>) {
    BUFFERS.with_borrow_mut(|spare| {
        if spare.len() < SPARE {
            spare.push(buffer);
        }
    });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Reading and writing.
    Copying,
    /// The reader's stream has ended; the writer is to be told once the buffer is empty.
    Ending,
    /// The writer was told.
    Done,
}

/// What a poll of one direction came to.
#[derive(Debug)]
pub(super) enum Step {
    /// The budget is used up; there may be more right now.
    Busy,
    /// Waits for one of the streams.
    Waiting,
    /// The end of the stream was passed on.
    Done,
    /// The reader broke.
    ReadFailed(io::Error),
    /// The writer broke.
    WriteFailed(io::Error),
}

#[derive(Debug)]
pub(super) struct Pump {
    stage: Stage,
    size: usize,
    /// Data and the part of it that is still to be written.
    held: Option<(Box<[u8]>, usize, usize)>,
    moved: u64,
}

impl Pump {
    pub(super) fn new(size: usize) -> Self {
        Self { stage: Stage::Copying, size: size.max(1), held: None, moved: 0 }
    }

    /// Bytes written to the other side.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// The end of the stream was read.
    pub(super) fn at_end(&self) -> bool {
        self.stage != Stage::Copying
    }

    /// The end of the stream was passed on.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Moves what can be moved, and the end of the stream behind it.
    pub(super) fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Step {
        match self.copy(from, to, cx) {
            Step::Done => {}
            other => return other,
        }
        if self.stage == Stage::Ending {
            match Pin::new(to).poll_shutdown(cx) {
                Poll::Pending => return Step::Waiting,
                Poll::Ready(Err(e)) => return Step::WriteFailed(e),
                Poll::Ready(Ok(())) => self.stage = Stage::Done,
            }
        }
        Step::Done
    }

    /// Moves what is left of a stream that broke, without an end behind it.
    pub(super) fn poll_rest(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Step {
        self.copy(from, to, cx)
    }

    /// `Done` = the end of the stream was read and all data written.
    fn copy(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Step {
        for _ in 0..BUDGET {
            match self.write_held(to, cx) {
                Poll::Pending => return Step::Waiting,
                Poll::Ready(Err(e)) => return Step::WriteFailed(e),
                Poll::Ready(Ok(())) => {}
            }
            if self.stage != Stage::Copying {
                return Step::Done;
            }
            match self.fill(from, cx) {
                Poll::Pending => return Step::Waiting,
                Poll::Ready(Err(e)) => return Step::ReadFailed(e),
                Poll::Ready(Ok(())) => {}
            }
        }
        Step::Busy
    }

    fn write_held(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some((buffer, mut start, end)) = self.held.take() else { return Poll::Ready(Ok(())) };
        while start < end {
            match Pin::new(&mut *to).poll_write(cx, &buffer[start..end]) {
                Poll::Pending => {
                    self.held = Some((buffer, start, end));
                    return Poll::Pending;
                }
                Poll::Ready(Err(e)) => {
                    self.held = Some((buffer, start, end));
                    return Poll::Ready(Err(e));
                }
                Poll::Ready(Ok(0)) => {
                    self.held = Some((buffer, start, end));
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(n)) => {
                    start += n;
                    self.moved += n as u64;
                }
            }
        }
        give_buffer(buffer);
        Poll::Ready(Ok(()))
    }

    fn fill(&mut self, from: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = take_buffer(self.size);
        let mut read = ReadBuf::new(&mut buffer);
        let result = Pin::new(from).poll_read(cx, &mut read);
        let len = read.filled().len();
        match result {
            Poll::Ready(Ok(())) if len > 0 => {
                self.held = Some((buffer, 0, len));
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(())) => self.stage = Stage::Ending,
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
        give_buffer(buffer);
        result
    }
}
