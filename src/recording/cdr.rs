//! CDR, the encoding of ROS 2 messages: a pure reader over a buffer.
//!
//! OMG DDS-XTypes 7.4 (XCDR version 1, "plain CDR", either byte order), as rosbag2 stores messages: four bytes that name the encoding, then
//! values aligned to their own size, counted from behind those four.

/// Reads one message from its beginning to its end.
#[derive(Clone, Debug)]
pub(super) struct CdrReader<'a> {
    body: &'a [u8],
    at: usize,
    is_big_endian: bool,
}

impl<'a> CdrReader<'a> {
    /// A reader of a message.
    pub(super) fn new(message: &'a [u8]) -> Result<Self, String> {
        match message {
            [0, order @ (0 | 1), _, _, body @ ..] => Ok(Self { body, at: 0, is_big_endian: *order == 0 }),
            [a, b, _, _, ..] => Err(format!("it is encoded as {a:02x}{b:02x}; plain CDR (0000 or 0001) is read")),
            _ => Err("it is too short".to_owned()),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let bytes = self.at.checked_add(count).and_then(|end| self.body.get(self.at..end));
        let bytes = bytes.ok_or_else(|| "it ends too early".to_owned())?;
        self.at += count;
        Ok(bytes)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.at = self.at.next_multiple_of(N);
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        // Little-endian from here on.
        if self.is_big_endian {
            bytes.reverse();
        }
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, String> {
        self.number::<1>().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.number().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, String> {
        self.number().map(i32::from_le_bytes)
    }

    pub(super) fn f64(&mut self) -> Result<f64, String> {
        self.number().map(f64::from_le_bytes)
    }

    /// Several numbers, such as a vector or a covariance.
    pub(super) fn f64s<const N: usize>(&mut self) -> Result<[f64; N], String> {
        let mut numbers = [0.0; N];
        for number in &mut numbers {
            *number = self.f64()?;
        }
        Ok(numbers)
    }

    /// A text; its length counts a zero at its end.
    pub(super) fn text(&mut self) -> Result<&'a str, String> {
        let bytes = self.bytes()?;
        let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        std::str::from_utf8(text).map_err(|_not_a_text| "a text is not UTF-8".to_owned())
    }

    /// A sequence of bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.u32()? as usize;
        self.take(length)
    }
}

#[cfg(test)]
#[path = "../../fuzz/cdr_body.rs"]
mod body;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_aligned_behind_the_head_in_either_order() {
        let little = [0, 1, 0, 0, 7, 9, 9, 9, 2, 0, 0, 0, b'a', 0, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F];
        let big = [0, 0, 0, 0, 7, 9, 9, 9, 0, 0, 0, 2, b'a', 0, 9, 9, 9, 9, 9, 9, 0x3F, 0xF0, 0, 0, 0, 0, 0, 0];
        for message in [little, big] {
            let mut reader = CdrReader::new(&message).unwrap();
            assert_eq!(reader.u8(), Ok(7));
            assert_eq!(reader.text(), Ok("a"));
            assert_eq!(reader.f64(), Ok(1.0));
            assert!(reader.u8().is_err());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(CdrReader::new(&[0, 1, 0]).is_err());
        assert!(CdrReader::new(&[0, 7, 0, 0]).is_err());
        let mut reader = CdrReader::new(&[0, 1, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]).unwrap();
        assert!(reader.bytes().is_err());
    }

    proptest! {
        /// The body of the fuzzing target, on any bytes and on a good message with some of its bytes changed.
        #[test]
        fn reads_are_what_the_layout_says(
            bytes in prop::collection::vec(any::<u8>(), 0..100), reads in prop::collection::vec(any::<u8>(), 15),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), order in 0u8..2,
        ) {
            body::cdr(&bytes);
            body::cdr(&[&[15][..], &reads, &[0, order, 0, 0], &bytes].concat());
            let mut message = body::example();
            for (at, value) in flips {
                let place = at.index(message.len());
                message[place] = value;
            }
            body::cdr(&message);
        }
    }
}
