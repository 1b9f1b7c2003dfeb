//! A microphone through cpal.
//!
//! As a system service there is no user's PulseAudio or PipeWire: name an ALSA device such as `plughw:CARD=Webcam`. The callback neither
//! allocates, locks nor logs: it copies into fixed blocks of a ring (a bounded std channel, whose sending side takes no lock while nobody
//! sleeps on the other) and counts. One channel is taken, none mixed: channels of an array differ in phase, and the first is the processed
//! one where there is such a thing. Resampling is the windows' work.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{BufferSize, ErrorKind, FromSample, SampleFormat, SizedSample, SupportedBufferSize, SupportedStreamConfig};

use super::holder::busy;
use super::inventory::microphones;
use super::sample_clock::{BlockTimes, SampleClock};
use super::settings::MicrophoneSettings;
use super::{Sample, SampleData, Sensor, SensorError};
use crate::modality::SensorId;
use crate::time::now;

/// Samples in one block of the ring.
const BLOCK_SAMPLES: usize = 512;

/// Blocks in the ring: 1.4 s at 48 kHz, 0.5 MB.
const RING_BLOCKS: usize = 128;

/// Callbacks a second that are asked for: 50 ms apart, a quarter of the windows' lateness. ALSA's ring is two of them: with less, a
/// machine whose cores are busy with inference loses sound (at 20 ms, three times a second in an emulated machine).
const CALLBACKS_PER_SEC: u32 = 20;

/// How often the ring is looked at: once a callback. Nobody sleeps on it, so the callback never has to wake anyone.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// After this a stream that gives neither data nor hang-up reports an error (devices that die without HUP).
const STREAM_TIMEOUT: Duration = Duration::from_millis(500);

/// Where to look for one that is there.
const LISTED: &str = "`perceptd devices` lists what there is";

/// The kernel's list of sound cards.
const ASOUND: &str = "/proc/asound";

struct Block {
    times: BlockTimes,
    len: usize,
    values: [f32; BLOCK_SAMPLES],
}

/// What the callbacks tell beside the sound.
#[derive(Default)]
struct Told {
    /// First error after which the stream is worthless. A storm of them costs nothing: this is set once and the stream dropped.
    failure: OnceLock<ErrorKind>,
    overruns: AtomicU64,
}

impl Told {
    /// What the error callback does. A stream that died calls it without end on some systems (POLLERR of ALSA's pulse plugin).
    fn on_error(&self, kind: ErrorKind) {
        match kind {
            ErrorKind::Xrun => {
                self.overruns.fetch_add(1, Ordering::Relaxed);
            }
            // The default device was changed: the stream goes on with the new one.
            ErrorKind::RealtimeDenied | ErrorKind::DeviceChanged => {}
            kind => {
                self.failure.get_or_init(|| kind);
            }
        }
    }
}

/// Where the callbacks put what they have.
struct Feed {
    ring: SyncSender<Block>,
    told: Arc<Told>,
    /// The channel that is taken.
    channel: usize,
}

pub(super) struct Microphone {
    id: SensorId,
    device: String,
    ring: Receiver<Block>,
    told: Arc<Told>,
    clock: SampleClock,
    sample_rate_hz: u32,
    seq: u64,
    /// Dropped last: closing it may take a moment.
    _stream: cpal::Stream,
}

impl Microphone {
    pub(super) fn open(id: SensorId, settings: &MicrophoneSettings) -> Result<Self, SensorError> {
        // By itself ALSA's library tells on stderr what it finds wrong, past the log and at every retry. This holds for the thread alone.
        let said = alsa::Output::local_error_handler();
        let opened = Self::open_quietly(id.clone(), settings);
        for line in
            said.iter().flat_map(|said| said.borrow().to_string().lines().map(str::to_owned).collect::<Vec<_>>())
        {
            tracing::debug!(sensor = %id, "ALSA: {line}");
        }
        opened
    }

    fn open_quietly(id: SensorId, settings: &MicrophoneSettings) -> Result<Self, SensorError> {
        let wanted = settings.device.as_deref();
        let name = wanted.unwrap_or("default microphone").to_owned();
        let lost = |why: String| SensorError::Lost { device: name.clone(), why };
        let unsupported = |why: String| SensorError::Unsupported { device: name.clone(), why };
        if settings.host.as_deref().is_none_or(is_alsa)
            && wanted.is_some_and(|name| is_card_absent(ASOUND.as_ref(), name))
        {
            return Err(lost(not_found()));
        }
        let device = find_device(&find_host(settings.host.as_deref()).map_err(lost)?, wanted).map_err(lost)?;
        let supported = choose_config(&device, settings, &name)?;
        if settings.channel >= supported.channels() {
            let why = format!("no channel {}; it has {}, counted from 0", settings.channel, supported.channels());
            return Err(unsupported(why));
        }
        let mut config = supported.config();
        if let SupportedBufferSize::Range { min, max } = supported.buffer_size() {
            let frames = config.sample_rate / CALLBACKS_PER_SEC;
            config.buffer_size = BufferSize::Fixed(frames.clamp(*min, (*max).max(*min)));
        }
        let (ring_end, ring) = sync_channel(RING_BLOCKS);
        let told = Arc::new(Told::default());
        let feed = Feed { ring: ring_end, told: Arc::clone(&told), channel: usize::from(settings.channel) };
        let start = |config| {
            let stream = build(&device, supported.sample_format(), config, &feed)?;
            stream.play().map(|()| stream)
        };
        let stream = started(config, start).map_err(|error| match error.kind() {
            ErrorKind::UnsupportedConfig => unsupported(error.to_string()),
            _ => lost(in_words(&error, &name)),
        })?;
        let sample_rate_hz = config.sample_rate;
        let clock = SampleClock::new(sample_rate_hz);
        Ok(Self { id, device: name, ring, told, clock, sample_rate_hz, seq: 0, _stream: stream })
    }
}

impl Sensor for Microphone {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        let deadline = now() + timeout;
        loop {
            if let Some(kind) = self.told.failure.get() {
                return Err(SensorError::Lost { device: self.device.clone(), why: kind.to_string() });
            }
            match self.ring.try_recv() {
                Ok(block) => {
                    let samples = block.values.iter().take(block.len).copied().collect();
                    let data = SampleData::Audio { sample_rate_hz: self.sample_rate_hz, samples };
                    let (sensor, captured_at) = (self.id.clone(), self.clock.stamp(block.times));
                    self.seq += 1;
                    return Ok(Some(Sample { sensor, captured_at, arrived_at: now(), seq: self.seq - 1, data }));
                }
                Err(TryRecvError::Disconnected) => {
                    let why = "the stream ended".to_owned();
                    return Err(SensorError::Lost { device: self.device.clone(), why });
                }
                Err(TryRecvError::Empty) if now() >= deadline => return Ok(None),
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a few milliseconds, and never beyond the caller's timeout"
                )]
                Err(TryRecvError::Empty) => std::thread::sleep(LOOK_EVERY),
            }
        }
    }
}

impl Drop for Microphone {
    fn drop(&mut self) {
        let overruns = self.told.overruns.load(Ordering::Relaxed);
        if overruns > 0 {
            tracing::warn!(sensor = %self.id, overruns, "sound was lost while the microphone was open");
        }
    }
}

/// What `start` gives, with the device's own period where it takes no other. ALSA's `default` of a sound card is such: what it shares among
/// programs has one period, of 1024 samples, which it tells only once a rate is set.
fn started<T>(
    config: cpal::StreamConfig,
    start: impl Fn(cpal::StreamConfig) -> Result<T, cpal::Error>,
) -> Result<T, cpal::Error> {
    start(config).or_else(|error| match (error.kind(), config.buffer_size) {
        (ErrorKind::UnsupportedConfig, BufferSize::Fixed(_)) => {
            start(cpal::StreamConfig { buffer_size: BufferSize::Default, ..config })
        }
        _ => Err(error),
    })
}

/// Why a device cannot be opened now.
fn in_words(error: &cpal::Error, name: &str) -> String {
    match error.kind() {
        ErrorKind::DeviceBusy => busy_in_words(name),
        ErrorKind::DeviceNotAvailable => format!("not there, or it does not record; {LISTED}"),
        _ => error.to_string(),
    }
}

/// A part of an ALSA name such as `plughw:CARD=Webcam,DEV=0`.
fn part_of<'a>(name: &'a str, key: &str) -> Option<&'a str> {
    name.split([':', ',']).find_map(|part| part.strip_prefix(key))
}

/// Who holds the capture device behind an ALSA name.
fn busy_in_words(name: &str) -> String {
    // `/proc/asound/Webcam` is a link to `card1`; a number stands for itself.
    let card = part_of(name, "CARD=").map(|card| match std::fs::read_link(Path::new(ASOUND).join(card)) {
        Ok(target) => target.to_string_lossy().trim_start_matches("card").to_owned(),
        Err(_) => card.to_owned(),
    });
    let node = card.map(|card| format!("/dev/snd/pcmC{card}D{}c", part_of(name, "DEV=").unwrap_or("0")));
    busy(Path::new(node.as_deref().unwrap_or_default()))
}

/// Whether the kernel, whose list lies in `asound`, has no sound card of the name in `CARD=…`. Asking ALSA itself costs thousands of
/// opened files, too many for every retry. Without the list (in a container, say) nothing is known.
fn is_card_absent(asound: &Path, wanted: &str) -> bool {
    let Some(card) = part_of(wanted, "CARD=") else { return false };
    let is_number = !card.is_empty() && card.bytes().all(|byte| byte.is_ascii_digit());
    let folder = if is_number { format!("card{card}") } else { card.to_owned() };
    asound.join("cards").is_file() && !asound.join(folder).exists()
}

/// An ALSA device that is not there, and which are: in the names that `perceptd devices` prints.
fn not_found() -> String {
    let there: Vec<String> = microphones(Path::new("/")).into_iter().map(|found| found.device).collect();
    let there =
        if there.is_empty() { "no sound card records".to_owned() } else { format!("there are {}", there.join(", ")) };
    format!("not found; {there}; {LISTED} (`arecord -L` more names)")
}

fn find_host(wanted: Option<&str>) -> Result<cpal::Host, String> {
    let Some(wanted) = wanted else { return Ok(cpal::default_host()) };
    let all = cpal::available_hosts();
    let Some(id) = all.iter().find(|id| id.name().eq_ignore_ascii_case(wanted)) else {
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        return Err(format!("there is no sound host `{wanted}`; there are {}", names.join(", ")));
    };
    cpal::host_from_id(*id).map_err(|error| error.to_string())
}

/// The device of exactly this id, or of this whole name: a part of a name may be another's too.
fn find_device(host: &cpal::Host, wanted: Option<&str>) -> Result<cpal::Device, String> {
    let Some(wanted) = wanted else {
        return host.default_input_device().ok_or_else(|| format!("there is none; {LISTED}"));
    };
    let ids = [wanted.to_owned(), format!("{}:{wanted}", host.id())];
    if let Some(device) = ids.iter().filter_map(|id| id.parse().ok()).find_map(|id| host.device_by_id(&id)) {
        return Ok(device);
    }
    // ALSA's names beside the ids are descriptions, which several devices share.
    if is_alsa(host.id().name()) {
        return Err(not_found());
    }
    let mut there = Vec::new();
    for device in host.input_devices().map_err(|error| error.to_string())? {
        if device.to_string() == wanted {
            return Ok(device);
        }
        there.extend(device.id().map(|id| id.to_string()));
    }
    Err(format!("not found; there are {}", if there.is_empty() { "none".to_owned() } else { there.join(", ") }))
}

fn is_alsa(host: &str) -> bool {
    host.eq_ignore_ascii_case("alsa")
}

/// The wanted rate in the simplest format that offers it, or what the device prefers.
fn choose_config(
    device: &cpal::Device,
    settings: &MicrophoneSettings,
    name: &str,
) -> Result<SupportedStreamConfig, SensorError> {
    let lost = |error: cpal::Error| SensorError::Lost { device: name.to_owned(), why: in_words(&error, name) };
    let Some(rate) = settings.sample_rate_hz else { return device.default_input_config().map_err(lost) };
    let offers: Vec<_> = device.supported_input_configs().map_err(lost)?.collect();
    let simplicity = |format: SampleFormat| match format {
        SampleFormat::I16 => 0,
        SampleFormat::F32 => 1,
        SampleFormat::I32 => 2,
        _ => 3,
    };
    let best = offers
        .iter()
        .filter_map(|offer| offer.try_with_sample_rate(rate))
        // Of few channels the wanted one must be among.
        .min_by_key(|config| {
            (config.channels() <= settings.channel, simplicity(config.sample_format()), config.channels())
        });
    best.ok_or_else(|| {
        let mut ranges: Vec<String> = offers
            .iter()
            .map(|offer| format!("{} to {} Hz", offer.min_sample_rate(), offer.max_sample_rate()))
            .collect();
        ranges.dedup();
        let why = format!("no {rate} Hz; it offers {}", ranges.join(", "));
        SensorError::Unsupported { device: name.to_owned(), why }
    })
}

fn build(
    device: &cpal::Device,
    format: SampleFormat,
    config: cpal::StreamConfig,
    feed: &Feed,
) -> Result<cpal::Stream, cpal::Error> {
    match format {
        SampleFormat::I16 => stream::<i16>(device, config, feed),
        SampleFormat::U16 => stream::<u16>(device, config, feed),
        SampleFormat::I32 => stream::<i32>(device, config, feed),
        SampleFormat::U8 => stream::<u8>(device, config, feed),
        SampleFormat::F32 => stream::<f32>(device, config, feed),
        other => Err(cpal::Error::with_message(
            ErrorKind::UnsupportedConfig,
            format!("samples of kind {other} are not read; use i16, i32, u8, u16 or f32 (ALSA: a plughw device)"),
        )),
    }
}

fn stream<T: SizedSample>(
    device: &cpal::Device,
    config: cpal::StreamConfig,
    feed: &Feed,
) -> Result<cpal::Stream, cpal::Error>
where
    f32: FromSample<T>,
{
    let (ring, data_told, error_told) = (feed.ring.clone(), Arc::clone(&feed.told), Arc::clone(&feed.told));
    let (channels, channel) = (usize::from(config.channels.max(1)), feed.channel);
    let nanos_per_sample = 1e9 / f64::from(config.sample_rate.max(1));
    let mut sample = 0u64;
    let on_data = move |data: &[T], info: &cpal::InputCallbackInfo| {
        let (handed_over, stamp) = (now(), info.timestamp());
        let (stream_callback, capture) = (stamp.callback.as_nanos() as i64, stamp.capture.as_nanos() as i64);
        for (n, piece) in data.chunks(BLOCK_SAMPLES * channels).enumerate() {
            let stream_capture = capture + ((n * BLOCK_SAMPLES) as f64 * nanos_per_sample) as i64;
            let samples = (piece.len() / channels) as u32;
            let times = BlockTimes { first_sample: sample, samples, handed_over, stream_callback, stream_capture };
            let mut block = Block { times, len: 0, values: [0.0; BLOCK_SAMPLES] };
            for (place, value) in block.values.iter_mut().zip(piece.iter().skip(channel).step_by(channels)) {
                *place = f32::from_sample_(*value);
                block.len += 1;
            }
            sample += block.len as u64;
            if ring.try_send(block).is_err() {
                data_told.overruns.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let on_error = move |error: cpal::Error| error_told.on_error(error.kind());
    device.build_input_stream(config, on_data, on_error, Some(STREAM_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_errors_is_one_loss() {
        let told = Told::default();
        told.on_error(ErrorKind::Xrun);
        told.on_error(ErrorKind::RealtimeDenied);
        told.on_error(ErrorKind::DeviceChanged);
        assert_eq!(told.failure.get(), None);
        // What a dead sound server was seen to do in three seconds.
        for _ in 0..770_956 {
            told.on_error(ErrorKind::DeviceNotAvailable);
            told.on_error(ErrorKind::BackendError);
        }
        assert_eq!(told.failure.get(), Some(&ErrorKind::DeviceNotAvailable));
        assert_eq!(told.overruns.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_card_of_a_longer_name_is_another_one() {
        let asound = tempfile::tempdir().unwrap();
        let is_absent = |name| is_card_absent(asound.path(), name);
        assert!(!is_absent("plughw:CARD=Webcam"), "without the kernel's list nothing is known");
        std::fs::write(asound.path().join("cards"), "").unwrap();
        for folder in ["card1", "Webcam_1"] {
            std::fs::create_dir(asound.path().join(folder)).unwrap();
        }
        assert!(is_absent("plughw:CARD=Webcam") && is_absent("alsa:plughw:CARD=0,DEV=0"));
        for name in ["plughw:CARD=Webcam_1", "hw:CARD=1,DEV=0", "default", "tone"] {
            assert!(!is_absent(name), "{name}");
        }
    }

    #[test]
    fn a_device_of_one_period_keeps_it() {
        let config = cpal::StreamConfig { channels: 2, sample_rate: 48_000, buffer_size: BufferSize::Fixed(2400) };
        let shared = |config: cpal::StreamConfig| match config.buffer_size {
            BufferSize::Fixed(frames) if frames != 1024 => Err(cpal::Error::new(ErrorKind::UnsupportedConfig)),
            _ => Ok(config),
        };
        let wanted = cpal::StreamConfig { buffer_size: BufferSize::Default, ..config };
        assert_eq!(started(config, shared).unwrap(), wanted);
        // Any other error is no matter of the period, and one of the format stays.
        let kind = |kind| started(config, |_| Err::<(), _>(cpal::Error::new(kind))).unwrap_err().kind();
        assert_eq!(kind(ErrorKind::DeviceBusy), ErrorKind::DeviceBusy);
        assert_eq!(kind(ErrorKind::UnsupportedConfig), ErrorKind::UnsupportedConfig);
    }

    #[test]
    fn a_busy_device_is_told_as_such() {
        for name in ["plughw:CARD=7,DEV=0", "default microphone", "hw:CARD=None"] {
            let told = busy_in_words(name);
            assert!(told.starts_with("busy: another program holds it"), "{told}");
            assert_eq!(told.contains("fuser -v /dev/snd/pcmC7D0c"), name.contains("CARD=7"), "{told}");
        }
    }
}
