use std::time::Duration;

use lastack_wire::{Capabilities, ChecksumState};
use pcap_file::pcapng::{Block, PcapNgReader};

use super::*;
use crate::memory;
use crate::testing::{addresses, bytes, header, parse, tcp_packet};

/// Time in nanoseconds, direction flags, comment, packet.
type Record = (u128, u32, Option<String>, Vec<u8>);

fn read(file: &[u8]) -> Vec<Record> {
    let mut reader = PcapNgReader::new(file).unwrap();
    let mut records = Vec::new();
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.unwrap() else { continue };
        let mut flags = 0;
        let mut comment = None;
        for option in &packet.options {
            match option {
                EnhancedPacketOption::Flags(value) => flags = *value,
                EnhancedPacketOption::Comment(text) => comment = Some(text.to_string()),
                other => panic!("unexpected option {other:?}"),
            }
        }
        records.push((packet.timestamp.as_nanos(), flags, comment, packet.data.to_vec()));
    }
    records
}

fn shared() -> SharedWriter<Vec<u8>> {
    Arc::new(Mutex::new(PcapngWriter::new(Vec::new(), "test0").unwrap()))
}

#[test]
fn offloaded_packets_are_written_as_on_a_wire_in_both_directions() {
    let caps = Capabilities { mtu: 1500, tx_checksum: true, tx_gso_v4: 65535, tx_gso_v6: 65535 };
    let (a, mut b) = memory::pair(caps, caps);
    let writer = shared();
    let clock: Clock = Arc::new(|| Duration::new(1_700_000_000, 123_456_789));
    let mut a = Capture::new(a, Arc::clone(&writer), clock);
    let (src, dst) = addresses(true);
    let (meta, packet) = tcp_packet(src, dst, &header(5), &bytes(2500), 1000);
    let mut once = Some(());
    let mut fill = |frame: &mut [u8]| {
        once.take()?;
        frame[..packet.len()].copy_from_slice(&packet);
        Some((packet.len(), meta))
    };
    a.transmit(&mut fill).unwrap();
    let mut crossed = None;
    b.receive(1, &mut |meta, packet| crossed = Some((*meta, packet.to_vec()))).unwrap();
    assert_eq!(crossed, Some((meta, packet.clone())), "the capture changes nothing");

    let mut answer = Some(vec![0x45; 60]);
    b.transmit(&mut |frame| {
        let packet = answer.take()?;
        frame[..60].copy_from_slice(&packet);
        Some((60, PacketMeta::default()))
    })
    .unwrap();
    assert_eq!(a.receive(8, &mut |_, _| {}).unwrap(), 1);
    assert!(a.take_error().is_none());

    let records = read(writer.lock().unwrap().inner.get_ref());
    assert_eq!(records.len(), 4);
    let mut joined = Vec::new();
    for (index, (time, flags, comment, packet)) in records[..3].iter().enumerate() {
        assert_eq!((*time, *flags), (1_700_000_000_123_456_789, 2));
        let expected = format!("segment {} of 3 of one offloaded packet", index + 1);
        assert_eq!(comment.as_deref(), Some(expected.as_str()));
        joined.extend_from_slice(parse(packet).1.payload);
    }
    assert_eq!(joined, bytes(2500));
    assert_eq!(records[3], (1_700_000_000_123_456_789, 1, None, vec![0x45; 60]));
}

#[test]
fn packet_that_does_not_fit_its_meta_is_written_with_a_comment() {
    let writer = shared();
    let clock: Clock = Arc::new(|| Duration::ZERO);
    let mut tee = Tee { writer: Arc::clone(&writer), clock, frame: Vec::new(), failed: false, error: None };
    let meta = PacketMeta { checksum: ChecksumState::Partial { start: 20, offset: 16 }, gso: None };
    tee.packet(Direction::In, &meta, &[0x45; 20]);
    let records = read(writer.lock().unwrap().inner.get_ref());
    assert_eq!(records[0].2.as_deref(), Some("checksum field lies outside of the packet"));
}

#[test]
fn network_goes_on_when_the_disk_is_full() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert!(PcapngWriter::new(Full, "test0").is_err());

    /// Takes the headers of the file and no packet.
    struct AlmostFull(usize);
    impl Write for AlmostFull {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (a, mut b) = memory::pair(Capabilities::plain(1500), Capabilities::plain(1500));
    let writer = Arc::new(Mutex::new(PcapngWriter::new(AlmostFull(100), "test0").unwrap()));
    let mut a = Capture::new(a, writer, Arc::new(|| Duration::ZERO));
    let mut left = 3;
    a.transmit(&mut |_| {
        left = u32::checked_sub(left, 1)?;
        Some((100, PacketMeta::default()))
    })
    .unwrap();
    assert_eq!(b.receive(8, &mut |_, _| {}).unwrap(), 3);
    assert_eq!(a.take_error().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
    assert!(a.take_error().is_none());
}

#[test]
fn long_comment_is_cut_at_a_character() {
    let mut writer = PcapngWriter::new(Vec::new(), "test0").unwrap();
    let comment = "\u{e9}".repeat(40_000);
    writer.write(1, Direction::Out, &[0x45; 20], Some(&comment)).unwrap();
    let records = read(&writer.into_inner());
    assert_eq!(records[0].2.as_ref().map(String::len), Some(65534));
}

#[test]
fn note_is_a_journal_entry_on_one_line() {
    let mut writer = PcapngWriter::new(Vec::new(), "test0").unwrap();
    writer.note(1_700_000_000_123_456_789, "lastack", "#1 opened\nby curl").unwrap();
    writer.write(1_700_000_000_123_456_790, Direction::Out, &[0x45; 20], None).unwrap();
    let file = writer.into_inner();
    let mut reader = PcapNgReader::new(&file[..]).unwrap();
    let mut notes = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::SystemdJournalExport(entry) = block.unwrap() {
            notes.push(String::from_utf8(entry.journal_entry.to_vec()).unwrap());
        }
    }
    let [note] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!(
        note.trim_end_matches('\0'),
        "__REALTIME_TIMESTAMP=1700000000123456\nPRIORITY=6\nSYSLOG_IDENTIFIER=lastack\nMESSAGE=#1 opened by curl\n"
    );
    assert_eq!(read(&file).len(), 1, "packets are found as before");
}
