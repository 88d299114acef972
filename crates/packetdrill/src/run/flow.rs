//! Connections of a script, and the way from its numbers to those on the wire.

use std::collections::BTreeMap;

/// What is added to the peer's numbers of a script.
const REMOTE_OFFSET: u32 = 0x1234_5678;
/// The same for the stack's numbers, as long as the stack has not chosen an initial number: then a RST that answers an ACK,
/// and one that has no number to go by (0), both are what they seem.
const LOCAL_GUESS: u32 = 0;

/// A connection.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// Port of the stack; unknown until it has sent the SYN.
    pub(super) local_port: Option<u16>,
    pub(super) remote_port: u16,
    /// The script names its ports: it is kept when another connection begins.
    pub(super) named: bool,
    /// On the wire minus in the script, for the stack's numbers.
    local_offset: Option<u32>,
    /// Timestamps of the stack: in the script, and on the wire.
    timestamps: BTreeMap<u32, u32>,
    /// The first of them.
    first_timestamp: Option<(u32, u32)>,
}

impl Flow {
    pub(super) fn new(local_port: Option<u16>, remote_port: u16, named: bool) -> Self {
        Self {
            local_port,
            remote_port,
            named,
            local_offset: None,
            timestamps: BTreeMap::new(),
            first_timestamp: None,
        }
    }

    /// The stack's number on the wire.
    pub(super) fn local(&self, script: u32) -> u32 {
        script.wrapping_add(self.local_offset.unwrap_or(LOCAL_GUESS))
    }

    /// The stack's number in the script.
    pub(super) fn local_in_script(&self, wire: u32) -> u32 {
        wire.wrapping_sub(self.local_offset.unwrap_or(LOCAL_GUESS))
    }

    /// The peer's number on the wire.
    pub(super) fn remote(script: u32) -> u32 {
        script.wrapping_add(REMOTE_OFFSET)
    }

    /// The peer's number in the script.
    pub(super) fn remote_in_script(wire: u32) -> u32 {
        wire.wrapping_sub(REMOTE_OFFSET)
    }

    /// The first SYN of the stack says where it begins.
    pub(super) fn learn(&mut self, wire: u32, script: u32) {
        self.local_offset.get_or_insert(wire.wrapping_sub(script));
    }

    /// The stack sent this timestamp where the script has that.
    pub(super) fn note_timestamp(&mut self, script: u32, wire: u32) {
        self.timestamps.insert(script, wire);
        self.first_timestamp.get_or_insert((script, wire));
    }

    /// The stack's timestamp on the wire; 0 is 0. With a `tick` in microseconds of the script (the wire counts
    /// milliseconds), times that were never seen are known too.
    pub(super) fn timestamp(&self, script: u32, tick: i64) -> Option<u32> {
        if script == 0 {
            return Some(0);
        }
        let seen = self.timestamps.get(&script).copied();
        seen.or_else(|| if tick > 0 { self.timestamp_at(script, tick) } else { None })
    }

    /// What a timestamp should be if the stack's clock has this tick.
    pub(super) fn timestamp_at(&self, script: u32, tick: i64) -> Option<u32> {
        let (first, wire) = self.first_timestamp?;
        let ticks = i64::from(script.wrapping_sub(first).cast_signed());
        Some(wire.wrapping_add((ticks * tick / 1000) as u32))
    }
}
