//! The loops of the named threads between sensors and publishing. Each ends when its input closes, and closes its output by ending.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::modality::SensorId;
use crate::pipe::{Received, Receiver, Sender};
use crate::sensors::Sample;
use crate::telemetry::{DropReason, SensorState, Telemetry};
use crate::time::{MonoTime, now};
use crate::windows::{Cut, Window, Windower};

/// How long a loop waits for input before it looks at what it was told.
const TURN: Duration = Duration::from_millis(100);
/// The least that it waits: how much later than due a window or a tick may be given out.
const LEAST_TURN: Duration = Duration::from_millis(5);

/// What the inference thread works on, in order.
#[derive(Debug)]
pub(super) enum Turn {
    /// A window to embed.
    Window(Window),
    /// Time has reached this point of the tick's grid: the joint vector and the events' timers are due.
    Tick(MonoTime),
}

impl Turn {
    /// Whether a newer `other` makes `self` pointless: a later tick, or a later window of the same sensor.
    pub(super) fn is_superseded_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tick(_), Self::Tick(_)) => true,
            (Self::Window(old), Self::Window(new)) => old.sensor == new.sensor,
            _ => false,
        }
    }
}

/// Whose time moves the windows on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The clock's: sensors are live.
    Live,
    /// The samples' own arrival stamps: a recording is replayed, at whatever speed.
    Recorded,
}

/// What a running window loop may be told.
pub(super) enum WindowChange {
    /// Cuts this sensor's samples from now on, in the place of what did.
    Put(SensorId, Windower),
    /// Nobody cuts this sensor's samples any more.
    Remove(SensorId),
    /// Ticks come this often.
    Tick(i64),
    /// Every sample goes here too, until nobody takes it any more. Windows that lie wholly in it are then made of nothing else, so
    /// that a replay of it gives the same.
    Tap(Sender<Sample>),
}

/// Cuts samples into windows and beats the tick, until every sensor has gone.
pub(super) struct WindowLoop {
    pub(super) windowers: BTreeMap<SensorId, Windower>,
    pub(super) tick_nanos: i64,
    pub(super) pace: Pace,
    pub(super) telemetry: Telemetry,
}

impl WindowLoop {
    pub(super) fn run(mut self, input: &Receiver<Sample>, output: &Sender<Turn>, changes: &Receiver<WindowChange>) {
        let (mut next_tick, mut tap) = (None, None);
        loop {
            let mut received = input.recv(self.patience(next_tick, now()));
            // What was told before a sample came holds for it.
            while let Received::Item(change) = changes.recv(Duration::ZERO) {
                self.change(change, &mut next_tick, &mut tap);
            }
            let time = match (&mut received, self.pace) {
                (Received::Closed, _) => {
                    self.finish(output);
                    return;
                }
                (Received::TimedOut, Pace::Live) => now(),
                // Also what is recorded says when windows were closed over a sample that waited.
                (Received::Item(sample), Pace::Live) => {
                    sample.arrived_at = now();
                    sample.arrived_at
                }
                (Received::Item(sample), Pace::Recorded) => {
                    self.count_replayed(sample);
                    sample.arrived_at
                }
                (Received::TimedOut, Pace::Recorded) => continue,
            };
            if self.advance(time, &mut next_tick, output).is_none() {
                return;
            }
            if let (Received::Item(sample), Some(open)) = (&received, &tap)
                && open.send(sample.clone()).is_err()
            {
                tap = None;
            }
            if let Received::Item(sample) = received
                && self.push(&sample, output).is_none()
            {
                return;
            }
        }
    }

    /// Until time alone gives something.
    fn patience(&self, next_tick: Option<MonoTime>, now: MonoTime) -> Duration {
        if self.pace == Pace::Recorded {
            return TURN;
        }
        let due = self.windowers.values().filter_map(Windower::due).chain(next_tick).min();
        due.map_or(TURN, |due| {
            let nanos = u64::try_from(due.nanos_since(now)).unwrap_or(0);
            Duration::from_nanos(nanos).clamp(LEAST_TURN, TURN)
        })
    }

    fn change(&mut self, change: WindowChange, next_tick: &mut Option<MonoTime>, tap: &mut Option<Sender<Sample>>) {
        match change {
            WindowChange::Put(sensor, windower) => drop(self.windowers.insert(sensor, windower)),
            WindowChange::Remove(sensor) => drop(self.windowers.remove(&sensor)),
            WindowChange::Tick(nanos) => (self.tick_nanos, *next_tick) = (nanos, None),
            WindowChange::Tap(new) => {
                self.windowers.values_mut().for_each(Windower::begin_anew);
                *tap = Some(new);
            }
        }
    }

    /// None when nobody takes windows any more.
    fn advance(&mut self, time: MonoTime, next_tick: &mut Option<MonoTime>, output: &Sender<Turn>) -> Option<()> {
        let mut cuts = Vec::new();
        for (sensor, windower) in &mut self.windowers {
            cuts.extend(windower.advance(time).into_iter().map(|cut| (sensor.clone(), cut)));
        }
        for (sensor, cut) in cuts {
            self.hand_on(&sensor, cut, output)?;
        }
        let grid = MonoTime::from_nanos(time.nanos() - time.nanos().rem_euclid(self.tick_nanos));
        let due = next_tick.get_or_insert_with(|| grid.shifted(self.tick_nanos));
        if time >= *due {
            *next_tick = Some(grid.shifted(self.tick_nanos));
            output.send(Turn::Tick(grid)).ok()?;
        }
        Some(())
    }

    /// The last samples' windows are given out as far as they are there. What the end cuts off is no loss.
    fn finish(&mut self, output: &Sender<Turn>) {
        let cuts: Vec<(SensorId, Cut)> = self
            .windowers
            .iter_mut()
            .flat_map(|(sensor, w)| w.finish().into_iter().map(|cut| (sensor.clone(), cut)))
            .filter(|(_, cut)| *cut != Cut::Dropped(DropReason::TooIncomplete))
            .collect();
        for (sensor, cut) in cuts {
            if self.hand_on(&sensor, cut, output).is_none() {
                return;
            }
        }
    }

    /// In a replay no driver counts what a sensor gives, and its own stamps say nothing of how long ago it came.
    fn count_replayed(&self, sample: &Sample) {
        if self.windowers.contains_key(&sample.sensor) {
            let counters = self.telemetry.sensor(&sample.sensor);
            counters.count_sample(now());
            counters.set_state(SensorState::Ok);
        }
    }

    fn push(&mut self, sample: &Sample, output: &Sender<Turn>) -> Option<()> {
        let Some(windower) = self.windowers.get_mut(&sample.sensor) else { return Some(()) };
        for cut in windower.push(sample) {
            self.hand_on(&sample.sensor, cut, output)?;
        }
        Some(())
    }

    fn hand_on(&self, sensor: &SensorId, cut: Cut, output: &Sender<Turn>) -> Option<()> {
        let counters = self.telemetry.sensor(sensor);
        match cut {
            Cut::Window(window) => {
                counters.count_window();
                return output.send(Turn::Window(window)).ok();
            }
            Cut::Dropped(reason @ (DropReason::Undecodable | DropReason::NotFinite)) => {
                counters.drop_unusable(sensor, reason, 1, now());
            }
            Cut::Dropped(reason) => counters.count_drop(reason),
            Cut::Gap => counters.count_gap(),
        }
        Some(())
    }
}

/// When the inference thread last completed a turn, idle ones included: what the watchdog believes in.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(AtomicI64);

impl Heartbeat {
    pub(super) fn beat(&self) {
        self.0.store(now().nanos(), Ordering::Relaxed);
    }

    pub(super) fn age(&self) -> Duration {
        let nanos = now().nanos() - self.0.load(Ordering::Relaxed);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::pipes;
    use crate::media::{CameraFrame, PixelFormat};
    use crate::modality::Modality;
    use crate::sensors::SampleData;
    use crate::windows::WindowSettings;

    const HOP_SECS: f64 = 0.2;

    fn settings(camera: &SensorId) -> WindowSettings {
        WindowSettings {
            sensor: camera.clone(),
            modality: Modality::Image,
            window_secs: 0.0,
            hop_secs: HOP_SECS,
            rate_hz: 0.0,
            lateness_secs: HOP_SECS,
        }
    }

    fn frame(sensor: &SensorId, secs: f64) -> Sample {
        let (captured_at, bytes) = (MonoTime::from_secs_f64(secs), vec![0].into());
        let frame = CameraFrame { width: 1, height: 1, format: PixelFormat::Grey8, bytes };
        let data = SampleData::Image(frame);
        Sample { sensor: sensor.clone(), captured_at, arrived_at: captured_at, seq: 0, data }
    }

    #[test]
    fn the_loop_waits_until_something_is_due() {
        let camera = SensorId::new("camera").unwrap();
        let waits = |pace, due_in_secs: f64| {
            let mut windower = Windower::new(settings(&camera)).unwrap();
            // A window of the grid's first cell is given out two hops after the clock's zero.
            let due = 2.0 * HOP_SECS;
            drop(windower.push(&frame(&camera, 0.05)));
            assert_eq!(windower.due(), Some(MonoTime::from_secs_f64(due)));
            let windowers = BTreeMap::from([(camera.clone(), windower)]);
            let windows = WindowLoop { windowers, tick_nanos: i64::MAX, pace, telemetry: Telemetry::default() };
            windows.patience(None, MonoTime::from_secs_f64(due - due_in_secs)).as_millis()
        };
        assert_eq!([0.05, 0.001, -1.0, 5.0].map(|due_in_secs| waits(Pace::Live, due_in_secs)), [50, 5, 5, 100]);
        assert_eq!(waits(Pace::Recorded, 0.001), 100);
    }

    #[test]
    fn what_is_told_before_a_sample_holds_for_it_though_the_loop_waits_already() {
        let [other, camera] = ["other", "camera"].map(|name| SensorId::new(name).unwrap());
        let telemetry = Telemetry::default();
        let (samples, sample_out) = pipes::samples(true, &telemetry);
        let (turn_in, turns) = pipes::turns(true, &telemetry);
        let (told, changes) = pipes::changes();
        let waiting = sample_out.gauge();
        let windows = WindowLoop { windowers: BTreeMap::new(), tick_nanos: i64::MAX, pace: Pace::Recorded, telemetry };
        let running = std::thread::spawn(move || windows.run(&sample_out, &turn_in, &changes));
        samples.send(frame(&other, 0.01)).unwrap();
        while waiting.depth() > 0 {
            std::thread::yield_now();
        }
        let put = WindowChange::Put(camera.clone(), Windower::new(settings(&camera)).unwrap());
        assert!(told.send(put).is_ok());
        for secs in [0.05, 0.25] {
            samples.send(frame(&camera, secs)).unwrap();
        }
        drop(samples);
        running.join().unwrap();
        let Received::Item(Turn::Window(window)) = turns.recv(Duration::ZERO) else { panic!("no window") };
        assert_eq!((window.sensor, window.index), (camera, 0));
    }
}
