//! A copy of a recording with what was found in it beside: a person can look at both in Foxglove.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use mcap::records::{MessageHeader, Metadata};
use prost::Message as _;

use super::convert::to_wire;
use super::wire::{FOUND_DESCRIPTORS, foxglove};
use super::writer::{cannot_write, end, mcap_writer};
use super::{Recording, RecordingError};
use crate::files::create_new;
use crate::geometry::PixelBox;
use crate::modality::SensorId;
use crate::time::{MonoTime, Timeline};

/// Marks the channels that a replay added, so that a copy of a copy has them once.
const FOUND_KEY: &str = "perceptd.found";

/// What is drawn around a thing: lines of 2 pixels and labels of 14 are readable at 640×480.
const LINE_PX: f64 = 2.0;
const FONT_PX: f64 = 14.0;

/// Colours that are told apart by most eyes (Okabe and Ito, 2008), bright ones first.
const COLOURS: [[u8; 3]; 6] =
    [[240, 228, 66], [86, 180, 233], [230, 159, 0], [0, 158, 115], [204, 121, 167], [213, 94, 0]];

/// A box and its label, as drawn over a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledBox {
    /// Where, in pixels of the picture.
    pub box_in_image: PixelBox,
    /// The words above it.
    pub label: String,
    /// Boxes of one number have one colour.
    pub colour: usize,
}

/// A recording that is being written: first the copy, then what was found.
pub struct AnnotatedWriter {
    path: PathBuf,
    timeline: Timeline,
    mcap: mcap::Writer<BufWriter<File>>,
    channels: BTreeMap<String, u16>,
    sequences: BTreeMap<u16, u32>,
}

impl AnnotatedWriter {
    /// Creates the file, which must not be there, and copies everything of `recording` that is whole, whether of a sensor or not, but what
    /// an earlier replay added.
    ///
    /// # Errors
    /// When the file is there, as the recording itself is, or cannot be written.
    pub fn copy_of(recording: &Recording, path: &Path) -> Result<Self, RecordingError> {
        let told = |why| cannot_write(path, why);
        let mut mcap = mcap_writer(create_new(path).map_err(|why| cannot_write(path, why))?).map_err(told)?;
        for (name, metadata) in recording.metadata() {
            mcap.write_metadata(&Metadata { name: name.clone(), metadata: metadata.clone() }).map_err(told)?;
        }
        let mut copied = BTreeMap::new();
        for (id, channel) in recording.described().iter().filter(|(_, of)| !of.metadata.contains_key(FOUND_KEY)) {
            let schema = match &channel.schema {
                Some((name, encoding, data)) => mcap.add_schema(name, encoding, data).map_err(told)?,
                None => 0,
            };
            let copy = mcap.add_channel(schema, &channel.topic, &channel.encoding, &channel.metadata).map_err(told)?;
            copied.insert(*id, copy);
        }
        // Damage ends the copy; whoever replays the recording tells it.
        for message in recording.messages().flatten() {
            let Some(channel_id) = copied.get(&message.head.channel).copied() else { continue };
            let (sequence, log_time) = (message.head.sequence, message.head.log_time);
            let header = MessageHeader { channel_id, sequence, log_time, publish_time: message.head.publish_time };
            mcap.write_to_known_channel(&header, message.data()).map_err(told)?;
        }
        let (timeline, channels, sequences) = (recording.timeline(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { path: path.to_owned(), timeline, mcap, channels, sequences })
    }

    /// Writes a message of perceptd's (such as `perceptd.v1.Event`) under `topic`, at the time that it is about.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn message(&mut self, topic: &str, name: &str, at: MonoTime, data: &[u8]) -> Result<(), RecordingError> {
        let written = self.write(topic, name, at, data);
        written.map_err(|why| cannot_write(&self.path, why))
    }

    /// Draws boxes over the pictures of a sensor, from the one captured at `captured_at` on until the next call; none clears them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn annotate(
        &mut self,
        sensor: &SensorId,
        captured_at: MonoTime,
        boxes: &[LabelledBox],
    ) -> Result<(), RecordingError> {
        let timestamp = to_wire(self.timeline.unix_nanos(captured_at));
        let annotations = foxglove::ImageAnnotations {
            points: boxes.iter().map(|of| outline(of, timestamp)).collect(),
            texts: boxes.iter().map(|of| text(of, timestamp)).collect(),
        };
        let topic = format!("/{sensor}/annotations");
        self.message(&topic, "foxglove.ImageAnnotations", captured_at, &annotations.encode_to_vec())
    }

    /// Ends the file: index and summary.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<(), RecordingError> {
        end(self.mcap).map_err(|why| cannot_write(&self.path, why))
    }

    fn write(&mut self, topic: &str, name: &str, at: MonoTime, data: &[u8]) -> Result<(), mcap::McapError> {
        let channel_id = match self.channels.get(topic) {
            Some(channel) => *channel,
            None => {
                let schema = self.mcap.add_schema(name, "protobuf", FOUND_DESCRIPTORS)?;
                let metadata = BTreeMap::from([(FOUND_KEY.to_owned(), "replay".to_owned())]);
                let channel = self.mcap.add_channel(schema, topic, "protobuf", &metadata)?;
                *self.channels.entry(topic.to_owned()).or_insert(channel)
            }
        };
        let sequence = self.sequences.entry(channel_id).or_default();
        *sequence = sequence.wrapping_add(1);
        let time = u64::try_from(self.timeline.unix_nanos(at)).unwrap_or(0);
        let header = MessageHeader { channel_id, sequence: *sequence, log_time: time, publish_time: time };
        self.mcap.write_to_known_channel(&header, data)
    }
}

fn outline(of: &LabelledBox, timestamp: prost_types::Timestamp) -> foxglove::PointsAnnotation {
    let PixelBox { x0, y0, x1, y1 } = of.box_in_image;
    let corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)];
    foxglove::PointsAnnotation {
        timestamp: Some(timestamp),
        r#type: foxglove::points_annotation::Type::LineLoop.into(),
        points: corners.map(|(x, y)| foxglove::Point2 { x: x.into(), y: y.into() }).into(),
        outline_color: Some(colour(of.colour)),
        thickness: LINE_PX,
    }
}

fn text(of: &LabelledBox, timestamp: prost_types::Timestamp) -> foxglove::TextAnnotation {
    let PixelBox { x0, y0, .. } = of.box_in_image;
    foxglove::TextAnnotation {
        timestamp: Some(timestamp),
        // Inside the picture also where the box touches its upper edge.
        position: Some(foxglove::Point2 { x: x0.into(), y: f64::from(y0).max(FONT_PX) }),
        text: of.label.clone(),
        font_size: FONT_PX,
        text_color: Some(foxglove::Color { r: 0.0, g: 0.0, b: 0.0, a: 1.0 }),
        background_color: Some(colour(of.colour)),
    }
}

fn colour(number: usize) -> foxglove::Color {
    let [r, g, b] =
        COLOURS.get(number % COLOURS.len()).copied().unwrap_or_default().map(|part| f64::from(part) / 255.0);
    foxglove::Color { r, g, b, a: 1.0 }
}
