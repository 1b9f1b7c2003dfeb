//! What the daemon answers to what came by topic → protobuf.

use prost::Message as _;

use super::out::{modality, score};
use super::{Envelope, proto};
use crate::publish::EmbeddingReading;
use crate::publish::report::{
    CommandReply, CommandResult, CommandState, ConfigReport, PromptOrigin, PromptReport, SensorSnapshot,
};
use crate::store::{Fault, WishState};
use crate::time::MonoTime;

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

    pub(in crate::publish) fn command_reply(&self, reply: &CommandReply, at: MonoTime) -> Vec<u8> {
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
                    let sensors = sensors.iter().map(|sensor| self.sensor_snapshot(sensor)).collect();
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

    fn sensor_snapshot(&self, snapshot: &SensorSnapshot) -> proto::SensorSnapshot {
        let reading = EmbeddingReading {
            sensor: &snapshot.sensor,
            window_index: snapshot.window_index,
            span: snapshot.span,
            presence: snapshot.presence,
            embedding: &snapshot.embedding,
        };
        proto::SensorSnapshot {
            embedding: Some(Envelope { seq: 0, ..*self }.embedding_message(&reading)),
            scores: snapshot
                .scores
                .iter()
                .map(|(prompt, of)| proto::PromptScore { prompt: prompt.to_string(), score: score(*of) })
                .collect(),
            thumbnail_jpeg: snapshot.thumbnail_jpeg.clone(),
        }
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
