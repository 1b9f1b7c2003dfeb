//! Protobuf → [`Heard`].

use std::collections::BTreeMap;

use prost::Message as _;

use super::proto;
use crate::publish::heard::{
    Heard, HeardActive, HeardBox, HeardConfig, HeardEmbedding, HeardEvent, HeardHealth, HeardJoint, HeardMember,
    HeardPrompt, HeardSensor, HeardSensorInfo, HeardStatus,
};
use crate::publish::topics::Class;

/// An enumeration's value as a lower-case word: `PHASE_NEW` is `new`.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

fn sense_word(value: i32) -> String {
    proto::Modality::try_from(value).map_or_else(|_| value.to_string(), |sense| word(sense.as_str_name(), "MODALITY_"))
}

/// A message of `class` as plain data.
///
/// # Errors
/// When the bytes are not such a message.
pub(in crate::publish) fn hear(class: Class, payload: &[u8]) -> Result<Heard, prost::DecodeError> {
    Ok(match class {
        Class::Embedding => Heard::Embedding(proto::Embedding::decode(payload)?.into()),
        Class::Joint => Heard::Joint(proto::JointEmbedding::decode(payload)?.into()),
        Class::Event => Heard::Event(proto::Event::decode(payload)?.into()),
        Class::Active => Heard::Active(proto::ActiveEvents::decode(payload)?.into()),
        Class::Status => Heard::Status(proto::Status::decode(payload)?.into()),
        Class::Health => Heard::Health(proto::Health::decode(payload)?.into()),
        Class::ConfigReported => Heard::ConfigReported(proto::ConfigReported::decode(payload)?.into()),
        Class::PromptReported => Heard::PromptReported(proto::PromptReported::decode(payload)?.into()),
        Class::Reply
        | Class::ConfigDesired
        | Class::PromptDesired
        | Class::Command
        | Class::HomeState
        | Class::HomeDiscovery => Heard::ForOthers,
    })
}

impl From<proto::Embedding> for HeardEmbedding {
    fn from(message: proto::Embedding) -> Self {
        let end = message.end.unwrap_or_default();
        let presence = message.presence.unwrap_or_default();
        Self {
            boot_id: message.boot_id,
            seq: message.seq,
            sensor: message.sensor,
            modality: sense_word(message.modality),
            space_id: message.space_id,
            window_index: message.window_index,
            start_unix_nanos: message.start.unwrap_or_default().unix_nanos,
            end_unix_nanos: end.unix_nanos,
            end_mono_nanos: end.mono_nanos,
            count: presence.count,
            expected: presence.expected,
            measured_rows: presence.measured_rows,
            vector: message.vector,
        }
    }
}

impl From<proto::JointEmbedding> for HeardJoint {
    fn from(message: proto::JointEmbedding) -> Self {
        Self {
            boot_id: message.boot_id,
            seq: message.seq,
            space_id: message.space_id,
            index: message.index,
            at_unix_nanos: message.at.unwrap_or_default().unix_nanos,
            mask: message.mask,
            members: message.members.into_iter().map(Into::into).collect(),
            vector: message.vector,
        }
    }
}

impl From<proto::JointMember> for HeardMember {
    fn from(message: proto::JointMember) -> Self {
        let proto::JointMember { sensor, modality, weight, age_secs, used } = message;
        Self { sensor, modality: sense_word(modality), weight, age_secs, used }
    }
}

impl From<proto::Event> for HeardEvent {
    fn from(message: proto::Event) -> Self {
        let (onset, last_support) = (message.onset.unwrap_or_default(), message.last_support.unwrap_or_default());
        let score = message.score.unwrap_or_default();
        let end_reason = match message.end_reason() {
            proto::EndReason::Unspecified => String::new(),
            reason => word(reason.as_str_name(), "END_REASON_"),
        };
        Self {
            phase: word(message.phase().as_str_name(), "PHASE_"),
            end_reason,
            boot_id: message.boot_id,
            seq: message.seq,
            id: message.id,
            revision: message.revision,
            prompt: message.prompt,
            sensor: message.sensor,
            modality: sense_word(message.modality),
            onset_unix_nanos: onset.unix_nanos,
            onset_mono_nanos: onset.mono_nanos,
            last_support_unix_nanos: last_support.unix_nanos,
            last_support_mono_nanos: last_support.mono_nanos,
            raw: score.raw,
            calibrated: score.calibrated,
            best_calibrated: message.best.unwrap_or_default().calibrated,
            threshold: score.threshold,
            bank_revision: score.bank_revision,
            boxes: message
                .boxes
                .into_iter()
                .map(|b| HeardBox { corners_px: [b.x0, b.y0, b.x1, b.y1], calibrated: b.calibrated })
                .collect(),
            frame_size_px: [message.frame_width_px, message.frame_height_px],
        }
    }
}

fn problem_words(problems: Vec<proto::Problem>) -> Vec<String> {
    let words = problems.into_iter().map(|problem| match problem.key.as_str() {
        "" => problem.what,
        key => format!("{key}: {}", problem.what),
    });
    words.collect()
}

impl From<proto::ConfigReported> for HeardConfig {
    fn from(message: proto::ConfigReported) -> Self {
        Self {
            state: word(message.state().as_str_name(), "WISH_STATE_"),
            generation: message.generation,
            problems: problem_words(message.problems),
            generation_in_force: message.generation_in_force,
            changes_json: message.changes_json,
            changes_before_json: message.changes_before_json,
            in_force_json: message.in_force_json,
            file: message.file,
            digest: message.digest,
        }
    }
}

impl From<proto::PromptReported> for HeardPrompt {
    fn from(message: proto::PromptReported) -> Self {
        Self {
            state: word(message.state().as_str_name(), "WISH_STATE_"),
            origin: word(message.origin().as_str_name(), "PROMPT_ORIGIN_"),
            prompt: message.prompt,
            problems: problem_words(message.problems),
            digest: message.digest,
            senses: message.senses.into_iter().map(sense_word).collect(),
            p_false: message.p_false,
            made_of: message.made_of,
        }
    }
}

impl From<proto::ActiveEvents> for HeardActive {
    fn from(message: proto::ActiveEvents) -> Self {
        let proto::ActiveEvents { boot_id, seq, events } = message;
        Self { boot_id, seq, events: events.into_iter().map(Into::into).collect() }
    }
}

impl From<proto::Status> for HeardStatus {
    fn from(message: proto::Status) -> Self {
        Self {
            state: word(message.state().as_str_name(), "PRESENCE_STATE_"),
            boot_id: message.boot_id,
            seq: message.seq,
            session_number: message.session_number,
            version: message.version,
            space_id: message.space_id,
            dim: message.dim,
            sensors: message
                .sensors
                .into_iter()
                .map(|info| HeardSensorInfo { sensor: info.sensor, modality: sense_word(info.modality) })
                .collect(),
            capabilities: message.capabilities,
            first_seq: message.first_seq,
        }
    }
}

impl From<proto::SensorHealth> for HeardSensor {
    fn from(message: proto::SensorHealth) -> Self {
        Self {
            state: word(message.state().as_str_name(), "SENSOR_STATE_"),
            sensor: message.sensor,
            modality: sense_word(message.modality),
            reason: message.reason,
            samples_per_sec: message.samples_per_sec,
            embeddings_per_sec: message.embeddings_per_sec,
            encode_millis: message.encode_millis,
            embeddings: message.embeddings,
            gaps: message.gaps,
            drops: message.drops,
        }
    }
}

impl From<proto::Health> for HeardHealth {
    fn from(message: proto::Health) -> Self {
        let outbox = message.outbox.unwrap_or_default();
        let process = message.process.unwrap_or_default();
        let queues: BTreeMap<_, _> =
            message.queues.into_iter().map(|queue| (queue.queue, (queue.depth, queue.capacity))).collect();
        Self {
            boot_id: message.boot_id,
            seq: message.seq,
            at_unix_nanos: message.at.unwrap_or_default().unix_nanos,
            period_secs: message.period_secs,
            sensors: message.sensors.into_iter().map(Into::into).collect(),
            queues,
            outbox_waiting: outbox.waiting,
            outbox_dropped: outbox.dropped,
            outbox_delivered: outbox.delivered,
            mqtt_version: message.mqtt_version,
            memory_bytes: process.memory_bytes,
            cpu_cores: process.cpu_cores,
            uptime_secs: process.uptime_secs,
        }
    }
}
