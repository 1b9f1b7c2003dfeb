//! Encoders from decoded input to published vector, their preprocessing alone, and start-up.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::Criterion;
use perceptd::encoders::Encoders;
use perceptd::encoders::preprocess::log_mel::{LogMel, LogMelSettings};
use perceptd::encoders::preprocess::{grey, image, resample};
use perceptd::media::{Picture, Plane};
use perceptd::modality::Modality;
use perceptd::time::now;

/// The pack to measure: the reference pack, or another folder.
fn pack() -> PathBuf {
    let reference = || Path::new(env!("CARGO_MANIFEST_DIR")).join("models/reference");
    std::env::var_os("PERCEPTD_BENCH_PACK").map_or_else(reference, PathBuf::from)
}

/// Noise that a decoder cannot make short work of.
fn picture(width: u32, height: u32) -> Picture {
    let rgb = (0..width * height * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    Picture { width, height, rgb }
}

fn sound(rate_hz: u32, secs: f32) -> Vec<f32> {
    let tone = |n: u32| 0.3 * (n as f32 * 0.05).sin() + 0.1 * (n as f32 * 0.31).cos();
    (0..(rate_hz as f32 * secs) as u32).map(tone).collect()
}

fn thermal() -> Plane {
    Plane { width: 160, height: 120, values: (0..160 * 120).map(|i| 20.0 + (i % 97) as f32 * 0.1).collect() }
}

/// From decoded input to published vector.
pub fn sessions(criterion: &mut Criterion) {
    let encoders = Encoders::open(&pack(), &Modality::ALL).expect("the pack must be readable");
    let mut group = criterion.benchmark_group("encoder");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    let (camera, celsius) = (picture(640, 480), thermal());
    let motion_length = encoders.facts(Modality::Imu).map_or(0, |f| (f.window_secs * f.rate_hz).round() as usize * 6);
    let clip = sound(16_000, 2.0);
    group.bench_function("image", |b| b.iter(|| encoders.image(&camera).expect("embeds")));
    group.bench_function("map", |b| b.iter(|| encoders.map(&camera).expect("embeds")));
    group.bench_function("thermal", |b| b.iter(|| encoders.thermal(&celsius).expect("embeds")));
    group.bench_function("audio", |b| b.iter(|| encoders.audio(&clip).expect("embeds")));
    group.bench_function("imu", |b| b.iter(|| encoders.imu(&vec![0.3; motion_length]).expect("embeds")));
    group.bench_function("text", |b| b.iter(|| encoders.text("the sound of a barking dog").expect("embeds")));
    group.finish();
}

/// What comes before a session.
pub fn preprocessing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("preprocess");
    let camera = picture(640, 480);
    let jpeg = camera.to_jpeg(85).expect("encodes");
    group.bench_function("jpeg-decode-640x480", |b| b.iter(|| Picture::from_bytes(&jpeg).expect("decodes")));
    group.bench_function("resize-crop-224", |b| b.iter(|| image::center_crop(black_box(&camera), [224, 224])));
    group.bench_function("resize-stretch-384x512", |b| b.iter(|| image::stretch(black_box(&camera), [384, 512])));
    let small = image::stretch(&camera, [384, 512]);
    group.bench_function("tensor-384x512", |b| b.iter(|| image::tensor(black_box(&small), [0.5; 3], [0.5; 3])));
    let (celsius, stretch) = (thermal(), grey::Stretch { low_percentile: 1.0, high_percentile: 99.0, inverted: false });
    group.bench_function("grey-160x120", |b| b.iter(|| grey::picture(black_box(&celsius), stretch)));
    let front_end = LogMel::new(LogMelSettings::IMAGEBIND);
    let clip = sound(16_000, 2.0);
    group.bench_function("log-mel-2s", |b| b.iter(|| front_end.compute(black_box(&clip))));
    let music = sound(44_100, 2.0);
    group.bench_function("resample-2s-44100-to-16000", |b| {
        b.iter(|| resample::resample(black_box(&music), 44_100, 16_000))
    });
    group.finish();
}

/// From a folder to encoders that are ready, digests and probes included.
pub fn loading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for (name, modalities) in [("image", &[Modality::Image][..]), ("text", &[Modality::Text]), ("all", &Modality::ALL)]
    {
        group.bench_function(name, |b| {
            b.iter(|| Encoders::open(&pack(), modalities).expect("the pack must be readable"))
        });
    }
    group.finish();
}

/// Best milliseconds of each session alone, as one JSON object: `benches/onnxruntime_vs_tract` reads it.
pub fn session_millis() -> serde_json::Value {
    let encoders = Encoders::open(&pack(), &Modality::ALL).expect("the pack must be readable");
    let best = |run: &dyn Fn() -> bool| {
        let (mut best, end) = (i64::MAX, now() + Duration::from_secs(2));
        while now() < end {
            let start = now();
            assert!(run());
            best = best.min(now().nanos_since(start));
        }
        best as f64 / 1e6
    };
    encoders.probes().map(|(name, run)| (name.to_owned(), best(&run).into())).collect::<serde_json::Map<_, _>>().into()
}
