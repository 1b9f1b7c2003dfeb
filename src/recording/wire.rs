//! The protobuf messages inside a recording, generated from `proto/`, and their names.

pub(super) mod foxglove {
    #![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub)]
    include!(concat!(env!("OUT_DIR"), "/foxglove.rs"));
}

pub(super) mod perceptd {
    #![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub)]
    include!(concat!(env!("OUT_DIR"), "/perceptd.recording.v1.rs"));
}

/// Descriptors of all messages below with what they import: the `data` of each schema in the file.
pub(super) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/recording.fds.bin"));

/// What a channel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    CompressedImage,
    RawImage,
    AudioBlock,
    PlaneFrame,
    ImuBatch,
}

impl Schema {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CompressedImage => "foxglove.CompressedImage",
            Self::RawImage => "foxglove.RawImage",
            Self::AudioBlock => "perceptd.recording.v1.AudioBlock",
            Self::PlaneFrame => "perceptd.recording.v1.PlaneFrame",
            Self::ImuBatch => "perceptd.recording.v1.ImuBatch",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        let all = [Self::CompressedImage, Self::RawImage, Self::AudioBlock, Self::PlaneFrame, Self::ImuBatch];
        all.into_iter().find(|schema| schema.name() == name)
    }
}
