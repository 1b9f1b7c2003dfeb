//! The spec of the room: grid, lateness, losses and clocks, in simulated time.

use proptest::prelude::*;

use super::*;
use crate::media::PixelFormat;
use crate::sensors::{ImuReading, Sample, SampleData};
use crate::telemetry::DropReason;
use crate::time::{MonoTime, NANOS_PER_SEC};

fn at(secs: f64) -> MonoTime {
    MonoTime::from_secs_f64(secs)
}

fn settings(modality: Modality, window_secs: f64, hop_secs: f64, rate_hz: f64) -> WindowSettings {
    let sensor = SensorId::new("s").unwrap();
    WindowSettings { sensor, modality, window_secs, hop_secs, rate_hz, lateness_secs: 0.2 }
}

fn windower(modality: Modality) -> Windower {
    Windower::new(match modality {
        Modality::Audio => settings(modality, 2.0, 0.5, 16_000.0),
        Modality::Imu => settings(modality, 5.0, 0.5, 10.0),
        _ => settings(modality, 0.0, 0.2, 0.0),
    })
    .unwrap()
}

fn sample(captured: f64, arrived: f64, seq: u64, data: SampleData) -> Sample {
    Sample { sensor: SensorId::new("s").unwrap(), captured_at: at(captured), arrived_at: at(arrived), seq, data }
}

fn frame(captured: f64, arrived: f64, seq: u64) -> Sample {
    let bytes = vec![seq as u8].into();
    let frame = CameraFrame { width: 1, height: 1, format: PixelFormat::Grey8, bytes };
    sample(captured, arrived, seq, SampleData::Image(frame))
}

fn sound(captured: f64, arrived: f64, rate_hz: u32, samples: Vec<f32>) -> Sample {
    sample(captured, arrived, 0, SampleData::Audio { sample_rate_hz: rate_hz, samples })
}

/// A ramp that tells the time: value = seconds, so that a window's values must equal their place on the grid.
fn ramp(start: f64, device_rate: f64, n: usize) -> Vec<f32> {
    (0..n).map(|i| (start + i as f64 / device_rate) as f32).collect()
}

fn motion(times: &[f64]) -> Sample {
    let reading = |t: &f64| ImuReading {
        captured_at: at(*t),
        accel_in_body_mps2: [*t as f32, 0.0, 9.8],
        gyro_in_body_radps: Some([0.0, *t as f32, 0.0]),
    };
    sample(times[0], *times.last().unwrap(), 0, SampleData::Imu(times.iter().map(reading).collect()))
}

fn windows(cuts: &[Cut]) -> Vec<&Window> {
    cuts.iter().filter_map(|cut| if let Cut::Window(window) = cut { Some(window) } else { None }).collect()
}

fn indices(cuts: &[Cut]) -> Vec<u64> {
    windows(cuts).iter().map(|window| window.index).collect()
}

fn audio_of(window: &Window) -> &[f32] {
    match &window.data {
        WindowData::Audio(values) => values,
        other => panic!("{other:?}"),
    }
}

/// Blocks of 20 ms of a device whose clock is off by `ppm`, each stamped with the true time.
fn drifting(seconds: f64, ppm: f64) -> impl Iterator<Item = Sample> {
    drifting_at(16_000, seconds, ppm)
}

fn drifting_at(rate_hz: u32, seconds: f64, ppm: f64) -> impl Iterator<Item = Sample> {
    let device_rate = f64::from(rate_hz) * (1.0 + ppm * 1e-6);
    let values = rate_hz as usize / 50;
    (0..(seconds * 50.0) as usize).map(move |block| {
        let start = (block * values) as f64 / device_rate;
        sound(start, start + 0.03, rate_hz, ramp(start, device_rate, values))
    })
}

#[test]
fn settings_that_make_no_grid_are_refused() {
    for (bad, word) in [
        (settings(Modality::Audio, 2.0, 0.0, 16_000.0), "hop"),
        (settings(Modality::Audio, f64::NAN, 0.5, 16_000.0), "window"),
        (settings(Modality::Audio, 2.0, 0.5, 0.0), "rate"),
        (settings(Modality::Imu, 5.0, 0.5, f64::INFINITY), "rate"),
        (settings(Modality::Image, 1.0, 0.2, 0.0), "one frame"),
        (settings(Modality::Text, 0.0, 0.2, 0.0), "text"),
    ] {
        let told = Windower::new(bad).err().unwrap().to_string();
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn time_alone_gives_a_window_when_it_is_due() {
    let mut windower = windower(Modality::Image);
    assert_eq!(windower.due(), None);
    assert!(windower.push(&frame(0.05, 0.06, 0)).is_empty());
    let due = windower.due().unwrap();
    assert_eq!(due, at(0.4), "the end of its cell and the lateness");
    assert!(windower.advance(due.shifted(-1)).is_empty());
    assert_eq!(indices(&windower.advance(due)), [0]);
    assert_eq!(windower.due(), None);
}

#[test]
fn sound_at_the_packs_rate_passes_unchanged() {
    let mut windower = windower(Modality::Audio);
    let cuts: Vec<Cut> = drifting(4.0, 0.0).flat_map(|s| windower.push(&s)).collect();
    assert_eq!(indices(&cuts), [0, 1, 2, 3, 4]);
    for window in windows(&cuts) {
        let start = window.index as f64 * 0.5;
        assert_eq!(audio_of(window), ramp(start, 16_000.0, 32_000));
        assert_eq!((window.presence.count, window.presence.expected), (32_000, 32_000));
        assert_eq!((window.presence.longest_gap_secs, window.presence.skew_secs), (0.0, 0.0));
        assert_eq!(window.span, crate::time::Span { start: at(start), end: at(start + 2.0) });
    }
}

#[test]
fn a_drifting_clock_never_moves_a_window_by_more_than_the_tolerance() {
    for ppm in [-100.0, 100.0] {
        let mut windower = windower(Modality::Audio);
        let cuts: Vec<Cut> = drifting(180.0, ppm).flat_map(|s| windower.push(&s)).collect();
        assert!(!cuts.contains(&Cut::Gap));
        let all = windows(&cuts);
        assert!(all.len() >= 355, "{}", all.len());
        for window in all {
            let start = window.index as f64 * 0.5;
            let values = audio_of(window);
            let worst = values
                .iter()
                .enumerate()
                .map(|(i, v)| (f64::from(*v) - start - i as f64 / 16_000.0).abs())
                .fold(0.0, f64::max);
            assert!(worst < 0.0022, "{ppm} ppm, window {}: {worst}", window.index);
        }
    }
}

#[test]
fn a_drifting_clock_is_followed_through_the_resampler() {
    for ppm in [-100.0, 100.0] {
        let mut windower = windower(Modality::Audio);
        let cuts: Vec<Cut> = drifting_at(48_000, 62.0, ppm).flat_map(|s| windower.push(&s)).collect();
        assert!(!cuts.contains(&Cut::Gap));
        let all = windows(&cuts);
        assert!(all.len() >= 119, "{}", all.len());
        for window in all.into_iter().skip(1) {
            assert_eq!(window.presence.count, 32_000);
            let start = window.index as f64 * 0.5;
            for i in (0..32_000).step_by(1600) {
                let off = f64::from(audio_of(window)[i]) - start - i as f64 / 16_000.0;
                assert!(off.abs() < 0.0025, "{ppm} ppm, window {}, value {i}: {off}", window.index);
            }
        }
    }
}

#[test]
fn a_hole_in_sound_is_silence_and_is_told() {
    let mut windower = windower(Modality::Audio);
    let kept = drifting(4.0, 0.0).filter(|s| !(at(1.0)..at(1.5)).contains(&s.captured_at));
    let cuts: Vec<Cut> = kept.flat_map(|s| windower.push(&s)).collect();
    assert_eq!(cuts.iter().filter(|cut| **cut == Cut::Gap).count(), 1);
    let window = windows(&cuts)[0];
    assert_eq!((window.presence.count, window.presence.longest_gap_secs), (24_000, 0.5));
    assert!(audio_of(window)[16_000..24_000].iter().all(|v| *v == 0.0));
    assert_eq!(audio_of(window)[24_000], 1.5);
    assert!(window.presence.skew_secs.abs() > 0.01);
}

#[test]
fn a_sensor_that_dies_in_mid_window_holds_nothing_up() {
    let mut windower = windower(Modality::Audio);
    let mut cuts: Vec<Cut> = drifting(3.1, 0.0).flat_map(|s| windower.push(&s)).collect();
    assert_eq!(indices(&cuts), [0, 1, 2]);
    cuts.extend(windower.advance(at(3.69)));
    assert_eq!(indices(&cuts), [0, 1, 2]);
    cuts.extend(windower.advance(at(3.7)));
    assert_eq!(indices(&cuts), [0, 1, 2, 3]);
    assert_eq!(windows(&cuts)[3].presence.count, 25_600);
    // [2, 4) has 1.1 s of 2; [2.5, 4.5) only 0.6 s and [3, 5) 0.1 s; later ones have nothing and are no drops.
    let after = windower.advance(at(1000.0));
    assert_eq!(indices(&after), [4]);
    let dropped = after.iter().filter(|cut| **cut == Cut::Dropped(DropReason::TooIncomplete)).count();
    assert_eq!((dropped, after.len()), (2, 3));
    // It comes back: the first window is the first that it can half fill.
    let back: Vec<Cut> = (0..200)
        .flat_map(|block| {
            let start = 1000.1 + f64::from(block) * 0.02;
            windower.push(&sound(start, start + 0.03, 16_000, vec![0.1; 320]))
        })
        .collect();
    assert_eq!(indices(&back)[0], 1999);
}

#[test]
fn motion_and_frames_that_die_in_mid_window_hold_nothing_up() {
    let mut motion_windower = windower(Modality::Imu);
    let mut cuts: Vec<Cut> = (0..=730).flat_map(|n| motion_windower.push(&motion(&[f64::from(n) * 0.01]))).collect();
    assert_eq!(indices(&cuts), [0, 1, 2, 3, 4]);
    cuts.extend(motion_windower.advance(at(7.7)));
    assert_eq!(indices(&cuts), [0, 1, 2, 3, 4, 5]);
    let WindowData::Imu(rows) = &windows(&cuts)[5].data else { panic!() };
    // The last reading is held to the end of the window; it is not made up.
    assert!((rows[47] - 7.2).abs() < 1e-4 && (rows[49] - 7.3).abs() < 1e-4, "{:?}", &rows[45..50]);
    // Half of [5, 10) is there; of the later ones less.
    let after = motion_windower.advance(at(1000.0));
    assert_eq!(indices(&after), [6, 7, 8, 9, 10]);
    assert_eq!(after.len(), 9);
    assert_eq!(indices(&motion_windower.push(&motion(&[1000.0]))), [0u64; 0]);

    let mut camera = windower(Modality::Image);
    let mut cuts: Vec<Cut> =
        (0..9u32).flat_map(|n| camera.push(&frame(f64::from(n) * 0.1, f64::from(n) * 0.1 + 0.02, n.into()))).collect();
    assert_eq!(indices(&cuts), [0, 1, 2, 3]);
    cuts.extend(camera.advance(at(1.19)));
    assert_eq!(indices(&cuts), [0, 1, 2, 3]);
    cuts.extend(camera.advance(at(1.2)));
    assert_eq!(indices(&cuts), [0, 1, 2, 3, 4]);
    assert_eq!(windows(&cuts)[4].presence.count, 1);
    assert_eq!(camera.advance(at(1000.0)), []);
}

#[test]
fn a_clock_that_jumps_ahead_closes_no_window_early() {
    // One stamp is ten seconds ahead of its arrival: it cannot be true.
    let mut camera = windower(Modality::Image);
    let mut cuts = Vec::new();
    for n in 0..30u32 {
        let captured = f64::from(n) * 0.1;
        let stamp = if n == 7 { captured + 10.0 } else { captured };
        cuts.extend(camera.push(&frame(stamp, captured + 0.02, n.into())));
    }
    assert_eq!(indices(&cuts), (0..14).collect::<Vec<_>>());
    assert_eq!(cuts.iter().filter(|cut| **cut == Cut::Dropped(DropReason::Early)).count(), 1);

    // The whole machine's time jumps by an hour (it slept, or its wall clock was set while others recorded).
    for modality in [Modality::Audio, Modality::Imu, Modality::Image] {
        let mut windower = windower(modality);
        let mut cuts = Vec::new();
        for n in 0..1000u32 {
            let t = f64::from(n) * 0.02 + if n >= 500 { 3600.0 } else { 0.0 };
            cuts.extend(windower.push(&match modality {
                Modality::Audio => sound(t, t + 0.03, 16_000, vec![0.1; 320]),
                Modality::Imu => motion(&[t]),
                _ => frame(t, t + 0.03, n.into()),
            }));
        }
        assert!(cuts.len() < 120, "{modality}: {} cuts", cuts.len());
        let hop = if modality == Modality::Image { 0.2 } else { 0.5 };
        let (before, after): (Vec<u64>, Vec<u64>) = indices(&cuts).iter().partition(|k| **k as f64 * hop < 3600.0);
        assert!(before.last().is_some_and(|k| (7.0..10.0).contains(&(*k as f64 * hop))), "{modality}: {before:?}");
        // The first window that is half filled.
        let wanted = match modality {
            Modality::Audio => 3609.0,
            Modality::Imu => 3607.5,
            _ => 3610.0,
        };
        assert!((after[0] as f64 * hop - wanted).abs() < 1e-6, "{modality}: {after:?}");
        assert!(after.windows(2).all(|pair| pair[1] == pair[0] + 1), "{modality}: {after:?}");
    }
}

#[test]
fn a_clock_that_jumps_back_gives_no_instant_twice() {
    // For two seconds the device's stamps are one second behind.
    let stamp = |t: f64| if (5.0..7.0).contains(&t) { t - 1.0 } else { t };
    let mut microphone = windower(Modality::Audio);
    let cuts: Vec<Cut> = (0..500)
        .flat_map(|block| {
            let t = f64::from(block) * 0.02;
            microphone.push(&sound(stamp(t), t + 0.03, 16_000, ramp(t, 16_000.0, 320)))
        })
        .collect();
    assert_eq!(indices(&cuts), (0..17).collect::<Vec<_>>());
    // Once when it goes back, once when it comes again.
    assert_eq!(cuts.iter().filter(|cut| **cut == Cut::Gap).count(), 2);
    for window in windows(&cuts) {
        // Sound that is there rises: nothing is repeated.
        let there: Vec<f32> = audio_of(window).iter().copied().filter(|v| *v > 0.0).collect();
        assert!(there.windows(2).all(|pair| pair[1] > pair[0]), "window {}", window.index);
    }
    let whole = |k: usize| windows(&cuts)[k].presence.count;
    assert_eq!((whole(6), whole(10), whole(14)), (32_000, 16_000, 32_000));

    let mut camera = windower(Modality::Image);
    let mut imu = windower(Modality::Imu);
    let (mut frames, mut motions) = (Vec::new(), Vec::new());
    for n in 0..500u32 {
        let t = f64::from(n) * 0.02;
        frames.extend(camera.push(&frame(stamp(t), t + 0.03, n.into())));
        let mut sample = motion(&[stamp(t)]);
        sample.arrived_at = at(t + 0.001);
        motions.extend(imu.push(&sample));
    }
    let late = |cuts: &[Cut]| cuts.iter().filter(|cut| **cut == Cut::Dropped(DropReason::Late)).count();
    // What is said to be older than what is known is told; then all is as before.
    assert!((50..=101).contains(&late(&frames)), "{}", late(&frames));
    assert!((50..=51).contains(&late(&motions)), "{}", late(&motions));
    assert!(indices(&frames).windows(2).all(|pair| pair[1] > pair[0]));
    assert_eq!(indices(&frames).iter().rev().take(10).rev().copied().collect::<Vec<_>>(), (39..49).collect::<Vec<_>>());
    assert_eq!(indices(&motions), (0..10).collect::<Vec<_>>());
}

#[test]
fn late_thermal_frames_are_waited_for_within_the_lateness() {
    // 8 Hz frames that need 150 ms to arrive, into a hop of 0.5 s.
    let mut windower = Windower::new(settings(Modality::Image, 0.0, 0.5, 0.0)).unwrap();
    let mut cuts = Vec::new();
    for n in 0..40u64 {
        let captured = 0.05 + n as f64 * 0.125;
        cuts.extend(windower.push(&frame(captured, captured + 0.15, n)));
    }
    assert_eq!(indices(&cuts), (0..9).collect::<Vec<_>>());
    assert_eq!(windows(&cuts)[0].span.start, at(0.05 + 3.0 * 0.125));
    assert_eq!((windows(&cuts)[5].presence.count, windows(&cuts)[5].presence.expected), (4, 4));
    // One that comes after its window was closed is told.
    cuts = windower.advance(at(20.0));
    assert_eq!(indices(&cuts), [9]);
    assert_eq!(windower.push(&frame(19.0, 20.0, 41)), [Cut::Dropped(DropReason::Late)]);
}

#[test]
fn a_camera_that_skips_is_told_and_goes_on() {
    let mut windower = windower(Modality::Image);
    let mut cuts = windower.push(&frame(0.05, 0.06, 0));
    cuts.extend(windower.push(&frame(0.15, 0.16, 1)));
    cuts.extend(windower.push(&frame(0.85, 0.86, 8)));
    cuts.extend(windower.push(&frame(1.05, 1.06, 9)));
    assert_eq!(indices(&cuts), [0, 4]);
    assert!(cuts.contains(&Cut::Gap));
    let first = windows(&cuts)[0];
    let WindowData::Image(newest) = &first.data else { panic!("{first:?}") };
    assert_eq!((&newest.bytes[..], first.presence.count), (&[1u8][..], 2));
}

#[test]
fn motion_that_was_lost_on_the_way_is_expected_all_the_same() {
    let mut windower = windower(Modality::Imu);
    let mut cuts = Vec::new();
    for batch in (0..200u32).filter(|batch| batch % 4 != 3) {
        let times: Vec<f64> = (0..10).map(|n| f64::from(batch) * 0.1 + f64::from(n) * 0.01).collect();
        let sample = Sample { seq: batch.into(), ..motion(&times) };
        cuts.extend(windower.push(&sample));
    }
    let presence = windows(&cuts).last().unwrap().presence;
    assert!((370..=380).contains(&presence.count), "{presence:?}");
    assert_eq!(presence.expected, 500);
}

#[test]
fn motion_is_interpolated_to_the_uniform_rate() {
    let mut windower = windower(Modality::Imu);
    let times: Vec<f64> = (0..700).map(|n| f64::from(n) * 0.0101).collect();
    let cuts: Vec<Cut> = times.chunks(7).flat_map(|batch| windower.push(&motion(batch))).collect();
    assert_eq!(indices(&cuts), [0, 1, 2, 3, 4]);
    for window in windows(&cuts) {
        let WindowData::Imu(rows) = &window.data else { panic!("{window:?}") };
        assert_eq!(window.presence.measured_rows, 0b111_111);
        assert_eq!(rows.len(), 300);
        for column in 0..50 {
            let instant = window.index as f32 * 0.5 + column as f32 * 0.1;
            assert!((rows[column] - instant).abs() < 1e-4 && (rows[4 * 50 + column] - instant).abs() < 1e-4);
            assert!((rows[2 * 50 + column] - 9.8).abs() < 1e-6);
        }
    }
}

#[test]
fn what_is_not_a_number_is_dropped_and_the_rest_goes_on() {
    let mut motion_windower = windower(Modality::Imu);
    let mut bad = motion(&[0.1, 0.2]);
    if let SampleData::Imu(readings) = &mut bad.data {
        readings[1].accel_in_body_mps2[2] = f32::NAN;
    }
    assert_eq!(motion_windower.push(&bad), [Cut::Dropped(DropReason::NotFinite)]);
    assert_eq!(motion_windower.push(&motion(&[0.3])), []);
    let mut sound_windower = windower(Modality::Audio);
    let block = sound(0.0, 0.1, 16_000, vec![f32::INFINITY; 10]);
    assert_eq!(sound_windower.push(&block), [Cut::Dropped(DropReason::NotFinite)]);
    let foreign = motion(&[0.0]);
    assert_eq!(sound_windower.push(&foreign), [Cut::Dropped(DropReason::Undecodable)]);
    let future = sound(50.0, 0.1, 16_000, vec![0.0; 10]);
    assert_eq!(sound_windower.push(&future), [Cut::Dropped(DropReason::Early)]);
}

#[test]
fn a_motion_sensor_without_gyroscope_says_so() {
    let mut windower = windower(Modality::Imu);
    let mut cuts = Vec::new();
    for n in 0..60 {
        let mut sample = motion(&[f64::from(n) * 0.1]);
        if let SampleData::Imu(readings) = &mut sample.data {
            readings.iter_mut().for_each(|r| r.gyro_in_body_radps = None);
        }
        cuts.extend(windower.push(&sample));
    }
    let window = windows(&cuts)[0];
    let WindowData::Imu(rows) = &window.data else { panic!() };
    assert!(window.presence.measured_rows == 0b111 && rows[150..].iter().all(|v| *v == 0.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the device cuts its sound into blocks, the windows are the same, to the bit.
    #[test]
    fn blocks_do_not_matter(
        sizes in prop::collection::vec(1usize..3000, 20..60),
        rate_hz in prop::sample::select(vec![16_000u32, 48_000, 44_100, 8_000]),
        start in 0.0f64..3.0,
        ppm in -100.0f64..100.0,
    ) {
        let device_rate = f64::from(rate_hz) * (1.0 + ppm * 1e-6);
        let (mut whole, mut parts) = (windower(Modality::Audio), windower(Modality::Audio));
        let (mut from_whole, mut from_parts) = (Vec::new(), Vec::new());
        let mut done = 0usize;
        for (n, size) in sizes.iter().cycle().enumerate() {
            if done > 3 * rate_hz as usize { break; }
            let captured = start + done as f64 / device_rate;
            let arrived = captured + *size as f64 / device_rate + 0.02;
            let values: Vec<f32> = (0..*size).map(|i| (((done + i) * 7919) % 1000) as f32 / 1000.0 - 0.5).collect();
            from_whole.extend(whole.push(&sound(captured, arrived, rate_hz, values.clone())));
            let mut offset = 0;
            for part in values.chunks(1 + (n * 131) % 701) {
                let stamp = captured + offset as f64 / f64::from(rate_hz);
                from_parts.extend(parts.push(&sound(stamp, arrived, rate_hz, part.to_vec())));
                offset += part.len();
            }
            done += size;
        }
        from_whole.extend(whole.advance(at(100.0)));
        from_parts.extend(parts.advance(at(100.0)));
        prop_assert!(windows(&from_whole).len() >= 3);
        prop_assert!(from_whole == from_parts);
    }

    /// A sensor without losses gives every window of the grid once, in order, wherever it starts.
    #[test]
    fn the_grid_has_no_gap_and_no_overlap(
        start in 0.0f64..50.0, jitter in prop::collection::vec(0.0f64..0.01, 200), hop in 0.05f64..1.0,
    ) {
        let mut windower = Windower::new(settings(Modality::Imu, 2.0, hop, 10.0)).unwrap();
        let cuts: Vec<Cut> = jitter.iter().enumerate()
            .flat_map(|(n, jitter)| windower.push(&motion(&[start + n as f64 * 0.02 + jitter]))).collect();
        let indices = indices(&cuts);
        prop_assert!(indices.windows(2).all(|pair| pair[1] == pair[0] + 1));
        prop_assert!(!indices.is_empty() && cuts.len() == indices.len());
    }

    /// Any stamps at all: no panic, and indices rise.
    #[test]
    fn no_clock_breaks_it(
        stamps in prop::collection::vec((prop_oneof![Just(i64::MIN), Just(i64::MAX), -10 * NANOS_PER_SEC..100 * NANOS_PER_SEC], -NANOS_PER_SEC..NANOS_PER_SEC), 1..60),
    ) {
        for modality in [Modality::Image, Modality::Audio, Modality::Imu] {
            let mut windower = windower(modality);
            let mut cuts = Vec::new();
            for (seq, (captured, delay)) in stamps.iter().enumerate() {
                let mut sample = match modality {
                    Modality::Image => frame(0.0, 0.0, seq as u64),
                    Modality::Audio => sound(0.0, 0.0, 48_000, vec![0.5; 4800]),
                    _ => motion(&[0.0, 0.1]),
                };
                sample.captured_at = MonoTime::from_nanos(*captured);
                sample.arrived_at = sample.captured_at.shifted(*delay);
                if let SampleData::Imu(readings) = &mut sample.data {
                    for (n, reading) in readings.iter_mut().enumerate() {
                        reading.captured_at = sample.captured_at.shifted(n as i64 * 100_000_000);
                    }
                }
                cuts.extend(windower.push(&sample));
            }
            let indices = indices(&cuts);
            prop_assert!(indices.windows(2).all(|pair| pair[1] > pair[0]));
        }
    }

    /// A windower that begins anew in mid-run gives what one gives that saw nothing before, to the bit, from the first window that
    /// lies wholly in what came since; and the windows are the ones that would have come anyway.
    #[test]
    fn what_begins_anew_is_as_new(
        modality in prop::sample::select(vec![Modality::Audio, Modality::Image, Modality::Imu]),
        rate_hz in prop::sample::select(vec![16_000u32, 48_000, 44_100]),
        ppm in -100.0f64..100.0, lost in prop::collection::vec(0usize..600, 0..4), anew in prop::collection::vec(50usize..250, 1..4),
    ) {
        let kept: Vec<usize> = (0..600).filter(|n| !lost.contains(n)).collect();
        let samples: Vec<Sample> = kept.iter().map(|n| {
            let t = 3.3 + *n as f64 * 0.02 * (1.0 - ppm * 1e-6);
            let arrived = t + 0.021 + (n * 7919 % 13) as f64 * 0.001;
            match modality {
                Modality::Audio => {
                    let values = rate_hz as usize / 50;
                    let values = (0..values).map(|i| (((n * values + i) * 7919) % 1000) as f32 / 1000.0 - 0.5);
                    sound(t, arrived, rate_hz, values.collect())
                }
                Modality::Imu => Sample { arrived_at: at(arrived), seq: *n as u64, ..motion(&[t, t + 0.01]) },
                _ => frame(t, arrived, *n as u64),
            }
        }).collect();
        let (mut renewed, mut as_it_was) = (windower(modality), windower(modality));
        let (mut given, mut wanted) = (Vec::new(), Vec::new());
        for (n, sample) in samples.iter().enumerate() {
            if anew.contains(&n) { renewed.begin_anew(); }
            // Time also passes between two samples.
            given.extend(renewed.advance(sample.arrived_at.shifted(-1_000_000)));
            given.extend(renewed.push(sample));
            wanted.extend(as_it_was.push(sample));
        }
        given.extend(renewed.finish());
        wanted.extend(as_it_was.finish());
        prop_assert_eq!(indices(&given), indices(&wanted));
        let hop_secs = if modality == Modality::Image { 0.2 } else { 0.5 };
        let from = *anew.iter().max().unwrap();
        let mut replayed = windower(modality);
        let mut again: Vec<Cut> = samples.iter().skip(from).flat_map(|sample| replayed.push(sample)).collect();
        again.extend(replayed.finish());
        let whole = |cuts: &[Cut]| -> Vec<Window> {
            let all = windows(cuts).into_iter().cloned();
            all.filter(|window| at(window.index as f64 * hop_secs) > samples[from].captured_at).collect()
        };
        prop_assert!(whole(&given).len() >= 2, "{:?}", indices(&given));
        prop_assert!(whole(&given) == whole(&again));
    }
}
