//! A minute of all sensors from a recording through parsing, windows, resampling and alignment, without encoders. Times are CPU time of one
//! thread, so that 600 ms a minute are one per cent of a core.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use criterion::Criterion;
use perceptd::media::{CameraFrame, PixelFormat, Plane};
use perceptd::modality::{Modality, SensorId};
use perceptd::recording::{Recording, RecordingWriter};
use perceptd::sensors::{ImuReading, Sample, SampleData};
use perceptd::time::{MonoTime, NANOS_PER_SEC, Timeline, process_cpu_nanos};
use perceptd::windows::{Cut, Window, WindowData, WindowSettings, Windower};

const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/bundled/meadow.mcap");
const SECS: u64 = 60;

/// How the camera's frames are recorded.
#[derive(Clone, Copy)]
enum Camera {
    /// As the bundled recording has them, 640×480.
    Jpeg,
    /// 640×480 as most USB cameras give them.
    Yuyv,
}

/// A minute as a robot records it: camera at 15 Hz, microphone at 48 kHz in blocks of 20 ms, thermal 160×120 at 9 Hz, depth 320×240 at 5 Hz,
/// IMU at 200 Hz in batches of 10.
fn samples(camera: Camera) -> Vec<Sample> {
    let jpegs: Vec<CameraFrame> = match camera {
        Camera::Jpeg => {
            let recording = Recording::open(Path::new(BUNDLED)).expect("the bundled recording must be readable");
            let frames = recording.samples().filter_map(|sample| match sample.expect("whole").data {
                SampleData::Image(frame) => Some(frame),
                _ => None,
            });
            frames.collect()
        }
        Camera::Yuyv => {
            let bytes: Vec<u8> = (0..640 * 480 * 2u32).map(|n| (n * 31 % 251) as u8).collect();
            vec![CameraFrame { width: 640, height: 480, format: PixelFormat::Yuyv, bytes: bytes.into() }]
        }
    };
    let mut all = Vec::new();
    let mut add = |name: &str, hz: u64, latency_ms: i64, data: &dyn Fn(u64, MonoTime) -> SampleData| {
        for seq in 0..SECS * hz {
            let captured_at = MonoTime::from_nanos((seq * 1_000_000_000 / hz).cast_signed());
            let (sensor, arrived_at) =
                (SensorId::new(name).expect("a name"), captured_at.shifted(latency_ms * 1_000_000));
            all.push(Sample { sensor, captured_at, arrived_at, seq, data: data(seq, captured_at) });
        }
    };
    add("camera", 15, 30, &|seq, _| SampleData::Image(jpegs[seq as usize % jpegs.len()].clone()));
    add("mic", 50, 30, &|seq, _| {
        let samples = (0..960).map(|n| ((seq * 960 + n) * 7919 % 2000) as f32 / 32_768.0).collect();
        SampleData::Audio { sample_rate_hz: 48_000, samples }
    });
    let plane = |width: u32, height: u32, value: &dyn Fn(u32) -> f64| Plane {
        width,
        height,
        values: (0..width * height).map(|n| value(n) as f32).collect(),
    };
    let heat = plane(160, 120, &|n| f64::from(29_000 + n % 900) * 0.01 - 273.15);
    add("thermal", 9, 60, &|_, _| SampleData::Thermal(heat.clone()));
    let far = plane(320, 240, &|n| f64::from(500 + n % 4000) * 0.001);
    add("depth", 5, 40, &|_, _| SampleData::Depth(far.clone()));
    add("imu", 20, 50, &|seq, captured_at| {
        let reading = |n: i64| ImuReading {
            captured_at: captured_at.shifted(n * NANOS_PER_SEC / 200),
            accel_in_body_mps2: [seq as f32 * 0.01, 0.1, 9.8],
            gyro_in_body_radps: Some([0.0, 0.0, n as f32]),
        };
        SampleData::Imu((0..10).map(reading).collect())
    });
    all.sort_by_key(|sample| sample.arrived_at);
    all
}

fn write(camera: Camera, path: &Path) {
    let timeline = Timeline { boot_id: "bench".into(), unix_nanos_at_zero: 1_767_225_600 * NANOS_PER_SEC };
    let mut writer = RecordingWriter::create_new(path, &timeline).expect("a recording");
    samples(camera).iter().for_each(|sample| writer.write(sample).expect("written"));
    writer.finish().expect("finished");
}

/// As the reference pack and the usual config cut.
fn windowers(recording: &Recording) -> BTreeMap<SensorId, Windower> {
    let of = |(sensor, modality): (SensorId, Modality)| {
        let (window_secs, hop_secs, rate_hz) = match modality {
            Modality::Audio => (2.0, 0.5, 16_000.0),
            Modality::Imu => (5.0, 0.5, 10.0),
            Modality::Image => (0.0, 0.2, 0.0),
            _ => (0.0, 0.5, 0.0),
        };
        let cut =
            WindowSettings { sensor: sensor.clone(), modality, window_secs, hop_secs, rate_hz, lateness_secs: 0.2 };
        (sensor, Windower::new(cut).expect("windows"))
    };
    recording.sensors().into_iter().map(of).collect()
}

/// Every sample as the daemon cuts it: time moves all windows on.
fn cut(recording: &Recording, mut take: impl FnMut(&Window)) -> usize {
    let mut windowers = windowers(recording);
    let mut count = 0;
    let mut hand_on = |cuts: Vec<Cut>| {
        for cut in cuts {
            if let Cut::Window(window) = cut {
                take(&window);
                count += 1;
            }
        }
    };
    for sample in recording.samples() {
        let sample = sample.expect("whole");
        windowers.values_mut().for_each(|windower| hand_on(windower.advance(sample.arrived_at)));
        if let Some(windower) = windowers.get_mut(&sample.sensor) {
            hand_on(windower.push(&sample));
        }
    }
    count
}

/// CPU time of this process, whatever else the machine does.
fn cpu(runs: u64, work: impl Fn() -> usize) -> Duration {
    let before = process_cpu_nanos();
    for _ in 0..runs {
        assert!(work() > 0);
    }
    Duration::from_nanos((process_cpu_nanos() - before).unsigned_abs())
}

/// The whole and its parts.
pub fn recorded(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut group = criterion.benchmark_group("60-s-recorded");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    for (name, camera) in [("jpeg", Camera::Jpeg), ("yuyv", Camera::Yuyv)] {
        let path = dir.path().join(format!("{name}.mcap"));
        write(camera, &path);
        let open = || Recording::open(&path).expect("a recording");
        let recording = open();
        group.bench_function(format!("{name}/all"), |b| b.iter_custom(|runs| cpu(runs, || cut(&open(), |_| {}))));
        group.bench_function(format!("{name}/index-and-digest"), |b| {
            b.iter_custom(|runs| cpu(runs, || open().len() as usize));
        });
        group.bench_function(format!("{name}/parse"), |b| {
            b.iter_custom(|runs| cpu(runs, || recording.samples().filter(Result::is_ok).count()));
        });
        group.bench_function(format!("{name}/parse-and-cut"), |b| {
            b.iter_custom(|runs| cpu(runs, || cut(&recording, |_| {})));
        });
        group.bench_function(format!("{name}/parse-cut-and-decode-pictures"), |b| {
            let decode = |window: &Window| {
                if let WindowData::Image(frame) = &window.data {
                    assert!(frame.to_picture().is_ok());
                }
            };
            b.iter_custom(|runs| cpu(runs, || cut(&recording, decode)));
        });
    }
    group.finish();
}
