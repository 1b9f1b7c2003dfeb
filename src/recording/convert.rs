//! Samples to messages and back, without loss: small encodings are used only where they give the very same numbers.

use prost::Message;
use prost_types::Timestamp;

use super::wire::{Schema, foxglove, perceptd};
pub(super) use crate::media::jpeg_size;
use crate::media::{CameraFrame, PixelFormat, Plane};
use crate::modality::Modality;
use crate::sensors::{ImuReading, SampleData};
use crate::time::{MonoTime, NANOS_PER_SEC, Timeline};

/// The message of `data`. `timeline` gives the stamps inside as Unix time.
pub(super) fn encode(data: &SampleData, captured_at: MonoTime, sensor: &str, timeline: &Timeline) -> (Schema, Vec<u8>) {
    let timestamp = Some(to_wire(timeline.unix_nanos(captured_at)));
    let frame_id = sensor.to_owned();
    match data {
        SampleData::Image(CameraFrame { format: PixelFormat::Jpeg, bytes, .. }) => {
            let (data, format) = (bytes.to_vec(), "jpeg".to_owned());
            let message = foxglove::CompressedImage { timestamp, frame_id, data, format };
            (Schema::CompressedImage, message.encode_to_vec())
        }
        SampleData::Image(CameraFrame { width, height, format, bytes }) => {
            let (encoding, bytes_per_pixel) = match format {
                PixelFormat::Rgb8 => ("rgb8", 3),
                PixelFormat::Yuyv => ("yuyv", 2),
                PixelFormat::Nv12 => ("nv12", 1),
                PixelFormat::Grey8 | PixelFormat::Jpeg => ("mono8", 1),
            };
            let (step, encoding) = (width.saturating_mul(bytes_per_pixel), encoding.to_owned());
            let (width, height, data) = (*width, *height, bytes.to_vec());
            let message = foxglove::RawImage { timestamp, frame_id, width, height, encoding, step, data };
            (Schema::RawImage, message.encode_to_vec())
        }
        SampleData::Audio { sample_rate_hz, samples } => {
            let (encoding, data) = encode_pcm(samples);
            let encoding = encoding.into();
            let message = perceptd::AudioBlock { timestamp, sample_rate_hz: *sample_rate_hz, encoding, data };
            (Schema::AudioBlock, message.encode_to_vec())
        }
        SampleData::Thermal(plane) => (Schema::PlaneFrame, encode_plane(plane, timestamp, Modality::Thermal)),
        SampleData::Depth(plane) => (Schema::PlaneFrame, encode_plane(plane, timestamp, Modality::Depth)),
        SampleData::Imu(readings) => {
            let readings = readings.iter().map(|r| encode_reading(r, timeline)).collect();
            (Schema::ImuBatch, perceptd::ImuBatch { readings }.encode_to_vec())
        }
    }
}

/// The data of a message of `modality`'s channel; or what is wrong with it.
pub(super) fn decode(
    schema: Schema,
    bytes: &[u8],
    modality: Modality,
    timeline: &Timeline,
) -> Result<SampleData, String> {
    let malformed = |why| malformed(schema, &why);
    match (schema, modality) {
        (Schema::CompressedImage | Schema::RawImage, Modality::Image) => decode_image(schema, bytes),
        (Schema::AudioBlock, Modality::Audio) => {
            let message = perceptd::AudioBlock::decode(bytes).map_err(malformed)?;
            let samples =
                decode_pcm(message.encoding(), &message.data).ok_or("a sound's length or encoding is wrong")?;
            Ok(SampleData::Audio { sample_rate_hz: message.sample_rate_hz, samples })
        }
        (Schema::PlaneFrame, Modality::Thermal | Modality::Depth) => {
            let message = perceptd::PlaneFrame::decode(bytes).map_err(malformed)?;
            let values = decode_values(message.encoding(), &message.data).ok_or("a plane's encoding is wrong")?;
            let plane = Plane { width: message.width, height: message.height, values };
            if plane.values.len() as u64 != u64::from(plane.width) * u64::from(plane.height) {
                return Err(format!("a plane of {}×{} has {} values", plane.width, plane.height, plane.values.len()));
            }
            Ok(if modality == Modality::Depth { SampleData::Depth(plane) } else { SampleData::Thermal(plane) })
        }
        (Schema::ImuBatch, Modality::Imu) => {
            let message = perceptd::ImuBatch::decode(bytes).map_err(malformed)?;
            let readings: Option<Vec<ImuReading>> =
                message.readings.iter().map(|r| decode_reading(r, timeline)).collect();
            Ok(SampleData::Imu(readings.ok_or("a reading lacks its stamp or acceleration")?))
        }
        _ => Err(format!("a {} stands in a channel of {modality}", schema.name())),
    }
}

fn decode_image(schema: Schema, bytes: &[u8]) -> Result<SampleData, String> {
    let malformed = |why| malformed(schema, &why);
    if schema == Schema::CompressedImage {
        let message = foxglove::CompressedImage::decode(bytes).map_err(malformed)?;
        let (width, height) = jpeg_size(&message.data).ok_or("a picture is no JPEG")?;
        let (format, bytes) = (PixelFormat::Jpeg, message.data.into());
        return Ok(SampleData::Image(CameraFrame { width, height, format, bytes }));
    }
    let message = foxglove::RawImage::decode(bytes).map_err(malformed)?;
    let format = match message.encoding.as_str() {
        "rgb8" => PixelFormat::Rgb8,
        "mono8" => PixelFormat::Grey8,
        "yuyv" => PixelFormat::Yuyv,
        "nv12" => PixelFormat::Nv12,
        other => return Err(format!("a picture is laid out as `{other}`")),
    };
    let (width, height, bytes) = (message.width, message.height, message.data.into());
    Ok(SampleData::Image(CameraFrame { width, height, format, bytes }))
}

fn malformed(schema: Schema, why: &prost::DecodeError) -> String {
    format!("a {} is malformed: {why}", schema.name())
}

fn to_wire(unix_nanos: i64) -> Timestamp {
    Timestamp {
        seconds: unix_nanos.div_euclid(NANOS_PER_SEC),
        nanos: i32::try_from(unix_nanos.rem_euclid(NANOS_PER_SEC)).unwrap_or(0),
    }
}

fn from_wire(stamp: &Timestamp, timeline: &Timeline) -> MonoTime {
    let unix = stamp.seconds.saturating_mul(NANOS_PER_SEC).saturating_add(i64::from(stamp.nanos));
    MonoTime::from_nanos(unix.saturating_sub(timeline.unix_nanos_at_zero))
}

fn encode_reading(reading: &ImuReading, timeline: &Timeline) -> perceptd::ImuReading {
    let vector = |[x, y, z]: [f32; 3]| perceptd::Vector3 { x, y, z };
    perceptd::ImuReading {
        timestamp: Some(to_wire(timeline.unix_nanos(reading.captured_at))),
        accel_mps2: Some(vector(reading.accel_in_body_mps2)),
        gyro_radps: reading.gyro_in_body_radps.map(vector),
    }
}

fn decode_reading(reading: &perceptd::ImuReading, timeline: &Timeline) -> Option<ImuReading> {
    let axes = |v: &perceptd::Vector3| [v.x, v.y, v.z];
    Some(ImuReading {
        captured_at: from_wire(reading.timestamp.as_ref()?, timeline),
        accel_in_body_mps2: axes(reading.accel_mps2.as_ref()?),
        gyro_in_body_radps: reading.gyro_radps.as_ref().map(axes),
    })
}

fn encode_pcm(samples: &[f32]) -> (perceptd::audio_block::Encoding, Vec<u8>) {
    use perceptd::audio_block::Encoding;
    let as_s16 = |v: &f32| {
        let scaled = v * 32_768.0;
        let is_exact = scaled.fract() == 0.0 && (-32_768.0..=32_767.0).contains(&scaled) && !is_negative_zero(*v);
        is_exact.then_some(scaled as i16)
    };
    match samples.iter().map(as_s16).collect::<Option<Vec<i16>>>() {
        Some(whole) => (Encoding::PcmS16le, whole.iter().flat_map(|v| v.to_le_bytes()).collect()),
        None => (Encoding::PcmF32le, samples.iter().flat_map(|v| v.to_le_bytes()).collect()),
    }
}

fn is_negative_zero(value: f32) -> bool {
    value == 0.0 && value.is_sign_negative()
}

fn decode_pcm(encoding: perceptd::audio_block::Encoding, data: &[u8]) -> Option<Vec<f32>> {
    use perceptd::audio_block::Encoding;
    match encoding {
        Encoding::PcmS16le => u16s(data).map(|all| all.map(|v| f32::from(v.cast_signed()) / 32_768.0).collect()),
        Encoding::PcmF32le => f32s(data),
        Encoding::Unspecified => None,
    }
}

fn encode_plane(plane: &Plane, timestamp: Option<Timestamp>, modality: Modality) -> Vec<u8> {
    use perceptd::plane_frame::Encoding;
    let small = match modality {
        Modality::Depth => Encoding::MillimetresU16le,
        _ => Encoding::CentikelvinU16le,
    };
    // NaN never equals itself, so the bits are compared.
    let step_of = |v: &f32| {
        let step = match small {
            Encoding::MillimetresU16le if v.is_nan() => 0.0,
            Encoding::MillimetresU16le => f64::from(*v) * 1000.0,
            _ => (f64::from(*v) + 273.15) * 100.0,
        };
        let step = step.round() as u16;
        (value_of(small, step).to_bits() == v.to_bits()).then_some(step)
    };
    let (encoding, data) = match plane.values.iter().map(step_of).collect::<Option<Vec<u16>>>() {
        Some(steps) => (small, steps.iter().flat_map(|v| v.to_le_bytes()).collect()),
        None => (Encoding::F32le, plane.values.iter().flat_map(|v| v.to_le_bytes()).collect()),
    };
    let (width, height, encoding) = (plane.width, plane.height, encoding.into());
    perceptd::PlaneFrame { timestamp, width, height, encoding, data }.encode_to_vec()
}

fn decode_values(encoding: perceptd::plane_frame::Encoding, data: &[u8]) -> Option<Vec<f32>> {
    use perceptd::plane_frame::Encoding;
    match encoding {
        Encoding::F32le => f32s(data),
        Encoding::Unspecified => None,
        small => u16s(data).map(|all| all.map(|v| value_of(small, v)).collect()),
    }
}

fn value_of(encoding: perceptd::plane_frame::Encoding, step: u16) -> f32 {
    match encoding {
        perceptd::plane_frame::Encoding::MillimetresU16le if step == 0 => f32::NAN,
        perceptd::plane_frame::Encoding::MillimetresU16le => (f64::from(step) * 0.001) as f32,
        _ => (f64::from(step) * 0.01 - 273.15) as f32,
    }
}

fn u16s(data: &[u8]) -> Option<impl Iterator<Item = u16>> {
    let (pairs, []) = data.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|pair| u16::from_le_bytes(*pair)))
}

fn f32s(data: &[u8]) -> Option<Vec<f32>> {
    let (fours, []) = data.as_chunks::<4>() else { return None };
    Some(fours.iter().map(|four| f32::from_le_bytes(*four)).collect())
}
