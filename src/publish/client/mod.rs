//! The MQTT client: the task that polls it, what arrives, and what became of each publish.
//!
//! One task polls and never publishes. A lost connection is retried for ever with jittered back-off; the log has one line per
//! change. The session is resumed where the broker still has it, so that a short cut neither repeats nor announces itself as a loss.
//! The client crates are named in `v5` and `v4` alone; both are of the rumqttc-next family, the maintained continuation of rumqttc,
//! which tells what became of each publish and whose TLS has no open advisories.

mod v4;
mod v5;

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::arrivals::{Arrived, Subscription};
use super::desk::Message;
use super::outbox::Outcome;
use super::presence::Presence;
use super::publisher::Publisher;
use super::topics::Class;
use super::{BrokerAddress, Credentials, MqttVersion, PublishError, PublishSettings, TlsSettings, home_assistant};
use crate::backoff::Backoff;
use crate::pipe::Sender;
use crate::time;

/// Largest packet either way. Said to the broker, which then drops a larger one instead of cutting the connection.
pub(super) const MAX_PACKET_BYTES: u32 = 1 << 20;
/// Room for requests; far more than may be in flight, so that it is never full.
const REQUESTS: usize = 256;
/// How long an attempt to connect may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Sent data that nobody acknowledges for so long ends the connection. Vectors that flow keep MQTT's own keep-alive from asking.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// A connection that lasted so long was a good one: the next attempt starts with the shortest wait.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);
/// The registered media type of protobuf (RFC 9996).
const CONTENT_TYPE: &str = "application/protobuf";

/// The media type of what `class` carries.
const fn content_type(class: Class) -> &'static str {
    if class.is_protobuf() { CONTENT_TYPE } else { class.rule().message }
}

/// Whether there is a connection, and what its broker allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Down,
    Up { session_number: u64, receive_maximum: u16, max_packet_bytes: u32 },
}

/// The broker does not take a message now.
pub(super) struct NotTaken;

/// Where and as whom to connect.
pub(super) struct ConnectSettings {
    pub(super) broker: BrokerAddress,
    pub(super) client_id: String,
    pub(super) version: MqttVersion,
    pub(super) tls: Option<TlsSettings>,
    pub(super) credentials: Option<Credentials>,
    pub(super) keep_alive: Duration,
    /// None ends the session with its connection.
    pub(super) session_expiry: Option<Duration>,
    pub(super) max_in_flight: u16,
}

/// What polling gives.
pub(super) enum Step {
    Connected {
        receive_maximum: u16,
        max_packet_bytes: u32,
    },
    /// The broker answered a subscription; why it refused a filter, if it did.
    Subscribed {
        refused: Option<String>,
    },
    Arrived(Arrived),
    /// Nothing that matters here.
    Other,
    /// The client has said DISCONNECT.
    Ended,
}

/// Why there is no connection.
pub(super) struct Failure(pub(super) String);

/// A will as it goes to the broker with each attempt to connect.
pub(super) struct WillMessage {
    topic: String,
    payload: Vec<u8>,
    delay: Duration,
    message: &'static str,
}

/// What goes to the polling half, by version.
#[derive(Clone)]
enum Requests {
    V5(v5::Requests),
    V4(v4::Requests),
}

impl Requests {
    fn try_publish(&self, message: &Message) -> Result<Receipt, NotTaken> {
        match self {
            Self::V5(requests) => requests.try_publish(message).map(Receipt::V5),
            Self::V4(requests) => requests.try_publish(message).map(Receipt::V4),
        }
    }
}

/// The polling half, by version.
enum Events {
    V5(Box<v5::Events>),
    V4(Box<v4::Events>),
}

/// A promise of what became of a publish.
pub(super) enum Receipt {
    V5(v5::Receipt),
    V4(v4::Receipt),
}

impl Receipt {
    /// Waits until it is known.
    pub(super) async fn outcome(self) -> Outcome {
        match self {
            Self::V5(receipt) => receipt.outcome().await,
            Self::V4(receipt) => receipt.outcome().await,
        }
    }
}

/// Both halves of a connection, for the task that polls it.
pub(super) struct Connection {
    requests: Requests,
    events: Events,
}

impl Connection {
    /// Ready to connect at the first [`Self::next`].
    pub(super) fn new(settings: &ConnectSettings) -> Self {
        match settings.version {
            MqttVersion::V5 => {
                let (requests, events) = v5::open(settings);
                Self { requests: Requests::V5(requests), events: Events::V5(Box::new(events)) }
            }
            MqttVersion::V311 => {
                let (requests, events) = v4::open(settings);
                Self { requests: Requests::V4(requests), events: Events::V4(Box::new(events)) }
            }
        }
    }

    /// The next thing that happens; connects if need be. After a failure it may be called again.
    pub(super) async fn next(&mut self) -> Result<Step, Failure> {
        match &mut self.events {
            Events::V5(events) => events.next().await,
            Events::V4(events) => events.next().await,
        }
    }

    fn set_will(&mut self, will: WillMessage) {
        match &mut self.events {
            Events::V5(events) => events.set_will(will),
            Events::V4(events) => events.set_will(will),
        }
    }

    /// From now on the broker may have our session: resume it, or a short cut would set off the will.
    fn resume_session(&mut self) {
        match &mut self.events {
            Events::V5(events) => events.resume_session(),
            // There the will speaks at once, and a session would stay for ever.
            Events::V4(_) => {}
        }
    }

    /// Publishes as `class` says, without waiting for the acknowledgement.
    ///
    /// # Errors
    /// Why the client does not take it.
    pub(super) fn try_publish_as(&self, class: Class, topic: String, payload: Vec<u8>) -> Result<(), String> {
        let message = Message { class, topic, boot_id: "".into(), seq: 0, payload, correlation_data: None };
        match self.requests.try_publish(&message) {
            Ok(_receipt) => Ok(()),
            Err(NotTaken) => Err("too much waits to be sent".to_owned()),
        }
    }

    /// Subscribes, without waiting for the answer.
    ///
    /// # Errors
    /// Why the client does not take it.
    pub(super) fn try_subscribe(&self, subscriptions: &[Subscription]) -> Result<(), String> {
        match &self.requests {
            Requests::V5(requests) => requests.try_subscribe(subscriptions),
            Requests::V4(requests) => requests.try_subscribe(subscriptions),
        }
    }
}

/// The client and the task that polls it.
pub(super) struct Client {
    requests: Requests,
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
    pub(super) output: Option<Sender<Arrived>>,
    /// Where Home Assistant says that it came, and who wants to know.
    pub(super) home: Option<(String, Publisher)>,
}

impl Client {
    /// Starts to connect; returns at once.
    pub(super) fn start(settings: &PublishSettings, will: Will, ear: Option<Ear>, first_session: u64) -> Self {
        let connection = Connection::new(&ConnectSettings {
            broker: settings.broker.clone(),
            client_id: format!("perceptd-{}-{}", settings.fleet, settings.robot),
            version: settings.version,
            tls: settings.tls.clone(),
            credentials: settings.credentials.clone(),
            keep_alive: settings.keep_alive,
            session_expiry: Some(settings.session_expiry),
            max_in_flight: settings.max_in_flight.saturating_add(8),
        });
        let requests = connection.requests.clone();
        let (link_sender, link) = watch::channel(Link::Down);
        let (first, longest) = settings.reconnect;
        let polling = Polling {
            connection,
            link: link_sender,
            backoff: Backoff::new(first, longest, time::now().nanos().unsigned_abs()),
            will,
            ear,
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
        self.requests.try_publish(message)
    }

    /// Says DISCONNECT, if there is a connection, and ends the polling task within `limit`.
    ///
    /// # Errors
    /// When the polling task panicked.
    pub(super) async fn close(mut self, limit: Duration) -> Result<(), PublishError> {
        let is_up = self.link() != Link::Down;
        let is_leaving = is_up
            && match &self.requests {
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

/// Why a login failed, for people.
const BAD_LOGIN: &str =
    "the broker refuses the login: look at [mqtt] username and password_file, or at the broker's access rules";

/// A failure of TLS in words that say what to do; others as they are.
fn explain(why: &str) -> String {
    let says = |word: &str| why.contains(word);
    let what = if says("UnknownIssuer") {
        "the broker's certificate is not signed by the CA in [mqtt] ca_file"
    } else if says("Expired") || says("certificate expired") {
        "the broker's certificate has expired, or this machine's clock is wrong"
    } else if says("NotValidYet") {
        "the broker's certificate is not valid yet, or this machine's clock is wrong"
    } else if says("NotValidForName") || says("not valid for name") {
        "the broker's certificate is for another name than [mqtt] host"
    } else if says("No valid CA") {
        "there is no certificate in [mqtt] ca_file"
    } else if says("CertificateRequired") {
        "the broker wants a client certificate: set [mqtt] client_cert_file and client_key_file"
    } else {
        return why.to_owned();
    };
    format!("{what} ({why})")
}

/// The TCP connection to `address`, which notices a peer that is gone.
async fn connect(address: String) -> std::io::Result<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(stream)
}

/// The task that polls.
struct Polling {
    connection: Connection,
    link: watch::Sender<Link>,
    backoff: Backoff,
    will: Will,
    ear: Option<Ear>,
    session_number: u64,
    broker: String,
    /// The trouble that was logged last; empty when all is well.
    trouble: String,
    connected_at: Option<time::MonoTime>,
}

impl Polling {
    async fn run(mut self) {
        self.connection.set_will(self.will.of(self.session_number));
        loop {
            match self.connection.next().await {
                Ok(Step::Connected { receive_maximum, max_packet_bytes }) => {
                    self.connected(receive_maximum, max_packet_bytes);
                }
                Ok(Step::Subscribed { refused: Some(why) }) => self.not_subscribed(&why),
                Ok(Step::Arrived(arrived)) => self.hand_on(arrived),
                Ok(Step::Subscribed { refused: None } | Step::Other) => {}
                Ok(Step::Ended) => return,
                Err(Failure(why)) => {
                    self.lost(&why);
                    let wait = self.backoff.next_wait();
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn connected(&mut self, receive_maximum: u16, max_packet_bytes: u32) {
        tracing::info!("connected to the broker at {}", self.broker);
        self.trouble.clear();
        self.connected_at = Some(time::now());
        self.connection.resume_session();
        if let Some(ear) = &self.ear
            && let Err(why) = self.connection.try_subscribe(&ear.subscriptions)
        {
            self.not_subscribed(&why);
        }
        self.link.send_replace(Link::Up { session_number: self.session_number, receive_maximum, max_packet_bytes });
    }

    fn not_subscribed(&self, why: &str) {
        tracing::warn!(
            "nothing can be set by topic: the broker at {} refuses a subscription ({why}); its access rules may forbid it",
            self.broker
        );
    }

    fn hand_on(&mut self, arrived: Arrived) {
        let Some(ear) = &mut self.ear else { return };
        match (&ear.home, &ear.output) {
            (Some((topic, publisher)), _) if *topic == arrived.topic => {
                if arrived.payload == home_assistant::BIRTH {
                    publisher.home_assistant_came();
                }
            }
            // An inbox that is gone listens to nothing more.
            (_, Some(output)) if output.send(arrived).is_err() => ear.output = None,
            _ => {}
        }
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
        self.connection.set_will(self.will.of(self.session_number));
    }
}
