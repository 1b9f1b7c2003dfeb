//! What is no encoder: reading a recording, cutting windows, looking for prompts in a map and in a window of sound, the joint vector,
//! the life of events, and what is done once at the start.

use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use perceptd::config::{Settings, SourceSettings};
use perceptd::detect::{Detector, Frame};
use perceptd::encoders::Encoders;
use perceptd::events::{Episodes, Evidence, IdSource};
use perceptd::media::CameraFrame;
use perceptd::modality::{Modality, SensorId};
use perceptd::prompts::{Prompt, enrol};
use perceptd::recording::Recording;
use perceptd::sensors::{Sample, SampleData};
use perceptd::space::{Bank, CohortScores, Joint, JointSettings, Score};
use perceptd::time::{MonoTime, Span, Timeline};
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
        let prompts = settings
            .prompts
            .iter()
            .map(|p| enrol(p, &bank, |part| part.embed(&mut encoders)).expect("enrols"))
            .collect();
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

/// Windows at 2 Hz, of which every other 10 s match.
fn episodes_of_a_minute(demo: &Demo, score: Score) -> usize {
    let prompt = demo.prompts.first().expect("prompts");
    let mut episodes = Episodes::new(
        demo.settings.events,
        IdSource::replay(Timeline { boot_id: "bench".into(), unix_nanos_at_zero: 0 }, "bench"),
    );
    let windows = (0..120u64).map(|index| {
        let at = |half_secs: u64| MonoTime::from_nanos(half_secs as i64 * 500_000_000);
        let calibrated = if index / 20 % 2 == 0 { 0.0 } else { 0.9 };
        Evidence {
            prompt: prompt.id.clone(),
            sensor: SensorId::new("mic").expect("a name"),
            modality: Modality::Audio,
            span: Span { start: at(index), end: at(index + 4) },
            score: Score { calibrated, ..score },
            boxes: Vec::new(),
            frame_size_px: None,
        }
    });
    windows.map(|evidence| episodes.push(&evidence).len()).sum()
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
    let sound = demo.encoders.audio(&[0.1; 32_000]).expect("embeds");
    let heard = |prompt: &Prompt, cohort: &CohortScores| {
        prompt.calibrations.get(&Modality::Audio).map(|c| c.score_beside(cohort, &sound.vector))
    };
    group.bench_function("compare-4-prompts-with-a-window-of-sound", |b| {
        b.iter(|| {
            let cohort = demo.bank.cohort_scores(&sound.vector, &made_of);
            demo.prompts.iter().filter_map(|prompt| heard(prompt, &cohort)).count()
        });
    });
    let cohort = demo.bank.cohort_scores(&sound.vector, &made_of);
    let score = demo.prompts.iter().find_map(|prompt| heard(prompt, &cohort)).expect("a prompt for sound");
    group.bench_function("follow-a-minute-of-one-prompt", |b| b.iter(|| episodes_of_a_minute(&demo, score)));
    let weight = |modality| (modality, JointSettings { weight: 1.0, horizon_secs: 2.0 });
    let mut joint = Joint::new([weight(Modality::Audio)]);
    for name in ["a", "b", "c", "d", "e"] {
        joint.push(&SensorId::new(name).expect("a name"), MonoTime::from_nanos(0), &sound);
    }
    group.bench_function("joint-vector-of-5-sensors", |b| b.iter(|| joint.at(MonoTime::from_nanos(1))));
    group.bench_function("read-the-recording", |b| {
        let SourceSettings::Replay(replay) = &demo.settings.source else { panic!("the demo replays") };
        b.iter(|| Recording::open(&replay.recording).expect("readable").samples().count());
    });
    group.bench_function("ready-the-bank", |b| {
        b.iter_batched(|| demo.encoders.bank().expect("readable"), Bank::new, BatchSize::LargeInput);
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
