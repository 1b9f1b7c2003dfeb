//! Domain → protobuf.

use std::collections::BTreeMap;

use prost::Message as _;

use super::proto;
use crate::events::{EndReason, Event, Phase};
use crate::modality::{Modality, SensorId};
use crate::publish::{EmbeddingReading, HealthReading, JointReading, MqttVersion, Outbox, OutboxCounts, RefusalReason};
use crate::space::Score;
use crate::telemetry::{SensorReading, SensorState};
use crate::time::{MonoTime, NANOS_PER_SEC, Timeline};

/// What every message starts with.
#[derive(Clone, Copy)]
pub(in crate::publish) struct Envelope<'a> {
    pub(in crate::publish) timeline: &'a Timeline,
    pub(in crate::publish) seq: u64,
}

impl Envelope<'_> {
    pub(super) fn boot_id(&self) -> String {
        self.timeline.boot_id.to_string()
    }

    pub(super) const fn stamp(&self, at: MonoTime) -> Option<proto::Stamp> {
        Some(proto::Stamp { mono_nanos: at.nanos(), unix_nanos: self.timeline.unix_nanos(at) })
    }

    pub(in crate::publish) fn embedding(&self, reading: &EmbeddingReading<'_>) -> Vec<u8> {
        self.embedding_message(reading).encode_to_vec()
    }

    pub(super) fn embedding_message(&self, reading: &EmbeddingReading<'_>) -> proto::Embedding {
        let presence = reading.presence;
        proto::Embedding {
            boot_id: self.boot_id(),
            seq: self.seq,
            sensor: reading.sensor.to_string(),
            modality: modality(reading.embedding.modality),
            space_id: reading.embedding.space.to_string(),
            window_index: reading.window_index,
            start: self.stamp(reading.span.start),
            end: self.stamp(reading.span.end),
            presence: Some(proto::Presence {
                count: presence.count,
                expected: presence.expected,
                longest_gap_secs: presence.longest_gap_secs,
                skew_secs: presence.skew_secs,
                measured_rows: presence.measured_rows,
            }),
            vector: reading.embedding.vector.to_vec(),
        }
    }

    pub(in crate::publish) fn joint(&self, reading: &JointReading<'_>) -> Vec<u8> {
        let used = reading.parts.iter().filter(|share| share.used);
        proto::JointEmbedding {
            boot_id: self.boot_id(),
            seq: self.seq,
            space_id: reading.space.to_string(),
            index: reading.index,
            at: self.stamp(reading.at),
            mask: used.fold(0, |mask, share| mask | 1 << (modality(share.modality) - 1)),
            members: reading
                .parts
                .iter()
                .map(|share| proto::JointMember {
                    sensor: share.sensor.to_string(),
                    modality: modality(share.modality),
                    weight: share.weight,
                    age_secs: share.age_secs,
                    used: share.used,
                })
                .collect(),
            vector: reading.vector.to_vec(),
        }
        .encode_to_vec()
    }

    pub(in crate::publish) fn event(&self, event: &Event) -> Vec<u8> {
        self.event_message(event, self.seq).encode_to_vec()
    }

    pub(in crate::publish) fn active(&self, events: &[Event]) -> Vec<u8> {
        proto::ActiveEvents {
            boot_id: self.boot_id(),
            seq: self.seq,
            events: events.iter().map(|event| self.event_message(event, 0)).collect(),
        }
        .encode_to_vec()
    }

    fn event_message(&self, event: &Event, seq: u64) -> proto::Event {
        let (phase, end_reason) = phase(event.phase);
        let (frame_width_px, frame_height_px) = event.frame_size_px.unwrap_or_default();
        proto::Event {
            boot_id: self.boot_id(),
            seq,
            id: event.id.hyphenated().to_string(),
            revision: event.revision,
            phase,
            end_reason,
            prompt: event.prompt.to_string(),
            sensor: event.sensor.to_string(),
            modality: modality(event.modality),
            onset: self.stamp(event.onset),
            last_support: self.stamp(event.last_support),
            score: score(event.score),
            best: score(event.best),
            boxes: event
                .boxes
                .iter()
                .map(|(b, calibrated)| proto::PixelBox {
                    x0: b.x0,
                    y0: b.y0,
                    x1: b.x1,
                    y1: b.y1,
                    calibrated: *calibrated,
                })
                .collect(),
            frame_width_px,
            frame_height_px,
            evidence: vec![proto::Evidence {
                sensor: event.sensor.to_string(),
                modality: modality(event.modality),
                score: score(event.score),
                best: score(event.best),
            }],
        }
    }

    pub(in crate::publish) fn status(&self, status: &StatusFacts<'_>) -> Vec<u8> {
        let (state, at) = match status.state {
            PresenceState::Running(at) => (proto::PresenceState::Running, self.stamp(at)),
            PresenceState::Stopped(at) => (proto::PresenceState::Stopped, self.stamp(at)),
            PresenceState::Lost => (proto::PresenceState::Lost, None),
        };
        proto::Status {
            boot_id: self.boot_id(),
            seq: self.seq,
            state: state.into(),
            session_number: status.session_number,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            space_id: status.space.to_owned(),
            dim: status.dim,
            sensors: status
                .sensors
                .iter()
                .map(|(sensor, sense)| proto::SensorInfo { sensor: sensor.to_string(), modality: modality(*sense) })
                .collect(),
            capabilities: status.capabilities.iter().map(|&name| name.to_owned()).collect(),
            first_seq: status.first_seq,
            at,
        }
        .encode_to_vec()
    }

    pub(in crate::publish) fn health(&self, facts: &HealthFacts<'_>) -> Vec<u8> {
        let HealthFacts { reading, period_secs, .. } = *facts;
        let OutboxFacts { counts, .. } = facts.outbox;
        proto::Health {
            boot_id: self.boot_id(),
            seq: self.seq,
            at: self.stamp(reading.at),
            period_secs,
            sensors: facts.sensors.iter().map(|sensor| sensor_health(sensor, reading.at, period_secs)).collect(),
            queues: reading
                .queues
                .iter()
                .map(|queue| proto::QueueHealth {
                    queue: queue.queue.clone(),
                    depth: saturated(queue.depth),
                    capacity: saturated(queue.capacity),
                })
                .collect(),
            outbox: Some(proto::OutboxHealth {
                waiting: facts.outbox.waiting as u64,
                waiting_bytes: facts.outbox.bytes as u64,
                accepted: counts.accepted,
                delivered: counts.delivered,
                dropped: counts.dropped,
                unclaimed: counts.unclaimed,
                refused: counts.refused,
                durable: facts.outbox.is_durable,
                recovered: counts.recovered,
                again: counts.again,
                kept: facts.outbox.kept as u64,
                unwritten: counts.unwritten,
                damaged: counts.damaged,
                failed_syncs: facts.outbox.failed_syncs,
            }),
            process: Some(proto::ProcessHealth {
                memory_bytes: reading.memory_bytes,
                cpu_cores: rate(facts.cpu_nanos_in_period as f64 / NANOS_PER_SEC as f64, period_secs),
                uptime_secs: facts.uptime_secs,
            }),
            joint_replaced: facts.joint_replaced,
            mqtt_version: facts.version.map_or("", MqttVersion::name).to_owned(),
            control: Some(proto::ControlHealth {
                refused: facts.refusals.iter().map(|(reason, count)| (reason.name().to_owned(), *count)).collect(),
                arrivals_dropped: facts.arrivals_dropped,
                replies_dropped: facts.replies_dropped,
            }),
        }
        .encode_to_vec()
    }
}

/// Whether perceptd is there; a will has no time.
#[derive(Clone, Copy)]
pub(in crate::publish) enum PresenceState {
    Running(MonoTime),
    Stopped(MonoTime),
    Lost,
}

/// What a `Status` says.
pub(in crate::publish) struct StatusFacts<'a> {
    pub(in crate::publish) state: PresenceState,
    pub(in crate::publish) session_number: u64,
    pub(in crate::publish) space: &'a str,
    pub(in crate::publish) dim: u32,
    pub(in crate::publish) sensors: &'a [(SensorId, Modality)],
    pub(in crate::publish) capabilities: &'a [&'a str],
    pub(in crate::publish) first_seq: u64,
}

/// One sensor's counters now, and at the health before.
pub(in crate::publish) struct SensorFacts {
    pub(in crate::publish) sensor: SensorId,
    pub(in crate::publish) modality: Modality,
    pub(in crate::publish) now: SensorReading,
    pub(in crate::publish) before: Option<SensorReading>,
}

/// What a `Health` says of the outbox.
#[derive(Clone, Copy)]
pub(in crate::publish) struct OutboxFacts {
    counts: OutboxCounts,
    waiting: usize,
    bytes: usize,
    is_durable: bool,
    kept: usize,
    failed_syncs: u64,
}

impl OutboxFacts {
    pub(in crate::publish) fn of(outbox: &Outbox) -> Self {
        Self {
            counts: outbox.counts(),
            waiting: outbox.len(),
            bytes: outbox.bytes(),
            is_durable: outbox.is_durable(),
            kept: outbox.kept(),
            failed_syncs: outbox.failed_syncs(),
        }
    }
}

/// What a `Health` says.
pub(in crate::publish) struct HealthFacts<'a> {
    pub(in crate::publish) reading: &'a HealthReading,
    pub(in crate::publish) period_secs: f64,
    pub(in crate::publish) uptime_secs: f64,
    pub(in crate::publish) cpu_nanos_in_period: i64,
    pub(in crate::publish) sensors: &'a [SensorFacts],
    pub(in crate::publish) outbox: OutboxFacts,
    pub(in crate::publish) joint_replaced: u64,
    pub(in crate::publish) refusals: &'a BTreeMap<RefusalReason, u64>,
    pub(in crate::publish) arrivals_dropped: u64,
    pub(in crate::publish) replies_dropped: u64,
    pub(in crate::publish) version: Option<MqttVersion>,
}

fn sensor_health(facts: &SensorFacts, at: MonoTime, period_secs: f64) -> proto::SensorHealth {
    let now = &facts.now;
    let since =
        |count: u64, before: fn(&SensorReading) -> u64| count.saturating_sub(facts.before.as_ref().map_or(0, before));
    let embeddings = since(now.embeddings, |before| before.embeddings);
    let encode_nanos = since(now.encode_nanos, |before| before.encode_nanos);
    let state = match now.state {
        SensorState::Starting => proto::SensorState::Starting,
        SensorState::Ok => proto::SensorState::Ok,
        SensorState::Stalled(_) => proto::SensorState::Stalled,
        SensorState::Lost(_) => proto::SensorState::Lost,
    };
    proto::SensorHealth {
        sensor: facts.sensor.to_string(),
        modality: modality(facts.modality),
        state: state.into(),
        reason: now.state.reason().to_owned(),
        samples_per_sec: rate(since(now.samples, |before| before.samples) as f64, period_secs),
        windows_per_sec: rate(since(now.windows, |before| before.windows) as f64, period_secs),
        embeddings_per_sec: rate(embeddings as f64, period_secs),
        encode_millis: rate(encode_nanos as f64 / 1e6, embeddings as f64),
        samples: now.samples,
        windows: now.windows,
        embeddings: now.embeddings,
        gaps: now.gaps,
        drops: now.drops.iter().map(|(reason, count)| (reason.name().to_owned(), *count)).collect(),
        last_sample_age_secs: now.last_sample_at.map(|last| at.nanos_since(last) as f64 / NANOS_PER_SEC as f64),
    }
}

fn rate(amount: f64, per: f64) -> f64 {
    if per > 0.0 { amount / per } else { 0.0 }
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) fn score(score: Score) -> Option<proto::Score> {
    let Score { raw, calibrated, threshold, bank_revision } = score;
    Some(proto::Score { raw, calibrated, threshold, bank_revision })
}

pub(super) fn modality(sense: Modality) -> i32 {
    match sense {
        Modality::Image => proto::Modality::Image,
        Modality::Audio => proto::Modality::Audio,
        Modality::Thermal => proto::Modality::Thermal,
        Modality::Depth => proto::Modality::Depth,
        Modality::Imu => proto::Modality::Imu,
        Modality::Text => proto::Modality::Text,
    }
    .into()
}

fn phase(phase: Phase) -> (i32, i32) {
    let (phase, reason) = match phase {
        Phase::New => (proto::Phase::New, proto::EndReason::Unspecified),
        Phase::Update => (proto::Phase::Update, proto::EndReason::Unspecified),
        Phase::End(EndReason::Quiet) => (proto::Phase::End, proto::EndReason::Quiet),
        Phase::End(EndReason::Timeout) => (proto::Phase::End, proto::EndReason::Timeout),
        Phase::End(EndReason::SourceLost) => (proto::Phase::End, proto::EndReason::SourceLost),
        Phase::End(EndReason::PromptRemoved) => (proto::Phase::End, proto::EndReason::PromptRemoved),
        Phase::End(EndReason::Shutdown) => (proto::Phase::End, proto::EndReason::Shutdown),
        Phase::End(EndReason::CrashRecovered) => (proto::Phase::End, proto::EndReason::CrashRecovered),
    };
    (phase.into(), reason.into())
}
