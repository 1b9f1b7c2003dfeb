//! `perceptd prompt`: what a robot looks for, from a shell, by topic.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use anyhow::{Context as _, bail};
use clap::Subcommand;

use super::operator::{ANOTHER, Robots, STILL_TRIED, Word};
use crate::config::WEIGHT;
use crate::files::read_at_most;
use crate::modality::{Modality, is_name};
use crate::prompts::PartSource;
use crate::publish::{HeardPrompt, Ingredient, MAX_PARTS, MAX_PROMPT_BYTES, PromptSpec, Reported};

/// What to do with a robot's prompts.
#[derive(Debug, Subcommand)]
pub(super) enum PromptCommand {
    /// Have a robot look for something, and wait until it does or says why not.
    Add {
        /// The prompt's name; its events come under `event/<name>`. One of the same name is replaced.
        id: String,
        /// What it is made of: `audio:FILE`, `image:FILE` or `text:WORDS`; `0.5*text:at night` gives a weight. The files' bytes are sent.
        /// None: what the config file's prompt of this name is made of.
        #[arg(value_name = "PART")]
        parts: Vec<String>,
        /// What it must not be confused with.
        #[arg(long, value_name = "PART")]
        negative: Vec<PartSource>,
        /// Senses in which it is looked for, with commas. Default: image,audio.
        #[arg(long = "in", value_name = "SENSES", value_delimiter = ',')]
        senses: Vec<Modality>,
        /// Wanted probability of a false alarm per window.
        #[arg(long, value_parser = super::parse_p_false)]
        p_false: Option<f64>,
        #[command(flatten)]
        robots: Robots,
    },
    /// Show what robots look for.
    List {
        #[command(flatten)]
        robots: Robots,
        /// As JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Have a robot look for it no longer; a prompt of the config file is what the file says again.
    Remove {
        /// The prompt's name.
        id: String,
        #[command(flatten)]
        robots: Robots,
    },
}

impl PromptCommand {
    /// What is wrong with it that the arguments one by one do not show.
    pub(super) fn mistake(&self) -> Option<String> {
        match self {
            Self::Add { id, parts, negative, senses, p_false, .. }
                if parts.is_empty() && negative.is_empty() && senses.is_empty() && p_false.is_none() =>
            {
                Some(format!(
                    "nothing is said of the prompt `{id}`: name a PART such as audio:FILE, or --negative, --in or --p-false for the \
                     prompt of this name in the config file; `perceptd prompt remove {id}` takes it away"
                ))
            }
            Self::Add { parts, negative, .. } => {
                let too_many = [("parts", parts.len()), ("negatives", negative.len())];
                let too_many = too_many.into_iter().find(|(_, count)| *count > MAX_PARTS);
                let too_many = too_many.map(|(what, count)| format!("{count} {what}: at most {MAX_PARTS} are taken"));
                too_many.or_else(|| parts.iter().find_map(|part| weight(part).err()))
            }
            _ => None,
        }
    }
}

/// Does it; tells whether every robot did.
pub(super) async fn run(command: PromptCommand, out: &mut dyn Write) -> anyhow::Result<bool> {
    match command {
        PromptCommand::Add { id, parts, negative, senses, p_false, robots } => {
            let parts = parts.iter().map(|part| weighted(part)).collect::<Result<Vec<_>, _>>()?;
            let negatives = negative.iter().map(ingredient).collect::<Result<Vec<_>, _>>()?;
            let spec = PromptSpec { parts, negatives, senses, p_false };
            wish(&id, Some(&spec), robots, out).await
        }
        PromptCommand::Remove { id, robots } => wish(&id, None, robots, out).await,
        PromptCommand::List { robots, json } => {
            let session = robots.find().await?;
            for robot in session.robots.keys() {
                for prompt in session.prompts.get(robot).into_iter().flat_map(BTreeMap::values) {
                    if json {
                        writeln!(out, "{}", serde_json::json!({ "robot": robot, "prompt": prompt }))?;
                    } else {
                        writeln!(out, "{robot}: {}", shown(prompt))?;
                    }
                }
            }
            Ok(true)
        }
    }
}

async fn wish(id: &str, spec: Option<&PromptSpec>, robots: Robots, out: &mut dyn Write) -> anyhow::Result<bool> {
    anyhow::ensure!(is_name(id), "`{id}` cannot be a prompt's name: use 1 to 32 of a-z, 0-9, `_`, `-`");
    let bytes = spec.map_or(0, |spec| {
        spec.parts.iter().map(|(part, _)| part).chain(&spec.negatives).map(size).sum::<usize>() + 1024
    });
    anyhow::ensure!(
        bytes <= MAX_PROMPT_BYTES,
        "the prompt has {bytes} bytes, at most {MAX_PROMPT_BYTES} can be sent: use a shorter clip (a few seconds will do) or a smaller picture"
    );
    let mut session = robots.find().await?;
    let names: BTreeSet<String> = session.robots.keys().cloned().collect();
    let mut digest = String::new();
    for robot in &names {
        digest = session.operator().wish_prompt(robot, id, spec)?;
    }
    if spec.is_some() {
        return session.wait(names, out, |_, report| answer(id, &digest, false, report)).await;
    }
    // A robot that is away may not have heard the wish for it yet: it is asked in any case.
    let known = std::mem::take(&mut session.prompts);
    let (mut answered, is_known) = (Vec::new(), known.values().any(|prompts| prompts.contains_key(id)));
    let word = |robot: &str, report: &Reported| {
        let (is_good, word) = match answer(id, &digest, true, report) {
            Word::Last(is_good, word) => (is_good, word),
            word => return word,
        };
        answered.push((robot.to_owned(), is_good));
        let of_robot = known.get(robot);
        let is_stranger = is_good && of_robot.is_none_or(|prompts| !prompts.contains_key(id));
        if is_stranger { Word::Last(is_known, stranger(id, of_robot)) } else { Word::Last(is_good, word) }
    };
    let all_good = session.wait(names, out, word).await?;
    for (robot, _) in answered.iter().filter(|(_, is_good)| *is_good) {
        session.operator().clear_prompt(robot, id)?;
    }
    // What was sent goes out while the connection is looked after.
    session.settle().await?;
    Ok(all_good)
}

/// Of a prompt that the robot never looked for.
fn stranger(id: &str, of_robot: Option<&BTreeMap<String, HeardPrompt>>) -> String {
    let known: Vec<&str> = of_robot.into_iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("looks for no `{id}`; known: {known}")
}

/// What a report says of the wish.
fn answer(id: &str, digest: &str, is_removal: bool, report: &Reported) -> Word {
    match report {
        Reported::PromptGone(gone) if gone == id && is_removal => Word::Last(true, format!("prompt {id} is gone")),
        Reported::PromptGone(gone) if gone == id => Word::SoFar(ANOTHER),
        Reported::Prompt(HeardPrompt { prompt, state, origin, .. })
            if prompt == id && is_removal && state == "applied" && origin == "file" =>
        {
            Word::Last(true, format!("prompt {id} is as the config file says"))
        }
        Reported::Prompt(prompt) if prompt.prompt == id && prompt.digest == digest => {
            let problems: String = prompt.problems.iter().map(|problem| format!("\n  {problem}")).collect();
            match prompt.state.as_str() {
                "pending" => Word::SoFar(STILL_TRIED),
                "applied" => Word::Last(true, format!("looks for {}", shown(prompt))),
                "rolled_back" => Word::Last(false, format!("cannot look for {id}:{problems}")),
                _ => Word::Last(false, format!("rejected {id}:{problems}")),
            }
        }
        Reported::Prompt(prompt) if prompt.prompt == id && prompt.state != "pending" => Word::SoFar(ANOTHER),
        _ => Word::None,
    }
}

fn shown(prompt: &HeardPrompt) -> String {
    let HeardPrompt { state, origin, prompt: id, problems, senses, p_false, made_of, digest } = prompt;
    let trouble = match state.as_str() {
        "applied" => String::new(),
        // Only of the file's own is that said without a wish's digest.
        "rolled_back" if digest.is_empty() => format!(": {}", problems.join("; ")),
        state => format!("; last wish {}: {}", state.replace('_', " "), problems.join("; ")),
    };
    if made_of.is_empty() {
        return format!("{id}: not looked for{trouble}");
    }
    format!("{id}: {made_of}; in {}; p_false {p_false}; from {origin}{trouble}", senses.join(", "))
}

fn size(part: &Ingredient) -> usize {
    match part {
        Ingredient::Text(words) => words.len(),
        Ingredient::Audio(bytes) | Ingredient::Image(bytes) => bytes.len(),
    }
}

/// `audio:bark.wav`, or `0.5*audio:bark.wav`.
fn weighted(part: &str) -> anyhow::Result<(Ingredient, f32)> {
    let (weight, source) = weight(part).map_err(anyhow::Error::msg)?;
    Ok((ingredient(&source.parse()?)?, weight))
}

/// A part's weight, 1 where it says none, and the rest of it.
fn weight(part: &str) -> Result<(f32, &str), String> {
    let Some((weight, source)) = part.split_once('*').filter(|(weight, _)| !weight.contains(':')) else {
        return Ok((1.0, part));
    };
    match weight.trim().parse() {
        Ok(weight) if WEIGHT.contains(&f64::from(weight)) => Ok((weight, source)),
        _ => Err(format!(
            "`{weight}` is no weight: write 0.5*{source}, with a number from {} to {}",
            WEIGHT.start(),
            WEIGHT.end()
        )),
    }
}

fn ingredient(source: &PartSource) -> anyhow::Result<Ingredient> {
    let read = |path: &std::path::Path| {
        read_at_most(path, MAX_PROMPT_BYTES as u64).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(match source {
        PartSource::Text(words) => Ingredient::Text(words.clone()),
        PartSource::AudioFile(path) => Ingredient::Audio(read(path)?),
        PartSource::ImageFile(path) => Ingredient::Image(read(path)?),
        PartSource::AudioBytes(_) | PartSource::ImageBytes(_) => bail!("bytes cannot be named on a command line"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    /// The command line of a person.
    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: PromptCommand,
    }

    #[test]
    fn a_prompt_that_says_nothing_is_a_mistake() {
        let line = |arguments: &[&str]| Line::try_parse_from([&["prompt", "add", "dog"], arguments].concat());
        let mistake = line(&[]).unwrap().command.mistake().unwrap();
        assert!(mistake.contains("nothing is said of the prompt `dog`"), "{mistake}");
        for said in [&["text:a dog"][..], &["--negative", "text:rain"], &["--in", "audio"], &["--p-false", "0.1"]] {
            assert_eq!(line(said).unwrap().command.mistake(), None, "{said:?}");
        }
        for (said, why) in [(&["text:a"; 17][..], "17 parts: at most 16"), (&["0*text:a"], "`0` is no weight")] {
            let mistake = line(said).unwrap().command.mistake().unwrap();
            assert!(mistake.contains(why), "{mistake}");
        }
    }

    #[test]
    fn only_what_was_wished_is_told_as_a_wish() {
        let digest = "d".to_owned();
        let of_file = HeardPrompt {
            state: "rolled_back".to_owned(),
            origin: "unspecified".to_owned(),
            prompt: "dog".to_owned(),
            problems: vec!["parts: no such file".to_owned()],
            ..HeardPrompt::default()
        };
        assert_eq!(shown(&of_file), "dog: not looked for: parts: no such file");
        let unreadable = HeardPrompt { state: "rejected".to_owned(), ..of_file.clone() };
        assert_eq!(shown(&unreadable), "dog: not looked for; last wish rejected: parts: no such file");
        let wished = HeardPrompt { digest, ..of_file };
        assert_eq!(shown(&wished), "dog: not looked for; last wish rolled back: parts: no such file");
    }

    #[test]
    fn only_the_answer_to_this_wish_decides() {
        let heard = |prompt: &str, state: &str, digest: &str| {
            let (prompt, state, digest) = (prompt.to_owned(), state.to_owned(), digest.to_owned());
            let (origin, problems) = ("topic".to_owned(), vec!["no".to_owned()]);
            Reported::Prompt(HeardPrompt { prompt, state, digest, origin, problems, ..HeardPrompt::default() })
        };
        for (report, word) in [
            (heard("cat", "applied", "d"), Word::None),
            (heard("dog", "pending", "e"), Word::None),
            (heard("dog", "applied", "e"), Word::SoFar(ANOTHER)),
            (Reported::PromptGone("dog".to_owned()), Word::SoFar(ANOTHER)),
            (heard("dog", "pending", "d"), Word::SoFar(STILL_TRIED)),
            (heard("dog", "rejected", "d"), Word::Last(false, "rejected dog:\n  no".to_owned())),
        ] {
            assert_eq!(answer("dog", "d", false, &report), word, "{report:?}");
        }
        let replaced = Word::Last(false, "rejected dog:\n  no".to_owned());
        assert_eq!(answer("dog", "d", true, &heard("dog", "rejected", "d")), replaced);
        let gone = answer("dog", "d", true, &Reported::PromptGone("dog".to_owned()));
        assert_eq!(gone, Word::Last(true, "prompt dog is gone".to_owned()));
    }

    #[test]
    fn parts_have_weights() {
        let text = |words: &str| Ingredient::Text(words.to_owned());
        assert_eq!(weighted("text:a dog").unwrap(), (text("a dog"), 1.0));
        assert_eq!(weighted("0.5*text:at night").unwrap(), (text("at night"), 0.5));
        assert_eq!(weighted("text:2*3").unwrap(), (text("2*3"), 1.0));
        for bad in ["x*text:a", "dog", "audio:/no/such.wav"] {
            assert!(weighted(bad).is_err(), "{bad}");
        }
        assert_eq!((weight("0.001*a").unwrap(), weight("1000*a").unwrap()), ((0.001, "a"), (1000.0, "a")));
        for bad in ["0", "-1", "0.0009", "1001", "NaN", "inf"] {
            let told = weight(&format!("{bad}*text:a")).unwrap_err();
            assert!(told.contains(&format!("`{bad}` is no weight")) && told.ends_with("from 0.001 to 1000"), "{told}");
        }
    }
}
