//! Building the sessions that a set of modalities needs, each proven on a probe.
//!
//! On one thread, although two would be faster: what a model takes while it loads is then room for the next, where the heaps of
//! two threads would each keep their own (about 180 instead of 220 MB resident, 0.25 s later).

use super::EncodersError;
use super::pack::Pack;
use super::preprocess::log_mel::{LogMel, LogMelSettings};
use super::preprocess::text::TextTokens;
use super::session::{InputSpec, Onnx, Output, Session};
use crate::modality::Modality;

/// One session's place. Image, thermal and depth share `Frame`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Frame,
    Map,
    Sound,
    Motion,
    Words,
}

impl Slot {
    /// What a modality needs, slowest to load first.
    pub(super) const fn of(modality: Modality) -> &'static [Self] {
        match modality {
            Modality::Text => &[Self::Words],
            Modality::Image => &[Self::Map, Self::Frame],
            Modality::Thermal | Modality::Depth => &[Self::Frame],
            Modality::Audio => &[Self::Sound],
            Modality::Imu => &[Self::Motion],
        }
    }
}

/// A session with what its preprocessing keeps.
pub(super) enum Loaded {
    Frame(Session),
    Map(Session),
    Sound(Box<LogMel>, Session),
    Motion(Session),
    Words(Box<TextTokens>, Session),
}

impl Loaded {
    pub(super) const fn slot(&self) -> Slot {
        match self {
            Self::Frame(_) => Slot::Frame,
            Self::Map(_) => Slot::Map,
            Self::Sound(..) => Slot::Sound,
            Self::Motion(_) => Slot::Motion,
            Self::Words(..) => Slot::Words,
        }
    }

    /// A name for measurements, and the session.
    pub(super) const fn session(&self) -> (&'static str, &Session) {
        match self {
            Self::Frame(session) => ("image", session),
            Self::Map(session) => ("map", session),
            Self::Sound(_, session) => ("audio", session),
            Self::Motion(session) => ("imu", session),
            Self::Words(_, session) => ("text", session),
        }
    }
}

/// What a loader does next.
enum Job {
    Load(Slot),
    /// Only look at the digest of a file that nothing loads now.
    Check(String),
}

/// Loads `slots` and checks the digests of all other files of the pack if `check_others`.
///
/// # Errors
/// The first fault in the order of the jobs.
pub(super) fn load(pack: &Pack, slots: &[Slot], check_others: bool) -> Result<Vec<Loaded>, EncodersError> {
    let used: Vec<&str> = slots.iter().flat_map(|slot| files_of(pack, *slot)).collect();
    let others = pack.manifest.files.keys().filter(|file| check_others && !used.contains(&file.as_str()));
    let others = others.filter(|file| **file != pack.manifest.bank.file).map(|file| Job::Check(file.clone()));
    let jobs = slots.iter().map(|slot| Job::Load(*slot)).chain(others);
    jobs.filter_map(|job| run(pack, &job).transpose()).collect()
}

fn run(pack: &Pack, job: &Job) -> Result<Option<Loaded>, EncodersError> {
    match job {
        Job::Load(Slot::Frame) => frame(pack).map(|session| Some(Loaded::Frame(session))),
        Job::Load(Slot::Map) => map(pack).map(|session| Some(Loaded::Map(session))),
        Job::Load(Slot::Sound) => sound(pack).map(Some),
        Job::Load(Slot::Motion) => motion(pack).map(Some),
        Job::Load(Slot::Words) => words(pack).map(Some),
        Job::Check(file) => pack.checked(file).map(|_| None),
    }
}

fn files_of(pack: &Pack, slot: Slot) -> Vec<&str> {
    let manifest = &pack.manifest;
    let text = || manifest.text.as_ref().map(|m| [m.file.as_str(), m.tokenizer.as_str()]);
    match slot {
        Slot::Frame | Slot::Map => manifest.image.iter().map(|m| m.file.as_str()).collect(),
        Slot::Sound => manifest.audio.iter().map(|m| m.file.as_str()).collect(),
        Slot::Motion => manifest.imu.iter().map(|m| m.file.as_str()).collect(),
        Slot::Words => text().into_iter().flatten().collect(),
    }
}

fn frame(pack: &Pack) -> Result<Session, EncodersError> {
    let image = pack.manifest.image.as_ref().ok_or(EncodersError::NoEncoder(Modality::Image))?;
    let [height, width] = image.embed_size;
    let input = InputSpec::f32(&image.input, &[1, 3, height, width]);
    proven(pack, &image.file, &[input], &image.embedding, &[1, pack.dim()], Session::probe)
}

fn map(pack: &Pack) -> Result<Session, EncodersError> {
    let image = pack.manifest.image.as_ref().ok_or(EncodersError::NoEncoder(Modality::Image))?;
    let [height, width] = image.map_size;
    let (rows, cols) = pack.grid().unwrap_or_default();
    let input = InputSpec::f32(&image.input, &[1, 3, height, width]);
    proven(pack, &image.file, &[input], &image.patches, &[1, pack.dim(), rows, cols], Session::probe)
}

fn sound(pack: &Pack) -> Result<Loaded, EncodersError> {
    let audio = pack.manifest.audio.as_ref().ok_or(EncodersError::NoEncoder(Modality::Audio))?;
    let log_mel = LogMel::new(LogMelSettings {
        sample_rate_hz: audio.sample_rate_hz,
        frame_length_ms: audio.frame_length_ms,
        frame_shift_ms: audio.frame_shift_ms,
        mel_bins: audio.mel_bins,
        target_frames: audio.target_frames,
        mean: audio.mean,
        std: audio.std,
    });
    let input = InputSpec::f32(&audio.input, &[1, 1, audio.mel_bins, audio.target_frames]);
    let session = proven(pack, &audio.file, &[input], &audio.embedding, &[1, pack.dim()], Session::probe)?;
    Ok(Loaded::Sound(Box::new(log_mel), session))
}

fn motion(pack: &Pack) -> Result<Loaded, EncodersError> {
    let imu = pack.manifest.imu.as_ref().ok_or(EncodersError::NoEncoder(Modality::Imu))?;
    let input = InputSpec::f32(&imu.input, &[1, 6, imu.window_readings()]);
    proven(pack, &imu.file, &[input], &imu.embedding, &[1, pack.dim()], Session::probe).map(Loaded::Motion)
}

fn words(pack: &Pack) -> Result<Loaded, EncodersError> {
    let text = pack.manifest.text.as_ref().ok_or(EncodersError::NoEncoder(Modality::Text))?;
    let tokens = TextTokens::new(&pack.read(&text.tokenizer)?, text.max_tokens)
        .map_err(|why| pack.fault(&text.tokenizer, why))?;
    let shape = [1, text.max_tokens];
    let inputs = [InputSpec::i64(&text.input_ids, &shape), InputSpec::i64(&text.attention_mask, &shape)];
    let probe = tokens.encode("a probe").map_err(|why| pack.fault(&text.tokenizer, why))?;
    let probe = |session: &Session| session.run_tokens(&probe.ids, &probe.mask);
    let session = proven(pack, &text.file, &inputs, &text.embedding, &[1, pack.dim()], probe)?;
    Ok(Loaded::Words(Box::new(tokens), session))
}

/// A session whose output on the built-in probe has the right shape and is finite.
fn proven(
    pack: &Pack,
    file: &str,
    inputs: &[InputSpec],
    output: &str,
    shape: &[usize],
    probe: impl Fn(&Session) -> Result<Output, String>,
) -> Result<Session, EncodersError> {
    let onnx = Onnx::open(&pack.checked(file)?).map_err(|why| pack.fault(file, why))?;
    let shapes = || inputs.iter().map(|i| format!("{} {:?}", i.name, i.shape)).collect::<Vec<_>>().join(", ");
    let unfit = |why: String| pack.fault(file, format!("cannot run with the manifest's input {}: {why}", shapes()));
    let session = onnx.session(inputs, output).map_err(unfit)?;
    let output = probe(&session).map_err(|why| pack.fault(file, format!("fails on the built-in probe: {why}")))?;
    let fault = |why: &str| Err(pack.fault(file, why));
    if output.shape != shape {
        return fault(&format!("gives {:?} instead of {shape:?}: the manifest and the model differ", output.shape));
    }
    if output.values.iter().any(|v| !v.is_finite()) {
        return fault("gives values that are not finite on the built-in probe: build the pack anew");
    }
    if output.values.iter().all(|v| v.abs() < f32::MIN_POSITIVE) {
        return fault("gives nothing but zeros on the built-in probe: build the pack anew");
    }
    Ok(session)
}
