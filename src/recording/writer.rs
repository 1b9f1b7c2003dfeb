//! Writing a recording: one channel a sensor, chunks small enough that a crash costs little.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::RecordingError;
use super::convert::encode;
use super::wire::{DESCRIPTORS, Schema};
use crate::files::create_new;
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
    /// The same file, to bring it to its disk.
    disk: File,
    sensors: BTreeMap<SensorId, Modality>,
    /// A camera that changes between JPEG and raw has one channel for each.
    channels: Vec<(SensorId, Schema, u16)>,
    /// Of the samples written so far.
    bytes: u64,
}

impl RecordingWriter {
    /// Creates the file, which must not be there: what was recorded cannot be recorded again.
    ///
    /// # Errors
    /// When it is there or cannot be written.
    pub fn create_new(path: &Path, timeline: &Timeline) -> Result<Self, RecordingError> {
        Self::begin(path, create_new(path), timeline)
    }

    /// Begins in a file that was opened.
    pub(super) fn begin(path: &Path, file: io::Result<File>, timeline: &Timeline) -> Result<Self, RecordingError> {
        let file = file.map_err(|why| cannot_write(path, why))?;
        let disk = file.try_clone().map_err(|why| cannot_write(path, why))?;
        let mut mcap = mcap_writer(file).map_err(|why| cannot_write(path, why))?;
        let metadata = BTreeMap::from([
            (FORMAT_KEY.to_owned(), FORMAT.to_owned()),
            (UNIX_KEY.to_owned(), timeline.unix_nanos_at_zero.to_string()),
            ("boot_id".to_owned(), timeline.boot_id.to_string()),
        ]);
        let metadata = mcap::records::Metadata { name: METADATA_NAME.to_owned(), metadata };
        mcap.write_metadata(&metadata).map_err(|why| cannot_write(path, why))?;
        let (timeline, sensors) = (timeline.clone(), BTreeMap::new());
        Ok(Self { path: path.to_owned(), timeline, mcap, disk, sensors, channels: Vec::new(), bytes: 0 })
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
        self.mcap.write_to_known_channel(&header, &data).map_err(|why| cannot_write(&self.path, why))?;
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Bytes of the samples written so far; the file has a little more.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Closes the open chunk and hands it to the system: from here on a crash of this process does not lose it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        self.mcap.flush().map_err(|why| cannot_write(&self.path, why))
    }

    /// As [`Self::flush`], and waits until it is on the disk: from here on a power cut does not lose it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sync(&mut self) -> Result<(), RecordingError> {
        self.flush()?;
        self.disk.sync_data().map_err(|why| cannot_write(&self.path, why))
    }

    /// Ends the recording: index and summary.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<(), RecordingError> {
        end(self.mcap).map_err(|why| cannot_write(&self.path, why))
    }

    fn unix(&self, stamp: MonoTime) -> Result<u64, RecordingError> {
        let unix = self.timeline.unix_nanos(stamp);
        u64::try_from(unix).map_err(|_negative| RecordingError::Write {
            path: self.path.clone(),
            why: format!("a stamp lies before 1970 ({unix} ns)"),
        })
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

/// A writer whose chunks appear whole, so that a crash cuts between two of them.
pub(super) fn mcap_writer(file: File) -> mcap::McapResult<mcap::Writer<BufWriter<File>>> {
    let options = mcap::WriteOptions::new().compression(None).chunk_size(Some(CHUNK_BYTES)).disable_seeking(true);
    options.create(BufWriter::new(file))
}

/// Writes index and summary and waits until the file is on its disk.
pub(super) fn end(mut mcap: mcap::Writer<BufWriter<File>>) -> Result<(), mcap::McapError> {
    mcap.finish()?;
    let file = mcap.into_inner().into_inner().map_err(|error| error.into_error())?;
    Ok(file.sync_all()?)
}

pub(super) fn cannot_write(path: &Path, why: impl Error) -> RecordingError {
    // What the system says ("No space left on device") stands behind the words of the library.
    let mut cause: &dyn Error = &why;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    RecordingError::Write { path: path.to_owned(), why: cause.to_string() }
}
