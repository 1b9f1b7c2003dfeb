//! A camera through nokhwa, which also knows macOS and Windows.
//!
//! nokhwa gives no timeout, no sequence number and no stamp on our clock, so frames are read on a thread of its own and stamped when
//! they arrive. A read that never returns leaves that thread behind; on Linux prefer the V4L2 driver, which has none of this.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use nokhwa::Camera;
use nokhwa::utils::{CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution};

use crate::media::{CameraFrame, PixelFormat};
use crate::modality::SensorId;
use crate::sensors::settings::NokhwaSettings;
use crate::sensors::{Sample, SampleData, Sensor, SensorError};
use crate::time::{MonoTime, now};

/// Frames that wait; a third is dropped, and the jump in the sequence tells.
const WAITING: usize = 2;

const LAYOUTS: [FrameFormat; 5] =
    [FrameFormat::YUYV, FrameFormat::MJPEG, FrameFormat::NV12, FrameFormat::GRAY, FrameFormat::RAWRGB];

type Frame = (MonoTime, u64, CameraFrame);

pub(super) struct NokhwaCamera {
    id: SensorId,
    device: String,
    frames: Receiver<Result<Frame, String>>,
    stop: Arc<AtomicBool>,
}

impl NokhwaCamera {
    pub(super) fn open(id: SensorId, settings: &NokhwaSettings) -> Result<Self, SensorError> {
        let NokhwaSettings { index, width_px, height_px, rate_hz } = *settings;
        let device = format!("camera {index}");
        let (sender, frames) = sync_channel(WAITING);
        let stop = Arc::new(AtomicBool::new(false));
        let (stop_there, rate) = (Arc::clone(&stop), rate_hz.ceil().max(1.0) as u32);
        std::thread::Builder::new()
            .name(format!("nokhwa-{index}"))
            .spawn(move || read(index, (width_px, height_px), rate, &sender, &stop_there))
            .map_err(|error| SensorError::Lost { device: device.clone(), why: error.to_string() })?;
        Ok(Self { id, device, frames, stop })
    }
}

impl Sensor for NokhwaCamera {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        let lost = |why: String| SensorError::Lost { device: self.device.clone(), why };
        let (arrived_at, seq, frame) = match self.frames.recv_timeout(timeout) {
            Ok(frame) => frame.map_err(lost)?,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Err(lost("the camera's reader ended".to_owned())),
        };
        let (sensor, captured_at, data) = (self.id.clone(), arrived_at, SampleData::Image(frame));
        Ok(Some(Sample { sensor, captured_at, arrived_at, seq, data }))
    }
}

impl Drop for NokhwaCamera {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The reader's whole life. The camera is made here, since it need not be able to move between threads.
fn read(index: u32, size: (u32, u32), rate: u32, output: &SyncSender<Result<Frame, String>>, stop: &AtomicBool) {
    let ended = frames(index, size, rate, stop, |frame| output.try_send(Ok(frame)).is_ok());
    if let Err(why) = ended
        && output.send(Err(why)).is_err()
    {
        tracing::debug!(index, "nobody reads this camera any more");
    }
}

/// The camera in the first layout that it offers at this size: "closest" of nokhwa is within one layout.
fn open(index: u32, (width, height): (u32, u32), rate: u32) -> Result<Camera, String> {
    let mut why = None;
    for layout in LAYOUTS {
        let wanted = RequestedFormatType::Closest(CameraFormat::new_from(width, height, layout, rate));
        match Camera::new(CameraIndex::Index(index), RequestedFormat::with_formats(wanted, &LAYOUTS)) {
            Ok(camera) if camera.resolution() == Resolution::new(width, height) => return Ok(camera),
            Ok(camera) => why = Some(format!("no {width}x{height}; the closest is {}", camera.resolution())),
            Err(error) => why = why.or_else(|| Some(error.to_string())),
        }
    }
    Err(why.unwrap_or_default())
}

fn frames(
    index: u32,
    (width, height): (u32, u32),
    rate: u32,
    stop: &AtomicBool,
    mut give: impl FnMut(Frame) -> bool,
) -> Result<(), String> {
    let mut camera = open(index, (width, height), rate)?;
    camera.open_stream().map_err(|error| error.to_string())?;
    for seq in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let buffer = camera.frame().map_err(|error| error.to_string())?;
        let format = match buffer.source_frame_format() {
            FrameFormat::MJPEG => PixelFormat::Jpeg,
            FrameFormat::YUYV => PixelFormat::Yuyv,
            FrameFormat::NV12 => PixelFormat::Nv12,
            FrameFormat::GRAY => PixelFormat::Grey8,
            FrameFormat::RAWRGB => PixelFormat::Rgb8,
            other => return Err(format!("frames laid out as {other} are not read")),
        };
        let size = buffer.resolution();
        let frame = CameraFrame { width: size.width(), height: size.height(), format, bytes: buffer.buffer().into() };
        // A full channel means that nobody took the last frames; this one is left out.
        give((now(), seq, frame));
    }
    Ok(())
}
