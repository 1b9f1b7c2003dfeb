//! `perceptd embed`: published vectors of files or words, one JSON line each.
//!
//! For tests and for anyone who wants to judge a pack; it knows neither sensors nor broker.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::encoders::{Embedding, Encoders};
use crate::files::{MIB, read_at_most};
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
pub fn run(pack: &Path, modality: Modality, inputs: &[impl AsRef<OsStr>], out: &mut impl Write) -> Result<bool> {
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
    for input in inputs.iter().map(AsRef::as_ref) {
        let name = input.to_string_lossy();
        if modality != Modality::Text {
            write(embed(&encoders, modality, Path::new(input)), &name, &name)?;
            continue;
        }
        match texts(input) {
            Ok(texts) => {
                for text in texts {
                    match text {
                        Ok(words) => write(encoders.text(&words).map_err(Into::into), &words, &format!("{words:?}"))?,
                        Err(why) => write(Err(why), &name, &name)?,
                    }
                }
            }
            Err(why) => write(Err(why), &name, &name)?,
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

fn embed(encoders: &Encoders, modality: Modality, path: &Path) -> Result<Embedding> {
    Ok(match modality {
        Modality::Image => encoders.image(&Picture::open(path)?)?,
        Modality::Audio => encoders.sound(&Sound::open(path)?)?,
        Modality::Thermal => encoders.thermal(&measured(path, Plane::open_thermal(path)?, "hundredths of a kelvin"))?,
        Modality::Depth => encoders.depth(&measured(path, Plane::open_depth(path)?, "millimetres"))?,
        Modality::Imu => encoders.motion(&Motion::open(path)?)?,
        Modality::Text => encoders.text(utf8(path.as_os_str())?)?,
    })
}

/// The plane; whoever gives a picture that holds no such numbers is told so.
fn measured(file: &Path, read: ReadPlane, unit: &str) -> Plane {
    if let Some(doubt) = read.doubt(unit) {
        tell(&file.to_string_lossy(), &doubt);
    }
    read.plane
}

/// Longest file of texts that is read.
const MOST_TEXT_BYTES: u64 = 64 * MIB;

/// The words themselves, or each line of a file that is not blank; of a line that is no UTF-8, what is wrong with it.
fn texts(input: &OsStr) -> Result<Vec<Result<String>>> {
    let Some(file) = input.as_bytes().strip_prefix(b"@") else { return Ok(vec![utf8(input).map(str::to_owned)]) };
    let bytes = read_at_most(Path::new(OsStr::from_bytes(file)), MOST_TEXT_BYTES).context("cannot be read")?;
    // Windows' editors put a byte order mark before the text.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| !line.trim_ascii().is_empty());
    let texts: Vec<Result<String>> = lines.map(|(line, number)| text_of(line, number)).collect();
    anyhow::ensure!(!texts.is_empty(), "it holds no text: write one in each line");
    Ok(texts)
}

fn text_of(line: &[u8], number: usize) -> Result<String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    utf8(OsStr::from_bytes(line)).with_context(|| format!("line {number}")).map(str::to_owned)
}

fn utf8(words: &OsStr) -> Result<&str> {
    words
        .to_str()
        .context("it is no UTF-8, which texts must be: convert it, for example with `iconv -f LATIN1 -t UTF-8`")
}
