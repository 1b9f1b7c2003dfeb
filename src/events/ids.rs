//! Event ids: UUID version 7.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::modality::SensorId;
use crate::time::{MonoTime, Timeline};

/// Where the bits of an id that are not its time come from.
#[derive(Clone, Debug)]
enum Rest {
    Random(fastrand::Rng),
    Recording(String),
}

/// Names events by the wall-clock time of their onset.
#[derive(Clone, Debug)]
pub struct IdSource {
    timeline: Timeline,
    rest: Rest,
}

impl IdSource {
    /// Ids of a live run: the rest is random.
    #[must_use]
    pub fn live(timeline: Timeline, random: fastrand::Rng) -> Self {
        Self { timeline, rest: Rest::Random(random) }
    }

    /// Ids of a replay: the rest is the SHA-256 of recording, prompt, sensor and onset, so that every replay gives the same.
    #[must_use]
    pub fn replay(timeline: Timeline, recording_digest: &str) -> Self {
        Self { timeline, rest: Rest::Recording(recording_digest.to_owned()) }
    }

    /// The wall clock was set: later ids go by it.
    pub fn timeline_is(&mut self, timeline: Timeline) {
        self.timeline = timeline;
    }

    /// The id of an event.
    pub fn id(&mut self, prompt: &str, sensor: &SensorId, onset: MonoTime) -> Uuid {
        let mut rest = [0; 10];
        match &mut self.rest {
            Rest::Random(random) => random.fill(&mut rest),
            Rest::Recording(digest) => {
                // Names and digests hold no line break, so that no two different inputs make the same text.
                let text = format!("{digest}\n{prompt}\n{sensor}\n{}", onset.nanos());
                rest.iter_mut().zip(Sha256::digest(text)).for_each(|(to, from)| *to = from);
            }
        }
        let unix_millis = u64::try_from(self.timeline.unix_nanos(onset) / 1_000_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(unix_millis, &rest).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline() -> Timeline {
        Timeline { boot_id: "test".into(), unix_nanos_at_zero: 1_700_000_000_000_000_000 }
    }

    #[test]
    fn replays_agree_and_live_runs_differ() {
        let sensor = SensorId::new("cam").unwrap();
        let onset = MonoTime::from_secs_f64(1.5);
        let mut replay = IdSource::replay(timeline(), "abc");
        let id = replay.id("dog", &sensor, onset);
        assert_eq!(id, IdSource::replay(timeline(), "abc").id("dog", &sensor, onset));
        assert_ne!(id, replay.id("cat", &sensor, onset));
        assert_ne!(id, replay.id("dog", &sensor, onset.shifted(1)));
        assert_ne!(id, IdSource::replay(timeline(), "abd").id("dog", &sensor, onset));
        let mut live = IdSource::live(timeline(), fastrand::Rng::with_seed(1));
        assert_ne!(live.id("dog", &sensor, onset), live.id("dog", &sensor, onset));
    }

    #[test]
    fn ids_are_version_seven_and_carry_the_onset() {
        let id =
            IdSource::replay(timeline(), "abc").id("dog", &SensorId::new("cam").unwrap(), MonoTime::from_secs_f64(1.5));
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        let millis = id.as_bytes()[..6].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        assert_eq!(millis, 1_700_000_001_500);
    }
}
