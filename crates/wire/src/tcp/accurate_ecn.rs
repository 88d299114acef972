//! The option of Accurate ECN (RFC 9768 3.2.3): how many bytes of text came with each ECN field, modulo 2^24.

/// Order e0b, ceb, e1b.
pub(super) const ORDER_0: u8 = 172;
/// Order e1b, ceb, e0b: what is written, as Linux does it.
pub(super) const ORDER_1: u8 = 174;

/// Byte counters of 24 bits; those at the end of the option may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AccurateEcn {
    /// e1b, ceb, e0b.
    fields: [[u8; 3]; 3],
    /// Bit n: field n is there.
    present: u8,
}

impl AccurateEcn {
    /// The first `fields` of these counters, at most three, each modulo 2^24: bytes that came as ECT(1) plus one, bytes that
    /// came with a mark, bytes that came as ECT(0) plus one.
    #[must_use]
    pub fn new([e1b, ceb, e0b]: [u32; 3], fields: usize) -> Self {
        let field = |value: u32| {
            let [_, a, b, c] = value.to_be_bytes();
            [a, b, c]
        };
        let mut option = Self { fields: [field(e1b), field(ceb), field(e0b)], present: 0b111 };
        for left_out in fields..3 {
            option.fields[left_out] = [0; 3];
            option.present &= !(1 << left_out);
        }
        option
    }

    /// Reads what follows kind and length. `None` if it is not 0 to 3 counters.
    pub(super) fn parse(kind: u8, body: &[u8]) -> Option<Self> {
        let (read, rest) = body.as_chunks::<3>();
        if !rest.is_empty() || read.len() > 3 {
            return None;
        }
        let mut option = Self::default();
        for (at, field) in read.iter().enumerate() {
            let place = if kind == ORDER_0 { 2 - at } else { at };
            option.fields[place] = *field;
            option.present |= 1 << place;
        }
        Some(option)
    }

    fn field(&self, at: usize) -> Option<u32> {
        let [a, b, c] = self.fields[at];
        (self.present >> at & 1 == 1).then(|| u32::from_be_bytes([0, a, b, c]))
    }

    /// Bytes that came as ECT(1), plus one.
    #[must_use]
    pub fn e1b(&self) -> Option<u32> {
        self.field(0)
    }

    /// Bytes that came with a congestion mark.
    #[must_use]
    pub fn ceb(&self) -> Option<u32> {
        self.field(1)
    }

    /// Bytes that came as ECT(0), plus one.
    #[must_use]
    pub fn e0b(&self) -> Option<u32> {
        self.field(2)
    }

    /// Bytes in a header, padded: 4, 8 or 12.
    #[inline]
    pub(super) const fn emitted_len(&self) -> usize {
        [4, 8, 8, 12][self.present.count_ones() as usize & 3]
    }

    /// The words of the option, with no-operations behind it.
    pub(super) fn words(&self) -> impl Iterator<Item = [u8; 4]> + use<> {
        // Without the first field, but with the last, only the other order can say it.
        let first_order = self.present & 0b101 == 0b100;
        let mut fields = self.fields;
        if first_order {
            fields.reverse();
        }
        let count = self.present.count_ones() as usize;
        let mut bytes = [super::options::NOP; 12];
        bytes[0] = if first_order { ORDER_0 } else { ORDER_1 };
        bytes[1] = 2 + 3 * count as u8;
        for (place, byte) in bytes[2..].iter_mut().zip(fields.into_iter().take(count).flatten()) {
            *place = byte;
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        [[a, b, c, d], [e, f, g, h], [i, j, k, l]].into_iter().take(self.emitted_len() / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use super::*;

    fn written(options: &Options) -> ([u8; 40], usize) {
        let (mut area, len) = ([0; 40], options.emitted_len());
        options.emit(&mut area[..len]);
        (area, len)
    }

    #[test]
    fn both_orders_are_read_and_the_second_is_written() {
        let options = Options::parse(&[172, 11, 0, 0, 9, 0, 1, 0, 0, 0, 7, 1]);
        let option = options.accurate_ecn.unwrap();
        assert_eq!((option.e0b(), option.ceb(), option.e1b()), (Some(9), Some(256), Some(7)));
        let (area, len) = written(&options);
        assert_eq!(&area[..len], &[174, 11, 0, 0, 7, 0, 1, 0, 0, 0, 9, 1]);
        assert_eq!(Options::parse(&area[..len]), options);
        let short = Options::parse(&[174, 5, 0, 0, 1, 1, 1, 1]).accurate_ecn.unwrap();
        assert_eq!((short.e1b(), short.ceb(), short.e0b()), (Some(1), None, None));
        assert_eq!(Options::parse(&[172, 2, 1, 1]).accurate_ecn, Some(AccurateEcn::default()));
    }

    #[test]
    fn lengths_that_hold_no_whole_counters_are_malformed() {
        for len in [3, 4, 6, 7, 9, 10, 12, 14] {
            let mut area = [1; 16];
            (area[0], area[1]) = (174, len);
            let options = Options::parse(&area[..usize::from(len)]);
            assert!(options.malformed && options.accurate_ecn.is_none(), "{len}");
        }
    }

    #[test]
    fn it_stands_behind_the_timestamps_and_leaves_room_for_sack() {
        let mut options = Options {
            timestamps: Some((1, 2)),
            accurate_ecn: Some(AccurateEcn::new([1, 0x0100_0002, 3], 3)),
            ..Options::default()
        };
        options.sack.push(crate::SeqNumber(1), crate::SeqNumber(2));
        let (area, len) = written(&options);
        assert_eq!(len, 36);
        assert_eq!(&area[12..24], &[174, 11, 0, 0, 1, 0, 0, 2, 0, 0, 3, 1]);
        assert_eq!(&area[24..28], &[1, 1, 5, 10]);
        options.accurate_ecn = Some(AccurateEcn::new([1, 2, 3], 2));
        assert_eq!(written(&options).0[12..20], [174, 8, 0, 0, 1, 0, 0, 2]);
    }
}
