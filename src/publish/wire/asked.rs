//! Protobuf → what topics ask for.

use prost::Message as _;

use super::proto;
use crate::modality::{Modality, SensorId, is_name};
use crate::prompts::{Part, PartSource};
use crate::publish::inbox::{AskedCommand, CommandBody, ConfigWish, MAX_PARTS, PromptContent};

/// A wish for the config; `Err` says what is wrong.
pub(in crate::publish) fn config_wish(payload: &[u8], digest: &str) -> Result<ConfigWish, String> {
    let message = proto::ConfigDesired::decode(payload).map_err(|error| not_a("ConfigDesired", &error))?;
    let (is_whole, json) = match message.change {
        Some(proto::config_desired::Change::PatchJson(json)) => (false, json),
        Some(proto::config_desired::Change::WholeJson(json)) => (true, json),
        None => return Err("neither `patch_json` nor `whole_json` is set".to_owned()),
    };
    let (generation, base, digest) = (message.generation, message.base, digest.to_owned());
    Ok(ConfigWish { generation, base, is_whole, json, digest })
}

/// What a prompt should be; `Err` says what is wrong.
pub(in crate::publish) fn prompt_content(payload: &[u8]) -> Result<PromptContent, String> {
    let message = proto::PromptDesired::decode(payload).map_err(|error| not_a("PromptDesired", &error))?;
    if message.removed {
        return Ok(PromptContent::Removed);
    }
    for (key, count) in [("parts", message.parts.len()), ("negatives", message.negatives.len())] {
        if count > MAX_PARTS {
            return Err(format!("`{key}` has {count} entries, at most {MAX_PARTS} are taken"));
        }
    }
    let parts = message.parts.into_iter().enumerate().map(|(index, part)| {
        let weight = if part.weight == 0.0 { 1.0 } else { part.weight };
        source(part, "parts", index).map(|source| Part { source, weight })
    });
    let negatives = message.negatives.into_iter().enumerate().map(|(index, part)| source(part, "negatives", index));
    Ok(PromptContent::Made {
        parts: parts.collect::<Result<_, _>>()?,
        negatives: negatives.collect::<Result<_, _>>()?,
        senses: senses(&message.senses)?,
        p_false: (message.p_false != 0.0).then_some(message.p_false),
        is_disabled: message.disabled,
    })
}

fn source(part: proto::PromptPart, key: &str, index: usize) -> Result<PartSource, String> {
    match part.source {
        Some(proto::prompt_part::Source::Text(words)) => Ok(PartSource::Text(words)),
        Some(proto::prompt_part::Source::Audio(bytes)) => Ok(PartSource::AudioBytes(bytes.into())),
        Some(proto::prompt_part::Source::Image(bytes)) => Ok(PartSource::ImageBytes(bytes.into())),
        None => Err(format!("`{key}[{index}]` names no `text`, `audio` or `image`")),
    }
}

fn senses(values: &[i32]) -> Result<Vec<Modality>, String> {
    let mut senses = Vec::new();
    for value in values {
        let sense = match proto::Modality::try_from(*value) {
            Ok(proto::Modality::Image) => Modality::Image,
            Ok(proto::Modality::Audio) => Modality::Audio,
            Ok(proto::Modality::Thermal) => Modality::Thermal,
            Ok(proto::Modality::Depth) => Modality::Depth,
            Ok(proto::Modality::Imu) => Modality::Imu,
            Ok(proto::Modality::Text) => Modality::Text,
            _ => return Err(format!("`senses` holds {value}, which is no sense")),
        };
        if !senses.contains(&sense) {
            senses.push(sense);
        }
    }
    Ok(senses)
}

/// A command; `Err` says what is wrong.
pub(in crate::publish) fn command(payload: &[u8]) -> Result<AskedCommand, String> {
    use proto::command::Body;
    let message = proto::Command::decode(payload).map_err(|error| not_a("Command", &error))?;
    let body = match message.body {
        None => Err("the command has no body, or one that this perceptd does not know".to_owned()),
        Some(Body::Snapshot(body)) => Ok(CommandBody::Snapshot { without_thumbnails: body.without_thumbnails }),
        Some(Body::RestartSensor(body)) => {
            let sensor = SensorId::new(&body.sensor).map_err(|error| format!("`sensor`: {error}"));
            sensor.map(CommandBody::RestartSensor)
        }
        Some(Body::Resend(body)) if body.prompt.is_empty() || is_name(&body.prompt) => {
            let prompt = (!body.prompt.is_empty()).then(|| body.prompt.as_str().into());
            Ok(CommandBody::Resend { from_seq: body.from_seq, prompt })
        }
        Some(Body::Resend(_)) => Err("`prompt` cannot be a prompt's name".to_owned()),
        Some(Body::Record(body)) if (1.0..=600.0).contains(&body.duration_secs) => {
            Ok(CommandBody::Record { duration_secs: body.duration_secs })
        }
        Some(Body::Record(body)) => Err(format!("`duration_secs` is {}: say 1 to 600", body.duration_secs)),
    };
    Ok(AskedCommand {
        id: message.id,
        body,
        expires_at_unix_nanos: message.expires_at_unix_nanos,
        reply_topic: message.response_topic,
        correlation_data: message.correlation_data,
    })
}

fn not_a(message: &str, error: &prost::DecodeError) -> String {
    format!("not a perceptd.v1.{message}: {error}")
}
