//! What is no encoder: cutting windows, looking for prompts in a map and in a window of sound.

use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use perceptd::config::{Settings, SourceSettings};
use perceptd::detect::{Detector, Frame};
use perceptd::encoders::Encoders;
use perceptd::media::CameraFrame;
use perceptd::modality::Modality;
use perceptd::prompts::{Prompt, enrol};
use perceptd::recording::Recording;
use perceptd::sensors::{Sample, SampleData};
use perceptd::space::Bank;
use perceptd::windows::{WindowSettings, Windower};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/bundled/demo.toml");

struct Demo {
    settings: Settings,
    encoders: Encoders,
    bank: Bank,
    prompts: Vec<Prompt>,
    samples: Vec<Sample>,
}

impl Demo {
    fn open() -> Self {
        let settings = Settings::open(Path::new(DEMO)).expect("the demo's config must be right");
        let mut encoders = Encoders::open(&settings.pack, &Modality::ALL).expect("the pack must be readable");
        let bank = Bank::new(encoders.bank().expect("the bank must be readable"));
        let prompts = settings.prompts.iter().map(|p| enrol(p, &mut encoders, &bank).expect("enrols")).collect();
        let SourceSettings::Replay(replay) = &settings.source else { panic!("the demo replays") };
        let recording = Recording::open(&replay.recording).expect("the recording must be readable");
        let samples = recording.samples().map(|sample| sample.expect("whole")).collect();
        Self { settings, encoders, bank, prompts, samples }
    }

    /// A frame with a thing in it.
    fn frame(&self) -> &CameraFrame {
        let mut frames = self.samples.iter().filter_map(|sample| match &sample.data {
            SampleData::Image(frame) => Some(frame),
            _ => None,
        });
        frames.nth(20).expect("frames")
    }

    fn windower(&self, name: &str, modality: Modality) -> (Windower, Vec<&Sample>) {
        let of_sensor: Vec<&Sample> = self.samples.iter().filter(|sample| sample.sensor.as_str() == name).collect();
        let sensor = &of_sensor.first().expect("samples").sensor;
        let facts = self.encoders.facts(modality).expect("an encoder");
        let cut: WindowSettings = self.settings.window(sensor, modality, facts);
        (Windower::new(cut).expect("windows"), of_sensor)
    }
}

/// One frame, one window, and the whole recording's samples.
pub fn rooms(criterion: &mut Criterion) {
    let demo = Demo::open();
    let mut group = criterion.benchmark_group("rooms");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    let frame = demo.frame();
    group.bench_function("decode-a-bundled-frame", |b| b.iter(|| frame.to_picture().expect("decodes")));
    let picture = frame.to_picture().expect("decodes");
    let (size_px, map) = ((picture.width, picture.height), demo.encoders.map(&picture).expect("embeds"));
    let made_of: Vec<Modality> = demo.prompts.iter().map(|prompt| prompt.made_of).collect();
    let detector = Detector::new(demo.settings.detect);
    group.bench_function("look-for-4-prompts-in-a-map", |b| {
        b.iter(|| {
            let frame = Frame::new(&demo.bank, size_px, &map, &made_of);
            demo.prompts.iter().filter_map(|prompt| detector.detect(&frame, prompt).ok()).count()
        });
    });
    for (name, modality) in [("mic", Modality::Audio), ("imu", Modality::Imu), ("camera", Modality::Image)] {
        group.bench_function(format!("cut-24-s-of-{name}"), |b| {
            b.iter_batched(
                || demo.windower(name, modality),
                |(mut windower, samples)| samples.into_iter().map(|sample| windower.push(sample).len()).sum::<usize>(),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}
