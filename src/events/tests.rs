//! What a subscriber sees for a row of scores.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::time::Timeline;

const HOP_SECS: f64 = 0.2;

fn ids() -> IdSource {
    IdSource::replay(Timeline { boot_id: "replay-x".into(), unix_nanos_at_zero: 0 }, "x")
}

fn evidence(index: u64, calibrated: f32) -> Evidence {
    evidence_at(index as f64 * HOP_SECS, calibrated)
}

fn evidence_at(secs: f64, calibrated: f32) -> Evidence {
    let at = at_secs(secs);
    Evidence {
        prompt: Arc::from("dog"),
        sensor: SensorId::new("cam").unwrap(),
        modality: Modality::Image,
        span: Span { start: at, end: at },
        score: Score { raw: 0.1, calibrated, threshold: 0.5, bank_revision: 1 },
        boxes: Vec::new(),
        frame_size_px: Some((640, 480)),
    }
}

fn at_secs(secs: f64) -> MonoTime {
    MonoTime::from_secs_f64(secs)
}

/// One character a window: `.` silent, `-` between exit and enter, `#` firing. What came of it: (window, phase).
fn play(episodes: &mut Episodes, first: u64, row: &str) -> Vec<(u64, Phase)> {
    let mut told = Vec::new();
    for (index, sign) in (first..).zip(row.chars()) {
        let score = match sign {
            '#' => 0.9,
            '-' => 0.3,
            _ => 0.05,
        };
        told.extend(episodes.push(&evidence(index, score)).into_iter().map(|event| (index, event.phase)));
    }
    told
}

#[test]
fn rows_of_scores_become_events() {
    let new = Phase::New;
    let (update, quiet) = (Phase::Update, Phase::End(EndReason::Quiet));
    let cases: [(&str, Vec<(u64, Phase)>); 7] = [
        ("..........", vec![]),
        ("..#....#..", vec![]),
        ("..#.#.....", vec![(4, new), (9, update)]),
        ("..###.....", vec![(4, new), (9, update)]),
        ("..###..........", vec![(4, new), (9, update), (11, quiet)]),
        ("..###-----------", vec![(4, new), (9, update), (14, update)]),
        ("..####...####...", vec![(4, new), (9, update), (14, update)]),
    ];
    for (row, expected) in cases {
        assert_eq!(play(&mut Episodes::new(Settings::default(), ids()), 0, row), expected, "{row}");
    }
}

#[test]
fn an_event_is_new_within_its_budget() {
    let mut episodes = Episodes::new(Settings::default(), ids());
    let told = play(&mut episodes, 0, "#####");
    assert!(told[0].0 as f64 * HOP_SECS + HOP_SECS <= 1.5, "camera: {told:?}");
    // Sound at 2 Hz that fills half of its 2 s window before it is heard.
    let mut episodes = Episodes::new(Settings::default(), ids());
    let told_secs = (0..8u64).find_map(|index| {
        let end = at_secs(index as f64 * 0.5);
        let span = Span { start: end.shifted(-2_000_000_000), end };
        let heard = if end.secs_f64() >= 1.0 { 0.9 } else { 0.05 };
        let told = episodes.push(&Evidence { span, modality: Modality::Audio, ..evidence(index, heard) });
        told.first().map(|_| end.secs_f64())
    });
    assert!(told_secs.unwrap() <= 2.0, "{told_secs:?}");
}

#[test]
fn after_quiet_comes_a_cooldown_and_after_a_timeout_none() {
    let mut episodes = Episodes::new(Settings::default(), ids());
    let told = play(&mut episodes, 0, "###.........############################");
    let news: Vec<u64> = told.iter().filter(|(_, phase)| *phase == Phase::New).map(|(index, _)| *index).collect();
    let ended = told.iter().find(|(_, phase)| *phase == Phase::End(EndReason::Quiet)).unwrap().0;
    assert_eq!((news[0], news[1]), (2, ended + 10 + 2));

    let settings = Settings { max_len_secs: 2.0, ..Settings::default() };
    let told = play(&mut Episodes::new(settings, ids()), 0, &"#".repeat(16));
    let ends: Vec<_> = told.iter().filter(|(_, phase)| *phase == Phase::End(EndReason::Timeout)).collect();
    assert_eq!((ends.len(), ends[0].0), (1, 10));
    assert!(told.contains(&(13, Phase::New)));
}

#[test]
fn every_message_carries_the_whole_state_and_a_higher_revision() {
    let mut episodes = Episodes::new(Settings::default(), ids());
    let mut told = Vec::new();
    for index in 0..20 {
        let mut evidence = evidence(index, if index < 12 { 0.6 + index as f32 * 0.01 } else { 0.05 });
        let x0 = if index < 5 { 0.0 } else { 300.0 };
        if index < 12 {
            evidence.boxes = vec![(PixelBox { x0, y0: 0.0, x1: x0 + 100.0, y1: 100.0 }, evidence.score.calibrated)];
        }
        told.extend(episodes.push(&evidence));
    }
    let revisions: Vec<u32> = told.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (1..=told.len() as u32).collect::<Vec<_>>());
    assert!(told.iter().all(|event| event.id == told[0].id && event.onset == at_secs(0.0)));
    assert_eq!((told[0].boxes[0].0.x0, told[0].last_support), (0.0, at_secs(0.4)));
    assert_eq!((told[1].boxes[0].0.x0, told[1].last_support), (300.0, at_secs(1.0)), "told at once that the box moved");
    assert_eq!(told[2].last_support, at_secs(2.0), "told again a second later");
    let end = told.last().unwrap();
    assert_eq!(end.phase, Phase::End(EndReason::Quiet));
    assert_eq!((end.last_support, end.best.calibrated), (at_secs(2.2), 0.6 + 11.0 * 0.01));
    assert!(!end.boxes.is_empty());
}

#[test]
fn what_goes_away_ends_with_its_reason() {
    type Ending = fn(&mut Episodes) -> Vec<Event>;
    let cases: [(EndReason, Ending); 5] = [
        (EndReason::SourceLost, |e| e.source_lost(&SensorId::new("cam").unwrap(), at_secs(1.0))),
        (EndReason::PromptRemoved, |e| e.prompt_removed("dog", at_secs(1.0))),
        (EndReason::Shutdown, |e| e.shutdown(at_secs(1.0))),
        (EndReason::SourceLost, |e| e.advance(at_secs(6.0))),
        (EndReason::Timeout, |e| {
            let mut all = e.advance(at_secs(4.0));
            play(e, 5, "#".repeat(1495).as_str());
            all.extend(e.advance(at_secs(300.0)));
            all
        }),
    ];
    for (reason, ending) in cases {
        let mut episodes = Episodes::new(Settings::default(), ids());
        play(&mut episodes, 0, "####");
        assert_eq!(episodes.open_events().count(), 1);
        let ended = ending(&mut episodes);
        assert_eq!(ended.iter().map(|event| event.phase).collect::<Vec<_>>(), [Phase::End(reason)]);
        assert_eq!(episodes.open_events().count(), 0);
        assert!(episodes.shutdown(at_secs(400.0)).is_empty());
    }
}

#[test]
fn others_are_left_alone() {
    let mut episodes = Episodes::new(Settings::default(), ids());
    play(&mut episodes, 0, "####");
    assert!(episodes.source_lost(&SensorId::new("mic").unwrap(), at_secs(1.0)).is_empty());
    assert!(episodes.prompt_removed("cat", at_secs(1.0)).is_empty());
    assert!(episodes.advance(at_secs(1.0)).is_empty());
    assert_eq!(episodes.open_events().count(), 1);
}

#[test]
fn windows_that_come_twice_or_late_change_nothing() {
    let mut once = Episodes::new(Settings::default(), ids());
    let mut twice = Episodes::new(Settings::default(), ids());
    for index in 0..10 {
        let evidence = evidence(index, if index < 5 { 0.9 } else { 0.05 });
        let told = once.push(&evidence);
        assert_eq!(twice.push(&evidence), told);
        assert!(twice.push(&evidence).is_empty());
        for earlier in 0..index {
            assert!(twice.push(&self::evidence(earlier, 0.9)).is_empty());
        }
    }
    assert_eq!(twice.open_events().count(), once.open_events().count());
}

#[test]
fn a_picture_in_ten_seconds_has_events_that_end() {
    let settings = Settings::default();
    let stale_secs = settings.stale_secs_at(10.0, 0.2);
    let mut episodes = Episodes::new(settings, ids());
    episodes.wait_for([(SensorId::new("cam").unwrap(), stale_secs)].into());
    let mut told = Vec::new();
    // The tick comes twice a second, and the windows stop at 100 s in an event.
    for half_secs in 0..300 {
        let at = f64::from(half_secs) / 2.0;
        if half_secs % 20 == 0 && at <= 100.0 {
            let fires = (10.0..40.0).contains(&at) || at >= 80.0;
            told.extend(
                episodes.push(&evidence_at(at, if fires { 0.9 } else { 0.05 })).into_iter().map(|e| (at, e.phase)),
            );
        }
        told.extend(episodes.advance(at_secs(at)).into_iter().map(|e| (at, e.phase)));
    }
    let (new, update) = (Phase::New, Phase::Update);
    let expected = [
        (20.0, new),
        (30.0, update),
        (40.0, update),
        (50.0, update),
        (60.0, Phase::End(EndReason::Quiet)),
        (90.0, new),
        (100.0, update),
        (130.5, Phase::End(EndReason::SourceLost)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_change_of_the_hop_ends_nothing_and_silences_nothing() {
    let mut episodes = Episodes::new(Settings::default(), ids());
    let mut told = Vec::new();
    // On the grid of a longer hop later windows have lower numbers.
    for (hop_millis, windows, score) in
        [(200, 500..506, 0.9), (1000, 102..105, 0.9), (100, 1050..1080, 0.05), (2000, 55..60, 0.9)]
    {
        for millis in windows.map(|index| index * hop_millis) {
            let at = f64::from(millis) / 1e3;
            told.extend(episodes.push(&evidence_at(at, score)).into_iter().map(|e| (millis, e.id, e.phase)));
            assert!(episodes.advance(at_secs(at)).is_empty());
        }
    }
    let first = told[0].1;
    let of_first: Vec<_> = told.iter().filter(|(_, id, _)| *id == first).map(|(at, _, phase)| (*at, *phase)).collect();
    let (new, update, quiet) = (Phase::New, Phase::Update, Phase::End(EndReason::Quiet));
    assert_eq!(of_first[..4], [(100_400, new), (102_000, update), (103_000, update), (104_000, update)]);
    assert_eq!(of_first.last().unwrap(), &(106_100, quiet));
    let of_next: Vec<_> = told.iter().filter(|(_, id, _)| *id != first).map(|(at, _, phase)| (*at, *phase)).collect();
    assert_eq!(of_next, [(112_000, new), (114_000, update), (116_000, update), (118_000, update)]);
}

proptest! {
    #[test]
    fn new_says_what_its_windows_said(
        windows in proptest::collection::vec((0.0f32..1.0, any::<bool>()), 1..60),
        median_windows in prop_oneof![Just(1usize), Just(3), Just(5)],
        min_on_secs in 0.0f64..1.0,
    ) {
        let mut episodes = Episodes::new(Settings { median_windows, min_on_secs, ..Settings::default() }, ids());
        let mut said = Vec::new();
        for (index, (score, has_boxes)) in (0..).zip(windows) {
            let mut evidence = evidence(index, score);
            let x0 = index as f32;
            evidence.boxes.extend(has_boxes.then_some((PixelBox { x0, y0: 0.0, x1: x0 + 9.0, y1: 9.0 }, score)));
            said.push(evidence.clone());
            for event in episodes.push(&evidence).into_iter().filter(|event| event.phase == Phase::New) {
                let its_own = || said.iter().filter(|evidence| evidence.span.start >= event.onset);
                let best = its_own().map(|evidence| evidence.score.calibrated).fold(0.0, f32::max);
                prop_assert!(event.best.fires() && event.best.calibrated == best, "{event:?}");
                prop_assert_eq!((event.score, event.revision), (evidence.score, 1));
                let boxes = its_own().rfind(|evidence| !evidence.boxes.is_empty()).map(|evidence| evidence.boxes.clone());
                prop_assert_eq!(event.boxes, boxes.unwrap_or_default());
                let exit = Settings::default().exit_threshold(evidence.score.threshold);
                let support = its_own().rfind(|evidence| evidence.score.calibrated >= exit).unwrap();
                prop_assert_eq!(event.last_support, support.span.end);
            }
        }
    }
}
