//! Hears what perceptd publishes, as any subscriber does: through a broker.
//!
//! For `perceptd demo` and for tests. It keeps no session: what is published while it is away it does not hear.

use std::time::Duration;

use super::arrivals::{Arrived, RetainHandling, Subscription};
use super::client::{ConnectSettings, Connection, Failure, RefusedFilter, Step};
use super::heard::Heard;
use super::topics::class_of;
use super::{BrokerAccess, wire};
use crate::backoff::Backoff;
use crate::time;

/// Where and what to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberSettings {
    /// The broker, and how to reach it.
    pub broker: BrokerAccess,
    /// Topic filter, such as [`super::ALL_ROBOTS`] or [`super::Topics::everything`].
    pub filter: String,
}

/// A subscriber. Reconnects for ever; see [`Heard::Connected`] and [`Heard::Disconnected`].
pub struct Subscriber {
    connection: Connection,
    filter: String,
    backoff: Backoff,
    is_lost: bool,
}

impl Subscriber {
    /// Ready to connect at the first [`Self::next`].
    #[must_use]
    pub fn new(settings: SubscriberSettings) -> Self {
        let connection = Connection::new(ConnectSettings {
            broker: settings.broker,
            client_id: format!("perceptd-watch-{:016x}", fastrand::u64(..)),
            keep_alive: Duration::from_secs(8),
            session_expiry: None,
            max_in_flight: 1,
        });
        let seed = time::now().nanos().unsigned_abs();
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), seed);
        Self { connection, filter: settings.filter, backoff, is_lost: false }
    }

    /// Waits for the next thing to hear.
    pub async fn next(&mut self) -> Heard {
        loop {
            if self.is_lost {
                tokio::time::sleep(self.backoff.next_wait()).await;
                self.is_lost = false;
            }
            match self.connection.next().await {
                Ok(Step::Connected { .. }) => {
                    if let Err(why) = self.connection.try_subscribe(&[self.subscription()]) {
                        return self.lost(format!("cannot subscribe to `{}`: {why}", self.filter));
                    }
                }
                Ok(Step::Subscribed { refused }) => {
                    self.backoff.reset();
                    if refused.is_empty() {
                        return Heard::Connected;
                    }
                    let why = RefusedFilter::in_words(&refused, &[self.subscription()]);
                    return self.lost(format!("the broker refuses the subscription: {why}"));
                }
                Ok(Step::Arrived(arrived)) => {
                    if let Some(heard) = hear(&arrived) {
                        return heard;
                    }
                }
                Ok(Step::Other | Step::Ended) => {}
                Err(Failure(why)) => return self.lost(why),
            }
        }
    }

    fn subscription(&self) -> Subscription {
        Subscription { filter: self.filter.clone(), retain_handling: RetainHandling::EveryConnect }
    }

    fn lost(&mut self, why: String) -> Heard {
        self.is_lost = true;
        Heard::Disconnected { why }
    }
}

/// A message as plain data; none for an emptied retained topic.
fn hear(arrived: &Arrived) -> Option<Heard> {
    let topic = &arrived.topic;
    if arrived.payload.is_empty() {
        return None;
    }
    let unreadable = |why: String| Heard::Unreadable { topic: topic.clone(), why };
    Some(match class_of(topic) {
        None => unreadable("not one of perceptd's topics".to_owned()),
        Some(class) => wire::hear(class, &arrived.payload).unwrap_or_else(|error| unreadable(error.to_string())),
    })
}
