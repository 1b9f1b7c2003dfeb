//! Enrolment: a prompt's parts into one vector that can be looked for.

use std::collections::BTreeMap;

use super::{PartError, PartSource, Prompt, PromptError, PromptSettings};
use crate::modality::{Modality, is_name};
use crate::space::{Bank, FEWEST_BACKGROUNDS, Probe, dot, weighted_sum};

/// Cosine above which a background window is taken for the thing itself: two recordings of one thing are seldom more alike.
const ALIKE: f32 = 0.7;

/// Largest share of the background windows that may be alike: more of them would keep the prompt from ever firing.
const MOST_ALIKE: f64 = 0.05;

/// Cosine above which a negative is the prompt itself, for instance the same picture in another file.
const SAME: f32 = 0.999;

/// Makes a prompt: has its parts embedded by `embed`, sums them by weight and calibrates the sum against the bank.
///
/// # Errors
/// One clear error for the first thing that is wrong: how it is written, a part that cannot be read, heard or seen, parts that
/// cancel each other out, or a prompt that cannot be told from the background or from one of its negatives.
pub fn enrol(
    settings: &PromptSettings,
    bank: &Bank,
    mut embed: impl FnMut(&PartSource) -> Result<Vec<f32>, PartError>,
) -> Result<Prompt, PromptError> {
    check(settings)?;
    let mut embed = |source: &PartSource| {
        embed(source).map_err(|error| PromptError::Part {
            prompt: settings.id.clone(),
            part: source.to_string(),
            source: error,
        })
    };
    let parts = settings.parts.iter().map(|part| embed(&part.source)).collect::<Result<Vec<_>, _>>()?;
    let negatives = settings.negatives.iter().map(&mut embed).collect::<Result<Vec<_>, _>>()?;
    let weighted = settings.parts.iter().zip(&parts).map(|(part, vector)| (part.weight, vector.as_slice()));
    let vector = weighted_sum(weighted).map_err(|source| PromptError::Sum { prompt: settings.id.clone(), source })?;
    let probe = Probe { vector, made_of: made_of(settings), negatives };
    check_against_negatives(settings, &probe)?;
    check_against_background(settings, &probe, bank)?;
    Prompt::new(settings.id.clone(), probe, &settings.modalities, settings.p_false, bank)
}

fn check(settings: &PromptSettings) -> Result<(), PromptError> {
    let refuse = |why: &str| Err(PromptError::Settings { prompt: settings.id.clone(), why: why.to_owned() });
    if !is_name(&settings.id) {
        return refuse("cannot be a name: use 1 to 32 of a-z, 0-9, `_`, `-`");
    }
    if settings.parts.is_empty() {
        return refuse("it has no parts: add a sound, a picture or words");
    }
    if !settings.parts.iter().all(|part| part.weight.is_finite() && part.weight > 0.0) {
        return refuse("every weight must be a positive number: for what it must not be confused with, use negatives");
    }
    if !(settings.p_false > 0.0 && settings.p_false < 1.0) {
        return refuse("p_false must lie between 0 and 1, such as 0.05");
    }
    if settings.modalities.is_empty() {
        return refuse("it is looked for in no sense: name at least one, such as image");
    }
    Ok(())
}

/// The modality of the largest share of the weight.
fn made_of(settings: &PromptSettings) -> Modality {
    let mut shares: BTreeMap<Modality, f32> = BTreeMap::new();
    for part in &settings.parts {
        *shares.entry(part.source.modality()).or_default() += part.weight;
    }
    let largest = shares.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
    largest.map_or(Modality::Text, |(modality, _)| modality)
}

/// Refuses a prompt that could never fire, for it is one of the things that it must not be confused with.
fn check_against_negatives(settings: &PromptSettings, probe: &Probe) -> Result<(), PromptError> {
    let mut negatives = settings.negatives.iter().zip(&probe.negatives);
    match negatives.find(|(_, vector)| dot(vector, &probe.vector) > SAME) {
        None => Ok(()),
        Some((negative, _)) => {
            let why = format!(
                "its negative {negative} is just what it looks for, so it would never fire: leave one of them out"
            );
            Err(PromptError::Settings { prompt: settings.id.clone(), why })
        }
    }
}

/// Refuses a prompt that is what the background is. Its own score would not tell: whatever is compared with itself stands out. Words
/// have no background of their own: they pass.
fn check_against_background(settings: &PromptSettings, probe: &Probe, bank: &Bank) -> Result<(), PromptError> {
    let windows = bank.backgrounds(probe.made_of);
    if windows.len() < FEWEST_BACKGROUNDS {
        return Ok(());
    }
    let alike = windows.iter().filter(|window| dot(window, &probe.vector) >= ALIKE).count();
    let share = alike as f64 / windows.len() as f64;
    if share <= MOST_ALIKE {
        return Ok(());
    }
    Err(PromptError::LikeBackground { prompt: settings.id.clone(), modality: probe.made_of, percent: 100.0 * share })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoders::BankTensors;
    use crate::prompts::Part;
    use crate::space::unit;

    fn settings(parts: &[(&str, f32)]) -> PromptSettings {
        PromptSettings {
            id: "dog".into(),
            parts: parts.iter().map(|(text, weight)| Part { source: text.parse().unwrap(), weight: *weight }).collect(),
            negatives: Vec::new(),
            modalities: vec![Modality::Image],
            p_false: 0.05,
        }
    }

    #[test]
    fn badly_written_prompts_are_refused_before_anything_is_read() {
        let good = settings(&[("text:dog", 1.0)]);
        assert!(check(&good).is_ok());
        let cases = [
            (PromptSettings { id: "A dog".into(), ..good.clone() }, "name"),
            (settings(&[]), "no parts"),
            (settings(&[("text:dog", 0.0)]), "weight"),
            (settings(&[("text:dog", f32::NAN)]), "weight"),
            (PromptSettings { p_false: 0.0, ..good.clone() }, "p_false"),
            (PromptSettings { p_false: f64::NAN, ..good.clone() }, "p_false"),
            (PromptSettings { modalities: vec![], ..good.clone() }, "no sense"),
        ];
        for (settings, word) in cases {
            let text = check(&settings).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn a_prompt_is_made_of_what_weighs_most() {
        assert_eq!(
            made_of(&settings(&[("text:night", 1.0), ("audio:a.wav", 0.6), ("audio:b.wav", 0.6)])),
            Modality::Audio
        );
        assert_eq!(made_of(&settings(&[("text:night", 1.0), ("image:a.png", 0.5)])), Modality::Text);
    }

    #[test]
    fn what_is_its_own_negative_is_refused() {
        let vectors = |source: &PartSource| match source.in_short().as_str() {
            "text:dog" => Ok(vec![1.0, 0.0]),
            _ => Ok(vec![0.0, 1.0]),
        };
        let with = |parts: &[(&str, f32)]| {
            let negatives = vec!["text:rain".parse().unwrap(), "text:dog".parse().unwrap()];
            let settings = PromptSettings { negatives, ..settings(parts) };
            enrol(&settings, &Bank::new(BankTensors::default()), vectors).unwrap_err().to_string()
        };
        let refused = with(&[("text:dog", 1.0)]);
        assert!(refused.contains("prompt `dog`: its negative text:dog is just what it looks for"), "{refused}");
        let mixed = with(&[("text:dog", 1.0), ("text:rain", 0.5)]);
        assert!(mixed.contains("no background"), "it goes on: {mixed}");
    }

    #[test]
    fn what_sounds_like_the_background_is_refused() {
        let mut rng = fastrand::Rng::with_seed(5);
        let noise = |rng: &mut fastrand::Rng| -> Vec<f32> { (0..16).map(|_| rng.f32() - 0.5).collect() };
        let mut hum = vec![0.0; 16];
        hum[0] = 1.0;
        let background = (0..32).map(|_| {
            let v: Vec<f32> = noise(&mut rng).iter().zip(&hum).map(|(n, h)| 0.05 * n + h).collect();
            unit(&v).unwrap()
        });
        let bank = Bank::new(BankTensors {
            backgrounds: vec![(Modality::Audio, background.collect())],
            ..BankTensors::default()
        });
        let settings = settings(&[("audio:x.wav", 1.0)]);
        let probe = |vector: Vec<f32>| Probe { vector, made_of: Modality::Audio, negatives: Vec::new() };
        let mut bark = vec![0.0; 16];
        bark[3] = 1.0;
        assert!(check_against_background(&settings, &probe(bark), &bank).is_ok());
        let refused = check_against_background(&settings, &probe(hum), &bank).unwrap_err().to_string();
        assert!(refused.contains("cannot be told from the audio background"), "{refused}");
    }
}
