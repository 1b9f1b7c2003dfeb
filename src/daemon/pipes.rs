//! The pipes between the threads: how much waits in each, and what happens when one is full.

use std::num::NonZeroUsize;

use super::threads::Turn;
use crate::pipe::{Gauge, OnDrop, Receiver, Sender, WhenFull, bounded};
use crate::publish::QueueReading;
use crate::sensors::Sample;
use crate::telemetry::{DropReason, Telemetry};

/// Samples that may wait, for the windows or the disk: a second and a half of a camera, a microphone and an IMU, so that raw frames cannot
/// fill the memory.
pub(super) const SAMPLES_WAITING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);
/// Windows and ticks that may wait for the encoders; live, at most one of each sensor does.
const TURNS_WAITING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);
/// Both in a replay, where all that waits is still worked on before a stop: a second's worth of it.
const REPLAY_WAITING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);
/// Changes that may wait for a thread; it looks at them at every turn.
const CHANGES_WAITING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// From the sensors to the windows. A replay waits where live samples go.
pub(super) fn samples(replay: bool, telemetry: &Telemetry) -> (Sender<Sample>, Receiver<Sample>) {
    let telemetry = telemetry.clone();
    let count: OnDrop<Sample> =
        Box::new(move |sample| telemetry.sensor(&sample.sensor).count_drop(DropReason::SensorPipeFull));
    if replay {
        bounded(REPLAY_WAITING, WhenFull::Block, count)
    } else {
        bounded(SAMPLES_WAITING, WhenFull::DropOldest, count)
    }
}

/// From the windows to the encoders. A replay waits where a live window gives way to a newer one.
pub(super) fn turns(replay: bool, telemetry: &Telemetry) -> (Sender<Turn>, Receiver<Turn>) {
    let telemetry = telemetry.clone();
    let count: OnDrop<Turn> = Box::new(move |turn| {
        if let Turn::Window(window) = turn {
            telemetry.sensor(&window.sensor).count_drop(DropReason::WindowReplaced);
        }
    });
    if replay {
        bounded(REPLAY_WAITING, WhenFull::Block, count)
    } else {
        bounded(TURNS_WAITING, WhenFull::Latest(Turn::is_superseded_by), count)
    }
}

/// For what a running thread is told.
pub(super) fn changes<T>() -> (Sender<T>, Receiver<T>) {
    bounded(CHANGES_WAITING, WhenFull::Block, Box::new(|_| {}))
}

/// The pipes as `health` tells of them.
pub(super) struct Queues {
    pub(super) samples: Gauge<Sample>,
    turns: Gauge<Turn>,
}

impl Queues {
    pub(super) fn of(samples: &Receiver<Sample>, turns: &Receiver<Turn>) -> Self {
        Self { samples: samples.gauge(), turns: turns.gauge() }
    }

    pub(super) fn read(&self) -> Vec<QueueReading> {
        vec![reading("samples", &self.samples), reading("turns", &self.turns)]
    }
}

fn reading<T>(queue: &str, gauge: &Gauge<T>) -> QueueReading {
    QueueReading { queue: queue.to_owned(), depth: gauge.depth(), capacity: gauge.capacity() }
}
