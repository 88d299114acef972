//! Fast Open between lastack and the running kernel, each as client and as server. Needs root; `LASTACK_SKIP_ROOT_TESTS=1`
//! leaves it out.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use lastack::blocking::TcpSocket;
use lastack::{Config, TcpConfig, TcpOption};
use lastack_e2e::{Family, Lab, LabOptions, in_namespace};
use socket2::{Domain, SockAddr, Socket, Type};

/// Linux's `MSG_FASTOPEN`.
const MSG_FASTOPEN: i32 = 0x2000_0000;

/// Client and server of the namespace, each listener without being asked (bits 0x1, 0x2, 0x400).
fn switch_on() {
    std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1027").expect("the setting");
}

fn read_to_end(mut stream: impl Read) -> Vec<u8> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("read");
    got
}

/// Text that a SYN can carry in whole, and some that it cannot.
fn requests() -> [Vec<u8>; 3] {
    [vec![1; 700], vec![2; 700], (0..200_000_u32).map(|n| n as u8).collect()]
}

#[test]
fn the_kernel_takes_lastacks_text_on_the_syn() {
    in_namespace(|| {
        switch_on();
        for family in Family::BOTH {
            let lab = Lab::with(LabOptions::default());
            let listener = TcpListener::bind(family.kernel(0)).expect("bind");
            let to = listener.local_addr().expect("address");
            let server = thread::spawn(move || {
                let received = |stream: Result<TcpStream, _>| {
                    let mut stream = stream.expect("accept");
                    let got = read_to_end(&stream);
                    stream.write_all(b"answer").expect("write");
                    got
                };
                listener.incoming().take(3).map(received).collect::<Vec<_>>()
            });
            let on_syn = requests().map(|request| {
                let stream = TcpSocket::new(&lab.host)
                    .expect("socket")
                    .connect_with_data(to, &request)
                    .expect("connect");
                stream.shutdown(Shutdown::Write).expect("shutdown");
                let on_syn = stream.info().expect("info").syn_data;
                assert_eq!(read_to_end(stream), b"answer");
                on_syn
            });
            assert_eq!(on_syn, [false, true, true], "{family:?}");
            assert_eq!(server.join().expect("the server"), requests());
            let counters = lab.host.counters();
            assert_eq!((counters.fast_open_active, counters.fast_open_active_failed), (2, 0));
        }
    });
}

/// A connection of the kernel's that is opened with `request`; what does not fit follows.
fn kernel_opens(to: SocketAddr, request: &[u8]) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("socket");
    let sent = socket.send_to_with_flags(request, &SockAddr::from(to), MSG_FASTOPEN).expect("sendto");
    let mut stream = TcpStream::from(socket);
    stream.write_all(&request[sent..]).expect("write");
    stream
}

#[test]
fn lastack_takes_the_kernels_text_on_the_syn() {
    in_namespace(|| {
        switch_on();
        for family in Family::BOTH {
            let tcp = TcpConfig { fast_open_server: true, ..TcpConfig::default() };
            let config = Config { tcp, ..Config::default() };
            let lab = Lab::with(LabOptions { config, ..LabOptions::default() });
            let socket = TcpSocket::new(&lab.host).expect("socket");
            socket.set_option(TcpOption::FastOpen(8)).expect("Fast Open");
            socket.bind(family.lastack(0)).expect("bind");
            let listener = socket.listen(8).expect("listen");
            let to = listener.local_addr().expect("address");
            let client = thread::spawn(move || {
                for request in requests() {
                    let stream = kernel_opens(to, &request);
                    stream.shutdown(Shutdown::Write).expect("shutdown");
                    assert_eq!(read_to_end(stream), b"answer");
                }
            });
            let served = requests().map(|request| {
                let (mut stream, _) = listener.accept().expect("accept");
                assert!(read_to_end(&stream) == request);
                stream.write_all(b"answer").expect("write");
                stream.info().expect("info").syn_data
            });
            assert_eq!(served, [false, true, true], "{family:?}");
            client.join().expect("the client");
        }
    });
}
