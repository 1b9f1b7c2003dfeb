//! What prompts that come by topic are made of is embedded in a process of its own: what its encoders take, several times the model's
//! file, goes back to the system with it, and what it dies of does not end perceptd.
//!
//! Both ends are here. They speak over a socket that is the child's standard input and output: a part of a prompt in, its vector or a
//! reason out, each with its kind and length before it.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::Context as _;

use super::prepare::open_again;
use super::signals;
use crate::children;
use crate::prompts::{PartError, PartSource};

/// So long an answer may take, with the model's loading: a small board with a large pack has time enough, and what hangs is noticed.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Longest message: a prompt's parts came in one packet, and a vector has a few thousand values.
const MOST_BYTES: u32 = 4 << 20;

/// Kinds of messages to the child: what a part is.
const AUDIO_FILE: u8 = 0;
const IMAGE_FILE: u8 = 1;
const AUDIO_BYTES: u8 = 2;
const IMAGE_BYTES: u8 = 3;
const TEXT: u8 = 4;
/// Kinds of messages from it: a vector of f32, little-endian, or why there is none.
const VECTOR: u8 = 0;
const REFUSED: u8 = 1;

/// A process that embeds. It ends with this value, and by itself when perceptd is gone.
pub(super) struct Embedder {
    child: Child,
    line: UnixStream,
}

impl Embedder {
    /// Starts `program`, perceptd itself, as `perceptd embedder` for the pack in this folder, whose joint space must be `space`.
    pub(super) fn start(program: &Path, pack: &Path, space: &str) -> io::Result<Self> {
        let (line, its_end) = UnixStream::pair()?;
        line.set_read_timeout(Some(ANSWER_WITHIN))?;
        line.set_write_timeout(Some(ANSWER_WITHIN))?;
        let mut command = Command::new(program);
        // What it is started by need not be its name.
        command.arg0("perceptd").arg("embedder").arg("--pack").arg(pack).args(["--space", space]);
        command.stdin(OwnedFd::from(its_end.try_clone()?)).stdout(OwnedFd::from(its_end));
        let child = children::spawn(&mut command)?;
        Ok(Self { child, line })
    }

    /// This one, if it still runs.
    pub(super) fn if_running(mut self) -> Option<Self> {
        matches!(self.child.try_wait(), Ok(None)).then_some(self)
    }

    /// The unit vector of a part.
    pub(super) fn embed(&mut self, part: &PartSource) -> Result<Vec<f32>, PartError> {
        match self.ask(part) {
            Ok((VECTOR, bytes)) => {
                Ok(bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect())
            }
            Ok((_, why)) => Err(PartError::Elsewhere(String::from_utf8_lossy(&why).into_owned())),
            Err(error) => {
                // Whatever it was, the next one starts anew.
                drop(self.child.kill());
                let end = self.child.wait().map_or_else(|why| why.to_string(), |status| status.to_string());
                Err(PartError::Elsewhere(format!("the process that embeds prompts failed ({error}; {end})")))
            }
        }
    }

    fn ask(&mut self, part: &PartSource) -> io::Result<(u8, Vec<u8>)> {
        let (kind, bytes) = told(part);
        write_message(&mut self.line, kind, bytes)?;
        match read_message(&mut self.line) {
            Ok(answer) => answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let secs = ANSWER_WITHIN.as_secs();
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {secs} s")))
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Embedder {
    fn drop(&mut self) {
        // It holds nothing that it would have to put in order; one that has ended already cannot be killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The child's side: embeds with the pack in this folder until `input` ends.
///
/// # Errors
/// When signals cannot be left to its parent, or that is gone. A pack that cannot be used is told to it.
pub fn embed_for_daemon(pack: &Path, space: &str, mut input: impl Read, output: &mut impl Write) -> anyhow::Result<()> {
    signals::leave_to_parent()?;
    let mut encoders = open_again(pack, space, &[]);
    while let Some((kind, bytes)) = read_message(&mut input).context("cannot read what perceptd asks for")? {
        let part = heard(kind, bytes).context("perceptd asks for something unknown")?;
        let embedded = match &mut encoders {
            Ok(encoders) => part.embed(encoders).map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        };
        match embedded {
            Ok(vector) => {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                write_message(output, VECTOR, &bytes)
            }
            Err(why) => write_message(output, REFUSED, why.as_bytes()),
        }
        .context("cannot answer perceptd")?;
    }
    Ok(())
}

fn told(part: &PartSource) -> (u8, &[u8]) {
    match part {
        PartSource::AudioFile(path) => (AUDIO_FILE, path.as_os_str().as_bytes()),
        PartSource::ImageFile(path) => (IMAGE_FILE, path.as_os_str().as_bytes()),
        PartSource::AudioBytes(bytes) => (AUDIO_BYTES, bytes),
        PartSource::ImageBytes(bytes) => (IMAGE_BYTES, bytes),
        PartSource::Text(words) => (TEXT, words.as_bytes()),
    }
}

fn heard(kind: u8, bytes: Vec<u8>) -> Option<PartSource> {
    let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
    Some(match kind {
        AUDIO_FILE => PartSource::AudioFile(path(bytes)),
        IMAGE_FILE => PartSource::ImageFile(path(bytes)),
        AUDIO_BYTES => PartSource::AudioBytes(bytes.into()),
        IMAGE_BYTES => PartSource::ImageBytes(bytes.into()),
        TEXT => PartSource::Text(String::from_utf8(bytes).ok()?),
        _ => return None,
    })
}

fn write_message(output: &mut impl Write, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MOST_BYTES);
    let length = length.ok_or_else(|| io::Error::other(format!("a message of {} bytes", bytes.len())))?;
    output.write_all(&[kind])?;
    output.write_all(&length.to_le_bytes())?;
    output.write_all(bytes)?;
    output.flush()
}

/// The next message; none where there is no more.
fn read_message(input: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let (mut kind, mut length) = ([0], [0; 4]);
    match input.read_exact(&mut kind) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    input.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut bytes = vec![0; length as usize];
    input.read_exact(&mut bytes)?;
    let [kind] = kind;
    Ok(Some((kind, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoders::Encoders;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny");

    fn asks(parts: &[PartSource]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in parts {
            let (kind, told) = told(part);
            write_message(&mut bytes, kind, told).unwrap();
        }
        bytes
    }

    fn answers(space: &str, asked: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut said = Vec::new();
        embed_for_daemon(Path::new(TINY), space, asked, &mut said).unwrap();
        let mut said = said.as_slice();
        std::iter::from_fn(|| read_message(&mut said).unwrap()).collect()
    }

    #[test]
    fn parts_arrive_as_they_were_told() {
        let bytes: std::sync::Arc<[u8]> = vec![1, 2, 255].into();
        for part in [
            PartSource::AudioFile("a b.wav".into()),
            PartSource::ImageFile("/x.png".into()),
            PartSource::AudioBytes(bytes.clone()),
            PartSource::ImageBytes(bytes),
            PartSource::Text("a dog, größer".to_owned()),
        ] {
            let (kind, told) = told(&part);
            assert_eq!(heard(kind, told.to_vec()), Some(part));
        }
        assert_eq!((heard(5, Vec::new()), heard(TEXT, vec![255])), (None, None));
    }

    #[test]
    fn vectors_are_those_of_encoders_here_and_a_refusal_is_no_end() {
        let mut encoders = Encoders::open(Path::new(TINY), &[]).unwrap();
        let space = encoders.space().to_string();
        let parts = ["a dog", " ", "a dog"].map(|words| PartSource::Text(words.to_owned()));
        let here = parts[0].embed(&mut encoders).unwrap();
        let here: Vec<u8> = here.iter().flat_map(|value| value.to_le_bytes()).collect();
        let refused = (REFUSED, b"there are no words in it: say what to look for".to_vec());
        assert_eq!(answers(&space, &asks(&parts)), [(VECTOR, here.clone()), refused, (VECTOR, here)]);
        let (kind, why) = answers("another", &asks(&parts)).remove(0);
        assert!(kind == REFUSED && String::from_utf8(why).unwrap().contains("restart perceptd"));
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_an_error() {
        let whole = asks(&["text:a dog".parse().unwrap()]);
        for length in 1..whole.len() {
            assert!(read_message(&mut &whole[..length]).is_err(), "{length} bytes");
        }
        assert!(read_message(&mut [TEXT, 255, 255, 255, 255].as_slice()).is_err());
        assert!(write_message(&mut Vec::new(), TEXT, &vec![0; MOST_BYTES as usize + 1]).is_err());
    }

    #[test]
    fn a_program_that_cannot_embed_is_told_with_its_end() {
        let mut embedder = Embedder::start(Path::new("/bin/false"), Path::new(TINY), "space").unwrap();
        let error = embedder.embed(&"text:a dog".parse().unwrap()).unwrap_err().to_string();
        assert!(
            error.starts_with("the process that embeds prompts failed (") && error.contains("exit status"),
            "{error}"
        );
        assert!(embedder.if_running().is_none());
        assert!(Embedder::start(Path::new("/no/such/program"), Path::new(TINY), "space").is_err());
    }
}
