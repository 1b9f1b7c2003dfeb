//! A camera through V4L2: kernel stamps, sequence numbers, timeouts.
//!
//! Cameras behind libcamera (Pi 5, many Jetsons) do not appear as a plain capture node. Double-height and 16-bit thermal layouts
//! are not read here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use v4l::buffer::{Flags, Metadata, Type};
use v4l::capability::Flags as Able;
use v4l::io::mmap::Stream;
use v4l::io::traits::CaptureStream;
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, FourCC, Fraction};

use super::{Sample, SampleData, Sensor, SensorError};
use crate::media::{CameraFrame, PixelFormat};
use crate::modality::SensorId;
use crate::time::{MonoTime, NANOS_PER_SEC, now};

/// Layouts that are read, the preferred first: raw where the bus carries it, since it spares decoding.
const LAYOUTS: [(&[u8; 4], PixelFormat); 4] = [
    (b"YUYV", PixelFormat::Yuyv),
    (b"MJPG", PixelFormat::Jpeg),
    (b"NV12", PixelFormat::Nv12),
    (b"GREY", PixelFormat::Grey8),
];

const BUFFERS: u32 = 4;

/// From poll.h; the crate polls with the system's own number.
const POLLIN: i16 = 1;

/// errno of a device that another program holds.
const EBUSY: i32 = 16;

/// Cameras take up to two seconds from the start to the first frame. Opening blocks for this long at most.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(3);

/// What the config asks for.
pub(super) struct Wanted<'a> {
    pub(super) device: &'a str,
    pub(super) width_px: u32,
    pub(super) height_px: u32,
    pub(super) rate_hz: f64,
    pub(super) fourcc: Option<&'a str>,
}

pub(super) struct V4lCamera {
    id: SensorId,
    device: String,
    format: Format,
    layout: PixelFormat,
    /// Taken at the drop, which must not panic.
    stream: Option<Stream<'static>>,
}

impl V4lCamera {
    pub(super) fn open(id: SensorId, wanted: &Wanted<'_>) -> Result<Self, SensorError> {
        let lost = |error: std::io::Error| lost(wanted.device, &error);
        let camera = Device::with_path(wanted.device).map_err(lost)?;
        let able = camera.query_caps().map_err(lost)?.capabilities;
        if !able.contains(Able::VIDEO_CAPTURE) || !able.contains(Able::STREAMING) {
            return Err(unsupported(
                wanted.device,
                "it is no capture device (UVC cameras have a second node, index1, for metadata)",
            ));
        }
        let (fourcc, layout) = choose_layout(&camera, wanted)?;
        let asked = Format::new(wanted.width_px, wanted.height_px, FourCC::new(fourcc));
        let format = camera.set_format(&asked).map_err(lost)?;
        if (format.width, format.height, format.fourcc.repr) != (wanted.width_px, wanted.height_px, *fourcc) {
            return Err(unsupported(wanted.device, &wrong_size(&camera, wanted, asked.fourcc)));
        }
        set_rate(&camera, wanted, asked.fourcc)?;
        let mut stream = Stream::with_buffers(&camera, Type::VideoCapture, BUFFERS).map_err(lost)?;
        stream.set_timeout(FIRST_FRAME_TIMEOUT);
        // The first call queues the buffers and starts; were it to time out, a second would queue one of them twice.
        let started = stream.next().map(|_| ()).map_err(lost);
        let camera = Self { id, device: wanted.device.to_owned(), format, layout, stream: Some(stream) };
        started.map(|()| camera)
    }
}

impl Sensor for V4lCamera {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let lost = |error: std::io::Error| lost(&self.device, &error);
        // Only a readable device may be asked for the next frame: asking queues the last buffer, which a timeout would leave queued.
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(500);
        if stream.handle().poll(POLLIN, millis).map_err(lost)? == 0 {
            return Ok(None);
        }
        // A device that is gone is readable too; the error comes from here (ENODEV).
        let (buffer, meta) = stream.next().map_err(lost)?;
        let arrived_at = now();
        if meta.flags.contains(Flags::ERROR) {
            return Ok(None);
        }
        let used = buffer.get(..meta.bytesused as usize).unwrap_or(buffer);
        let Some(bytes) = without_padding(used, self.layout, &self.format) else { return Ok(None) };
        let (width, height, format) = (self.format.width, self.format.height, self.layout);
        let data = SampleData::Image(CameraFrame { width, height, format, bytes: bytes.into() });
        let (captured_at, seq) = (captured_at(meta, arrived_at), u64::from(meta.sequence));
        Ok(Some(Sample { sensor: self.id.clone(), captured_at, arrived_at, seq, data }))
    }
}

impl Drop for V4lCamera {
    fn drop(&mut self) {
        let stream = self.stream.take();
        // v4l 0.14 panics in its drop when stopping fails with anything but ENODEV; a dying camera may answer EIO.
        if catch_unwind(AssertUnwindSafe(|| drop(stream))).is_err() {
            tracing::debug!(device = %self.device, "the camera could not be stopped");
        }
    }
}

/// The kernel's stamp when it is on our clock (uvcvideo: start of exposure), else the arrival.
fn captured_at(meta: &Metadata, arrived_at: MonoTime) -> MonoTime {
    if (meta.flags & Flags::TIMESTAMP_MASK) != Flags::TIMESTAMP_MONOTONIC {
        return arrived_at;
    }
    MonoTime::from_nanos(meta.timestamp.sec.saturating_mul(NANOS_PER_SEC).saturating_add(meta.timestamp.usec * 1000))
}

fn choose_layout(camera: &Device, wanted: &Wanted<'_>) -> Result<(&'static [u8; 4], PixelFormat), SensorError> {
    let offered: Vec<[u8; 4]> = camera
        .enum_formats()
        .map_err(|error| lost(wanted.device, &error))?
        .iter()
        .map(|description| description.fourcc.repr)
        .collect();
    let fits = |fourcc: &[u8; 4]| wanted.fourcc.is_none_or(|name| name.as_bytes() == fourcc);
    LAYOUTS.into_iter().find(|(fourcc, _)| fits(fourcc) && offered.contains(fourcc)).ok_or_else(|| {
        let names: Vec<_> = offered.iter().map(|fourcc| String::from_utf8_lossy(fourcc).into_owned()).collect();
        let asked = wanted.fourcc.unwrap_or("YUYV, MJPG, NV12 or GREY");
        unsupported(wanted.device, &format!("no {asked}; it offers {}", names.join(", ")))
    })
}

fn wrong_size(camera: &Device, wanted: &Wanted<'_>, fourcc: FourCC) -> String {
    let sizes: Vec<String> = camera
        .enum_framesizes(fourcc)
        .unwrap_or_default()
        .into_iter()
        .flat_map(|size| size.size.to_discrete())
        .map(|size| format!("{}x{}", size.width, size.height))
        .take(40)
        .collect();
    format!("no {}x{} in {fourcc}; it offers {}", wanted.width_px, wanted.height_px, sizes.join(", "))
}

/// A camera may run faster than asked (windows take the newest frame of a hop), but not slower.
fn set_rate(camera: &Device, wanted: &Wanted<'_>, fourcc: FourCC) -> Result<(), SensorError> {
    let interval = Fraction::new(1000, (wanted.rate_hz * 1000.0).round().max(1.0) as u32);
    let Ok(set) = camera.set_params(&Parameters::new(interval)) else {
        return Ok(()); // drivers without a rate setting (loopbacks) run as they are fed
    };
    let rate_hz = f64::from(set.interval.denominator) / f64::from(set.interval.numerator.max(1));
    if set.interval.denominator == 0 || rate_hz >= 0.95 * wanted.rate_hz {
        return Ok(());
    }
    let offers = camera.enum_frameintervals(fourcc, wanted.width_px, wanted.height_px).unwrap_or_default();
    let offers: Vec<String> = offers.iter().map(|offer| format!("{}", offer.interval)).collect();
    let why =
        format!("no {} frames a second at this size; intervals in seconds: {}", wanted.rate_hz, offers.join(", "));
    Err(unsupported(wanted.device, &why))
}

/// The frame's bytes without what the driver adds at the end of rows; none when the frame is shorter than its size says.
fn without_padding<'a>(bytes: &'a [u8], layout: PixelFormat, format: &Format) -> Option<std::borrow::Cow<'a, [u8]>> {
    let (width, height) = (format.width as usize, format.height as usize);
    let (row, rows) = match layout {
        PixelFormat::Jpeg => return (!bytes.is_empty()).then_some(bytes.into()),
        PixelFormat::Yuyv => (width * 2, height),
        PixelFormat::Rgb8 => (width * 3, height),
        PixelFormat::Grey8 => (width, height),
        PixelFormat::Nv12 => (width, height + height.div_ceil(2)),
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
    let why = match (error.raw_os_error(), holder_of(Path::new(device))) {
        (Some(EBUSY), Some(holder)) => format!("busy: {holder} holds it"),
        (Some(EBUSY), None) => "busy: another program holds it".to_owned(),
        _ => error.to_string(),
    };
    SensorError::Lost { device: device.to_owned(), why }
}

fn unsupported(device: &str, why: &str) -> SensorError {
    SensorError::Unsupported { device: device.to_owned(), why: why.to_owned() }
}

/// Name and number of another process that has the device open, where we may see it.
fn holder_of(device: &Path) -> Option<String> {
    let device = device.canonicalize().ok()?;
    let own = std::process::id().to_string();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        if pid == own || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        if files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == device)) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
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
        let check =
            |bytes: &[u8], layout, stride| without_padding(bytes, layout, &format(2, 2, stride)).map(|b| b.to_vec());
        assert_eq!(check(&padded, PixelFormat::Grey8, 4), Some(vec![1, 2, 3, 4]));
        assert_eq!(check(&padded, PixelFormat::Yuyv, 4), Some(padded.to_vec()));
        assert_eq!(check(&padded[..6], PixelFormat::Nv12, 2), Some(padded[..6].to_vec()));
        assert_eq!(check(&padded[..3], PixelFormat::Grey8, 0), None);
        assert_eq!(check(&[], PixelFormat::Jpeg, 0), None);
    }

    #[test]
    fn a_camera_that_is_not_there_is_lost() {
        let wanted = Wanted { device: "/dev/video-none", width_px: 640, height_px: 480, rate_hz: 5.0, fourcc: None };
        let error = V4lCamera::open(SensorId::new("cam").unwrap(), &wanted).err().unwrap();
        assert!(matches!(error, SensorError::Lost { .. }) && error.to_string().contains("No such file"), "{error}");
        let wanted = Wanted { device: "/dev/null", ..wanted };
        assert!(V4lCamera::open(SensorId::new("cam").unwrap(), &wanted).is_err());
    }
}
