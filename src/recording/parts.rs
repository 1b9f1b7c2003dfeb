//! Making a recording from its parts: pictures, sound and motion as plain files.
//!
//! ```text
//! camera/%09d.jpg     named by the capture time in milliseconds from the start; also .jpeg, and .png, which becomes raw RGB
//! thermal/%09d.png    16-bit grey, hundredths of a kelvin
//! depth/%09d.png      16-bit grey, millimetres, 0 = no reading
//! mic.wav             sound; channel 0 is taken
//! imu.csv             t_secs,ax_mps2,ay_mps2,az_mps2,gx_radps,gy_radps,gz_radps
//! ```
//!
//! Any part may be missing; what is none is told. The same parts give the same bytes.

use std::path::{Path, PathBuf};

use super::{RecordingError, RecordingWriter};
use crate::files::read_at_most;
use crate::media::{CameraFrame, MOST_PICTURE_BYTES, MediaError, Motion, Picture, PixelFormat, Plane, Sound};
use crate::modality::{Modality, SensorId};
use crate::sensors::{ImuReading, Sample, SampleData};
use crate::time::{MonoTime, Timeline};

/// Wall clock at the start of every recording made from parts: 2026-01-01T00:00:00Z.
const UNIX_NANOS_AT_ZERO: i64 = 1_767_225_600 * 1_000_000_000;

/// What passes between capture and arrival, in milliseconds: of the order that USB cameras, a sound card with 100 ms periods and serial
/// lines take.
const CAMERA_LATENCY_MS: i64 = 30;
const THERMAL_LATENCY_MS: i64 = 60;
const DEPTH_LATENCY_MS: i64 = 40;
const SOUND_LATENCY_MS: i64 = 10;
const MOTION_LATENCY_MS: i64 = 5;

/// Sound and motion arrive in blocks of this length.
const BLOCK_MS: i64 = 100;

const NANOS_PER_MS: i64 = 1_000_000;

/// What a recording was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Sensors and how many samples each gave.
    pub samples: Vec<(SensorId, usize)>,
    /// What whoever gave the parts should know: files that were passed over, and pictures that may not hold what they should.
    pub notes: Vec<String>,
}

/// What stands in a folder of parts.
const PARTS: [&str; 5] = ["camera", "mic.wav", "thermal", "depth", "imu.csv"];

/// Makes `out`, which must not be there, from the parts in `dir`, with sensors `camera`, `mic`, `thermal`, `depth` and `imu`.
///
/// # Errors
/// When no part is there, a part cannot be read, or `out` cannot be written.
pub fn make(dir: &Path, out: &Path) -> Result<Made, RecordingError> {
    let mut notes = Vec::new();
    for path in listed(dir)?.iter().filter(|path| !PARTS.iter().any(|part| path.ends_with(part))) {
        notes.push(passed_over(path, "it is none of camera/, mic.wav, thermal/, depth/, imu.csv"));
    }
    let parts = [
        (Modality::Image, frames(&dir.join("camera"), &["jpg", "jpeg", "png"], camera_frame, &mut notes)?),
        (Modality::Audio, sound(&dir.join("mic.wav"))?),
        (Modality::Thermal, frames(&dir.join("thermal"), &["png"], thermal_frame, &mut notes)?),
        (Modality::Depth, frames(&dir.join("depth"), &["png"], depth_frame, &mut notes)?),
        (Modality::Imu, motion(&dir.join("imu.csv"))?),
    ];
    if parts.iter().all(|(_, samples)| samples.is_empty()) {
        return Err(part_error(dir, "it holds none of camera/, mic.wav, thermal/, depth/, imu.csv"));
    }
    let timeline = Timeline { boot_id: "parts".into(), unix_nanos_at_zero: UNIX_NANOS_AT_ZERO };
    let mut writer = RecordingWriter::create_new(out, &timeline)?;
    let mut made = Made { samples: Vec::new(), notes };
    let mut all = Vec::new();
    for (modality, samples) in parts {
        let Some(first) = samples.first() else { continue };
        writer.add_sensor(&first.sensor, modality)?;
        made.samples.push((first.sensor.clone(), samples.len()));
        all.extend(samples);
    }
    all.sort_by_key(|sample| sample.arrived_at);
    all.iter().try_for_each(|sample| writer.write(sample))?;
    writer.finish()?;
    Ok(made)
}

/// A sensor's frame, and what may be wrong with it.
struct Frame {
    sensor: &'static str,
    latency_ms: i64,
    data: SampleData,
    doubt: Option<String>,
}

type Decoder = fn(&Path) -> Result<Frame, RecordingError>;

/// What is in a folder, in the order of names, but what begins with a dot.
fn listed(dir: &Path) -> Result<Vec<PathBuf>, RecordingError> {
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let entries = std::fs::read_dir(dir).map_err(|why| part_error(dir, why))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(|why| part_error(dir, why)));
    let mut paths =
        paths.filter(|path| !path.as_ref().is_ok_and(|path| is_hidden(path))).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

fn frames(
    dir: &Path,
    extensions: &[&str],
    decode: Decoder,
    notes: &mut Vec<String>,
) -> Result<Vec<Sample>, RecordingError> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let is_wanted = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default();
        extensions.iter().any(|wanted| extension.eq_ignore_ascii_case(wanted))
    };
    let (paths, others): (Vec<_>, Vec<_>) = listed(dir)?.into_iter().partition(is_wanted);
    notes.extend(others.iter().map(|path| passed_over(path, &format!("it is no .{}", extensions.join(", .")))));
    let mut stamped = paths.iter().map(|path| Ok((millis_of(path)?, path))).collect::<Result<Vec<_>, _>>()?;
    stamped.sort();
    let (mut samples, mut doubtful) = (Vec::new(), Vec::new());
    for (seq, (millis, path)) in (0..).zip(stamped) {
        let Frame { sensor, latency_ms, data, doubt } = decode(path)?;
        doubtful.extend(doubt.map(|doubt| (path, doubt)));
        samples.push(sample(sensor, at_millis(i64::from(millis)), latency_ms, seq, data)?);
    }
    if let Some((path, doubt)) = doubtful.first() {
        let more = if doubtful.len() > 1 { format!(" (and {} more)", doubtful.len() - 1) } else { String::new() };
        notes.push(format!("{}: {doubt}{more}", path.display()));
    }
    Ok(samples)
}

fn millis_of(path: &Path) -> Result<u32, RecordingError> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    name.parse().map_err(|why| {
        part_error(path, format!("its name is no capture time in milliseconds, such as 000000200: {why}"))
    })
}

fn passed_over(path: &Path, why: &str) -> String {
    format!("{}: passed over: {why}", path.display())
}

fn camera_frame(path: &Path) -> Result<Frame, RecordingError> {
    let bytes = read_at_most(path, MOST_PICTURE_BYTES).map_err(|why| part_error(path, why))?;
    let frame = if bytes.starts_with(b"\x89PNG") {
        let Picture { width, height, rgb } = media(path, Picture::from_bytes(&bytes))?;
        CameraFrame { width, height, format: PixelFormat::Rgb8, bytes: rgb.into() }
    } else {
        media(path, CameraFrame::of_whole_jpeg(bytes))?
    };
    Ok(Frame { sensor: "camera", latency_ms: CAMERA_LATENCY_MS, data: SampleData::Image(frame), doubt: None })
}

fn thermal_frame(path: &Path) -> Result<Frame, RecordingError> {
    let read = media(path, Plane::open_thermal(path))?;
    let doubt = read.doubt("hundredths of a kelvin");
    let data = SampleData::Thermal(read.plane);
    Ok(Frame { sensor: "thermal", latency_ms: THERMAL_LATENCY_MS, data, doubt })
}

fn depth_frame(path: &Path) -> Result<Frame, RecordingError> {
    let read = media(path, Plane::open_depth(path))?;
    let doubt = read.doubt("millimetres");
    Ok(Frame { sensor: "depth", latency_ms: DEPTH_LATENCY_MS, data: SampleData::Depth(read.plane), doubt })
}

fn sound(path: &Path) -> Result<Vec<Sample>, RecordingError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let Sound { sample_rate_hz, samples } = media(path, Sound::open_first_channel(path))?;
    let block = (i64::from(sample_rate_hz) * BLOCK_MS / 1000).max(1) as usize;
    (0..)
        .zip(samples.chunks(block))
        .map(|(seq, values)| {
            let start_nanos = i128::from(seq) * block as i128 * 1_000_000_000 / i128::from(sample_rate_hz.max(1));
            let captured_at = MonoTime::from_nanos(i64::try_from(start_nanos).unwrap_or(i64::MAX));
            let data = SampleData::Audio { sample_rate_hz, samples: values.to_vec() };
            sample("mic", captured_at, BLOCK_MS + SOUND_LATENCY_MS, seq, data)
        })
        .collect()
}

fn motion(path: &Path) -> Result<Vec<Sample>, RecordingError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let motion = media(path, Motion::open(path))?;
    let reading = |(t_secs, [ax, ay, az, gx, gy, gz]): (&f64, &[f32; 6])| ImuReading {
        captured_at: MonoTime::from_secs_f64(*t_secs),
        accel_in_body_mps2: [*ax, *ay, *az],
        gyro_in_body_radps: Some([*gx, *gy, *gz]),
    };
    let readings: Vec<ImuReading> = motion.t_secs.iter().zip(&motion.readings).map(reading).collect();
    let block_of = |r: &ImuReading| r.captured_at.nanos().div_euclid(BLOCK_MS * NANOS_PER_MS);
    (0..)
        .zip(readings.chunk_by(|a, b| block_of(a) == block_of(b)))
        .filter_map(|(seq, batch)| {
            let (first, last) = batch.first().zip(batch.last())?;
            let latency_ms = last.captured_at.nanos_since(first.captured_at) / NANOS_PER_MS + MOTION_LATENCY_MS;
            Some(sample("imu", first.captured_at, latency_ms, seq, SampleData::Imu(batch.to_vec())))
        })
        .collect()
}

fn sample(
    sensor: &str,
    captured_at: MonoTime,
    latency_ms: i64,
    seq: i64,
    data: SampleData,
) -> Result<Sample, RecordingError> {
    let sensor = SensorId::new(sensor).map_err(|why| part_error(Path::new(sensor), why))?;
    let arrived_at = captured_at.shifted(latency_ms * NANOS_PER_MS);
    Ok(Sample { sensor, captured_at, arrived_at, seq: seq.unsigned_abs(), data })
}

const fn at_millis(millis: i64) -> MonoTime {
    MonoTime::from_nanos(millis * NANOS_PER_MS)
}

fn media<T>(path: &Path, result: Result<T, MediaError>) -> Result<T, RecordingError> {
    result.map_err(|why| part_error(path, why))
}

fn part_error(path: &Path, why: impl ToString) -> RecordingError {
    RecordingError::Part { path: path.to_owned(), why: why.to_string() }
}
