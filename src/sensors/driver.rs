//! The life of a device: opened, read, lost, found again. One call is one named thread's whole loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{
    DriverSettings, MicrophoneSettings, Sample, SampleData, Sensor, SensorError, SensorSettings, open, pause_until,
};
use crate::backoff::Backoff;
use crate::pipe;
use crate::telemetry::{DropReason, SensorCounters, SensorState};
use crate::time::{MonoTime, NANOS_PER_SEC, now};

/// Longest wait for a sample before the stop flag is looked at.
const READ_TIMEOUT: Duration = Duration::from_millis(250);

/// First and longest wait before a lost device is opened again.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A stall is this many periods without data, but at least [`SHORTEST_STALL`].
const STALL_PERIODS: f64 = 5.0;
const SHORTEST_STALL: Duration = Duration::from_secs(2);

/// Reads the device until `stop` is set or nobody takes samples any more. A lost device is told in `counters`, logged once a change,
/// and tried again for ever; it is never fatal.
pub fn run(settings: &SensorSettings, counters: Arc<SensorCounters>, output: pipe::Sender<Sample>, stop: &AtomicBool) {
    // Robots that lose the same hub at once must not retry in step.
    let seed = now().nanos().unsigned_abs() ^ settings.id.as_str().bytes().map(u64::from).sum::<u64>();
    let life = Life {
        settings,
        counters: &counters,
        output: &output,
        stop,
        stall_after: stall_after(&settings.driver),
        silence_after: silence_after(&settings.driver),
        is_silent: false,
        backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, seed),
    };
    life.run(|| open(settings));
}

/// How long a healthy device may be silent; for ever where nothing is overdue.
fn stall_after(driver: &DriverSettings) -> Duration {
    let secs = STALL_PERIODS * driver.period_secs();
    SHORTEST_STALL.max(Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX))
}

/// After how long nothing but zeros are told: a muted microphone gives them, and a sound server that lost the real one.
fn silence_after(driver: &DriverSettings) -> Option<Duration> {
    match driver {
        DriverSettings::Microphone(MicrophoneSettings { silence_secs: secs @ 1.., .. }) => {
            Some(Duration::from_secs(u64::from(*secs)))
        }
        _ => None,
    }
}

struct Life<'a> {
    settings: &'a SensorSettings,
    counters: &'a SensorCounters,
    output: &'a pipe::Sender<Sample>,
    stop: &'a AtomicBool,
    stall_after: Duration,
    silence_after: Option<Duration>,
    /// Silence was told and is not over.
    is_silent: bool,
    backoff: Backoff,
}

/// Why an open device was left.
enum Left {
    Stop,
    Lost,
    /// It gave zeros alone: it is opened again at once, since there is nothing to lose.
    Silent,
}

impl Life<'_> {
    fn run(mut self, mut open: impl FnMut() -> Result<Box<dyn Sensor>, SensorError>) {
        self.set(SensorState::Starting);
        while !self.is_stopped() {
            match open() {
                Ok(mut device) => match self.read(device.as_mut()) {
                    Left::Stop => return,
                    Left::Lost => {}
                    Left::Silent => continue,
                },
                Err(error) => self.lose(&error),
            }
            // The device is closed by now, which frees its name for the next plug.
            let wait = self.backoff.next_wait();
            pause_until(now() + wait, self.stop);
        }
    }

    /// Reads until the device is lost. A stall is told as such and then treated as a loss: opening anew is all that can help.
    fn read(&mut self, device: &mut dyn Sensor) -> Left {
        let mut last = now();
        let mut silent_since = None;
        loop {
            if self.is_stopped() {
                return Left::Stop;
            }
            let read = device.next(READ_TIMEOUT);
            for _ in 0..device.take_refused() {
                self.counters.count_drop(DropReason::Undecodable);
            }
            match read {
                Ok(Some(sample)) => {
                    last = now();
                    self.backoff.reset();
                    self.counters.count_sample(sample.arrived_at);
                    if is_nothing(&sample.data) {
                        silent_since.get_or_insert(last);
                    } else {
                        (silent_since, self.is_silent) = (None, false);
                    }
                    if !self.is_silent {
                        self.set(SensorState::Ok);
                    }
                    if self.output.send(self.referred(sample)).is_err() {
                        return Left::Stop;
                    }
                    if self.is_too_long(silent_since) {
                        return Left::Silent;
                    }
                }
                Ok(None) if now().nanos_since(last) > nanos(self.stall_after) => {
                    self.set(SensorState::Stalled(format!("no data for {:.1} s", self.stall_after.as_secs_f64())));
                    return Left::Lost;
                }
                Ok(None) => {}
                Err(error) => {
                    self.lose(&error);
                    return Left::Lost;
                }
            }
        }
    }

    /// Tells silence that lasts too long.
    fn is_too_long(&mut self, silent_since: Option<MonoTime>) -> bool {
        let (Some(since), Some(after)) = (silent_since, self.silence_after) else { return false };
        if now() < since + after {
            return false;
        }
        self.is_silent = true;
        let why = format!("nothing but zeros for {} s: it is muted, or another device took its place", after.as_secs());
        self.set(SensorState::Stalled(why));
        true
    }

    fn lose(&mut self, error: &SensorError) {
        self.is_silent = false;
        self.set(SensorState::Lost(error.to_string()));
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn set(&self, state: SensorState) {
        let sensor = &self.settings.id;
        if !self.counters.set_state(state.clone()) {
            return;
        }
        match &state {
            SensorState::Starting => {}
            SensorState::Ok => tracing::info!(%sensor, "sensor delivers"),
            SensorState::Stalled(reason) => tracing::warn!(%sensor, %reason, "sensor stalled; opening it again"),
            SensorState::Lost(reason) => tracing::warn!(%sensor, %reason, "sensor lost; trying again"),
        }
    }

    /// The sample on the reference clock and in the body's axes: the one place where the config's offset and mounting are applied.
    fn referred(&self, mut sample: Sample) -> Sample {
        let offset = (self.settings.time_offset_ms * NANOS_PER_SEC as f64 / 1000.0) as i64;
        sample.captured_at = sample.captured_at.shifted(offset);
        if let (SampleData::Imu(readings), DriverSettings::Imu(imu)) = (&mut sample.data, &self.settings.driver) {
            for reading in readings {
                reading.captured_at = reading.captured_at.shifted(offset);
                reading.accel_in_body_mps2 = imu.mounting.turn(reading.accel_in_body_mps2);
                reading.gyro_in_body_radps = reading.gyro_in_body_radps.map(|gyro| imu.mounting.turn(gyro));
            }
        }
        sample
    }
}

/// Sound of zeros alone, which no real microphone gives unless it is muted.
fn is_nothing(data: &SampleData) -> bool {
    matches!(data, SampleData::Audio { samples, .. } if samples.iter().all(|value| *value == 0.0))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::modality::SensorId;
    use crate::pipe::{Received, WhenFull, bounded};
    use crate::sensors::{CameraDriver, NokhwaSettings};

    /// Gives `left` samples and is lost then.
    struct Flaky {
        left: u32,
    }

    impl Sensor for Flaky {
        fn next(&mut self, _: Duration) -> Result<Option<Sample>, SensorError> {
            let lost = || SensorError::Lost { device: "flaky".to_owned(), why: "unplugged".to_owned() };
            self.left = self.left.checked_sub(1).ok_or_else(lost)?;
            Ok(Some(sound(0.5)))
        }
    }

    /// Gives nothing but zeros, until someone speaks.
    struct Muted<'a> {
        speaks: &'a AtomicBool,
    }

    impl Sensor for Muted<'_> {
        fn next(&mut self, _: Duration) -> Result<Option<Sample>, SensorError> {
            Ok(Some(sound(if self.speaks.load(Ordering::Relaxed) { 0.5 } else { 0.0 })))
        }
    }

    fn sound(value: f32) -> Sample {
        let data = SampleData::Audio { sample_rate_hz: 16_000, samples: vec![0.0, value] };
        let stamp = MonoTime::from_nanos(1_000_000_000);
        Sample { sensor: SensorId::new("mic").unwrap(), captured_at: stamp, arrived_at: stamp, seq: 0, data }
    }

    /// Never gives anything.
    struct Mute;

    impl Sensor for Mute {
        fn next(&mut self, _: Duration) -> Result<Option<Sample>, SensorError> {
            Ok(None)
        }
    }

    fn settings() -> SensorSettings {
        let driver = DriverSettings::Microphone(MicrophoneSettings::default());
        SensorSettings { id: SensorId::new("mic").unwrap(), time_offset_ms: -25.0, driver }
    }

    fn lived(open: impl FnMut() -> Result<Box<dyn Sensor>, SensorError>, stop: &AtomicBool) -> (SensorCounters, usize) {
        let (settings, counters) = (settings(), SensorCounters::default());
        let (output, receiver) =
            bounded(NonZeroUsize::new(64).unwrap(), WhenFull::DropOldest, Box::new(|_: &Sample| {}));
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(2), 1);
        let life = Life {
            settings: &settings,
            counters: &counters,
            output: &output,
            stop,
            stall_after: Duration::ZERO,
            silence_after: Some(Duration::from_millis(1)),
            is_silent: false,
            backoff,
        };
        life.run(open);
        let mut got = 0;
        while let Received::Item(sample) = receiver.recv(Duration::ZERO) {
            assert_eq!(sample.captured_at, MonoTime::from_nanos(975_000_000));
            got += 1;
        }
        (counters, got)
    }

    #[test]
    fn a_lost_device_is_opened_again_and_goes_on() {
        let stop = AtomicBool::new(false);
        let mut opened = 0;
        let (counters, got) = lived(
            || {
                opened += 1;
                match opened {
                    2 => Err(SensorError::Lost { device: "flaky".to_owned(), why: "not there".to_owned() }),
                    4 => {
                        stop.store(true, Ordering::Relaxed);
                        Err(SensorError::Lost { device: "flaky".to_owned(), why: "gone".to_owned() })
                    }
                    _ => Ok(Box::new(Flaky { left: 3 })),
                }
            },
            &stop,
        );
        assert_eq!((got, counters.read().samples), (6, 6));
        assert_eq!(counters.read().state, SensorState::Lost("flaky: gone".to_owned()));
    }

    #[test]
    fn silence_is_a_stall() {
        let stop = AtomicBool::new(false);
        let mut opened = 0;
        let (counters, got) = lived(
            || {
                opened += 1;
                stop.store(opened > 1, Ordering::Relaxed);
                Ok(Box::new(Mute))
            },
            &stop,
        );
        assert_eq!(got, 0);
        assert_eq!(counters.read().state.name(), "stalled");
    }

    #[test]
    fn zeros_alone_are_told_and_the_device_opened_again_without_a_wait() {
        static SPEAKS: AtomicBool = AtomicBool::new(false);
        let stop = AtomicBool::new(false);
        let mut opened = 0;
        let (counters, _) = lived(
            || {
                opened += 1;
                stop.store(opened == 3, Ordering::Relaxed);
                Ok(Box::new(Muted { speaks: &SPEAKS }))
            },
            &stop,
        );
        let state = counters.read().state;
        assert!(state.name() == "stalled" && state.reason().starts_with("nothing but zeros"), "{state:?}");
        SPEAKS.store(true, Ordering::Relaxed);
        let mut device = Muted { speaks: &SPEAKS };
        assert!(!is_nothing(&device.next(Duration::ZERO).unwrap().unwrap().data));
    }

    #[test]
    fn stalls_follow_the_period() {
        let camera = |rate_hz| {
            let nokhwa = NokhwaSettings { index: 0, width_px: 1, height_px: 1, rate_hz };
            DriverSettings::Camera(CameraDriver::Nokhwa(nokhwa))
        };
        assert_eq!(stall_after(&camera(30.0)), Duration::from_secs(2));
        assert_eq!(stall_after(&camera(0.5)), Duration::from_secs(10));
        assert_eq!(stall_after(&camera(0.0)), Duration::from_secs(50));
    }
}
