//! The spec of the room: exact round trips, damage, replay.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::media::{CameraFrame, Picture, PixelFormat, Plane};
use crate::modality::{Modality, SensorId};
use crate::pipe::{Received, WhenFull, bounded};
use crate::sensors::{ImuReading, Sample, SampleData};
use crate::time::{MonoTime, Timeline, now};

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
    let mut writer = RecordingWriter::create_new(path, &timeline()).unwrap();
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
    let told = Recording::open(Path::new("/dev/null")).unwrap_err().to_string();
    assert!(told.contains("a device or a pipe"), "{told}");
    let told = Recording::from_bytes([0x28, 0xB5, 0x2F, 0xFD, 0, 0, 0, 0, 0].into(), &[]).unwrap_err().to_string();
    assert!(told.contains("zstd -d"), "{told}");
}

#[test]
fn what_was_flushed_is_there_after_a_crash() {
    let dir = folder();
    let path = dir.path().join("a.mcap");
    let mut writer = RecordingWriter::create_new(&path, &timeline()).unwrap();
    assert!(RecordingWriter::create_new(&path, &timeline()).is_err());
    let samples = samples();
    let (kept, lost) = samples.split_at(5);
    kept.iter().for_each(|sample| writer.write(sample).unwrap());
    writer.sync().unwrap();
    lost.iter().for_each(|sample| writer.write(sample).unwrap());
    // As the file is when the process dies here.
    let bytes = std::fs::read(&path).unwrap();
    let recording = Recording::from_bytes(bytes.into(), &[]).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = recording.samples().partition(Result::is_ok);
    assert_eq!(good.into_iter().map(Result::unwrap).collect::<Vec<_>>(), kept);
    assert!(bad[0].as_ref().unwrap_err().to_string().contains("never finished"));
}

#[test]
fn samples_from_a_pipe_are_recorded_until_it_closes() {
    let dir = folder();
    let path = dir.path().join("a.mcap");
    let (sender, receiver) = bounded(NonZeroUsize::new(64).unwrap(), WhenFull::Block, Box::new(|_: &Sample| {}));
    samples().into_iter().for_each(|sample| sender.send(sample).unwrap());
    drop(sender);
    let recorded = record(RecordingWriter::create_new(&path, &timeline()).unwrap(), &receiver, None).unwrap();
    let counts: Vec<(String, u64)> = recorded.samples.iter().map(|(id, count)| (id.to_string(), *count)).collect();
    assert_eq!(counts, [("cam", 2), ("deep", 1), ("heat", 2), ("imu", 1), ("mic", 2)].map(|(n, c)| (n.to_owned(), c)));
    let back: Vec<Sample> = Recording::open(&path).unwrap().samples().map(Result::unwrap).collect();
    assert_eq!(back, samples());
}

#[test]
fn a_recording_ends_when_there_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let all = samples();
    let first = all[0].arrived_at;
    let kept = |limit: RecordLimit| {
        let path = dir.path().join(format!("{limit:?}.mcap"));
        // Every sender lives on: only the limit can end it.
        let (sender, receiver) = bounded(NonZeroUsize::new(16).unwrap(), WhenFull::Block, Box::new(|_| {}));
        for sample in samples() {
            sender.send(sample).unwrap();
        }
        let writer = RecordingWriter::create_new(&path, &timeline()).unwrap();
        let recorded = record(writer, &receiver, Some(limit)).unwrap();
        let kept = Recording::open(&path).unwrap().samples().map(Result::unwrap).count();
        assert_eq!(recorded.samples.values().sum::<u64>(), kept as u64);
        kept
    };
    let long = Duration::from_secs(600);
    let before = all.iter().filter(|sample| sample.arrived_at.nanos_since(first) < 35_000_000).count();
    assert_eq!(kept(RecordLimit { duration: Duration::from_millis(35), bytes: u64::MAX }), before, "by arrivals");
    assert_eq!(kept(RecordLimit { duration: long, bytes: 1 }), 1, "by bytes");
    let short = Duration::from_millis(300);
    assert_eq!(kept(RecordLimit { duration: short, bytes: u64::MAX }), all.len(), "by the clock");
}

#[test]
fn a_full_disk_is_told_in_the_systems_words() {
    let write_all = |mut writer: RecordingWriter| {
        samples().iter().try_for_each(|sample| writer.write(sample)).and_then(|()| writer.finish())
    };
    let full = Path::new("/dev/full");
    let told = RecordingWriter::begin(full, File::options().write(true).open(full), &timeline())
        .and_then(write_all)
        .unwrap_err();
    assert_eq!(told.to_string(), "cannot write /dev/full: No space left on device (os error 28)");
}

#[test]
fn a_copy_with_findings_replays_as_the_input_and_holds_them_once() {
    let dir = folder();
    let (path, first, second) = (dir.path().join("a.mcap"), dir.path().join("1.mcap"), dir.path().join("2.mcap"));
    written(&path, &samples());
    let camera = SensorId::new("cam").unwrap();
    let place = crate::geometry::PixelBox { x0: 0.0, y0: 0.0, x1: 2.0, y1: 1.0 };
    let boxes = [LabelledBox { box_in_image: place, label: "dog 0.90".to_owned(), colour: 7 }];
    for (from, to) in [(&path, &first), (&first, &second)] {
        let recording = Recording::open(from).unwrap();
        let mut writer = AnnotatedWriter::copy_of(&recording, to).unwrap();
        writer.annotate(&camera, MonoTime::from_nanos(7), &boxes).unwrap();
        writer.message("/perceptd/event/dog", "perceptd.v1.Event", MonoTime::from_nanos(9), &[]).unwrap();
        writer.finish().unwrap();
    }
    for copy in [&first, &second] {
        let recording = Recording::open(copy).unwrap();
        assert_eq!(recording.samples().map(Result::unwrap).collect::<Vec<_>>(), samples());
        assert_eq!(recording.timeline().unix_nanos_at_zero, timeline().unix_nanos_at_zero);
    }
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
    // Neither the recording itself, by whatever name, nor another file is written over.
    let (link, before) = (dir.path().join("link.mcap"), std::fs::read(&first).unwrap());
    std::fs::hard_link(&first, &link).unwrap();
    for there in [&first, &link, &path] {
        let refused = AnnotatedWriter::copy_of(&Recording::open(&first).unwrap(), there).err().unwrap();
        assert!(refused.to_string().contains("name another file"), "{refused}");
    }
    assert_eq!(std::fs::read(&first).unwrap(), before);
}

#[test]
fn chunks_out_of_order_are_read_in_the_order_of_arrival() {
    let dir = folder();
    let path = dir.path().join("a.mcap");
    // Each picture fills a chunk of its own; they arrive in another order than they are written in.
    let order = [3, 0, 5, 1, 4, 2, 7, 6];
    let pictures: Vec<Sample> =
        order.iter().map(|n| sample("cam", *n, *n as u64, camera(PixelFormat::Rgb8, &[*n as u8; 300_000]))).collect();
    written(&path, &pictures);
    let recording = Recording::open(&path).unwrap();
    let back: Vec<Sample> = recording.samples().map(Result::unwrap).collect();
    assert!(back.len() == 8 && back.is_sorted_by_key(|sample| sample.arrived_at));
    let arrivals = recording.arrivals();
    assert_eq!((arrivals.start, arrivals.end), (back[0].arrived_at, back[7].arrived_at));
}

#[test]
fn a_message_that_cannot_be_read_is_counted_and_passed_over() {
    let dir = folder();
    let path = dir.path().join("a.mcap");
    written(
        &path,
        &[
            sample("cam", 0, 0, camera(PixelFormat::Jpeg, b"no picture")),
            sample("cam", 10, 1, camera(PixelFormat::Jpeg, JPEG)),
        ],
    );
    let recording = Recording::open(&path).unwrap();
    let mut samples = recording.samples();
    assert_eq!(samples.by_ref().map(|sample| sample.unwrap().seq).collect::<Vec<_>>(), [1]);
    let tally = &samples.tallies()[&SensorId::new("cam").unwrap()];
    assert_eq!((tally.given, tally.unreadable, tally.is_mapped), (1, 1, false));
    assert!(tally.first_fault.as_ref().unwrap().contains("JPEG"), "{tally:?}");
    let silent = &samples.tallies()[&SensorId::new("silent").unwrap()];
    assert_eq!((silent.given, silent.unreadable), (0, 0));
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
    let (first, began) = (recording.arrivals().start, now());
    let player =
        std::thread::spawn(move || replay(&recording, Speed::Real(20.0), true, sender, &AtomicBool::new(false)));
    let mut received = Vec::new();
    while received.len() < 17 {
        let Received::Item(sample) = receiver.recv(std::time::Duration::from_secs(5)) else { panic!() };
        assert!(sample.arrived_at.nanos_since(first) <= 20 * now().nanos_since(began), "it comes too early");
        received.push(sample);
    }
    drop(receiver);
    assert_eq!(player.join().unwrap().unwrap(), Replayed::Stopped);
    assert_eq!(received[8].captured_at.nanos_since(received[0].captured_at), 1_000_000_000);
    let numbers = |name: &str| {
        received.iter().filter(|sample| sample.sensor.as_str() == name).map(|sample| sample.seq).collect::<Vec<_>>()
    };
    let numbers = ["cam", "heat", "imu"].map(numbers);
    assert_eq!(numbers, [vec![0, 1, 2, 3, 4], vec![0, 5, 6, 11], vec![9, 10]], "no turn looks like a loss");
    assert!(received.is_sorted_by_key(|sample| sample.arrived_at));
}

#[test]
fn parts_become_a_recording_of_the_same_bytes_every_time() {
    let dir = folder();
    let jpeg = picture().to_jpeg(90).unwrap();
    put(dir.path(), &[("camera/000000000.jpg", &jpeg), ("camera/000000200.jpg", &jpeg)]);
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
    let refused = parts::make(dir.path(), &two).unwrap_err().to_string();
    assert!(refused.contains("it is there already") && std::fs::read(&two).is_ok_and(|kept| !kept.is_empty()));
    let empty = folder();
    assert!(parts::make(empty.path(), &one).unwrap_err().to_string().contains("none of camera/"));
}

fn picture() -> Picture {
    Picture { width: 3, height: 2, rgb: (0..18).map(|n| n * 10).collect() }
}

fn put(dir: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn no_part_is_passed_over_without_a_word() {
    let (dir, out) = (folder(), folder());
    let (jpeg, png) = (picture().to_jpeg(90).unwrap(), picture().to_png().unwrap());
    put(
        dir.path(),
        &[
            ("camera/1000.JPG", &jpeg),
            ("camera/20.jpeg", &jpeg),
            ("camera/300.png", &png),
            ("camera/400.gif", b"GIF89a"),
            ("camera/.DS_Store", b""),
            ("thermal/0.png", &png),
            ("thermal/5.png", &png),
            ("mic.mp3", b"no matter"),
        ],
    );
    let made = parts::make(dir.path(), &out.path().join("1.mcap")).unwrap();
    let counts: Vec<(&str, usize)> = made.samples.iter().map(|(sensor, count)| (sensor.as_str(), *count)).collect();
    assert_eq!(counts, [("camera", 3), ("thermal", 2)]);
    let notes = [("mic.mp3", "it is none of camera/"), ("400.gif", "it is no .jpg"), ("0.png", "no 16-bit grey PNG")];
    assert_eq!(made.notes.len(), notes.len(), "{:?}", made.notes);
    for (told, (file, why)) in made.notes.iter().zip(notes) {
        assert!(told.contains(file) && told.contains(why), "{told}");
    }
    assert!(made.notes[2].ends_with("(and 1 more)"), "{}", made.notes[2]);
    let samples: Vec<Sample> =
        Recording::open(&out.path().join("1.mcap")).unwrap().samples().map(Result::unwrap).collect();
    let camera: Vec<&Sample> = samples.iter().filter(|sample| sample.sensor.as_str() == "camera").collect();
    let order: Vec<(i64, u64)> = camera.iter().map(|of| (of.captured_at.nanos() / 1_000_000, of.seq)).collect();
    assert_eq!(order, [(20, 0), (300, 1), (1000, 2)]);
    let SampleData::Image(raw) = &camera[1].data else { panic!() };
    assert_eq!(*raw.bytes, *picture().rgb);
    put(dir.path(), &[("camera/2000.jpg", &jpeg[..jpeg.len() - 20])]);
    let refused = parts::make(dir.path(), &out.path().join("2.mcap")).unwrap_err().to_string();
    assert!(refused.contains("2000.jpg") && refused.contains("it ends early"), "{refused}");
}

#[test]
fn of_a_folder_the_file_in_it_is_told() {
    let dir = folder();
    let told = || Recording::open(dir.path()).unwrap_err().to_string();
    assert!(told().contains("it is a folder, and no .mcap file is in it"), "{}", told());
    put(dir.path(), &[("metadata.yaml", b""), ("bag_0.mcap", b"")]);
    assert!(told().contains("name the file in it, such as ") && told().ends_with("bag_0.mcap"), "{}", told());
}

/// A whole recording, written once.
fn whole() -> &'static [u8] {
    static WHOLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    WHOLE.get_or_init(|| {
        let dir = folder();
        let path = dir.path().join("a.mcap");
        written(&path, &samples());
        std::fs::read(&path).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any byte changed, any length kept: no panic, at most one error, and it is the last item.
    #[test]
    fn damage_never_panics(at in 0usize..4000, value: u8, keep in 0usize..4000) {
        let mut bytes = whole().to_vec();
        let place = at % bytes.len();
        bytes[place] = value;
        if keep % 2 == 0 {
            bytes.truncate(keep % bytes.len());
        }
        if let Ok(recording) = Recording::from_bytes(bytes.into(), &[]) {
            let all: Vec<_> = recording.samples().collect();
            let errors = all.iter().filter(|item| item.is_err()).count();
            prop_assert!(errors == 0 || (errors == 1 && all.last().unwrap().is_err()));
        }
    }
}
