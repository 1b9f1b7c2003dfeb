//! MCAP's records as bytes: framing, messages, chunks and their compression. Pure.
//!
//! <https://mcap.dev/spec>. The `mcap` crate parses what is small; messages and chunks are cut here, so that a chunk is decompressed and
//! checked once and its messages are never copied.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

use mcap::records::{ChunkHeader, Record, op};

/// Opcode and length before each record.
pub(super) const HEAD_BYTES: usize = 9;

/// A record or chunk larger than this is not read: a damaged length must not ask for all memory. Writers close chunks at 1 to 16 MiB.
pub(super) const MAX_RECORD_BYTES: u64 = 256 << 20;

/// Channel, sequence number and two times before the data of a message.
const MESSAGE_HEAD_BYTES: usize = 22;

/// Opcode and length of a record, from the nine bytes before it.
pub(super) fn head(bytes: [u8; HEAD_BYTES]) -> (u8, u64) {
    let [opcode, length @ ..] = bytes;
    (opcode, u64::from_le_bytes(length))
}

/// The records of a piece of a file: opcode, and where the body lies. An error is the last item.
pub(super) fn split(bytes: &[u8]) -> impl Iterator<Item = Result<(u8, Range<usize>), String>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let body = rest.split_first_chunk().and_then(|(bytes, after)| {
            let (opcode, length) = head(*bytes);
            let length = usize::try_from(length).ok().filter(|length| *length <= after.len())?;
            let start = at + HEAD_BYTES;
            Some((opcode, start..start + length))
        });
        at = body.as_ref().map_or(bytes.len(), |(_, body)| body.end);
        Some(body.ok_or_else(|| "a record ends in the middle".to_owned()))
    })
}

/// What stands before a message's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageHead {
    pub(super) channel: u16,
    pub(super) sequence: u32,
    pub(super) log_time: u64,
    pub(super) publish_time: u64,
}

/// The head of a message and where in `body` its data begins.
pub(super) fn message(body: &[u8]) -> Result<(MessageHead, usize), String> {
    let Some((bytes, _)) = body.split_first_chunk::<MESSAGE_HEAD_BYTES>() else {
        return Err("a message is too short".to_owned());
    };
    let [c0, c1, s0, s1, s2, s3, l0, l1, l2, l3, l4, l5, l6, l7, publish @ ..] = *bytes;
    let head = MessageHead {
        channel: u16::from_le_bytes([c0, c1]),
        sequence: u32::from_le_bytes([s0, s1, s2, s3]),
        log_time: u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
        publish_time: u64::from_le_bytes(publish),
    };
    if head.log_time > i64::MAX as u64 || head.publish_time > i64::MAX as u64 {
        return Err("a message's stamp is impossible".to_owned());
    }
    Ok((head, MESSAGE_HEAD_BYTES))
}

/// The records of a chunk, decompressed and found whole.
pub(super) fn unpack(chunk: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let parsed = mcap::parse_record(op::CHUNK, chunk).map_err(|why| format!("a chunk is malformed: {why}"))?;
    let Record::Chunk { header, data: Cow::Borrowed(data) } = parsed else { return Err("no chunk".to_owned()) };
    let records = decompress(&header, data)?;
    let calculated = || crc32fast::hash(&records);
    if header.uncompressed_crc != 0 && header.uncompressed_crc != calculated() {
        return Err("a chunk's checksum is wrong".to_owned());
    }
    Ok(records)
}

fn decompress<'a>(header: &ChunkHeader, data: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
    if header.compression.is_empty() {
        return Ok(Cow::Borrowed(data));
    }
    let size = usize::try_from(header.uncompressed_size.min(MAX_RECORD_BYTES + 1)).unwrap_or(usize::MAX);
    if size as u64 > MAX_RECORD_BYTES {
        return Err(format!("a chunk of {} bytes is too large to be read", header.uncompressed_size));
    }
    let mut records = vec![0; size];
    let written = match header.compression.as_str() {
        "zstd" => ruzstd::decoding::FrameDecoder::new().decode_all(data, &mut records).map_err(|why| why.to_string()),
        "lz4" => {
            let mut decoder = lz4_flex::frame::FrameDecoder::new(data);
            decoder.read_exact(&mut records).map(|()| size).map_err(|why| why.to_string())
        }
        other => return Err(format!("chunks are compressed with `{other}`: convert the file with `mcap compress`")),
    };
    match written {
        Ok(written) if written == size => Ok(Cow::Owned(records)),
        Ok(written) => Err(format!("a chunk holds {written} bytes instead of {size}")),
        Err(why) => Err(format!("a chunk cannot be decompressed ({}): {why}", header.compression)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(opcode: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![opcode];
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn records_are_split_and_a_cut_one_is_told_once() {
        let mut bytes = record(5, b"abc");
        bytes.extend(record(4, b""));
        let whole: Vec<_> = split(&bytes).map(Result::unwrap).collect();
        assert_eq!(whole, [(5, 9..12), (4, 21..21)]);
        bytes.extend(record(5, b"abc"));
        for cut in 22..bytes.len() {
            let items: Vec<_> = split(&bytes[..cut]).collect();
            assert!(items.len() == 3 && items[2].is_err(), "{cut}: {items:?}");
        }
    }

    proptest! {
        /// Any bytes at all, and chunks with any contents: no panic and no allocation beyond the limit.
        #[test]
        fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..300), kind in 0usize..3, size: u64) {
            let items: Vec<_> = split(&noise).collect();
            prop_assert!(items.iter().filter(|item| item.is_err()).count() <= 1);
            let heads = items.iter().flatten().filter_map(|(_, body)| message(&noise[body.clone()]).ok()).count();
            prop_assert!(heads <= items.len());
            let mut chunk = [0u8; 16].to_vec();
            chunk.extend(if noise.len() % 2 == 0 { size } else { size % 4096 }.to_le_bytes());
            chunk.extend([0; 4]);
            let name: &[u8] = [b"zstd".as_slice(), b"lz4", b""][kind];
            chunk.extend((name.len() as u32).to_le_bytes());
            chunk.extend(name);
            chunk.extend((noise.len() as u64).to_le_bytes());
            chunk.extend(&noise);
            prop_assert!(unpack(&chunk).is_err() || kind == 2 || size % 4096 == 0);
            prop_assert!(unpack(&noise).is_err());
        }
    }
}
