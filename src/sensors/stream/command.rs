//! A program as a camera, a thermal or depth camera or a microphone: what it writes to its standard output is taken apart here.

use std::collections::VecDeque;
use std::time::Duration;

use super::frame_cutter::FrameCutter;
use super::pcm::PcmSplitter;
use super::program::Program;
use crate::media::{CameraFrame, PixelFormat};
use crate::modality::SensorId;
use crate::sensors::camera::{depth_frame, thermal_frame};
use crate::sensors::line::ByteClock;
use crate::sensors::sample_clock::{BlockTimes, SampleClock};
use crate::sensors::settings::{CommandOutput, CommandSettings, RawLayout};
use crate::sensors::wire::{JpegSplitter, WireParser as _};
use crate::sensors::{Sample, SampleData, Sensor, SensorError};
use crate::time::{MonoTime, now};

pub(super) struct Command {
    id: SensorId,
    program: Program,
    output: Output,
    waiting: VecDeque<(MonoTime, SampleData)>,
    seq: u64,
    refused: u64,
    /// Bytes that came and were not told yet.
    bytes: u64,
}

/// What the program writes, and what of it is not whole yet.
enum Output {
    Mjpeg { splitter: JpegSplitter, clock: ByteClock },
    Frames(FrameSplitter),
    Pcm { splitter: PcmSplitter, clock: SampleClock, sample_rate_hz: u32, samples: u64, began_at: Option<MonoTime> },
}

/// Sound may run ahead of the clock by what a program had waiting at its start, and by a share for clocks that differ.
const SOUND_AHEAD_SECS: f64 = 10.0;
const SOUND_AHEAD_SHARE: f64 = 1.25;

impl Command {
    pub(super) fn start(id: SensorId, settings: &CommandSettings) -> Result<Self, SensorError> {
        let output = match settings.output {
            CommandOutput::Mjpeg { .. } => {
                Output::Mjpeg { splitter: JpegSplitter::default(), clock: ByteClock::of_datagrams() }
            }
            CommandOutput::Frames { layout, width_px, height_px, .. } => {
                Output::Frames(FrameSplitter::new(layout, (width_px, height_px)))
            }
            CommandOutput::Pcm { encoding, sample_rate_hz, channels, channel } => Output::Pcm {
                splitter: PcmSplitter::new(encoding, channels, channel),
                clock: SampleClock::new(sample_rate_hz),
                sample_rate_hz,
                samples: 0,
                began_at: None,
            },
        };
        let program = Program::start(&id, &settings.command)?;
        Ok(Self { id, program, output, waiting: VecDeque::new(), seq: 0, refused: 0, bytes: 0 })
    }

    fn take(&mut self, arrived_at: MonoTime, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let waiting = &mut self.waiting;
        match &mut self.output {
            Output::Mjpeg { splitter, clock } => {
                let before = splitter.refused();
                clock.arrived(bytes.len() as u64, arrived_at);
                for picture in splitter.push(bytes) {
                    let began_at = clock.began(picture.offset).unwrap_or(arrived_at);
                    match CameraFrame::of_jpeg(picture.bytes) {
                        Some(frame) => waiting.push_back((began_at, SampleData::Image(frame))),
                        None => self.refused += 1,
                    }
                }
                clock.forget_before(splitter.needed_from());
                self.refused += splitter.refused() - before;
            }
            Output::Frames(splitter) => {
                splitter.push(bytes, arrived_at, |began_at, data| waiting.push_back((began_at, data)));
            }
            Output::Pcm { splitter, clock, sample_rate_hz, samples, began_at } => {
                let values = splitter.push(bytes);
                if values.is_empty() {
                    return;
                }
                let nanos = (values.len() as f64 * 1e9 / f64::from(*sample_rate_hz)) as i64;
                // The last sample was true when it was written, as far as anyone can tell.
                let captured_at = clock.stamp(BlockTimes {
                    first_sample: *samples,
                    samples: u32::try_from(values.len()).unwrap_or(u32::MAX),
                    handed_over: arrived_at,
                    stream_callback: arrived_at.nanos(),
                    stream_capture: arrived_at.shifted(-nanos).nanos(),
                });
                *samples += values.len() as u64;
                began_at.get_or_insert(arrived_at);
                let data = SampleData::Audio { sample_rate_hz: *sample_rate_hz, samples: values };
                waiting.push_back((captured_at, data));
            }
        }
    }
}

impl Output {
    /// How many times as fast as real time sound came up to `at`, where that is too fast.
    fn times_too_fast(&self, at: MonoTime) -> Option<f64> {
        let Self::Pcm { sample_rate_hz, samples, began_at: Some(began_at), .. } = self else { return None };
        let sound_secs = *samples as f64 / f64::from(*sample_rate_hz);
        let real_secs = at.nanos_since(*began_at) as f64 / 1e9;
        let is_ahead = sound_secs > SOUND_AHEAD_SECS + SOUND_AHEAD_SHARE * real_secs;
        is_ahead.then(|| sound_secs / real_secs.max(0.01))
    }
}

impl Sensor for Command {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        let deadline = now() + timeout;
        while self.waiting.is_empty() {
            let left = u64::try_from(deadline.nanos_since(now())).unwrap_or(0);
            let Some((arrived_at, bytes)) = self.program.read(Duration::from_nanos(left))? else { return Ok(None) };
            self.take(arrived_at, &bytes);
            if let Some(times) = self.output.times_too_fast(arrived_at) {
                return Err(self.program.lost(format!(
                    "its sound comes {times:.1} times as fast as real time: is a `-re` missing (ffmpeg), or is `sample_rate_hz`, `channels` or `output` another?"
                )));
            }
            // A program may write for ever what never becomes a frame.
            if self.waiting.is_empty() && now() >= deadline {
                return Ok(None);
            }
        }
        let Some((captured_at, data)) = self.waiting.pop_front() else { return Ok(None) };
        self.seq += 1;
        Ok(Some(Sample { sensor: self.id.clone(), captured_at, arrived_at: now(), seq: self.seq - 1, data }))
    }

    fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn take_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

/// Cuts raw frames of one size, and says what they mean.
struct FrameSplitter {
    layout: RawLayout,
    size: (u32, u32),
    cutter: FrameCutter<MonoTime>,
}

impl FrameSplitter {
    fn new(layout: RawLayout, size: (u32, u32)) -> Self {
        let (width, height) = (size.0 as usize, size.1 as usize);
        let bytes = match layout {
            RawLayout::Rgb24 => width * height * 3,
            RawLayout::Grey8 => width * height,
            RawLayout::Nv12 => width * (height + height.div_ceil(2)),
            RawLayout::Yuyv | RawLayout::Thermal(..) | RawLayout::Depth(_) => width * height * 2,
        };
        Self { layout, size, cutter: FrameCutter::new(bytes) }
    }

    fn push(&mut self, bytes: &[u8], at: MonoTime, mut found: impl FnMut(MonoTime, SampleData)) {
        let Self { layout, size, cutter } = self;
        cutter.push(bytes, at, |began_at, frame| {
            if let Some(data) = meaning(frame, layout, *size) {
                found(began_at, data);
            }
        });
    }
}

fn meaning(frame: &[u8], layout: &RawLayout, size: (u32, u32)) -> Option<SampleData> {
    let format = match *layout {
        RawLayout::Thermal(layout, valid_celsius) => {
            return thermal_frame(frame, layout, size, valid_celsius).map(SampleData::Thermal);
        }
        RawLayout::Depth(metres_per_step) => {
            return depth_frame(frame, size, metres_per_step).map(SampleData::Depth);
        }
        RawLayout::Rgb24 => PixelFormat::Rgb8,
        RawLayout::Grey8 => PixelFormat::Grey8,
        RawLayout::Yuyv => PixelFormat::Yuyv,
        RawLayout::Nv12 => PixelFormat::Nv12,
    };
    let (width, height) = size;
    Some(SampleData::Image(CameraFrame { width, height, format, bytes: frame.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensors::settings::{PcmEncoding, ThermalLayout};

    fn first(script: &str, output: CommandOutput) -> Result<Sample, SensorError> {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let mut device = Command::start(SensorId::new("s").unwrap(), &CommandSettings { command, output }).unwrap();
        let deadline = now() + Duration::from_secs(20);
        loop {
            if let Some(sample) = device.next(Duration::from_millis(100))? {
                return Ok(sample);
            }
            assert!(now() < deadline);
        }
    }

    fn frames(layout: RawLayout) -> CommandOutput {
        CommandOutput::Frames { layout, width_px: 2, height_px: 2, rate_hz: 5.0 }
    }

    #[test]
    fn raw_frames_are_cut_by_their_size() {
        let sample = first("printf 'RGBrgbXYZxyz...'", frames(RawLayout::Rgb24)).unwrap();
        let SampleData::Image(frame) = sample.data else { panic!() };
        assert_eq!((frame.width, &*frame.bytes), (2, &b"RGBrgbXYZxyz"[..]));
        let celsius =
            RawLayout::Thermal(ThermalLayout::Y16 { telemetry_rows: 0, kelvin_per_step: Some(0.01) }, [-40.0, 300.0]);
        // 0x7283 = 29315 = 20 °C.
        let sample = first(r"printf '\203\162\203\162\203\162\0\0'", frames(celsius)).unwrap();
        let SampleData::Thermal(plane) = sample.data else { panic!() };
        assert!(plane.values[..3] == [20.0; 3] && plane.values[3].is_nan());
        let sample = first(r"printf '\350\003\0\0\350\003\350\003'", frames(RawLayout::Depth(0.001))).unwrap();
        let SampleData::Depth(plane) = sample.data else { panic!() };
        assert!(plane.values[0] == 1.0 && plane.values[1].is_nan());
    }

    #[test]
    fn sound_is_stamped_before_it_arrived() {
        let pcm = |channels, channel| CommandOutput::Pcm {
            encoding: PcmEncoding::S16Le,
            sample_rate_hz: 8000,
            channels,
            channel,
        };
        let sample = first(r"head -c 3200 /dev/zero", pcm(2, 1)).unwrap();
        let SampleData::Audio { sample_rate_hz: 8000, samples } = sample.data else { panic!() };
        let nanos = sample.arrived_at.nanos_since(sample.captured_at);
        assert!(nanos as f64 >= samples.len() as f64 / 8000.0 * 1e9, "{nanos} ns for {} samples", samples.len());
    }

    #[test]
    fn sound_that_comes_faster_than_real_time_is_refused() {
        let output =
            CommandOutput::Pcm { encoding: PcmEncoding::S16Le, sample_rate_hz: 16_000, channels: 1, channel: 0 };
        let command = ["cat", "/dev/zero"].map(str::to_owned).to_vec();
        let mut device = Command::start(SensorId::new("s").unwrap(), &CommandSettings { command, output }).unwrap();
        let deadline = now() + Duration::from_secs(20);
        let why = loop {
            match device.next(Duration::from_millis(100)) {
                Ok(_) => assert!(now() < deadline),
                Err(error) => break error.to_string(),
            }
        };
        assert!(why.starts_with("cat: its sound comes ") && why.contains("times as fast as real time"), "{why}");
        // A burst at the start, and then in step.
        device.output = Output::Pcm {
            splitter: PcmSplitter::new(PcmEncoding::S16Le, 1, 0),
            clock: SampleClock::new(16_000),
            sample_rate_hz: 16_000,
            samples: 16_000 * 3609,
            began_at: Some(MonoTime::default()),
        };
        let hours = |hours: u64| MonoTime::default() + Duration::from_secs(3600 * hours);
        assert_eq!(
            (device.output.times_too_fast(hours(1)), device.output.times_too_fast(hours(0)).is_some()),
            (None, true)
        );
    }

    #[test]
    fn a_program_that_writes_nonsense_gives_no_picture_and_holds_nobody_up() {
        let command = ["cat", "/dev/zero"].map(str::to_owned).to_vec();
        let settings = CommandSettings { command, output: CommandOutput::Mjpeg { rate_hz: 5.0 } };
        let mut device = Command::start(SensorId::new("s").unwrap(), &settings).unwrap();
        for _ in 0..5 {
            assert_eq!(device.next(Duration::from_millis(20)).unwrap(), None);
        }
        assert!(first("echo nothing", CommandOutput::Mjpeg { rate_hz: 5.0 }).is_err());
    }
}
