//! Heads of WAV files that do not say how long they are, for whoever wrote them into a pipe, or broke off, never came back to them.

use std::io::{self, Cursor, Read, Seek};

use symphonia::core::io::{MediaSource, ReadOnlySource};

/// A head is far smaller, also where texts stand before the samples.
const MOST_HEAD_BYTES: u64 = 65_536;
/// What is written into a pipe declares this many bytes or more: 2 GiB or 4 GiB, some with the head in it, some rounded to whole frames.
const PLACEHOLDER_BYTES: u32 = 0x7fff_0000;

/// The lengths in a WAV file's head.
#[derive(Clone, Copy)]
struct Lengths {
    riff: u32,
    data: u32,
    /// Where its samples begin, right behind the length of them.
    samples_at: usize,
}

impl Lengths {
    fn of(head: &[u8]) -> Option<Self> {
        let (riff, rest) = head.strip_prefix(b"RIFF")?.split_first_chunk::<4>()?;
        let mut chunks = rest.strip_prefix(b"WAVE")?;
        loop {
            let (name, rest) = chunks.split_first_chunk::<4>()?;
            let (length, body) = rest.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length);
            if name == b"data" {
                let samples_at = head.len() - body.len();
                return Some(Self { riff: u32::from_le_bytes(*riff), data: length, samples_at });
            }
            // What has an odd length is padded.
            chunks = body.get(usize::try_from(length).ok()?.checked_next_multiple_of(2)?..)?;
        }
    }

    /// Whether the samples' length was not known when it was written into a file, or pipe, of `file_bytes`.
    fn is_unknown(self, file_bytes: Option<u64>) -> bool {
        match self.data {
            // Without a sample, yet counted whole, it is what it says.
            0 => file_bytes.is_none_or(|bytes| u64::from(self.riff) + 8 != bytes),
            PLACEHOLDER_BYTES.. => file_bytes.is_none_or(|bytes| self.end() > bytes),
            _ => false,
        }
    }

    /// Where the samples end.
    fn end(self) -> u64 {
        self.samples_at as u64 + u64::from(self.data)
    }
}

/// `source`, whose samples last until its end if it is a WAV file whose head does not say how long it is; and whether it is one. The length of
/// all is not needed where that of the samples is known.
pub(super) fn with_known_length(mut source: Box<dyn MediaSource>) -> io::Result<(Box<dyn MediaSource>, bool)> {
    let mut head = Vec::new();
    source.by_ref().take(MOST_HEAD_BYTES).read_to_end(&mut head)?;
    let lengths = Lengths::of(&head);
    let is_unknown = lengths.is_some_and(|lengths| lengths.is_unknown(source.byte_len()));
    let is_short = lengths.is_some_and(|lengths| u64::from(lengths.riff) + 8 < lengths.end());
    if source.is_seekable() && !is_unknown && !is_short {
        source.rewind()?;
        return Ok((source, false));
    }
    if is_unknown || is_short {
        leave_open(head.get_mut(4..8));
    }
    if let Some(Lengths { samples_at, .. }) = lengths.filter(|_| is_unknown) {
        leave_open(head.get_mut(samples_at.saturating_sub(4)..samples_at));
    }
    Ok((Box::new(ReadOnlySource::new(Cursor::new(head).chain(source))), is_unknown))
}

/// What the decoder takes for "until the end".
fn leave_open(length: Option<&mut [u8]>) {
    if let Some(length) = length {
        length.copy_from_slice(&u32::MAX.to_le_bytes());
    }
}
