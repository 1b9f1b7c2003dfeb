//! A perceptd that only publishes, and ears that hear it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use perceptd::encoders::{Embedding, SpaceId};
use perceptd::events::{Event, Phase};
use perceptd::modality::{Modality, SensorId};
use perceptd::publish::{
    self, ALL_ROBOTS, Arrivals, BrokerAccess, BrokerAddress, ConfigReport, EmbeddingReading, Farewell, HealthReading,
    Heard, HeardEvent, HeardStatus, JointReading, MqttVersion, Post, PromptOrigin, PromptReport, PublishError,
    PublishParts, PublishSettings, Publisher, Subscriber, SubscriberSettings, Subscription,
};
use perceptd::space::{JointPart, Score};
use perceptd::store::{ConfigLedger, WishState};
use perceptd::telemetry::Telemetry;
use perceptd::time::{MonoTime, Span, Timeline};
use perceptd::windows::Presence;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::{AsyncClient, EventLoop, MqttOptions, PublishOptions, SubscribeFilterInput};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything here should take.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it took too long")
}

/// Waits until it holds.
pub(crate) async fn holds(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub(crate) fn sensor(name: &str) -> SensorId {
    SensorId::new(name).unwrap()
}

pub(crate) fn event(id: u128, revision: u32, prompt: &str) -> Event {
    let score = Score { raw: 0.1, calibrated: 0.9, threshold: 0.5, bank_revision: 1 };
    Event {
        id: uuid::Uuid::from_u128(id),
        revision,
        phase: if revision == 1 { Phase::New } else { Phase::Update },
        prompt: prompt.into(),
        sensor: sensor("front"),
        modality: Modality::Image,
        onset: MonoTime::from_nanos(10),
        last_support: MonoTime::from_nanos(20),
        score,
        best: score,
        boxes: Vec::new(),
        frame_size_px: None,
    }
}

pub(crate) struct Robot {
    pub(crate) publisher: Publisher,
    pub(crate) telemetry: Telemetry,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Farewell, PublishError>>,
}

impl Robot {
    pub(crate) fn start(broker: BrokerAddress, change: impl FnOnce(&mut PublishSettings)) -> Self {
        Self::start_as(broker, false, change)
    }

    pub(crate) fn start_as(broker: BrokerAddress, replay: bool, change: impl FnOnce(&mut PublishSettings)) -> Self {
        Self::start_with(broker, replay, change, |_| ()).0
    }

    /// One that also hears.
    pub(crate) fn start_listening(broker: BrokerAddress, subscriptions: Vec<Subscription>) -> (Self, Arrivals) {
        Self::start_with(broker, false, |_| {}, |post| post.subscribe(subscriptions))
    }

    /// The same, in this version of MQTT.
    pub(crate) fn start_listening_as(
        broker: BrokerAddress,
        version: MqttVersion,
        subscriptions: Vec<Subscription>,
    ) -> (Self, Arrivals) {
        let change = |settings: &mut PublishSettings| settings.broker.version = Some(version);
        Self::start_with(broker, false, change, |post| post.subscribe(subscriptions))
    }

    fn start_with<T>(
        broker: BrokerAddress,
        replay: bool,
        change: impl FnOnce(&mut PublishSettings),
        before: impl FnOnce(&mut Post) -> T,
    ) -> (Self, T) {
        let mut settings = PublishSettings::new(broker, "fleet", "robot");
        settings.reconnect = (Duration::from_millis(50), Duration::from_millis(200));
        change(&mut settings);
        let telemetry = Telemetry::default();
        let parts = PublishParts {
            timeline: Timeline { boot_id: "boot-1".into(), unix_nanos_at_zero: 0 },
            telemetry: telemetry.clone(),
            space: "space-1".into(),
            dim: 4,
            sensors: vec![(sensor("front"), Modality::Image), (sensor("mic"), Modality::Audio)],
            started_at: perceptd::time::now(),
            replay,
        };
        let (publisher, mut post) = publish::open(settings, parts).unwrap();
        let before = before(&mut post);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(post.run(async move { drop(stopped.await) }));
        (Self { publisher, telemetry, stop, task }, before)
    }

    pub(crate) fn say_embedding(&self, name: &str, window_index: u64) {
        let vector = Arc::from([0.5, 0.5, 0.5, 0.5]);
        let embedding = Embedding { space: "space-1".into(), modality: Modality::Image, vector };
        self.publisher.embedding(&EmbeddingReading {
            sensor: &sensor(name),
            window_index,
            span: Span::default(),
            presence: Presence::default(),
            embedding: &embedding,
        });
        self.publisher.send_vectors();
    }

    pub(crate) fn say_joint(&self, index: u64) {
        let space: SpaceId = "space-1".into();
        let shares =
            [JointPart { sensor: sensor("front"), modality: Modality::Image, weight: 1.0, age_secs: 0.1, used: true }];
        let at = MonoTime::from_nanos(10);
        self.publisher.joint(&JointReading { index, at, space: &space, vector: &[1.0, 0.0, 0.0, 0.0], parts: &shares });
        self.publisher.send_vectors();
    }

    /// Says that nothing came by topic yet, and that the file's prompt `dog` is looked for.
    pub(crate) fn say_reports(&self) {
        let (at, ledger) = (perceptd::time::now(), ConfigLedger::default());
        let report = ConfigReport { at, ledger: &ledger, faults: &[], in_force_json: "{}", file: "perceptd.toml" };
        self.publisher.config_reported(&report);
        let prompt = PromptReport {
            prompt: "dog".into(),
            state: WishState::Applied,
            faults: Vec::new(),
            digest: String::new(),
            origin: PromptOrigin::File,
            senses: vec![Modality::Image],
            p_false: 0.05,
            made_of: "text:dog".to_owned(),
        };
        self.publisher.prompt_reported(&prompt, at);
    }

    pub(crate) fn say_health(&self) {
        let at = perceptd::time::now();
        self.publisher.health(&HealthReading { at, queues: Vec::new(), memory_bytes: 1, cpu_nanos: 1 });
    }

    pub(crate) async fn stop(self) -> Farewell {
        self.stop.send(()).unwrap();
        soon(self.task).await.unwrap().unwrap()
    }

    /// Goes without a word.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// perceptd's own subscriber.
pub(crate) struct Ear(Subscriber);

impl Ear {
    pub(crate) async fn connected(broker: BrokerAddress) -> Self {
        Self::with(BrokerAccess::plain(broker)).await
    }

    pub(crate) async fn with(broker: BrokerAccess) -> Self {
        let mut ear = Self(Subscriber::new(SubscriberSettings { broker, filter: ALL_ROBOTS.to_owned() }));
        while ear.next().await != Heard::Connected {}
        ear
    }

    pub(crate) async fn next(&mut self) -> Heard {
        soon(self.0.next()).await
    }

    pub(crate) async fn next_status(&mut self) -> HeardStatus {
        loop {
            if let Heard::Status(status) = self.next().await {
                return status;
            }
        }
    }

    pub(crate) async fn next_event(&mut self) -> HeardEvent {
        loop {
            if let Heard::Event(event) = self.next().await {
                return event;
            }
        }
    }

    pub(crate) async fn status_within(&mut self, limit: Duration) -> Option<HeardStatus> {
        tokio::time::timeout(limit, self.next_status()).await.ok()
    }
}

/// What a packet says besides its payload.
#[derive(Debug)]
pub(crate) struct RawPacket {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) content_type: Option<String>,
    pub(crate) expiry_secs: Option<u32>,
    pub(crate) correlation_data: Option<Vec<u8>>,
    pub(crate) user: BTreeMap<String, String>,
}

/// A subscriber that looks at packets, with retain-as-published; it also publishes.
pub(crate) struct RawEar {
    events: EventLoop,
    requests: AsyncClient,
}

impl RawEar {
    pub(crate) async fn connected(broker: BrokerAddress) -> Self {
        Self::hearing(broker, ALL_ROBOTS).await
    }

    pub(crate) async fn hearing(broker: BrokerAddress, filter: &str) -> Self {
        let options = MqttOptions::new(format!("raw-{:x}", fastrand::u64(..)), (broker.host, broker.port));
        let (requests, events) = AsyncClient::builder(options).capacity(8).build();
        requests
            .subscribe_many([SubscribeFilterInput::new(filter, QoS::AtLeastOnce).preserve_retain(true)])
            .await
            .unwrap();
        let mut ear = Self { events, requests };
        while !matches!(ear.packet().await, Packet::SubAck(_)) {}
        ear
    }

    /// Publishes, and waits until the broker has it.
    pub(crate) async fn publish(&mut self, topic: &str, retain: bool, payload: &[u8]) {
        self.publish_with(topic, retain, payload, PublishProperties::default()).await;
    }

    /// Publishes a request with correlation data `id`, which expires after half a minute.
    pub(crate) async fn ask(&mut self, topic: &str, response_topic: &str, payload: &[u8]) {
        let properties = PublishProperties {
            response_topic: Some(response_topic.to_owned()),
            correlation_data: Some(b"id".to_vec().into()),
            message_expiry_interval: Some(30),
            ..PublishProperties::default()
        };
        self.publish_with(topic, false, payload, properties).await;
    }

    async fn publish_with(&mut self, topic: &str, retain: bool, payload: &[u8], properties: PublishProperties) {
        let options = PublishOptions::at_least_once().retain(retain).properties(properties);
        self.requests.publish(topic, payload, options).await.unwrap();
        while !matches!(self.packet().await, Packet::PubAck(_)) {}
    }

    async fn packet(&mut self) -> Packet {
        loop {
            if let rumqttc::Event::Incoming(packet) = soon(self.events.poll()).await.unwrap() {
                return packet;
            }
        }
    }

    pub(crate) async fn next(&mut self) -> RawPacket {
        loop {
            if let Packet::Publish(publish) = self.packet().await {
                let properties = publish.properties.unwrap_or_default();
                return RawPacket {
                    topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                    payload: publish.payload.to_vec(),
                    qos: publish.qos as u8,
                    retain: publish.retain,
                    content_type: properties.content_type,
                    expiry_secs: properties.message_expiry_interval,
                    correlation_data: properties.correlation_data.map(|data| data.to_vec()),
                    user: properties.user_properties.into_iter().collect(),
                };
            }
        }
    }
}
