//! The MQTT 5 client: options, the task that polls it, and what became of each publish.
//!
//! Beside `subscriber` the only file that names the client crate. One task polls and never publishes. A lost connection is retried
//! for ever with jittered back-off; the log has one line per change. The session is resumed where the broker still has it, so that a
//! short cut neither repeats nor announces itself as a loss.

use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{LastWill, LastWillProperties, Packet, PubAckReason, PublishProperties};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, PublishNotice, PublishOptions, PublishResult};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::desk::Message;
use super::outbox::Outcome;
use super::presence::Presence;
use super::topics::{Class, Qos};
use super::{BrokerAddress, PublishError, PublishSettings};
use crate::backoff::Backoff;
use crate::time;

/// Largest packet either way. Said to the broker, which then drops a larger one instead of cutting the connection.
pub(super) const MAX_PACKET_BYTES: u32 = 1 << 20;
/// Room for requests; far more than may be in flight, so that it is never full.
const REQUESTS: usize = 256;
/// Sent data that nobody acknowledges for so long ends the connection. Vectors that flow keep MQTT's own keep-alive from asking.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// A connection that lasted so long was a good one: the next attempt starts with the shortest wait.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);

/// Whether there is a connection, and what its broker allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Down,
    Up { session_number: u64, receive_maximum: u16, max_packet_bytes: u32 },
}

/// The broker does not take a message now.
pub(super) struct NotTaken;

/// The client and the task that polls it.
pub(super) struct Client {
    requests: AsyncClient,
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
    fn of(&self, session_number: u64) -> LastWill {
        let properties = LastWillProperties {
            delay_interval: Some(whole_secs(self.delay)),
            payload_format_indicator: Some(0),
            message_expiry_interval: None,
            content_type: Some(CONTENT_TYPE.to_owned()),
            response_topic: None,
            correlation_data: None,
            user_properties: vec![("msg".to_owned(), Class::Status.rule().message.to_owned())],
        };
        LastWill::new(self.topic.clone(), self.presence.will(session_number), QoS::AtLeastOnce, true, Some(properties))
    }
}

/// The registered media type of protobuf (RFC 9996).
const CONTENT_TYPE: &str = "application/protobuf";

impl Client {
    /// Starts to connect; returns at once.
    pub(super) fn start(settings: &PublishSettings, will: Will, first_session: u64) -> Self {
        let client_id = format!("perceptd-{}-{}", settings.fleet, settings.robot);
        let mut options = options(&settings.broker, client_id, settings.keep_alive);
        options.set_session_expiry_interval(Some(whole_secs(settings.session_expiry)));
        options.set_outgoing_inflight_upper_limit(settings.max_in_flight.saturating_add(8));
        if let Some(credentials) = &settings.credentials {
            options.set_credentials(credentials.username.clone(), credentials.password.clone());
        }
        let (requests, events) = AsyncClient::builder(options).capacity(REQUESTS).build();
        let (link_sender, link) = watch::channel(Link::Down);
        let (first, longest) = settings.reconnect;
        let polling = Polling {
            events,
            link: link_sender,
            backoff: Backoff::new(first, longest, time::now().nanos().unsigned_abs()),
            will,
            session_number: first_session,
            broker: format!("{}:{}", settings.broker.host, settings.broker.port),
            trouble: String::new(),
            connected_at: None,
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
        let rule = message.class.rule();
        let qos = match rule.qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce => QoS::AtLeastOnce,
        };
        let properties = PublishProperties {
            payload_format_indicator: Some(0),
            message_expiry_interval: rule.expiry_secs,
            content_type: Some(CONTENT_TYPE.to_owned()),
            user_properties: vec![
                ("msg".to_owned(), rule.message.to_owned()),
                ("boot".to_owned(), message.boot_id.to_string()),
                ("seq".to_owned(), message.seq.to_string()),
            ],
            ..PublishProperties::default()
        };
        let options = PublishOptions::new(qos).retain(rule.retained).properties(properties);
        match self.requests.try_publish_tracked(message.topic.as_str(), message.payload.as_slice(), options) {
            Ok(notice) => Ok(Receipt(notice)),
            Err(error) => {
                tracing::debug!("the MQTT client takes no message now: {error}");
                Err(NotTaken)
            }
        }
    }

    /// Says DISCONNECT, if there is a connection, and ends the polling task within `limit`.
    ///
    /// # Errors
    /// When the polling task panicked.
    pub(super) async fn close(mut self, limit: Duration) -> Result<(), PublishError> {
        let is_up = self.link() != Link::Down;
        let is_leaving = is_up && self.requests.try_disconnect_with_timeout(limit).is_ok();
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

/// A promise of what became of a publish.
pub(super) struct Receipt(PublishNotice);

impl Receipt {
    pub(super) async fn outcome(self) -> Outcome {
        match self.0.wait_async().await {
            Ok(PublishResult::Qos0Flushed) => Outcome::Delivered,
            Ok(PublishResult::Qos1(ack)) => match ack.reason {
                PubAckReason::Success => Outcome::Delivered,
                PubAckReason::NoMatchingSubscribers => Outcome::Unclaimed,
                _ => Outcome::Refused,
            },
            Ok(_) | Err(rumqttc::PublishNoticeError::RetainNotSupported) => Outcome::Refused,
            Err(_) => Outcome::Undone,
        }
    }
}

/// Options that publisher and subscriber share.
pub(super) fn options(broker: &BrokerAddress, client_id: String, keep_alive: Duration) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, (broker.host.clone(), broker.port));
    options.set_keep_alive(u16::try_from(keep_alive.as_secs()).unwrap_or(u16::MAX));
    options.set_max_packet_size(Some(MAX_PACKET_BYTES));
    options.set_connect_timeout(Duration::from_secs(5));
    options.set_socket_connector(|address, _| async move {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        Ok(stream)
    });
    options
}

fn whole_secs(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// The task that polls.
struct Polling {
    events: EventLoop,
    link: watch::Sender<Link>,
    backoff: Backoff,
    will: Will,
    session_number: u64,
    broker: String,
    /// The trouble that was logged last; empty when all is well.
    trouble: String,
    connected_at: Option<time::MonoTime>,
}

impl Polling {
    async fn run(mut self) {
        self.events.options.set_last_will(self.will.of(self.session_number));
        loop {
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(ack))) => self.connected(ack.properties.as_ref()),
                Ok(_) => {}
                Err(rumqttc::ConnectionError::RequestsDone) => return,
                Err(error) => {
                    self.lost(&error.to_string());
                    let wait = self.backoff.next_wait();
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn connected(&mut self, allows: Option<&rumqttc::mqttbytes::v5::ConnAckProperties>) {
        tracing::info!("connected to the broker at {}", self.broker);
        self.trouble.clear();
        self.connected_at = Some(time::now());
        // From now on the broker may have our session: resume it, or a short cut would set off the will.
        self.events.options.set_clean_start(false);
        self.link.send_replace(Link::Up {
            session_number: self.session_number,
            receive_maximum: allows.and_then(|allows| allows.receive_max).unwrap_or(u16::MAX),
            max_packet_bytes: allows
                .and_then(|allows| allows.max_packet_size)
                .unwrap_or(u32::MAX)
                .min(MAX_PACKET_BYTES),
        });
    }

    fn lost(&mut self, why: &str) {
        self.link.send_replace(Link::Down);
        if let Some(since) = self.connected_at.take()
            && time::now() >= since + GOOD_CONNECTION
        {
            self.backoff.reset();
        }
        if self.trouble != why {
            tracing::warn!("no connection to the broker at {}, trying again: {why}", self.broker);
            why.clone_into(&mut self.trouble);
        }
        self.session_number += 1;
        self.events.options.set_last_will(self.will.of(self.session_number));
    }
}
