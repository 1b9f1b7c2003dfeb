//! Sounds, and decoding of WAV, Ogg Vorbis, MP3 and FLAC files.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::{FORMAT_ID_MP3, FORMAT_ID_OGG};
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::{MediaError, wav};

const WHAT: &str = "sound";
const KNOWN: &str = "no WAV, Ogg Vorbis, MP3 or FLAC: convert it, for example with `ffmpeg -i THE_SOUND new.wav`";
const CODING: &str = "its coding is not read, such as Opus, AAC or ADPCM; PCM, Vorbis, MP3 and FLAC are: convert it, for example with \
                      `ffmpeg -i THE_SOUND new.wav`";
/// For what ends early.
const ANEW: &str =
    "copy it anew, or, if what is there will do, make a sound of it, for example with `ffmpeg -i THE_SOUND new.wav`";
/// An hour at 48 kHz: prompts and test files are far shorter, and a damaged header must not fill the memory.
const MAX_SAMPLES: usize = 48_000 * 3_600;

/// A mono sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// Samples in [-1, 1].
    pub samples: Vec<f32>,
}

/// What becomes of several channels.
#[derive(Clone, Copy)]
enum Channels {
    Mean,
    First,
}

impl Sound {
    /// Length in seconds.
    #[must_use]
    pub fn secs(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.sample_rate_hz)
    }

    /// Reads and decodes a sound file, piece by piece. A damaged place is passed over, and a WAV file whose head was never finished lasts as long as
    /// there are samples. Several channels become their mean, as in the recipe of the
    /// reference pack: many a sound is panned to one side.
    ///
    /// # Errors
    /// When it cannot be read, is no sound, ends before its header says it does, holds no sample, or a sample that is not finite.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        Self::of_file(path, Channels::Mean)
    }

    /// The same of channel 0 alone, as of a microphone, whose channels differ in phase.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_first_channel(path: &Path) -> Result<Self, MediaError> {
        Self::of_file(path, Channels::First)
    }

    /// As [`Self::open`], of a sound file's bytes.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, MediaError> {
        if bytes.is_empty() {
            return Err(MediaError::Empty(WHAT));
        }
        Self::of_source(Box::new(Cursor::new(bytes)), Channels::Mean)
    }

    fn of_file(path: &Path, channels: Channels) -> Result<Self, MediaError> {
        let file = File::open(path).map_err(MediaError::Read)?;
        let metadata = file.metadata().map_err(MediaError::Read)?;
        if metadata.is_dir() {
            return Err(MediaError::Read(ErrorKind::IsADirectory.into()));
        }
        if metadata.is_file() && metadata.len() == 0 {
            return Err(MediaError::Empty(WHAT));
        }
        Self::of_source(Box::new(file), channels)
    }

    fn of_source(source: Box<dyn MediaSource>, channels: Channels) -> Result<Self, MediaError> {
        let (mut source, is_of_unknown_length) = wav::with_known_length(source).map_err(MediaError::Read)?;
        if source.is_seekable() && is_cut_ogg(&mut source).map_err(MediaError::Read)? {
            let why = format!("it ends early, its last page of Ogg is cut: {ANEW}");
            return Err(MediaError::malformed(WHAT, why));
        }
        let stream = MediaSourceStream::new(source, Default::default());
        let (format_options, metadata_options) = (FormatOptions::default(), MetadataOptions::default());
        let mut format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, format_options, metadata_options)
            .map_err(|why| match why {
                // Nothing knew it.
                Error::Unsupported(what) if what.starts_with("core (probe)") => MediaError::malformed(WHAT, KNOWN),
                Error::DecodeError(what) => MediaError::malformed(WHAT, format!("{what}; it is {KNOWN}")),
                other => refused(other),
            })?;
        let AudioTrack { id, declared, mut decoder } = audio_track(format.as_ref())?;
        let (sound, reached) = decode_track(format.as_mut(), id, decoder.as_mut(), channels)?;
        if sound.samples.is_empty() {
            return Err(MediaError::Empty(WHAT));
        }
        if let Some(declared) = declared.filter(|_| !is_of_unknown_length) {
            check_length(&sound, reached, declared)?;
        }
        match sound.samples.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(MediaError::malformed(WHAT, format!("sample {at} is not a finite number"))),
            None => Ok(sound),
        }
    }
}

/// Largest page of Ogg.
const MOST_PAGE_BYTES: u64 = 65_307;

/// Whether it is an Ogg stream whose last page is not all there. That the page is not marked as the stream's last says nothing: what was
/// taken down from a radio never is. Leaves `source` at its beginning.
fn is_cut_ogg(source: &mut (impl Read + Seek)) -> io::Result<bool> {
    let (mut magic, mut tail) = (Vec::new(), Vec::new());
    source.by_ref().take(4).read_to_end(&mut magic)?;
    if magic == *b"OggS" {
        let length = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(length.saturating_sub(MOST_PAGE_BYTES)))?;
        source.by_ref().take(MOST_PAGE_BYTES).read_to_end(&mut tail)?;
    }
    source.rewind()?;
    let last = tail.windows(4).rposition(|bytes| bytes == b"OggS");
    let Some(page) = last.and_then(|last| tail.get(last..)) else { return Ok(false) };
    // 26 bytes of head, then the lengths of the page's segments: how many, and each.
    let lengths = page.get(26).and_then(|count| page.get(27..27 + usize::from(*count)));
    let whole = lengths.map(|lengths| 27 + lengths.len() + lengths.iter().copied().map(usize::from).sum::<usize>());
    Ok(whole.is_none_or(|whole| page.len() < whole))
}

/// Refuses a sound that lacks more than a tenth of a second of the samples that its header declares; as much may be what encoders count
/// otherwise. Half a sound must not pass for the whole. No frame of MP3 tells its place, so that a hole is like an early end: of it, a fifth
/// may be missing.
fn check_length(sound: &Sound, reached: u64, declared: Declared) -> Result<(), MediaError> {
    let (rate, there) = (u64::from(sound.sample_rate_hz), reached.max(sound.samples.len() as u64));
    let may_lack = if declared.is_of_mp3 { (rate / 10).max(declared.samples / 5) } else { rate / 10 };
    if there.saturating_add(may_lack) >= declared.samples {
        return Ok(());
    }
    let secs = |samples: u64| samples as f64 / rate.max(1) as f64;
    let (there, all) = (secs(there), secs(declared.samples));
    let why = format!("it ends early or is damaged, {there:.1} s of {all:.1} s are there: {ANEW}");
    Err(MediaError::malformed(WHAT, why))
}

/// How many samples a header declares.
#[derive(Clone, Copy)]
struct Declared {
    samples: u64,
    is_of_mp3: bool,
}

/// The track of a file that is decoded.
struct AudioTrack {
    id: u32,
    declared: Option<Declared>,
    decoder: Box<dyn AudioDecoder>,
}

fn audio_track(format: &dyn FormatReader) -> Result<AudioTrack, MediaError> {
    let track =
        format.default_track(TrackType::Audio).ok_or_else(|| MediaError::malformed(WHAT, "it has no audio track"))?;
    let parameters = track.codec_params.as_ref().and_then(|p| p.audio());
    let parameters = parameters.ok_or_else(|| MediaError::malformed(WHAT, "its codec is not known"))?;
    let decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(refused)?;
    // Of MP3 without an encoder's tag the length is guessed; of Ogg it is that of what is there, and counts from where a stream was cut.
    let kind = format.format_info().format;
    let is_guessed = match kind {
        FORMAT_ID_MP3 => track.delay.is_none(),
        FORMAT_ID_OGG => true,
        _ => false,
    };
    let declared = track.num_frames.filter(|_| !is_guessed);
    let declared = declared.map(|samples| Declared { samples, is_of_mp3: kind == FORMAT_ID_MP3 });
    Ok(AudioTrack { id: track.id, declared, decoder })
}

fn refused(why: Error) -> MediaError {
    match why {
        Error::Unsupported(_) => MediaError::malformed(WHAT, CODING),
        Error::IoError(why) if why.kind() != ErrorKind::UnexpectedEof => MediaError::Read(why),
        other => MediaError::malformed(WHAT, other),
    }
}

/// The sound, and until which sample it reaches by what its packets say of their place: those that were damaged are passed over.
fn decode_track(
    format: &mut dyn FormatReader,
    track: u32,
    decoder: &mut dyn AudioDecoder,
    kept: Channels,
) -> Result<(Sound, u64), MediaError> {
    let (mut sound, mut reached) = (Sound { sample_rate_hz: 0, samples: Vec::new() }, 0);
    let end_of = |packet: &Packet, samples: u64| {
        u64::try_from(packet.pts.get()).map_or(0, |start| start.saturating_add(samples))
    };
    let mut interleaved = Vec::<f32>::new();
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            // A chained stream starts over: what came before is the sound.
            Ok(None) | Err(Error::ResetRequired) => return Ok((sound, reached)),
            Err(Error::IoError(why)) if why.kind() == ErrorKind::UnexpectedEof => return Ok((sound, reached)),
            Err(why) => return Err(refused(why)),
        };
        if packet.track_id != track {
            continue;
        }
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) => decoded,
            // One damaged packet: decoders find their way again with the next.
            Err(Error::DecodeError(_) | Error::IoError(_)) => {
                reached = reached.max(end_of(&packet, packet.dur.get()));
                continue;
            }
            Err(why) => return Err(refused(why)),
        };
        let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels().count().max(1));
        if rate == 0 || (sound.sample_rate_hz != 0 && sound.sample_rate_hz != rate) {
            return Err(MediaError::malformed(WHAT, format!("its sample rate is {rate} Hz in one part")));
        }
        sound.sample_rate_hz = rate;
        interleaved.clear();
        decoded.copy_to_vec_interleaved(&mut interleaved);
        reached = reached.max(end_of(&packet, (interleaved.len() / channels) as u64));
        match kept {
            Channels::First => sound.samples.extend(interleaved.iter().step_by(channels)),
            Channels::Mean => {
                let mean = |instant: &[f32]| instant.iter().sum::<f32>() / channels as f32;
                sound.samples.extend(interleaved.chunks_exact(channels).map(mean));
            }
        }
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
        pcm(rate, channels, values.iter().copied().map(i16::to_le_bytes).collect::<Vec<_>>().as_slice())
    }

    fn pcm<const BYTES: usize>(rate: u32, channels: u16, values: &[[u8; BYTES]]) -> Vec<u8> {
        let (bytes, frame) = (values.as_flattened(), channels * BYTES as u16);
        let mut file = b"RIFF".to_vec();
        file.extend((36 + bytes.len() as u32).to_le_bytes());
        file.extend(b"WAVEfmt ");
        file.extend(16u32.to_le_bytes());
        file.extend(1u16.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(rate.to_le_bytes());
        file.extend((rate * u32::from(frame)).to_le_bytes());
        file.extend(frame.to_le_bytes());
        file.extend((BYTES as u16 * 8).to_le_bytes());
        file.extend(b"data");
        file.extend((bytes.len() as u32).to_le_bytes());
        file.extend(bytes);
        file
    }

    #[test]
    fn several_channels_become_their_mean_or_the_first() {
        let panned = wav(16_000, 2, &[0, 16_384, 0, -16_384, 8_192, 0]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &panned).unwrap();
        let mean = Sound::from_bytes(panned).unwrap();
        assert_eq!((mean.sample_rate_hz, &mean.samples[..]), (16_000, &[0.25, -0.25, 0.125][..]));
        assert_eq!(Sound::open(file.path()).unwrap(), mean);
        assert_eq!(Sound::open_first_channel(file.path()).unwrap().samples, [0.0, 0.0, 0.25]);
    }

    /// The head of an IMA ADPCM file, which Windows' sound recorder writes.
    fn adpcm() -> Vec<u8> {
        let mut file = b"RIFF\x3c\x01\0\0WAVEfmt \x14\0\0\0\x11\0\x01\0".to_vec();
        file.extend([8_000u32, 4_055].map(u32::to_le_bytes).as_flattened());
        file.extend([256u16, 4, 2, 505].map(u16::to_le_bytes).as_flattened());
        file.extend(b"data\0\x01\0\0");
        file.extend([0; 256]);
        file
    }

    /// A page of an Ogg stream that holds one packet; its checksum, CRC-32 with ITU-T V.42's polynomial unreflected.
    fn ogg_page(kind: u8, seq: u8, packet: &[u8]) -> Vec<u8> {
        let head = [&b"OggS\0"[..], &[kind], &[0; 8], b"perc", &[seq, 0, 0, 0]].concat();
        let lengths = [1, packet.len() as u8];
        let bytes = [&head, &[0; 4][..], &lengths, packet].concat();
        let crc = bytes.iter().fold(0u32, |crc, byte| {
            (0..8).fold(crc ^ (u32::from(*byte) << 24), |crc, _| {
                (crc << 1) ^ (if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 })
            })
        });
        [&head, &crc.to_le_bytes()[..], &lengths, packet].concat()
    }

    #[test]
    fn what_is_coded_otherwise_is_told_with_a_way_out() {
        let opus = [
            ogg_page(2, 0, b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0"),
            ogg_page(0, 1, b"OpusTags\x04\0\0\0test\0\0\0\0"),
            ogg_page(4, 2, &[0xf8, 0xff, 0xfe]),
        ];
        let mut unknown = adpcm();
        unknown[20] = 0x31;
        for (name, bytes) in [("ADPCM", adpcm()), ("Opus", opus.concat()), ("GSM", unknown)] {
            let told = Sound::from_bytes(bytes).unwrap_err().to_string();
            assert!(told.contains("its coding is not read") && told.contains("ffmpeg"), "{name}: {told}");
        }
    }

    #[test]
    fn a_large_file_that_is_no_sound_is_not_read_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(Sound::open(file.path()), Err(MediaError::Empty(_))));
        file.as_file().set_len(1 << 42).unwrap();
        assert!(Sound::open(file.path()).unwrap_err().to_string().ends_with(KNOWN));
        assert!(matches!(Sound::open(Path::new("/")), Err(MediaError::Read(_))));
    }

    #[test]
    fn half_a_sound_is_refused() {
        let whole = wav(8_000, 1, &[1000; 4_000]);
        let refused = Sound::from_bytes(whole[..whole.len() / 2].to_vec()).unwrap_err().to_string();
        assert!(refused.contains("it ends early") && refused.contains("of 0.5 s are there"), "{refused}");
        // A header that counts itself, as some writers' do.
        let sound = Sound::from_bytes(whole[..whole.len() - 44].to_vec()).unwrap();
        assert!((3_900..=4_000).contains(&sound.samples.len()), "{}", sound.samples.len());
    }

    /// A WAV file whose head says so of all, and of the samples.
    fn declaring(file: &[u8], all: u32, samples: u32) -> Vec<u8> {
        [&b"RIFF"[..], &all.to_le_bytes(), &file[8..40], &samples.to_le_bytes(), &file[44..]].concat()
    }

    #[test]
    fn a_head_that_nobody_came_back_to_leaves_the_samples_there() {
        let mono = wav(8_000, 1, &[1000; 4_000]);
        let wide = [wav(8_000, 8, &vec![1000; 32_000]), pcm(8_000, 8, &vec![1000i32.to_le_bytes(); 32_000])];
        for file in [&mono, &wide[0], &wide[1]] {
            let (all, samples) = (file.len() as u32 - 8, file.len() as u32 - 44);
            for unknown in [u32::MAX, 0x7fff_ffff, 0x7fff_ffd8, 0x7fff_ff00, 0x7fff_f000, 0] {
                for all in [0, 36, u32::MAX, unknown.saturating_add(36)] {
                    let sound = Sound::from_bytes(declaring(file, all, unknown)).unwrap();
                    assert_eq!(sound.samples.len(), 4_000, "{unknown:x} of {all:x}");
                }
            }
            for all in [0, 36, all, u32::MAX] {
                assert_eq!(Sound::from_bytes(declaring(file, all, samples)).unwrap().samples.len(), 4_000, "{all:x}");
            }
            let half = declaring(&file[..file.len() / 2], 0, samples);
            assert!(Sound::from_bytes(half).unwrap_err().to_string().contains("of 0.5 s are there"));
        }
        // What is empty is empty, also with a text behind it.
        let empty = [&wav(8_000, 1, &[])[..], b"LIST\x04\0\0\0INFO"].concat();
        for file in
            [declaring(&empty, 48, 0), declaring(&empty[..44], 0, 0), declaring(&empty[..44], u32::MAX, u32::MAX)]
        {
            assert!(matches!(Sound::from_bytes(file), Err(MediaError::Empty(_))));
        }
    }

    #[test]
    fn an_ogg_stream_is_whole_up_to_its_last_page() {
        let ogg = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/bundled/prompts/duck.ogg")).unwrap();
        assert!(Sound::from_bytes(ogg.clone()).is_ok());
        let last_page = ogg.len() - ogg.windows(4).rposition(|bytes| bytes == b"OggS").unwrap();
        let samples = |bytes: &[u8]| Sound::from_bytes(bytes.to_vec()).unwrap().samples.len();
        assert!(samples(&ogg[..ogg.len() - last_page]) < samples(&ogg), "between two pages it may end");
        for cut in [1, 100, ogg.len() / 2] {
            let told = Sound::from_bytes(ogg[..ogg.len() - cut].to_vec()).unwrap_err().to_string();
            assert!(told.contains("its last page of Ogg is cut") && told.contains("ffmpeg"), "{cut}: {told}");
        }
    }

    fn crc(polynomial: u16, bits: u32, bytes: &[u8]) -> u16 {
        let (polynomial, top) = (polynomial << (16 - bits), |crc: u16| crc >> 15 == 1);
        let crc = bytes.iter().fold(0u16, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| (crc << 1) ^ (if top(crc) { polynomial } else { 0 }))
        });
        crc >> (16 - bits)
    }

    /// 40 frames of FLAC at 8 kHz, of 192 16-bit samples each, stored as they are.
    fn flac() -> (Vec<u8>, Vec<Vec<u8>>) {
        // STREAMINFO, the last block of metadata: least and most samples of a frame; rate, one channel, 16 bits and 7,680 samples in all.
        let mut head = b"fLaC\x80\0\0\x22\0\xc0\0\xc0\0\0\0\0\0\0\x01\xf4\0\xf0\0\0\x1e\0".to_vec();
        head.extend([0; 16]);
        let frame = |number: u8| {
            let mut frame = vec![0xff, 0xf8, 0x14, 0x08, number];
            frame.push(crc(0x07, 8, &frame) as u8);
            // One part, verbatim.
            frame.push(0x02);
            frame.extend((0..192).flat_map(|at: i16| (at * 40).to_be_bytes()));
            let sum = crc(0x8005, 16, &frame);
            frame.extend(sum.to_be_bytes());
            frame
        };
        (head, (0..40).map(frame).collect())
    }

    #[test]
    fn a_damaged_place_in_flac_is_passed_over_but_not_an_early_end() {
        let (head, mut frames) = flac();
        let whole = |frames: &[Vec<u8>]| [&head[..], frames.concat().as_slice()].concat();
        assert_eq!(Sound::from_bytes(whole(&frames)).unwrap().samples.len(), 7_680);
        let told = Sound::from_bytes(whole(&frames[..30])).unwrap_err().to_string();
        assert!(told.contains("it ends early") && told.contains("0.7 s of 1.0 s") && told.contains("ffmpeg"), "{told}");
        frames[10..20].iter_mut().for_each(|frame| frame[100] ^= 0x10);
        assert_eq!(Sound::from_bytes(whole(&frames)).unwrap().samples.len(), 5_760);
        assert!(Sound::from_bytes(whole(&frames[..30])).is_err());
    }

    #[test]
    fn a_hole_in_mp3_is_passed_over_but_not_an_early_end() {
        // Frames of silence, 128 kbit/s at 44.1 kHz; the first holds the encoder's tag, by which there are 40 more.
        let silence = [&[0xff, 0xfb, 0x90, 0xc4][..], &[0; 413]].concat();
        let mut tag = silence.clone();
        tag[21..33].copy_from_slice(b"Info\0\0\0\x01\0\0\0\x28");
        tag[33..42].copy_from_slice(b"Lavc61.19");
        let whole = [tag, silence.repeat(40)].concat();
        let samples = Sound::from_bytes(whole.clone()).unwrap().samples.len();
        assert!((45_000..=46_080).contains(&samples), "{samples}");
        let mut holed = whole.clone();
        holed[417 * 20..417 * 25].fill(0);
        assert!(Sound::from_bytes(holed).unwrap().samples.len() < samples - 4_410);
        for kept in [whole.len() / 10, whole.len() / 2, whole.len() * 3 / 4] {
            let told = Sound::from_bytes(whole[..kept].to_vec()).unwrap_err().to_string();
            assert!(told.contains("it ends early or is damaged"), "{kept}: {told}");
        }
    }

    #[test]
    fn what_is_no_sound_is_refused() {
        for bad in [vec![], b"RIFF".to_vec(), vec![7; 300], wav(16_000, 1, &[]), wav(16_000, 1, &[1])[..30].to_vec()] {
            assert!(Sound::from_bytes(bad).is_err());
        }
        let unknown = Sound::from_bytes(vec![7; 300]).unwrap_err().to_string();
        assert_eq!(unknown, format!("not a readable sound: {KNOWN}"));
    }
}
