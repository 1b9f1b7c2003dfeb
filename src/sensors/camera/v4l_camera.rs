//! Cameras through V4L2: what the frames of a node mean.

use std::sync::Arc;
use std::time::Duration;

use super::depth::depth_frame;
use super::thermal::{rows_of_frame, thermal_frame};
use super::video_node::{Code, VideoNode, Wanted};
use crate::media::{CameraFrame, PixelFormat};
use crate::modality::SensorId;
use crate::sensors::settings::{ThermalLayout, V4lDepthSettings, V4lSettings, V4lThermalSettings, VideoNodeSettings};
use crate::sensors::{Sample, SampleData, Sensor, SensorError};

const Y16: Code = *b"Y16 ";

/// Layouts of pictures, the preferred first: raw where the bus carries it, since it spares decoding.
const PICTURES: [Code; 5] = [*b"YUYV", *b"MJPG", *b"NV12", *b"GREY", Y16];

/// `Z16` by its name; some drivers give the same as 16-bit grey.
const DEPTHS: [Code; 2] = [*b"Z16 ", Y16];

/// What frames mean.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    Picture(PixelFormat),
    /// 16-bit grey, of which this many bits are used.
    Grey16 {
        bits: u32,
    },
    Thermal {
        layout: ThermalLayout,
        valid_celsius: [f32; 2],
    },
    Depth {
        metres_per_step: f64,
    },
}

impl Meaning {
    /// The data of a frame; none when it is short.
    fn read(self, frame: &[u8], (width, height): (u32, u32)) -> Option<SampleData> {
        let picture = |format, bytes: Arc<[u8]>| SampleData::Image(CameraFrame { width, height, format, bytes });
        match self {
            Self::Picture(format) => Some(picture(format, frame.into())),
            Self::Grey16 { bits } => Some(picture(PixelFormat::Grey8, grey8(frame, bits))),
            Self::Thermal { layout, valid_celsius } => {
                thermal_frame(frame, layout, (width, height), valid_celsius).map(SampleData::Thermal)
            }
            Self::Depth { metres_per_step } => {
                depth_frame(frame, (width, height), metres_per_step).map(SampleData::Depth)
            }
        }
    }
}

/// 16-bit grey to 8 bits; what lies above the bits that count is white.
fn grey8(frame: &[u8], bits: u32) -> Arc<[u8]> {
    let shift = bits.clamp(8, 16) - 8;
    let value = |step: &[u8; 2]| u8::try_from(u16::from_le_bytes(*step) >> shift).unwrap_or(u8::MAX);
    frame.as_chunks::<2>().0.iter().map(value).collect()
}

pub(super) struct V4lCamera {
    id: SensorId,
    node: VideoNode,
    size: (u32, u32),
    meaning: Meaning,
}

impl V4lCamera {
    pub(super) fn pictures(id: SensorId, settings: &V4lSettings) -> Result<Self, SensorError> {
        let fits = |code: &Code| settings.fourcc.as_deref().is_none_or(|name| code.trim_ascii_end() == name.as_bytes());
        let layouts: Vec<Code> = PICTURES.into_iter().filter(fits).collect();
        let node = open(&settings.node, settings.node.height_px, &layouts)?;
        let meaning = match &node.layout() {
            b"MJPG" => Meaning::Picture(PixelFormat::Jpeg),
            b"NV12" => Meaning::Picture(PixelFormat::Nv12),
            b"GREY" => Meaning::Picture(PixelFormat::Grey8),
            b"Y16 " => Meaning::Grey16 { bits: settings.y16_bits },
            _ => Meaning::Picture(PixelFormat::Yuyv),
        };
        Ok(Self::new(id, node, &settings.node, meaning))
    }

    pub(super) fn thermal(id: SensorId, settings: &V4lThermalSettings) -> Result<Self, SensorError> {
        let code = match settings.layout {
            ThermalLayout::Y16 { .. } => Y16,
            ThermalLayout::DoubleHeight { .. } => *b"YUYV",
        };
        let rows = rows_of_frame(settings.layout, settings.node.height_px);
        let node = open(&settings.node, rows, &[code])?;
        let meaning = Meaning::Thermal { layout: settings.layout, valid_celsius: settings.valid_celsius };
        Ok(Self::new(id, node, &settings.node, meaning))
    }

    pub(super) fn depth(id: SensorId, settings: &V4lDepthSettings) -> Result<Self, SensorError> {
        let node = open(&settings.node, settings.node.height_px, &DEPTHS)?;
        let meaning = Meaning::Depth { metres_per_step: settings.metres_per_step };
        Ok(Self::new(id, node, &settings.node, meaning))
    }

    const fn new(id: SensorId, node: VideoNode, settings: &VideoNodeSettings, meaning: Meaning) -> Self {
        Self { id, node, size: (settings.width_px, settings.height_px), meaning }
    }
}

fn open(settings: &VideoNodeSettings, rows: u32, layouts: &[Code]) -> Result<VideoNode, SensorError> {
    VideoNode::open(&Wanted {
        device: &settings.device,
        width_px: settings.width_px,
        height_px: rows,
        rate_hz: settings.rate_hz,
        layouts,
    })
}

impl Sensor for V4lCamera {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        let Some(frame) = self.node.next(timeout)? else { return Ok(None) };
        let (captured_at, arrived_at, seq) = (frame.captured_at, frame.arrived_at, frame.seq);
        let data = self.meaning.read(&frame.bytes, self.size);
        Ok(data.map(|data| Sample { sensor: self.id.clone(), captured_at, arrived_at, seq, data }))
    }

    fn take_refused(&mut self) -> u64 {
        self.node.take_refused()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_become_eight_by_the_bits_that_count() {
        let frame: Vec<u8> = [0u16, 0x1ff, 0x3ff, 0x400, 0xff00].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(*grey8(&frame, 16), [0, 1, 3, 4, 255]);
        assert_eq!(*grey8(&frame, 10), [0, 127, 255, 255, 255]);
    }
}
