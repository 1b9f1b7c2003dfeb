//! One ingredient of a prompt into a unit vector, refused with a reason when it cannot be heard, seen or read.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::{PartError, PartSource};
use crate::encoders::{Embedding, Encoders};
use crate::media::{LEAST_SIDE_PX, Picture, Sound};
use crate::modality::Modality;
use crate::space::unit;

/// Quieter than this is silence: below the noise of any microphone's recording, and the front end would amplify nothing but dither.
const SILENT_DBFS: f64 = -60.0;

/// Largest share of samples at full scale. A pure tone that just reaches full scale is there for 0.5 % of the time.
const CLIPPED_SHARE: f64 = 0.01;

/// The largest 16-bit sample, as decoded; 0.5 of a step less, for rounding.
const FULL_SCALE: f32 = 32766.5 / 32768.0;

/// Four analysis frames of the front end start every 10 ms and last 25 ms: less than this is hardly more than one click.
const SHORTEST_SECS: f64 = 0.1;

impl PartSource {
    /// The modality that it is embedded as.
    #[must_use]
    pub const fn modality(&self) -> Modality {
        match self {
            Self::AudioFile(_) | Self::AudioBytes(_) => Modality::Audio,
            Self::ImageFile(_) | Self::ImageBytes(_) => Modality::Image,
            Self::Text(_) => Modality::Text,
        }
    }

    /// What it is, for whoever may know what is looked for: a file by its name, not by where it lies on the robot.
    #[must_use]
    pub fn in_short(&self) -> String {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self {
            Self::AudioFile(path) => format!("audio:{}", name(path)),
            Self::ImageFile(path) => format!("image:{}", name(path)),
            Self::AudioBytes(_) | Self::ImageBytes(_) | Self::Text(_) => self.to_string(),
        }
    }

    /// Its unit vector. Loads the encoder that it needs; the caller unloads what it does not need any longer (words need the text encoder
    /// only here).
    ///
    /// # Errors
    /// When it cannot be read, heard or seen, or holds too little to be known again.
    pub fn embed(&self, encoders: &mut Encoders) -> Result<Vec<f32>, PartError> {
        if let Self::Text(words) = self {
            check_words(words)?;
        }
        encoders.load(self.modality())?;
        let embedding = match self {
            Self::AudioFile(path) => embed_sound(&Sound::open(path)?, encoders)?,
            Self::AudioBytes(bytes) => embed_sound(&Sound::from_bytes(bytes.to_vec())?, encoders)?,
            Self::ImageFile(path) => embed_picture(&Picture::open(path)?, encoders)?,
            Self::ImageBytes(bytes) => embed_picture(&Picture::from_bytes(bytes)?, encoders)?,
            Self::Text(words) => encoders.text(words.trim())?,
        };
        Ok(unit(&embedding.vector)?)
    }

    /// Looks at it without an encoder.
    ///
    /// # Errors
    /// As [`Self::embed`], as far as that can be told.
    pub fn check(&self) -> Result<(), PartError> {
        match self {
            Self::AudioFile(path) => check_sound(&Sound::open(path)?),
            Self::AudioBytes(bytes) => check_sound(&Sound::from_bytes(bytes.to_vec())?),
            Self::ImageFile(path) => check_picture(&Picture::open(path)?),
            Self::ImageBytes(bytes) => check_picture(&Picture::from_bytes(bytes)?),
            Self::Text(words) => check_words(words),
        }
    }
}

impl fmt::Display for PartSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AudioFile(path) => write!(f, "audio:{}", path.display()),
            Self::ImageFile(path) => write!(f, "image:{}", path.display()),
            Self::AudioBytes(bytes) => write!(f, "audio of {} bytes", bytes.len()),
            Self::ImageBytes(bytes) => write!(f, "image of {} bytes", bytes.len()),
            Self::Text(words) => write!(f, "text:{words}"),
        }
    }
}

/// A word that is no part of a prompt.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no prompt: say audio:FILE, image:FILE or text:WORDS")]
pub struct UnknownSource(String);

impl FromStr for PartSource {
    type Err = UnknownSource;
    fn from_str(text: &str) -> Result<Self, UnknownSource> {
        match text.split_once(':') {
            Some(("audio", path)) if !path.is_empty() => Ok(Self::AudioFile(path.into())),
            Some(("image", path)) if !path.is_empty() => Ok(Self::ImageFile(path.into())),
            Some(("text", words)) if !words.trim().is_empty() => Ok(Self::Text(words.to_owned())),
            _ => Err(UnknownSource(text.to_owned())),
        }
    }
}

fn embed_sound(sound: &Sound, encoders: &Encoders) -> Result<Embedding, PartError> {
    check_sound(sound)?;
    Ok(encoders.sound(sound)?)
}

fn embed_picture(picture: &Picture, encoders: &Encoders) -> Result<Embedding, PartError> {
    check_picture(picture)?;
    Ok(encoders.image(picture)?)
}

/// Refuses what holds too little to be known again.
fn check_sound(sound: &Sound) -> Result<(), PartError> {
    if sound.secs() < SHORTEST_SECS {
        return Err(PartError::Short { secs: sound.secs() });
    }
    let count = sound.samples.len() as f64;
    let power: f64 = sound.samples.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let dbfs = 10.0 * (power / count).log10();
    if dbfs < SILENT_DBFS {
        return Err(PartError::Silent { dbfs });
    }
    let share = sound.samples.iter().filter(|x| x.abs() >= FULL_SCALE).count() as f64 / count;
    if share > CLIPPED_SHARE {
        return Err(PartError::Clipped { percent: 100.0 * share });
    }
    Ok(())
}

fn check_words(words: &str) -> Result<(), PartError> {
    if words.chars().any(|c| c.is_alphanumeric() || is_symbol(c)) { Ok(()) } else { Err(PartError::NoWords) }
}

/// Arrows, signs and emoji, whose blocks hold hardly any punctuation: what they mean the encoder knows or refuses.
const fn is_symbol(c: char) -> bool {
    matches!(c, '¢'..='©' | '®'..='±' | '\u{20a0}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

const fn check_picture(picture: &Picture) -> Result<(), PartError> {
    if picture.width < LEAST_SIDE_PX || picture.height < LEAST_SIDE_PX {
        return Err(PartError::Tiny { width: picture.width, height: picture.height });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(secs: f64, gain: f32) -> Sound {
        let samples = (0..(secs * 16_000.0) as usize).map(|i| {
            let phase = 2.0 * std::f64::consts::PI * 441.3 * i as f64 / 16_000.0;
            (gain * phase.sin() as f32).clamp(-1.0, 1.0)
        });
        Sound { sample_rate_hz: 16_000, samples: samples.collect() }
    }

    #[test]
    fn sounds_that_cannot_be_known_again_are_refused() {
        assert!(check_sound(&tone(1.0, 0.5)).is_ok());
        assert!(check_sound(&tone(1.0, 1.0)).is_ok(), "full scale alone is not clipping");
        assert!(check_sound(&tone(1.0, 0.002)).is_ok(), "quiet is not silent");
        assert!(matches!(check_sound(&tone(1.0, 0.0005)), Err(PartError::Silent { .. })));
        assert!(matches!(check_sound(&tone(1.0, 0.0)), Err(PartError::Silent { .. })));
        assert!(matches!(check_sound(&tone(1.0, 1.5)), Err(PartError::Clipped { .. })));
        assert!(matches!(check_sound(&tone(0.09, 0.5)), Err(PartError::Short { .. })));
    }

    #[test]
    fn reasons_say_what_to_do() {
        let text = check_sound(&tone(1.0, 0.0)).unwrap_err().to_string();
        assert!(text.contains("silent") && text.contains("louder"), "{text}");
        let tiny = check_picture(&Picture { width: 1, height: 1, rgb: vec![0; 3] }).unwrap_err().to_string();
        assert!(tiny.contains("1×1") && tiny.contains("larger"), "{tiny}");
    }

    #[test]
    fn punctuation_is_no_word() {
        for words in
            ["", " ", "?", "...", " …", "¿?", "-- \u{3002}", "！？", "؟", "।", "「」", "、\u{3000}", "\u{fe0f}"]
        {
            assert!(matches!(check_words(words), Err(PartError::NoWords)), "{words:?}");
        }
        for words in ["dog", "c++", "7", "犬", "🐕", "¿qué?", "〇", "々", "कुत्ता।", "كلب؟", "犬！", "ⅷ", "☂", "£"]
        {
            assert!(check_words(words).is_ok(), "{words:?}");
        }
    }

    #[test]
    fn parts_are_written_as_kind_and_content() {
        for text in ["audio:/a/bark.wav", "image:x.jpg", "text:a dog: barking"] {
            assert_eq!(text.parse::<PartSource>().unwrap().to_string(), text);
        }
        for (whole, short) in [("audio:/home/rover/bark.wav", "audio:bark.wav"), ("text:a/b", "text:a/b")] {
            assert_eq!(whole.parse::<PartSource>().unwrap().in_short(), short);
        }
        for bad in ["", "dog", "audio:", "image:", "thermal:x"] {
            assert!(bad.parse::<PartSource>().is_err(), "{bad}");
        }
    }
}
