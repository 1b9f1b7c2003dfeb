//! The senses that share the joint space.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A sense, named as ImageBind names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Modality {
    /// Colour pictures from a camera.
    Image,
    /// Sound from a microphone.
    Audio,
    /// Radiometric thermal frames.
    Thermal,
    /// Depth frames.
    Depth,
    /// Acceleration and rotation.
    Imu,
    /// Words; only prompts are made of them.
    Text,
}

impl Modality {
    /// Every modality, in the order of the published mask.
    pub const ALL: [Self; 6] = [Self::Image, Self::Audio, Self::Thermal, Self::Depth, Self::Imu, Self::Text];

    /// The name used in packs, configs and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Thermal => "thermal",
            Self::Depth => "depth",
            Self::Imu => "imu",
            Self::Text => "text",
        }
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no modality.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no modality: say image, audio, thermal, depth, imu or text")]
pub struct UnknownModality(String);

impl FromStr for Modality {
    type Err = UnknownModality;
    fn from_str(word: &str) -> Result<Self, UnknownModality> {
        Self::ALL.into_iter().find(|m| m.name() == word).ok_or_else(|| UnknownModality(word.to_owned()))
    }
}

/// A sensor's name from the config, such as `front`: 1 to 32 of `a-z 0-9 _ -`. Topics carry it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SensorId(Arc<str>);

/// A name that cannot stand in a topic.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` cannot be a name: use 1 to 32 of a-z, 0-9, `_`, `-`")]
pub struct BadName(String);

/// Whether `name` can stand as one level of a topic: 1 to 32 of `a-z 0-9 _ -`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

impl SensorId {
    /// A checked name.
    ///
    /// # Errors
    /// When `name` holds anything but 1 to 32 of `a-z 0-9 _ -`.
    pub fn new(name: &str) -> Result<Self, BadName> {
        if is_name(name) { Ok(Self(name.into())) } else { Err(BadName(name.to_owned())) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SensorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for modality in Modality::ALL {
            assert_eq!(modality.name().parse::<Modality>().unwrap(), modality);
        }
        assert!("sonar".parse::<Modality>().is_err());
    }

    #[test]
    fn sensor_names_fit_a_topic_level() {
        assert!(SensorId::new("front-left_2").is_ok());
        for bad in ["", "a/b", "Front", "é", "+", &"x".repeat(33)] {
            assert!(SensorId::new(bad).is_err(), "{bad}");
        }
    }
}
