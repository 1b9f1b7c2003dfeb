//! Hears what perceptd publishes, as any subscriber does: through a broker.
//!
//! For `perceptd demo` and `watch`, and for tests. It keeps no session: what is published while it is away it does not hear.

use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{Packet, Publish};
use rumqttc::{AsyncClient, Event, EventLoop};

use super::client;
use super::heard::Heard;
use super::topics::class_of;
use super::wire;
use super::{BrokerAddress, Credentials};
use crate::backoff::Backoff;
use crate::time;

/// Where and what to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberSettings {
    /// The broker.
    pub broker: BrokerAddress,
    /// Name and password for the broker, if it wants them.
    pub credentials: Option<Credentials>,
    /// Topic filter, such as [`super::ALL_ROBOTS`] or [`super::Topics::everything`].
    pub filter: String,
}

/// A subscriber. Reconnects for ever; see [`Heard::Connected`] and [`Heard::Disconnected`].
pub struct Subscriber {
    requests: AsyncClient,
    events: EventLoop,
    filter: String,
    backoff: Backoff,
    is_lost: bool,
}

impl Subscriber {
    /// Ready to connect at the first [`Self::next`].
    #[must_use]
    pub fn new(settings: SubscriberSettings) -> Self {
        let client_id = format!("perceptd-watch-{:016x}", fastrand::u64(..));
        let mut options = client::options(&settings.broker, client_id, Duration::from_secs(8));
        if let Some(credentials) = settings.credentials {
            options.set_credentials(credentials.username, credentials.password);
        }
        // It publishes nothing, and the client looks through all that could be in flight whenever it flushes.
        options.set_outgoing_inflight_upper_limit(8);
        let (requests, events) = AsyncClient::builder(options).capacity(16).build();
        let seed = time::now().nanos().unsigned_abs();
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), seed);
        Self { requests, events, filter: settings.filter, backoff, is_lost: false }
    }

    /// Waits for the next thing to hear.
    pub async fn next(&mut self) -> Heard {
        loop {
            if self.is_lost {
                tokio::time::sleep(self.backoff.next_wait()).await;
                self.is_lost = false;
            }
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    // Sixteen requests of room, and this is the only one.
                    if let Err(error) = self.requests.try_subscribe(self.filter.as_str(), QoS::AtLeastOnce) {
                        return self.lost(format!("cannot subscribe to `{}`: {error}", self.filter));
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    self.backoff.reset();
                    return match ack.return_codes.iter().find(|code| !is_granted(code)) {
                        None => Heard::Connected,
                        Some(code) => self.lost(format!("the broker refuses the filter `{}`: {code:?}", self.filter)),
                    };
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    if let Some(heard) = hear(&publish) {
                        return heard;
                    }
                }
                Ok(_) => {}
                Err(error) => return self.lost(error.to_string()),
            }
        }
    }

    fn lost(&mut self, why: String) -> Heard {
        self.is_lost = true;
        Heard::Disconnected { why }
    }
}

const fn is_granted(code: &rumqttc::mqttbytes::v5::SubscribeReasonCode) -> bool {
    matches!(code, rumqttc::mqttbytes::v5::SubscribeReasonCode::Success(_))
}

/// A message as plain data; none for an emptied retained topic.
fn hear(publish: &Publish) -> Option<Heard> {
    let topic = String::from_utf8_lossy(&publish.topic);
    if publish.payload.is_empty() {
        return None;
    }
    let unreadable = |why: String| Heard::Unreadable { topic: topic.to_string(), why };
    Some(match class_of(&topic) {
        None => unreadable("not one of perceptd's topics".to_owned()),
        Some(class) => wire::hear(class, &publish.payload).unwrap_or_else(|error| unreadable(error.to_string())),
    })
}
