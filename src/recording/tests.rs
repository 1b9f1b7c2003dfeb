//! The spec of the room: exact round trips, damage, replay.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::media::{CameraFrame, PixelFormat, Plane};
use crate::modality::{Modality, SensorId};
use crate::pipe::{Received, WhenFull, bounded};
use crate::sensors::{ImuReading, Sample, SampleData};
use crate::time::{MonoTime, Timeline};

/// The smallest bytes that a JPEG reader takes a size from: start, a frame header of 3×2, end.
const JPEG: &[u8] = &[0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, 0, 2, 0, 3, 1, 1, 0x11, 0, 0xFF, 0xD9];

fn sample(sensor: &str, millis: i64, seq: u64, data: SampleData) -> Sample {
    let captured_at = MonoTime::from_nanos(millis * 1_000_000 + 7);
    let arrived_at = captured_at.shifted(12_345_678);
    Sample { sensor: SensorId::new(sensor).unwrap(), captured_at, arrived_at, seq, data }
}

fn camera(format: PixelFormat, bytes: &[u8]) -> SampleData {
    SampleData::Image(CameraFrame { width: 3, height: 2, format, bytes: bytes.into() })
}

fn plane(values: Vec<f32>) -> Plane {
    Plane { width: values.len() as u32, height: 1, values }
}

fn samples() -> Vec<Sample> {
    let reading = |n: i64, gyro| ImuReading {
        captured_at: MonoTime::from_nanos(n),
        accel_in_body_mps2: [0.1, -9.8, f32::MIN_POSITIVE],
        gyro_in_body_radps: gyro,
    };
    let whole = vec![0.5, -1.0, 32_767.0 / 32_768.0];
    vec![
        sample("cam", 0, 0, camera(PixelFormat::Jpeg, JPEG)),
        sample("cam", 10, 1, camera(PixelFormat::Yuyv, &[9; 12])),
        sample("mic", 20, 0, SampleData::Audio { sample_rate_hz: 16_000, samples: whole }),
        sample("mic", 30, 1, SampleData::Audio { sample_rate_hz: 48_000, samples: vec![0.3, -0.0, 1.5] }),
        sample("heat", 40, 0, SampleData::Thermal(plane(vec![36.6, (29_815.0 * 0.01 - 273.15) as f32]))),
        sample("heat", 50, 5, SampleData::Thermal(plane(vec![(29_815.0f64 * 0.01 - 273.15) as f32; 4]))),
        sample("deep", 60, 0, SampleData::Depth(plane(vec![1.5, 0.25]))),
        sample(
            "imu",
            70,
            9,
            SampleData::Imu(vec![reading(70_000_000, None), reading(75_000_001, Some([1.0, 2.0, 3.0]))]),
        ),
    ]
}

fn timeline() -> Timeline {
    Timeline { boot_id: "b".into(), unix_nanos_at_zero: 1_700_000_000_123_456_789 }
}

fn written(path: &Path, samples: &[Sample]) {
    let mut writer = RecordingWriter::create(path, &timeline()).unwrap();
    writer.add_sensor(&SensorId::new("silent").unwrap(), Modality::Audio).unwrap();
    samples.iter().for_each(|sample| writer.write(sample).unwrap());
    writer.finish().unwrap();
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn everything_comes_back_exactly() {
    let dir = folder();
    let path = dir.path().join("a.mcap");
    written(&path, &samples());
    let recording = Recording::open(&path).unwrap();
    let back: Vec<Sample> = recording.samples().map(Result::unwrap).collect();
    assert_eq!(back, samples());
    assert_eq!(recording.timeline().unix_nanos_at_zero, timeline().unix_nanos_at_zero);
    assert_eq!(*recording.timeline().boot_id, format!("replay-{}", &recording.digest()[..16]));
    let names: Vec<String> = recording.sensors().iter().map(|(id, modality)| format!("{id} {modality}")).collect();
    assert_eq!(names, ["cam image", "deep depth", "heat thermal", "imu imu", "mic audio", "silent audio"]);
}

#[test]
fn missing_readings_stay_missing() {
    let dir = folder();
    let path = dir.path().join("a.mcap");
    written(&path, &[sample("deep", 0, 0, SampleData::Depth(plane(vec![f32::NAN, 1.25])))]);
    let back = Recording::open(&path).unwrap().samples().next().unwrap().unwrap();
    let SampleData::Depth(plane) = back.data else { panic!() };
    assert!(plane.values[0].is_nan() && plane.values[1] == 1.25);
}

#[test]
fn samples_come_in_the_order_of_arrival() {
    let dir = folder();
    let path = dir.path().join("a.mcap");
    let mut mixed = samples();
    mixed.reverse();
    written(&path, &mixed);
    let back: Vec<Sample> = Recording::open(&path).unwrap().samples().map(Result::unwrap).collect();
    assert!(back.is_sorted_by_key(|sample| sample.arrived_at));
}

#[test]
fn what_is_no_recording_is_refused_with_a_reason() {
    let dir = folder();
    let path = dir.path().join("a.mcap");
    assert!(Recording::open(&path).unwrap_err().to_string().contains("cannot read"));
    for bytes in [&b""[..], b"RIFF....WAVE", &[0x89, b'M', b'C', b'A', b'P', 0x30, b'\r', b'\n']] {
        std::fs::write(&path, bytes).unwrap();
        let told = Recording::open(&path).unwrap_err().to_string();
        assert!(told.contains("is no recording"), "{told}");
    }
}

#[test]
fn a_cut_recording_gives_what_is_whole_and_one_error() {
    let dir = folder();
    let path = dir.path().join("a.mcap");
    let picture: Vec<Sample> =
        (0..8).map(|n| sample("cam", n, n as u64, camera(PixelFormat::Rgb8, &[1; 200_000]))).collect();
    written(&path, &picture);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let recording = Recording::open(&path).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = recording.samples().partition(Result::is_ok);
    assert!((2..=4).contains(&good.len()), "{}", good.len());
    assert_eq!(bad.len(), 1);
    let told = bad[0].as_ref().unwrap_err().to_string();
    assert!(told.contains("damaged after") && told.contains("middle of a record"), "{told}");
}

#[test]
fn a_replay_sends_all_and_turns_go_on_in_time() {
    let dir = folder();
    let path = dir.path().join("a.mcap");
    written(&path, &samples());
    let recording = Recording::open(&path).unwrap();
    let (sender, receiver) = bounded(NonZeroUsize::new(64).unwrap(), WhenFull::Block, Box::new(|_: &Sample| {}));
    let ended = replay(&recording, Speed::Max, false, sender, &AtomicBool::new(false)).unwrap();
    assert_eq!(ended, Replayed::Whole);
    for wanted in samples() {
        assert_eq!(receiver.recv(std::time::Duration::ZERO), Received::Item(wanted));
    }
    let (sender, receiver) = bounded(NonZeroUsize::new(4).unwrap(), WhenFull::Block, Box::new(|_: &Sample| {}));
    let player =
        std::thread::spawn(move || replay(&recording, Speed::Real(20.0), true, sender, &AtomicBool::new(false)));
    let mut received = Vec::new();
    while received.len() < 17 {
        let Received::Item(sample) = receiver.recv(std::time::Duration::from_secs(5)) else { panic!() };
        received.push(sample);
    }
    drop(receiver);
    assert_eq!(player.join().unwrap().unwrap(), Replayed::Stopped);
    assert_eq!(received[8].captured_at.nanos_since(received[0].captured_at), 1_000_000_000);
    assert_eq!((received[8].seq, received[16].seq), (10, 20));
    assert!(received.is_sorted_by_key(|sample| sample.arrived_at));
}

#[test]
fn parts_become_a_recording_of_the_same_bytes_every_time() {
    let dir = folder();
    for (name, bytes) in [("camera/000000000.jpg", JPEG), ("camera/000000200.jpg", JPEG)] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let header = "t_secs,ax_mps2,ay_mps2,az_mps2,gx_radps,gy_radps,gz_radps\n";
    let rows: String = (0..25).map(|n| format!("{:.2},0,0,9.8,0,0,{n}\n", f64::from(n) * 0.01)).collect();
    std::fs::write(dir.path().join("imu.csv"), format!("{header}{rows}")).unwrap();
    let (one, two) = (dir.path().join("1.mcap"), dir.path().join("2.mcap"));
    parts::make(dir.path(), &one).unwrap();
    parts::make(dir.path(), &two).unwrap();
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    let back: Vec<Sample> = Recording::open(&one).unwrap().samples().map(Result::unwrap).collect();
    let told: Vec<(String, i64, i64)> = back
        .iter()
        .map(|s| (s.sensor.to_string(), s.captured_at.nanos() / 1_000_000, s.arrived_at.nanos() / 1_000_000))
        .collect();
    let wanted = [("camera", 0, 30), ("imu", 0, 95), ("imu", 100, 195), ("camera", 200, 230), ("imu", 200, 245)];
    assert_eq!(told, wanted.map(|(name, captured, arrived)| (name.to_owned(), captured, arrived)));
    let empty = folder();
    assert!(parts::make(empty.path(), &one).unwrap_err().to_string().contains("none of camera/"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any byte changed, any length kept: no panic, at most one error, and it is the last item.
    #[test]
    fn damage_never_panics(at in 0usize..4000, value: u8, keep in 0usize..4000) {
        let dir = folder();
        let path = dir.path().join("a.mcap");
        written(&path, &samples());
        let mut bytes = std::fs::read(&path).unwrap();
        let place = at % bytes.len();
        bytes[place] = value;
        if keep % 2 == 0 {
            bytes.truncate(keep % bytes.len());
        }
        std::fs::write(&path, bytes).unwrap();
        if let Ok(recording) = Recording::open(&path) {
            let all: Vec<_> = recording.samples().collect();
            let errors = all.iter().filter(|item| item.is_err()).count();
            prop_assert!(errors == 0 || (errors == 1 && all.last().unwrap().is_err()));
        }
    }
}
