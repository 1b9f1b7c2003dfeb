//! The front door: samples and time in, windows out.

use super::audio::AudioSource;
use super::frames::FrameSource;
use super::grid::Grid;
use super::imu::ImuSource;
use super::{Presence, Window, WindowData, WindowSettings};
use crate::media::Plane;
use crate::modality::{Modality, SensorId};
use crate::sensors::{Sample, SampleData};
use crate::telemetry::DropReason;
use crate::time::{MonoTime, NANOS_PER_SEC, Span};

/// A stamp further than this ahead of the sample's own arrival cannot be true; it would close every window up to then.
const FUTURE_LIMIT_NANOS: i64 = NANOS_PER_SEC;

/// No clock of ours reads this (73 years); beyond it the grid's arithmetic would saturate.
const LAST_STAMP: MonoTime = MonoTime::from_nanos(1 << 61);

/// Why windows cannot be cut as asked.
#[derive(Debug, thiserror::Error)]
#[error("windows of sensor {sensor}: {why}")]
pub struct WindowsError {
    /// The sensor.
    pub sensor: SensorId,
    /// What is wrong and what is allowed.
    pub why: String,
}

/// What came of a sample or of time passing.
#[derive(Clone, Debug, PartialEq)]
pub enum Cut {
    /// A window, ready for its encoder. Indices rise from one to the next.
    Window(Window),
    /// A sample or a window was dropped.
    Dropped(DropReason),
    /// The data has a hole before the newest sample.
    Gap,
}

/// What one modality keeps until it is cut.
pub(super) trait Source {
    /// Takes a sample in; tells gaps and drops. `open_from` = start of the first window that is still to come.
    fn insert(&mut self, sample: &Sample, open_from: MonoTime, out: &mut Vec<Cut>);
    /// The first instant of data at or after `start`.
    fn earliest_from(&self, start: MonoTime) -> Option<MonoTime>;
    /// Whether everything before `end` has been seen.
    fn reaches(&self, end: MonoTime) -> bool;
    /// The data of a cell; none when too little is there.
    fn cut(&self, cell: Span) -> Option<(Span, Presence, WindowData)>;
    /// Nothing before `start` will be asked for again.
    fn forget_before(&mut self, start: MonoTime);
}

/// Cuts one sensor's samples.
pub struct Windower {
    settings: WindowSettings,
    grid: Grid,
    source: Box<dyn Source + Send>,
    now: MonoTime,
    next: i64,
    successor: Option<Box<Successor>>,
}

/// A windower that saw nothing of what came before it, and takes over with the first window that lies wholly in what it saw.
struct Successor {
    windower: Windower,
    /// Start of what it saw; none before its first data.
    begin: Option<MonoTime>,
    /// What it cut and the windower before it will not.
    held: Vec<Cut>,
}

impl Successor {
    fn take(&mut self, cuts: Vec<Cut>) {
        let Some(begin) = self.begin else { return };
        let grid = self.windower.grid;
        let own = cuts.into_iter().filter(|cut| match cut {
            Cut::Window(window) => grid.cell(i64::try_from(window.index).unwrap_or(i64::MAX)).start >= begin,
            Cut::Dropped(reason) => *reason == DropReason::TooIncomplete,
            // Both windowers see it; the older one tells it.
            Cut::Gap => false,
        });
        self.held.extend(own);
    }
}

impl Windower {
    /// A windower at the start of its grid.
    ///
    /// # Errors
    /// When a length, hop or rate is not a number that a grid can have.
    pub fn new(settings: WindowSettings) -> Result<Self, WindowsError> {
        let grid = checked_grid(&settings).map_err(|why| WindowsError { sensor: settings.sensor.clone(), why })?;
        Ok(Self::on(grid, settings))
    }

    fn on(grid: Grid, settings: WindowSettings) -> Self {
        let source: Box<dyn Source + Send> = match settings.modality {
            Modality::Audio => Box::new(AudioSource::new(grid, settings.rate_hz as u32)),
            Modality::Imu => Box::new(ImuSource::new(grid, settings.rate_hz)),
            _ => Box::new(FrameSource::new(grid)),
        };
        Self { settings, grid, source, now: MonoTime::from_nanos(i64::MIN), next: 0, successor: None }
    }

    /// From the first window that lies wholly in what comes from now on, gives what a new windower gives: nothing from before is in
    /// them, not even in a filter or an estimate. No window is lost or given twice over it.
    pub fn begin_anew(&mut self) {
        match &mut self.successor {
            // What has seen nothing yet is as new as can be.
            Some(successor) if successor.begin.is_none() => {}
            Some(successor) => successor.windower.begin_anew(),
            None => {
                let windower = Self::on(self.grid, self.settings.clone());
                self.successor = Some(Box::new(Successor { windower, begin: None, held: Vec::new() }));
            }
        }
    }

    /// Takes one sample. Time is its arrival: windows that were due before it are given out first, without it.
    pub fn push(&mut self, sample: &Sample) -> Vec<Cut> {
        if let Some(successor) = &mut self.successor {
            let cuts = successor.windower.push(sample);
            successor.begin = successor.begin.or_else(|| successor.windower.source.earliest_from(MonoTime::default()));
            successor.take(cuts);
        }
        let mut out = self.pass(sample.arrived_at);
        if let Some(reason) = self.refusal(sample) {
            out.push(Cut::Dropped(reason));
        } else {
            self.source.insert(sample, self.grid.cell(self.next).start, &mut out);
            self.drain(&mut out);
        }
        self.hand_over(&mut out);
        out
    }

    /// Time passed without a sample. A clock that goes back changes nothing.
    pub fn advance(&mut self, now: MonoTime) -> Vec<Cut> {
        if let Some(successor) = &mut self.successor {
            let cuts = successor.windower.advance(now);
            successor.take(cuts);
        }
        let mut out = self.pass(now);
        self.hand_over(&mut out);
        out
    }

    /// When a window is given out even if no sample comes; none while there is nothing for one.
    #[must_use]
    pub fn due(&self) -> Option<MonoTime> {
        let cell = self.grid.cell(self.next);
        self.source.earliest_from(cell.start).map(|_| cell.end.shifted(self.grid.lateness))
    }

    fn pass(&mut self, now: MonoTime) -> Vec<Cut> {
        self.now = self.now.max(now.min(LAST_STAMP));
        let mut out = Vec::new();
        self.drain(&mut out);
        out
    }

    /// Whether the next window is the successor's.
    fn is_succeeded(&self) -> bool {
        let begin = self.successor.as_ref().and_then(|successor| successor.begin);
        begin.is_some_and(|begin| self.grid.cell(self.next).start >= begin)
    }

    /// Once both are past what the older one still gives.
    fn hand_over(&mut self, out: &mut Vec<Cut>) {
        let is_ready = |successor: &mut Box<Successor>| {
            successor.begin.is_some_and(|begin| {
                [self.next, successor.windower.next].iter().all(|next| self.grid.cell(*next).start >= begin)
            })
        };
        if let Some(successor) = self.successor.take_if(is_ready) {
            out.extend(successor.held);
            *self = successor.windower;
        }
    }

    /// No sample will come any more: what is still open is given out as far as it is there.
    pub fn finish(&mut self) -> Vec<Cut> {
        self.advance(LAST_STAMP)
    }

    fn refusal(&self, sample: &Sample) -> Option<DropReason> {
        let fits = sample.sensor == self.settings.sensor && sample.data.modality() == self.settings.modality;
        let latest = sample.arrived_at.shifted(FUTURE_LIMIT_NANOS).min(LAST_STAMP);
        let stamps_possible = sample.captured_at <= latest
            && match &sample.data {
                SampleData::Imu(readings) => readings.iter().all(|r| r.captured_at <= latest),
                _ => true,
            };
        if !fits || !is_well_formed(&sample.data) {
            Some(DropReason::Undecodable)
        } else if !stamps_possible {
            Some(DropReason::Early)
        } else if !is_finite(&sample.data) {
            Some(DropReason::NotFinite)
        } else {
            None
        }
    }

    fn drain(&mut self, out: &mut Vec<Cut>) {
        loop {
            let Some(earliest) = self.source.earliest_from(self.grid.cell(self.next).start) else {
                self.next = self.next.max(self.grid.first_open(self.now));
                return;
            };
            // What began late, or begins anew after a loss, starts with the first window that it can half fill.
            self.next = self.next.max(if self.settings.window_secs > 0.0 {
                self.grid.first_half_after(earliest)
            } else {
                self.grid.hop_of(earliest).unwrap_or(0)
            });
            let cell = self.grid.cell(self.next);
            if self.is_succeeded() {
                return;
            }
            if !self.source.reaches(cell.end) && !self.grid.is_late(self.next, self.now) {
                return;
            }
            out.push(match self.source.cut(cell) {
                Some((span, presence, data)) => Cut::Window(Window {
                    sensor: self.settings.sensor.clone(),
                    index: u64::try_from(self.next).unwrap_or(0),
                    span,
                    presence,
                    data,
                }),
                None => Cut::Dropped(DropReason::TooIncomplete),
            });
            self.next = self.next.saturating_add(1);
            self.source.forget_before(self.grid.cell(self.next).start);
        }
    }
}

fn checked_grid(settings: &WindowSettings) -> Result<Grid, String> {
    let WindowSettings { modality, window_secs, hop_secs, rate_hz, lateness_secs, .. } = *settings;
    let is_frame = !matches!(modality, Modality::Audio | Modality::Imu);
    if modality == Modality::Text {
        return Err("text has no windows".to_owned());
    }
    if !(0.001..=3600.0).contains(&hop_secs) {
        return Err(format!("the hop is {hop_secs} s: say 0.001 to 3600"));
    }
    if is_frame && window_secs != 0.0 {
        return Err(format!("a window of {modality} is one frame: its length must be 0, not {window_secs} s"));
    }
    if !(is_frame || (0.01..=600.0).contains(&window_secs)) {
        return Err(format!("the window is {window_secs} s: say 0.01 to 600"));
    }
    if !(0.0..=60.0).contains(&lateness_secs) {
        return Err(format!("the lateness is {lateness_secs} s: say 0 to 60"));
    }
    let rate_allowed = match modality {
        Modality::Audio => (1000.0..=384_000.0).contains(&rate_hz) && rate_hz.fract() == 0.0,
        Modality::Imu => (0.1..=10_000.0).contains(&rate_hz) && window_secs * rate_hz >= 1.0,
        _ => true,
    };
    if !rate_allowed {
        return Err(format!(
            "the rate is {rate_hz} Hz: say a whole 1000 to 384000 for sound, 0.1 to 10000 and at least one value a window for motion"
        ));
    }
    let nanos = |secs: f64| MonoTime::from_secs_f64(secs).nanos();
    let hop = nanos(hop_secs);
    Ok(Grid { hop, length: if is_frame { hop } else { nanos(window_secs) }, lateness: nanos(lateness_secs) })
}

fn is_well_formed(data: &SampleData) -> bool {
    let fits = |plane: &Plane| {
        !plane.values.is_empty() && plane.values.len() as u64 == u64::from(plane.width) * u64::from(plane.height)
    };
    match data {
        SampleData::Image(frame) => frame.width > 0 && frame.height > 0 && !frame.bytes.is_empty(),
        SampleData::Audio { sample_rate_hz, samples } => {
            (1000..=384_000).contains(sample_rate_hz) && !samples.is_empty()
        }
        SampleData::Thermal(plane) | SampleData::Depth(plane) => fits(plane),
        SampleData::Imu(readings) => !readings.is_empty(),
    }
}

/// A plane may have holes (NaN = no reading), but not nothing else.
fn is_finite(data: &SampleData) -> bool {
    match data {
        SampleData::Image(_) => true,
        SampleData::Audio { samples, .. } => samples.iter().all(|v| v.is_finite()),
        SampleData::Thermal(plane) | SampleData::Depth(plane) => plane.values.iter().any(|v| v.is_finite()),
        SampleData::Imu(readings) => readings
            .iter()
            .all(|r| r.accel_in_body_mps2.iter().chain(r.gyro_in_body_radps.iter().flatten()).all(|v| v.is_finite())),
    }
}
