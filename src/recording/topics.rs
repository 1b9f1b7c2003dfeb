//! Which channels of a file are sensors: perceptd's own say so themselves, others are named by their topics.

use std::collections::BTreeMap;

use super::convert::{Decoded, decode};
use super::index::{Channel, Index};
use super::ros::{RosType, decode_ros};
use super::wire::Schema;
use super::writer::{FORMAT, FORMAT_KEY, METADATA_NAME, MODALITY_KEY, SENSOR_KEY, UNIX_KEY};
use crate::modality::{Modality, SensorId};
use crate::sensors::SampleData;
use crate::time::{MonoTime, NANOS_PER_SEC, Timeline};

/// Before the first arrival of a foreign recording, its clock has this much room for what was captured earlier.
const ROOM_BEFORE_NANOS: i64 = 10 * NANOS_PER_SEC;

/// Where a message's capture time comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stamp {
    /// The stamp inside the message; its arrival where there is none.
    #[default]
    Header,
    /// The arrival, as the recorder logged it: for devices whose clock is another than the recorder's.
    Arrival,
}

/// A topic of a recording that another program made, taken for a sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicSettings {
    /// The sensor that it shall be.
    pub sensor: SensorId,
    /// The topic as the recording names it.
    pub topic: String,
    /// Its sense; none = the usual one of its messages.
    pub modality: Option<Modality>,
    /// Where capture times come from.
    pub stamp: Stamp,
    /// Of sound, which does not say it: samples a second.
    pub sample_rate_hz: u32,
    /// Of sound: channels in a block, of which the first is taken.
    pub channels: u16,
    /// Of 16-bit thermal frames: °C = step · `celsius_per_step` + `celsius_at_zero`.
    pub celsius_per_step: f64,
    /// See `celsius_per_step`.
    pub celsius_at_zero: f64,
}

impl TopicSettings {
    /// The usual settings of a topic: 16 kHz mono sound (the default of `audio_capture`), thermal frames in hundredths of a kelvin (the FLIR Lepton's TLinear).
    #[must_use]
    pub fn new(sensor: SensorId, topic: &str) -> Self {
        Self {
            sensor,
            topic: topic.to_owned(),
            modality: None,
            stamp: Stamp::Header,
            sample_rate_hz: 16_000,
            channels: 1,
            celsius_per_step: 0.01,
            celsius_at_zero: -273.15,
        }
    }
}

/// What the messages of a channel are.
#[derive(Clone, Copy, Debug)]
enum Type {
    /// perceptd's or Foxglove's.
    Protobuf(Schema),
    Ros(RosType),
}

impl Type {
    /// The senses that it can serve, the usual one first.
    const fn modalities(self) -> &'static [Modality] {
        match self {
            Self::Protobuf(schema) => schema.modalities(),
            Self::Ros(ros) => ros.modalities(),
        }
    }
}

/// How a channel's messages are read.
#[derive(Clone, Debug)]
enum Kind {
    /// perceptd wrote it: publish_time is the capture.
    Own(Schema),
    /// Another program did: the capture stands inside.
    Foreign(Type, TopicSettings),
}

/// A channel that is a sensor.
#[derive(Clone, Debug)]
pub(super) struct SensorChannel {
    pub(super) sensor: SensorId,
    pub(super) modality: Modality,
    pub(super) topic: String,
    kind: Kind,
}

impl SensorChannel {
    /// Whether sequence numbers are the sensor's own. Those of others may count anything.
    pub(super) const fn counts_deliveries(&self) -> bool {
        matches!(self.kind, Kind::Own(_))
    }

    /// The capture time and the data of a message.
    pub(super) fn decode(
        &self,
        message: &[u8],
        [arrived_at, published_at]: [MonoTime; 2],
        timeline: &Timeline,
    ) -> Result<(MonoTime, SampleData), String> {
        let (decoded, topic) = match &self.kind {
            Kind::Own(schema) => {
                return decode(*schema, message, self.modality, timeline).map(|decoded| (published_at, decoded.data));
            }
            Kind::Foreign(Type::Protobuf(schema), topic) => (decode(*schema, message, self.modality, timeline)?, topic),
            Kind::Foreign(Type::Ros(kind), topic) => (decode_ros(*kind, message, self.modality, topic)?, topic),
        };
        let Decoded { captured_at, mut data } = decoded;
        let stamped = captured_at.filter(|_| topic.stamp == Stamp::Header);
        // A block of sound without a stamp ends where it arrives.
        let captured_at = stamped.map_or_else(|| arrived_at.shifted(-length_nanos(&data)), |unix| timeline.mono(unix));
        if let (SampleData::Imu(readings), Kind::Foreign(Type::Ros(_), _)) = (&mut data, &self.kind) {
            readings.iter_mut().for_each(|reading| reading.captured_at = captured_at);
        }
        Ok((captured_at, data))
    }
}

fn length_nanos(data: &SampleData) -> i64 {
    match data {
        SampleData::Audio { sample_rate_hz, samples } => {
            (samples.len() as f64 / f64::from((*sample_rate_hz).max(1)) * NANOS_PER_SEC as f64).round() as i64
        }
        _ => 0,
    }
}

/// What the channels of a file are.
pub(super) struct Mapped {
    pub(super) unix_nanos_at_zero: i64,
    pub(super) channels: BTreeMap<u16, SensorChannel>,
}

/// Finds the sensors: those of perceptd's own channels, and `topics`. Or says what is wrong and what could be mapped. `own_zero` is what
/// [`own_timeline`] gave.
pub(super) fn map(index: &Index, own_zero: Option<i64>, topics: &[TopicSettings]) -> Result<Mapped, String> {
    let mut channels = BTreeMap::new();
    if own_zero.is_some() {
        let own = |(id, channel): (&u16, &Channel)| match own(channel) {
            Ok(sensor) => Some((*id, sensor?)),
            Err(why) => {
                tracing::warn!(topic = channel.topic, why, "a sensor of the recording is passed over");
                None
            }
        };
        channels.extend(index.channels.iter().filter_map(own));
    } else if topics.is_empty() {
        return Err(format!("perceptd did not record it: say which topics are sensors; {}", offer(index)));
    }
    if let Some(what) = conflict(topics) {
        return Err(what);
    }
    for topic in topics {
        let is_taken = |channel: &SensorChannel| channel.sensor == topic.sensor && channel.topic != topic.topic;
        if channels.values().any(is_taken) {
            return Err(format!("it has a sensor `{}` already: give {} another name", topic.sensor, topic.topic));
        }
        let found: Vec<_> = index.channels.iter().filter(|(_, channel)| channel.topic == topic.topic).collect();
        if found.is_empty() {
            return Err(format!("it has no topic {}; {}", topic.topic, offer(index)));
        }
        for (id, channel) in found {
            channels.insert(*id, foreign(channel, topic)?);
        }
    }
    let first = index.blocks.iter().map(|block| block.first).min().unwrap_or(0);
    let first = i64::try_from(first).unwrap_or(i64::MAX);
    let foreign_zero = first - first.rem_euclid(NANOS_PER_SEC) - ROOM_BEFORE_NANOS;
    Ok(Mapped { unix_nanos_at_zero: own_zero.unwrap_or(foreign_zero), channels })
}

/// What two mappings want of each other, if anything: a sensor has one topic, and a topic is one sensor.
#[must_use]
pub fn conflict(topics: &[TopicSettings]) -> Option<String> {
    topics.iter().enumerate().find_map(|(index, topic)| {
        let before = topics.iter().take(index).find(|of| of.sensor == topic.sensor || of.topic == topic.topic)?;
        let (sensor, name) = (&topic.sensor, &topic.topic);
        Some(if before.sensor == *sensor {
            format!("{} and {name} are both named `{sensor}`: give each topic a name of its own", before.topic)
        } else {
            format!("{name} is named `{}` and `{sensor}`: a topic can be one sensor", before.sensor)
        })
    })
}

/// The wall clock at zero that perceptd wrote; none in the recordings of others.
pub(super) fn own_timeline(index: &Index) -> Result<Option<i64>, String> {
    let Some((_, metadata)) = index.metadata.iter().find(|(name, _)| name == METADATA_NAME) else { return Ok(None) };
    let format = metadata.get(FORMAT_KEY).map_or("", String::as_str);
    if format != FORMAT {
        return Err(format!("its format is `{format}`; this perceptd reads `{FORMAT}`"));
    }
    let unix = metadata.get(UNIX_KEY).and_then(|text| text.parse().ok());
    unix.map(Some).ok_or_else(|| "its wall clock is missing".to_owned())
}

/// A sensor that perceptd recorded; none when the channel does not say that it is one.
fn own(channel: &Channel) -> Result<Option<SensorChannel>, String> {
    let Some(name) = channel.metadata.get(SENSOR_KEY) else { return Ok(None) };
    let sensor = SensorId::new(name).map_err(|why| why.to_string())?;
    let sense = channel.metadata.get(MODALITY_KEY).ok_or("it does not say its sense")?;
    let modality = sense.parse::<Modality>().map_err(|why| why.to_string())?;
    let schema = Schema::of_name(schema_name(channel))
        .ok_or_else(|| format!("its messages are {}, which perceptd does not write", schema_name(channel)))?;
    Ok(Some(SensorChannel { sensor, modality, topic: channel.topic.clone(), kind: Kind::Own(schema) }))
}

fn foreign(channel: &Channel, topic: &TopicSettings) -> Result<SensorChannel, String> {
    let refuse = |why: String| format!("topic {} cannot be a sensor: {why}", topic.topic);
    let kind = type_of(channel).map_err(refuse)?;
    let modality = topic.modality.or_else(|| kind.modalities().first().copied());
    let Some(modality) = modality.filter(|modality| kind.modalities().contains(modality)) else {
        return Err(refuse(format!("a {} can be {}", schema_name(channel), names(kind))));
    };
    let kind = Kind::Foreign(kind, topic.clone());
    Ok(SensorChannel { sensor: topic.sensor.clone(), modality, topic: topic.topic.clone(), kind })
}

fn type_of(channel: &Channel) -> Result<Type, String> {
    let name = schema_name(channel);
    let unknown = |known: String| format!("its messages are {name}; known are {known}");
    match channel.encoding.as_str() {
        "cdr" => match RosType::ALL.into_iter().find(|ros| ros.name() == name) {
            Some(ros) => Ok(Type::Ros(ros)),
            None => Err(unknown(RosType::ALL.map(RosType::name).join(", "))),
        },
        "protobuf" => match Schema::of_name(name) {
            Some(schema) => Ok(Type::Protobuf(schema)),
            None => Err(unknown(Schema::ALL.map(Schema::name).join(", "))),
        },
        "ros1" => Err("it is of ROS 1: convert the bag to ROS 2 (`rosbags-convert`)".to_owned()),
        other => Err(format!("its messages are encoded as `{other}`; cdr (ROS 2) and protobuf are read")),
    }
}

fn schema_name(channel: &Channel) -> &str {
    channel.schema.as_ref().map_or("without schema", |(name, ..)| name.as_str())
}

fn names(kind: Type) -> String {
    kind.modalities().iter().map(|modality| modality.name()).collect::<Vec<_>>().join(" or ")
}

/// Topics that could be sensors, and how to say so.
fn offer(index: &Index) -> String {
    let usable = index.channels.values().filter_map(|channel| {
        let senses = names(type_of(channel).ok()?);
        Some(format!("\n  {} ({}, {} messages): {senses}", channel.topic, schema_name(channel), channel.messages))
    });
    let usable: Vec<String> = usable.collect();
    match usable.as_slice() {
        [] => "none of its topics can be one".to_owned(),
        _ => format!("use `--topic NAME=TOPIC`, or [replay.topics.NAME] in the config; it has{}", usable.concat()),
    }
}
