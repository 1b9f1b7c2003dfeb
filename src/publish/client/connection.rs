//! A connection to the broker in whichever version it speaks, and its end in words for people.

use std::fmt::Debug;
use std::time::Duration;

use super::version::{Choice, Next, Sign};
use super::{v4, v5};
use crate::publish::arrivals::{Arrived, Subscription};
use crate::publish::desk::Message;
use crate::publish::outbox::Outcome;
use crate::publish::topics::Class;
use crate::publish::{BrokerAccess, MqttVersion};
use crate::time;

/// Room for requests; far more than may be in flight, so that it is never full.
pub(super) const REQUESTS: usize = 256;
/// So many packets that wait together go in as few writes as their bytes allow.
pub(super) const SENT_TOGETHER: usize = 16;
/// How long an attempt to connect may take.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Sent data that nobody acknowledges for so long ends the connection. Vectors that flow keep MQTT's own keep-alive from asking.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// The registered media type of protobuf (RFC 9996).
pub(super) const CONTENT_TYPE: &str = "application/protobuf";

/// The media type of what `class` carries.
pub(super) const fn content_type(class: Class) -> &'static str {
    if class.is_protobuf() { CONTENT_TYPE } else { class.rule().message }
}

/// The broker does not take a message now.
pub(in crate::publish) struct NotTaken;

/// Where and as whom to connect.
pub(in crate::publish) struct ConnectSettings {
    pub(in crate::publish) broker: BrokerAccess,
    pub(in crate::publish) client_id: String,
    pub(in crate::publish) keep_alive: Duration,
    /// None ends the session with its connection.
    pub(in crate::publish) session_expiry: Option<Duration>,
    pub(in crate::publish) max_in_flight: u16,
}

/// What polling gives.
pub(in crate::publish) enum Step {
    Connected {
        receive_maximum: u16,
        max_packet_bytes: u32,
    },
    /// The broker answered a subscription; the filters that it refused.
    Subscribed {
        refused: Vec<RefusedFilter>,
    },
    Arrived(Arrived),
    /// Nothing that matters here.
    Other,
    /// The client has said DISCONNECT.
    Ended,
}

/// A filter that the broker refused.
pub(in crate::publish) struct RefusedFilter {
    /// Its place among those that were asked for.
    place: usize,
    why: String,
}

impl RefusedFilter {
    /// Those whose codes are no success.
    pub(super) fn among<C: Debug>(codes: &[C], is_success: impl Fn(&C) -> bool) -> Vec<Self> {
        let refused = codes.iter().enumerate().filter(|(_, code)| !is_success(code));
        refused.map(|(place, code)| Self { place, why: format!("{code:?}") }).collect()
    }

    /// As `filter (why)`, of what was asked for.
    pub(in crate::publish) fn in_words(refused: &[Self], asked: &[Subscription]) -> String {
        let words = refused.iter().map(|Self { place, why }| {
            let filter = asked.get(*place).map_or("a topic", |subscription| &subscription.filter);
            format!("{filter} ({why})")
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Why there is no connection.
pub(in crate::publish) struct Failure(pub(in crate::publish) String);

/// How a connection, or an attempt, ended.
pub(super) struct Ended {
    pub(super) why: String,
    pub(super) sign: Sign,
}

impl Ended {
    /// The broker refuses CONNECT for a reason that says nothing about versions.
    pub(super) const fn refused(why: String) -> Self {
        Self { why, sign: Sign::Silent }
    }

    /// The connection ended; `error` says how.
    pub(super) fn by(error: &impl ToString, is_closed: bool) -> Self {
        Self { why: explain(&error.to_string()), sign: if is_closed { Sign::Closed } else { Sign::Silent } }
    }
}

/// A will as it goes to the broker with each attempt to connect.
#[derive(Clone)]
pub(in crate::publish) struct WillMessage {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) delay: Duration,
    pub(super) message: &'static str,
}

/// What goes to the polling half, by version.
#[derive(Clone)]
pub(super) enum Requests {
    V5(v5::Requests),
    V4(v4::Requests),
}

impl Requests {
    pub(super) fn try_publish(&self, message: &Message) -> Result<Receipt, NotTaken> {
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
pub(in crate::publish) enum Receipt {
    V5(v5::Receipt),
    V4(v4::Receipt),
}

impl Receipt {
    /// Waits until it is known.
    pub(in crate::publish) async fn outcome(self) -> Outcome {
        match self {
            Self::V5(receipt) => receipt.outcome().await,
            Self::V4(receipt) => receipt.outcome().await,
        }
    }
}

/// Both halves of a connection, for the task that polls it.
pub(in crate::publish) struct Connection {
    settings: ConnectSettings,
    pub(super) choice: Choice,
    pub(super) requests: Requests,
    events: Events,
    will: Option<WillMessage>,
    is_up: bool,
}

impl Connection {
    /// Ready to connect at the first [`Self::next`].
    pub(in crate::publish) fn new(settings: ConnectSettings) -> Self {
        let choice = Choice::new(settings.broker.version);
        let (requests, events) = open(choice.version(), &settings);
        Self { settings, choice, requests, events, will: None, is_up: false }
    }

    /// The next thing that happens; connects if need be. After a failure it may be called again.
    pub(in crate::publish) async fn next(&mut self) -> Result<Step, Failure> {
        loop {
            let step = match &mut self.events {
                Events::V5(events) => events.next().await,
                Events::V4(events) => events.next().await,
            };
            match step {
                Ok(step) => {
                    if matches!(step, Step::Connected { .. }) {
                        self.choice.connected();
                        self.is_up = true;
                    }
                    return Ok(step);
                }
                Err(Ended { why, sign }) => {
                    let next = self.ended(sign);
                    if next == Next::Lost {
                        return Err(Failure(why));
                    }
                }
            }
        }
    }

    /// Looks which version to speak from now on.
    fn ended(&mut self, sign: Sign) -> Next {
        let sign = if std::mem::take(&mut self.is_up) { Sign::Silent } else { sign };
        let before = self.choice.version();
        let next = self.choice.ended(sign, time::now());
        if self.choice.version() != before {
            (self.requests, self.events) = open(self.choice.version(), &self.settings);
            if let Some(will) = self.will.take() {
                self.set_will(will);
            }
        }
        next
    }

    pub(super) fn set_will(&mut self, will: WillMessage) {
        self.will = Some(will.clone());
        match &mut self.events {
            Events::V5(events) => events.set_will(will),
            Events::V4(events) => events.set_will(will),
        }
    }

    /// From now on the broker may have our session: resume it, or a short cut would set off the will.
    pub(super) fn resume_session(&mut self) {
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
    pub(in crate::publish) fn try_publish_as(
        &self,
        class: Class,
        topic: String,
        payload: Vec<u8>,
    ) -> Result<(), String> {
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
    pub(in crate::publish) fn try_subscribe(&self, subscriptions: &[Subscription]) -> Result<(), String> {
        match &self.requests {
            Requests::V5(requests) => requests.try_subscribe(subscriptions),
            Requests::V4(requests) => requests.try_subscribe(subscriptions),
        }
    }
}

/// A client of one version that is not connected yet.
fn open(version: MqttVersion, settings: &ConnectSettings) -> (Requests, Events) {
    match version {
        MqttVersion::V5 => {
            let (requests, events) = v5::open(settings);
            (Requests::V5(requests), Events::V5(Box::new(events)))
        }
        MqttVersion::V311 => {
            let (requests, events) = v4::open(settings);
            (Requests::V4(requests), Events::V4(Box::new(events)))
        }
    }
}

/// Why a login failed, for people.
pub(super) const BAD_LOGIN: &str =
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
    } else if says("CaUsedAsEndEntity") {
        "the broker's certificate is an authority's own, as `openssl req -x509` makes it: sign one for the broker with it, or make it anew with \
         -addext basicConstraints=critical,CA:FALSE"
    } else if says("No valid CA") {
        "there is no certificate in [mqtt] ca_file"
    } else if says("CertificateRequired") {
        "the broker wants a client certificate: set [mqtt] client_cert_file and client_key_file"
    } else if says("Websocket") {
        "nothing answers as a WebSocket for MQTT: look at [mqtt] host, port and websocket_path, or at the broker's listener"
    } else if says("packet format") {
        "what answers does not speak MQTT: look at [mqtt] host and port, and whether it is a WebSocket (websocket_path)"
    } else if says("closed by peer") {
        "the broker closed the connection"
    } else {
        return why.to_owned();
    };
    format!("{what} ({why})")
}

/// The TCP connection to `address`, which notices a peer that is gone.
pub(super) async fn connect(address: String) -> std::io::Result<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(stream)
}
