//! Sounds, and decoding of WAV, Ogg Vorbis, MP3 and FLAC files.

use std::io::{Cursor, ErrorKind};
use std::path::Path;

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use super::{MediaError, read};

const WHAT: &str = "sound";
const KNOWN: &str = "no WAV, Ogg Vorbis, MP3 or FLAC";
/// An hour at 48 kHz: prompts and test files are far shorter, and a damaged header must not fill the memory.
const MAX_SAMPLES: usize = 48_000 * 3_600;

/// A mono sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// Samples in [-1, 1]; channel 0 of what the file held.
    pub samples: Vec<f32>,
}

impl Sound {
    /// Length in seconds.
    #[must_use]
    pub fn secs(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.sample_rate_hz)
    }

    /// Reads and decodes a sound file.
    ///
    /// # Errors
    /// When it cannot be read, is no sound, or holds no sample.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        Self::from_bytes(read(path)?)
    }

    /// Decodes a sound file's bytes. What a damaged end leaves readable is kept; channel 0 alone is kept, as ImageBind does.
    ///
    /// # Errors
    /// When they are no sound, hold no sample, or a sample that is not finite.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, MediaError> {
        if bytes.is_empty() {
            return Err(MediaError::Empty(WHAT));
        }
        let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
        let (format_options, metadata_options) = (FormatOptions::default(), MetadataOptions::default());
        let mut format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, format_options, metadata_options)
            .map_err(|why| match why {
                // Nothing knew it.
                Error::Unsupported(_) => MediaError::malformed(WHAT, KNOWN),
                other => MediaError::malformed(WHAT, format!("{KNOWN} ({other})")),
            })?;
        let (track, mut decoder) = audio_track(format.as_ref())?;
        let sound = decode_track(format.as_mut(), track, decoder.as_mut())?;
        if sound.samples.is_empty() {
            return Err(MediaError::Empty(WHAT));
        }
        match sound.samples.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(MediaError::malformed(WHAT, format!("sample {at} is not a finite number"))),
            None => Ok(sound),
        }
    }
}

fn audio_track(format: &dyn FormatReader) -> Result<(u32, Box<dyn AudioDecoder>), MediaError> {
    let track =
        format.default_track(TrackType::Audio).ok_or_else(|| MediaError::malformed(WHAT, "it has no audio track"))?;
    let parameters = track.codec_params.as_ref().and_then(|p| p.audio());
    let parameters = parameters.ok_or_else(|| MediaError::malformed(WHAT, "its codec is not known"))?;
    let decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|why| MediaError::malformed(WHAT, why))?;
    Ok((track.id, decoder))
}

fn decode_track(
    format: &mut dyn FormatReader,
    track: u32,
    decoder: &mut dyn AudioDecoder,
) -> Result<Sound, MediaError> {
    let mut sound = Sound { sample_rate_hz: 0, samples: Vec::new() };
    let mut interleaved = Vec::<f32>::new();
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            // A chained stream starts over: what came before is the sound.
            Ok(None) | Err(Error::ResetRequired) => return Ok(sound),
            Err(Error::IoError(why)) if why.kind() == ErrorKind::UnexpectedEof => return Ok(sound),
            Err(why) => return Err(MediaError::malformed(WHAT, why)),
        };
        if packet.track_id != track {
            continue;
        }
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) => decoded,
            // One damaged packet: decoders find their way again with the next.
            Err(Error::DecodeError(_) | Error::IoError(_)) => continue,
            Err(why) => return Err(MediaError::malformed(WHAT, why)),
        };
        let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels().count().max(1));
        if rate == 0 || (sound.sample_rate_hz != 0 && sound.sample_rate_hz != rate) {
            return Err(MediaError::malformed(WHAT, format!("its sample rate is {rate} Hz in one part")));
        }
        sound.sample_rate_hz = rate;
        interleaved.clear();
        decoded.copy_to_vec_interleaved(&mut interleaved);
        sound.samples.extend(interleaved.iter().step_by(channels));
        if sound.samples.len() > MAX_SAMPLES {
            return Err(MediaError::malformed(WHAT, "it is longer than an hour"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 16-bit PCM WAV file.
    fn wav(rate: u32, channels: u16, values: &[i16]) -> Vec<u8> {
        let mut file = b"RIFF".to_vec();
        file.extend((36 + values.len() as u32 * 2).to_le_bytes());
        file.extend(b"WAVEfmt ");
        file.extend(16u32.to_le_bytes());
        file.extend(1u16.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(rate.to_le_bytes());
        file.extend((rate * u32::from(channels) * 2).to_le_bytes());
        file.extend((channels * 2).to_le_bytes());
        file.extend(16u16.to_le_bytes());
        file.extend(b"data");
        file.extend((values.len() as u32 * 2).to_le_bytes());
        file.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        file
    }

    #[test]
    fn channel_zero_of_a_wav_is_kept() {
        let sound = Sound::from_bytes(wav(16_000, 2, &[16_384, -1, -16_384, -2, 0, -3])).unwrap();
        assert_eq!((sound.sample_rate_hz, sound.samples), (16_000, vec![0.5, -0.5, 0.0]));
    }

    #[test]
    fn a_short_data_chunk_keeps_what_is_there() {
        let whole = wav(8_000, 1, &[1000; 800]);
        let sound = Sound::from_bytes(whole[..whole.len() - 400].to_vec()).unwrap();
        assert!((400..=600).contains(&sound.samples.len()), "{}", sound.samples.len());
    }

    #[test]
    fn what_is_no_sound_is_refused() {
        for bad in [vec![], b"RIFF".to_vec(), vec![7; 300], wav(16_000, 1, &[]), wav(16_000, 1, &[1])[..30].to_vec()] {
            assert!(Sound::from_bytes(bad).is_err());
        }
        let unknown = Sound::from_bytes(vec![7; 300]).unwrap_err().to_string();
        assert_eq!(unknown, "not a readable sound: no WAV, Ogg Vorbis, MP3 or FLAC");
    }
}
