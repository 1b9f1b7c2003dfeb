//! `pack.toml`: what a pack says about itself, read strictly. `docs/pack.md` is the contract.
//!
//! Reading and checking of the text alone; files and their digests are [`super::pack`]'s.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ModalityFacts;
use crate::modality::Modality;

/// The format this version reads.
const FORMAT: u32 = 1;
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

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("format = {} is not readable here: this version reads format {FORMAT}", self.format));
        }
        for (key, words) in [("name", &self.name), ("version", &self.version), ("licence", &self.licence)] {
            ensure(!words.is_empty(), key, "must not be empty")?;
        }
        ensure((1..=4096).contains(&self.space.dim), "space.dim", "must be 1 to 4096")?;
        self.check_file_names()?;
        self.check_frames()?;
        self.check_audio()?;
        self.check_imu()?;
        if let Some(text) = &self.text {
            ensure((3..=512).contains(&text.max_tokens), "text.max_tokens", "must be 3 to 512")?;
        }
        for modality in Modality::ALL {
            let Some(facts) = self.facts(modality) else { continue };
            ensure(facts.logit_scale.is_finite(), &format!("{modality}.logit_scale"), "must be a finite number")?;
            let weight = facts.joint_weight;
            ensure(weight.is_finite() && weight >= 0.0, &format!("{modality}.joint_weight"), "must be 0 or more")?;
        }
        Ok(())
    }

    /// Every file that is named must have a digest, and a digest's file must stand in the pack's own folder.
    fn check_file_names(&self) -> Result<(), String> {
        let named = [
            Some(("bank.file", &self.bank.file)),
            self.image.as_ref().map(|m| ("image.file", &m.file)),
            self.audio.as_ref().map(|m| ("audio.file", &m.file)),
            self.imu.as_ref().map(|m| ("imu.file", &m.file)),
            self.text.as_ref().map(|m| ("text.file", &m.file)),
            self.text.as_ref().map(|m| ("text.tokenizer", &m.tokenizer)),
        ];
        for (key, file) in named.into_iter().flatten() {
            if !self.files.contains_key(file) {
                return Err(format!("{key} = \"{file}\" has no digest: add `\"{file}\" = \"<sha256>\"` under [files]"));
            }
        }
        for (file, digest) in &self.files {
            let hex = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            ensure(hex, &format!("files.\"{file}\""), "must be a SHA-256 of 64 lower-case hex digits")?;
            let plain = !file.is_empty() && !file.contains(['/', '\\']) && !file.starts_with('.');
            ensure(plain, &format!("files.\"{file}\""), "must be a plain file name inside the pack")?;
        }
        Ok(())
    }

    fn check_frames(&self) -> Result<(), String> {
        if let Some(image) = &self.image {
            for (key, size) in [("image.embed_size", image.embed_size), ("image.map_size", image.map_size)] {
                ensure(
                    size.iter().all(|side| (16..=2048).contains(side)),
                    key,
                    "must be [height, width] of 16 to 2048",
                )?;
            }
            ensure(positive(&image.std) && finite(&image.mean), "image.mean/std", "must be finite, and std positive")?;
        }
        for (modality, grey) in [("thermal", &self.thermal), ("depth", &self.depth)] {
            let Some(grey) = grey else { continue };
            ensure(self.image.is_some(), modality, "needs an [image] encoder, through which grey pictures go")?;
            let (low, high) = (grey.low_percentile, grey.high_percentile);
            ensure(
                (0.0..high).contains(&low) && high <= 100.0,
                modality,
                "needs 0 ≤ low_percentile < high_percentile ≤ 100",
            )?;
        }
        Ok(())
    }

    fn check_audio(&self) -> Result<(), String> {
        let Some(audio) = &self.audio else { return Ok(()) };
        ensure((8_000..=96_000).contains(&audio.sample_rate_hz), "audio.sample_rate_hz", "must be 8000 to 96000")?;
        ensure((0.1..=60.0).contains(&audio.window_secs), "audio.window_secs", "must be 0.1 to 60")?;
        ensure((1..=512).contains(&audio.mel_bins), "audio.mel_bins", "must be 1 to 512")?;
        ensure((1.0..=200.0).contains(&audio.frame_length_ms), "audio.frame_length_ms", "must be 1 to 200")?;
        ensure((1.0..=200.0).contains(&audio.frame_shift_ms), "audio.frame_shift_ms", "must be 1 to 200")?;
        ensure((1..=10_000).contains(&audio.target_frames), "audio.target_frames", "must be 1 to 10000")?;
        ensure(positive(&[audio.std]) && finite(&[audio.mean]), "audio.mean/std", "must be finite, and std positive")
    }

    fn check_imu(&self) -> Result<(), String> {
        let Some(imu) = &self.imu else { return Ok(()) };
        ensure((1.0..=10_000.0).contains(&imu.rate_hz), "imu.rate_hz", "must be 1 to 10000")?;
        ensure((0.1..=60.0).contains(&imu.window_secs), "imu.window_secs", "must be 0.1 to 60")?;
        ensure(positive(&imu.std) && finite(&imu.mean), "imu.mean/std", "must be finite, and std positive")
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

fn ensure(holds: bool, key: &str, rule: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{key} {rule}")) }
}

fn finite(values: &[f32]) -> bool {
    values.iter().all(|v| v.is_finite())
}

fn positive(values: &[f32]) -> bool {
    values.iter().all(|v| v.is_finite() && *v > 0.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The contract's manifest, with made-up digests.
    pub(in crate::encoders) const EXAMPLE: &str = include_str!("example_pack.toml");

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
            ("format = 1", "format = 2", "format = 2"),
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
