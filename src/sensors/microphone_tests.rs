//! The microphone driver on a real ALSA: its `file` plugin reads a pipe that is fed in real time.
//!
//! libasound takes its configuration from the environment, so the reading half runs as a process of its own.

use std::f32::consts::TAU;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::time::now;

const RATE_HZ: u32 = 16_000;
/// 50 ms, the period that the driver asks for: the plugin takes a short read for a whole one and repeats old sound after it.
const BLOCK: usize = 800;

/// Feeds a 440 Hz tone in real time until the reader goes.
fn feed(pipe: &std::path::Path) {
    // Opened for both directions, so that opening does not wait for the reader.
    let mut pipe = std::fs::File::options().read(true).write(true).open(pipe).unwrap();
    let began = now();
    for block in 0usize.. {
        let tone = |i: usize| {
            ((TAU * 440.0 * ((block * BLOCK + i) % RATE_HZ as usize) as f32 / RATE_HZ as f32).sin() * 16_000.0) as i16
        };
        let bytes: Vec<u8> = (0..BLOCK).flat_map(|i| tone(i).to_le_bytes()).collect();
        if pipe.write_all(&bytes).is_err() {
            return;
        }
        let due = began + Duration::from_millis(50) * (block as u32 + 1);
        #[expect(clippy::disallowed_methods, reason = "plays the part of a sound card, in real time")]
        std::thread::sleep(Duration::from_nanos(due.nanos_since(now()).max(0).unsigned_abs()));
    }
}

/// In the environment of the process that is the reading half.
const READER: &str = "PERCEPTD_TEST_READS_TONE";

#[test]
fn a_tone_is_recorded_through_alsa() {
    if std::env::var_os(READER).is_some() {
        return read_tone();
    }
    let dir = tempfile::tempdir().unwrap();
    let (pipe, config) = (dir.path().join("mic.fifo"), dir.path().join("asound.conf"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pcm = format!(
        "</usr/share/alsa/alsa.conf>\npcm.tone {{ type file slave.pcm null file /dev/null infile {} format raw hint {{ show on description tone }} }}\n",
        pipe.display()
    );
    std::fs::write(&config, pcm).unwrap();
    let feeder = pipe.clone();
    std::thread::spawn(move || feed(&feeder));
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "sensors::microphone_tests::a_tone_is_recorded_through_alsa"])
        .env("ALSA_CONFIG_PATH", &config)
        .env(READER, "")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

fn settings(device: &str) -> SensorSettings {
    let (host, device) = (Some("alsa".to_owned()), Some(device.to_owned()));
    let driver = DriverSettings::Microphone(MicrophoneSettings {
        host,
        device,
        sample_rate_hz: Some(RATE_HZ),
        ..Default::default()
    });
    SensorSettings { id: SensorId::new("mic").unwrap(), time_offset_ms: 0.0, driver }
}

fn read_tone() {
    // The beginning of another's name names nothing.
    let error = open(&settings("ton"), &stream::Progress::default()).err().unwrap().to_string();
    assert!(error.starts_with("ton: not found; "), "{error}");
    let mut microphone = open(&settings("tone"), &stream::Progress::default()).unwrap();
    let (mut values, mut stamps) = (Vec::new(), Vec::new());
    let deadline = now() + Duration::from_secs(10);
    while values.len() < RATE_HZ as usize && now() < deadline {
        let Some(sample) = microphone.next(Duration::from_millis(250)).unwrap() else { continue };
        let SampleData::Audio { sample_rate_hz, samples } = sample.data else { panic!() };
        assert_eq!(sample_rate_hz, RATE_HZ);
        stamps.push((values.len(), sample.captured_at, sample.arrived_at));
        values.extend(samples);
    }
    let rises = values.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
    let hz = rises as f32 * RATE_HZ as f32 / values.len() as f32;
    assert!((hz - 440.0).abs() < 10.0, "{hz} Hz in {} samples", values.len());
    // Stamps keep to the count, once what the pipe held before the start has gone through, and lie a little before the arrival.
    let (first, last) = (stamps[stamps.len() / 2], stamps[stamps.len() - 1]);
    let counted = (last.0 - first.0) as f64 / f64::from(RATE_HZ);
    let stamped = last.1.nanos_since(first.1) as f64 / 1e9;
    assert!((stamped - counted).abs() < 0.05, "{stamped} s stamped, {counted} s counted");
    assert!(stamps.iter().all(|(_, captured, arrived)| (0..500_000_000).contains(&arrived.nanos_since(*captured))));
}
