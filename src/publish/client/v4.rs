//! MQTT 3.1.1: this file's words into the client crate's, and back. The only file that names `rumqttc_v4`.
//!
//! It has neither reasons nor properties: an acknowledgement counts as delivery, what arrives has no expiry and no response topic,
//! and the will speaks at once. A session lasts as long as its connection.

use std::time::Duration;

use rumqttc_v4::{
    AsyncClient, Broker, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, Publish,
    PublishNotice, PublishOptions, PublishResult, QoS, SubscribeFilter, SubscribeReasonCode, TlsConfiguration,
    Transport,
};

use super::MAX_PACKET_BYTES;
use super::connection::{self, ConnectSettings, Ended, NotTaken, REQUESTS, RefusedFilter, Step, WillMessage};
use crate::publish::arrivals::{Arrived, Subscription};
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
    options.set_max_packet_size(MAX_PACKET_BYTES as usize, MAX_PACKET_BYTES as usize);
    options.set_clean_session(true);
    options.set_inflight(settings.max_in_flight);
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
        let options = PublishOptions::new(qos(rule.qos)).retain(rule.retained);
        match self.0.try_publish_tracked(message.topic.as_str(), message.payload.as_slice(), options) {
            Ok(notice) => Ok(Receipt(notice)),
            Err(error) => {
                tracing::debug!("the MQTT client takes no message now: {error}");
                Err(NotTaken)
            }
        }
    }

    pub(super) fn try_subscribe(&self, subscriptions: &[Subscription]) -> Result<(), String> {
        let filters = subscriptions
            .iter()
            .map(|subscription| SubscribeFilter::new(subscription.filter.clone(), QoS::AtLeastOnce));
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
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                Step::Connected { receive_maximum: u16::MAX, max_packet_bytes: MAX_PACKET_BYTES }
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let is_success = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                Step::Subscribed { refused: RefusedFilter::among(&ack.return_codes, is_success) }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => Step::Arrived(arrived(&publish)),
            Ok(_) => Step::Other,
            Err(ConnectionError::RequestsDone) => Step::Ended,
            Err(ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            )) => return Err(Ended::refused(connection::BAD_LOGIN.to_owned())),
            Err(error) => return Err(Ended::by(&error, false)),
        })
    }

    pub(super) fn set_will(&mut self, will: WillMessage) {
        self.0.mqtt_options.set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, true));
    }
}

fn arrived(publish: &Publish) -> Arrived {
    Arrived {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload.to_vec(),
        retained: publish.retain,
        duplicate: publish.dup,
        ..Arrived::default()
    }
}

/// A promise of what became of a publish.
pub(in crate::publish) struct Receipt(PublishNotice);

impl Receipt {
    pub(super) async fn outcome(self) -> Outcome {
        match self.0.wait_async().await {
            Ok(PublishResult::Qos0Flushed | PublishResult::Qos1(_)) => Outcome::Delivered,
            Ok(PublishResult::Qos2Completed(_)) => Outcome::Refused,
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
