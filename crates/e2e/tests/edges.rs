//! Ends before there is a connection, after it, and of more than one connection: refusal, listeners, attempts that are
//! given up, the end of a host, TIME_WAIT that is used again. Against the running kernel, on either side. Needs root;
//! `LASTACK_SKIP_ROOT_TESTS=1` leaves it out.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use lastack::State::{
    CloseWait, Closed, Established, FinWait1, FinWait2, LastAck, Listen, NewSynRecv, SynReceived, SynSent,
    TimeWait,
};
use lastack::{Cause, Loss, State, TcpOption, blocking};
use lastack_e2e::lab::PATIENCE;
use lastack_e2e::socket::{Connected, connect, errno};
use lastack_e2e::{Family, Lab, To, eventually, in_namespace, kernel};
use socket2::{Domain, Socket, Type};

const ECONNRESET: i32 = 104;
const ECONNREFUSED: i32 = 111;

/// Runs a test over each family, each in a lab and a namespace of its own.
fn each_family(test: fn(&Lab, Family)) {
    for family in Family::BOTH {
        in_namespace(move || {
            let lab = Lab::new();
            test(&lab, family);
            let counters = lab.host.counters();
            assert_eq!((counters.illegal_transitions, counters.in_errs), (0, 0));
        });
    }
}

/// A socket of the kernel's that has begun to connect.
fn begin_connect(local: Option<SocketAddr>, remote: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, None).expect("a socket");
    if let Some(local) = local {
        socket.set_reuse_address(true).expect("SO_REUSEADDR");
        socket.bind(&local.into()).expect("the kernel binds");
    }
    socket.set_nonblocking(true).expect("non-blocking");
    let error = socket.connect(&remote.into()).expect_err("it cannot be connected yet");
    assert_eq!(error.raw_os_error(), Some(115), "EINPROGRESS");
    socket
}

fn read_error(stream: &mut impl Read) -> i32 {
    errno(&stream.read(&mut [0; 64]).expect_err("a read that fails"))
}

/// Bytes up to the end, and the errno if it was not an end of file.
fn read_all(stream: &mut impl Read) -> (u64, Option<i32>) {
    let (mut buffer, mut count) = (vec![0; 64 << 10], 0);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (count, None),
            Ok(len) => count += len as u64,
            Err(error) => return (count, Some(errno(&error))),
        }
    }
}

#[test]
fn closed_port_refuses() {
    each_family(|lab, family| {
        let error = TcpStream::connect(family.lastack(9)).expect_err("nobody listens");
        assert_eq!(errno(&error), ECONNREFUSED);
        assert_eq!((lab.host.counters().out_rsts, lab.transitions().len()), (1, 0));

        let error = blocking::TcpStream::connect(&lab.host, family.kernel(9)).expect_err("nobody listens");
        assert_eq!(errno(&error), ECONNREFUSED);
        let local = lastack::error_of(&error).and_then(|reason| reason.local).expect("the address it had");
        let path = [(SynSent, Cause::Connect), (Closed, Cause::Reset)];
        eventually("lastack's path", path.to_vec(), || lab.path(local, family.kernel(9)));
        assert_eq!(kernel::sockets(), []);
    });
}

#[test]
fn closed_listener_of_lastack_resets_what_nobody_accepted() {
    each_family(|lab, family| {
        let listener = blocking::TcpListener::bind(&lab.host, family.lastack(80)).expect("lastack binds");
        let mut client = TcpStream::connect(family.lastack(80)).expect("the kernel connects");
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"hello").expect("write");
        let local = client.local_addr().unwrap();
        eventually("lastack's state", Established, || lab.state(family.lastack(80), local));
        drop(listener);
        assert_eq!(read_error(&mut client), ECONNRESET);
        assert_eq!(client.read(&mut [0; 64]).expect("end of file"), 0);
        assert_eq!(kernel::state(local, family.lastack(80)), Closed);
        let path = [
            (NewSynRecv, Cause::Syn),
            (SynReceived, Cause::Handshake),
            (Established, Cause::Handshake),
            (Closed, Cause::ListenerClosed),
        ];
        eventually("lastack's path", path.to_vec(), || lab.path(family.lastack(80), local));
        eventually("nothing is left", Vec::new(), || lab.live());
    });
}

#[test]
fn closed_listener_of_the_kernel_resets_what_nobody_accepted() {
    each_family(|lab, family| {
        let listener = TcpListener::bind(family.kernel(80)).expect("the kernel binds");
        let mut client =
            blocking::TcpStream::connect(&lab.host, family.kernel(80)).expect("lastack connects");
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"hello").expect("write");
        let local = client.local_addr().unwrap();
        eventually("the kernel's state", Established, || kernel::state(family.kernel(80), local));
        drop(listener);
        assert_eq!(read_error(&mut client), ECONNRESET);
        assert_eq!(client.read(&mut [0; 64]).expect("end of file"), 0);
        let path = [(SynSent, Cause::Connect), (Established, Cause::Handshake), (Closed, Cause::Reset)];
        eventually("lastack's path", path.to_vec(), || lab.path(local, family.kernel(80)));
        assert_eq!(kernel::sockets(), []);
    });
}

#[test]
fn half_open_request_of_a_closed_listener_of_lastack_is_reset_by_its_ack() {
    each_family(|lab, family| {
        let server = family.lastack(80);
        let listener = blocking::TcpListener::bind(&lab.host, server).expect("lastack binds");
        lab.gate.hold(To::Kernel);
        let socket = begin_connect(None, server);
        let local = socket.local_addr().unwrap().as_socket().unwrap();
        eventually("lastack's state", NewSynRecv, || lab.state(server, local));
        lab.gate.hold(To::Lastack);
        lab.gate.release(To::Kernel);
        eventually("the kernel's state", Established, || kernel::state(local, server));
        drop(listener);
        eventually("lastack's state", Closed, || lab.state(server, local));
        assert_eq!(lab.path(server, local).last(), Some(&(Closed, Cause::ListenerClosed)));
        assert_eq!(kernel::state(local, server), Established);
        lab.gate.release(To::Lastack);
        let mut client = TcpStream::from(socket);
        client.set_nonblocking(false).unwrap();
        assert_eq!(read_error(&mut client), ECONNRESET);
        eventually("nothing is left", Vec::new(), || lab.live());
    });
}

#[test]
fn half_open_request_of_a_closed_listener_of_the_kernel_is_reset_by_its_ack() {
    each_family(|lab, family| {
        let server = family.kernel(80);
        let listener = TcpListener::bind(server).expect("the kernel binds");
        lab.gate.hold(To::Lastack);
        thread::scope(|scope| {
            let client = scope.spawn(|| blocking::TcpStream::connect(&lab.host, server));
            eventually("lastack's state", vec![SynSent], || states(lab));
            let local = lab.transitions()[0].local;
            eventually("the kernel's state", SynReceived, || kernel::state(server, local));
            lab.gate.hold(To::Kernel);
            lab.gate.release(To::Lastack);
            eventually("lastack's state", Established, || lab.state(local, server));
            drop(listener);
            let mut client = client.join().unwrap().expect("the handshake was complete for lastack");
            lab.gate.release(To::Kernel);
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(read_error(&mut client), ECONNRESET);
            eventually("lastack's end", Some((Closed, Cause::Reset)), || lab.path(local, server).pop());
        });
        eventually("the kernel's sockets", Vec::new(), kernel::sockets);
    });
}

fn states(lab: &Lab) -> Vec<State> {
    lab.live().into_iter().map(|(_, state)| state).collect()
}

#[test]
fn attempt_that_the_kernel_gives_up_resets_the_half_open_request() {
    each_family(|lab, family| {
        let server = family.lastack(80);
        let _listener = blocking::TcpListener::bind(&lab.host, server).expect("lastack binds");
        lab.gate.hold(To::Kernel);
        let socket = begin_connect(None, server);
        let local = socket.local_addr().unwrap().as_socket().unwrap();
        eventually("lastack's state", NewSynRecv, || lab.state(server, local));
        assert_eq!(kernel::state(local, server), SynSent);
        drop(socket);
        assert_eq!(kernel::sockets(), []);
        lab.gate.release(To::Kernel);
        eventually("lastack's state", Closed, || lab.state(server, local));
        assert_eq!(lab.path(server, local), [(NewSynRecv, Cause::Syn), (Closed, Cause::Reset)]);
        eventually("only the listener is left", vec![Listen], || states(lab));
    });
}

#[test]
fn attempt_that_lastack_gives_up_resets_the_half_open_request() {
    each_family(|lab, family| {
        let server = family.kernel(80);
        let _listener = TcpListener::bind(server).expect("the kernel binds");
        lab.gate.hold(To::Lastack);
        let limit = Duration::from_millis(100);
        let error = blocking::TcpStream::connect_timeout(&lab.host, &server, limit).expect_err("no answer");
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        eventually("lastack's transitions", 2, || lab.transitions().len());
        let local = lab.transitions()[0].local;
        let path = [(SynSent, Cause::Connect), (Closed, Cause::Close)];
        eventually("lastack's path", path.to_vec(), || lab.path(local, server));
        assert_eq!(kernel::state(server, local), SynReceived);
        lab.gate.release(To::Lastack);
        eventually("the kernel's state", Closed, || kernel::state(server, local));
        assert_eq!(kernel::sockets().len(), 1, "only the listener is left");
    });
}

#[test]
fn closed_host_delivers_what_its_sockets_wrote() {
    each_family(|lab, family| {
        const LEN: usize = 1 << 20;
        let listener = TcpListener::bind(family.kernel(80)).expect("the kernel binds");
        let mut stream =
            blocking::TcpStream::connect(&lab.host, family.kernel(80)).expect("lastack connects");
        let (mut peer, _) = listener.accept().expect("accept");
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_option(TcpOption::SendBuffer(LEN)).expect("a larger send buffer");
        // More than the peer's window: most of it is still here when the socket is dropped.
        stream.write_all(&vec![7; LEN]).expect("write");
        drop(stream);
        thread::scope(|scope| {
            let report = scope.spawn(|| lab.host.close(PATIENCE));
            assert_eq!(read_all(&mut peer), (LEN as u64, None));
            drop(peer);
            let report = report.join().unwrap();
            assert!(report.is_complete(), "{report}");
        });
    });
}

#[test]
fn closed_host_says_what_it_could_not_deliver_and_resets() {
    each_family(|lab, family| {
        let Connected { kernel: mut peer, mut lastack, .. } = connect(lab, family, false);
        let written = lastack.fill(|_, chunk| chunk.fill(7));
        drop(lastack);
        let report = lab.host.close(Duration::from_millis(300));
        let [lost] = &report.undelivered[..] else { panic!("{report}") };
        assert_eq!(lost.why, Loss::Deadline);
        let (mut buffer, mut read) = (vec![0; 64 << 10], 0);
        let end = loop {
            match peer.read(&mut buffer) {
                Ok(len) if len > 0 => read += len as u64,
                end => break end,
            }
        };
        assert_eq!((end, read + lost.bytes), (Err(ECONNRESET), written));
        assert_eq!(kernel::sockets(), []);
    });
}

/// Connects the kernel from a port of its own choice.
fn reconnect(local: SocketAddr, remote: SocketAddr) -> TcpStream {
    let stream = TcpStream::from(begin_connect(Some(local), remote));
    eventually("the kernel's state", Established, || kernel::state(local, remote));
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn kernel_reconnects_to_a_port_that_is_in_time_wait_at_lastack() {
    each_family(|lab, family| {
        let server = family.lastack(80);
        let listener = blocking::TcpListener::bind(&lab.host, server).expect("lastack binds");
        let mut client = TcpStream::connect(server).expect("the kernel connects");
        let local = client.local_addr().unwrap();
        drop(listener.accept().expect("accept"));
        assert_eq!(client.read(&mut [0]).expect("end of file"), 0);
        drop(client);
        eventually("lastack's state", TimeWait, || lab.state(server, local));
        eventually("the kernel's state", Closed, || kernel::state(local, server));

        let mut client = reconnect(local, server);
        let (mut accepted, from) = listener.accept().expect("accept");
        assert_eq!(from, local);
        accepted.write_all(b"again").expect("write");
        drop(accepted);
        let mut text = String::new();
        client.read_to_string(&mut text).expect("read");
        assert_eq!(text, "again");
        let reused =
            lab.transitions().into_iter().filter(|event| event.transition.cause == Cause::TimeWaitReuse);
        assert_eq!(
            reused.map(|event| (event.transition.from, event.remote)).collect::<Vec<_>>(),
            [(TimeWait, local)]
        );
    });
}

#[test]
fn lastack_reconnects_to_a_port_that_is_in_time_wait_at_the_kernel() {
    each_family(|lab, family| {
        let server = family.kernel(80);
        let listener = TcpListener::bind(server).expect("the kernel binds");
        let mut client = blocking::TcpStream::connect(&lab.host, server).expect("lastack connects");
        let local = client.local_addr().unwrap();
        drop(listener.accept().expect("accept"));
        assert_eq!(client.read(&mut [0]).expect("end of file"), 0);
        drop(client);
        eventually("the kernel's state", TimeWait, || kernel::state(server, local));
        eventually("lastack's state", Closed, || lab.state(local, server));

        let socket = blocking::TcpSocket::new(&lab.host).expect("a socket");
        socket.bind(local).expect("lastack binds");
        let mut client = socket.connect(server).expect("lastack connects again");
        assert_eq!(kernel::state(server, local), Established);
        let (mut accepted, from) = listener.accept().expect("accept");
        assert_eq!(from, local);
        accepted.write_all(b"again").expect("write");
        drop(accepted);
        let mut text = String::new();
        client.read_to_string(&mut text).expect("read");
        assert_eq!(text, "again");
    });
}

/// Connects lastack from an address of its own choice, with `SO_REUSEADDR`.
fn connect_from(lab: &Lab, local: SocketAddr, remote: SocketAddr) -> io::Result<blocking::TcpStream> {
    let socket = blocking::TcpSocket::new(&lab.host)?;
    socket.set_option(TcpOption::ReuseAddr(true))?;
    socket.bind(local)?;
    socket.connect(remote)
}

#[test]
fn lastack_reconnects_from_its_own_time_wait_after_a_second() {
    each_family(|lab, family| {
        let server = family.kernel(80);
        let listener = TcpListener::bind(server).expect("the kernel binds");
        let client = connect_from(lab, family.lastack(0), server).expect("lastack connects");
        let local = client.local_addr().unwrap();
        let (mut accepted, _) = listener.accept().expect("accept");
        drop(client);
        assert_eq!(accepted.read(&mut [0]).expect("end of file"), 0);
        drop(accepted);
        eventually("lastack's state", TimeWait, || lab.state(local, server));
        eventually("the kernel's state", Closed, || kernel::state(server, local));

        let mut connected = None;
        eventually("connected", true, || {
            connected = connect_from(lab, local, server).ok();
            connected.is_some()
        });
        assert_eq!(kernel::state(server, local), Established);
        assert_eq!(lab.host.counters().time_wait_recycled, 1);
    });
}

#[test]
fn ss_and_proc_and_lastack_tell_the_same() {
    each_family(|lab, family| {
        // Each in another state; what is held stays on its way.
        let established = connect(lab, family, true);
        let mut half_closed = connect(lab, family, false);
        half_closed.lastack.shutdown(Shutdown::Write).expect("half-close");
        let mut half_closed_by_kernel = connect(lab, family, true);
        half_closed_by_kernel.kernel.shutdown(Shutdown::Write).expect("half-close");
        let ended = connect(lab, family, true);
        drop(ended.kernel);
        let (kernel_addr, lastack_addr) = (ended.kernel_addr, ended.lastack_addr);
        eventually("the kernel's state", FinWait2, || kernel::state(kernel_addr, lastack_addr));
        drop(ended.lastack);
        eventually("the kernel's state", TimeWait, || kernel::state(kernel_addr, lastack_addr));
        for (connected, kernel, lastack) in
            [(&half_closed, CloseWait, FinWait2), (&half_closed_by_kernel, FinWait2, CloseWait)]
        {
            let (at, from) = (connected.kernel_addr, connected.lastack_addr);
            eventually("the kernel's state", kernel, || kernel::state(at, from));
            eventually("lastack's state", lastack, || lab.state(from, at));
        }
        lab.gate.hold(To::Lastack);
        lab.gate.hold(To::Kernel);
        let (at, from) = (half_closed.kernel_addr, half_closed.lastack_addr);
        drop(half_closed.kernel);
        assert_eq!(kernel::state(at, from), LastAck);
        drop(established.kernel);
        let first = kernel::state(established.kernel_addr, established.lastack_addr);
        assert_eq!(first, FinWait1);

        let mut proc: Vec<_> =
            kernel::sockets().iter().map(|entry| (entry.local, entry.remote, entry.state)).collect();
        let mut ss = kernel::ss();
        proc.sort();
        ss.sort();
        assert_eq!(proc, ss);
        assert_eq!(proc.len(), 4);
        for connection in lab.host.connections() {
            let (local, remote) = (connection.local.expect("an address"), connection.remote.expect("a peer"));
            assert_eq!(connection.state, lab.state(local, remote));
            let kernel = kernel::state(remote, local);
            let pairs = [(Established, FinWait1), (FinWait2, LastAck), (CloseWait, FinWait2)];
            assert!(pairs.contains(&(connection.state, kernel)), "{:?} and {kernel:?}", connection.state);
        }
        assert_eq!(lab.host.connections().len(), 3);
    });
}
