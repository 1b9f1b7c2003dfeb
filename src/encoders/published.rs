//! Embedding of each sense: preprocessing, session, then `unit(unit(output) − mean)`.

use super::loading::Loaded;
use super::manifest::Fit;
use super::preprocess::{grey, image, motion, resample};
use super::session::Session;
use super::{Embedding, Encoders, EncodersError, PatchMap};
use crate::geometry::PixelBox;
use crate::media::{LEAST_SIDE_PX, Motion, Picture, Plane, Sound};
use crate::modality::Modality;

/// Clips quieter than this share of the loudest (RMS) are left out of a sound's average.
const QUIET_CLIP_SHARE: f64 = 1.0 / 20.0;
/// From here on the time between two readings of a recorded motion is a gap, or not in seconds: no vector is made of what is only
/// interpolated. IMUs of a thousand readings a second whose times are in milliseconds lie beyond it too.
const LONGEST_STEP_SECS: f64 = 0.5;

fn refuse(modality: Modality, why: impl Into<String>) -> EncodersError {
    EncodersError::Input { modality, why: why.into() }
}

impl Encoders {
    /// Embeds a whole picture.
    ///
    /// # Errors
    /// When the session is not loaded or the picture is smaller than 16 x 16 pixels.
    pub fn image(&self, picture: &Picture) -> Result<Embedding, EncodersError> {
        self.frame(Modality::Image, picture)
    }

    /// Embeds a part of a picture, given in its pixels: the box, rounded outwards and cut to the picture, is treated as a
    /// picture of its own, so that of a long box its middle counts.
    ///
    /// # Errors
    /// As [`Self::image`], or when the part lies outside.
    pub fn crop(&self, picture: &Picture, box_in_image: PixelBox) -> Result<Embedding, EncodersError> {
        let PixelBox { x0, y0, x1, y1 } = box_in_image;
        // A cast from float saturates, and makes 0 of NaN.
        let part = picture.cut(x0.floor() as u32, y0.floor() as u32, x1.ceil() as u32, y1.ceil() as u32);
        let part =
            part.ok_or_else(|| refuse(Modality::Image, format!("the box {x0}, {y0}, {x1}, {y1} lies outside")))?;
        self.frame(Modality::Image, &part)
    }

    /// The patch map of a picture.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn map(&self, picture: &Picture) -> Result<PatchMap, EncodersError> {
        let image = self.pack.manifest.image.as_ref().ok_or(EncodersError::NoEncoder(Modality::Image))?;
        let session =
            self.find(Modality::Image, |loaded| if let Loaded::Map(session) = loaded { Some(session) } else { None })?;
        check_size(Modality::Image, picture)?;
        let pixels = fitted(picture, image.map_fit, image.map_size);
        let tensor = image::tensor(&pixels, image.mean, image.std);
        let output = session.run(&tensor).map_err(|why| refuse(Modality::Image, why))?;
        let [_, dim, rows, cols] = *output.shape.as_slice() else {
            return Err(refuse(Modality::Image, format!("the map has shape {:?}", output.shape)));
        };
        let cells = cell_by_cell(&output.values, dim, rows * cols);
        if cells.iter().any(|v| !v.is_finite()) {
            return Err(refuse(Modality::Image, "the model gave values that are not finite"));
        }
        Ok(PatchMap { rows, cols, dim, cells })
    }

    /// Embeds one window of sound at the pack's rate; shorter ones are followed by zeros.
    ///
    /// # Errors
    /// When it is empty, longer than a window, or not finite.
    pub fn audio(&self, samples: &[f32]) -> Result<Embedding, EncodersError> {
        let audio = self.pack.manifest.audio.as_ref().ok_or(EncodersError::NoEncoder(Modality::Audio))?;
        let (log_mel, session) = self.find(Modality::Audio, |loaded| match loaded {
            Loaded::Sound(log_mel, session) => Some((log_mel, session)),
            _ => None,
        })?;
        let window = audio.window_samples();
        if samples.is_empty() || samples.len() > window {
            return Err(refuse(Modality::Audio, format!("{} samples instead of 1 to {window}", samples.len())));
        }
        check_finite(Modality::Audio, samples)?;
        let mut whole = samples.to_vec();
        whole.resize(window, 0.0);
        self.run(Modality::Audio, session, &log_mel.compute(&whole))
    }

    /// Embeds a sound of any length and rate: clips as the pack's contract says, averaged.
    ///
    /// # Errors
    /// When it is empty or not finite.
    pub fn sound(&self, sound: &Sound) -> Result<Embedding, EncodersError> {
        let audio = self.pack.manifest.audio.as_ref().ok_or(EncodersError::NoEncoder(Modality::Audio))?;
        check_finite(Modality::Audio, &sound.samples)?;
        let samples = resample::resample(&sound.samples, sound.sample_rate_hz, audio.sample_rate_hz);
        let clips = clips(&samples, audio.window_samples());
        let vectors = clips.into_iter().map(|clip| self.audio(clip)).collect::<Result<Vec<_>, _>>()?;
        self.average(Modality::Audio, &vectors)
    }

    /// Embeds a thermal frame, °C.
    ///
    /// # Errors
    /// When fewer than half of its pixels are finite.
    pub fn thermal(&self, celsius: &Plane) -> Result<Embedding, EncodersError> {
        let finite = celsius.values.iter().filter(|v| v.is_finite()).count();
        if finite * 2 < celsius.values.len() {
            let why = format!("only {finite} of its {} pixels hold a finite number", celsius.values.len());
            return Err(refuse(Modality::Thermal, why));
        }
        self.grey(Modality::Thermal, celsius)
    }

    /// Embeds a depth frame, metres; NaN and 0 are pixels without a reading.
    ///
    /// # Errors
    /// When no pixel has a reading.
    pub fn depth(&self, metres: &Plane) -> Result<Embedding, EncodersError> {
        let reading = |v: &f32| if v.abs() < f32::MIN_POSITIVE { f32::NAN } else { *v };
        let values = metres.values.iter().map(reading).collect();
        self.grey(Modality::Depth, &Plane { width: metres.width, height: metres.height, values })
    }

    /// Embeds six rows of motion at the pack's rate, one window long (see [`crate::windows::WindowData::Imu`]).
    ///
    /// # Errors
    /// When the length is wrong or a value is not finite.
    pub fn imu(&self, rows: &[f32]) -> Result<Embedding, EncodersError> {
        let imu = self.pack.manifest.imu.as_ref().ok_or(EncodersError::NoEncoder(Modality::Imu))?;
        let session =
            self.find(Modality::Imu, |loaded| if let Loaded::Motion(session) = loaded { Some(session) } else { None })?;
        let wanted = imu.window_readings() * 6;
        if rows.len() != wanted {
            return Err(refuse(Modality::Imu, format!("{} values instead of {wanted}", rows.len())));
        }
        check_finite(Modality::Imu, rows)?;
        self.run(Modality::Imu, session, &motion::normalised(rows, imu.mean, imu.std))
    }

    /// Embeds a recorded motion: resampled to the pack's rate, cut into whole windows from its start, averaged.
    ///
    /// # Errors
    /// When it is shorter than a window, or two of its readings lie half a second apart.
    pub fn motion(&self, motion: &Motion) -> Result<Embedding, EncodersError> {
        let imu = self.pack.manifest.imu.as_ref().ok_or(EncodersError::NoEncoder(Modality::Imu))?;
        check_steps(motion)?;
        // The last reading holds for one period; the rest is room for rounding of times in files.
        let windows = ((motion.secs() + 1.0 / imu.rate_hz) / imu.window_secs + 1e-3).floor() as usize;
        if windows == 0 {
            return Err(refuse(
                Modality::Imu,
                format!("it is {:.2} s long, a window is {} s", motion.secs(), imu.window_secs),
            ));
        }
        let embed =
            |k: usize| self.imu(&motion.resampled(k as f64 * imu.window_secs, imu.rate_hz, imu.window_readings()));
        let vectors = (0..windows).map(embed).collect::<Result<Vec<_>, _>>()?;
        self.average(Modality::Imu, &vectors)
    }

    /// Embeds words.
    ///
    /// # Errors
    /// When there is nothing but white space, or no word that the pack's tokenizer knows: all such texts are alike to it.
    pub fn text(&self, words: &str) -> Result<Embedding, EncodersError> {
        let (tokens, session) = self.find(Modality::Text, |loaded| match loaded {
            Loaded::Words(tokens, session) => Some((tokens, session)),
            _ => None,
        })?;
        if words.trim().is_empty() {
            return Err(refuse(Modality::Text, "there is nothing but white space"));
        }
        let tokens = tokens.encode(words).map_err(|why| refuse(Modality::Text, why))?;
        if !tokens.is_known {
            let why = format!(
                "none of the words of `{}` is known to this pack's tokenizer; say it in words of the language that the pack was made for (its \
                 CARD.md tells)",
                words.trim()
            );
            return Err(refuse(Modality::Text, why));
        }
        let output = session.run_tokens(&tokens.ids, &tokens.mask).map_err(|why| refuse(Modality::Text, why))?;
        self.publish(Modality::Text, &output.values)
    }

    fn find<'a, T>(&'a self, modality: Modality, pick: impl Fn(&'a Loaded) -> Option<T>) -> Result<T, EncodersError> {
        self.facts(modality).ok_or(EncodersError::NoEncoder(modality))?;
        self.loaded.iter().find_map(pick).ok_or(EncodersError::NotLoaded(modality))
    }

    fn grey(&self, modality: Modality, plane: &Plane) -> Result<Embedding, EncodersError> {
        let manifest = &self.pack.manifest;
        let section = if modality == Modality::Depth { manifest.depth.as_ref() } else { manifest.thermal.as_ref() };
        let section = section.ok_or(EncodersError::NoEncoder(modality))?;
        let stretch = grey::Stretch {
            low_percentile: section.low_percentile,
            high_percentile: section.high_percentile,
            inverted: section.inverted,
        };
        let picture = grey::picture(plane, stretch).ok_or_else(|| refuse(modality, "no pixel has a reading"))?;
        self.frame(modality, &picture)
    }

    fn frame(&self, modality: Modality, picture: &Picture) -> Result<Embedding, EncodersError> {
        let image = self.pack.manifest.image.as_ref().ok_or(EncodersError::NoEncoder(modality))?;
        let session =
            self.find(modality, |loaded| if let Loaded::Frame(session) = loaded { Some(session) } else { None })?;
        check_size(modality, picture)?;
        let pixels = fitted(picture, image.embed_fit, image.embed_size);
        self.run(modality, session, &image::tensor(&pixels, image.mean, image.std))
    }

    fn run(&self, modality: Modality, session: &Session, tensor: &[f32]) -> Result<Embedding, EncodersError> {
        let output = session.run(tensor).map_err(|why| refuse(modality, why))?;
        self.publish(modality, &output.values)
    }

    /// `unit(unit(output) − mean)`.
    fn publish(&self, modality: Modality, output: &[f32]) -> Result<Embedding, EncodersError> {
        let mean = self.pack.means.of(modality).ok_or(EncodersError::NoEncoder(modality))?;
        let nothing = || refuse(modality, "the model gave a vector without direction");
        let whole: Vec<f64> = output.iter().copied().map(f64::from).collect();
        let centred: Vec<f64> =
            unit(&whole).ok_or_else(nothing)?.iter().zip(mean).map(|(v, m)| v - f64::from(*m)).collect();
        let vector = unit(&centred).ok_or_else(nothing)?.into_iter().map(|v| v as f32).collect();
        Ok(Embedding { space: self.pack.space.clone(), modality, vector })
    }

    fn average(&self, modality: Modality, parts: &[Embedding]) -> Result<Embedding, EncodersError> {
        let mut sum = vec![0f64; self.dim()];
        for part in parts {
            sum.iter_mut().zip(part.vector.iter()).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        let vector = unit(&sum).ok_or_else(|| refuse(modality, "its parts cancel each other"))?;
        Ok(Embedding {
            space: self.pack.space.clone(),
            modality,
            vector: vector.into_iter().map(|v| v as f32).collect(),
        })
    }
}

/// `[dim, cells]` to `[cells, dim]`, a cache line of a cell at a time.
fn cell_by_cell(values: &[f32], dim: usize, cells: usize) -> Vec<f32> {
    const PLANES: usize = 16;
    let mut out = vec![0f32; values.len()];
    let cells = cells.max(1);
    for (block, planes) in values.chunks(PLANES * cells).enumerate() {
        for (index, cell) in out.chunks_exact_mut(dim.max(1)).enumerate() {
            let source = planes.iter().skip(index).step_by(cells);
            cell.iter_mut().skip(block * PLANES).zip(source).for_each(|(to, from)| *to = *from);
        }
    }
    out
}

fn unit(vector: &[f64]) -> Option<Vec<f64>> {
    let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
    (length.is_finite() && length > f64::from(f32::MIN_POSITIVE)).then(|| vector.iter().map(|v| v / length).collect())
}

fn fitted(picture: &Picture, fit: Fit, size: [usize; 2]) -> Picture {
    match fit {
        Fit::CenterCrop => image::center_crop(picture, size),
        Fit::Stretch => image::stretch(picture, size),
    }
}

fn check_size(modality: Modality, picture: &Picture) -> Result<(), EncodersError> {
    if picture.width < LEAST_SIDE_PX || picture.height < LEAST_SIDE_PX {
        let why = format!(
            "it has {} x {} pixels; {LEAST_SIDE_PX} x {LEAST_SIDE_PX} is the least",
            picture.width, picture.height
        );
        return Err(refuse(modality, why));
    }
    if picture.rgb.len() != picture.width as usize * picture.height as usize * 3 {
        return Err(refuse(modality, format!("{} bytes do not fit its size", picture.rgb.len())));
    }
    Ok(())
}

fn check_steps(motion: &Motion) -> Result<(), EncodersError> {
    let Some((step_secs, index)) = motion.longest_step().filter(|(secs, _)| *secs >= LONGEST_STEP_SECS) else {
        return Ok(());
    };
    let t_secs = motion.t_secs.get(index).copied().unwrap_or_default();
    let why = format!(
        "its reading at t_secs {t_secs} comes {step_secs:.3} s after the one before: t_secs is in seconds, and across {LONGEST_STEP_SECS} s or more \
         nothing is interpolated; cut a recording with a gap there"
    );
    Err(refuse(Modality::Imu, why))
}

fn check_finite(modality: Modality, values: &[f32]) -> Result<(), EncodersError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(refuse(modality, format!("value {at} is not a finite number"))),
        None => Ok(()),
    }
}

/// A sound cut as the contract says: `ceil(length / window)` clips from the start to the end, without the quiet ones.
fn clips(samples: &[f32], window: usize) -> Vec<&[f32]> {
    let (count, spare) = (samples.len().div_ceil(window), samples.len().saturating_sub(window));
    if count <= 1 {
        return vec![samples];
    }
    let start = |k: usize| (k as f64 * spare as f64 / (count - 1) as f64).round_ties_even() as usize;
    let cut: Vec<&[f32]> = (0..count).filter_map(|k| samples.get(start(k)..start(k) + window)).collect();
    let loudness = |clip: &[f32]| (clip.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / clip.len() as f64).sqrt();
    let loudest = cut.iter().map(|clip| loudness(clip)).fold(0.0, f64::max);
    cut.into_iter().filter(|clip| loudness(clip) >= QUIET_CLIP_SHARE * loudest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_reach_from_start_to_end_and_leave_out_silence() {
        let mut samples: Vec<f32> = (0..10).map(|n| n as f32 + 1.0).collect();
        assert_eq!(clips(&samples, 4), [&samples[0..4], &samples[3..7], &samples[6..10]]);
        assert_eq!(clips(&samples, 10), [&samples[..]]);
        samples.extend([0.0; 10]);
        assert_eq!(clips(&samples, 10), [&samples[..10]]);
        assert_eq!(clips(&[], 10), [&[] as &[f32]]);
        assert_eq!(clips(&[0.0; 20], 10).len(), 2);
    }

    #[test]
    fn cells_come_out_whole_and_in_order() {
        for (dim, cells) in [(1, 1), (3, 5), (16, 4), (40, 7)] {
            let of = |cell: usize, d: usize| (cell * dim + d) as f32;
            let planes: Vec<f32> = (0..dim).flat_map(|d| (0..cells).map(move |cell| of(cell, d))).collect();
            let expected: Vec<f32> = (0..dim * cells).map(|i| i as f32).collect();
            assert_eq!(cell_by_cell(&planes, dim, cells), expected);
        }
        assert!(cell_by_cell(&[], 3, 0).is_empty());
    }

    #[test]
    fn a_vector_without_length_has_no_direction() {
        assert_eq!(unit(&[3.0, 4.0]), Some(vec![0.6, 0.8]));
        assert!(unit(&[0.0, 0.0]).is_none() && unit(&[f64::NAN, 1.0]).is_none() && unit(&[]).is_none());
    }
}
