//! A perceptd that only publishes events, for the scripts beside it: the real publisher with its store, and no sensors.
//!
//! Prints one JSON line for each event message after the outbox has accepted it (`id`, `revision`), one every second with what the outbox
//! holds, and at the end one with what is left there (`undelivered`). Ends with the daemon's ordered stop when its input closes; dies like the daemon when it is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use perceptd::events::{EndReason, Event, Phase};
use perceptd::geometry::PixelBox;
use perceptd::modality::{Modality, SensorId};
use perceptd::publish::{self, BrokerAddress, OutboxLimits, PublishParts, PublishSettings, Publisher};
use perceptd::space::Score;
use perceptd::store::events::StoreSettings;
use perceptd::telemetry::Telemetry;
use perceptd::time::{MonoTime, Timeline, now};

#[derive(Parser)]
struct Arguments {
    /// Port of the broker on this machine.
    #[arg(long)]
    port: u16,
    /// State folder; events wait in memory without it.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Event messages a second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Event messages to hand over as fast as they are taken, before the others.
    #[arg(long, default_value_t = 0)]
    backlog: u32,
    /// Bound of the outbox.
    #[arg(long, default_value_t = OutboxLimits::default().max_records)]
    max_messages: usize,
    /// The longest wait between attempts to connect, in seconds.
    #[arg(long, default_value_t = 1.0)]
    reconnect_secs: f64,
    /// Has the log tell when each message was handed to the client, and what became of it.
    #[arg(long)]
    trace: bool,
}

/// Episodes that go on at the same time, each with `new`, some updates and an `end`.
const OPEN_AT_ONCE: usize = 8;
const MESSAGES_OF_AN_EVENT: u32 = 10;

struct Source {
    publisher: Publisher,
    prompt: &'static str,
    open: Vec<Event>,
    turn: usize,
}

impl Source {
    /// Hands over the next message of the next open event.
    fn step(&mut self) {
        if self.open.len() < OPEN_AT_ONCE {
            self.open.push(new_event(self.prompt));
        }
        self.turn = (self.turn + 1) % self.open.len();
        let event = self.open.get_mut(self.turn).unwrap();
        if advance(&self.publisher, event) {
            self.open.swap_remove(self.turn);
        }
    }

    /// Ends what is open.
    fn end(&mut self) {
        for mut event in self.open.drain(..) {
            event.revision = event.revision.max(MESSAGES_OF_AN_EVENT - 1);
            advance(&self.publisher, &mut event);
        }
    }
}

/// Hands over the event's next message and says so; tells whether it was the last.
fn advance(publisher: &Publisher, event: &mut Event) -> bool {
    event.revision += 1;
    event.last_support = now();
    event.phase = match event.revision {
        1 => Phase::New,
        MESSAGES_OF_AN_EVENT.. => Phase::End(EndReason::Quiet),
        _ => Phase::Update,
    };
    let record = publisher.event(event).unwrap();
    say(&format!(r#"{{"id":"{}","revision":{},"record":"{record:?}"}}"#, event.id.hyphenated(), event.revision));
    matches!(event.phase, Phase::End(_))
}

fn new_event(prompt: &str) -> Event {
    let score = Score { raw: 0.1, calibrated: 0.9, threshold: 0.5, bank_revision: 1 };
    let pixels = PixelBox { x0: 1.0, y0: 2.0, x1: 300.0, y1: 400.0 };
    Event {
        id: uuid::Uuid::from_u128(fastrand::u128(..)),
        revision: 0,
        phase: Phase::New,
        prompt: prompt.into(),
        sensor: SensorId::new("front").unwrap(),
        modality: Modality::Image,
        onset: now(),
        last_support: now(),
        score,
        best: score,
        boxes: vec![(pixels, 0.9), (pixels, 0.8)],
        frame_size_px: Some((640, 480)),
    }
}

/// One line, out of the process when it returns: a kill afterwards cannot take it back.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).unwrap();
}

fn say_outbox(publisher: &Publisher) {
    let counts = publisher.outbox_counts();
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let resident: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    say(&format!(
        r#"{{"waiting":{},"accepted":{},"delivered":{},"dropped":{},"unclaimed":{},"refused":{},"recovered":{},"again":{},"rss_kib":{},"now":{}}}"#,
        publisher.outbox_len(),
        counts.accepted,
        counts.delivered,
        counts.dropped,
        counts.unclaimed,
        counts.refused,
        counts.recovered,
        counts.again,
        resident * 4,
        now().nanos(),
    ));
}

fn settings(arguments: &Arguments) -> PublishSettings {
    let broker = BrokerAddress { host: "127.0.0.1".to_owned(), port: arguments.port };
    let mut settings = PublishSettings::new(broker, "faults", "source");
    settings.reconnect = (Duration::from_millis(200), Duration::from_secs_f64(arguments.reconnect_secs));
    settings.outbox.max_records = arguments.max_messages;
    settings.store = arguments.state.clone().map(StoreSettings::new);
    settings
}

fn parts() -> PublishParts {
    PublishParts {
        timeline: Timeline::of_this_boot().unwrap(),
        telemetry: Telemetry::default(),
        space: "space".into(),
        dim: 4,
        sensors: vec![(SensorId::new("front").unwrap(), Modality::Image)],
        started_at: now(),
        replay: false,
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let arguments = Arguments::parse();
    let level = if arguments.trace { "info,perceptd::publish=trace" } else { "info" };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(level).init();
    let (publisher, post) = publish::open(settings(&arguments), parts()).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let posting = tokio::spawn(post.run(async { stopped.await.unwrap_or(()) }));
    let stopping = Arc::new(AtomicBool::new(false));
    let watching = Arc::clone(&stopping);
    std::thread::spawn(move || {
        // Whatever comes, and the end, means stop.
        let _read = std::io::stdin().read(&mut [0]);
        watching.store(true, Ordering::Relaxed);
    });
    let mut source = Source { publisher: publisher.clone(), prompt: "backlog", open: Vec::new(), turn: 0 };
    for _ in 0..arguments.backlog {
        source.step();
    }
    source.end();
    source.prompt = "live";
    let period = 1_000_000_000 / i64::from(arguments.rate.max(1));
    let (mut due, mut told) = (now(), MonoTime::default());
    while !stopping.load(Ordering::Relaxed) {
        let time = now();
        while due <= time && arguments.rate > 0 {
            source.step();
            due = due.shifted(period);
        }
        if time >= told + Duration::from_secs(1) {
            say_outbox(&publisher);
            told = time;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    source.end();
    drop(stop);
    let farewell = posting.await.unwrap().unwrap();
    say_outbox(&publisher);
    let undelivered = farewell.undelivered + farewell.unclaimed;
    say(&format!(r#"{{"undelivered":{undelivered}}}"#));
}
