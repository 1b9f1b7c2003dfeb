//! MQTT 5: this file's words into the client crate's, and back. The only file that names `rumqttc`, but for its TLS in `certificates`.

use std::time::Duration;

use rumqttc::mqttbytes::v5::{
    ConnAckProperties, ConnectReturnCode, LastWill, LastWillProperties, Packet, PubAckReason, Publish,
    PublishProperties, RetainForwardRule, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error as MqttError, QoS};
use rumqttc::{
    AsyncClient, Broker, ConnectionError, Event, EventLoop, MqttOptions, PublishNotice, PublishNoticeError,
    PublishOptions, PublishResult, StateError, SubscribeFilterInput, TlsConfiguration, Transport,
};

use super::MAX_PACKET_BYTES;
use super::connection::{
    self, CONTENT_TYPE, ConnectSettings, Ended, NotTaken, REQUESTS, RefusedFilter, Step, WillMessage, content_type,
};
use super::version::Sign;
use crate::publish::arrivals::{Arrived, RetainHandling, Subscription};
use crate::publish::desk::Message;
use crate::publish::outbox::Outcome;
use crate::publish::topics::Qos;

/// A client that is not connected yet.
pub(super) fn open(settings: &ConnectSettings) -> (Requests, Events) {
    let access = &settings.broker;
    let tcp = || Broker::tcp(access.address.host.clone(), access.address.port);
    // What makes no URL (a config refuses it) fails at each attempt: a WebSocket does not fit the address.
    let broker = access.websocket_url().and_then(|url| Broker::websocket(url).ok()).unwrap_or_else(tcp);
    let mut options = MqttOptions::new(settings.client_id.clone(), broker);
    options.set_keep_alive(u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX));
    options.set_max_packet_size(Some(MAX_PACKET_BYTES));
    options.set_connect_timeout(connection::CONNECT_WITHIN);
    options.set_session_expiry_interval(settings.session_expiry.map(whole_secs));
    options.set_outgoing_inflight_upper_limit(settings.max_in_flight);
    options.set_max_request_batch(connection::SENT_TOGETHER);
    options.set_socket_connector(|address, _| connection::connect(address));
    if let Some(credentials) = &access.credentials {
        options.set_credentials(credentials.username.clone(), credentials.password.clone());
    }
    let tls = access.tls.as_ref().map(|tls| {
        let (ca, client_auth) = (tls.ca_pem.clone(), tls.identity_pem.clone());
        TlsConfiguration::Simple { ca, alpn: None, client_auth }
    });
    options.set_transport(match (access.websocket_path.is_some(), tls) {
        (false, None) => Transport::tcp(),
        (false, Some(tls)) => Transport::tls_with_config(tls),
        (true, None) => Transport::ws(),
        (true, Some(tls)) => Transport::wss_with_config(tls),
    });
    let (requests, events) = AsyncClient::builder(options).capacity(REQUESTS).build();
    (Requests(requests), Events(events))
}

/// What goes to the polling half.
#[derive(Clone)]
pub(super) struct Requests(AsyncClient);

impl Requests {
    pub(super) fn try_publish(&self, message: &Message) -> Result<Receipt, NotTaken> {
        let rule = message.class.rule();
        let properties = PublishProperties {
            payload_format_indicator: Some(u8::from(!message.class.is_protobuf())),
            message_expiry_interval: rule.expiry_secs,
            content_type: Some(content_type(message.class).to_owned()),
            correlation_data: message.correlation_data.clone().map(Into::into),
            user_properties: vec![
                ("msg".to_owned(), rule.message.to_owned()),
                ("boot".to_owned(), message.boot_id.to_string()),
                ("seq".to_owned(), message.seq.to_string()),
            ],
            ..PublishProperties::default()
        };
        let options = PublishOptions::new(qos(rule.qos)).retain(rule.retained).properties(properties);
        match self.0.try_publish_tracked(message.topic.as_str(), message.payload.as_slice(), options) {
            Ok(notice) => Ok(Receipt(notice)),
            Err(error) => {
                tracing::debug!("the MQTT client takes no message now: {error}");
                Err(NotTaken)
            }
        }
    }

    pub(super) fn try_subscribe(&self, subscriptions: &[Subscription]) -> Result<(), String> {
        let filters = subscriptions.iter().map(|subscription| {
            let rule = match subscription.retain_handling {
                RetainHandling::EveryConnect => RetainForwardRule::OnEverySubscribe,
                RetainHandling::Never => RetainForwardRule::Never,
            };
            SubscribeFilterInput::new(subscription.filter.as_str(), QoS::AtLeastOnce)
                .preserve_retain(true)
                .retain_forward_rule(rule)
        });
        self.0.try_subscribe_many(filters).map_err(|error| error.to_string())
    }

    pub(super) fn try_disconnect(&self, limit: Duration) -> bool {
        self.0.try_disconnect_with_timeout(limit).is_ok()
    }
}

/// The polling half.
pub(super) struct Events(EventLoop);

impl Events {
    pub(super) async fn next(&mut self) -> Result<Step, Ended> {
        Ok(match self.0.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) => connected(ack.properties.as_ref()),
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let is_success = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                Step::Subscribed { refused: RefusedFilter::among(&ack.return_codes, is_success) }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => Step::Arrived(arrived(publish)),
            Ok(_) => Step::Other,
            Err(ConnectionError::RequestsDone) => Step::Ended,
            Err(ConnectionError::ConnectionRefused(code)) => return Err(refusal(code)),
            Err(error) => return Err(Ended::by(&error, is_closed(&error))),
        })
    }

    pub(super) fn set_will(&mut self, will: WillMessage) {
        let properties = LastWillProperties {
            delay_interval: Some(whole_secs(will.delay)),
            payload_format_indicator: Some(0),
            message_expiry_interval: None,
            content_type: Some(CONTENT_TYPE.to_owned()),
            response_topic: None,
            correlation_data: None,
            user_properties: vec![("msg".to_owned(), will.message.to_owned())],
        };
        self.0.options.set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, true, Some(properties)));
    }

    /// From now on the broker may have our session: resume it.
    pub(super) const fn resume_session(&mut self) {
        self.0.options.set_clean_start(false);
    }
}

fn refusal(code: ConnectReturnCode) -> Ended {
    match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            Ended::refused(connection::BAD_LOGIN.to_owned())
        }
        ConnectReturnCode::UnsupportedProtocolVersion | ConnectReturnCode::RefusedProtocolVersion => {
            let why = "the broker does not speak MQTT 5: set [mqtt] version = \"auto\" or \"3.1.1\"".to_owned();
            Ended { why, sign: Sign::Refused }
        }
        other => Ended::refused(format!("the broker refuses the connection: {other:?}")),
    }
}

/// Whether the broker ended the connection. A refusal of an old one is among these: what it says, four bytes, is no CONNACK of
/// MQTT 5. TLS that fails is not.
fn is_closed(error: &ConnectionError) -> bool {
    let is_no_alert = |error: &std::io::Error| error.kind() != std::io::ErrorKind::InvalidData;
    match error {
        ConnectionError::MqttState(StateError::ConnectionAborted) => true,
        ConnectionError::MqttState(StateError::Io(error) | StateError::Deserialization(MqttError::Io(error))) => {
            is_no_alert(error)
        }
        _ => false,
    }
}

fn connected(allows: Option<&ConnAckProperties>) -> Step {
    let max_packet_bytes = allows.and_then(|allows| allows.max_packet_size).unwrap_or(u32::MAX);
    Step::Connected {
        receive_maximum: allows.and_then(|allows| allows.receive_max).unwrap_or(u16::MAX),
        max_packet_bytes: max_packet_bytes.min(MAX_PACKET_BYTES),
    }
}

fn arrived(publish: Publish) -> Arrived {
    let properties = publish.properties.unwrap_or_default();
    Arrived {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload.to_vec(),
        retained: publish.retain,
        duplicate: publish.dup,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data.map(|data| data.to_vec()),
        expiry: properties.message_expiry_interval.map(|secs| Duration::from_secs(secs.into())),
    }
}

/// A promise of what became of a publish.
pub(in crate::publish) struct Receipt(PublishNotice);

impl Receipt {
    pub(super) async fn outcome(self) -> Outcome {
        match self.0.wait_async().await {
            Ok(PublishResult::Qos0Flushed) => Outcome::Delivered,
            Ok(PublishResult::Qos1(ack)) => match ack.reason {
                PubAckReason::Success => Outcome::Delivered,
                PubAckReason::NoMatchingSubscribers => Outcome::Unclaimed,
                _ => Outcome::Refused,
            },
            Ok(_) | Err(PublishNoticeError::RetainNotSupported) => Outcome::Refused,
            Err(_) => Outcome::Undone,
        }
    }
}

const fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

fn whole_secs(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
