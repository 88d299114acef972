//! Many connections, ended in every manner, leave nothing behind but TIME_WAIT records. Needs root;
//! `LASTACK_SKIP_ROOT_TESTS=1` leaves it out.

use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use lastack::State;
use lastack_e2e::socket::{Connected, Socket, connect};
use lastack_e2e::{Family, Lab, LabOptions, eventually, in_namespace, kernel};

const THREADS: usize = 8;
const EACH: usize = 125;

fn read_to_the_end(socket: &mut Socket) -> Result<usize, i32> {
    let (mut buffer, mut count) = ([0; 4096], 0);
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(count),
            len => count += len,
        }
    }
}

fn write(socket: &mut Socket, len: usize) {
    assert_eq!(socket.write(&vec![7; len]), Ok(len));
}

/// Waits until something can be read, and leaves it.
fn leave_unread(socket: &mut Socket) {
    assert_eq!(socket.peek(&mut [0]), Ok(1));
}

/// Opens a connection and ends it in one of many manners.
fn one(lab: &Lab, number: usize) {
    const ECONNRESET: Result<usize, i32> = Err(104);
    let family = Family::BOTH[number % 2];
    let connected = connect(lab, family, (number / 2).is_multiple_of(2));
    let Connected { kernel, lastack, .. } = connected;
    // The first of the two ends the connection.
    let (mut a, mut b) = if (number / 4).is_multiple_of(2) { (kernel, lastack) } else { (lastack, kernel) };
    match number / 8 % 7 {
        0 => {
            write(&mut a, 100);
            drop(a);
            assert_eq!(read_to_the_end(&mut b), Ok(100));
        }
        1 => {
            a.shutdown(Shutdown::Write).expect("half-close");
            assert_eq!(read_to_the_end(&mut b), Ok(0));
            write(&mut b, 2000);
            drop(b);
            assert_eq!(read_to_the_end(&mut a), Ok(2000));
        }
        2 => {
            drop(a);
            drop(b);
        }
        3 => {
            a.set_linger_zero();
            drop(a);
            assert_eq!(read_to_the_end(&mut b), ECONNRESET);
        }
        4 => {
            write(&mut b, 10);
            leave_unread(&mut a);
            drop(a);
            assert_eq!(read_to_the_end(&mut b), ECONNRESET);
        }
        5 => {
            a.shutdown(Shutdown::Both).expect("shutdown");
            b.shutdown(Shutdown::Both).expect("shutdown");
        }
        _ => {
            // Both leave data unread: both reset.
            write(&mut a, 10);
            write(&mut b, 10);
            leave_unread(&mut a);
            leave_unread(&mut b);
            drop(a);
            drop(b);
        }
    }
}

/// States other than TIME_WAIT.
fn others(states: impl Iterator<Item = State>) -> Vec<State> {
    states.filter(|state| *state != State::TimeWait).collect()
}

#[test]
fn a_thousand_connections_leave_nothing_but_time_wait() {
    in_namespace(|| {
        let mut options = LabOptions::default();
        options.config.tcp.time_wait = Duration::from_secs(3);
        let lab = Lab::with(options);
        thread::scope(|scope| {
            for worker in 0..THREADS {
                let lab = &lab;
                scope.spawn(move || (0..EACH).for_each(|number| one(lab, worker * EACH + number)));
            }
        });
        let sockets = || others(kernel::sockets().iter().map(|entry| entry.state));
        eventually("the kernel's sockets", Vec::new(), sockets);
        let connections = || others(lab.live().iter().map(|(_, state)| *state));
        eventually("lastack's connections", Vec::new(), connections);
        assert!(lab.host.connections().is_empty(), "{:?}", lab.host.connections());

        let entered = |state| lab.transitions().iter().filter(|event| event.transition.to == state).count();
        assert_eq!(entered(State::Established), THREADS * EACH);
        assert!(entered(State::TimeWait) > 0 && !kernel::sockets().is_empty());
        eventually("TIME_WAIT ends too", Vec::new(), || lab.live());
        let counters = lab.host.counters();
        assert_eq!((counters.illegal_transitions, counters.trace_drops, counters.in_errs), (0, 0, 0));
    });
}
