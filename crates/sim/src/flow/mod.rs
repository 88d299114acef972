//! What applications do: a program for each end of a connection, and the end that carries it out.

pub(crate) mod content;
mod end;

pub(crate) use end::{End, Io, Scratch};

use crate::scenario::{Model, Who};
use crate::units::{Size, Time};
use std::sync::Arc;
use std::time::Duration;

/// One step of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write so many bytes.
    Send(u64),
    /// Write for so long.
    SendFor(Duration),
    /// Read so many bytes. The end of the stream before them is a failure.
    Recv(u64),
    /// Read to the end of the stream.
    RecvToEnd,
    /// The same, so many bytes at a time with pauses.
    RecvSlowly(u64, Duration),
    /// Write so many bytes and shut that direction, and read to the end of the stream at the same time.
    Exchange(u64),
    /// Do nothing for so long.
    Pause(Duration),
    /// Shut the direction to the peer.
    Shutdown,
    /// Close.
    Close,
    /// End here, with a close as at the end of a process, or with a reset.
    Crash { reset: bool },
}

/// The programs of a model's client and server.
pub(crate) fn programs(model: &Model) -> [Arc<[Step]>; 2] {
    let finish = [Step::Shutdown, Step::RecvToEnd, Step::Close];
    let sends = |first: Step| [&[first], &finish[..]].concat();
    let reads = || vec![Step::RecvToEnd, Step::Close];
    let (client, server) = match *model {
        Model::Bulk { bytes: Size(n), down: false } => (sends(Step::Send(n)), reads()),
        Model::Bulk { bytes: Size(n), down: true } => (reads(), sends(Step::Send(n))),
        Model::Stream { lasts: Time(time) } => (sends(Step::SendFor(time)), reads()),
        Model::Duplex { bytes: Size(n) } => {
            let both = vec![Step::Exchange(n), Step::Close];
            (both.clone(), both)
        }
        Model::RequestResponse { rounds, request: Size(request), response: Size(response), think } => {
            let mut client = Vec::new();
            let mut server = Vec::new();
            for round in 0..rounds {
                if round > 0 && think.0 > Duration::ZERO {
                    client.push(Step::Pause(think.0));
                }
                client.extend([Step::Send(request), Step::Recv(response)]);
                server.extend([Step::Recv(request), Step::Send(response)]);
            }
            client.push(Step::Close);
            server.extend(reads());
            (client, server)
        }
        Model::Paced { piece: Size(piece), every: Time(every), count } => {
            let pieces = (0..count).flat_map(|_| [Step::Send(piece), Step::Pause(every)]);
            (pieces.chain(finish).collect(), reads())
        }
        Model::HalfClose { up: Size(up), down: Size(down) } => {
            (sends(Step::Send(up)), vec![Step::RecvToEnd, Step::Send(down), Step::Close])
        }
        Model::SlowReader { bytes: Size(n), piece: Size(piece), every: Time(every) } => {
            (sends(Step::Send(n)), vec![Step::RecvSlowly(piece, every), Step::Close])
        }
        Model::Crash { bytes: Size(n), after: Size(after), who, reset } => {
            let end = Step::Crash { reset };
            match who {
                Who::Client => (vec![Step::Send(after), end], reads()),
                Who::Server => (sends(Step::Send(n)), vec![Step::Recv(after), end]),
            }
        }
    };
    [client.into(), server.into()]
}
