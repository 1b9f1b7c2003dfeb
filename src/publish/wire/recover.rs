//! The last message of an event that a crash has left open → the event that ends it.

use prost::Message as _;

use super::proto;
use crate::events::{EndReason, Event, Phase};
use crate::geometry::PixelBox;
use crate::modality::{Modality, SensorId};
use crate::space::Score;
use crate::time::{MonoTime, Timeline};

/// The event, ended with reason `crash_recovered`. Its stamps move to this boot's clock by their wall-clock time.
///
/// # Errors
/// What is wrong with the message.
pub(in crate::publish) fn crash_recovered(payload: &[u8], timeline: &Timeline) -> Result<Event, String> {
    let message = proto::Event::decode(payload).map_err(|error| error.to_string())?;
    let score = score(message.score);
    let best = score_or(message.best, score);
    let modality = sense(message.modality()).ok_or("it has no sense")?;
    let frame_size_px = Some((message.frame_width_px, message.frame_height_px)).filter(|size| *size != (0, 0));
    let is_of_this_boot = *message.boot_id == *timeline.boot_id;
    let stamp = |stamp: Option<proto::Stamp>| {
        let stamp = stamp.unwrap_or_default();
        let moved = stamp.unix_nanos.saturating_sub(timeline.unix_nanos_at_zero);
        MonoTime::from_nanos(if is_of_this_boot { stamp.mono_nanos } else { moved })
    };
    Ok(Event {
        id: message.id.parse().map_err(|error| format!("its id: {error}"))?,
        revision: message.revision.saturating_add(1),
        phase: Phase::End(EndReason::CrashRecovered),
        prompt: message.prompt.into(),
        sensor: SensorId::new(&message.sensor).map_err(|error| error.to_string())?,
        modality,
        onset: stamp(message.onset),
        last_support: stamp(message.last_support),
        score,
        best,
        boxes: message
            .boxes
            .iter()
            .map(|b| (PixelBox { x0: b.x0, y0: b.y0, x1: b.x1, y1: b.y1 }, b.calibrated))
            .collect(),
        frame_size_px,
    })
}

fn score(message: Option<proto::Score>) -> Score {
    let proto::Score { raw, calibrated, threshold, bank_revision } = message.unwrap_or_default();
    Score { raw, calibrated, threshold, bank_revision }
}

fn score_or(message: Option<proto::Score>, other: Score) -> Score {
    if message.is_some() { score(message) } else { other }
}

const fn sense(modality: proto::Modality) -> Option<Modality> {
    Some(match modality {
        proto::Modality::Unspecified => return None,
        proto::Modality::Image => Modality::Image,
        proto::Modality::Audio => Modality::Audio,
        proto::Modality::Thermal => Modality::Thermal,
        proto::Modality::Depth => Modality::Depth,
        proto::Modality::Imu => Modality::Imu,
        proto::Modality::Text => Modality::Text,
    })
}
