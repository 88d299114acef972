//! Wireshark's own reader opens what we write. Needs `tshark`.

use std::net::IpAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastack_device::capture::{Capture, PcapngWriter};
use lastack_device::{Capabilities, Device, PacketMeta, memory};
use lastack_wire::{SeqNumber, tcp};

#[allow(dead_code)]
#[path = "../src/testing.rs"]
mod testing;

fn transmit(device: &mut dyn Device, meta: PacketMeta, packet: &[u8]) {
    let mut once = Some(());
    let mut fill = |frame: &mut [u8]| {
        once.take()?;
        frame[..packet.len()].copy_from_slice(packet);
        Some((packet.len(), meta))
    };
    assert_eq!(device.transmit(&mut fill).unwrap(), 1);
}

fn ack_header() -> tcp::Repr {
    tcp::Repr {
        src_port: 1000,
        dst_port: 2000,
        seq: SeqNumber(1),
        ack: SeqNumber(1),
        flags: tcp::Flags::ACK,
        window: 500,
        ..Default::default()
    }
}

#[test]
fn tshark_opens_the_capture_and_finds_every_checksum_good() {
    let caps = Capabilities { mtu: 1500, tx_checksum: true, tx_gso_v4: 65535, tx_gso_v6: 65535 };
    let (a, mut b) = memory::pair(caps, caps);
    let path = std::env::temp_dir().join(format!("lastack-device-{}.pcapng", std::process::id()));
    let file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let writer = Arc::new(Mutex::new(PcapngWriter::new(file, "lastack0").unwrap()));
    let clock = Arc::new(|| Duration::new(1_700_000_000, 123_456_789));
    let mut a = Capture::new(a, Arc::clone(&writer), clock);
    let addresses: [(IpAddr, IpAddr); 2] = [testing::addresses(false), testing::addresses(true)];
    for (src, dst) in addresses {
        let (meta, packet) = testing::tcp_packet(src, dst, &ack_header(), &testing::bytes(2500), 1000);
        transmit(&mut a, meta, &packet);
        let (meta, packet) = testing::tcp_packet(dst, src, &ack_header(), &testing::bytes(10), 0);
        transmit(&mut b, meta, &packet);
        assert_eq!(a.receive(8, &mut |_, _| {}).unwrap(), 1);
    }
    writer.lock().unwrap().flush().unwrap();
    let fields = ["frame.time_epoch", "frame.packet_flags_direction", "tcp.len", "tcp.checksum.status"];
    let output = Command::new("tshark")
        .arg("-r")
        .arg(&path)
        .args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .args(["-e", "frame.comment", "-e", "ip.checksum.status", "-E", "separator=|"])
        .output()
        .expect("tshark is needed by this test: install it (Debian package tshark)");
    std::fs::remove_file(&path).unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).replace("0x0000000", "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Status 1 is "good". IPv6 has no header checksum.
    let mut expected = String::new();
    for ip_status in ["1", ""] {
        for (index, len) in [1000, 1000, 500].iter().enumerate() {
            let comment = format!("segment {} of 3 of one offloaded packet", index + 1);
            expected += &format!("1700000000.123456789|2|{len}|1|{comment}|{ip_status}\n");
        }
        expected += &format!("1700000000.123456789|1|10|1||{ip_status}\n");
    }
    assert_eq!(stdout, expected);
}
