//! One pass over a file: its digest, what channels it has, and where its messages lie, so that they can be read again in the order of
//! time without the file in memory.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;

use mcap::records::{Record, op};
use sha2::{Digest, Sha256};

use super::records::{HEAD_BYTES, MAX_RECORD_BYTES, head, message, split, unpack};

/// Messages outside chunks are read again in runs of this many bytes.
const RUN_BYTES: u64 = 1 << 20;

/// What hides a whole file from this reader: rosbag2's compression of files.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// A chunk, or a run of records outside chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where in the file it begins, and its length in bytes.
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) is_chunk: bool,
    /// Log times of its earliest and latest message.
    pub(super) first: u64,
    pub(super) last: u64,
}

/// A channel as the file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Channel {
    pub(super) topic: String,
    pub(super) encoding: String,
    pub(super) metadata: BTreeMap<String, String>,
    /// Name, encoding and data; none for a channel without schema.
    pub(super) schema: Option<(String, String, Vec<u8>)>,
    pub(super) messages: u64,
}

/// What one pass over a file finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// SHA-256 of the whole file, in hexadecimal.
    pub(super) digest: String,
    pub(super) channels: BTreeMap<u16, Channel>,
    /// In the order of the file.
    pub(super) blocks: Vec<Block>,
    pub(super) metadata: Vec<(String, BTreeMap<String, String>)>,
    /// Why the file was not read to its end.
    pub(super) damage: Option<String>,
}

impl Index {
    /// Reads a file from its beginning. Damage ends the index and is told in it; everything before is whole. What does not even begin as MCAP
    /// files do is read, and digested, no further.
    pub(super) fn read(file: impl Read) -> io::Result<Self> {
        let mut scan = Scan {
            file: Hashing { inner: file, sha256: Sha256::new() },
            offset: mcap::MAGIC.len() as u64,
            body: Vec::new(),
            schemas: BTreeMap::new(),
            run: None,
            index: Self::default(),
        };
        match scan.magic() {
            Ok(()) => {}
            Err(Stop::Damage(why)) => return Ok(Self { damage: Some(why), ..Self::default() }),
            Err(Stop::Io(error)) => return Err(error),
        }
        scan.index.damage = match scan.records() {
            Ok(()) => None,
            Err(Stop::Damage(why)) => Some(why),
            Err(Stop::Io(error)) => return Err(error),
        };
        scan.close_run();
        io::copy(&mut scan.file, &mut io::sink())?;
        scan.index.digest = scan.file.sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(scan.index)
    }
}

/// Everything that passes is hashed.
struct Hashing<R> {
    inner: R,
    sha256: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.sha256.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

enum Stop {
    Damage(String),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damage("it ends in the middle of a record".to_owned()),
            _ => Self::Io(error),
        }
    }
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Damage(why)
    }
}

struct Scan<F> {
    file: F,
    /// Where the next record begins.
    offset: u64,
    body: Vec<u8>,
    schemas: BTreeMap<u16, (String, String, Vec<u8>)>,
    run: Option<Block>,
    index: Index,
}

impl<R: Read> Scan<Hashing<R>> {
    fn records(&mut self) -> Result<(), Stop> {
        loop {
            let mut bytes = [0; HEAD_BYTES];
            if !read_or_end(&mut self.file, &mut bytes)? {
                return Err(Stop::Damage("it was never finished: whatever wrote it was stopped".to_owned()));
            }
            let (opcode, length) = head(bytes);
            let whole = Block {
                offset: self.offset,
                length: length.saturating_add(HEAD_BYTES as u64),
                is_chunk: opcode == op::CHUNK,
                first: u64::MAX,
                last: 0,
            };
            match opcode {
                // All that follows are indices, which this pass has made itself.
                op::DATA_END => return Ok(()),
                op::CHUNK | op::MESSAGE | op::SCHEMA | op::CHANNEL | op::METADATA => {
                    let body = self.body(length)?;
                    let taken = self.record(opcode, &body, whole);
                    self.body = body;
                    taken?;
                }
                _ => {
                    self.close_run();
                    self.skip(length)?;
                }
            }
            self.offset = self.offset.saturating_add(whole.length);
        }
    }

    fn magic(&mut self) -> Result<(), Stop> {
        let mut magic = [0; 8];
        let is_whole = read_or_end(&mut self.file, &mut magic).map_err(|_short| no_mcap())?;
        if magic.starts_with(&ZSTD_MAGIC) {
            return Err(Stop::Damage("it is compressed as a whole: decompress it with `zstd -d` first".to_owned()));
        }
        if is_whole && magic == mcap::MAGIC { Ok(()) } else { Err(no_mcap()) }
    }

    /// The body of a record, in the buffer that is used for all; no more than what is there is allocated.
    fn body(&mut self, length: u64) -> Result<Vec<u8>, Stop> {
        if length > MAX_RECORD_BYTES {
            return Err(Stop::Damage(format!("a record of {length} bytes is too large to be read")));
        }
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        if (&mut self.file).take(length).read_to_end(&mut body)? as u64 == length {
            return Ok(body);
        }
        Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }

    fn skip(&mut self, length: u64) -> Result<(), Stop> {
        let skipped = io::copy(&mut (&mut self.file).take(length), &mut io::sink())?;
        if skipped == length { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
    }

    fn record(&mut self, opcode: u8, body: &[u8], whole: Block) -> Result<(), String> {
        match opcode {
            op::CHUNK => {
                self.close_run();
                let records = unpack(body)?;
                // All of a chunk or nothing of it.
                let parts: Vec<(u8, Range<usize>)> = split(&records).collect::<Result<_, _>>()?;
                let mut block = whole;
                for (opcode, range) in parts {
                    let body = records.get(range).unwrap_or_default();
                    if opcode == op::MESSAGE {
                        self.message(body, &mut block)?
                    } else {
                        self.description(opcode, body)?
                    }
                }
                self.index.blocks.extend((block.first <= block.last).then_some(block));
                Ok(())
            }
            op::MESSAGE => {
                let start = Block { length: 0, ..whole };
                let mut run = self.run.take().unwrap_or(start);
                self.message(body, &mut run)?;
                run.length = whole.offset.saturating_add(whole.length).saturating_sub(run.offset);
                self.run = Some(run);
                if run.length >= RUN_BYTES {
                    self.close_run();
                }
                Ok(())
            }
            _ => self.description(opcode, body),
        }
    }

    fn message(&mut self, body: &[u8], block: &mut Block) -> Result<(), String> {
        let (head, _) = message(body)?;
        let Some(channel) = self.index.channels.get_mut(&head.channel) else {
            return Err(format!("a message stands in channel {}, which is not described", head.channel));
        };
        channel.messages += 1;
        (block.first, block.last) = (block.first.min(head.log_time), block.last.max(head.log_time));
        Ok(())
    }

    fn description(&mut self, opcode: u8, body: &[u8]) -> Result<(), String> {
        // Other opcodes are not parsed: the parser of attachments panics on short ones.
        if !matches!(opcode, op::SCHEMA | op::CHANNEL | op::METADATA) {
            return Ok(());
        }
        match mcap::parse_record(opcode, body).map_err(|why| format!("a record is malformed: {why}"))? {
            Record::Schema { header, data } => {
                self.schemas.entry(header.id).or_insert_with(|| (header.name, header.encoding, data.into_owned()));
            }
            Record::Channel(channel) => {
                let schema = self.schemas.get(&channel.schema_id).cloned();
                let mcap::records::Channel { topic, message_encoding: encoding, metadata, .. } = channel;
                let described = Channel { topic, encoding, metadata, schema, messages: 0 };
                self.index.channels.entry(channel.id).or_insert(described);
            }
            Record::Metadata(metadata) => self.index.metadata.push((metadata.name, metadata.metadata)),
            _ => {}
        }
        Ok(())
    }

    fn close_run(&mut self) {
        self.index.blocks.extend(self.run.take());
    }
}

fn no_mcap() -> Stop {
    Stop::Damage("it does not begin as MCAP files do".to_owned())
}

/// Fills `buffer`; false when the file ends just before it.
fn read_or_end(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) if got == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mcap_is_not_read_to_its_end() {
        const LENGTH: u64 = 1 << 20;
        let mut zeros = io::repeat(0).take(LENGTH);
        let index = Index::read(&mut zeros).unwrap();
        assert_eq!(index.damage.as_deref(), Some("it does not begin as MCAP files do"));
        assert_eq!(LENGTH - zeros.limit(), mcap::MAGIC.len() as u64);
    }
}
