//! What must hold of raw frames out of a stream of bytes: wherever it is cut, the same frames come, each with the place where it began.

use super::FrameCutter;

/// Bytes of a frame and of a piece, and the stream.
pub(crate) fn example() -> Vec<u8> {
    [&[12, 5][..], &[7; 30]].concat()
}

pub(crate) fn cut(bytes: &[u8]) {
    let Some(([frame_bytes, piece_bytes], bytes)) = bytes.split_first_chunk() else { return };
    let (frame_bytes, piece_bytes) = (usize::from(*frame_bytes), usize::from(*piece_bytes).max(1));
    let (mut cutter, mut found) = (FrameCutter::new(frame_bytes), Vec::new());
    for (piece, at) in bytes.chunks(piece_bytes).zip(0usize..) {
        cutter.push(piece, at, |began_at, frame| found.push((began_at, frame.to_vec())));
    }
    let frame_bytes = frame_bytes.max(1);
    let wanted = bytes.chunks_exact(frame_bytes).enumerate();
    assert!(found.into_iter().eq(wanted.map(|(n, frame)| (n * frame_bytes / piece_bytes, frame.to_vec()))));
}
