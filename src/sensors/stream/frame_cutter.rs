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
#[path = "../../../fuzz/cut_body.rs"]
mod body;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::body;

    proptest! {
        /// The body of the fuzzing target.
        #[test]
        fn wherever_the_bytes_are_cut_the_same_frames_come(
            frame_bytes in 0u8..40, piece_bytes in 0u8..60, bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            body::cut(&body::example());
            body::cut(&[&[frame_bytes, piece_bytes][..], &bytes].concat());
        }
    }
}
