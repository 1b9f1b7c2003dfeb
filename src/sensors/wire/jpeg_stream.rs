//! JPEG pictures out of a stream of bytes: MJPEG of a program, or the parts of an HTTP stream with their headers between them.
//!
//! A picture is followed marker by marker, so that a thumbnail inside it ends nothing. Whatever stands between pictures is skipped;
//! a picture that breaks off is left out and the next one found. The data of pictures is not decoded here.

use super::WireParser;

/// More than any camera's picture; a stream that is none must not fill the memory.
const MOST_BYTES: usize = 32 << 20;

const START: [u8; 3] = [0xff, 0xd8, 0xff];

/// One picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JpegPicture {
    /// Place of its first byte, counted from the first byte ever pushed.
    pub offset: u64,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Finds pictures in what is pushed.
#[derive(Debug, Default)]
pub struct JpegSplitter {
    /// From the start of the picture that is followed, or the little that may become one.
    buffer: Vec<u8>,
    /// Place of the buffer's first byte.
    offset: u64,
    /// How far in the buffer the picture was followed.
    at: usize,
    place: Place,
    refused: u64,
}

/// Where in a picture `at` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// In none.
    #[default]
    Between,
    /// At a marker.
    Marker,
    /// In the data of a scan.
    Scan,
}

/// What following a picture came to.
enum Step {
    On(Place, usize),
    /// The picture ends before this place.
    End(usize),
    /// More bytes are needed.
    More,
    /// No picture; the next may begin here.
    Broken(usize),
}

impl WireParser for JpegSplitter {
    type Found = JpegPicture;

    fn push(&mut self, bytes: &[u8]) -> Vec<JpegPicture> {
        self.buffer.extend_from_slice(bytes);
        let mut found = Vec::new();
        loop {
            match self.step() {
                Step::On(place, next) => (self.place, self.at) = (place, next),
                Step::End(end) => {
                    let bytes = self.buffer.get(..end).unwrap_or_default().to_vec();
                    found.push(JpegPicture { offset: self.offset, bytes });
                    self.begin_again(end);
                }
                Step::Broken(next) => {
                    self.refused += 1;
                    self.begin_again(next);
                }
                Step::More if self.buffer.len() > MOST_BYTES => {
                    self.refused += 1;
                    self.begin_again(START.len() - 1);
                }
                Step::More => return found,
            }
        }
    }

    fn needed_from(&self) -> u64 {
        self.offset
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

impl JpegSplitter {
    /// Passes over the first bytes of the buffer.
    fn forget(&mut self, bytes: usize) {
        self.offset += self.buffer.drain(..bytes.min(self.buffer.len())).len() as u64;
    }

    fn begin_again(&mut self, from: usize) {
        self.forget(from);
        (self.place, self.at) = (Place::Between, 0);
    }

    fn step(&mut self) -> Step {
        match self.place {
            Place::Between => self.find_start(),
            Place::Marker => self.pass_marker(),
            Place::Scan => self.pass_scan(),
        }
    }

    fn find_start(&mut self) -> Step {
        if let Some(start) = self.buffer.windows(START.len()).position(|three| three == START) {
            self.forget(start);
            // The first marker after the start is the third byte's.
            return Step::On(Place::Marker, 2);
        }
        let rest = self.buffer.len().saturating_sub(START.len() - 1);
        self.forget(rest);
        Step::More
    }

    fn pass_marker(&self) -> Step {
        let at = self.at;
        let Some([first, kind]) = self.buffer.get(at..at + 2) else { return Step::More };
        match (*first, *kind) {
            // Fill bytes.
            (0xff, 0xff) => Step::On(Place::Marker, at + 1),
            // Markers that stand alone.
            (0xff, 0x01 | 0xd0..=0xd7) => Step::On(Place::Marker, at + 2),
            (0xff, 0xd9) => Step::End(at + 2),
            // Another picture begins: this one broke off.
            (0xff, 0xd8) => Step::Broken(at),
            (0xff, kind) if kind != 0 => {
                let Some([high, low]) = self.buffer.get(at + 2..at + 4) else { return Step::More };
                match usize::from(u16::from_be_bytes([*high, *low])) {
                    0 | 1 => Step::Broken(2),
                    length if kind == 0xda => Step::On(Place::Scan, at + 2 + length),
                    length => Step::On(Place::Marker, at + 2 + length),
                }
            }
            _ => Step::Broken(2),
        }
    }

    fn pass_scan(&self) -> Step {
        let Some(scan) = self.buffer.get(self.at..) else { return Step::More };
        let is_end = |pair: &[u8]| matches!(*pair, [0xff, next] if next != 0 && !(0xd0..=0xd7).contains(&next));
        match scan.windows(2).position(is_end) {
            Some(end) => Step::On(Place::Marker, self.at + end),
            None => {
                // The last byte may be the first half of a marker.
                let passed = self.at + scan.len().saturating_sub(1);
                if passed > self.at { Step::On(Place::Scan, passed) } else { Step::More }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::Picture;

    fn jpeg(seed: u8) -> Vec<u8> {
        let rgb = (0..48 * 32 * 3).map(|i: u32| (i as u8).wrapping_mul(seed | 1) ^ (i >> 5) as u8).collect();
        Picture { width: 48, height: 32, rgb }.to_jpeg(70).unwrap()
    }

    /// A picture with another one, whole, in an application segment.
    fn with_thumbnail() -> Vec<u8> {
        let (outer, inner) = (jpeg(5), jpeg(9));
        let length = (inner.len() as u16 + 2).to_be_bytes();
        [&outer[..2], &[0xff, 0xe1], &length, &inner, &outer[2..]].concat()
    }

    fn split(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = JpegSplitter::default();
        pieces.iter().flat_map(|piece| splitter.push(piece)).map(|picture| picture.bytes).collect()
    }

    #[test]
    fn pictures_are_found_between_anything() {
        let stream = [
            b"--frame\r\nContent-Type: image/jpeg\r\n\r\n",
            &*jpeg(3),
            b"\r\n--frame\r\n\xff\xd8",
            &with_thumbnail(),
            &[0; 9],
        ];
        assert_eq!(split(&[&stream.concat()]), [jpeg(3), with_thumbnail()]);
    }

    #[test]
    fn a_picture_has_the_place_of_its_first_byte() {
        let (picture, mut splitter) = (jpeg(3), JpegSplitter::default());
        let found = [
            splitter.push(&[b"12345", &picture[..200]].concat()),
            splitter.push(&[&picture[200..], &picture].concat()),
        ];
        let offsets: Vec<u64> = found.concat().iter().map(|picture| picture.offset).collect();
        assert_eq!(offsets, [5, 5 + picture.len() as u64]);
        assert_eq!(splitter.needed_from(), 5 + 2 * picture.len() as u64);
    }

    #[test]
    fn a_broken_picture_is_left_out_and_the_next_one_found() {
        let whole = jpeg(7);
        for cut in [3, 21, 100, whole.len() - 1] {
            assert_eq!(split(&[&[&whole[..cut], &whole, &whole].concat()]).last(), Some(&whole), "{cut}");
        }
        let mut no_length = whole.clone();
        no_length.splice(2..6, [0xff, 0xe0, 0, 0]);
        assert_eq!(split(&[&[no_length, whole.clone()].concat()]), [whole]);
    }

    #[test]
    fn what_never_ends_does_not_fill_the_memory() {
        let mut splitter = JpegSplitter::default();
        splitter.push(&jpeg(3)[..400]);
        for _ in 0..100 {
            assert_eq!(splitter.push(&[7; 1 << 20]), []);
            assert!(splitter.buffer.len() <= MOST_BYTES + (1 << 20));
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same(cuts in proptest::collection::vec(1usize..700, 1..30), noise in proptest::collection::vec(0u8..0xff, 0..60)) {
            let stream = [&*noise, &jpeg(3), &noise, &with_thumbnail(), &jpeg(8)].concat();
            let (mut rest, mut pieces) = (&stream[..], Vec::new());
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(split(&pieces), [jpeg(3), with_thumbnail(), jpeg(8)]);
        }

        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..3000), flips in proptest::collection::vec((0usize..1500, any::<u8>()), 0..20)) {
            let mut damaged = jpeg(3);
            for (at, value) in flips {
                if let Some(byte) = damaged.get_mut(at) {
                    *byte = value;
                }
            }
            // A damaged length may swallow 64 KiB before it shows.
            let whole = jpeg(8).repeat(70_000 / jpeg(8).len() + 2);
            let found = split(&[&bytes, &damaged, &whole]);
            prop_assert_eq!(found.last(), Some(&jpeg(8)));
        }
    }

    #[test]
    fn a_split_at_every_byte_gives_the_same() {
        let stream = [jpeg(3), with_thumbnail()].concat();
        for cut in 0..stream.len() {
            assert_eq!(split(&[&stream[..cut], &stream[cut..]]), [jpeg(3), with_thumbnail()], "{cut}");
        }
    }
}
