//! The rules that a manifest's values keep.

use super::Manifest;
use crate::modality::Modality;

/// The format this version reads.
const FORMAT: u32 = 2;

impl Manifest {
    /// Looks at every value.
    ///
    /// # Errors
    /// The first rule that is broken, with its key.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "format = {}, but this version of perceptd reads format {FORMAT}: take the pack that came with it, or build yours anew",
                self.format
            ));
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
