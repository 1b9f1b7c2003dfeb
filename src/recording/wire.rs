//! The protobuf messages inside a recording, generated from `proto/`, and their names.

use crate::modality::Modality;

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

/// The same of what a replay puts beside its input: Foxglove's annotations and all that perceptd publishes.
pub(super) const FOUND_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/findings.fds.bin"));

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
    pub(super) const ALL: [Self; 5] =
        [Self::CompressedImage, Self::RawImage, Self::AudioBlock, Self::PlaneFrame, Self::ImuBatch];

    /// The senses that it can serve, the usual one first.
    pub(super) const fn modalities(self) -> &'static [Modality] {
        match self {
            Self::CompressedImage | Self::RawImage => &[Modality::Image],
            Self::AudioBlock => &[Modality::Audio],
            Self::PlaneFrame => &[Modality::Thermal, Modality::Depth],
            Self::ImuBatch => &[Modality::Imu],
        }
    }

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
        Self::ALL.into_iter().find(|schema| schema.name() == name)
    }
}
