//! The joint vector: what all fresh senses say together.

use std::collections::BTreeMap;

use super::vector::weighted_sum;
use crate::encoders::Embedding;
use crate::modality::{Modality, SensorId};
use crate::time::{MonoTime, NANOS_PER_SEC};

/// How one sense takes part in the joint vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JointSettings {
    /// Weight of the sense, shared by its sensors; 0 for a sense that the pack's card calls not validated.
    pub weight: f32,
    /// An embedding older than this is not used: two periods of the sensor.
    pub horizon_secs: f64,
}

/// One sensor's part in a joint vector.
#[derive(Clone, Debug, PartialEq)]
pub struct JointPart {
    /// The sensor.
    pub sensor: SensorId,
    /// The sense.
    pub modality: Modality,
    /// Its weight in the sum; 0 when it was not used.
    pub weight: f32,
    /// Age of its newest embedding, in seconds.
    pub age_secs: f64,
    /// Whether it was fresh and of positive weight.
    pub used: bool,
}

/// What all fresh senses say together.
#[derive(Clone, Debug, PartialEq)]
pub struct JointVector {
    /// Unit vector.
    pub vector: Vec<f32>,
    /// Every sensor that ever spoke, in order of its name, used or not.
    pub parts: Vec<JointPart>,
}

/// Keeps the newest embedding of every sensor.
#[derive(Debug)]
pub struct Joint {
    settings: BTreeMap<Modality, JointSettings>,
    newest: BTreeMap<SensorId, (MonoTime, Embedding)>,
}

impl Joint {
    /// A sense that `settings` does not name takes no part.
    #[must_use]
    pub fn new(settings: impl IntoIterator<Item = (Modality, JointSettings)>) -> Self {
        Self { settings: settings.into_iter().collect(), newest: BTreeMap::new() }
    }

    /// Goes by other settings from now on; a sense that they do not name takes no part.
    pub fn tune(&mut self, settings: impl IntoIterator<Item = (Modality, JointSettings)>) {
        self.settings = settings.into_iter().collect();
    }

    /// A sensor that is gone for good takes no part any more.
    pub fn forget(&mut self, sensor: &SensorId) {
        self.newest.remove(sensor);
    }

    /// Takes a sensor's embedding, true at `captured_at`. Older ones than the newest are passed over. The first vector of another
    /// space (a new pack) forgets those of the old: vectors of different spaces are never summed.
    pub fn push(&mut self, sensor: &SensorId, captured_at: MonoTime, embedding: &Embedding) {
        self.newest.retain(|_, (_, known)| known.space == embedding.space);
        let is_newer = self.newest.get(sensor).is_none_or(|(known, _)| captured_at >= *known);
        if is_newer {
            self.newest.insert(sensor.clone(), (captured_at, embedding.clone()));
        }
    }

    /// unit(Σ w·e) over the sensors fresher than their horizon; none when there is nothing to sum.
    #[must_use]
    pub fn at(&self, now: MonoTime) -> Option<JointVector> {
        let mut parts: Vec<JointPart> =
            self.newest.iter().map(|(sensor, known)| self.part(sensor, known, now)).collect();
        let mut sensors_used: BTreeMap<Modality, u16> = BTreeMap::new();
        for part in parts.iter().filter(|part| part.used) {
            *sensors_used.entry(part.modality).or_default() += 1;
        }
        for part in &mut parts {
            part.weight /= f32::from(sensors_used.get(&part.modality).copied().unwrap_or(1));
        }
        let weighted = parts.iter().zip(self.newest.values()).filter(|(part, _)| part.used);
        let vector = weighted_sum(weighted.map(|(part, (_, embedding))| (part.weight, &*embedding.vector))).ok()?;
        Some(JointVector { vector, parts })
    }

    fn part(&self, sensor: &SensorId, (captured_at, embedding): &(MonoTime, Embedding), now: MonoTime) -> JointPart {
        let modality = embedding.modality;
        let settings =
            self.settings.get(&modality).copied().unwrap_or(JointSettings { weight: 0.0, horizon_secs: 0.0 });
        let age_secs = now.nanos_since(*captured_at) as f64 / NANOS_PER_SEC as f64;
        let used = settings.weight > 0.0 && age_secs.abs() <= settings.horizon_secs;
        JointPart { sensor: sensor.clone(), modality, weight: if used { settings.weight } else { 0.0 }, age_secs, used }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sensor(name: &str) -> SensorId {
        SensorId::new(name).unwrap()
    }

    fn embedding(modality: Modality, vector: &[f32]) -> Embedding {
        Embedding { space: "p2-test".into(), modality, vector: vector.into() }
    }

    fn secs(secs: f64) -> MonoTime {
        MonoTime::from_secs_f64(secs)
    }

    fn joint() -> Joint {
        Joint::new([
            (Modality::Image, JointSettings { weight: 1.0, horizon_secs: 0.4 }),
            (Modality::Audio, JointSettings { weight: 3.0, horizon_secs: 1.0 }),
            (Modality::Thermal, JointSettings { weight: 0.0, horizon_secs: 1.0 }),
        ])
    }

    #[test]
    fn fresh_senses_are_summed_by_weight_and_the_others_are_named() {
        let mut joint = joint();
        assert_eq!(joint.at(secs(0.0)), None);
        joint.push(&sensor("mic"), secs(1.0), &embedding(Modality::Audio, &[0.0, 1.0]));
        joint.push(&sensor("cam"), secs(1.4), &embedding(Modality::Image, &[1.0, 0.0]));
        joint.push(&sensor("heat"), secs(1.4), &embedding(Modality::Thermal, &[1.0, 0.0]));
        let both = joint.at(secs(1.5)).unwrap();
        let expected = [1.0 / 10.0f32.sqrt(), 3.0 / 10.0f32.sqrt()];
        assert!(both.vector.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
        let used: Vec<(&str, bool, f32)> = both.parts.iter().map(|p| (p.sensor.as_str(), p.used, p.weight)).collect();
        assert_eq!(used, [("cam", true, 1.0), ("heat", false, 0.0), ("mic", true, 3.0)]);
        let late = joint.at(secs(1.9)).unwrap();
        assert_eq!(late.vector, [0.0, 1.0]);
        assert!((late.parts[0].age_secs - 0.5).abs() < 1e-9 && !late.parts[0].used);
        assert_eq!(joint.at(secs(9.0)), None);
    }

    #[test]
    fn two_cameras_share_the_weight_of_one() {
        let mut joint = joint();
        joint.push(&sensor("left"), secs(1.0), &embedding(Modality::Image, &[1.0, 0.0]));
        joint.push(&sensor("right"), secs(1.0), &embedding(Modality::Image, &[1.0, 0.0]));
        joint.push(&sensor("mic"), secs(1.0), &embedding(Modality::Audio, &[0.0, 1.0]));
        let all = joint.at(secs(1.0)).unwrap();
        assert!((all.vector[1] / all.vector[0] - 3.0).abs() < 1e-5);
    }

    #[test]
    fn late_embeddings_do_not_replace_newer_ones_and_a_new_space_starts_anew() {
        let mut joint = joint();
        joint.push(&sensor("cam"), secs(1.0), &embedding(Modality::Image, &[1.0, 0.0]));
        joint.push(&sensor("cam"), secs(0.9), &embedding(Modality::Image, &[0.0, 1.0]));
        assert_eq!(joint.at(secs(1.0)).unwrap().vector, [1.0, 0.0]);
        joint.push(
            &sensor("mic"),
            secs(1.0),
            &Embedding { space: "p3-test".into(), ..embedding(Modality::Audio, &[0.0, 0.0, 1.0]) },
        );
        assert_eq!(joint.at(secs(1.0)).unwrap().vector, [0.0, 0.0, 1.0]);
    }
}
