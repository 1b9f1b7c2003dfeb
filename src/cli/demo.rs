//! `perceptd demo`: the bundled recording through the whole daemon and an embedded broker, shown as a subscriber hears it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use super::bundled;
use super::operator::block_on;
use crate::config::{ReplaySettings, Settings, SourceSettings, USUAL_SENSES};
use crate::daemon;
use crate::prompts::PartSource;
use crate::publish::{ALL_ROBOTS, BrokerAccess, EmbeddedBroker, Heard, HeardEvent, Subscriber, SubscriberSettings};
use crate::recording::{RecordingError, Speed};
use crate::stdout::{self, Stdout};
use crate::time::{MonoTime, NANOS_PER_SEC, now};

/// How often the screen is brought up to date.
const SCREEN_EVERY: Duration = Duration::from_secs(1);
/// How often a stop is looked for.
const STOP_SEEN_WITHIN: Duration = Duration::from_millis(100);

/// What the demo plays, and how long.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How long to play, such as `20s` [default: until Ctrl-C; at `--speed max` once through].
    #[arg(long = "for", value_name = "TIME", value_parser = super::parse_duration)]
    duration: Option<Duration>,
    /// Print every event message as one JSON line, and nothing else.
    #[arg(long)]
    json: bool,
    /// Look for this instead of the bundled prompts: `audio:FILE`, `image:FILE` or `text:WORDS`. May be given several times.
    #[arg(long)]
    prompt: Vec<PartSource>,
    /// Play this recording instead of the bundled one.
    #[arg(long, value_name = "FILE.mcap")]
    recording: Option<PathBuf>,
    /// Times real time, or `max` for as fast as possible.
    #[arg(long, default_value = "1", value_parser = super::parse_speed)]
    speed: Speed,
    #[command(flatten)]
    pack: super::Pack,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = bundled("deploy/bundled/demo.toml");
    anyhow::ensure!(
        config.exists(),
        "the demo is not installed ({} is missing): start it in a clone of perceptd",
        config.display()
    );
    let mut settings = Settings::open(&config)?;
    let broker = EmbeddedBroker::start(0)?;
    settings.publish_without_credentials.broker.address = broker.address();
    settings.pack = arguments.pack.folder();
    if let SourceSettings::Replay(replay) = &mut settings.source {
        let recording = arguments.recording.unwrap_or_else(|| replay.recording.clone());
        let repeat = arguments.speed != Speed::Max;
        *replay = ReplaySettings { recording, speed: arguments.speed, repeat, topics: Vec::new() };
    }
    if !arguments.prompt.is_empty() {
        settings.prompts = super::prompts(&arguments.prompt, &USUAL_SENSES);
    }
    let subscriber =
        SubscriberSettings { broker: BrokerAccess::plain(broker.address()), filter: ALL_ROBOTS.to_owned() };
    let screen = Screen::new(arguments.json, &settings);
    let watch = Watch { subscriber: Subscriber::new(subscriber), screen, settings, duration: arguments.duration };
    block_on(watch.run()).map_err(in_the_demos_words)?;
    Ok(ExitCode::SUCCESS)
}

/// The demo names no topics, so that it cannot do what a recording of others is refused with.
fn in_the_demos_words(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(RecordingError::Topics { path, .. }) => {
            let file = path.display();
            anyhow::anyhow!(
                "{file}: perceptd did not record it, and the demo plays nothing else: `perceptd replay {file}` says how it can be replayed"
            )
        }
        _ => error,
    }
}

/// Runs the daemon on its own thread and listens until it has said its last word.
struct Watch {
    subscriber: Subscriber,
    screen: Screen,
    settings: Settings,
    duration: Option<Duration>,
}

impl Watch {
    async fn run(mut self) -> anyhow::Result<()> {
        // Heard from the first message on: the daemon starts only once the subscription stands.
        while !matches!(self.subscriber.next().await, Heard::Connected) {}
        let stop = Arc::new(AtomicBool::new(false));
        let recording = match &self.settings.source {
            SourceSettings::Replay(replay) => replay.recording.clone(),
            SourceSettings::Sensors(_) => PathBuf::new(),
        };
        let daemon = {
            let (settings, stop) = (self.settings, Arc::clone(&stop));
            let work = move || daemon::run(&settings, None, &stop);
            std::thread::Builder::new()
                .name("daemon".to_owned())
                .spawn(work)
                .context("cannot start the daemon's thread")?
        };
        let deadline = self.duration.map(|duration| now() + duration);
        let mut seen = tokio::time::interval(STOP_SEEN_WITHIN);
        let mut last_word = false;
        while !last_word && !daemon.is_finished() {
            tokio::select! {
                heard = self.subscriber.next() => {
                    last_word = matches!(&heard, Heard::Status(status) if status.state == "stopped");
                    self.screen.show(&heard)?;
                }
                _ = seen.tick() => {
                    if self.screen.is_closed || deadline.is_some_and(|deadline| now() >= deadline) {
                        stop.store(true, Ordering::Relaxed);
                    }
                    self.screen.refresh()?;
                }
            }
        }
        let is_stopped = stop.load(Ordering::Relaxed);
        daemon.join().map_err(|_panic| anyhow::anyhow!("the daemon's thread panicked"))??;
        if self.screen.nothing_yet && deadline.is_some_and(|deadline| now() >= deadline) {
            self.screen.line(&format!("nothing has come of {} so far", recording.display()))?;
        }
        anyhow::ensure!(
            is_stopped || !self.screen.nothing_yet,
            "nothing came of {}: no sensor in it gave enough for a window",
            recording.display()
        );
        Ok(())
    }
}

/// What a person sees: rates once a second, events as they come. As JSON: the events alone.
struct Screen {
    json: bool,
    started_at: MonoTime,
    refreshed_at: MonoTime,
    heard: BTreeMap<String, u32>,
    nothing_yet: bool,
    /// Whether whoever read it has had enough (`| head -1`).
    is_closed: bool,
}

impl Screen {
    fn new(json: bool, settings: &Settings) -> Self {
        let (started_at, refreshed_at) = (now(), now());
        let mut screen =
            Self { json, started_at, refreshed_at, heard: BTreeMap::new(), nothing_yet: true, is_closed: false };
        let prompts: Vec<&str> = settings.prompts.iter().map(|prompt| &*prompt.id).collect();
        // A closed terminal shows at the first line that matters.
        drop(screen.line(&format!("looking and listening for: {}", prompts.join(", "))));
        screen
    }

    fn show(&mut self, heard: &Heard) -> io::Result<()> {
        match heard {
            Heard::Event(event) if self.json => {
                let line = serde_json::to_string(event).map_err(io::Error::other)?;
                self.print(&line)
            }
            Heard::Event(event) => self.line(&event_line(event)),
            Heard::Embedding(embedding) => {
                *self.heard.entry(embedding.sensor.clone()).or_default() += 1;
                if std::mem::replace(&mut self.nothing_yet, false) {
                    self.line(&format!("first embedding, from {}", embedding.sensor))?;
                }
                Ok(())
            }
            Heard::Joint(_) => {
                *self.heard.entry("joint".to_owned()).or_default() += 1;
                Ok(())
            }
            Heard::Status(status) => self.line(&format!("status: {} (space {})", status.state, status.space_id)),
            Heard::Disconnected { why } => self.line(&format!("the broker is gone: {why}")),
            Heard::Unreadable { topic, why } => self.line(&format!("unreadable message on {topic}: {why}")),
            Heard::Connected
            | Heard::Active(_)
            | Heard::Health(_)
            | Heard::ConfigReported(_)
            | Heard::PromptReported(_)
            | Heard::ForOthers => Ok(()),
        }
    }

    fn refresh(&mut self) -> io::Result<()> {
        if now() < self.refreshed_at + SCREEN_EVERY {
            return Ok(());
        }
        let secs = now().nanos_since(self.refreshed_at) as f64 / NANOS_PER_SEC as f64;
        self.refreshed_at = now();
        if self.heard.is_empty() {
            return Ok(());
        }
        let rates: Vec<String> = self
            .heard
            .iter_mut()
            .map(|(sensor, count)| format!("{sensor} {:.0}/s", f64::from(std::mem::take(count)) / secs))
            .collect();
        self.line(&format!("embeddings: {}", rates.join("  ")))
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let secs = now().nanos_since(self.started_at) as f64 / NANOS_PER_SEC as f64;
        self.print(&format!("{secs:6.1} s  {text}"))
    }

    fn print(&mut self, line: &str) -> io::Result<()> {
        match writeln!(Stdout::of_this_process(), "{line}") {
            Err(error) if stdout::is_closed(&error) => {
                self.is_closed = true;
                Ok(())
            }
            result => result,
        }
    }
}

fn event_line(event: &HeardEvent) -> String {
    let place = event.boxes.first().map_or(String::new(), |found| {
        let [x0, y0, x1, y1] = found.corners_px;
        format!("  box {x0:.0},{y0:.0} to {x1:.0},{y1:.0} of {}×{}", event.frame_size_px[0], event.frame_size_px[1])
    });
    let lasted = (event.last_support_mono_nanos - event.onset_mono_nanos) as f64 / NANOS_PER_SEC as f64;
    match event.phase.as_str() {
        "end" => {
            format!("EVENT end     {:10} {:7} after {lasted:.1} s ({})", event.prompt, event.sensor, event.end_reason)
        }
        phase => format!(
            "EVENT {phase:7} {:10} {:7} score {:.2}, best {:.2} (fires at {:.2}){place}",
            event.prompt, event.sensor, event.calibrated, event.best_calibrated, event.threshold
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_promises_no_topics_that_it_does_not_have() {
        let why = "say which topics are sensors; use `--topic NAME=TOPIC`".to_owned();
        let told = in_the_demos_words(RecordingError::Topics { path: "bag.mcap".into(), why }.into()).to_string();
        assert!(told.contains("`perceptd replay bag.mcap`") && !told.contains("--topic"), "{told}");
        let other = in_the_demos_words(anyhow::anyhow!("another"));
        assert_eq!(other.to_string(), "another");
    }
}
