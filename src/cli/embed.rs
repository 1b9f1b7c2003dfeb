//! `perceptd embed`: published vectors of files or words, one JSON line each.
//!
//! For tests and for anyone who wants to judge a pack; it knows neither sensors nor broker.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::encoders::{Embedding, Encoders};
use crate::files::{MIB, read_text_at_most};
use crate::media::{Motion, Picture, Plane, ReadPlane, Sound};
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
    let mut write = |embedded: Result<Embedding>, input: &str, told_as: &str| {
        match embedded {
            Ok(embedding) => write_line(out, input, &embedding)?,
            Err(why) => {
                tell(told_as, &super::in_words(&why));
                all = false;
            }
        }
        anyhow::Ok(())
    };
    for input in inputs {
        if modality != Modality::Text {
            write(embed(&encoders, modality, input), input, input)?;
            continue;
        }
        match texts(input) {
            Ok(texts) => {
                for words in texts {
                    write(encoders.text(&words).map_err(Into::into), &words, &format!("{words:?}"))?;
                }
            }
            Err(why) => write(Err(why), input, input)?,
        }
    }
    out.flush().context("cannot write")?;
    Ok(all)
}

fn tell(input: &str, what: &str) {
    // Nothing is left to tell when stderr is gone.
    drop(writeln!(io::stderr(), "{input}: {what}"));
}

fn write_line(out: &mut impl Write, file: &str, embedding: &Embedding) -> Result<()> {
    let line = Line { file, modality: embedding.modality.name(), space: &embedding.space, vector: &embedding.vector };
    serde_json::to_writer(&mut *out, &line).map_err(io::Error::from).context("cannot write")?;
    out.write_all(b"\n").context("cannot write")
}

fn embed(encoders: &Encoders, modality: Modality, file: &str) -> Result<Embedding> {
    let path = Path::new(file);
    Ok(match modality {
        Modality::Image => encoders.image(&Picture::open(path)?)?,
        Modality::Audio => encoders.sound(&Sound::open(path)?)?,
        Modality::Thermal => encoders.thermal(&measured(file, Plane::open_thermal(path)?, "hundredths of a kelvin"))?,
        Modality::Depth => encoders.depth(&measured(file, Plane::open_depth(path)?, "millimetres"))?,
        Modality::Imu => encoders.motion(&Motion::open(path)?)?,
        Modality::Text => encoders.text(file)?,
    })
}

/// The plane; whoever gives a picture that holds no such numbers is told so.
fn measured(file: &str, read: ReadPlane, unit: &str) -> Plane {
    if !read.is_measured {
        tell(
            file,
            &format!("it is no 16-bit grey PNG, which would hold {unit}: its brightness is taken in their place"),
        );
    }
    read.plane
}

/// Longest file of texts that is read.
const MOST_TEXT_BYTES: u64 = 64 * MIB;

fn texts(input: &str) -> Result<Vec<String>> {
    let Some(file) = input.strip_prefix('@') else { return Ok(vec![input.to_owned()]) };
    let text = read_text_at_most(Path::new(file), MOST_TEXT_BYTES).context("cannot be read")?;
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}
