//! Rooms from settings: everything that can fail before the first thread starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::boot::Boot;
use super::perception::Perception;
use super::plan::{Ground, Tuning, in_words, sensors_of};
use super::prompt_book::PromptBook;
use super::threads::{Pace, WindowLoop};
use crate::config::SourceSettings;
use crate::detect::Detector;
use crate::encoders::{Encoders, EncodersError};
use crate::events::{Episodes, IdSource};
use crate::modality::{Modality, SensorId};
use crate::prompts::{PartError, PartSource, Prompt, PromptSettings, enrol};
use crate::publish::{Post, PublishParts, PublishSettings, Publisher};
use crate::recording::Recording;
use crate::space::{Bank, Joint};
use crate::store::Fault;
use crate::telemetry::Telemetry;
use crate::time::{MonoTime, Timeline};
use crate::windows::Windower;

/// From samples to findings: what the daemon and a replay without a broker have in common.
pub(super) struct Senses {
    pub(super) telemetry: Telemetry,
    pub(super) recording: Option<Recording>,
    pub(super) sensors: Vec<(SensorId, Modality)>,
    pub(super) timeline: Timeline,
    pub(super) windows: WindowLoop,
    pub(super) perception: Perception,
    pub(super) joint_hop_nanos: i64,
    pub(super) ground: Ground,
}

impl Senses {
    /// Opens the recording, loads the pack, enrols the prompts. Touches neither devices nor the broker.
    pub(super) fn build(boot: &mut Boot) -> anyhow::Result<Self> {
        let settings = &boot.settings.clone();
        let telemetry = Telemetry::default();
        let recording = match &settings.source {
            SourceSettings::Replay(replay) => Some(Recording::open_mapped(&replay.recording, &replay.topics)?),
            SourceSettings::Sensors(_) => None,
        };
        let (timeline, ids) = time_and_ids(recording.as_ref())?;
        // What prompts are made of is loaded before what sensors need, words first: the text encoder is large, and what it leaves is taken
        // by the others.
        let mut encoders = Encoders::open(&settings.pack, &[])?;
        let bank = Arc::new(Bank::new(encoders.bank()?));
        let prompts = prompts(boot, &mut encoders, &bank)?;
        let recorded = recording.as_ref().map(|recording| known(recording, &encoders)).unwrap_or_default();
        let facts = Modality::ALL.into_iter().filter_map(|m| Some((m, encoders.facts(m)?.clone())));
        let ground = Ground { facts: facts.collect(), recorded, timeline: timeline.clone() };
        let sensors = sensors_of(settings, &ground.recorded);
        let cut = ground.windows(settings).map_err(|faults| anyhow::Error::msg(in_words(&faults)))?;
        let Tuning { detect, events, slow, joint, joint_hop_nanos } = ground.tuning(settings);
        load_only(&mut encoders, &sensors)?;
        let windowers = cut.into_iter().map(|cut| Ok((cut.sensor.clone(), Windower::new(cut)?)));
        let windowers = windowers.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        let pace = if recording.is_some() { Pace::Recorded } else { Pace::Live };
        let windows = WindowLoop { windowers, tick_nanos: joint_hop_nanos, pace, telemetry: telemetry.clone() };
        let mut episodes = Episodes::new(events, ids);
        episodes.wait_for(slow);
        let perception = Perception {
            encoders,
            bank,
            prompts,
            detector: Detector::new(detect),
            episodes,
            joint: Joint::new(joint),
            telemetry: telemetry.clone(),
            last_time: MonoTime::default(),
            sensors: sensors.iter().map(|(sensor, _)| sensor.clone()).collect(),
            latest: BTreeMap::new(),
            failing: BTreeMap::new(),
        };
        Ok(Self { telemetry, recording, sensors, timeline, windows, perception, joint_hop_nanos, ground })
    }
}

/// Everything that the daemon's threads work with.
pub(super) struct Rooms {
    pub(super) senses: Senses,
    pub(super) publisher: Publisher,
    pub(super) post: Post,
}

impl Rooms {
    /// Somebody to tell it to.
    pub(super) fn open(senses: Senses, publish: PublishSettings, started_at: MonoTime) -> anyhow::Result<Self> {
        let parts = PublishParts {
            timeline: senses.timeline.clone(),
            telemetry: senses.telemetry.clone(),
            space: senses.perception.encoders.space().clone(),
            dim: u32::try_from(senses.perception.encoders.dim()).context("the pack's dimension")?,
            sensors: senses.sensors.clone(),
            started_at,
            replay: senses.recording.is_some(),
        };
        let (publisher, post) = crate::publish::open(publish, parts)?;
        Ok(Self { senses, publisher, post })
    }
}

/// The recorded sensors that the pack has an encoder for: whoever recorded need not have had this pack.
fn known(recording: &Recording, encoders: &Encoders) -> Vec<(SensorId, Modality)> {
    let (known, unknown): (Vec<_>, Vec<_>) =
        recording.sensors().into_iter().partition(|(_, modality)| encoders.facts(*modality).is_some());
    for (sensor, modality) in unknown {
        tracing::warn!(%sensor, "passed over: the model pack has no {modality} encoder");
    }
    known
}

/// The prompts of the file and of topics. A wrong one is told, and the others are looked for.
fn prompts(boot: &mut Boot, encoders: &mut Encoders, bank: &Bank) -> anyhow::Result<Vec<Prompt>> {
    let (mut prompts, mut wrong) = (Vec::new(), Vec::new());
    let words = words(boot, encoders);
    let mut enrol_one = |book: &mut PromptBook, settings: &PromptSettings, digest: Option<&str>| {
        let embed = |part: &PartSource| {
            let known = if let PartSource::Text(text) = part { words.get(text) } else { None };
            known.map_or_else(|| part.embed(encoders), |known| known.clone().map_err(PartError::Elsewhere))
        };
        let outcome = enrol(settings, bank, embed);
        let outcome = outcome.map(|prompt| prompts.push(prompt));
        let outcome = outcome.map_err(|error| Fault { key: "parts".to_owned(), what: error.to_string() });
        wrong.extend(outcome.as_ref().err().map(|fault| fault.what.clone()));
        match digest {
            Some(digest) => drop(book.settled(&settings.id, digest, outcome)),
            None => book.file_started(&settings.id, outcome),
        }
    };
    for (settings, digest) in std::mem::take(&mut boot.pending) {
        enrol_one(&mut boot.book, &settings, Some(&digest));
    }
    // One of a topic that went well stands in the place of the file's.
    for (settings, _) in boot.book.wanted().into_iter().filter(|(_, digest)| digest.is_none()) {
        enrol_one(&mut boot.book, &settings, None);
    }
    // Last, for what is kept or stands in the file under their names was told meanwhile.
    for (id, digest, what) in std::mem::take(&mut boot.quarantined) {
        boot.book.quarantine(&id, digest, what);
    }
    if boot.needs_all_prompts && !wrong.is_empty() {
        bail!(wrong.join("\n"));
    }
    wrong.iter().for_each(|what| tracing::error!("a prompt is not looked for: {what}"));
    prompts.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(prompts)
}

/// The vectors of all prompts' words, for which the text encoder is loaded and dropped before any other is there: together they need too
/// much room. Of words that cannot be embedded, why. Prompts of the file count also where a topic replaces them: that may fail.
fn words(boot: &Boot, encoders: &mut Encoders) -> BTreeMap<String, Result<Vec<f32>, String>> {
    let of_file = boot.book.wanted().into_iter().map(|(prompt, _)| prompt);
    let prompts: Vec<_> = of_file.chain(boot.pending.iter().map(|(prompt, _)| prompt.clone())).collect();
    let sources =
        prompts.iter().flat_map(|prompt| prompt.parts.iter().map(|part| &part.source).chain(&prompt.negatives));
    let mut vectors = BTreeMap::new();
    for source in sources {
        if let PartSource::Text(words) = source
            && !vectors.contains_key(words)
        {
            vectors.insert(words.clone(), source.embed(encoders).map_err(|error| error.to_string()));
        }
    }
    encoders.unload(Modality::Text);
    vectors
}

/// Drops what only prompts needed, and loads what the sensors need.
fn load_only(encoders: &mut Encoders, sensors: &[(SensorId, Modality)]) -> Result<(), EncodersError> {
    encoders.unload(Modality::Text);
    sensors.iter().try_for_each(|(_, modality)| encoders.load(*modality))
}

fn time_and_ids(recording: Option<&Recording>) -> anyhow::Result<(Timeline, IdSource)> {
    if let Some(recording) = recording {
        let timeline = recording.timeline().clone();
        return Ok((timeline.clone(), IdSource::replay(timeline, recording.digest())));
    }
    let timeline = Timeline::of_this_boot().context("cannot read the boot id")?;
    Ok((timeline.clone(), IdSource::live(timeline, fastrand::Rng::new())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::ConfigFile;

    #[test]
    fn words_are_embedded_before_any_other_encoder_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (path, tiny) = (folder.path().join("perceptd.toml"), concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny"));
        let text = format!(
            "[robot]\nname = 'a'\n[pack]\npath = '{tiny}'\n[sensors.mic]\ndriver = 'microphone'\n\
             [[prompts]]\nid = 'dog'\ntext = 'a dog'\nnegatives = [{{ text = '犬' }}, {{ audio = 'gone.wav' }}]\n"
        );
        std::fs::write(&path, text).unwrap();
        let (_, settings) = ConfigFile::open(&path).unwrap();
        let mut encoders = Encoders::open(Path::new(tiny), &[]).unwrap();
        let vectors = words(&Boot::of_file(&settings), &mut encoders);
        let known: Vec<_> = vectors.iter().map(|(words, vector)| (words.as_str(), vector.is_ok())).collect();
        assert_eq!(known, [("a dog", true), ("犬", false)]);
        assert_eq!(encoders.probes().count(), 0, "what embedded them is gone");
    }
}
