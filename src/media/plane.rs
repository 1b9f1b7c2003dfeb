//! Planes of numbers: thermal and depth frames, and the PNG files that hold them.

use std::path::Path;

use super::picture::decode_png;
use super::{MOST_PICTURE_BYTES, MediaError, Picture, read};

/// 16-bit thermal PNGs hold hundredths of a kelvin (the FLIR Lepton's TLinear scale): °C = value / 100 − 273.15.
const KELVIN_PER_STEP: f64 = 0.01;
const CELSIUS_AT_ZERO: f64 = -273.15;
/// 16-bit depth PNGs hold millimetres; 0 = no reading (Kinect, RealSense, ROS REP 118).
const METRES_PER_STEP: f64 = 0.001;

/// One plane of numbers, row-major from the top left: °C of a thermal frame, metres of a depth frame. NaN = no reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width · height` values.
    pub values: Vec<f32>,
}

/// A plane that was read from a picture file.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadPlane {
    /// The numbers.
    pub plane: Plane,
    /// Whether they are °C or metres; else the luma of a picture that says neither.
    pub is_measured: bool,
}

impl ReadPlane {
    /// What may be wrong with it, in words for whoever gave the file; `unit` is what its numbers should be, such as millimetres.
    #[must_use]
    pub fn doubt(&self, unit: &str) -> Option<String> {
        if !self.is_measured {
            return Some(format!(
                "it is no 16-bit grey PNG, which would hold {unit}: its brightness is taken in their place"
            ));
        }
        // Frames of depth hold no such value.
        let is_absolute_zero = |celsius: &f32| f64::from(*celsius) < CELSIUS_AT_ZERO + KELVIN_PER_STEP / 2.0;
        let is_blank = self.plane.values.iter().all(is_absolute_zero);
        is_blank.then(|| format!("all of its numbers are 0: it holds no {unit}"))
    }
}

impl Plane {
    /// Reads a thermal frame. A 16-bit grey PNG holds hundredths of a kelvin and becomes °C; any other picture (8-bit, colour)
    /// is taken as relative intensity, its luma from 0 to 255.
    ///
    /// # Errors
    /// When the file cannot be read or is no picture.
    pub fn open_thermal(path: &Path) -> Result<ReadPlane, MediaError> {
        let bytes = read(path, MOST_PICTURE_BYTES)?;
        let grey = grey16(&bytes)?;
        let plane = match &grey {
            Some(grey) => Self::from_grey16(grey, KELVIN_PER_STEP, CELSIUS_AT_ZERO, None),
            None => Self::from_luma(&Picture::as_stored(&bytes)?),
        };
        Ok(ReadPlane { plane, is_measured: grey.is_some() })
    }

    /// Reads a depth frame: a 16-bit grey PNG of millimetres becomes metres, 0 = no reading = NaN; of any other picture the
    /// luma is taken as relative depth, 0 = no reading.
    ///
    /// # Errors
    /// When the file cannot be read or is no picture.
    pub fn open_depth(path: &Path) -> Result<ReadPlane, MediaError> {
        let bytes = read(path, MOST_PICTURE_BYTES)?;
        if let Some(grey) = grey16(&bytes)? {
            let plane = Self::from_grey16(&grey, METRES_PER_STEP, 0.0, Some(0));
            return Ok(ReadPlane { plane, is_measured: true });
        }
        let mut plane = Self::from_luma(&Picture::as_stored(&bytes)?);
        plane.values.iter_mut().filter(|v| **v == 0.0).for_each(|v| *v = f32::NAN);
        Ok(ReadPlane { plane, is_measured: false })
    }

    /// Decodes a 16-bit grey PNG: each value times `scale` plus `offset`; `missing` stands for no reading and becomes NaN.
    ///
    /// # Errors
    /// When the bytes are no 16-bit grey PNG.
    pub fn from_png16(bytes: &[u8], scale: f64, offset: f64, missing: Option<u16>) -> Result<Self, MediaError> {
        let grey = grey16(bytes)?.ok_or_else(|| MediaError::malformed("16-bit grey PNG", "it is another picture"))?;
        Ok(Self::from_grey16(&grey, scale, offset, missing))
    }

    fn from_grey16(grey: &Grey16, scale: f64, offset: f64, missing: Option<u16>) -> Self {
        let value = |v: &u16| if Some(*v) == missing { f32::NAN } else { (f64::from(*v) * scale + offset) as f32 };
        Self { width: grey.width(), height: grey.height(), values: grey.as_raw().iter().map(value).collect() }
    }

    /// Luma (ITU-R BT.601) of a picture.
    fn from_luma(picture: &Picture) -> Self {
        let luma = |p: &[u8; 3]| 0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2]);
        let (pixels, _) = picture.rgb.as_chunks::<3>();
        Self { width: picture.width, height: picture.height, values: pixels.iter().map(luma).collect() }
    }
}

type Grey16 = image::ImageBuffer<image::Luma<u16>, Vec<u16>>;

/// The picture when the bytes are a 16-bit grey PNG; none when they are something else.
fn grey16(bytes: &[u8]) -> Result<Option<Grey16>, MediaError> {
    if !bytes.starts_with(b"\x89PNG") {
        return Ok(None);
    }
    match decode_png(bytes)? {
        image::DynamicImage::ImageLuma16(grey) => Ok(Some(grey)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(values: &[u16], width: u32) -> tempfile::NamedTempFile {
        let grey = Grey16::from_raw(width, values.len() as u32 / width, values.to_vec()).unwrap();
        let file = tempfile::NamedTempFile::with_suffix(".png").unwrap();
        grey.save(file.path()).unwrap();
        file
    }

    #[test]
    fn hundredths_of_a_kelvin_become_celsius_and_millimetres_metres() {
        let file = written(&[27_315, 30_000, 0, 1_500], 2);
        let ReadPlane { plane: thermal, is_measured } = Plane::open_thermal(file.path()).unwrap();
        assert!(is_measured);
        assert_eq!((thermal.width, thermal.height), (2, 2));
        assert!(thermal.values[0].abs() < 1e-4 && (thermal.values[1] - 26.85).abs() < 1e-4);
        let ReadPlane { plane: depth, is_measured } = Plane::open_depth(file.path()).unwrap();
        assert!(is_measured && depth.values[2].is_nan() && (depth.values[3] - 1.5).abs() < 1e-6);
    }

    #[test]
    fn an_eight_bit_picture_is_relative_intensity() {
        let file = tempfile::NamedTempFile::with_suffix(".png").unwrap();
        let picture = Picture { width: 2, height: 1, rgb: vec![10, 10, 10, 200, 200, 200] };
        std::fs::write(file.path(), picture.to_png().unwrap()).unwrap();
        let ReadPlane { plane, is_measured } = Plane::open_thermal(file.path()).unwrap();
        assert!(!is_measured && !Plane::open_depth(file.path()).unwrap().is_measured);
        assert!((plane.values[0] - 10.0).abs() < 1e-3 && (plane.values[1] - 200.0).abs() < 1e-3);
        assert!(Plane::from_png16(&std::fs::read(file.path()).unwrap(), 1.0, 0.0, None).is_err());
    }

    #[test]
    fn what_is_transparent_is_as_it_is_stored_and_never_white() {
        let grey = |alphas: [u8; 3]| {
            let file = tempfile::NamedTempFile::with_suffix(".png").unwrap();
            let values = [10, alphas[0], 0, alphas[1], 200, alphas[2]].to_vec();
            image::GrayAlphaImage::from_raw(3, 1, values).unwrap().save(file.path()).unwrap();
            file
        };
        for alphas in [[255, 0, 255], [0, 0, 128], [0, 0, 0]] {
            let file = grey(alphas);
            let thermal = Plane::open_thermal(file.path()).unwrap().plane.values;
            let depth = Plane::open_depth(file.path()).unwrap().plane.values;
            for (stored, values) in [(10.0, [thermal[0], depth[0]]), (200.0, [thermal[2], depth[2]])] {
                assert!(values.iter().all(|value| (value - stored).abs() < 1e-3), "{alphas:?}: {values:?}");
            }
            assert!(thermal[1] == 0.0 && depth[1].is_nan(), "{alphas:?}");
        }
    }
}
