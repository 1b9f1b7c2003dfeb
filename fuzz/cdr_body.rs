//! What must hold of the reader of CDR, for any message and any order of reads: it gives what the layout says, worked out here once more,
//! and refuses what does not lie in the message.

use super::CdrReader;

/// How many reads, which, and the message.
pub(crate) fn example() -> Vec<u8> {
    let little = [0, 1, 0, 0, 7, 9, 9, 9, 2, 0, 0, 0, b'a', 0, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F];
    [&[3, 0, 5, 3][..], &little].concat()
}

pub(crate) fn cdr(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else { return };
    let (reads, message) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let layout = match message {
        [0, order @ (0 | 1), _, _, body @ ..] => Some(Layout { body, at: 0, is_big_endian: *order == 0 }),
        _ => None,
    };
    let reader = CdrReader::new(message).ok();
    assert_eq!(reader.is_some(), layout.is_some());
    let (Some(mut reader), Some(mut layout)) = (reader, layout) else { return };
    // Who could not read one thing reads no other.
    let _ = reads.iter().try_for_each(|read| {
        let (read, wanted) = match read % 7 {
            0 => (reader.u8().ok().map(|value| vec![value]), layout.number(1)),
            1 => (reader.u32().ok().map(|value| value.to_le_bytes().to_vec()), layout.number(4)),
            2 => (reader.i32().ok().map(|value| value.to_le_bytes().to_vec()), layout.number(4)),
            3 => (reader.f64().ok().map(|value| value.to_le_bytes().to_vec()), layout.number(8)),
            4 => {
                let values = reader.f64s::<3>().ok().map(|values| values.map(f64::to_le_bytes).concat());
                (values, (0..3).map(|_| layout.number(8)).collect::<Option<Vec<_>>>().map(|values| values.concat()))
            }
            5 => (reader.text().ok().map(|text| text.as_bytes().to_vec()), layout.text()),
            _ => (reader.bytes().ok().map(<[u8]>::to_vec), layout.sequence()),
        };
        assert_eq!(read, wanted);
        wanted.map(|_| ())
    });
}

/// The layout in the simplest words: a number lies at the next multiple of its size, a sequence behind its length.
struct Layout<'a> {
    body: &'a [u8],
    at: usize,
    is_big_endian: bool,
}

impl Layout<'_> {
    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let bytes: Vec<u8> = self.body.iter().skip(self.at).take(count).copied().collect();
        self.at += count;
        (bytes.len() == count).then_some(bytes)
    }

    /// Lowest byte first.
    fn number(&mut self, size: usize) -> Option<Vec<u8>> {
        while !self.at.is_multiple_of(size) {
            self.at += 1;
        }
        let mut bytes = self.take(size)?;
        if self.is_big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn sequence(&mut self) -> Option<Vec<u8>> {
        let length = self.number(4)?.iter().rev().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        self.take(length)
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.sequence()?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        String::from_utf8(bytes).ok().map(String::into_bytes)
    }
}
