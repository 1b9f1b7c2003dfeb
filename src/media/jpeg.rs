//! JPEG files and MJPEG frames to RGB and back.
//!
//! The decoder is lenient about what cameras do (missing Huffman tables, zeros behind the end) and strict about an early end:
//! half a picture is never handed on as a whole one.

use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{MAX_SIDE_PX, MediaError, Picture};

const WHAT: &str = "JPEG picture";

const DEFINE_HUFFMAN_TABLES: u8 = 0xc4;
const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

pub(super) fn decode(bytes: &[u8]) -> Result<Picture, MediaError> {
    if bytes.is_empty() {
        return Err(MediaError::Empty(WHAT));
    }
    let layout = Layout::of(bytes)?;
    if layout.has_huffman_tables {
        return decode_whole(bytes);
    }
    let (head, scan) = bytes.split_at(layout.scan);
    decode_whole(&[head, &STANDARD_HUFFMAN_TABLES, scan].concat())
}

fn decode_whole(bytes: &[u8]) -> Result<Picture, MediaError> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(MAX_SIDE_PX as usize)
        .set_max_height(MAX_SIDE_PX as usize)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let rgb = decoder.decode().map_err(|why| MediaError::malformed(WHAT, why))?;
    let info = decoder.info().ok_or_else(|| MediaError::malformed(WHAT, "it has no size"))?;
    let picture = Picture { width: info.width.into(), height: info.height.into(), rgb };
    picture.check_size()?;
    match decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif)) {
        Some(orientation) => picture.turned(orientation),
        None => Ok(picture),
    }
}

pub(super) fn encode(picture: &Picture, quality: u8) -> Result<Vec<u8>, MediaError> {
    picture.check_size()?;
    let mut file = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, quality.clamp(1, 100))
        .encode(&picture.rgb, picture.width, picture.height, image::ExtendedColorType::Rgb8)
        .map_err(|why| MediaError::malformed("picture for JPEG", why))?;
    Ok(file)
}

/// Width and height that a JPEG's frame header (ITU-T T.81, B.2.2) tells.
#[must_use]
pub fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.strip_prefix(&[0xFF, 0xD8])?;
    loop {
        let [0xFF, marker, tail @ ..] = rest else { return None };
        match *marker {
            0xFF => rest = rest.get(1..)?,
            // Start of a frame of any coding; C4, C8 and CC are tables and reserved.
            0xC0..=0xCF if !matches!(*marker, 0xC4 | 0xC8 | 0xCC) => {
                let [_, _, _precision, h1, h0, w1, w0, ..] = *tail else { return None };
                let (width, height) = (u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into());
                return (width > 0 && height > 0).then_some((width, height));
            }
            0x01 | 0xD0..=0xD7 => rest = tail,
            _ => {
                let [l1, l0, ..] = *tail else { return None };
                rest = tail.get(usize::from(u16::from_be_bytes([l1, l0])).max(2)..)?;
            }
        }
    }
}

/// As [`jpeg_size`], of a picture whose end is there too.
pub(super) fn whole_size(bytes: &[u8]) -> Result<(u32, u32), MediaError> {
    match bytes {
        [] => return Err(MediaError::Empty("picture")),
        [0xff, 0xd8, ..] => {}
        _ => return Err(MediaError::malformed("picture", super::picture::NEITHER)),
    }
    Layout::of(bytes)?;
    jpeg_size(bytes).ok_or_else(|| MediaError::malformed(WHAT, "it tells no size"))
}

/// What stands before the first scan.
struct Layout {
    /// Where the first scan's marker starts.
    scan: usize,
    has_huffman_tables: bool,
}

impl Layout {
    /// Walks the segments up to the first scan and looks for the end behind it.
    fn of(bytes: &[u8]) -> Result<Self, MediaError> {
        let early = || MediaError::malformed(WHAT, "it ends early");
        let (mut at, mut has_huffman_tables) = (2, false);
        loop {
            let [0xff, kind] = *bytes.get(at..at + 2).ok_or_else(early)? else {
                return Err(MediaError::malformed(WHAT, format!("no marker at byte {at}")));
            };
            match kind {
                // Fill bytes, and markers that stand alone.
                0xff => at += 1,
                0x01 | 0xd0..=0xd8 => at += 2,
                START_OF_SCAN => break,
                _ => {
                    has_huffman_tables |= kind == DEFINE_HUFFMAN_TABLES;
                    let [high, low] = *bytes.get(at + 2..at + 4).ok_or_else(early)? else { return Err(early()) };
                    at += 2 + usize::from(u16::from_be_bytes([high, low]));
                }
            }
        }
        // Scan data never holds the end marker: its 0xff bytes are stuffed. It is nearly always last.
        let ended = bytes.get(at..).is_some_and(|scan| scan.windows(2).rev().any(|pair| pair == END_OF_IMAGE));
        if ended { Ok(Self { scan: at, has_huffman_tables }) } else { Err(early()) }
    }
}

/// ITU-T T.81 annex K.3's tables as one segment, for MJPEG frames that leave them out.
#[rustfmt::skip]
const STANDARD_HUFFMAN_TABLES: [u8; 420] = [
    0xff, 0xc4, 0x01, 0xa2, 0x00, 0x00, 0x01, 0x05, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x02,
    0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x00, 0x02, 0x01, 0x03, 0x03, 0x02, 0x04, 0x03, 0x05, 0x05, 0x04, 0x04, 0x00, 0x00,
    0x01, 0x7d, 0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91,
    0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26,
    0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57,
    0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4,
    0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0x01, 0x00, 0x03, 0x01,
    0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a,
    0x0b, 0x11, 0x00, 0x02, 0x01, 0x02, 0x04, 0x04, 0x03, 0x04, 0x07, 0x05, 0x04, 0x04, 0x00, 0x01, 0x02, 0x77, 0x00, 0x01, 0x02, 0x03, 0x11, 0x04,
    0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33,
    0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36,
    0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66,
    0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94,
    0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba,
    0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7,
    0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
];

/// The file with a tag that says how its pixels are to be turned, 1 to 8, as phones write it.
#[cfg(test)]
pub(super) fn with_orientation(bytes: &[u8], orientation: u8) -> Vec<u8> {
    let exif = picture_exif(orientation);
    let length = 2 + 6 + exif.len() as u8;
    [&bytes[..2], &[0xff, 0xe1, 0, length], b"Exif\0\0", &exif, &bytes[2..]].concat()
}

/// EXIF of that tag alone; even orientations in the one order of bytes, odd ones in the other.
#[cfg(test)]
pub(super) fn picture_exif(orientation: u8) -> Vec<u8> {
    if orientation.is_multiple_of(2) {
        return [&b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation], &[0; 6]].concat();
    }
    [&b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[orientation], &[0; 7]].concat()
}

/// The file without its Huffman tables, as many cameras send it.
#[cfg(test)]
pub(super) fn without_huffman_tables(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (bytes[..2].to_vec(), 2);
    while bytes[at + 1] != START_OF_SCAN {
        let end = at + 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        if bytes[at + 1] != DEFINE_HUFFMAN_TABLES {
            out.extend(&bytes[at..end]);
        }
        at = end;
    }
    out.extend(&bytes[at..]);
    out
}
