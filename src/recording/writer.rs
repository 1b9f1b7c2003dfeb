//! Writing a recording: one channel a sensor, chunks small enough that a crash costs little.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::RecordingError;
use super::convert::encode;
use super::wire::{DESCRIPTORS, Schema};
use crate::modality::{Modality, SensorId};
use crate::sensors::Sample;
use crate::time::{MonoTime, Timeline};

/// Bytes after which a chunk is closed. A crash loses at most the open one.
const CHUNK_BYTES: u64 = 256 * 1024;

/// Name of the MCAP metadata record that holds the timeline; `format` in it rises when old readers could not read new files.
pub(super) const METADATA_NAME: &str = "perceptd";
pub(super) const FORMAT: &str = "1";
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const UNIX_KEY: &str = "unix_nanos_at_zero";
pub(super) const SENSOR_KEY: &str = "perceptd.sensor";
pub(super) const MODALITY_KEY: &str = "perceptd.modality";

/// An open recording.
pub struct RecordingWriter {
    path: PathBuf,
    timeline: Timeline,
    mcap: mcap::Writer<BufWriter<File>>,
    sensors: BTreeMap<SensorId, Modality>,
    /// A camera that changes between JPEG and raw has one channel for each.
    channels: Vec<(SensorId, Schema, u16)>,
}

impl RecordingWriter {
    /// Creates (or empties) the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path, timeline: &Timeline) -> Result<Self, RecordingError> {
        let file = File::create(path).map_err(|source| cannot_write(path, source))?;
        let options = mcap::WriteOptions::new().compression(None).chunk_size(Some(CHUNK_BYTES));
        let mut mcap = options.create(BufWriter::new(file)).map_err(|why| cannot_write(path, why))?;
        let metadata = BTreeMap::from([
            (FORMAT_KEY.to_owned(), FORMAT.to_owned()),
            (UNIX_KEY.to_owned(), timeline.unix_nanos_at_zero.to_string()),
            ("boot_id".to_owned(), timeline.boot_id.to_string()),
        ]);
        let metadata = mcap::records::Metadata { name: METADATA_NAME.to_owned(), metadata };
        mcap.write_metadata(&metadata).map_err(|why| cannot_write(path, why))?;
        let (timeline, sensors) = (timeline.clone(), BTreeMap::new());
        Ok(Self { path: path.to_owned(), timeline, mcap, sensors, channels: Vec::new() })
    }

    /// Announces a sensor, so that the recording names it even if it gives nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_sensor(&mut self, sensor: &SensorId, modality: Modality) -> Result<(), RecordingError> {
        self.sensors.insert(sensor.clone(), modality);
        let schema = match modality {
            Modality::Image | Modality::Text => Schema::CompressedImage,
            Modality::Audio => Schema::AudioBlock,
            Modality::Thermal | Modality::Depth => Schema::PlaneFrame,
            Modality::Imu => Schema::ImuBatch,
        };
        self.channel(sensor, modality, schema).map(|_| ())
    }

    /// Writes one sample; a sensor that was not announced is, now.
    ///
    /// # Errors
    /// When the file cannot be written, or a stamp lies before 1970.
    pub fn write(&mut self, sample: &Sample) -> Result<(), RecordingError> {
        let modality = sample.data.modality();
        let (schema, data) = encode(&sample.data, sample.captured_at, sample.sensor.as_str(), &self.timeline);
        let header = mcap::records::MessageHeader {
            channel_id: self.channel(&sample.sensor, modality, schema)?,
            sequence: sample.seq as u32, // the reader unwraps it
            log_time: self.unix(sample.arrived_at)?,
            publish_time: self.unix(sample.captured_at)?,
        };
        self.mcap.write_to_known_channel(&header, &data).map_err(|why| cannot_write(&self.path, why))
    }

    /// Ends the recording: index and summary.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<(), RecordingError> {
        self.mcap.finish().map_err(|why| cannot_write(&self.path, why))?;
        let file = self.mcap.into_inner().into_inner().map_err(|why| cannot_write(&self.path, why))?;
        file.sync_all().map_err(|why| cannot_write(&self.path, why))
    }

    fn unix(&self, stamp: MonoTime) -> Result<u64, RecordingError> {
        let unix = self.timeline.unix_nanos(stamp);
        u64::try_from(unix)
            .map_err(|why| cannot_write(&self.path, format!("a stamp lies before 1970 ({unix} ns): {why}")))
    }

    fn channel(&mut self, sensor: &SensorId, modality: Modality, schema: Schema) -> Result<u16, RecordingError> {
        let known = self.channels.iter().find(|(id, of, _)| id == sensor && *of == schema);
        if let Some((_, _, channel)) = known {
            return Ok(*channel);
        }
        let topic = match schema {
            Schema::RawImage => format!("/{sensor}/raw"),
            _ => format!("/{sensor}"),
        };
        let metadata = BTreeMap::from([
            (SENSOR_KEY.to_owned(), sensor.to_string()),
            (MODALITY_KEY.to_owned(), modality.name().to_owned()),
        ]);
        let channel = self
            .mcap
            .add_schema(schema.name(), "protobuf", DESCRIPTORS)
            .and_then(|schema_id| self.mcap.add_channel(schema_id, &topic, "protobuf", &metadata))
            .map_err(|why| cannot_write(&self.path, why))?;
        self.channels.push((sensor.clone(), schema, channel));
        Ok(channel)
    }
}

fn cannot_write(path: &Path, why: impl ToString) -> RecordingError {
    RecordingError::Write { path: path.to_owned(), why: why.to_string() }
}
