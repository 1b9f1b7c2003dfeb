//! A device as sysfs shows it, and its channels read one by one.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::in_si;
use crate::sensors::mounting::Mounting;
use crate::sensors::{ImuReading, SensorError, pause_until};
use crate::time::{MonoTime, now};

/// A value in sysfs is a number and a line's end.
const MOST_VALUE_BYTES: usize = 64;

/// A device's folder.
#[derive(Clone)]
pub(super) struct Device {
    /// As the config names it.
    name: String,
    pub(super) folder: PathBuf,
}

/// Three channels of one kind.
pub(super) struct Axes {
    /// `accel` or `anglvel`.
    pub(super) kind: &'static str,
    pub(super) channels: [Channel; 3],
    /// What the device tree says of the mounting on the board.
    pub(super) mounting: Option<Mounting>,
}

/// One channel's way from raw to SI.
pub(super) struct Channel {
    pub(super) axis: char,
    pub(super) scale: f64,
    pub(super) offset: f64,
}

impl Device {
    /// The device of that name, label or number.
    pub(super) fn find(sysfs: &Path, name: &str) -> Result<Self, SensorError> {
        let lost = |why: String| SensorError::Lost { device: name.to_owned(), why };
        let listed = std::fs::read_dir(sysfs)
            .map_err(|error| lost(format!("{}: {error} (is the kernel's IIO driver loaded?)", sysfs.display())))?;
        let mut folders: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        let text = |folder: &PathBuf, file: &str| read_text(&folder.join(file)).unwrap_or_default();
        let is_it = |folder: &PathBuf| {
            folder.file_name().is_some_and(|file| file == name)
                || text(folder, "name") == name
                || text(folder, "label") == name
        };
        let mut found: Vec<PathBuf> = folders.iter().filter(|folder| is_it(folder)).cloned().collect();
        match (found.pop(), found.len()) {
            (Some(folder), 0) => Ok(Self { name: name.to_owned(), folder }),
            (Some(_), others) => {
                Err(lost(format!("{} devices have this name: give a label or iio:deviceN", others + 1)))
            }
            (None, _) => {
                let names: Vec<String> = folders.iter().map(|folder| text(folder, "name")).collect();
                Err(lost(format!("no such IIO device; there are: {}", names.join(", "))))
            }
        }
    }

    pub(super) fn lost(&self, why: impl ToString) -> SensorError {
        SensorError::Lost { device: self.name.clone(), why: why.to_string() }
    }

    pub(super) fn unsupported(&self, why: impl ToString) -> SensorError {
        SensorError::Unsupported { device: self.name.clone(), why: why.to_string() }
    }

    /// The three channels of a kind; none when the device has no such channels.
    pub(super) fn axes(&self, kind: &'static str) -> Result<Option<Axes>, SensorError> {
        let raw = |axis: char| self.folder.join(format!("in_{kind}_{axis}_raw"));
        if !['x', 'y', 'z'].map(raw).iter().all(|file| file.exists()) {
            return Ok(None);
        }
        let channel = |axis: char| {
            // An attribute belongs to one channel or to all of its kind.
            let attribute = |what: &str| {
                let of_axis = self.read(&format!("in_{kind}_{axis}_{what}"));
                of_axis.or_else(|| self.read(&format!("in_{kind}_{what}")))
            };
            let number =
                |text: String| text.parse().ok().ok_or_else(|| self.unsupported(format!("`{text}` is no number")));
            let scale: f64 = attribute("scale").map_or(Ok(1.0), number)?;
            let offset: f64 = attribute("offset").map_or(Ok(0.0), number)?;
            Ok(Channel { axis, scale, offset })
        };
        let channels = [channel('x')?, channel('y')?, channel('z')?];
        let matrices = [format!("in_{kind}_mount_matrix"), "in_mount_matrix".to_owned(), "mount_matrix".to_owned()];
        let mounting = match matrices.iter().find_map(|file| self.read(file)) {
            Some(text) => Some(
                parse_matrix(&text)
                    .ok_or_else(|| self.unsupported(format!("its mount_matrix `{text}` is no rotation")))?,
            ),
            None => None,
        };
        Ok(Some(Axes { kind, channels, mounting }))
    }

    /// What an attribute says; none when there is no such file.
    pub(super) fn read(&self, file: &str) -> Option<String> {
        read_text(&self.folder.join(file))
    }

    /// Sets an attribute.
    pub(super) fn write(&self, file: &str, text: &str) -> Result<(), SensorError> {
        let path = self.folder.join(file);
        let written = OpenOptions::new().write(true).truncate(true).open(&path);
        let written = written.and_then(|mut opened| opened.write_all(text.as_bytes()));
        written.map_err(|error| {
            let way = if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) {
                "; as a service, `buffered` needs buffered-iio.conf and 60-perceptd-iio.rules (see docs/sensors.md): leave it out to poll"
            } else {
                ""
            };
            self.lost(format!("cannot write {text} to {}: {error}{way}", path.display()))
        })
    }

    /// Asks for a rate; devices that have none of their own, or only certain ones, run as they do.
    pub(super) fn ask_rate(&self, rate_hz: f64) {
        for file in ["sampling_frequency", "in_accel_sampling_frequency", "in_anglvel_sampling_frequency"] {
            if self.folder.join(file).exists()
                && let Err(error) = self.write(file, &rate_hz.to_string())
            {
                tracing::debug!(%error, "the device keeps its own rate");
            }
        }
    }
}

fn read_text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// `1, 0, 0; 0, 1, 0; 0, 0, 1`.
fn parse_matrix(text: &str) -> Option<Mounting> {
    let mut entries = text.split([',', ';']).map(|entry| entry.trim().parse::<f32>());
    let mut rows = [[0.0; 3]; 3];
    for entry in rows.iter_mut().flatten() {
        *entry = entries.next()?.ok()?;
    }
    if entries.next().is_some() { None } else { Mounting::from_matrix(rows) }
}

/// A device that is asked for every reading.
pub(super) struct Polled {
    name: String,
    accel: (Axes, [File; 3]),
    gyro: Option<(Axes, [File; 3])>,
    period: Duration,
    next: MonoTime,
}

impl Polled {
    pub(super) fn open(
        accel_device: &Device,
        accel: Axes,
        gyro: Option<(Axes, Device)>,
        rate_hz: f64,
    ) -> Result<Self, SensorError> {
        let files = |axes: Axes, device: &Device| -> Result<_, SensorError> {
            device.ask_rate(rate_hz);
            let open = |channel: &Channel| {
                let path = device.folder.join(format!("in_{}_{}_raw", axes.kind, channel.axis));
                File::open(&path).map_err(|error| device.lost(format!("{}: {error}", path.display())))
            };
            let [x, y, z] = &axes.channels;
            let files = [open(x)?, open(y)?, open(z)?];
            Ok((axes, files))
        };
        let gyro = gyro.map(|(axes, device)| files(axes, &device)).transpose()?;
        let accel = files(accel, accel_device)?;
        let period = Duration::from_secs_f64(1.0 / rate_hz);
        Ok(Self { name: accel_device.name.clone(), accel, gyro, period, next: now() })
    }

    /// The next reading on its rate; none when that is further off than `timeout`.
    pub(super) fn next(&mut self, timeout: Duration) -> Result<Option<ImuReading>, SensorError> {
        let latest = now() + timeout;
        pause_until(self.next.min(latest), &AtomicBool::new(false));
        if self.next > latest {
            return Ok(None);
        }
        let before = now();
        let accel_in_body_mps2 = self.read(&self.accel)?;
        let gyro_in_body_radps = self.gyro.as_ref().map(|gyro| self.read(gyro)).transpose()?;
        let after = now();
        // What was missed is left out, not caught up with.
        self.next = (self.next + self.period).max(after);
        let captured_at = before.shifted(after.nanos_since(before) / 2);
        Ok(Some(ImuReading { captured_at, accel_in_body_mps2, gyro_in_body_radps }))
    }

    fn read(&self, (axes, files): &(Axes, [File; 3])) -> Result<[f32; 3], SensorError> {
        let mut raw = [0; 3];
        for (value, file) in raw.iter_mut().zip(files) {
            *value = read_number(file).map_err(|why| SensorError::Lost { device: self.name.clone(), why })?;
        }
        Ok(in_si(axes, raw))
    }
}

fn read_number(file: &File) -> Result<i64, String> {
    let mut bytes = [0; MOST_VALUE_BYTES];
    let count = file.read_at(&mut bytes, 0).map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(bytes.get(..count).unwrap_or_default()).unwrap_or_default().trim();
    text.parse().ok().ok_or_else(|| format!("`{text}` is no whole number"))
}
