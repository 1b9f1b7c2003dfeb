//! Sources that are no devices of this machine: files, network cameras, programs.

use std::path::PathBuf;

use super::{HttpUrl, ThermalLayout};
use crate::modality::Modality;

/// A source and the way to it.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamDriver {
    /// A folder of pictures.
    Folder(FolderSettings),
    /// MJPEG over HTTP, as network cameras give it.
    HttpMjpeg(HttpMjpegSettings),
    /// A program that writes to its standard output.
    Command(CommandSettings),
}

/// A folder of JPEG or PNG pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct FolderSettings {
    /// The folder.
    pub folder: PathBuf,
    /// Which picture comes first.
    pub order: FolderOrder,
    /// Pictures a second.
    pub rate_hz: f64,
    /// Starts over at the end; else waits for new pictures.
    pub repeat: bool,
}

/// The order of a folder's pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderOrder {
    /// By name.
    Name,
    /// By the time of the last change, then by name.
    Time,
}

/// MJPEG over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpMjpegSettings {
    /// Where.
    pub url: HttpUrl,
    /// How to log in: the user's name, and a file whose first line is the password.
    pub login: Option<(String, PathBuf)>,
    /// Frames a second that are expected.
    pub rate_hz: f64,
}

/// A program that writes frames or sound to its standard output.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandSettings {
    /// The program and its arguments; no shell reads them.
    pub command: Vec<String>,
    /// What it writes.
    pub output: CommandOutput,
}

/// What a program writes.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandOutput {
    /// JPEG pictures, one after the other.
    Mjpeg {
        /// Frames a second that are expected.
        rate_hz: f64,
    },
    /// Frames of one size, without anything between them.
    Frames {
        /// How a frame is laid out.
        layout: RawLayout,
        /// Width in pixels.
        width_px: u32,
        /// Height in pixels.
        height_px: u32,
        /// Frames a second that are expected.
        rate_hz: f64,
    },
    /// Interleaved samples of sound.
    Pcm {
        /// How a sample is written.
        encoding: PcmEncoding,
        /// Samples a second of one channel.
        sample_rate_hz: u32,
        /// Channels.
        channels: u16,
        /// The channel that is taken, from 0.
        channel: u16,
    },
}

/// The layout of a raw frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RawLayout {
    /// 8-bit R, G, B.
    Rgb24,
    /// 8-bit grey.
    Grey8,
    /// 4:2:2, Y0 U Y1 V.
    Yuyv,
    /// 4:2:0, Y plane then interleaved UV.
    Nv12,
    /// 16-bit thermal steps, little-endian.
    Thermal(ThermalLayout, [f32; 2]),
    /// 16-bit depth, little-endian: metres a step.
    Depth(f64),
}

/// How a sample of sound is written, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcmEncoding {
    /// Signed 16-bit.
    S16Le,
    /// 32-bit floating point.
    F32Le,
}

impl StreamDriver {
    /// The sense it serves.
    #[must_use]
    pub const fn modality(&self) -> Modality {
        match self {
            Self::Folder(_) | Self::HttpMjpeg(_) => Modality::Image,
            Self::Command(CommandSettings { output, .. }) => match output {
                CommandOutput::Mjpeg { .. } => Modality::Image,
                CommandOutput::Frames { layout: RawLayout::Thermal(..), .. } => Modality::Thermal,
                CommandOutput::Frames { layout: RawLayout::Depth(_), .. } => Modality::Depth,
                CommandOutput::Frames { .. } => Modality::Image,
                CommandOutput::Pcm { .. } => Modality::Audio,
            },
        }
    }

    /// The longest time between two deliveries of a healthy source, in seconds; infinite for a folder that waits for new pictures.
    #[must_use]
    pub fn period_secs(&self) -> f64 {
        let rate_hz = match self {
            Self::Folder(FolderSettings { repeat: false, .. }) => return f64::INFINITY,
            Self::Folder(FolderSettings { rate_hz, .. }) | Self::HttpMjpeg(HttpMjpegSettings { rate_hz, .. }) => {
                *rate_hz
            }
            Self::Command(CommandSettings { output, .. }) => match output {
                CommandOutput::Mjpeg { rate_hz } | CommandOutput::Frames { rate_hz, .. } => *rate_hz,
                CommandOutput::Pcm { .. } => 10.0,
            },
        };
        1.0 / rate_hz.max(0.001)
    }
}
