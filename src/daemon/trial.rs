//! What a config names, opened as a start would open it: the model pack, the recording, what prompts are made of. Nothing runs.

use crate::config::{ConfigFile, Problem, ReplaySettings, Settings, SourceSettings};
use crate::encoders::{Encoders, EncodersError};
use crate::modality::Modality;
use crate::prompts::{PartSource, PromptSettings, enrol};
use crate::recording::{Recording, RecordingError};
use crate::space::Bank;
use crate::windows::Windower;

use super::plan::sensors_of;

/// The problems of `file`, `known` by a look at it alone, and every one with what `settings`, which it gave, name; in the order of the
/// file's lines. What a known problem is about is not tried. No device and no broker is touched.
#[must_use]
pub fn try_out(file: &ConfigFile, settings: &Settings, known: Vec<Problem>) -> Vec<Problem> {
    let mut trial = Trial { file, settings, problems: known };
    match &settings.source {
        SourceSettings::Replay(replay)
            if file.has("replay.recording")
                && trial.is_right("replay.recording")
                && trial.is_right("replay.topics") =>
        {
            trial.recording(replay);
        }
        _ => {}
    }
    let mut pack = if file.has("pack.path") && trial.is_right("pack.path") { trial.pack() } else { None };
    if let Some((encoders, _)) = pack.as_ref().filter(|_| trial.is_right("windows")) {
        trial.windows(encoders);
    }
    for (index, prompt) in settings.prompts.iter().enumerate() {
        trial.prompt(index, prompt, pack.as_mut());
    }
    trial.problems.sort_by_key(|problem| problem.line.unwrap_or(u32::MAX));
    trial.problems
}

struct Trial<'a> {
    file: &'a ConfigFile,
    settings: &'a Settings,
    problems: Vec<Problem>,
}

impl Trial<'_> {
    fn wrong(&mut self, key: &str, what: impl ToString) {
        self.problems.push(self.file.problem(key, what.to_string()));
    }

    /// Whether no problem is about this key, what stands in it, or what it stands in.
    fn is_right(&self, key: &str) -> bool {
        let is_in = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        !self.problems.iter().any(|problem| is_in(&problem.key, key) || is_in(key, &problem.key))
    }

    /// Whether the file has lines that could not be read: what they said is not known.
    fn has_gaps(&self) -> bool {
        self.problems.iter().any(|problem| problem.key.is_empty() && problem.line.is_some())
    }

    /// Opening looks at all of it; no more than the first sample is decoded.
    fn recording(&mut self, replay: &ReplaySettings) {
        let opened = Recording::open_mapped(&replay.recording, &replay.topics);
        let tried = opened.and_then(|recording| match recording.damage() {
            Some(damage) => Err(damage),
            None => recording.samples().next().transpose(),
        });
        match tried {
            Ok(_) => {}
            Err(RecordingError::Topics { .. }) if self.has_gaps() => {}
            Err(error @ RecordingError::Topics { .. }) => self.wrong("replay.topics", error),
            Err(error) => self.wrong("replay.recording", error),
        }
    }

    /// The pack with every encoder loaded: topics may bring prompts of any kind.
    fn pack(&mut self) -> Option<(Encoders, Bank)> {
        let open = || -> Result<(Encoders, Bank), EncodersError> {
            let mut encoders = Encoders::open(&self.settings.pack, &[])?;
            for modality in Modality::ALL {
                if encoders.facts(modality).is_some() {
                    encoders.load(modality)?;
                }
            }
            let bank = Bank::new(encoders.bank()?);
            Ok((encoders, bank))
        };
        open().map_err(|error| self.wrong("pack.path", error)).ok()
    }

    /// Whether the pack serves each sensor, and its windows can be cut.
    fn windows(&mut self, encoders: &Encoders) {
        for (sensor, modality) in sensors_of(self.settings, &[]) {
            let key = format!("sensors.{sensor}");
            if !self.is_right(&key) {
                continue;
            }
            match encoders.facts(modality).map(|facts| Windower::new(self.settings.window(&sensor, modality, facts))) {
                Some(Ok(_)) => {}
                Some(Err(error)) => self.wrong(&key, error),
                None => self.wrong(&key, EncodersError::NoEncoder(modality)),
            }
        }
    }

    /// Enrols a prompt; without a pack it looks at no more than the files of its parts. One that has a problem already may not be what was
    /// meant.
    fn prompt(&mut self, index: usize, prompt: &PromptSettings, pack: Option<&mut (Encoders, Bank)>) {
        if prompt.id.is_empty() || !self.is_right(&format!("prompts[{index}]")) {
            return;
        }
        let parts = prompt.parts.iter().map(|part| &part.source).enumerate().map(|(at, source)| ("parts", at, source));
        let negatives = prompt.negatives.iter().enumerate().map(|(at, source)| ("negatives", at, source));
        let sources: Vec<_> = parts.chain(negatives).collect();
        let mut vectors = Vec::new();
        let Some((encoders, bank)) = pack else {
            for (list, at, source) in sources {
                if let Err(error) = source.check() {
                    self.wrong(&self.key(index, list, at, source), error);
                }
            }
            return;
        };
        for (list, at, source) in &sources {
            match source.embed(encoders) {
                Ok(vector) => vectors.push(vector),
                Err(error) => self.wrong(&self.key(index, list, *at, source), error),
            }
        }
        if vectors.len() == sources.len() {
            // Parts and negatives are asked for in their order.
            let mut vectors = vectors.into_iter();
            let embedded = |source: &PartSource| vectors.next().map_or_else(|| source.embed(encoders), Ok);
            if let Err(error) = enrol(prompt, bank, embedded) {
                self.wrong(&format!("prompts[{index}]"), error);
            }
        }
    }

    /// The key of a part, which a prompt of one part may name without a list.
    fn key(&self, index: usize, list: &str, at: usize, source: &PartSource) -> String {
        let sense = source.modality().name();
        let listed = format!("prompts[{index}].{list}[{at}].{sense}");
        if self.file.has(&listed) { listed } else { format!("prompts[{index}].{sense}") }
    }
}
