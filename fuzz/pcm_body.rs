//! What must hold of sound out of a stream of bytes: wherever it is cut, each whole moment gives the value of its channel, and no more than
//! a moment waits.

use super::{PcmEncoding, PcmSplitter};

/// Encoding and channels, the cut, and the sound.
pub(crate) fn example() -> Vec<u8> {
    let stereo = [0i16, 16_384, 0, -32_768, 0, 8192].map(i16::to_le_bytes).concat();
    [&[0b0001_0010, 100][..], &stereo].concat()
}

pub(crate) fn pcm(bytes: &[u8]) {
    let Some(([shape, cut], bytes)) = bytes.split_first_chunk() else { return };
    let (encoding, width) = if shape % 2 == 0 { (PcmEncoding::S16Le, 2) } else { (PcmEncoding::F32Le, 4) };
    let channels = 1 + u16::from(shape / 2 % 8);
    let channel = u16::from(shape / 16) % channels;
    let values = |pieces: &[&[u8]]| {
        let mut splitter = PcmSplitter::new(encoding, channels, channel);
        pieces.iter().flat_map(|piece| splitter.push(piece)).map(f32::to_bits).collect::<Vec<u32>>()
    };
    let (moment, place) = (width * usize::from(channels), width * usize::from(channel));
    let wanted: Vec<u32> = bytes.chunks_exact(moment).map(|moment| value(&moment[place..place + width])).collect();
    let (before, after) = bytes.split_at(usize::from(*cut) * bytes.len() / 256);
    assert_eq!(values(&[bytes]), wanted);
    assert_eq!(values(&[before, after]), wanted);
    assert_eq!(values(&bytes.chunks(1).collect::<Vec<_>>()), wanted);
    assert!(bytes.len() - wanted.len() * moment < moment);
}

fn value(bytes: &[u8]) -> u32 {
    match *bytes {
        [low, high] => (f32::from(i16::from_le_bytes([low, high])) / 32_768.0).to_bits(),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        _ => unreachable!("2 or 4 bytes"),
    }
}
