//! Reading a recording: everything that is whole, in the order of arrival, then one clear error if there is damage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mcap::records::{MessageHeader, Record};
use sha2::{Digest, Sha256};

use super::RecordingError;
use super::convert::decode;
use super::wire::Schema;
use super::writer::{FORMAT, FORMAT_KEY, METADATA_NAME, MODALITY_KEY, SENSOR_KEY, UNIX_KEY};
use crate::modality::{Modality, SensorId};
use crate::sensors::Sample;
use crate::time::{MonoTime, Timeline};

/// A recording in memory.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    digest: String,
    timeline: Timeline,
    sensors: BTreeMap<SensorId, Modality>,
    messages: Vec<Message>,
    damage: Option<String>,
}

#[derive(Debug)]
struct Message {
    sensor: SensorId,
    modality: Modality,
    schema: Schema,
    arrived_at: MonoTime,
    captured_at: MonoTime,
    seq: u64,
    data: Vec<u8>,
}

impl Recording {
    /// Reads the file. One that was cut off or is corrupt further on opens; [`Self::samples`] ends with the error.
    ///
    /// # Errors
    /// When it cannot be read, is no recording of perceptd's, or is damaged before its first sample.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let bytes = std::fs::read(path).map_err(|source| RecordingError::Read { path: path.to_owned(), source })?;
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let not_a_recording = |why: String| RecordingError::NotARecording { path: path.to_owned(), why };
        let mut scan = Scan::default();
        let damage = scan.read(&bytes).err();
        let Some(unix_nanos_at_zero) = scan.unix_nanos_at_zero else {
            return Err(not_a_recording(damage.unwrap_or_else(|| "it does not say that perceptd wrote it".to_owned())));
        };
        if let (Some(why), true) = (&damage, scan.messages.is_empty()) {
            return Err(RecordingError::Damaged { path: path.to_owned(), samples: 0, why: why.clone() });
        }
        let boot_id = format!("replay-{}", digest.get(..16).unwrap_or(&digest)).into();
        let timeline = Timeline { boot_id, unix_nanos_at_zero };
        let (sensors, messages) = scan.finish(unix_nanos_at_zero);
        Ok(Self { path: path.to_owned(), digest, timeline, sensors, messages, damage })
    }

    /// The recording's own timeline: boot id `replay-<first 16 hex digits of the digest>`, wall clock as when it was made.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.timeline.clone()
    }

    /// Every sensor that it names, in the order of names.
    #[must_use]
    pub fn sensors(&self) -> Vec<(SensorId, Modality)> {
        self.sensors.iter().map(|(id, modality)| (id.clone(), *modality)).collect()
    }

    /// SHA-256 of the file, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// How many samples it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The samples in the order of arrival, stamps exactly as they were. An error is the last item.
    #[must_use]
    pub fn samples(&self) -> Samples<'_> {
        Samples { recording: self, next: 0, ended: false }
    }
}

/// The samples of a recording, in the order of arrival.
#[derive(Debug)]
pub struct Samples<'a> {
    recording: &'a Recording,
    next: usize,
    ended: bool,
}

impl Samples<'_> {
    fn end_with(&mut self, why: String) -> Option<Result<Sample, RecordingError>> {
        self.ended = true;
        Some(Err(RecordingError::Damaged { path: self.recording.path.clone(), samples: self.next, why }))
    }
}

impl Iterator for Samples<'_> {
    type Item = Result<Sample, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let Some(message) = self.recording.messages.get(self.next) else {
            self.ended = true;
            return self.recording.damage.clone().and_then(|why| self.end_with(why));
        };
        match decode(message.schema, &message.data, message.modality, &self.recording.timeline) {
            Ok(data) => {
                self.next += 1;
                let Message { arrived_at, captured_at, seq, .. } = *message;
                Some(Ok(Sample { sensor: message.sensor.clone(), captured_at, arrived_at, seq, data }))
            }
            Err(why) => self.end_with(format!("sensor {}: {why}", message.sensor)),
        }
    }
}

/// What one pass over the file finds.
#[derive(Default)]
struct Scan {
    unix_nanos_at_zero: Option<i64>,
    schemas: BTreeMap<u16, String>,
    channels: BTreeMap<u16, (SensorId, Modality, Schema)>,
    messages: Vec<(u16, MessageHeader, Vec<u8>)>,
}

impl Scan {
    fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        for record in mcap::read::LinearReader::new(bytes).map_err(explain)? {
            match record.map_err(explain)? {
                Record::Chunk { header, data } => {
                    // All of a chunk or nothing of it: its checksum stands at its end.
                    let whole: Vec<Record<'static>> = mcap::read::ChunkReader::new(header, &data)
                        .map_err(explain)?
                        .map(|record| record.map(Record::into_owned).map_err(explain))
                        .collect::<Result<_, _>>()?;
                    whole.into_iter().try_for_each(|record| self.take(record))?;
                }
                other => self.take(other)?,
            }
        }
        Ok(())
    }

    fn take(&mut self, record: Record<'_>) -> Result<(), String> {
        match record {
            Record::Metadata(metadata) if metadata.name == METADATA_NAME => {
                let format = metadata.metadata.get(FORMAT_KEY).map_or("", String::as_str);
                if format != FORMAT {
                    return Err(format!("its format is `{format}`; this perceptd reads `{FORMAT}`"));
                }
                let unix = metadata.metadata.get(UNIX_KEY).and_then(|text| text.parse().ok());
                self.unix_nanos_at_zero = Some(unix.ok_or("its wall clock is missing")?);
            }
            Record::Schema { header, .. } => {
                self.schemas.insert(header.id, header.name);
            }
            Record::Channel(channel) => {
                let sensor = channel.metadata.get(SENSOR_KEY).and_then(|name| SensorId::new(name).ok());
                let modality = channel.metadata.get(MODALITY_KEY).and_then(|name| name.parse().ok());
                let schema = self.schemas.get(&channel.schema_id).and_then(|name| Schema::of_name(name));
                // Channels of others may stand in the file; they are passed over.
                if let (Some(sensor), Some(modality), Some(schema)) = (sensor, modality, schema) {
                    self.channels.insert(channel.id, (sensor, modality, schema));
                }
            }
            Record::Message { header, data } => {
                if header.log_time > i64::MAX as u64 || header.publish_time > i64::MAX as u64 {
                    return Err("a message's stamp is impossible".to_owned());
                }
                self.messages.push((header.channel_id, header, data.into_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self, unix_nanos_at_zero: i64) -> (BTreeMap<SensorId, Modality>, Vec<Message>) {
        let sensors = self.channels.values().map(|(sensor, modality, _)| (sensor.clone(), *modality)).collect();
        let mono = |unix: u64| MonoTime::from_nanos((unix as i64).saturating_sub(unix_nanos_at_zero));
        let mut last_seq: BTreeMap<SensorId, u64> = BTreeMap::new();
        let mut messages = Vec::with_capacity(self.messages.len());
        for (channel, header, data) in self.messages {
            let Some((sensor, modality, schema)) = self.channels.get(&channel) else { continue };
            let seq = unwrapped(last_seq.get(sensor).copied().unwrap_or(0), header.sequence);
            last_seq.insert(sensor.clone(), seq);
            let (arrived_at, captured_at) = (mono(header.log_time), mono(header.publish_time));
            let (sensor, modality, schema) = (sensor.clone(), *modality, *schema);
            messages.push(Message { sensor, modality, schema, arrived_at, captured_at, seq, data });
        }
        messages.sort_by_key(|message| message.arrived_at);
        (sensors, messages)
    }
}

/// The u64 nearest after `last` whose lower half is `low`; MCAP keeps only 32 bits.
fn unwrapped(last: u64, low: u32) -> u64 {
    let candidate = (last & !0xFFFF_FFFF) | u64::from(low);
    if candidate.saturating_add(1 << 31) < last { candidate.saturating_add(1 << 32) } else { candidate }
}

fn explain(error: mcap::McapError) -> String {
    match error {
        mcap::McapError::UnexpectedEof => "it ends in the middle of a record".to_owned(),
        mcap::McapError::BadMagic => "it does not begin or end as MCAP files do".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_unwrap() {
        for (last, low, wanted) in
            [(0, 5, 5), (0xFFFF_FFFF, 0, 0x1_0000_0000), (0x1_0000_0000, 3, 0x1_0000_0003), (9, 8, 8)]
        {
            assert_eq!(unwrapped(last, low), wanted, "{last} {low}");
        }
    }
}
