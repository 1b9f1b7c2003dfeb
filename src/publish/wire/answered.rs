//! What the daemon answers to what came by topic → protobuf.

use prost::Message as _;

use super::out::{modality, score};
use super::{Envelope, proto};
use crate::publish::EmbeddingReading;
use crate::publish::report::{
    CommandReply, CommandResult, CommandState, ConfigReport, PromptOrigin, PromptReport, SensorSnapshot,
};
use crate::store::{Fault, WishState};
use crate::time::{MonoTime, Timeline};

impl Envelope<'_> {
    pub(in crate::publish) fn config_reported(&self, report: &ConfigReport<'_>) -> Vec<u8> {
        let ledger = report.ledger;
        let answer = ledger.answer.as_ref();
        proto::ConfigReported {
            boot_id: self.boot_id(),
            seq: self.seq,
            generation: answer.map_or(0, |answer| answer.generation),
            state: answer.map_or(proto::WishState::Unspecified, |answer| state(answer.state)).into(),
            problems: problems(report.faults),
            generation_in_force: ledger.generation,
            changes_json: ledger.changes.clone(),
            changes_before_json: ledger.changes_before.clone(),
            in_force_json: report.in_force_json.to_owned(),
            file: report.file.to_owned(),
            at: self.stamp(report.at),
            digest: answer.map(|answer| answer.digest.clone()).unwrap_or_default(),
        }
        .encode_to_vec()
    }

    pub(in crate::publish) fn prompt_reported(&self, report: &PromptReport, at: MonoTime) -> Vec<u8> {
        proto::PromptReported {
            boot_id: self.boot_id(),
            seq: self.seq,
            prompt: report.prompt.to_string(),
            state: state(report.state).into(),
            problems: problems(&report.faults),
            digest: report.digest.clone(),
            origin: match report.origin {
                PromptOrigin::Nowhere => proto::PromptOrigin::Unspecified,
                PromptOrigin::File => proto::PromptOrigin::File,
                PromptOrigin::Topic => proto::PromptOrigin::Topic,
            }
            .into(),
            senses: report.senses.iter().map(|sense| modality(*sense)).collect(),
            p_false: report.p_false,
            made_of: report.made_of.clone(),
            at: self.stamp(at),
        }
        .encode_to_vec()
    }

    /// What a snapshot tells was `perceived` by other clocks in a replay.
    pub(in crate::publish) fn command_reply(
        &self,
        reply: &CommandReply,
        at: MonoTime,
        perceived: &Timeline,
    ) -> Vec<u8> {
        use proto::command_reply::Result;
        proto::CommandReply {
            boot_id: self.boot_id(),
            id: reply.to.id.clone(),
            state: match reply.state {
                CommandState::Done => proto::CommandState::Done,
                CommandState::Refused => proto::CommandState::Refused,
                CommandState::Failed => proto::CommandState::Failed,
            }
            .into(),
            what: reply.what.clone(),
            correlation_data: reply.to.correlation_data.clone(),
            at: self.stamp(at),
            result: match &reply.result {
                CommandResult::Nothing => None,
                CommandResult::Snapshot(sensors) => {
                    let sensors = sensors.iter().map(|sensor| sensor_snapshot(sensor, perceived)).collect();
                    Some(Result::Snapshot(proto::Snapshot { sensors }))
                }
                CommandResult::Resend { messages, oldest_seq } => {
                    Some(Result::Resend(proto::ResendResult { messages: *messages, oldest_seq: *oldest_seq }))
                }
                CommandResult::Record { file, samples, bytes } => {
                    Some(Result::Record(proto::RecordResult { file: file.clone(), samples: *samples, bytes: *bytes }))
                }
            },
        }
        .encode_to_vec()
    }
}

fn sensor_snapshot(snapshot: &SensorSnapshot, perceived: &Timeline) -> proto::SensorSnapshot {
    let reading = EmbeddingReading {
        sensor: &snapshot.sensor,
        window_index: snapshot.window_index,
        span: snapshot.span,
        presence: snapshot.presence,
        embedding: &snapshot.embedding,
    };
    proto::SensorSnapshot {
        embedding: Some(Envelope { timeline: perceived, seq: 0 }.embedding_message(&reading)),
        scores: snapshot
            .scores
            .iter()
            .map(|(prompt, of)| proto::PromptScore { prompt: prompt.to_string(), score: score(*of) })
            .collect(),
        thumbnail_jpeg: snapshot.thumbnail_jpeg.clone(),
    }
}

const fn state(state: WishState) -> proto::WishState {
    match state {
        WishState::Pending => proto::WishState::Pending,
        WishState::Applied => proto::WishState::Applied,
        WishState::Rejected => proto::WishState::Rejected,
        WishState::RolledBack => proto::WishState::RolledBack,
    }
}

fn problems(faults: &[Fault]) -> Vec<proto::Problem> {
    faults.iter().map(|fault| proto::Problem { key: fault.key.clone(), what: fault.what.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::encoders::Embedding;
    use crate::modality::{Modality, SensorId};
    use crate::publish::inbox::ReplyTo;
    use crate::time::Span;
    use crate::windows::Presence;

    #[test]
    fn a_snapshot_bears_the_clocks_of_what_was_perceived_and_the_reply_those_of_the_machine() {
        let [machine, recording] =
            [1_000, 5_000_000].map(|unix_nanos_at_zero| Timeline { boot_id: "replay".into(), unix_nanos_at_zero });
        let snapshot = SensorSnapshot {
            sensor: SensorId::new("mic").unwrap(),
            window_index: 1,
            span: Span { start: MonoTime::from_nanos(1), end: MonoTime::from_nanos(2) },
            presence: Presence::default(),
            embedding: Embedding { space: "s".into(), modality: Modality::Audio, vector: Arc::from([1.0]) },
            scores: Vec::new(),
            thumbnail_jpeg: Vec::new(),
        };
        let reply = CommandReply {
            to: ReplyTo { topic: String::new(), correlation_data: Vec::new(), id: "1".to_owned() },
            state: CommandState::Done,
            what: String::new(),
            result: CommandResult::Snapshot(vec![snapshot]),
        };
        let bytes = Envelope { timeline: &machine, seq: 0 }.command_reply(&reply, MonoTime::from_nanos(7), &recording);
        let heard = proto::CommandReply::decode(&*bytes).unwrap();
        let Some(proto::command_reply::Result::Snapshot(snapshot)) = heard.result else { panic!("{heard:?}") };
        let embedding = snapshot.sensors[0].embedding.clone().unwrap();
        let unix = [heard.at, embedding.start, embedding.end].map(|stamp| stamp.unwrap().unix_nanos);
        assert_eq!(unix, [1_007, 5_000_001, 5_000_002]);
    }
}
