//! Wireshark's reader finds nothing wrong with what lastack and the kernel say to each other. Needs root and tshark;
//! `LASTACK_SKIP_ROOT_TESTS=1` leaves it out.

use std::path::Path;
use std::process::Command;

use lastack::State;
use lastack_e2e::web::{TempDir, body, curl_get, curl_put, serve, sha256};
use lastack_e2e::{Family, Lab, LabOptions, eventually, in_namespace};

fn tshark(capture: &Path, filter: &str) -> String {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(capture)
        .args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y", filter])
        .output()
        .expect("tshark (Debian package) is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("tshark prints text")
}

#[test]
fn tshark_finds_no_malformed_packet_and_no_bad_checksum() {
    in_namespace(|| {
        const LEN: usize = 1 << 20;
        let folder = TempDir::new("capture");
        let path = folder.file("capture.pcapng");
        let lab = Lab::with(LabOptions { capture: Some(path.clone()), ..LabOptions::default() });
        let file = folder.body("body", LEN);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        for family in Family::BOTH {
            let server = family.lastack(80);
            runtime.block_on(serve(&lab.host, server));
            let hash = sha256(body(LEN));
            assert_eq!(curl_get(&format!("http://{server}/body/{LEN}")), (hash.clone(), LEN));
            assert_eq!(curl_put(&format!("http://{server}/sha256"), &file), format!("{hash} {LEN}"));
        }
        let busy = |state: &State| !matches!(state, State::Listen | State::TimeWait);
        eventually("connections in progress", 0, || {
            lab.live().iter().filter(|(_, state)| busy(state)).count()
        });
        lab.flush_capture();

        // Status 0 is "bad", 2 "unverified": everything was looked at.
        let wrong = "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status != 1 || _ws.short";
        assert_eq!(tshark(&path, wrong), "");
        let segments = "frame.comment contains \"offloaded\"";
        for family in ["ip", "ipv6"] {
            for (direction, address) in [("sent", "src"), ("received", "dst")] {
                let ours = if family == "ip" { "10.99.0.2" } else { "fd99::2" };
                let filter = format!("{segments} && {family}.{address} == {ours} && tcp.len > 0");
                assert!(tshark(&path, &filter).lines().count() > 500, "{family}: few segments {direction}");
            }
            let ends = tshark(&path, &format!("{family} && tcp.flags.fin == 1"));
            assert!(ends.lines().count() >= 4, "{family}: {ends}");
        }
    });
}
