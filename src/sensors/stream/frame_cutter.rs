//! Raw frames out of a stream of bytes: nothing but their size says where one ends.

/// Cuts frames of one size, each with the stamp of the push in which it began.
#[derive(Debug)]
pub(crate) struct FrameCutter<S> {
    frame_bytes: usize,
    frame: Vec<u8>,
    began_at: Option<S>,
}

impl<S: Copy> FrameCutter<S> {
    /// For frames of so many bytes, one at least.
    pub(crate) fn new(frame_bytes: usize) -> Self {
        Self { frame_bytes: frame_bytes.max(1), frame: Vec::new(), began_at: None }
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8], at: S, mut found: impl FnMut(S, &[u8])) {
        while !bytes.is_empty() {
            let began_at = *self.began_at.get_or_insert(at);
            let (piece, rest) = bytes.split_at((self.frame_bytes - self.frame.len()).min(bytes.len()));
            self.frame.extend_from_slice(piece);
            bytes = rest;
            if self.frame.len() == self.frame_bytes {
                found(began_at, &self.frame);
                self.frame.clear();
                self.began_at = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn wherever_the_bytes_are_cut_the_same_frames_come(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            frame_bytes in 1..40usize,
            piece_bytes in 1..60usize,
        ) {
            let (mut cutter, mut found) = (FrameCutter::new(frame_bytes), Vec::new());
            for (piece, at) in bytes.chunks(piece_bytes).zip(0usize..) {
                cutter.push(piece, at, |began_at, frame| found.push((began_at, frame.to_vec())));
            }
            let wanted = bytes.chunks_exact(frame_bytes).enumerate();
            let wanted: Vec<_> = wanted.map(|(n, frame)| (n * frame_bytes / piece_bytes, frame.to_vec())).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
