//! A capture node of V4L2: opened, checked against what it offers, read frame by frame with the kernel's stamps and counts.
//!
//! What the bytes mean is its callers' business. Pipelines behind libcamera (Raspberry Pi's CSI cameras, many Jetsons) are no plain
//! capture nodes: see docs/sensors.md for the way round.

mod offers;

use std::borrow::Cow;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use v4l::buffer::{Flags, Metadata, Type};
use v4l::io::mmap::Stream;
use v4l::io::traits::CaptureStream;
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, FourCC, Fraction};

use crate::sensors::SensorError;
use crate::sensors::holder::{busy, denied};
use crate::time::{MonoTime, NANOS_PER_SEC, now};

pub(in crate::sensors) use offers::offers;
pub use offers::{Offer, SizeOffer};

const BUFFERS: u32 = 4;

/// From poll.h; the crate polls with the system's own number.
const POLLIN: i16 = 1;

/// errno of a device that another program holds; of a bus without room for the stream; of a file that is no such device.
const EBUSY: i32 = 16;
const ENOSPC: i32 = 28;

/// Cameras take up to two seconds from the start to the first frame, slow ones two periods. Opening blocks for this long, during which no
/// stop is seen: perceptd gives up on a thread that does not stop within ten seconds.
const FIRST_FRAME_TIMEOUT_SECS: f64 = 3.0;
const LONGEST_FIRST_FRAME_TIMEOUT_SECS: f64 = 9.0;

/// The share of the wanted rate that is good enough: 29.97 and 8.7 frames a second pass for 30 and 9.
const RATE_SHARE: f64 = 0.95;

/// A layout's four-character code.
pub(super) type Code = [u8; 4];

/// What is asked of a node.
pub(super) struct Wanted<'a> {
    pub(super) device: &'a str,
    pub(super) width_px: u32,
    pub(super) height_px: u32,
    pub(super) rate_hz: f64,
    /// Layouts that the caller reads, the preferred first.
    pub(super) layouts: &'a [Code],
}

/// A frame as the driver gave it.
pub(super) struct RawFrame<'a> {
    /// The kernel's stamp when it is on our clock (uvcvideo: start of exposure), else the arrival.
    pub(super) captured_at: MonoTime,
    pub(super) arrived_at: MonoTime,
    /// The driver's count; a jump is a lost frame.
    pub(super) seq: u64,
    /// Rows without padding.
    pub(super) bytes: Cow<'a, [u8]>,
}

/// A node that streams.
pub(super) struct VideoNode {
    device: String,
    format: Format,
    /// Taken at the drop, which must not panic.
    stream: Option<Stream<'static>>,
    refused: u64,
}

impl VideoNode {
    pub(super) fn open(wanted: &Wanted<'_>) -> Result<Self, SensorError> {
        let lost = |error: std::io::Error| lost(wanted.device, &error);
        let node = Device::with_path(wanted.device).map_err(lost)?;
        let format = set_layout(&node, wanted)?;
        let mut stream = Stream::with_buffers(&node, Type::VideoCapture, BUFFERS).map_err(lost)?;
        let patience = first_frame_within(wanted.rate_hz);
        stream.set_timeout(patience);
        // The first call queues the buffers and starts; were it to time out, a second would queue one of them twice.
        let started = stream.next().map(|_| ()).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => SensorError::Lost {
                device: wanted.device.to_owned(),
                why: format!("it was started but gave no frame within {:.1} s", patience.as_secs_f64()),
            },
            _ => lost(error),
        });
        let node = Self { device: wanted.device.to_owned(), format, stream: Some(stream), refused: 0 };
        started.map(|()| node)
    }

    /// The layout that was chosen.
    pub(super) const fn layout(&self) -> Code {
        self.format.fourcc.repr
    }

    /// How many frames since the last call were broken or short.
    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// The next frame; none when nothing came in time, or what came is broken or short.
    pub(super) fn next(&mut self, timeout: Duration) -> Result<Option<RawFrame<'_>>, SensorError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let lost = |error: std::io::Error| lost(&self.device, &error);
        // Only a readable device may be asked for the next frame: asking queues the last buffer, which a timeout would leave queued.
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(500);
        match stream.handle().poll(POLLIN, millis) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            // A signal of the process came to this thread.
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(lost(error)),
        }
        // A device that is gone is readable too; the error comes from here (ENODEV).
        let (buffer, meta) = stream.next().map_err(lost)?;
        let arrived_at = now();
        let used = buffer.get(..meta.bytesused as usize).unwrap_or(buffer);
        let captured_at = captured_at(meta, arrived_at);
        let seq = u64::from(meta.sequence);
        let bytes = if meta.flags.contains(Flags::ERROR) {
            None
        } else {
            without_padding(used, self.format.fourcc.repr, &self.format)
        };
        self.refused += u64::from(bytes.is_none());
        Ok(bytes.map(|bytes| RawFrame { captured_at, arrived_at, seq, bytes }))
    }
}

impl Drop for VideoNode {
    fn drop(&mut self) {
        let stream = self.stream.take();
        // v4l 0.14 panics in its drop when stopping fails with anything but ENODEV; a dying camera may answer EIO.
        if catch_unwind(AssertUnwindSafe(|| drop(stream))).is_err() {
            tracing::debug!(device = %self.device, "the camera could not be stopped");
        }
    }
}

/// How long the first frame is waited for.
fn first_frame_within(rate_hz: f64) -> Duration {
    let secs = (2.0 / rate_hz).clamp(FIRST_FRAME_TIMEOUT_SECS, LONGEST_FIRST_FRAME_TIMEOUT_SECS);
    Duration::try_from_secs_f64(secs).unwrap_or(Duration::from_secs(3))
}

fn captured_at(meta: &Metadata, arrived_at: MonoTime) -> MonoTime {
    if (meta.flags & Flags::TIMESTAMP_MASK) != Flags::TIMESTAMP_MONOTONIC {
        return arrived_at;
    }
    MonoTime::from_nanos(meta.timestamp.sec.saturating_mul(NANOS_PER_SEC).saturating_add(meta.timestamp.usec * 1000))
}

/// Sets the first of the wanted layouts in which the camera does the size and the rate: many webcams are too slow in raw ones, by USB's limits.
fn set_layout(node: &Device, wanted: &Wanted<'_>) -> Result<Format, SensorError> {
    let offered = offers::layouts(node);
    if offered.is_empty() {
        // UVC cameras have a second node, index1, for metadata; image processors have nodes of several planes.
        let why = "it is no plain capture device (a UVC camera's pictures come from its node index0; a CSI camera needs libcamera)";
        return Err(unsupported(wanted.device, why.to_owned()));
    }
    choose(wanted.layouts, &offered, |code| set_size_and_rate(node, wanted, code))
        .map_err(|error| lost(wanted.device, &error))?
        .map_err(|why| unsupported(wanted.device, why))
}

/// What `set` gives for the first wanted layout that it can set; or else why it can none.
fn choose<T>(
    wanted: &[Code],
    offered: &[Code],
    mut set: impl FnMut(Code) -> std::io::Result<Result<T, String>>,
) -> std::io::Result<Result<T, String>> {
    let mut whys = Vec::new();
    for code in wanted.iter().copied().filter(|code| offered.contains(code)) {
        match set(code)? {
            Ok(set) => return Ok(Ok(set)),
            Err(why) => whys.push(why),
        }
    }
    if whys.is_empty() {
        let names = |codes: &[Code]| codes.iter().map(|code| offers::name(*code)).collect::<Vec<_>>().join(", ");
        whys.push(format!("none of {}; it offers {}", names(wanted), names(offered)));
    }
    Ok(Err(whys.join("; ")))
}

/// Sets one layout; or else why the camera cannot do what is wanted in it.
fn set_size_and_rate(node: &Device, wanted: &Wanted<'_>, code: Code) -> std::io::Result<Result<Format, String>> {
    let asked = Format::new(wanted.width_px, wanted.height_px, FourCC::new(&code));
    let format = node.set_format(&asked)?;
    if (format.width, format.height, format.fourcc.repr) != (wanted.width_px, wanted.height_px, code) {
        return Ok(Err(wrong_size(node, wanted, code)));
    }
    Ok(set_rate(node, wanted, code).map(|()| format))
}

fn wrong_size(node: &Device, wanted: &Wanted<'_>, code: Code) -> String {
    let sizes = offers::sizes(node, code).join(", ");
    format!("no {}x{} in {}; it offers {sizes}", wanted.width_px, wanted.height_px, offers::name(code))
}

/// A camera may run faster than asked (windows take the newest frame of a hop), but not slower.
pub(super) fn is_fast_enough(rate_hz: f64, wanted_hz: f64) -> bool {
    rate_hz >= RATE_SHARE * wanted_hz
}

fn set_rate(node: &Device, wanted: &Wanted<'_>, code: Code) -> Result<(), String> {
    let interval = Fraction::new(1000, (wanted.rate_hz * 1000.0).round().max(1.0) as u32);
    let Ok(set) = node.set_params(&Parameters::new(interval)) else {
        return Ok(()); // drivers without a rate setting (loopbacks) run as they are fed
    };
    let rate_hz = f64::from(set.interval.denominator) / f64::from(set.interval.numerator.max(1));
    if set.interval.denominator == 0 || is_fast_enough(rate_hz, wanted.rate_hz) {
        return Ok(());
    }
    let rates = offers::rates(node, code, wanted.width_px, wanted.height_px).join(", ");
    let (size, asked) = (format!("{}x{}", wanted.width_px, wanted.height_px), wanted.rate_hz);
    Err(format!("no {asked} frames a second at {size} in {}; it offers {rates}", offers::name(code)))
}

/// The frame's bytes without what the driver adds at the end of rows; none when the frame is shorter than its size says.
fn without_padding<'a>(bytes: &'a [u8], code: Code, format: &Format) -> Option<Cow<'a, [u8]>> {
    let (width, height) = (format.width as usize, format.height as usize);
    let (row, rows) = match &code {
        b"MJPG" | b"JPEG" => return (!bytes.is_empty()).then_some(bytes.into()),
        b"GREY" => (width, height),
        b"NV12" => (width, height + height.div_ceil(2)),
        // YUYV and all that has 16 bits.
        _ => (width * 2, height),
    };
    let stride = (format.stride as usize).max(row);
    if stride == row {
        return bytes.get(..row * rows).map(Into::into);
    }
    let packed: Vec<u8> =
        bytes.chunks(stride).take(rows).filter_map(|line| line.get(..row)).flatten().copied().collect();
    (packed.len() == row * rows).then_some(packed.into())
}

fn lost(device: &str, error: &std::io::Error) -> SensorError {
    let why = match error.raw_os_error() {
        Some(EBUSY) => busy(Path::new(device)),
        _ if error.kind() == ErrorKind::PermissionDenied => denied(Path::new(device)),
        Some(ENOSPC) => {
            "the USB bus has no room for this stream: ask for a smaller size, a lower rate or MJPG, or use another port"
                .to_owned()
        }
        _ => error.to_string(),
    };
    SensorError::Lost { device: device.to_owned(), why }
}

fn unsupported(device: &str, why: String) -> SensorError {
    SensorError::Unsupported { device: device.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(width: u32, height: u32, stride: u32) -> Format {
        let mut format = Format::new(width, height, FourCC::new(b"GREY"));
        format.stride = stride;
        format
    }

    #[test]
    fn padding_is_taken_out_and_short_frames_are_refused() {
        let padded = [1, 2, 0, 0, 3, 4, 0, 0];
        let check = |bytes: &[u8], code: &Code, stride| {
            without_padding(bytes, *code, &format(2, 2, stride)).map(Cow::into_owned)
        };
        assert_eq!(check(&padded, b"GREY", 4), Some(vec![1, 2, 3, 4]));
        assert_eq!(check(&padded, b"YUYV", 4), Some(padded.to_vec()));
        assert_eq!(check(&padded, b"Y16 ", 4), Some(padded.to_vec()));
        assert_eq!(check(&padded[..6], b"NV12", 2), Some(padded[..6].to_vec()));
        assert_eq!(check(&padded[..3], b"GREY", 0), None);
        assert_eq!(check(&[], b"MJPG", 0), None);
    }

    #[test]
    fn a_layout_that_is_too_slow_gives_way_to_the_next() {
        let (yuyv, mjpg, nv12) = (*b"YUYV", *b"MJPG", *b"NV12");
        let set = |code: Code| Ok(if code == mjpg { Ok(code) } else { Err(format!("{} is slow", offers::name(code))) });
        let chosen = |wanted: &[Code], offered: &[Code]| choose(wanted, offered, set).unwrap();
        assert_eq!(chosen(&[yuyv, mjpg], &[mjpg, yuyv]), Ok(mjpg));
        assert_eq!(chosen(&[yuyv, nv12], &[nv12, yuyv]), Err("YUYV is slow; NV12 is slow".to_owned()));
        assert_eq!(chosen(&[nv12], &[mjpg, yuyv]), Err("none of NV12; it offers MJPG, YUYV".to_owned()));
        // What is gone is not asked for the next one.
        let gone = choose(&[yuyv, mjpg], &[yuyv, mjpg], |code| {
            assert_eq!(code, yuyv);
            Err::<Result<Code, String>, _>(std::io::Error::from(ErrorKind::NotFound))
        });
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn slow_cameras_have_time_for_their_first_frame() {
        let secs = [30.0, 1.0, 0.5, 0.25, 0.1].map(|rate_hz| first_frame_within(rate_hz).as_secs());
        assert_eq!(secs, [3, 3, 4, 8, 9]);
        assert!(is_fast_enough(29.97, 30.0) && !is_fast_enough(10.0, 15.0));
    }

    #[test]
    fn a_node_that_is_not_there_is_lost_and_what_is_none_is_refused() {
        let wanted =
            Wanted { device: "/dev/video-none", width_px: 640, height_px: 480, rate_hz: 5.0, layouts: &[*b"YUYV"] };
        let error = VideoNode::open(&wanted).err().unwrap();
        assert!(matches!(error, SensorError::Lost { .. }) && error.to_string().contains("No such file"), "{error}");
        let error = VideoNode::open(&Wanted { device: "/dev/null", ..wanted }).err().unwrap();
        assert!(matches!(error, SensorError::Unsupported { .. }) && error.to_string().contains("/dev/null"), "{error}");
    }
}
