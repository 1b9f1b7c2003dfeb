//! ROS 2 messages, as bags hold them, into samples. Pure.
//!
//! Layouts: `sensor_msgs/msg/{Image,CompressedImage,Imu}` and `audio_common_msgs/msg/{AudioData,AudioDataStamped}`; encodings of pictures are
//! those of `sensor_msgs/image_encodings.hpp`. ROS's body frame (REP 103: x forward, y left, z up) is perceptd's.

use super::cdr::CdrReader;
use super::convert::{Decoded, jpeg_size};
use super::topics::TopicSettings;
use crate::media::{CameraFrame, Picture, PixelFormat, Plane};
use crate::modality::Modality;
use crate::sensors::{ImuReading, SampleData};
use crate::time::{MonoTime, NANOS_PER_SEC};

/// A message that can become a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RosType {
    /// `sensor_msgs/msg/Image`.
    Image,
    /// `sensor_msgs/msg/CompressedImage`.
    CompressedImage,
    /// `sensor_msgs/msg/Imu`.
    Imu,
    /// `audio_common_msgs/msg/AudioData`.
    AudioData,
    /// `audio_common_msgs/msg/AudioDataStamped`.
    AudioDataStamped,
}

impl RosType {
    /// Every type.
    pub const ALL: [Self; 5] = [Self::Image, Self::CompressedImage, Self::Imu, Self::AudioData, Self::AudioDataStamped];

    /// The name as bags say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "sensor_msgs/msg/Image",
            Self::CompressedImage => "sensor_msgs/msg/CompressedImage",
            Self::Imu => "sensor_msgs/msg/Imu",
            Self::AudioData => "audio_common_msgs/msg/AudioData",
            Self::AudioDataStamped => "audio_common_msgs/msg/AudioDataStamped",
        }
    }

    /// The senses that it can serve, the usual one first.
    pub(super) const fn modalities(self) -> &'static [Modality] {
        match self {
            Self::Image | Self::CompressedImage => &[Modality::Image, Modality::Thermal, Modality::Depth],
            Self::Imu => &[Modality::Imu],
            Self::AudioData | Self::AudioDataStamped => &[Modality::Audio],
        }
    }
}

/// The sample in a message; or what is wrong with it. Its stamp is Unix time: zero in the message is no stamp.
pub fn decode_ros(kind: RosType, message: &[u8], modality: Modality, topic: &TopicSettings) -> Result<Decoded, String> {
    let mut reader = CdrReader::new(message)?;
    match kind {
        RosType::Imu => imu(&mut reader),
        RosType::AudioData => Ok(Decoded { captured_at: None, data: audio(&mut reader, topic)? }),
        RosType::AudioDataStamped => {
            let captured_at = header(&mut reader)?;
            Ok(Decoded { captured_at, data: audio(&mut reader, topic)? })
        }
        RosType::Image => {
            let captured_at = header(&mut reader)?;
            Ok(Decoded { captured_at, data: Raw::read(&mut reader)?.sample(modality, topic)? })
        }
        RosType::CompressedImage => {
            let captured_at = header(&mut reader)?;
            let (format, data) = (reader.text()?, reader.bytes()?);
            Ok(Decoded { captured_at, data: compressed(format, data, modality, topic)? })
        }
    }
}

/// `std_msgs/msg/Header`: its stamp, if it has one.
fn header(reader: &mut CdrReader<'_>) -> Result<Option<i64>, String> {
    let (secs, nanos) = (i64::from(reader.i32()?), i64::from(reader.u32()?));
    let _frame_id = reader.text()?;
    Ok((secs != 0 || nanos != 0).then_some(secs * NANOS_PER_SEC + nanos))
}

fn imu(reader: &mut CdrReader<'_>) -> Result<Decoded, String> {
    let captured_at = header(reader)?;
    let _orientation: ([f64; 4], [f64; 9]) = (reader.f64s()?, reader.f64s()?);
    let (gyro, gyro_covariance): ([f64; 3], [f64; 9]) = (reader.f64s()?, reader.f64s()?);
    let (accel, accel_covariance): ([f64; 3], [f64; 9]) = (reader.f64s()?, reader.f64s()?);
    // "If you have no estimate for one of the data elements, please set element 0 of the associated covariance matrix to -1"
    let is_missing = |[first, ..]: [f64; 9]| first == -1.0;
    if is_missing(accel_covariance) {
        return Err("it has no acceleration".to_owned());
    }
    let f32s = |values: [f64; 3]| values.map(|value| value as f32);
    let reading = ImuReading {
        captured_at: MonoTime::default(), // the caller knows the timeline
        accel_in_body_mps2: f32s(accel),
        gyro_in_body_radps: (!is_missing(gyro_covariance)).then_some(f32s(gyro)),
    };
    Ok(Decoded { captured_at, data: SampleData::Imu(vec![reading]) })
}

/// 16-bit little-endian samples, which `audio_capture` gives for `format: wave`; the first of its channels.
fn audio(reader: &mut CdrReader<'_>, topic: &TopicSettings) -> Result<SampleData, String> {
    let data = reader.bytes()?;
    if data.starts_with(b"ID3")
        || data.starts_with(&[0xFF, 0xFB])
        || data.starts_with(b"RIFF")
        || data.starts_with(b"fLaC")
    {
        return Err("its sound is a file (MP3, WAV or FLAC): 16-bit samples are read (`format: wave`)".to_owned());
    }
    let frame_bytes = 2 * usize::from(topic.channels.max(1));
    if data.is_empty() || !data.len().is_multiple_of(frame_bytes) {
        return Err(format!("{} bytes are no 16-bit samples of {} channel(s)", data.len(), topic.channels));
    }
    let first = |frame: &[u8]| frame.first_chunk().map(|two| f32::from(i16::from_le_bytes(*two)) / 32_768.0);
    let samples = data.chunks_exact(frame_bytes).filter_map(first).collect();
    Ok(SampleData::Audio { sample_rate_hz: topic.sample_rate_hz, samples })
}

/// A picture in rows that may be longer than their pixels.
struct Raw<'a> {
    width: u32,
    height: u32,
    encoding: &'a str,
    is_big_endian: bool,
    step: usize,
    data: &'a [u8],
}

impl<'a> Raw<'a> {
    fn read(reader: &mut CdrReader<'a>) -> Result<Self, String> {
        let (height, width) = (reader.u32()?, reader.u32()?);
        let (encoding, is_big_endian) = (reader.text()?, reader.u8()? != 0);
        let (step, data) = (reader.u32()? as usize, reader.bytes()?);
        Ok(Self { width, height, encoding, is_big_endian, step, data })
    }

    /// The pixels, row after row; an error when there are fewer than the size says.
    fn rows(&self, bytes_per_pixel: usize) -> Result<impl Iterator<Item = &'a [u8]>, String> {
        let row_bytes = (self.width as usize).saturating_mul(bytes_per_pixel);
        let step = self.step.max(row_bytes);
        let height = self.height as usize;
        let needed = step.checked_mul(height.saturating_sub(1)).and_then(|bytes| bytes.checked_add(row_bytes));
        if row_bytes == 0 || height == 0 || needed.is_none_or(|needed| self.data.len() < needed) {
            return Err(format!("{} bytes are no {}×{} {}", self.data.len(), self.width, self.height, self.encoding));
        }
        Ok(self.data.chunks(step).take(height).filter_map(move |row| row.get(..row_bytes)))
    }

    fn sample(&self, modality: Modality, topic: &TopicSettings) -> Result<SampleData, String> {
        match modality {
            Modality::Thermal => {
                self.plane(topic.celsius_per_step, topic.celsius_at_zero, None).map(SampleData::Thermal)
            }
            // REP 118: millimetres, zero for no reading, or metres.
            Modality::Depth => self.plane(0.001, 0.0, Some(0)).map(SampleData::Depth),
            _ => self.frame().map(SampleData::Image),
        }
    }

    fn plane(&self, per_step: f64, at_zero: f64, missing: Option<u16>) -> Result<Plane, String> {
        let value =
            |step: u16| if Some(step) == missing { f32::NAN } else { (f64::from(step) * per_step + at_zero) as f32 };
        let is_big = self.is_big_endian;
        let values: Vec<f32> = match self.encoding {
            "16UC1" | "mono16" => {
                let step = move |two: &[u8; 2]| {
                    value(if is_big { u16::from_be_bytes(*two) } else { u16::from_le_bytes(*two) })
                };
                self.rows(2)?.flat_map(|row| row.as_chunks().0.iter().map(step)).collect()
            }
            "32FC1" => {
                let number =
                    move |four: &[u8; 4]| if is_big { f32::from_be_bytes(*four) } else { f32::from_le_bytes(*four) };
                self.rows(4)?.flat_map(|row| row.as_chunks().0.iter().map(number)).collect()
            }
            other => return Err(format!("its encoding is `{other}`: 16UC1, mono16 and 32FC1 are read")),
        };
        Ok(Plane { width: self.width, height: self.height, values })
    }

    fn frame(&self) -> Result<CameraFrame, String> {
        let (format, bytes) = match self.encoding {
            "rgb8" | "8UC3" => (PixelFormat::Rgb8, self.rows(3)?.flatten().copied().collect()),
            "bgr8" => (PixelFormat::Rgb8, self.pixels(3, |[b, g, r]: &[u8; 3]| [*r, *g, *b])?),
            "rgba8" => (PixelFormat::Rgb8, self.pixels(4, |[r, g, b, _]: &[u8; 4]| [*r, *g, *b])?),
            "bgra8" => (PixelFormat::Rgb8, self.pixels(4, |[b, g, r, _]: &[u8; 4]| [*r, *g, *b])?),
            "mono8" | "8UC1" => (PixelFormat::Grey8, self.rows(1)?.flatten().copied().collect::<Vec<u8>>()),
            "yuv422_yuy2" | "yuyv" => (PixelFormat::Yuyv, self.rows(2)?.flatten().copied().collect()),
            "yuv422" | "uyvy" => (PixelFormat::Yuyv, self.pixels(2, |[chroma, luma]: &[u8; 2]| [*luma, *chroma])?),
            other => {
                let known = "rgb8, bgr8, rgba8, bgra8, mono8, yuv422 and yuv422_yuy2";
                return Err(format!("its encoding is `{other}`: {known} are read"));
            }
        };
        Ok(CameraFrame { width: self.width, height: self.height, format, bytes: bytes.into() })
    }

    fn pixels<const N: usize, const M: usize>(
        &self,
        size: usize,
        change: fn(&[u8; N]) -> [u8; M],
    ) -> Result<Vec<u8>, String> {
        Ok(self.rows(size)?.flat_map(|row| row.as_chunks().0.iter().flat_map(change)).collect())
    }
}

/// `image_transport`'s formats: `jpeg`, `png`, or such as `rgb8; jpeg compressed bgr8` and `16UC1; compressedDepth png`.
fn compressed(format: &str, data: &[u8], modality: Modality, topic: &TopicSettings) -> Result<SampleData, String> {
    // compressedDepth puts an enumeration and two floats before the file.
    let file = if format.contains("compressedDepth") { data.get(12..).unwrap_or_default() } else { data };
    if format.contains("compressedDepth") && !format.starts_with("16UC1") {
        return Err(format!("its format is `{format}`: of compressed depth, 16UC1 is read"));
    }
    let told = |why: crate::media::MediaError| why.to_string();
    match modality {
        Modality::Thermal => Plane::from_png16(file, topic.celsius_per_step, topic.celsius_at_zero, None)
            .map(SampleData::Thermal)
            .map_err(told),
        Modality::Depth => Plane::from_png16(file, 0.001, 0.0, Some(0)).map(SampleData::Depth).map_err(told),
        _ if file.starts_with(&[0xFF, 0xD8]) => {
            let (width, height) = jpeg_size(file).ok_or("its JPEG has no size")?;
            Ok(SampleData::Image(CameraFrame { width, height, format: PixelFormat::Jpeg, bytes: file.into() }))
        }
        _ => {
            let Picture { width, height, rgb } = Picture::from_bytes(file).map_err(told)?;
            Ok(SampleData::Image(CameraFrame { width, height, format: PixelFormat::Rgb8, bytes: rgb.into() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::modality::SensorId;

    /// Little-endian CDR, written by hand.
    struct Cdr(Vec<u8>);

    impl Cdr {
        fn new() -> Self {
            Self(vec![0, 1, 0, 0])
        }

        fn header() -> Self {
            Self::new().u32(12).u32(500).text("camera")
        }

        fn put(mut self, size: usize, bytes: &[u8]) -> Self {
            while !(self.0.len() - 4).is_multiple_of(size) {
                self.0.push(0xAA);
            }
            self.0.extend(bytes);
            self
        }

        fn u8(self, value: u8) -> Self {
            self.put(1, &[value])
        }

        fn u32(self, value: u32) -> Self {
            self.put(4, &value.to_le_bytes())
        }

        fn f64s(self, values: &[f64]) -> Self {
            values.iter().fold(self, |cdr, value| cdr.put(8, &value.to_le_bytes()))
        }

        fn text(self, text: &str) -> Self {
            self.bytes(&[text.as_bytes(), &[0]].concat())
        }

        fn bytes(self, bytes: &[u8]) -> Self {
            self.u32(bytes.len() as u32).put(1, bytes)
        }

        fn image(width: u32, height: u32, encoding: &str, is_big_endian: bool, step: u32, data: &[u8]) -> Vec<u8> {
            let size = Self::header().u32(height).u32(width);
            size.text(encoding).u8(is_big_endian.into()).u32(step).bytes(data).0
        }
    }

    fn topic() -> TopicSettings {
        TopicSettings::new(SensorId::new("s").unwrap(), "/s")
    }

    fn decoded(kind: RosType, message: &[u8], modality: Modality) -> Result<Decoded, String> {
        decode_ros(kind, message, modality, &topic())
    }

    fn imu_message(accel_covariance: f64, gyro_covariance: f64) -> Vec<u8> {
        let covariance = |first: f64| [first, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let turned = Cdr::header().f64s(&[0.0, 0.0, 0.0, 1.0]).f64s(&covariance(-1.0));
        let gyro = turned.f64s(&[0.1, 0.2, 0.3]).f64s(&covariance(gyro_covariance));
        gyro.f64s(&[1.0, 2.0, 9.8]).f64s(&covariance(accel_covariance)).0
    }

    #[test]
    fn pictures_of_every_encoding_become_frames() {
        type Case<'a> = (&'a str, u32, &'a [u8], PixelFormat, &'a [u8]);
        let cases: [Case<'_>; 9] = [
            ("rgb8", 6, &[1, 2, 3, 4, 5, 6], PixelFormat::Rgb8, &[1, 2, 3, 4, 5, 6]),
            ("bgr8", 6, &[1, 2, 3, 4, 5, 6], PixelFormat::Rgb8, &[3, 2, 1, 6, 5, 4]),
            ("rgba8", 8, &[1, 2, 3, 9, 4, 5, 6, 9], PixelFormat::Rgb8, &[1, 2, 3, 4, 5, 6]),
            ("bgra8", 8, &[1, 2, 3, 9, 4, 5, 6, 9], PixelFormat::Rgb8, &[3, 2, 1, 6, 5, 4]),
            ("mono8", 2, &[1, 2], PixelFormat::Grey8, &[1, 2]),
            // Rows may be longer than their pixels.
            ("mono8", 3, &[1, 2, 77], PixelFormat::Grey8, &[1, 2]),
            ("yuv422_yuy2", 4, &[1, 2, 3, 4], PixelFormat::Yuyv, &[1, 2, 3, 4]),
            ("yuv422", 4, &[1, 2, 3, 4], PixelFormat::Yuyv, &[2, 1, 4, 3]),
            ("uyvy", 4, &[1, 2, 3, 4], PixelFormat::Yuyv, &[2, 1, 4, 3]),
        ];
        for (encoding, step, data, format, wanted) in cases {
            let twice = data.repeat(2);
            let message = Cdr::image(2, 2, encoding, false, step, &twice);
            let Decoded { captured_at, data } = decoded(RosType::Image, &message, Modality::Image).unwrap();
            assert_eq!(captured_at, Some(12_000_000_500));
            let SampleData::Image(frame) = data else { panic!() };
            assert_eq!((frame.width, frame.height, frame.format), (2, 2, format), "{encoding}");
            assert_eq!(&frame.bytes[..], wanted.repeat(2), "{encoding}");
        }
        for (encoding, data, words) in [("bayer_rggb8", &[0; 4][..], "bayer_rggb8"), ("rgb8", &[0; 11], "11 bytes")] {
            let message = Cdr::image(2, 2, encoding, false, 6, data);
            let told = decoded(RosType::Image, &message, Modality::Image).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn planes_are_celsius_and_metres() {
        let plane = |encoding: &str, is_big: bool, data: &[u8], modality| {
            let step = data.len() as u32 / 2;
            let message = Cdr::image(1, 2, encoding, is_big, step, data);
            match decoded(RosType::Image, &message, modality).unwrap().data {
                SampleData::Thermal(plane) | SampleData::Depth(plane) => plane.values,
                other => panic!("{other:?}"),
            }
        };
        let warm = plane("mono16", false, &[0xB3, 0x6A, 0x2F, 0x75], Modality::Thermal);
        assert!(warm[0].abs() < 1e-4 && (warm[1] - 26.84).abs() < 1e-2, "{warm:?}");
        assert_eq!(plane("16UC1", true, &[0x6A, 0xB3, 0x75, 0x2F], Modality::Thermal), warm);
        let far = plane("16UC1", false, &[0, 0, 0xDC, 0x05], Modality::Depth);
        assert!(far[0].is_nan() && (far[1] - 1.5).abs() < 1e-6);
        assert_eq!(plane("32FC1", false, &[0, 0, 0x80, 0x3F, 0, 0, 0, 0x40], Modality::Depth), [1.0, 2.0]);
    }

    #[test]
    fn compressed_pictures_are_jpeg_or_png() {
        let picture = Picture { width: 2, height: 1, rgb: vec![200, 10, 10, 10, 10, 200] };
        let message = |format: &str, file: &[u8]| Cdr::header().text(format).bytes(file).0;
        let png = message("rgb8; png compressed bgr8", &picture.to_png().unwrap());
        let SampleData::Image(frame) = decoded(RosType::CompressedImage, &png, Modality::Image).unwrap().data else {
            panic!()
        };
        assert_eq!((frame.format, &frame.bytes[..]), (PixelFormat::Rgb8, &picture.rgb[..]));
        let file = picture.to_jpeg(90).unwrap();
        let jpeg = message("jpeg", &file);
        let SampleData::Image(frame) = decoded(RosType::CompressedImage, &jpeg, Modality::Image).unwrap().data else {
            panic!()
        };
        assert_eq!((frame.format, frame.width, &frame.bytes[..]), (PixelFormat::Jpeg, 2, &file[..]));
        for (format, file) in [("jpeg", &b"GIF89a"[..]), ("32FC1; compressedDepth png", &[0; 40]), ("png", &[])] {
            assert!(decoded(RosType::CompressedImage, &message(format, file), Modality::Image).is_err(), "{format}");
        }
    }

    #[test]
    fn motion_knows_what_its_device_does_not_measure() {
        let imu = |message: &[u8]| match decoded(RosType::Imu, message, Modality::Imu)?.data {
            SampleData::Imu(readings) => Ok(readings[0]),
            other => Err(format!("{other:?}")),
        };
        let whole = imu(&imu_message(0.0, 0.01)).unwrap();
        assert_eq!((whole.accel_in_body_mps2, whole.gyro_in_body_radps), ([1.0, 2.0, 9.8], Some([0.1, 0.2, 0.3])));
        assert_eq!(imu(&imu_message(0.0, -1.0)).unwrap().gyro_in_body_radps, None);
        assert!(imu(&imu_message(-1.0, 0.0)).unwrap_err().contains("no acceleration"));
    }

    #[test]
    fn sound_is_the_first_channel_of_16_bit_samples() {
        let stereo = TopicSettings { channels: 2, sample_rate_hz: 48_000, ..topic() };
        let message = Cdr::header().bytes(&[0, 0x40, 9, 9, 0, 0xC0, 9, 9]).0;
        let decoded = decode_ros(RosType::AudioDataStamped, &message, Modality::Audio, &stereo).unwrap();
        let wanted = SampleData::Audio { sample_rate_hz: 48_000, samples: vec![0.5, -0.5] };
        assert_eq!(decoded, Decoded { captured_at: Some(12_000_000_500), data: wanted });
        for (data, words) in [(&b"ID3\x03aaaa"[..], "MP3"), (&[1, 2, 3], "3 bytes"), (&[], "0 bytes")] {
            let told = decode_ros(RosType::AudioData, &Cdr::new().bytes(data).0, Modality::Audio, &stereo).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }

    proptest! {
        /// Cut anywhere, with any byte changed, or noise altogether: a sample or a reason, never a panic.
        #[test]
        fn noise_is_refused(
            kind in prop::sample::select(RosType::ALL.to_vec()), noise in prop::collection::vec(any::<u8>(), 0..200),
            at: prop::sample::Index, value: u8,
        ) {
            let mut messages = vec![
                [&[0, 1, 0, 0], &noise[..]].concat(),
                imu_message(0.0, 0.0),
                Cdr::image(2, 2, "bgr8", false, 6, &[7; 12]),
                Cdr::header().text("jpeg").bytes(&[0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, 0, 2, 0, 3, 1, 1, 0x11, 0]).0,
                noise,
            ];
            for message in &mut messages {
                for modality in [Modality::Image, Modality::Thermal, Modality::Depth] {
                    for end in 0..message.len() {
                        drop(decoded(kind, &message[..end], modality));
                    }
                    if !message.is_empty() {
                        let place = at.index(message.len());
                        message[place] = value;
                    }
                    drop(decoded(kind, message, modality));
                }
            }
        }
    }
}
