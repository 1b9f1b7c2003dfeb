//! Carries what the desk holds to the broker, and settles what the broker answers.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use tokio::task::JoinSet;

use super::arrivals::{self, Arrivals, RetainHandling, Subscription};
use super::client::{Client, Ear, Link, MAX_PACKET_BYTES, Receipt, Will};
use super::desk::{Message, Ticket};
use super::outbox::Outcome;
use super::publisher::Publisher;
use super::{PublishError, PublishSettings, home_assistant};
use crate::time::{self, MonoTime, NANOS_PER_SEC};

/// How long a stop waits for `stopped` to be acknowledged, and for DISCONNECT.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Packet bytes besides topic and payload: header, properties, user properties.
const PACKET_OVERHEAD_BYTES: usize = 512;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// Messages of events that the broker did not take before the stop.
    pub undelivered: usize,
    /// Those of which it said to the end that it had nobody to give them to.
    pub unclaimed: usize,
    /// Whether this was a replay, whose events wait nowhere.
    pub is_replay: bool,
    /// Whether both wait on disk for the next start, but for `unwritten`; else they are lost.
    pub are_kept: bool,
    /// Those of both that the disk did not take: they end with the process.
    pub unwritten: usize,
    /// Whether the broker acknowledged `stopped`.
    pub said_stopped: bool,
}

impl Farewell {
    /// Logs what became of events that are still here.
    pub fn tell(&self) {
        let remedy = if self.is_replay { "" } else { "; with a `[state] folder` they wait for the next start" };
        if self.are_kept && self.unwritten > 0 {
            let messages = self.unwritten;
            tracing::error!(
                messages,
                "events are lost: neither the disk of the `[state] folder` nor the broker took them"
            );
        }
        let unwritten = if self.are_kept { self.unwritten } else { 0 };
        let undelivered = self.undelivered.saturating_sub(unwritten);
        let unclaimed = self.unclaimed.saturating_sub(unwritten - (self.undelivered - undelivered));
        match undelivered {
            0 => {}
            messages if self.are_kept => {
                tracing::info!(messages, "the broker did not take these before the stop: they wait for the next start");
            }
            messages => {
                tracing::error!(messages, "events are lost: the broker did not take them before the stop{remedy}");
            }
        }
        match unclaimed {
            0 => {}
            messages if self.are_kept => {
                tracing::info!(messages, "nobody has subscribed to these events: they wait for the next start");
            }
            messages => tracing::warn!(messages, "nobody has subscribed to these events, and they end here{remedy}"),
        }
    }
}

/// The side that the daemon's runtime drives.
pub struct Post {
    settings: PublishSettings,
    publisher: Publisher,
    is_replay: bool,
    ear: Option<Ear>,
}

impl Post {
    pub(super) const fn new(settings: PublishSettings, publisher: Publisher, is_replay: bool) -> Self {
        Self { settings, publisher, is_replay, ear: None }
    }

    /// Has these subscribed on every connect; what comes for them arrives at the pipe. Without this call nothing is subscribed.
    pub fn subscribe(&mut self, subscriptions: Vec<Subscription>) -> Arrivals {
        let (output, arrivals) = arrivals::arrivals(self.publisher.arrivals_dropped_counter());
        self.ear = Some(Ear { subscriptions, output: Some(output), home: None });
        arrivals
    }

    /// Publishes until `stop` completes; then waits for events to be acknowledged (at most [`PublishSettings::flush`], and only while
    /// there is something that the broker has not refused), says `stopped` and disconnects. A broker that is absent or dies is
    /// tried again for ever.
    ///
    /// # Errors
    /// When the polling task panicked.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) -> Result<Farewell, PublishError> {
        // Milliseconds since 1970, plus one for each connection: rises across restarts too, as long as the wall clock does.
        let first_session = u64::try_from(time::unix_now_nanos() / 1_000_000).unwrap_or(0);
        let mut rounds = self.rounds(first_session);
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                turned = rounds.turn(None) => turned?,
            }
        }
        rounds.finish(self.settings.flush).await
    }

    /// Hears what Home Assistant says too, if it is told anything.
    fn ear(&mut self) -> Option<Ear> {
        let Some(prefix) = &self.settings.home_assistant else { return self.ear.take() };
        let topic = home_assistant::birth_topic(prefix);
        let mut ear = self.ear.take().unwrap_or_else(|| Ear { subscriptions: Vec::new(), output: None, home: None });
        // All is said on every connect anyway, so what is retained tells nothing.
        ear.subscriptions.push(Subscription { filter: topic.clone(), retain_handling: RetainHandling::Never });
        ear.home = Some((topic, self.publisher.clone()));
        Some(ear)
    }

    fn rounds(&mut self, first_session: u64) -> Rounds {
        let (presence, topic) = {
            let desk = self.publisher.desk();
            (desk.presence().clone(), desk.topics().status())
        };
        let will = Will { presence, topic, delay: self.settings.will_delay };
        let ear = self.ear();
        Rounds {
            client: Client::start(&self.settings, will, ear, first_session),
            publisher: self.publisher.clone(),
            is_replay: self.is_replay,
            link: Link::Down,
            max_in_flight: self.settings.max_in_flight,
            receipts: JoinSet::new(),
            refused_topics: BTreeSet::new(),
        }
    }
}

/// One turn after another: offer, then wait for something to happen.
struct Rounds {
    client: Client,
    publisher: Publisher,
    is_replay: bool,
    /// The connection as far as the desk was told: nothing is offered on one whose birth is not said.
    link: Link,
    max_in_flight: u16,
    receipts: JoinSet<(Ticket, String, Outcome)>,
    /// Topics of which the log has said, on this connection, that the broker refuses them: it does so each time.
    refused_topics: BTreeSet<String>,
}

impl Rounds {
    /// Offers all that may be offered, then waits for news: something to publish, an acknowledgement, a change of the connection,
    /// or `deadline`. Dropping it between turns loses nothing.
    async fn turn(&mut self, deadline: Option<MonoTime>) -> Result<(), PublishError> {
        self.offer();
        self.publisher.announce();
        let due = self.publisher.desk().outbox().next_due();
        let alarm = [due, deadline].into_iter().flatten().min();
        tokio::select! {
            // What one connection acknowledged is settled before the desk hears of the next.
            biased;
            Some(settled) = self.receipts.join_next() => self.settle(settled),
            link = self.client.link_changed() => self.relink(link?),
            () = self.publisher.woken() => {}
            () = until(alarm), if alarm.is_some() => {}
        }
        Ok(())
    }

    fn relink(&mut self, link: Link) {
        tracing::trace!(?link);
        self.link = link;
        match link {
            Link::Up { session_number, version, .. } => {
                self.refused_topics.clear();
                self.publisher.desk().connected(session_number, version, time::now());
            }
            Link::Down => self.publisher.desk().disconnected(time::now()),
        }
        self.publisher.announce();
    }

    fn settle(&mut self, settled: Result<(Ticket, String, Outcome), tokio::task::JoinError>) {
        // A receipt's task neither panics nor is it cancelled before the end.
        let Ok((ticket, topic, outcome)) = settled else { return };
        tracing::trace!(?ticket, ?outcome, "settled");
        if outcome == Outcome::Refused && !self.refused_topics.contains(&topic) {
            tracing::warn!("the broker refuses what is published on {topic}: look at its access rules");
            self.refused_topics.insert(topic);
        }
        self.publisher.desk().settle(&ticket, outcome, time::now());
    }

    fn offer(&mut self) {
        let Link::Up { receive_maximum, max_packet_bytes, .. } = self.link else { return };
        // State messages count too, and there are three.
        let max_in_flight = usize::from(self.max_in_flight.min(receive_maximum.saturating_sub(3)).max(1));
        loop {
            let now = time::now();
            let Some((ticket, message)) = self.publisher.desk().next(max_in_flight, now) else { return };
            if packet_bytes(&message) > max_packet_bytes.min(MAX_PACKET_BYTES) as usize {
                tracing::error!("a message on {} is larger than the broker takes; it is dropped", message.topic);
                self.publisher.desk().settle(&ticket, Outcome::Refused, now);
                continue;
            }
            match self.client.try_publish(&message) {
                Ok(receipt) => {
                    tracing::trace!(?ticket, message.seq, "handed to the client");
                    drop(self.receipts.spawn(wait_for(ticket, message.topic, receipt)));
                }
                Err(_) => return self.publisher.desk().settle(&ticket, Outcome::Undone, now),
            }
        }
    }

    async fn finish(mut self, flush: Duration) -> Result<Farewell, PublishError> {
        let deadline = time::now() + flush;
        while self.publisher.desk().outbox().untried() > 0 && time::now() < deadline {
            self.turn(Some(deadline)).await?;
        }
        let (undelivered, unclaimed, are_kept, unwritten) = {
            let desk = self.publisher.desk();
            // What a broker that is gone has said of its subscribers holds no more.
            let unclaimed = if desk.is_connected() { desk.outbox().unclaimed() } else { 0 };
            let outbox = desk.outbox();
            (outbox.len() - unclaimed, unclaimed, outbox.is_durable(), outbox.in_memory())
        };
        let mut said_stopped = false;
        if let Link::Up { session_number, .. } = self.link {
            let deadline = time::now() + LAST_WORD;
            self.publisher.desk().stopped(session_number, time::now());
            while !said_stopped && time::now() < deadline && self.link != Link::Down {
                self.turn(Some(deadline)).await?;
                said_stopped = self.publisher.desk().is_state_said();
            }
        }
        self.receipts.abort_all();
        self.client.close(LAST_WORD).await?;
        Ok(Farewell { undelivered, unclaimed, is_replay: self.is_replay, are_kept, unwritten, said_stopped })
    }
}

async fn wait_for(ticket: Ticket, topic: String, receipt: Receipt) -> (Ticket, String, Outcome) {
    let outcome = receipt.outcome().await;
    (ticket, topic, outcome)
}

async fn until(alarm: Option<MonoTime>) {
    let Some(alarm) = alarm else { return };
    let nanos = alarm.nanos_since(time::now()).clamp(0, 3_600 * NANOS_PER_SEC);
    tokio::time::sleep(Duration::from_nanos(nanos.unsigned_abs())).await;
}

const fn packet_bytes(message: &Message) -> usize {
    message.payload.len() + message.topic.len() + PACKET_OVERHEAD_BYTES
}
