//! Reading a recording: everything that is whole, in the order of arrival, then one clear error if there is damage.
//!
//! The file is never in memory as a whole: one pass makes an [`Index`], then chunks are read in the order of their earliest message, and
//! only those that overlap in time are held together.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcap::records::op;

use super::RecordingError;
use super::index::{Block, Channel, Index};
use super::records::{HEAD_BYTES, MessageHead, message, split, unpack};
use super::topics::{Mapped, SensorChannel, TopicSettings, map, own_timeline};
use crate::files::open_file;
use crate::modality::{Modality, SensorId};
use crate::sensors::Sample;
use crate::time::{Span, Timeline};

/// Where the bytes are.
#[derive(Clone, Debug)]
enum Origin {
    File(PathBuf),
    Memory(Arc<[u8]>),
}

impl Origin {
    fn index(&self) -> io::Result<Index> {
        match self {
            Self::File(path) if path.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, folder(path))),
            // A pipe would be waited for, and cannot be read again.
            Self::File(path) => Index::read(BufReader::with_capacity(1 << 16, open_file(path)?)),
            Self::Memory(bytes) => Index::read(&**bytes),
        }
    }

    /// The bytes of a block; `open` keeps the file from one block to the next.
    fn block(&self, open: &mut Option<File>, block: &Block) -> io::Result<Vec<u8>> {
        let length = usize::try_from(block.length).unwrap_or(usize::MAX);
        // The file was as long when it was indexed.
        let mut bytes = Vec::with_capacity(length);
        match self {
            Self::Memory(all) => {
                let start = usize::try_from(block.offset).unwrap_or(usize::MAX);
                bytes.extend(all.get(start..).unwrap_or_default().iter().take(length));
            }
            Self::File(path) => {
                let file = match open {
                    Some(file) => file,
                    none => none.insert(File::open(path)?),
                };
                file.seek(SeekFrom::Start(block.offset))?;
                file.take(block.length).read_to_end(&mut bytes)?;
            }
        }
        let is_whole = bytes.len() as u64 == block.length;
        if is_whole { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// What to do about a folder, which bags of ROS 2 are.
fn folder(path: &Path) -> String {
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    match entries.filter(|file| file.extension().is_some_and(|found| found == "mcap")).min() {
        Some(file) => format!("it is a folder: name the file in it, such as {}", file.display()),
        None => "it is a folder, and no .mcap file is in it".to_owned(),
    }
}

/// A recording that can be read any number of times.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    origin: Origin,
    digest: String,
    timeline: Timeline,
    arrivals: Span,
    channels: BTreeMap<u16, SensorChannel>,
    described: BTreeMap<u16, Channel>,
    metadata: Vec<(String, BTreeMap<String, String>)>,
    /// In the order of their earliest message.
    blocks: Vec<Block>,
    messages: u64,
    damage: Option<String>,
}

impl Recording {
    /// Reads a recording that perceptd made. One that was cut off or is corrupt further on opens; [`Self::samples`] ends with the error.
    ///
    /// # Errors
    /// When it cannot be read, is no recording of perceptd's, or is damaged before its first sample.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        Self::open_mapped(path, &[])
    }

    /// Reads a recording of perceptd's or of another program, of which `topics` are sensors.
    ///
    /// # Errors
    /// As [`Self::open`], or when a topic is not there or cannot be a sensor; what could be one is told.
    pub fn open_mapped(path: &Path, topics: &[TopicSettings]) -> Result<Self, RecordingError> {
        Self::read(path.to_owned(), Origin::File(path.to_owned()), topics)
    }

    /// As [`Self::open_mapped`], from memory.
    ///
    /// # Errors
    /// As [`Self::open_mapped`].
    pub fn from_bytes(bytes: Arc<[u8]>, topics: &[TopicSettings]) -> Result<Self, RecordingError> {
        Self::read(PathBuf::from("(memory)"), Origin::Memory(bytes), topics)
    }

    fn read(path: PathBuf, origin: Origin, topics: &[TopicSettings]) -> Result<Self, RecordingError> {
        let cannot_read = |source| RecordingError::Read { path: path.clone(), source };
        let index = origin.index().map_err(cannot_read)?;
        if let (Some(why), true) = (&index.damage, index.channels.is_empty() && index.metadata.is_empty()) {
            return Err(RecordingError::NotARecording { path, why: why.clone() });
        }
        if let (Some(why), true) = (&index.damage, index.blocks.is_empty()) {
            return Err(RecordingError::Damaged { path, samples: 0, why: why.clone() });
        }
        let own_zero = own_timeline(&index).map_err(|why| RecordingError::NotARecording { path: path.clone(), why })?;
        let Mapped { unix_nanos_at_zero, channels } =
            map(&index, own_zero, topics).map_err(|why| RecordingError::Topics { path: path.clone(), why })?;
        let Index { digest, channels: described, mut blocks, metadata, damage } = index;
        let boot_id = format!("replay-{}", digest.get(..16).unwrap_or(&digest)).into();
        let timeline = Timeline { boot_id, unix_nanos_at_zero };
        let messages = described.iter().filter(|(id, _)| channels.contains_key(id)).map(|(_, of)| of.messages).sum();
        blocks.sort_by_key(|block| (block.first, block.offset));
        let arrival = |unix: u64| timeline.mono(unix.cast_signed());
        let arrivals = Span {
            start: arrival(blocks.first().map_or(0, |block| block.first)),
            end: arrival(blocks.iter().map(|block| block.last).max().unwrap_or(0)),
        };
        Ok(Self { path, origin, digest, timeline, arrivals, channels, described, metadata, blocks, messages, damage })
    }

    /// The recording's own timeline: boot id `replay-<first 16 hex digits of the digest>`, wall clock as when it was made. Of the
    /// recordings of others the clock's zero is ten seconds before the second of the first arrival.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.timeline.clone()
    }

    /// Every sensor that it names, in the order of names.
    #[must_use]
    pub fn sensors(&self) -> Vec<(SensorId, Modality)> {
        let sensors: BTreeMap<_, _> = self.channels.values().map(|of| (of.sensor.clone(), of.modality)).collect();
        sensors.into_iter().collect()
    }

    /// SHA-256 of the file, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// How many messages of sensors it holds.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.messages
    }

    /// Where it is cut off or corrupt; what stands before was found whole, checksums among it, when it was opened.
    #[must_use]
    pub fn damage(&self) -> Option<RecordingError> {
        let damaged = |why: &String| {
            let samples = usize::try_from(self.messages).unwrap_or(usize::MAX);
            RecordingError::Damaged { path: self.path.clone(), samples, why: why.clone() }
        };
        self.damage.as_ref().map(damaged)
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// When its first and its last message arrived.
    #[must_use]
    pub const fn arrivals(&self) -> Span {
        self.arrivals
    }

    /// The samples in the order of arrival, stamps exactly as they were. An error is the last item.
    #[must_use]
    pub fn samples(&self) -> Samples<'_> {
        let tallies = self.channels.values().map(|channel| (channel.sensor.clone(), Tally::of(channel)));
        Samples { messages: self.messages(), counted: BTreeMap::new(), tallies: tallies.collect(), given: 0 }
    }

    pub(super) fn messages(&self) -> Messages<'_> {
        Messages {
            recording: self,
            blocks: self.blocks.iter().peekable(),
            open: None,
            waiting: BTreeMap::new(),
            ended: false,
        }
    }

    /// Every channel of the file, sensor or not.
    pub(super) const fn described(&self) -> &BTreeMap<u16, Channel> {
        &self.described
    }

    pub(super) fn metadata(&self) -> &[(String, BTreeMap<String, String>)] {
        &self.metadata
    }
}

/// A message as the file has it.
pub(super) struct Message {
    pub(super) head: MessageHead,
    chunk: Arc<Vec<u8>>,
    data: Range<usize>,
}

impl Message {
    pub(super) fn data(&self) -> &[u8] {
        self.chunk.get(self.data.clone()).unwrap_or_default()
    }
}

/// Every message of a file in the order of log times, and as the file has them where these are equal. An error is the last item.
pub(super) struct Messages<'a> {
    recording: &'a Recording,
    blocks: std::iter::Peekable<std::slice::Iter<'a, Block>>,
    open: Option<File>,
    /// By log time, then place in the file.
    waiting: BTreeMap<(u64, u64, usize), Message>,
    ended: bool,
}

impl Messages<'_> {
    /// Reads the next block, whose messages then wait for their turn.
    fn read(&mut self, block: &Block) -> Result<(), String> {
        let changed = |why: io::Error| format!("it cannot be read again: {why}");
        let bytes = self.recording.origin.block(&mut self.open, block).map_err(changed)?;
        let records =
            if block.is_chunk { unpack(bytes.get(HEAD_BYTES..).unwrap_or_default())?.into_owned() } else { bytes };
        let chunk = Arc::new(records);
        for (place, record) in split(&chunk).enumerate() {
            let (opcode, body) = record?;
            if opcode == op::MESSAGE {
                let (head, start) = message(chunk.get(body.clone()).unwrap_or_default())?;
                let data = body.start + start..body.end;
                let message = Message { head, chunk: Arc::clone(&chunk), data };
                self.waiting.insert((head.log_time, block.offset, place), message);
            }
        }
        Ok(())
    }

    fn next_whole(&mut self) -> Result<Option<Message>, String> {
        while let Some(block) = self.blocks.peek().copied() {
            if self.waiting.first_key_value().is_some_and(|((log_time, ..), _)| *log_time < block.first) {
                break;
            }
            self.blocks.next();
            self.read(block)?;
        }
        match (self.waiting.pop_first(), &self.recording.damage) {
            (Some((_, message)), _) => Ok(Some(message)),
            (None, Some(why)) => Err(why.clone()),
            (None, None) => Ok(None),
        }
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_whole().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The samples of a recording, in the order of arrival. A message that cannot be read is counted and passed over: live, too, a
/// broken frame stops nothing.
pub struct Samples<'a> {
    messages: Messages<'a>,
    /// The last sequence number of each sensor.
    counted: BTreeMap<SensorId, u64>,
    tallies: BTreeMap<SensorId, Tally>,
    given: usize,
}

/// What came of a sensor's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Where they stand; of several topics one.
    pub topic: String,
    /// What they are read as.
    pub modality: Modality,
    /// Whether a topic of another program was taken for this sensor.
    pub is_mapped: bool,
    /// Samples.
    pub given: u64,
    /// Messages that gave none.
    pub unreadable: u64,
    /// What is wrong with the first of these.
    pub first_fault: Option<String>,
}

impl Tally {
    fn of(channel: &SensorChannel) -> Self {
        let (topic, modality, is_mapped) = (channel.topic.clone(), channel.modality, !channel.counts_deliveries());
        Self { topic, modality, is_mapped, given: 0, unreadable: 0, first_fault: None }
    }
}

impl Samples<'_> {
    /// What came of the messages so far, by sensor: every sensor of the recording is there.
    #[must_use]
    pub const fn tallies(&self) -> &BTreeMap<SensorId, Tally> {
        &self.tallies
    }

    fn sample(&mut self, message: &Message) -> Option<Sample> {
        let recording = self.messages.recording;
        let (timeline, head) = (&recording.timeline, message.head);
        let channel = recording.channels.get(&head.channel)?;
        let times = [head.log_time, head.publish_time].map(|unix| timeline.mono(unix.cast_signed()));
        let seq = match self.counted.get(&channel.sensor) {
            last if channel.counts_deliveries() => unwrapped(last.copied().unwrap_or(0), head.sequence),
            last => last.map_or(0, |last| last + 1),
        };
        self.counted.insert(channel.sensor.clone(), seq);
        let tally = self.tallies.entry(channel.sensor.clone()).or_insert_with(|| Tally::of(channel));
        match channel.decode(message.data(), times, timeline) {
            Ok((captured_at, data)) => {
                tally.given += 1;
                let [arrived_at, _] = times;
                Some(Sample { sensor: channel.sensor.clone(), captured_at, arrived_at, seq, data })
            }
            Err(why) => {
                tally.unreadable += 1;
                if tally.first_fault.is_none() {
                    let (sensor, topic) = (&channel.sensor, &channel.topic);
                    tracing::warn!(%sensor, topic, why, "a message cannot be read; more of them are only counted");
                    tally.first_fault = Some(why);
                }
                None
            }
        }
    }
}

impl Iterator for Samples<'_> {
    type Item = Result<Sample, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.messages.next()? {
                Ok(message) => {
                    if let Some(sample) = self.sample(&message) {
                        self.given += 1;
                        return Some(Ok(sample));
                    }
                }
                Err(why) => {
                    let path = self.messages.recording.path.clone();
                    return Some(Err(RecordingError::Damaged { path, samples: self.given, why }));
                }
            }
        }
    }
}

/// The u64 nearest after `last` whose lower half is `low`; MCAP keeps only 32 bits.
fn unwrapped(last: u64, low: u32) -> u64 {
    let candidate = (last & !0xFFFF_FFFF) | u64::from(low);
    if candidate.saturating_add(1 << 31) < last { candidate.saturating_add(1 << 32) } else { candidate }
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
