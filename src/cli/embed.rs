//! `perceptd embed`: published vectors of files or words, one JSON line each.
//!
//! For tests and for anyone who wants to judge a pack; it knows neither sensors nor broker.

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::encoders::{Embedding, Encoders};
use crate::media::{Motion, Picture, Plane, Sound};
use crate::modality::Modality;

/// One line of output.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    modality: &'a str,
    space: &'a str,
    vector: &'a [f32],
}

/// Embeds `inputs` with the pack in the folder `pack` and writes one JSON line for each to `out`. Inputs are files; for text
/// they are the words themselves, or `@FILE` for a text of each line of a file. What cannot be embedded is named on stderr and
/// the others go on. Returns whether all could be.
///
/// # Errors
/// When the pack is not usable or `out` cannot be written.
pub fn run(pack: &Path, modality: Modality, inputs: &[String], out: &mut impl Write) -> Result<bool> {
    let encoders = Encoders::open(pack, &[modality])?;
    let mut all = true;
    for input in inputs {
        match embed(&encoders, modality, input) {
            Ok(embedded) => {
                for (file, embedding) in &embedded {
                    write_line(out, file, embedding)?;
                }
            }
            Err(why) => {
                eprintln!("{input}: {}", super::in_words(&why));
                all = false;
            }
        }
    }
    out.flush().context("cannot write")?;
    Ok(all)
}

fn write_line(out: &mut impl Write, file: &str, embedding: &Embedding) -> Result<()> {
    let line = Line { file, modality: embedding.modality.name(), space: &embedding.space, vector: &embedding.vector };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n").context("cannot write")
}

fn embed(encoders: &Encoders, modality: Modality, input: &str) -> Result<Vec<(String, Embedding)>> {
    let path = Path::new(input);
    let embedding = match modality {
        Modality::Image => encoders.image(&Picture::open(path)?)?,
        Modality::Audio => encoders.sound(&Sound::open(path)?)?,
        Modality::Thermal => encoders.thermal(&Plane::open_thermal(path)?)?,
        Modality::Depth => encoders.depth(&Plane::open_depth(path)?)?,
        Modality::Imu => encoders.motion(&Motion::open(path)?)?,
        Modality::Text => {
            return texts(input)?.into_iter().map(|words| Ok((words.clone(), encoders.text(&words)?))).collect();
        }
    };
    Ok(vec![(input.to_owned(), embedding)])
}

fn texts(input: &str) -> Result<Vec<String>> {
    let Some(file) = input.strip_prefix('@') else { return Ok(vec![input.to_owned()]) };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}
