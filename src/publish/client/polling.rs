//! The task that polls: connects again and again, subscribes, hands on what arrives.

use std::time::Duration;

use tokio::sync::watch;

use super::connection::{RefusedFilter, Requests};
use super::{Connection, Ear, Failure, Link, Step, Will};
use crate::backoff::Backoff;
use crate::publish::arrivals::{Arrived, RetainHandling};
use crate::publish::home_assistant;
use crate::time;

/// A connection that lasted so long was a good one: the next attempt starts with the shortest wait.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);

/// So many connections in a row that the broker took and soon closed look like another client of the same name.
const SHORT_CONNECTIONS_OF_A_NAMESAKE: u32 = 3;

/// The task that polls.
pub(super) struct Polling {
    pub(super) connection: Connection,
    pub(super) requests: watch::Sender<Requests>,
    pub(super) link: watch::Sender<Link>,
    pub(super) backoff: Backoff,
    pub(super) will: Will,
    pub(super) ear: Option<Ear>,
    pub(super) session_number: u64,
    pub(super) broker: String,
    /// The trouble that was logged last; empty when all is well.
    pub(super) trouble: String,
    pub(super) connected_at: Option<time::MonoTime>,
    /// Connections in a row that the broker took and soon closed.
    pub(super) short_connections: u32,
    pub(super) client_id: String,
    /// Whether the log says that only 3.1.1 is spoken.
    pub(super) is_fallback_told: bool,
    /// Whether the log says of this connection that more came than could wait.
    pub(super) is_loss_told: bool,
}

impl Polling {
    pub(super) async fn run(mut self) {
        self.connection.set_will(self.will.of(self.session_number));
        loop {
            match self.connection.next().await {
                Ok(Step::Connected { receive_maximum, max_packet_bytes }) => {
                    self.connected(receive_maximum, max_packet_bytes);
                }
                Ok(Step::Subscribed { refused }) if !refused.is_empty() => {
                    let asked = self.ear.as_ref().map(|ear| &*ear.subscriptions).unwrap_or_default();
                    self.not_subscribed(&RefusedFilter::in_words(&refused, asked));
                }
                Ok(Step::Arrived(arrived)) => self.hand_on(arrived),
                Ok(Step::Subscribed { .. } | Step::Other) => {}
                Ok(Step::Ended) => return,
                Err(Failure(why)) => {
                    self.lost(&why);
                    let wait = self.backoff.next_wait();
                    tokio::time::sleep(wait).await;
                }
            }
            self.ask_again();
        }
    }

    fn connected(&mut self, receive_maximum: u16, max_packet_bytes: u32) {
        tracing::info!("connected to the broker at {}", self.broker);
        self.tell_fallback();
        self.trouble.clear();
        self.connected_at = Some(time::now());
        self.connection.resume_session();
        self.is_loss_told = false;
        if let Some(door) = self.ear.as_mut().and_then(|ear| ear.output.as_mut()) {
            door.connected();
        }
        if let Some(ear) = &self.ear
            && let Err(why) = self.connection.try_subscribe(&ear.subscriptions)
        {
            self.not_subscribed(&why);
        }
        self.requests.send_replace(self.connection.requests.clone());
        let (session_number, version) = (self.session_number, self.connection.choice.version());
        self.link.send_replace(Link::Up { session_number, version, receive_maximum, max_packet_bytes });
    }

    fn tell_fallback(&mut self) {
        let (is_fallback, broker) = (self.connection.choice.is_fallback(), &self.broker);
        match (is_fallback, self.is_fallback_told) {
            (true, false) => tracing::warn!(
                "the broker at {broker} does not speak MQTT 5, so 3.1.1 is spoken: an acknowledgement counts as delivery there"
            ),
            (false, true) => tracing::info!("the broker at {broker} speaks MQTT 5 now"),
            _ => {}
        }
        self.is_fallback_told = is_fallback;
    }

    fn not_subscribed(&self, why: &str) {
        tracing::warn!(
            "what comes by these topics is not heard, for the broker at {} refuses the subscription: {why}; its access rules may forbid it",
            self.broker
        );
    }

    fn hand_on(&mut self, arrived: Arrived) {
        let Some(ear) = &mut self.ear else { return };
        match &ear.home {
            Some((topic, publisher)) if *topic == arrived.topic && arrived.payload == home_assistant::BIRTH => {
                publisher.home_assistant_came();
            }
            // Home Assistant's farewell.
            Some((topic, _)) if *topic == arrived.topic => {}
            _ => {
                // An inbox that is gone listens to nothing more.
                if ear.output.as_mut().is_some_and(|door| door.take(arrived).is_err()) {
                    ear.output = None;
                }
            }
        }
    }

    /// Subscribes anew to what the broker keeps, if some of it came when there was no room. Something happens here at least with every
    /// `health`.
    fn ask_again(&mut self) {
        if self.connected_at.is_none() {
            return;
        }
        let Some(ear) = &mut self.ear else { return };
        if !ear.output.as_mut().is_some_and(|door| door.asks_again(time::now())) {
            return;
        }
        if !std::mem::replace(&mut self.is_loss_told, true) {
            tracing::warn!(
                "more wishes came at once than can wait (counted in health): the broker at {} is asked again for those that it keeps",
                self.broker
            );
        }
        let kept = ear.subscriptions.iter().filter(|wanted| wanted.retain_handling == RetainHandling::EveryConnect);
        let kept: Vec<_> = kept.cloned().collect();
        if let Err(why) = self.connection.try_subscribe(&kept) {
            self.not_subscribed(&why);
        }
    }

    fn lost(&mut self, why: &str) {
        self.link.send_replace(Link::Down);
        match self.connected_at.take().map(|since| time::now() >= since + GOOD_CONNECTION) {
            Some(true) => {
                self.short_connections = 0;
                self.backoff.reset();
            }
            Some(false) => {
                self.short_connections += 1;
                if self.short_connections == SHORT_CONNECTIONS_OF_A_NAMESAKE {
                    self.guess_at_a_namesake();
                }
            }
            None => {}
        }
        // Details, in brackets, may differ each time: a time, a count.
        let trouble = why.split_once(" (").map_or(why, |(trouble, _)| trouble);
        if self.trouble != trouble {
            tracing::warn!("no connection to the broker at {}, trying again: {why}", self.broker);
            trouble.clone_into(&mut self.trouble);
        }
        self.session_number += 1;
        self.connection.set_will(self.will.of(self.session_number));
    }

    fn guess_at_a_namesake(&self) {
        tracing::warn!(
            "the broker at {} has taken and soon closed {SHORT_CONNECTIONS_OF_A_NAMESAKE} connections: does another perceptd with this fleet \
             and robot name use it? Both are the client `{}`, and a broker keeps one",
            self.broker,
            self.client_id
        );
    }
}
