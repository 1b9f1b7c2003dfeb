//! The MQTT client: the task that polls it, what arrives, and what became of each publish.
//!
//! One task polls and never publishes. A lost connection is retried for ever with jittered back-off; the log has one line per
//! change. The session is resumed where the broker still has it, so that a short cut neither repeats nor announces itself as a loss.
//! The client crates are named in `v5` and `v4` alone, and the TLS of one in `certificates` beside this room; both are of the rumqttc-next family, the maintained continuation of rumqttc,
//! which tells what became of each publish and whose TLS has no open advisories. Their WebSocket adds a framing (tungstenite and SHA-1 for its
//! handshake) to the TLS and HTTP types that are there anyway, 0.3 MB of the program.

mod connection;
mod polling;
mod v4;
mod v5;
mod version;

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::arrivals::{Door, Subscription};
use super::desk::Message;
use super::presence::Presence;
use super::publisher::Publisher;
use super::topics::Class;
use super::{MqttVersion, PublishError, PublishSettings};
use crate::backoff::Backoff;
use crate::time;
use connection::{Requests, WillMessage};
use polling::Polling;

pub(super) use connection::{ConnectSettings, Connection, Failure, NotTaken, Receipt, RefusedFilter, Step};

/// Largest packet either way. Said to the broker, which then drops a larger one instead of cutting the connection.
pub(super) const MAX_PACKET_BYTES: u32 = 1 << 20;
/// Whether there is a connection, and what its broker allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Down,
    Up { session_number: u64, version: MqttVersion, receive_maximum: u16, max_packet_bytes: u32 },
}

/// The client and the task that polls it.
pub(super) struct Client {
    /// Of the newest connection.
    requests: watch::Receiver<Requests>,
    poll: JoinHandle<()>,
    link: watch::Receiver<Link>,
}

/// What the polling task needs to make each connection's will.
pub(super) struct Will {
    pub(super) presence: Presence,
    pub(super) topic: String,
    pub(super) delay: Duration,
}

impl Will {
    fn of(&self, session_number: u64) -> WillMessage {
        WillMessage {
            topic: self.topic.clone(),
            payload: self.presence.will(session_number),
            delay: self.delay,
            message: Class::Status.rule().message,
        }
    }
}

/// What to subscribe to on every connect, and where arrivals go.
pub(super) struct Ear {
    pub(super) subscriptions: Vec<Subscription>,
    /// The inbox, if there is one.
    pub(super) output: Option<Door>,
    /// Where Home Assistant says that it came, and who wants to know.
    pub(super) home: Option<(String, Publisher)>,
}

impl Client {
    /// Starts to connect; returns at once.
    pub(super) fn start(settings: &PublishSettings, will: Will, ear: Option<Ear>, first_session: u64) -> Self {
        // Names have no dots, so no two robots share an id.
        let client_id = format!("perceptd.{}.{}", settings.fleet, settings.robot);
        let connection = Connection::new(ConnectSettings {
            broker: settings.broker.clone(),
            client_id: client_id.clone(),
            keep_alive: settings.keep_alive,
            session_expiry: Some(settings.session_expiry),
            max_in_flight: settings.max_in_flight.saturating_add(8),
        });
        let (newest_requests, requests) = watch::channel(connection.requests.clone());
        let (link_sender, link) = watch::channel(Link::Down);
        let (first, longest) = settings.reconnect;
        let polling = Polling {
            connection,
            requests: newest_requests,
            link: link_sender,
            backoff: Backoff::new(first, longest, time::now().nanos().unsigned_abs()),
            will,
            ear,
            session_number: first_session,
            broker: settings.broker.address.to_string(),
            trouble: String::new(),
            connected_at: None,
            short_connections: 0,
            client_id,
            is_fallback_told: false,
            is_loss_told: false,
        };
        Self { requests, poll: tokio::spawn(polling.run()), link }
    }

    /// The connection now.
    pub(super) fn link(&self) -> Link {
        *self.link.borrow()
    }

    /// Waits for the next change of the connection.
    ///
    /// # Errors
    /// When the polling task is gone.
    pub(super) async fn link_changed(&mut self) -> Result<Link, PublishError> {
        match self.link.changed().await {
            Ok(()) => Ok(*self.link.borrow_and_update()),
            Err(_) => Err(PublishError::Panicked("see the panic's message above".to_owned())),
        }
    }

    /// Hands a message over; the receipt tells what became of it.
    ///
    /// # Errors
    /// When the client has no room.
    pub(super) fn try_publish(&self, message: &Message) -> Result<Receipt, NotTaken> {
        self.requests.borrow().try_publish(message)
    }

    /// Says DISCONNECT, if there is a connection, and ends the polling task within `limit`.
    ///
    /// # Errors
    /// When the polling task panicked.
    pub(super) async fn close(mut self, limit: Duration) -> Result<(), PublishError> {
        let is_up = self.link() != Link::Down;
        let is_leaving = is_up
            && match &*self.requests.borrow() {
                Requests::V5(requests) => requests.try_disconnect(limit),
                Requests::V4(requests) => requests.try_disconnect(limit),
            };
        let joined = if is_leaving { tokio::time::timeout(limit * 2, &mut self.poll).await.ok() } else { None };
        let joined = if let Some(joined) = joined {
            joined
        } else {
            self.poll.abort();
            (&mut self.poll).await
        };
        match joined {
            Err(error) if error.is_panic() => Err(PublishError::Panicked(error.to_string())),
            _ => Ok(()),
        }
    }
}

impl Drop for Client {
    /// A client that was not closed leaves as a crash would: without DISCONNECT, so that the will speaks.
    fn drop(&mut self) {
        self.poll.abort();
    }
}
