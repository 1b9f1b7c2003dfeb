//! The body of an HTTP/1.1 answer in chunks (RFC 9112, section 7.1): what an ESP32 camera sends without being asked.

/// Longest line with a chunk's size, extensions included.
const MOST_LINE_BYTES: usize = 256;

/// A chunk's size that is none.
#[derive(Debug, PartialEq, Eq)]
pub struct BadChunk;

impl std::fmt::Display for BadChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the HTTP stream is damaged: a chunk begins without its size")
    }
}

impl std::error::Error for BadChunk {}

/// Takes the chunks' frames off.
#[derive(Debug, Default)]
pub struct ChunkedBody {
    place: Place,
    line: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    /// In the line with the next chunk's size, or before it the end of the last chunk.
    #[default]
    Line,
    /// In a chunk of which this many bytes are to come.
    Chunk(usize),
    /// Behind the last chunk.
    End,
}

impl ChunkedBody {
    /// Takes bytes and gives the body's among them to `give`, piece by piece.
    ///
    /// # Errors
    /// When a chunk has no size; nothing can be read on after this.
    pub fn push(&mut self, mut bytes: &[u8], mut give: impl FnMut(&[u8])) -> Result<(), BadChunk> {
        while let Some((first, rest)) = bytes.split_first() {
            match self.place {
                Place::End => return Ok(()),
                Place::Chunk(left) => {
                    let (piece, after) = bytes.split_at(left.min(bytes.len()));
                    give(piece);
                    bytes = after;
                    let left = left - piece.len();
                    self.place = if left == 0 { Place::Line } else { Place::Chunk(left) };
                }
                Place::Line => {
                    bytes = rest;
                    match first {
                        b'\n' => self.end_line()?,
                        _ if self.line.len() == MOST_LINE_BYTES => return Err(BadChunk),
                        byte => self.line.push(*byte),
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the last chunk was seen.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.place == Place::End
    }

    fn end_line(&mut self) -> Result<(), BadChunk> {
        let line = std::mem::take(&mut self.line);
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        // The line's end behind a chunk.
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let size = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        self.place = match size.ok_or(BadChunk)? {
            0 => Place::End,
            size => Place::Chunk(size),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), BadChunk> {
        let (mut chunked, mut out) = (ChunkedBody::default(), Vec::new());
        for piece in pieces {
            chunked.push(piece, |bytes| out.extend_from_slice(bytes))?;
        }
        Ok((out, chunked.has_ended()))
    }

    const WIRE: &[u8] = b"4\r\nWiki\r\nA;name=value\r\npedia in \n\r\n0\r\n\r\nbehind";

    #[test]
    fn a_split_at_every_byte_gives_the_same() {
        for cut in 0..=WIRE.len() {
            assert_eq!(body(&[&WIRE[..cut], &WIRE[cut..]]), Ok((b"Wikipedia in \n".to_vec(), true)), "{cut}");
        }
    }

    #[test]
    fn what_has_no_size_is_refused() {
        assert_eq!(body(&[b"nine\r\n"]), Err(BadChunk));
        assert_eq!(body(&[b"ffffffffffffffffffff\r\n"]), Err(BadChunk));
        assert_eq!(body(&[&[b'1'; 300]]), Err(BadChunk));
    }
}
