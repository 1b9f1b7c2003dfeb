//! The buffer of a parser: where in the stream it stands, and the walk from packet to packet.

/// What stands at the front of the bytes that a parser looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A packet of this many bytes, which was taken.
    Whole(usize),
    /// No packet begins here.
    Nothing,
    /// What looked like a packet is none. Its header was chance, or bytes were lost inside: the next may begin within it.
    Refused,
    /// A packet may begin here; more bytes will tell.
    Partial,
}

/// Bytes that wait to become a packet.
#[derive(Debug, Default)]
pub(super) struct Framer {
    buffer: Vec<u8>,
    /// Bytes taken off the front of the buffer so far.
    passed: u64,
    refused: u64,
}

impl Framer {
    /// Adds bytes and walks over what is there. `look` gets the place of the first byte in the stream and all bytes from there.
    pub(super) fn push(&mut self, bytes: &[u8], mut look: impl FnMut(u64, &[u8]) -> Step) {
        self.buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(rest) = self.buffer.get(at..).filter(|rest| !rest.is_empty()) {
            match look(self.passed + at as u64, rest) {
                Step::Whole(length) => at += length.clamp(1, rest.len()),
                Step::Nothing => at += 1,
                Step::Refused => {
                    self.refused += 1;
                    at += 1;
                }
                Step::Partial => break,
            }
        }
        self.buffer.drain(..at);
        self.passed += at as u64;
    }

    /// The place in the stream of the first byte that still waits.
    pub(super) const fn needed_from(&self) -> u64 {
        self.passed
    }

    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }
}

/// The sum of bytes, modulo 256.
pub(super) fn sum8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Whether `header` stands anywhere in `bytes`: in the data of a frame it tells that bytes were lost and the next frame began.
pub(super) fn holds(bytes: &[u8], header: &[u8]) -> bool {
    bytes.windows(header.len().max(1)).any(|window| window == header)
}
