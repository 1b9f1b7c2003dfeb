//! What must change from one config to the next: no more than differs.

use std::collections::BTreeMap;

use crate::config::{LogLevel, Settings, SourceSettings};
use crate::encoders::ModalityFacts;
use crate::modality::{Modality, SensorId};
use crate::sensors::SensorSettings;
use crate::space::JointSettings;
use crate::store::Fault;
use crate::time::{NANOS_PER_SEC, Timeline};
use crate::windows::WindowSettings;

/// What the inference thread is told of the config.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tuning {
    pub(super) detect: crate::detect::Settings,
    pub(super) events: crate::events::Settings,
    /// After how long the sensors that are too slow for the events' `stale_secs` count as lost, in seconds.
    pub(super) slow: BTreeMap<SensorId, f64>,
    pub(super) joint: BTreeMap<Modality, JointSettings>,
    pub(super) joint_hop_nanos: i64,
}

/// The differences, in the terms of who acts on them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Sensors that go.
    pub(super) stop: Vec<SensorId>,
    /// Sensors that come, or come anew with other settings.
    pub(super) start: Vec<SensorSettings>,
    /// Sensors that are cut anew; the others keep what they have gathered.
    pub(super) cut: Vec<WindowSettings>,
    /// What the inference thread must know.
    pub(super) tuning: Option<Tuning>,
    /// The log's new level.
    pub(super) log: Option<LogLevel>,
}

/// The sensors of a config and their senses; `recorded` are those of the recording in a replay.
pub(super) fn sensors_of(settings: &Settings, recorded: &[(SensorId, Modality)]) -> Vec<(SensorId, Modality)> {
    match &settings.source {
        SourceSettings::Sensors(sensors) => {
            sensors.iter().map(|sensor| (sensor.id.clone(), sensor.driver.modality())).collect()
        }
        SourceSettings::Replay(_) => recorded.to_vec(),
    }
}

/// What stays while configs change: what the pack says about its senses, the sensors of a replay, and its clock.
pub(super) struct Ground {
    pub(super) facts: BTreeMap<Modality, ModalityFacts>,
    pub(super) recorded: Vec<(SensorId, Modality)>,
    pub(super) timeline: Timeline,
}

impl Ground {
    /// From what `old` made run to what `new` asks for.
    ///
    /// # Errors
    /// A sensor for which the pack has no encoder.
    pub(super) fn plan(&self, old: &Settings, new: &Settings) -> Result<Plan, Vec<Fault>> {
        let (before, after) = (live(old), live(new));
        let cut_before = self.windows(old)?;
        let cut_after = self.windows(new)?;
        let (tuned_before, tuned_after) = (self.tuning(old), self.tuning(new));
        Ok(Plan {
            stop: before.iter().map(|s| &s.id).filter(|id| !after.iter().any(|s| s.id == **id)).cloned().collect(),
            start: after.into_iter().filter(|sensor| !before.contains(sensor)).collect(),
            cut: cut_after.into_iter().filter(|window| !cut_before.contains(window)).collect(),
            tuning: (tuned_before != tuned_after).then_some(tuned_after),
            log: (old.log != new.log).then_some(new.log),
        })
    }

    /// How each sensor is cut.
    ///
    /// # Errors
    /// A sensor for which the pack has no encoder.
    pub(super) fn windows(&self, settings: &Settings) -> Result<Vec<WindowSettings>, Vec<Fault>> {
        let (mut windows, mut faults) = (Vec::new(), Vec::new());
        for (sensor, modality) in sensors_of(settings, &self.recorded) {
            match self.facts.get(&modality) {
                Some(facts) => windows.push(settings.window(&sensor, modality, facts)),
                None => faults.push(Fault {
                    key: format!("sensors.{sensor}"),
                    what: format!("the model pack {} has no {modality} encoder", settings.pack.display()),
                }),
            }
        }
        if faults.is_empty() { Ok(windows) } else { Err(faults) }
    }

    /// What the inference thread goes by.
    pub(super) fn tuning(&self, settings: &Settings) -> Tuning {
        let sensors = sensors_of(settings, &self.recorded);
        let of_sense = |modality: Modality| -> Vec<SensorId> {
            sensors.iter().filter(|(_, sense)| *sense == modality).map(|(sensor, _)| sensor.clone()).collect()
        };
        let joint = self
            .facts
            .iter()
            .map(|(modality, facts)| (*modality, settings.joint(*modality, &of_sense(*modality), facts)));
        let stale = sensors.iter().map(|(sensor, sense)| (sensor.clone(), settings.stale_secs(sensor, *sense)));
        Tuning {
            detect: settings.detect,
            events: settings.events,
            slow: stale.filter(|(_, secs)| *secs > settings.events.stale_secs).collect(),
            joint: joint.collect(),
            joint_hop_nanos: (settings.joint.hop_secs * NANOS_PER_SEC as f64).round() as i64,
        }
    }
}

/// Faults for people, in one line.
pub(super) fn in_words(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{}: {}", fault.key, fault.what)).collect::<Vec<_>>().join("; ")
}

fn live(settings: &Settings) -> Vec<SensorSettings> {
    match &settings.source {
        SourceSettings::Sensors(sensors) => sensors.clone(),
        SourceSettings::Replay(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFile, Overlay, Winner};

    const TEXT: &str = "[robot]\nname = 'a'\n[pack]\npath = '.'\n\
                        [sensors.heat]\ndriver = 'gy_mcu90640'\ndevice = '/dev/ttyS1'\n\
                        [sensors.mic]\ndriver = 'microphone'\n";

    fn plan(before: &str, after: &str) -> Result<Plan, Vec<Fault>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("perceptd.toml");
        std::fs::write(&path, TEXT).unwrap();
        std::fs::write(folder.path().join("pack.toml"), "").unwrap();
        let (file, _) = ConfigFile::open(&path).unwrap();
        let with = |json: &str| file.settings_with(&Overlay::parse(json).unwrap(), Winner::Topic).unwrap();
        let facts =
            ModalityFacts { window_secs: 0.0, rate_hz: 16_000.0, joint_weight: 1.0, validated: true, logit_scale: 1.0 };
        let facts = [(Modality::Audio, facts.clone()), (Modality::Thermal, facts)].into();
        let timeline = Timeline { boot_id: "boot".into(), unix_nanos_at_zero: 0 };
        Ground { facts, recorded: Vec::new(), timeline }.plan(&with(before), &with(after))
    }

    #[test]
    fn nothing_changes_when_nothing_differs() {
        assert_eq!(plan("{}", r#"{"windows":{"image_hop_secs":0.5}}"#).unwrap(), Plan::default());
    }

    #[test]
    fn a_rate_touches_its_sensor_alone() {
        let hop = plan("{}", r#"{"sensors":{"mic":{"hop_secs":0.25}}}"#).unwrap();
        assert_eq!((hop.stop.len(), hop.start.len(), hop.log), (0, 0, None));
        assert_eq!(hop.cut.iter().map(|cut| cut.sensor.as_str()).collect::<Vec<_>>(), ["mic"]);
        let rate = plan("{}", r#"{"sensors":{"mic":{"sample_rate_hz":48000}}}"#).unwrap();
        assert_eq!((rate.start.len(), rate.cut.len(), rate.tuning), (1, 0, None));
    }

    #[test]
    fn slow_sensors_are_waited_for() {
        let slow = |json: &str| {
            let tuning = plan("{}", json).unwrap().tuning;
            tuning.map(|t| t.slow.into_iter().map(|(sensor, secs)| (sensor.to_string(), secs)).collect::<Vec<_>>())
        };
        let named = |name: &str, secs: f64| Some(vec![(name.to_owned(), secs)]);
        assert_eq!(slow(r#"{"windows":{"audio_hop_secs":0.25}}"#), None);
        assert_eq!(slow(r#"{"windows":{"thermal_hop_secs":10}}"#), named("heat", 30.2));
        assert_eq!(slow(r#"{"sensors":{"mic":{"hop_secs":5}},"windows":{"lateness_secs":2}}"#), named("mic", 17.0));
        assert_eq!(slow(r#"{"events":{"stale_secs":1.8}}"#), Some(Vec::new()));
    }

    #[test]
    fn a_sensor_is_turned_off_and_on() {
        let off = plan("{}", r#"{"sensors":{"mic":{"enabled":false}}}"#).unwrap();
        assert_eq!((off.stop.len(), off.start.len(), off.cut.len()), (1, 0, 0));
        let on = plan(r#"{"sensors":{"mic":{"enabled":false}}}"#, "{}").unwrap();
        assert_eq!((on.stop.len(), on.start.len(), on.cut.len()), (0, 1, 1));
    }

    #[test]
    fn thresholds_and_levels_touch_no_sensor() {
        let plan = plan("{}", r#"{"events":{"exit_odds_ratio":8},"log":{"level":"debug"}}"#).unwrap();
        assert_eq!((plan.stop.len(), plan.start.len(), plan.cut.len()), (0, 0, 0));
        assert_eq!((plan.tuning.unwrap().events.exit_odds_ratio, plan.log), (8.0, Some(LogLevel::Debug)));
    }
}
