//! What to look for, as the file says it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::modality::Modality;
use crate::prompts::{Part, PartSource, PromptSettings};

use super::problem::Problem;
use super::resolve::{served, topic_name};
use super::section::Section;
use super::settings::Settings;

/// Where a prompt is looked for when it does not say.
pub const USUAL_SENSES: [Modality; 2] = [Modality::Image, Modality::Audio];

/// Wanted probability of a false alarm per window when a prompt does not say.
pub const USUAL_P_FALSE: f64 = 0.05;

/// Such probabilities as can be asked for; 0 in a message stands for the usual one.
pub const P_FALSE: RangeInclusive<f64> = 1e-6..=0.5;

/// Weights that a part of a prompt may have; 0 in a message stands for 1.
pub const WEIGHT: RangeInclusive<f64> = 0.001..=1000.0;

/// Second levels of event topics that are kept for what has no prompt, so that no prompt's events come under them.
const RESERVED: [&str; 2] = ["live", "novel"];

/// `[[prompts]]`.
pub(super) fn prompts(file: &mut Section<'_>, folder: &Path, served: &Option<Vec<Modality>>) -> Vec<PromptSettings> {
    let mut seen = BTreeSet::new();
    let mut prompts = Vec::new();
    for mut section in file.listed_sections("prompts") {
        let id = prompt_id(&mut section);
        if !id.is_empty() && !seen.insert(id.clone()) {
            section.problem(format!("a second prompt with the id \"{id}\""));
        }
        let parts = parts(&mut section, folder);
        let negatives = negatives(&mut section, folder);
        let modalities = senses(&mut section, served.as_deref());
        let p_false = section.number("p_false", P_FALSE).unwrap_or(USUAL_P_FALSE);
        prompts.push(PromptSettings { id: id.into(), parts, negatives, modalities, p_false });
    }
    prompts
}

fn prompt_id(section: &mut Section<'_>) -> String {
    section.require("id", "a short name, which stands in the topic of its events");
    section.checked_text("id", "a short name", usable_id).unwrap_or_default()
}

fn usable_id(id: &str) -> Result<(), String> {
    match RESERVED.contains(&id) {
        true => Err(format!("\"{id}\" is taken: event/{id}/… means something else")),
        false => topic_name(id),
    }
}

/// The source that a table names: `audio`, `image` or `text`, one of them. Its file is looked at when it is enrolled: one that is gone
/// must not keep perceptd from looking for the others.
fn one_source(section: &mut Section<'_>, folder: &Path) -> Option<PartSource> {
    let mut found: Vec<PartSource> = Vec::new();
    found.extend(section.later_file("audio", folder, "a sound file").map(PartSource::AudioFile));
    found.extend(section.later_file("image", folder, "a picture file").map(PartSource::ImageFile));
    found.extend(section.text("text", "words").map(|(words, _)| PartSource::Text(words)));
    if found.len() > 1 {
        section.problem(
            "more than one of `audio`, `image`, `text`: to mix them use parts = [{ audio = …, weight = … }, …]",
        );
    }
    found.pop()
}

fn names_a_source(section: &Section<'_>) -> bool {
    ["audio", "image", "text"].iter().any(|key| section.has(key))
}

fn parts(section: &mut Section<'_>, folder: &Path) -> Vec<Part> {
    let (short, long) = (names_a_source(section), section.has("parts"));
    match (short, long) {
        (false, false) => section.problem("made of nothing: give `audio`, `image` or `text`, or `parts`"),
        (true, true) => section.problem("give either `parts` or one of `audio`, `image`, `text`"),
        _ => {}
    }
    let mut parts: Vec<Part> =
        one_source(section, folder).map(|source| Part { source, weight: 1.0 }).into_iter().collect();
    let listed = section.listed_sections("parts");
    if long && listed.is_empty() {
        section.problem("`parts` holds no part");
    }
    for mut part in listed {
        if !names_a_source(&part) {
            part.problem("names no `audio`, `image` or `text`");
        }
        let source = one_source(&mut part, folder);
        let weight = part.number("weight", WEIGHT).unwrap_or(1.0) as f32;
        parts.extend(source.map(|source| Part { source, weight }));
    }
    parts
}

fn negatives(section: &mut Section<'_>, folder: &Path) -> Vec<PartSource> {
    let mut negatives = Vec::new();
    for mut part in section.listed_sections("negatives") {
        if !names_a_source(&part) {
            part.problem("names no `audio`, `image` or `text`");
        }
        negatives.extend(one_source(&mut part, folder));
    }
    negatives
}

fn senses(section: &mut Section<'_>, served: Option<&[Modality]>) -> Vec<Modality> {
    let Some(words) = section.texts("in") else { return USUAL_SENSES.to_vec() };
    let mut senses: Vec<Modality> = Vec::new();
    for (word, line) in words {
        match word.parse() {
            Ok(Modality::Text) => section.findings.add(line, section.key("in"), "no sensor reads text"),
            Ok(sense) if senses.contains(&sense) => {
                section.findings.add(line, section.key("in"), format!("{sense} twice"))
            }
            Ok(sense) => senses.push(sense),
            Err(_unknown) => {
                let what = format!("\"{word}\" is no sense; known: image, audio, thermal, depth, imu");
                section.findings.add(line, section.key("in"), what);
            }
        }
    }
    if !senses.is_empty() && !is_served(&senses, served) {
        section.problem(NOT_SERVED);
    }
    senses
}

pub(super) const NOT_SERVED: &str = "no sensor serves any of the senses in `in`: it would never be found";

fn is_served(senses: &[Modality], served: Option<&[Modality]>) -> bool {
    served.is_none_or(|served| senses.iter().any(|sense| served.contains(sense)))
}

/// What is wrong with a prompt that did not come from the file, checked as one of the file is; `settings` has the sensors.
#[must_use]
pub fn prompt_problems(prompt: &PromptSettings, settings: &Settings) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |key: &str, what: String| problems.push(Problem { line: None, key: key.to_owned(), what });
    if let Err(what) = usable_id(&prompt.id) {
        wrong("id", what);
    }
    if prompt.parts.is_empty() {
        wrong("parts", "made of nothing, and the config file has no prompt of this name: give at least one".to_owned());
    }
    for (index, part) in prompt.parts.iter().enumerate().filter(|(_, part)| !WEIGHT.contains(&f64::from(part.weight))) {
        wrong(
            &format!("parts[{index}].weight"),
            format!("expected a number from {} to {}, found {}", WEIGHT.start(), WEIGHT.end(), part.weight),
        );
    }
    if !P_FALSE.contains(&prompt.p_false) {
        let (low, high) = P_FALSE.into_inner();
        wrong("p_false", format!("expected a number from {low} to {high}, found {}", prompt.p_false));
    }
    if prompt.modalities.contains(&Modality::Text) {
        wrong("senses", "no sensor reads text".to_owned());
    } else if !is_served(&prompt.modalities, served(&settings.source, &settings.sensors_off).as_deref()) {
        wrong("senses", NOT_SERVED.to_owned());
    }
    problems
}
