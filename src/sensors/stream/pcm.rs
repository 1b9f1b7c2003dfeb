//! Sound out of a stream of bytes: one channel of interleaved samples.

use crate::sensors::settings::PcmEncoding;

/// Takes interleaved samples apart. A sample may be cut anywhere between two pushes.
#[derive(Debug)]
pub struct PcmSplitter {
    encoding: PcmEncoding,
    channels: usize,
    channel: usize,
    rest: Vec<u8>,
}

impl PcmSplitter {
    /// For `channels` channels, of which `channel` (from 0) is taken.
    #[must_use]
    pub fn new(encoding: PcmEncoding, channels: u16, channel: u16) -> Self {
        Self { encoding, channels: usize::from(channels.max(1)), channel: usize::from(channel), rest: Vec::new() }
    }

    /// The values of the channel in what is whole now: [-1, 1] of integers, as they are of floats.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<f32> {
        self.rest.extend_from_slice(bytes);
        let width = match self.encoding {
            PcmEncoding::S16Le => 2,
            PcmEncoding::F32Le => 4,
        };
        let moment = width * self.channels;
        let whole = self.rest.len() / moment * moment;
        let place = self.channel * width;
        let value = |moment: &[u8]| match *moment.get(place..place + width)? {
            [low, high] => Some(f32::from(i16::from_le_bytes([low, high])) / 32_768.0),
            [a, b, c, d] => Some(f32::from_le_bytes([a, b, c, d])),
            _ => None,
        };
        let values = self.rest.get(..whole).unwrap_or_default().chunks_exact(moment).filter_map(value).collect();
        self.rest.drain(..whole);
        values
    }
}

#[cfg(test)]
#[path = "../../../fuzz/pcm_body.rs"]
mod body;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_and_floats_reach_from_minus_one_to_one() {
        let stereo: Vec<u8> = [0i16, 16_384, 0, -32_768, 0, 8192].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(PcmSplitter::new(PcmEncoding::S16Le, 2, 1).push(&stereo), [0.5, -1.0, 0.25]);
        let floats: Vec<u8> = [0.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(PcmSplitter::new(PcmEncoding::F32Le, 1, 0).push(&floats), [0.5, -2.0]);
    }

    proptest! {
        /// The body of the fuzzing target: any encoding and channels, cut anywhere.
        #[test]
        fn one_channel_is_taken_wherever_the_bytes_are_cut(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            body::pcm(&body::example());
            body::pcm(&bytes);
        }
    }
}
