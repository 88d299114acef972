//! The table of endings: what client and server see through the gateway, in both directions, is what they see when only
//! the kernel's loopback is between them. Needs root.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::lab::{gateway, lab};

/// The parts of both sides.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/endings.py");
const BASE: u16 = 9000;

/// What a side printed, a line for each row.
type Seen = Vec<String>;

fn rows() -> u16 {
    let output = Command::new("python3").args([SCRIPT, "rows"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// The server, listening.
fn server(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command
        .args(["python3", SCRIPT, "server", &BASE.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, out)
}

fn play(serve: &mut Command, run: &mut Command, address: &str) -> (Seen, Seen) {
    let (mut child, mut out) = server(serve);
    let client = run.args(["python3", SCRIPT, "client", address, &BASE.to_string()]).output().unwrap();
    assert!(client.status.success(), "the client: {}", String::from_utf8_lossy(&client.stderr));
    let mut served = String::new();
    out.read_to_string(&mut served).unwrap();
    assert!(child.wait().unwrap().success(), "the server");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Seen>();
    (lines(&String::from_utf8(client.stdout).unwrap()), lines(&served))
}

/// Runs a program as it is.
fn direct() -> Command {
    let mut command = Command::new("env");
    command.stdin(Stdio::null());
    command
}

fn expect(way: &str, seen: &(Seen, Seen), reference: &(Seen, Seen)) {
    for (side, seen, reference) in [("client", &seen.0, &reference.0), ("server", &seen.1, &reference.1)] {
        assert_eq!(reference.len(), usize::from(rows()), "{way}: rows of the reference");
        let different: Vec<_> =
            seen.iter().zip(reference).filter(|(seen, reference)| seen != reference).collect();
        assert!(
            different.is_empty(),
            "{way}, what the {side} saw, and with the kernel alone: {different:#?}"
        );
        assert_eq!(seen.len(), reference.len(), "{way}, {side}");
    }
}

#[test]
fn every_ending_is_seen_as_with_the_kernel_alone() {
    lab(|| {
        let publish: Vec<String> = (BASE..BASE + rows())
            .flat_map(|port| ["--publish".to_owned(), format!("{port}:{port}")])
            .collect();
        let publish: Vec<&str> = publish.iter().map(String::as_str).collect();
        for (loopback, outside) in [("127.0.0.1", "10.0.2.2"), ("::1", "fd00::2")] {
            let reference = play(&mut direct(), &mut direct(), loopback);
            let outbound = play(&mut direct(), &mut gateway(&[]), outside);
            expect(&format!("outbound, {loopback}"), &outbound, &reference);
            let inbound = play(&mut gateway(&publish), &mut direct(), loopback);
            expect(&format!("inbound, {loopback}"), &inbound, &reference);
        }
    });
}
