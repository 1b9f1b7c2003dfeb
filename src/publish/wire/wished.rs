//! What an operator wishes → protobuf; the other end of `asked`.

use prost::Message as _;

use super::out::modality;
use super::proto;
use crate::modality::Modality;
use crate::publish::operator::PromptSpec;

/// A `ConfigDesired`.
pub(in crate::publish) fn config_desired(generation: u64, base: u64, is_whole: bool, json: String) -> Vec<u8> {
    use proto::config_desired::Change;
    let change = Some(if is_whole { Change::WholeJson(json) } else { Change::PatchJson(json) });
    proto::ConfigDesired { generation, base, change }.encode_to_vec()
}

/// A `PromptDesired`.
pub(in crate::publish) fn prompt_desired(spec: &PromptSpec) -> Vec<u8> {
    proto::PromptDesired {
        parts: spec.parts.iter().map(|(source, weight)| part(source, *weight)).collect(),
        negatives: spec.negatives.iter().map(|source| part(source, 0.0)).collect(),
        senses: spec.senses.iter().map(|sense: &Modality| modality(*sense)).collect(),
        p_false: spec.p_false.unwrap_or(0.0),
        removed: false,
        disabled: false,
    }
    .encode_to_vec()
}

/// A `PromptDesired` that takes the prompt away.
pub(in crate::publish) fn prompt_removed() -> Vec<u8> {
    proto::PromptDesired { removed: true, ..proto::PromptDesired::default() }.encode_to_vec()
}

fn part(source: &crate::publish::operator::Ingredient, weight: f32) -> proto::PromptPart {
    use crate::publish::operator::Ingredient;
    use proto::prompt_part::Source;
    let source = match source {
        Ingredient::Text(words) => Source::Text(words.clone()),
        Ingredient::Audio(bytes) => Source::Audio(bytes.clone()),
        Ingredient::Image(bytes) => Source::Image(bytes.clone()),
    };
    proto::PromptPart { source: Some(source), weight }
}

/// Commands, as tests send them.
#[cfg(test)]
pub(in crate::publish) mod commands {
    use super::*;
    use crate::publish::inbox::CommandBody;

    /// A `Command`.
    pub(in crate::publish) fn command(id: &str, body: Option<CommandBody>, expires_at_unix_nanos: i64) -> Vec<u8> {
        use proto::command::Body;
        let body = body.map(|body| match body {
            CommandBody::Snapshot { without_thumbnails } => {
                Body::Snapshot(proto::SnapshotCommand { without_thumbnails })
            }
            CommandBody::RestartSensor(sensor) => {
                Body::RestartSensor(proto::RestartSensorCommand { sensor: sensor.to_string() })
            }
            CommandBody::Resend { from_seq, prompt } => Body::Resend(proto::ResendCommand {
                from_seq,
                prompt: prompt.map(|prompt| prompt.to_string()).unwrap_or_default(),
            }),
            CommandBody::Record { duration_secs } => Body::Record(proto::RecordCommand { duration_secs }),
        });
        let (response_topic, correlation_data) = (String::new(), Vec::new());
        proto::Command { id: id.to_owned(), expires_at_unix_nanos, response_topic, correlation_data, body }
            .encode_to_vec()
    }

    /// The same with the fields that MQTT 3.1.1 has no properties for.
    pub(in crate::publish) fn with_reply_topic(payload: &[u8], topic: &str, correlation_data: &[u8]) -> Vec<u8> {
        let mut command = proto::Command::decode(payload).unwrap();
        (command.response_topic, command.correlation_data) = (topic.to_owned(), correlation_data.to_vec());
        command.encode_to_vec()
    }
}
