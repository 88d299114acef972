//! The relay: how one side ends is how the other sees it end.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::{connected, hosts, pattern, run, until};
use lastack::tokio::TcpStream;
use lastack::{Host, RelayEnd, RelayOptions, RelayReport, Side, State, relay, relay_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// Two peers with a relay between them, each over its own connection; `[peer of A, peer of B]`.
struct Setup {
    peers: [Option<TcpStream>; 2],
    relay: JoinHandle<RelayReport>,
    /// Keep the links up.
    _hosts: [Host; 4],
}

async fn setup() -> Setup {
    setup_with(RelayOptions::default()).await
}

async fn setup_with(options: RelayOptions) -> Setup {
    let (client, left) = hosts();
    let (right, server) = hosts();
    let (peer_a, a) = connected(&client, &left).await;
    let (b, peer_b) = connected(&right, &server).await;
    let relay = tokio::spawn(async move { relay_with(a, b, &options).await });
    Setup { peers: [Some(peer_a), Some(peer_b)], relay, _hosts: [client, left, right, server] }
}

impl Setup {
    /// The peer on a side, and the one on the other.
    fn take(&mut self, side: Side) -> (TcpStream, TcpStream) {
        let (a, b) = (self.peers[0].take().expect("once"), self.peers[1].take().expect("once"));
        if side == Side::A { (a, b) } else { (b, a) }
    }
}

async fn read_all(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut got = Vec::new();
    let result = stream.read_to_end(&mut got).await;
    (got, result.err().map(|e| e.kind()))
}

fn bytes(report: &RelayReport, from: Side) -> u64 {
    if from == Side::A { report.a_to_b } else { report.b_to_a }
}

#[test]
fn a_graceful_end_is_graceful_on_both_sides() {
    run(async {
        for side in [Side::A, Side::B] {
            let mut setup = setup().await;
            let (mut near, mut far) = setup.take(side);
            let data = pattern(3 << 20);
            let copy = data.clone();
            let writer = tokio::spawn(async move {
                near.write_all(&copy).await.expect("write");
                near.shutdown().await.expect("shutdown");
                near
            });
            let (got, error) = read_all(&mut far).await;
            assert!(got == data && error.is_none());
            far.shutdown().await.expect("shutdown");
            let mut near = writer.await.expect("join");
            assert_eq!(read_all(&mut near).await, (Vec::new(), None));
            let report = setup.relay.await.expect("join");
            assert!(matches!(report.end, RelayEnd::Graceful), "{report}");
            assert_eq!((report.first, bytes(&report, side)), (side, data.len() as u64));
        }
    });
}

#[test]
fn half_close_is_carried_and_the_other_way_goes_on() {
    run(async {
        for side in [Side::A, Side::B] {
            let mut setup = setup().await;
            let (mut near, mut far) = setup.take(side);
            near.write_all(b"question").await.expect("write");
            near.shutdown().await.expect("shutdown");
            assert_eq!(read_all(&mut far).await, (b"question".to_vec(), None));
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                far.write_all(b"answer ").await.expect("write");
            }
            assert!(!setup.relay.is_finished());
            far.shutdown().await.expect("shutdown");
            assert_eq!(read_all(&mut near).await, (b"answer ".repeat(5), None));
            let report = setup.relay.await.expect("join");
            assert!(matches!(report.end, RelayEnd::Graceful), "{report}");
            assert_eq!((bytes(&report, side), report.first), (8, side));
        }
    });
}

#[test]
fn a_reset_before_any_data_is_carried() {
    run(async {
        for side in [Side::A, Side::B] {
            let mut setup = setup().await;
            let (near, mut far) = setup.take(side);
            near.abort();
            assert_eq!(read_all(&mut far).await, (Vec::new(), Some(ErrorKind::ConnectionReset)));
            let report = setup.relay.await.expect("join");
            assert_eq!(report.first, side);
            match report.end {
                RelayEnd::Reset { by, error, delivered: true } => {
                    assert_eq!((by, error.kind()), (side, ErrorKind::ConnectionReset));
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn bytes_before_a_reset_are_delivered_before_it_is_carried() {
    run(async {
        for side in [Side::A, Side::B] {
            let mut setup = setup().await;
            let (mut near, mut far) = setup.take(side);
            let data = pattern(200_000);
            near.write_all(&data).await.expect("write");
            // Everything has left the sender, so that its abort drops nothing.
            until("acknowledged", || {
                let info = near.info().expect("info");
                info.unacked == 0 && info.unsent == 0
            })
            .await;
            near.abort();
            let (got, error) = read_all(&mut far).await;
            assert_eq!(error, Some(ErrorKind::ConnectionReset));
            assert!(got == data, "{} bytes", got.len());
            let report = setup.relay.await.expect("join");
            assert!(
                matches!(report.end, RelayEnd::Reset { by, delivered: true, .. } if by == side),
                "{report}"
            );
        }
    });
}

#[test]
fn a_reset_after_an_end_of_file_is_carried() {
    run(async {
        for side in [Side::A, Side::B] {
            let mut setup = setup().await;
            let (mut near, mut far) = setup.take(side);
            near.write_all(b"bye").await.expect("write");
            near.shutdown().await.expect("shutdown");
            assert_eq!(read_all(&mut far).await, (b"bye".to_vec(), None));
            near.abort();
            let report = setup.relay.await.expect("join");
            assert!(matches!(report.end, RelayEnd::Reset { by, .. } if by == side), "{report}");
            until("the reset has arrived", || far.info().expect("info").state == State::Closed).await;
            assert_eq!(far.write(b"x").await.expect_err("no peer").kind(), ErrorKind::BrokenPipe);
        }
    });
}

#[test]
fn a_reset_is_noticed_while_the_other_side_does_not_read() {
    run(async {
        for side in [Side::A, Side::B] {
            let grace = RelayOptions::default().reset_grace(Duration::from_millis(100));
            let mut setup = setup_with(grace).await;
            let (mut near, mut far) = setup.take(side);
            while let Ok(n) = tokio::time::timeout(Duration::from_millis(200), near.write(&[1; 65536])).await
            {
                n.expect("write");
            }
            near.abort();
            let report = setup.relay.await.expect("join");
            assert!(
                matches!(report.end, RelayEnd::Reset { by, delivered: false, .. } if by == side),
                "{report}"
            );
            let (got, error) = read_all(&mut far).await;
            assert_eq!(error, Some(ErrorKind::ConnectionReset));
            assert!(!got.is_empty());
        }
    });
}

#[test]
fn a_reset_by_the_side_that_is_written_to_reaches_the_writer() {
    run(async {
        for side in [Side::A, Side::B] {
            let mut setup = setup().await;
            let (near, mut far) = setup.take(side);
            let writer = tokio::spawn(async move {
                loop {
                    if let Err(e) = far.write_all(&[1; 65536]).await {
                        return e.kind();
                    }
                }
            });
            tokio::time::sleep(Duration::from_millis(50)).await;
            // Unread data at a close: the stack resets.
            drop(near);
            assert_eq!(writer.await.expect("join"), ErrorKind::ConnectionReset);
            let report = setup.relay.await.expect("join");
            assert!(matches!(report.end, RelayEnd::Reset { by, .. } if by == side), "{report}");
        }
    });
}

#[test]
fn a_cut_relay_resets_both_sides() {
    run(async {
        let mut setup = setup().await;
        let (mut near, mut far) = setup.take(Side::A);
        near.write_all(b"abc").await.expect("write");
        far.read_exact(&mut [0; 3]).await.expect("read");
        setup.relay.abort();
        assert_eq!(read_all(&mut near).await.1, Some(ErrorKind::ConnectionReset));
        assert_eq!(read_all(&mut far).await.1, Some(ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_kernel_stream_is_carried_too() {
    run(async {
        use lastack::relay::KernelStream;
        let (client, left) = hosts();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let to = listener.local_addr().expect("address");

        // Half-close each way, then the end.
        let (mut near, a) = connected(&client, &left).await;
        let b = tokio::net::TcpStream::connect(to).await.expect("connect");
        let mut far = listener.accept().await.expect("accept").0;
        let task = tokio::spawn(relay(a, KernelStream::new(b)));
        near.write_all(b"question").await.expect("write");
        near.shutdown().await.expect("shutdown");
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.expect("read");
        far.write_all(b"answer").await.expect("write");
        far.shutdown().await.expect("shutdown");
        near.read_to_end(&mut got).await.expect("read");
        assert_eq!(got, b"questionanswer");
        assert!(matches!(task.await.expect("join").end, RelayEnd::Graceful));

        // A reset from the kernel's side, after its end of file.
        let (mut near, a) = connected(&client, &left).await;
        let b = tokio::net::TcpStream::connect(to).await.expect("connect");
        let mut far = listener.accept().await.expect("accept").0;
        let task = tokio::spawn(relay(a, KernelStream::new(b)));
        far.shutdown().await.expect("shutdown");
        assert_eq!(near.read(&mut [0; 8]).await.expect("end"), 0);
        far.set_zero_linger().expect("option");
        drop(far);
        let report = task.await.expect("join");
        assert!(matches!(report.end, RelayEnd::Reset { by: Side::B, .. }), "{report}");
        until("the reset has arrived", || near.info().expect("info").state == State::Closed).await;

        // And from ours.
        let (near, a) = connected(&client, &left).await;
        let b = tokio::net::TcpStream::connect(to).await.expect("connect");
        let mut far = listener.accept().await.expect("accept").0;
        let task = tokio::spawn(relay(a, KernelStream::new(b)));
        near.abort();
        assert_eq!(far.read(&mut [0; 8]).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
        assert!(matches!(task.await.expect("join").end, RelayEnd::Reset { by: Side::A, .. }));
    });
}
