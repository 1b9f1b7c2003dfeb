//! The life of a device: opened, read, lost, found again. One call is one named thread's whole loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::stall::Unread;
use super::stream::Progress;
use super::{
    DriverSettings, MicrophoneSettings, Sample, SampleData, Sensor, SensorError, SensorSettings, StreamDriver, open,
    pause_until,
};
use crate::backoff::Backoff;
use crate::pipe;
use crate::telemetry::{DropReason, LogLimit, SensorCounters, SensorState};
use crate::time::{MonoTime, NANOS_PER_SEC, now};

/// Longest wait for a sample before the stop flag is looked at.
const READ_TIMEOUT: Duration = Duration::from_millis(250);

/// First and longest step of the wait before a lost device is opened again; a wait is half a step at least.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A device that gave samples for this long was well: its waits start over. One that gives a sample and dies waits ever longer.
const WELL_AFTER: Duration = Duration::from_secs(1);

/// So many changes of a sensor's state are logged in ten minutes.
const MOST_LOGGED: u32 = 10;

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
        well_after: WELL_AFTER,
        backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, seed),
        log: LogLimit::new(MOST_LOGGED),
    };
    let progress = Progress::default();
    life.run(|| open(settings, &progress));
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
    well_after: Duration,
    backoff: Backoff,
    log: LogLimit,
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
                Err(error) => self.lose(error.to_string()),
            }
            // The device is closed by now, which frees its name for the next plug.
            let wait = self.backoff.next_wait();
            pause_until(now() + wait, self.stop);
        }
    }

    /// Reads until the device is lost. A stall is told as such and then treated as a loss: opening anew is all that can help.
    fn read(&mut self, device: &mut dyn Sensor) -> Left {
        let mut last = now();
        let (mut first, mut silent_since, mut unread) = (None, None, Unread::since(last));
        loop {
            if self.is_stopped() {
                return Left::Stop;
            }
            let read = device.next(READ_TIMEOUT);
            let dropped = self.count_dropped(device);
            unread.add(device.take_bytes(), dropped, now());
            match read {
                Ok(Some(sample)) => {
                    last = now();
                    unread = Unread::since(last);
                    if last.nanos_since(*first.get_or_insert(last)) >= nanos(self.well_after) {
                        self.backoff.reset();
                    }
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
                    let why = unread.stall(&self.settings.driver, now(), self.stall_after.as_secs_f64());
                    self.set(SensorState::Stalled(why));
                    return Left::Lost;
                }
                Ok(None) => device.at_rest().into_iter().for_each(|state| self.set(state)),
                Err(error) => {
                    let unread = unread.in_words(&self.settings.driver).filter(|_| first.is_none());
                    self.lose([Some(error.to_string()), unread].into_iter().flatten().collect::<Vec<_>>().join("; "));
                    return Left::Lost;
                }
            }
        }
    }

    /// Counts what never became a sample: what nobody could read, and what held values that are no finite numbers.
    fn count_dropped(&mut self, device: &mut dyn Sensor) -> (u64, u64) {
        let dropped @ (refused, not_finite) = (device.take_refused(), device.take_not_finite());
        self.counters.drop_unusable(&self.settings.id, DropReason::NotFinite, not_finite, now());
        if matches!(self.settings.driver, DriverSettings::Stream(StreamDriver::Folder(_))) {
            // The log has the names of its pictures.
            self.counters.count_drops(DropReason::Undecodable, refused);
        } else {
            self.counters.drop_unusable(&self.settings.id, DropReason::Undecodable, refused, now());
        }
        dropped
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

    fn lose(&mut self, why: String) {
        self.is_silent = false;
        self.set(SensorState::Lost(why));
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn set(&mut self, state: SensorState) {
        let sensor = &self.settings.id;
        if !self.counters.set_state(state.clone()) || !self.log.allows(now()) {
            return;
        }
        match &state {
            SensorState::Starting => {}
            SensorState::Ok => tracing::info!(%sensor, "sensor delivers"),
            SensorState::Stalled(reason) => tracing::warn!(%sensor, %reason, "sensor stalled"),
            SensorState::Lost(reason) => tracing::warn!(%sensor, %reason, "sensor lost; trying again"),
        }
        if self.log.is_used_up() {
            tracing::warn!(%sensor, "this sensor comes and goes: for some minutes its state stands in `health` alone");
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
            well_after: WELL_AFTER,
            backoff,
            log: LogLimit::new(MOST_LOGGED),
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
    fn a_device_that_dies_at_once_is_tried_ever_more_seldom_and_one_that_was_well_is_not() {
        let (settings, counters, stop) = (settings(), SensorCounters::default(), AtomicBool::new(false));
        let (output, _receiver) =
            bounded(NonZeroUsize::new(64).unwrap(), WhenFull::DropOldest, Box::new(|_: &Sample| {}));
        let mut life = Life {
            settings: &settings,
            counters: &counters,
            output: &output,
            stop: &stop,
            stall_after: Duration::from_secs(60),
            silence_after: None,
            is_silent: false,
            well_after: WELL_AFTER,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, 1),
            log: LogLimit::new(MOST_LOGGED),
        };
        let mut wait_after_samples = |well_after| {
            life.well_after = well_after;
            assert!(matches!(life.read(&mut Flaky { left: 3 }), Left::Lost));
            life.backoff.next_wait()
        };
        let waits: Vec<Duration> = (0..6).map(|_| wait_after_samples(WELL_AFTER)).collect();
        assert!(waits[0] >= Duration::from_millis(500) && waits[5] >= LONGEST_WAIT / 2, "{waits:?}");
        assert!(wait_after_samples(Duration::ZERO) <= FIRST_WAIT);
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
