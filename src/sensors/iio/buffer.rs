//! The kernel's buffer of a device: whole scans, each with its time.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::in_si;
use super::sysfs::{Axes, Device};
use crate::sensors::device_clock::DeviceClock;
use crate::sensors::wire::{ScanElement, ScanLayout};
use crate::sensors::{ImuReading, SensorError, pause_until};
use crate::time::{MonoTime, now};

/// `O_NONBLOCK` of Linux on every architecture that perceptd is built for.
const NONBLOCKING: i32 = 0o4000;

/// From one look into an empty buffer to the next: a device at 200 Hz is seen within half a period.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Scans that the kernel holds, and that one read takes at most: a third of a second at 200 Hz.
const SCANS: usize = 64;

/// An enabled buffer; disabled when dropped.
pub(super) struct Buffer {
    device: Device,
    file: File,
    layout: ScanLayout,
    accel: Axes,
    gyro: Option<Axes>,
    bytes: Vec<u8>,
    /// None = the kernel stamps with our clock.
    clock: Option<DeviceClock>,
    last: MonoTime,
}

impl Buffer {
    pub(super) fn open(
        device: Device,
        dev: &Path,
        accel: Axes,
        gyro: Option<Axes>,
        trigger: Option<&str>,
        rate_hz: f64,
    ) -> Result<Self, SensorError> {
        if device.read("buffer/enable").is_none() {
            return Err(device.unsupported("it has no buffer: leave `buffered` out"));
        }
        device.write("buffer/enable", "0")?;
        if let Some(trigger) = trigger {
            device.write("trigger/current_trigger", trigger)?;
        }
        device.ask_rate(rate_hz);
        let channels = channels(&accel, gyro.as_ref());
        enable_only(&device, &channels)?;
        device.write("buffer/length", &SCANS.to_string())?;
        let layout = layout(&device, &channels)?;
        // Realtime is the kernel's default, and jumps.
        let is_ours = device.write("current_timestamp_clock", "monotonic").is_ok();
        let node = device.folder.file_name().map(|name| dev.join(name)).unwrap_or_default();
        let opened = OpenOptions::new().read(true).custom_flags(NONBLOCKING).open(&node);
        let file = opened.map_err(|error| device.lost(format!("{}: {error}", node.display())))?;
        device
            .write("buffer/enable", "1")
            .map_err(|error| device.lost(format!("{error} (a device without a FIFO of its own needs a `trigger`)")))?;
        let clock = (!is_ours).then(DeviceClock::default);
        let bytes = vec![0; SCANS * layout.bytes()];
        Ok(Self { device, file, layout, accel, gyro, bytes, clock, last: MonoTime::from_nanos(i64::MIN) })
    }

    /// What the buffer holds, or comes within `timeout`.
    pub(super) fn next(&mut self, timeout: Duration) -> Result<Vec<ImuReading>, SensorError> {
        let deadline = now() + timeout;
        loop {
            let count = match self.file.read(&mut self.bytes) {
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
                Err(error) => return Err(self.device.lost(error)),
            };
            let arrived_at = now();
            let whole = count - count % self.layout.bytes().max(1);
            if whole > 0 {
                let scans = self.bytes.get(..whole).unwrap_or_default();
                let values: Vec<Vec<i64>> =
                    scans.chunks_exact(self.layout.bytes()).filter_map(|scan| self.layout.values(scan)).collect();
                return Ok(values.iter().filter_map(|values| self.reading(values, arrived_at)).collect());
            }
            if arrived_at >= deadline {
                return Ok(Vec::new());
            }
            pause_until(deadline.min(arrived_at + LOOK_EVERY), &AtomicBool::new(false));
        }
    }

    /// Three axes, three more with a gyroscope, and the time.
    fn reading(&mut self, values: &[i64], arrived_at: MonoTime) -> Option<ImuReading> {
        let (accel, rest) = values.split_first_chunk::<3>()?;
        let (gyro, rest) = match &self.gyro {
            Some(axes) => rest.split_first_chunk::<3>().map(|(raw, rest)| (Some(in_si(axes, *raw)), rest))?,
            None => (None, rest),
        };
        let nanos = *rest.first()?;
        let stamp = match &mut self.clock {
            Some(clock) => clock.stamp(nanos, arrived_at),
            None => MonoTime::from_nanos(nanos).min(arrived_at),
        };
        self.last = stamp.max(self.last.shifted(1));
        Some(ImuReading {
            captured_at: self.last,
            accel_in_body_mps2: in_si(&self.accel, *accel),
            gyro_in_body_radps: gyro,
        })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // When the device is gone, so is its buffer.
        if let Err(error) = self.device.write("buffer/enable", "0") {
            tracing::debug!(%error, "the buffer was not disabled");
        }
    }
}

/// The channels that are read, in the order in which readings want them.
fn channels(accel: &Axes, gyro: Option<&Axes>) -> Vec<String> {
    let of = |axes: &Axes| axes.channels.iter().map(|c| format!("in_{}_{}", axes.kind, c.axis)).collect::<Vec<_>>();
    let mut channels = of(accel);
    channels.extend(gyro.map(of).unwrap_or_default());
    channels.push("in_timestamp".to_owned());
    channels
}

fn enable_only(device: &Device, channels: &[String]) -> Result<(), SensorError> {
    let folder = device.folder.join("scan_elements");
    let listed = std::fs::read_dir(&folder).map_err(|error| device.lost(format!("{}: {error}", folder.display())))?;
    for file in listed.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if let Some(channel) = file.strip_suffix("_en") {
            let wanted = channels.iter().any(|wanted| wanted == channel);
            device.write(&format!("scan_elements/{file}"), if wanted { "1" } else { "0" })?;
        }
    }
    Ok(())
}

/// The layout of a scan, as the kernel tells it.
fn layout(device: &Device, channels: &[String]) -> Result<ScanLayout, SensorError> {
    let mut elements = Vec::new();
    for channel in channels {
        let attribute = |what: &str| {
            let file = format!("scan_elements/{channel}_{what}");
            device.read(&file).ok_or_else(|| device.unsupported(format!("it has no {file}")))
        };
        let index = attribute("index")?;
        let index: u32 = index.parse().map_err(|_| device.unsupported(format!("`{index}` is no index")))?;
        elements.push((index, ScanElement::parse(&attribute("type")?).map_err(|why| device.unsupported(why))?));
    }
    Ok(ScanLayout::new(&elements))
}
