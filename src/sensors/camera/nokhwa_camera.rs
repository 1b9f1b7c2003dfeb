//! A camera through nokhwa, which also knows macOS and Windows.
//!
//! nokhwa gives no timeout, no sequence number and no stamp on our clock, so frames are read on a thread of its own and stamped when
//! they arrive. A read that never returns leaves that thread behind, and the camera busy until it does; on Linux prefer the V4L2 driver,
//! which has none of this.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use nokhwa::utils::{CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution};
use nokhwa::{Camera, NokhwaError};

use super::video_node::is_fast_enough;
use crate::media::{CameraFrame, PixelFormat};
use crate::modality::SensorId;
use crate::sensors::holder::busy;
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
        let stop_there = Arc::clone(&stop);
        std::thread::Builder::new()
            .name(format!("nokhwa-{index}"))
            .spawn(move || read(index, (width_px, height_px), rate_hz, &sender, &stop_there))
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
fn read(index: u32, size: (u32, u32), rate_hz: f64, output: &SyncSender<Result<Frame, String>>, stop: &AtomicBool) {
    let ended = frames(index, size, rate_hz, stop, |frame| output.try_send(Ok(frame)).is_ok());
    if let Err(why) = ended
        && output.send(Err(why)).is_err()
    {
        tracing::debug!(index, "nobody reads this camera any more");
    }
}

/// The camera in the first layout in which it does this size and rate: "closest" of nokhwa is within one layout.
fn open(index: u32, (width, height): (u32, u32), rate_hz: f64) -> Result<Camera, String> {
    let (mut why, mut too_slow, rate) = (None, None, rate_hz.ceil().max(1.0) as u32);
    for layout in LAYOUTS {
        let wanted = RequestedFormatType::Closest(CameraFormat::new_from(width, height, layout, rate));
        match Camera::new(CameraIndex::Index(index), RequestedFormat::with_formats(wanted, &LAYOUTS)) {
            Ok(camera) if camera.resolution() == Resolution::new(width, height) => {
                // Raw layouts of many webcams are too slow, by USB's limits, and a compressed one is not.
                match with_rate(camera, layout, rate_hz) {
                    Ok(camera) => return Ok(camera),
                    Err(slow) => too_slow = too_slow.or(Some(slow)),
                }
            }
            Ok(camera) => why = Some(format!("no {width}x{height}; the closest is {}", camera.resolution())),
            Err(error) => why = why.or_else(|| Some(in_words(&error, index))),
        }
    }
    Err(too_slow.or(why).unwrap_or_default())
}

/// The camera, if it is as fast as asked.
fn with_rate(mut camera: Camera, layout: FrameFormat, rate_hz: f64) -> Result<Camera, String> {
    if is_fast_enough(f64::from(camera.frame_rate()), rate_hz) {
        return Ok(camera);
    }
    let size = camera.resolution();
    let offers = camera.compatible_list_by_resolution(layout).unwrap_or_default();
    let mut rates = offers.get(&size).cloned().unwrap_or_default();
    rates.sort_unstable();
    let rates: Vec<String> = rates.iter().map(ToString::to_string).collect();
    Err(format!(
        "no {rate_hz} frames a second at {size}; it would run at {}, of {}",
        camera.frame_rate(),
        rates.join(", ")
    ))
}

/// nokhwa hands the system's errors on as texts.
fn in_words(error: &NokhwaError, index: u32) -> String {
    let error = error.to_string();
    // EBUSY of Linux, where the index is that of the node.
    if error.contains("(os error 16)") { busy(Path::new(&format!("/dev/video{index}"))) } else { error }
}

fn frames(
    index: u32,
    (width, height): (u32, u32),
    rate_hz: f64,
    stop: &AtomicBool,
    mut give: impl FnMut(Frame) -> bool,
) -> Result<(), String> {
    let mut camera = open(index, (width, height), rate_hz)?;
    camera.open_stream().map_err(|error| in_words(&error, index))?;
    for seq in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let buffer = camera.frame().map_err(|error| in_words(&error, index))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_camera_is_told_as_such() {
        let error = |why: &str| in_words(&NokhwaError::OpenStreamError(why.to_owned()), 7777);
        let told = error("Device or resource busy (os error 16)");
        assert!(told.starts_with("busy: another program holds it") && told.contains("/dev/video7777"), "{told}");
        assert!(error("No such device (os error 19)").contains("No such device"));
    }
}
