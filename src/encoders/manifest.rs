//! `pack.toml`: what a pack says about itself, read strictly. `docs/pack.md` is the contract.
//!
//! Reading and checking of the text alone; files and their digests are [`super::pack`]'s.

mod checks;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ModalityFacts;
use crate::modality::Modality;

/// The file that names all others.
pub(super) const MANIFEST_FILE: &str = "pack.toml";

/// The whole manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: u32,
    /// The pack's name.
    pub(super) name: String,
    /// The pack's version.
    pub(super) version: String,
    /// SPDX expression of the pack as a whole.
    pub(super) licence: String,
    pub(super) space: Space,
    /// SHA-256 by file name.
    pub(super) files: BTreeMap<String, String>,
    pub(super) bank: Bank,
    pub(super) image: Option<Image>,
    pub(super) thermal: Option<Grey>,
    pub(super) depth: Option<Grey>,
    pub(super) audio: Option<Audio>,
    pub(super) imu: Option<Imu>,
    pub(super) text: Option<Text>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Space {
    pub(super) dim: usize,
    pub(super) id: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bank {
    pub(super) file: String,
    pub(super) revision: u32,
}

/// What every modality says.
#[derive(Clone, Debug, Deserialize)]
struct Common {
    logit_scale: f32,
    #[expect(dead_code, reason = "a required key that describes the file to people")]
    quantization: String,
    validated: bool,
    joint_weight: f32,
}

/// How a picture is brought to the size of the session.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fit {
    /// Short side to the size, then the central crop.
    CenterCrop,
    /// Both sides to the size, aspect ignored.
    Stretch,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Image {
    pub(super) file: String,
    pub(super) input: String,
    pub(super) embedding: String,
    pub(super) patches: String,
    /// Height, width.
    pub(super) embed_size: [usize; 2],
    /// Height, width.
    pub(super) map_size: [usize; 2],
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
    pub(super) embed_fit: Fit,
    pub(super) map_fit: Fit,
    #[serde(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum GreyKind {
    #[serde(rename = "grey")]
    Grey,
}

/// A plane of numbers as a grey picture through the image session.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grey {
    #[expect(dead_code, reason = "one kind so far; anything else is refused when read")]
    kind: GreyKind,
    pub(super) low_percentile: f64,
    pub(super) high_percentile: f64,
    pub(super) inverted: bool,
    #[serde(flatten)]
    common: Common,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Audio {
    pub(super) file: String,
    pub(super) input: String,
    pub(super) embedding: String,
    pub(super) sample_rate_hz: u32,
    pub(super) window_secs: f64,
    pub(super) mel_bins: usize,
    pub(super) frame_length_ms: f64,
    pub(super) frame_shift_ms: f64,
    pub(super) target_frames: usize,
    pub(super) mean: f32,
    pub(super) std: f32,
    #[serde(flatten)]
    common: Common,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Imu {
    pub(super) file: String,
    pub(super) input: String,
    pub(super) embedding: String,
    pub(super) rate_hz: f64,
    pub(super) window_secs: f64,
    pub(super) mean: [f32; 6],
    pub(super) std: [f32; 6],
    #[serde(flatten)]
    common: Common,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    pub(super) file: String,
    pub(super) tokenizer: String,
    pub(super) input_ids: String,
    pub(super) attention_mask: String,
    pub(super) embedding: String,
    pub(super) max_tokens: usize,
    #[serde(flatten)]
    common: Common,
}

impl Audio {
    /// Samples in a window.
    pub(super) fn window_samples(&self) -> usize {
        (f64::from(self.sample_rate_hz) * self.window_secs).round() as usize
    }
}

impl Imu {
    /// Readings in a window.
    pub(super) fn window_readings(&self) -> usize {
        (self.rate_hz * self.window_secs).round() as usize
    }
}

impl Manifest {
    /// Reads and checks the text.
    ///
    /// # Errors
    /// What is wrong, with the key it concerns.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|why| why.to_string().trim_end().replace('\n', " | "))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// What the manifest says about one modality. What is not validated has no weight.
    pub(super) fn facts(&self, modality: Modality) -> Option<ModalityFacts> {
        let (window_secs, rate_hz, common) = match modality {
            Modality::Image => (0.0, 0.0, &self.image.as_ref()?.common),
            Modality::Thermal => (0.0, 0.0, &self.thermal.as_ref()?.common),
            Modality::Depth => (0.0, 0.0, &self.depth.as_ref()?.common),
            Modality::Audio => {
                let audio = self.audio.as_ref()?;
                (audio.window_secs, f64::from(audio.sample_rate_hz), &audio.common)
            }
            Modality::Imu => self.imu.as_ref().map(|imu| (imu.window_secs, imu.rate_hz, &imu.common))?,
            Modality::Text => (0.0, 0.0, &self.text.as_ref()?.common),
        };
        Some(ModalityFacts {
            window_secs,
            rate_hz,
            joint_weight: if common.validated { common.joint_weight } else { 0.0 },
            validated: common.validated,
            logit_scale: common.logit_scale,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The contract's manifest, with made-up digests.
    pub(in crate::encoders) const EXAMPLE: &str = include_str!("manifest/example_pack.toml");

    #[test]
    fn the_example_is_read() {
        let manifest = Manifest::parse(EXAMPLE).unwrap();
        assert_eq!(manifest.audio.as_ref().unwrap().window_samples(), 32_000);
        assert_eq!(manifest.imu.as_ref().unwrap().window_readings(), 50);
        let image = manifest.facts(Modality::Image).unwrap();
        assert!(image.validated && image.joint_weight > 0.0);
        assert!(manifest.facts(Modality::Thermal).unwrap().joint_weight < f32::EPSILON, "not validated, so no weight");
    }

    #[test]
    fn every_mistake_names_its_key() {
        for (from, to, says) in [
            ("format = 2", "format = 1", "format = 1, but this version of perceptd reads format 2"),
            ("map_size = [384, 512]", "map_size = [384]", "map_size"),
            ("embed_fit = \"center-crop\"", "embed_fit = \"letterbox\"", "letterbox"),
            ("mel_bins = 128", "mel_bins = 128\nmel_banana = 1", "mel_banana"),
            ("dim = 384", "dim = 384\nsize = 1", "size"),
            ("high_percentile = 99.0", "high_percentile = 0.5", "low_percentile"),
            ("\"text.onnx\" = ", "\"words.onnx\" = ", "text.file"),
            ("\"imu.onnx\" = \"0", "\"imu.onnx\" = \"X", "files.\"imu.onnx\""),
            ("std = 9.138", "std = 0.0", "audio.mean/std"),
            ("joint_weight = 1.0", "joint_weight = -1.0", "joint_weight"),
            ("kind = \"grey\"", "kind = \"rainbow\"", "rainbow"),
            ("licence = \"Apache-2.0\"", "", "licence"),
        ] {
            assert!(EXAMPLE.contains(from), "{from}");
            let why = Manifest::parse(&EXAMPLE.replacen(from, to, 1)).unwrap_err();
            assert!(why.contains(says), "`{says}` not in: {why}");
        }
    }
}
