//! The composition root: builds the rooms from the settings, joins them by pipes, names the threads, supervises, stops in order.
//!
//! It decides nothing about data: that is the rooms' work.

mod boot;
mod build;
mod commands;
mod control;
mod embedder;
mod health;
mod inference;
mod perception;
mod pipes;
mod plan;
mod prepare;
mod prompt_book;
mod record;
mod replay;
mod service;
mod signals;
mod sources;
mod threads;
mod transaction;
mod trial;

pub use embedder::embed_for_daemon;
pub use record::{Recorded, record};
pub use replay::{Output, Replayed, replay};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::config::{ReplaySettings, Settings, SourceSettings};
use crate::pipe::Sender;
use crate::publish::{Farewell, HealthReading, PublishError, Publisher};
use crate::recording::{self, Recording, RecordingError};
use crate::sensors::Sample;
use crate::store::RemoteStore;
use crate::telemetry::Telemetry;
use crate::time::{NANOS_PER_SEC, Timeline, now, process_cpu_nanos};
use boot::Boot;
use build::{Rooms, Senses};
use control::{Control, ControlPipes};
use health::HealthTimer;
use inference::InferenceLoop;
use perception::PerceptionChange;
use pipes::{Queues, changes};
use prepare::PrepareLoop;
use service::Service;
use signals::StopSignals;
use sources::Sources;
use threads::{Heartbeat, WindowChange};

pub use control::Remote;
pub use trial::try_out;

/// How long a replay waits for the broker before it plays to nobody.
const BROKER_PATIENCE: Duration = Duration::from_secs(5);
/// How often the supervisor looks after its threads.
const SUPERVISE_EVERY: Duration = Duration::from_millis(200);
/// How long an ordered stop waits for sensors; one whose driver does not return (a name that no server resolves) is then left behind.
const SENSORS_STOP_WITHIN: Duration = Duration::from_secs(3);
/// How long an ordered stop may take before the process ends anyway.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A named thread, which is joined with why it failed.
struct Named {
    name: String,
    handle: JoinHandle<()>,
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<Named> {
    let handle = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .with_context(|| format!("cannot start the thread {name}"))?;
    Ok(Named { name: name.to_owned(), handle })
}

impl Named {
    fn join(self) -> anyhow::Result<()> {
        self.handle.join().map_err(|panic| {
            let why =
                panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            anyhow::anyhow!("the thread {} panicked: {}", self.name, why.unwrap_or("no message"))
        })
    }
}

/// Runs perceptd until `stop` is set, a signal comes, or the recording that it replays has ended. With `remote`, and unless the
/// settings forbid it, topics may change what it does; `settings` are then those of the file alone. Without, every prompt must be right.
///
/// # Errors
/// What kept it from starting, or which thread failed.
pub fn run(settings: &Settings, remote: Option<Remote>, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let started_at = now();
    let _signals = StopSignals::in_background(stop)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("mqtt")
        .enable_all()
        .build()
        .context("cannot start the runtime for MQTT")?;
    // What a start may end with that has nothing to do with what topics changed comes before the start counts.
    let publish = settings.publish()?;
    let of_file = if remote.is_some() { Boot::of_file } else { Boot::for_answer };
    let remote = remote.filter(|_| settings.remote.enabled);
    let store = RemoteStore::open(settings.state_folder().filter(|_| remote.is_some()).as_deref())?;
    let mut boot = match &remote {
        Some(remote) => Boot::with_kept(&remote.file, settings, &store),
        None => of_file(settings),
    };
    if let Some(remote) = remote.as_ref().filter(|_| boot.settings.log != settings.log) {
        (remote.set_log)(boot.settings.log);
    }
    let senses = Senses::build(&mut boot).inspect_err(|_| {
        // The file alone does not start either: no change is to blame.
        if remote.is_some() && Senses::build(&mut Boot::of_file(settings)).is_err() {
            store.forgive_start();
        }
    })?;
    let rooms = Rooms::open(senses, publish, started_at).inspect_err(|_| store.forgive_start())?;
    let running = Running::start(rooms, boot, remote.map(|remote| (remote, store)), stop, &runtime)?;
    tracing::info!(millis = now().nanos_since(started_at) / 1_000_000, "ready");
    let ended = running.supervise(stop);
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// The threads of a running daemon.
struct Running<'a> {
    runtime: &'a tokio::runtime::Runtime,
    service: Service,
    threads: Vec<Named>,
    sources: Sources,
    /// Why the replay ended before the recording did.
    damage: mpsc::Receiver<RecordingError>,
    control: Option<Control>,
    heartbeat: Arc<Heartbeat>,
    publisher: Publisher,
    /// Of the running machine; a recording's stays as it is.
    live: Option<Timeline>,
    perception: Sender<PerceptionChange>,
    posting: tokio::task::JoinHandle<Result<Farewell, PublishError>>,
    all_said: tokio::sync::oneshot::Sender<()>,
    telemetry: Telemetry,
    queues: Queues,
}

impl<'a> Running<'a> {
    fn start(
        rooms: Rooms,
        boot: Boot,
        remote: Option<(Remote, RemoteStore)>,
        stop: &Arc<AtomicBool>,
        runtime: &'a tokio::runtime::Runtime,
    ) -> anyhow::Result<Self> {
        let Rooms { senses, publisher, mut post } = rooms;
        let replay = senses.recording.is_some();
        let (sample_in, sample_out) = pipes::samples(replay, &senses.telemetry);
        let (turn_in, turn_out) = pipes::turns(replay, &senses.telemetry);
        let queues = Queues::of(&sample_out, &turn_out);
        let heartbeat = Arc::new(Heartbeat::default());
        heartbeat.beat();
        let mut threads = Vec::new();
        let inference = InferenceLoop {
            perception: senses.perception,
            publisher: publisher.clone(),
            joint_hop_nanos: senses.joint_hop_nanos,
        };
        let beating = Arc::clone(&heartbeat);
        let (perception, perception_changes) = changes::<PerceptionChange>();
        let perception_told = perception.clone();
        let (windows_told, window_changes) = changes::<WindowChange>();
        let bank = Arc::clone(&inference.perception.bank);
        let space = inference.perception.encoders.space().clone();
        threads.push(spawn("inference", move || inference.run(&turn_out, &beating, &perception_changes))?);
        let windows = senses.windows;
        threads.push(spawn("windows", move || windows.run(&sample_out, &turn_in, &window_changes))?);
        let mut sources = Sources::new(senses.telemetry.clone(), (!replay).then(|| sample_in.clone()));
        let (tell_damage, damage) = mpsc::sync_channel(1);
        match (&boot.settings.source, senses.recording) {
            (SourceSettings::Replay(replay), Some(recording)) => {
                let player = Player { settings: replay.clone(), recording, publisher: publisher.clone(), tell_damage };
                let stop = Arc::clone(stop);
                threads.push(spawn("replay", move || player.play(sample_in, &stop))?);
            }
            (SourceSettings::Replay(_), None) => bail!("there is no recording to replay"),
            (SourceSettings::Sensors(sensors), _) => {
                drop(sample_in);
                sensors.iter().try_for_each(|sensor| sources.start(sensor.clone()))?;
            }
        }
        let live = (!replay).then_some(senses.timeline);
        let telemetry = senses.telemetry;
        let control = remote.map(|(remote, store)| {
            let ((jobs, asked), (made, ready)) = prepare::pipes();
            let (pack, program) = (boot.settings.pack.clone(), remote.program.clone());
            let prepare = PrepareLoop { pack, space, bank, program, trials: store.clone() };
            threads.push(spawn("prepare", move || prepare.run(&asked, &made))?);
            let arrivals = post.subscribe(control::listened(&publisher));
            let pipes = ControlPipes { arrivals, jobs, ready, windows: windows_told, perception };
            let (publisher, telemetry) = (publisher.clone(), telemetry.clone());
            anyhow::Ok(Control::new(remote, store, boot, senses.ground, pipes, publisher, telemetry))
        });
        let control = control.transpose()?;
        let (all_said, is_all_said) = tokio::sync::oneshot::channel();
        let posting = runtime.spawn(post.run(async {
            // A sender that is gone means the same: nothing more will come.
            is_all_said.await.unwrap_or(());
        }));
        let service = Service::new();
        Ok(Self {
            runtime,
            service,
            threads,
            sources,
            damage,
            control,
            heartbeat,
            publisher,
            live,
            perception: perception_told,
            posting,
            all_said,
            telemetry,
            queues,
        })
    }

    /// Looks after the threads until all have ended, then lets the publisher say the last word.
    fn supervise(mut self, stop: &AtomicBool) -> anyhow::Result<()> {
        self.service.ready();
        let mut health = HealthTimer::new(self.telemetry.clone());
        let mut stopping_since = None;
        let mut failed = Ok(());
        while self.is_running() {
            match &mut self.control {
                Some(control) => control.turn(&mut self.sources, SUPERVISE_EVERY),
                None => std::thread::park_timeout(SUPERVISE_EVERY),
            }
            self.service.alive(self.heartbeat.age());
            self.follow_wall_clock();
            let time = now();
            if health.is_due(time) {
                self.publisher.health(&self.health());
            }
            if let Err(error) = self.sources.reap() {
                tracing::error!("{error:#}");
                failed = failed.and(Err(error));
                stop.store(true, Ordering::Relaxed);
            }
            // Why is known when it is joined, at the end.
            let is_crippled = stopping_since.is_none() && self.lacks_a_part();
            if is_crippled {
                stop.store(true, Ordering::Relaxed);
            }
            if stop.load(Ordering::Relaxed) {
                self.end(failed.is_ok() && !is_crippled);
                let since = *stopping_since.get_or_insert(time);
                self.stop_in_time(time.nanos_since(since))?;
            }
        }
        self.service.stopping();
        let (beside, pipeline): (Vec<_>, Vec<_>) = std::mem::take(&mut self.threads).into_iter().partition(is_beside);
        let ended: Vec<_> = pipeline.into_iter().map(Named::join).collect();
        let ended: anyhow::Result<()> = failed.and(ended.into_iter().collect());
        self.end(ended.is_ok());
        let ended = ended.and(beside.into_iter().try_for_each(Named::join));
        let ended = ended.and(self.damage.try_recv().map_or(Ok(()), |damage| Err(damage.into())));
        drop(self.all_said);
        let farewell = self.runtime.block_on(self.posting).context("the MQTT task")??;
        farewell.tell();
        ended
    }

    fn follow_wall_clock(&mut self) {
        let Some(before) = &self.live else { return };
        let Some(timeline) = before.after_a_step() else { return };
        let step_secs = (timeline.unix_nanos_at_zero - before.unix_nanos_at_zero) as f64 / NANOS_PER_SEC as f64;
        tracing::info!(step_secs, "the wall clock was set: stamps follow it");
        self.publisher.timeline_is(timeline.clone());
        drop(self.perception.send(PerceptionChange::Timeline(timeline.clone())));
        if let Some(control) = &mut self.control {
            control.timeline_is(timeline.clone());
        }
        self.live = Some(timeline);
    }

    /// Whether a thread of the pipeline still works.
    fn is_running(&self) -> bool {
        self.threads.iter().any(|thread| !thread.handle.is_finished() && !is_beside(thread))
    }

    /// An ordered stop: no topic is listened to any more, the sensors end, and all that follows them.
    fn end(&mut self, is_well: bool) {
        if let Some(control) = self.control.take()
            && is_well
        {
            control.stopped();
        }
        self.sources.stop_all();
    }

    /// Whether what no thread of the pipeline waits for has ended before its time: the MQTT task, or what prepares for topics.
    fn lacks_a_part(&self) -> bool {
        let prepares_no_more = |thread: &Named| is_beside(thread) && thread.handle.is_finished();
        self.posting.is_finished() || self.control.is_some() && self.threads.iter().any(prepares_no_more)
    }

    /// An ordered stop that has lasted for `nanos` waits for no sensor any more, or for nothing.
    fn stop_in_time(&mut self, nanos: i64) -> anyhow::Result<()> {
        self.service.stopping();
        let lasted = Duration::from_nanos(nanos.unsigned_abs());
        if lasted > STOP_WITHIN {
            bail!("these threads did not stop within {STOP_WITHIN:?}: {}", self.unfinished());
        }
        if lasted > SENSORS_STOP_WITHIN {
            let stuck = self.sources.leave();
            if !stuck.is_empty() {
                tracing::warn!("the threads of these sensors do not end and are left behind: {}", stuck.join(", "));
                self.queues.samples.close();
            }
        }
        Ok(())
    }

    fn unfinished(&self) -> String {
        let names =
            self.threads.iter().filter(|thread| !thread.handle.is_finished()).map(|thread| thread.name.as_str());
        names.chain(self.sources.unfinished()).collect::<Vec<_>>().join(", ")
    }

    fn health(&self) -> HealthReading {
        HealthReading {
            at: now(),
            queues: self.queues.read(),
            memory_bytes: resident_bytes(),
            cpu_nanos: process_cpu_nanos(),
        }
    }
}

/// Whether a thread prepares for topics: it works until the control is gone.
fn is_beside(thread: &Named) -> bool {
    thread.name == "prepare"
}

/// Who plays the recording.
struct Player {
    settings: ReplaySettings,
    recording: Recording,
    publisher: Publisher,
    tell_damage: mpsc::SyncSender<RecordingError>,
}

impl Player {
    fn play(self, output: Sender<Sample>, stop: &AtomicBool) {
        if !self.publisher.wait_until_connected(BROKER_PATIENCE) {
            tracing::warn!("no broker yet: embeddings are lost until there is one, events wait for it");
        }
        match recording::replay(&self.recording, self.settings.speed, self.settings.repeat, output, stop) {
            Ok(recording::Replayed::Whole) => tracing::info!("the replay is over"),
            Ok(recording::Replayed::Stopped) => {}
            // Whoever would be told is gone only when it failed itself.
            Err(damage) => drop(self.tell_damage.send(damage)),
        }
    }
}

/// Resident memory, from the kernel's own count of pages; 0 where there is none.
fn resident_bytes() -> u64 {
    let pages =
        std::fs::read_to_string("/proc/self/statm").ok().and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * u64::try_from(rustix::param::page_size()).unwrap_or(0)
}
