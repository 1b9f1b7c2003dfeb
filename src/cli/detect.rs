//! `perceptd detect`: looks for prompts in picture files and writes what it found as JSON lines.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::detect::{Detector, Found, Frame};
use crate::encoders::Encoders;
use crate::media::Picture;
use crate::modality::Modality;
use crate::prompts::{Part, PartSource, Prompt, PromptSettings, enrol};
use crate::space::Bank;

/// What to look for, and where.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DetectArguments {
    /// Folder of the model pack.
    pub pack: PathBuf,
    /// Picture files.
    pub images: Vec<PathBuf>,
    /// Each is a prompt of its own.
    pub prompts: Vec<PartSource>,
    /// Wanted probability of a false alarm per picture.
    pub p_false: f64,
}

/// One candidate.
#[derive(Serialize)]
struct Line<'a> {
    /// Where the name is no UTF-8, with marks in the place of what cannot be written.
    file: Cow<'a, str>,
    prompt: &'a str,
    space: &'a str,
    /// Pixels of the picture as viewers show it: left, top, right, bottom.
    #[serde(rename = "box")]
    box_in_image: [f32; 4],
    raw: f32,
    score: f32,
    threshold: f32,
    fires: bool,
}

/// Writes one line a candidate to `output`, at least one a picture and prompt, best first. A picture that cannot be read is told on
/// `errors`, and the others go on; returns whether all could be read.
///
/// # Errors
/// When the pack or a prompt is refused, or nothing can be written.
pub(super) fn detect(
    arguments: &DetectArguments,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut encoders = Encoders::open(&arguments.pack, &[Modality::Image])?;
    let bank = Bank::new(encoders.bank()?);
    let prompts = enrolled(arguments, &mut encoders, &bank)?;
    let mut all_read = true;
    for file in &arguments.images {
        match search(file, &prompts, &encoders, &bank) {
            Ok(found) => {
                for ((source, _), found) in prompts.iter().zip(&found) {
                    write_lines(output, file, source, encoders.space(), found)?;
                }
            }
            Err(error) => {
                all_read = false;
                writeln!(errors, "{}: {}", file.display(), super::in_words(&error))?;
            }
        }
    }
    Ok(all_read)
}

/// Each prompt as it was written, and ready to be looked for.
fn enrolled(
    arguments: &DetectArguments,
    encoders: &mut Encoders,
    bank: &Bank,
) -> anyhow::Result<Vec<(String, Prompt)>> {
    let one = |(index, source): (usize, &PartSource)| {
        let settings = PromptSettings {
            id: format!("prompt-{}", index + 1).into(),
            parts: vec![Part { source: source.clone(), weight: 1.0 }],
            negatives: Vec::new(),
            modalities: vec![Modality::Image],
            p_false: arguments.p_false,
        };
        let told_as = source.to_string();
        let prompt = enrol(&settings, bank, |part| part.embed(encoders)).map_err(|error| error.named(&told_as))?;
        Ok((told_as, prompt))
    };
    arguments.prompts.iter().enumerate().map(one).collect()
}

fn search(file: &Path, prompts: &[(String, Prompt)], encoders: &Encoders, bank: &Bank) -> anyhow::Result<Vec<Found>> {
    let picture = Picture::open(file)?;
    let map = encoders.map(&picture)?;
    let made_of: Vec<Modality> = prompts.iter().map(|(_, prompt)| prompt.made_of).collect();
    let frame = Frame::new(bank, (picture.width, picture.height), &map, &made_of);
    let look = |(_, prompt): &(String, Prompt)| Detector::default().detect(&frame, prompt);
    Ok(prompts.iter().map(look).collect::<Result<_, _>>()?)
}

fn write_lines(output: &mut impl Write, file: &Path, prompt: &str, space: &str, found: &Found) -> io::Result<()> {
    for candidate in &found.candidates {
        let place = candidate.box_in_image;
        let line = Line {
            file: file.to_string_lossy(),
            prompt,
            space,
            box_in_image: [place.x0, place.y0, place.x1, place.y1].map(|edge| (edge * 10.0).round() / 10.0),
            raw: candidate.score.raw,
            score: candidate.score.calibrated,
            threshold: candidate.score.threshold,
            fires: candidate.score.fires(),
        };
        serde_json::to_writer(&mut *output, &line)?;
        output.write_all(b"\n")?;
    }
    Ok(())
}
