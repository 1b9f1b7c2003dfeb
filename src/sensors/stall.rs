//! What a device gave that never became a sample, in words: a wrong setting must not look like a cut cable.

use super::{CommandOutput, DriverSettings, ImuDriver, MavlinkLine, StreamDriver, ThermalArrayDriver};
use crate::time::MonoTime;

/// What came since the last sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    since: MonoTime,
    last_bytes_at: MonoTime,
    bytes: u64,
    refused: u64,
    not_finite: u64,
}

impl Unread {
    /// Nothing yet.
    pub(super) const fn since(at: MonoTime) -> Self {
        Self { since: at, last_bytes_at: at, bytes: 0, refused: 0, not_finite: 0 }
    }

    pub(super) const fn add(&mut self, bytes: u64, (refused, not_finite): (u64, u64), at: MonoTime) {
        self.bytes += bytes;
        self.refused += refused;
        self.not_finite += not_finite;
        if bytes > 0 {
            self.last_bytes_at = at;
        }
    }

    /// Why a device stalled at `at`, after `secs` without a sample.
    pub(super) fn stall(&self, driver: &DriverSettings, at: MonoTime, secs: f64) -> String {
        // After a cut the rest of a packet may still have come.
        let went_on = self.last_bytes_at.nanos_since(self.since) > at.nanos_since(self.since) / 4;
        match self.in_words(driver) {
            Some(told) if went_on || self.bytes == 0 => told.replacen(" came", &format!(" came in {secs:.1} s"), 1),
            _ => format!("no data for {secs:.1} s"),
        }
    }

    /// What came and what it was not; none when nothing did.
    pub(super) fn in_words(&self, driver: &DriverSettings) -> Option<String> {
        match (self.bytes, self.refused) {
            _ if self.not_finite > 0 => {
                Some(format!("{} readings came, but none of finite numbers: is the device broken?", self.not_finite))
            }
            (0, 0) => None,
            (0, refused) => Some(format!("{refused} pictures or frames came, but all of them broken or short")),
            (bytes, _) => Some(format!("{bytes} bytes came, but {}", lacking(driver))),
        }
    }
}

/// What was looked for in the bytes, and what may be wrong.
fn lacking(driver: &DriverSettings) -> String {
    let packet = |driver: &str| format!("no packet of `{driver}`: wrong baud or driver?");
    match driver {
        DriverSettings::Imu(imu) => match &imu.driver {
            ImuDriver::WitMotion(_) => packet("witmotion"),
            ImuDriver::Bno08xRvc(_) => packet("bno08x_rvc"),
            ImuDriver::VectorNav(_) => packet("vectornav"),
            ImuDriver::Xsens(_) => packet("xsens"),
            ImuDriver::TextLine(..) => "no line as `text_line` is told: wrong baud, separator or columns?".to_owned(),
            ImuDriver::Mavlink(mavlink) => {
                let baud = if matches!(mavlink.line, MavlinkLine::Serial(_)) { "wrong baud, " } else { "" };
                format!("no HIGHRES_IMU or SCALED_IMU: {baud}wrong `system_id`, or the autopilot does not send them?")
            }
            ImuDriver::Iio(_) => "no reading".to_owned(),
        },
        DriverSettings::ThermalArray(ThermalArrayDriver::GyMcu90640(_)) => packet("gy_mcu90640"),
        DriverSettings::ThermalArray(ThermalArrayDriver::SerialArray(..)) => {
            "no frame as `serial_array` is told: wrong baud, header or size?".to_owned()
        }
        DriverSettings::Stream(StreamDriver::HttpMjpeg(_)) => {
            "no JPEG picture: is this the address of its MJPEG stream?".to_owned()
        }
        DriverSettings::Stream(StreamDriver::Command(command)) => match &command.output {
            CommandOutput::Mjpeg { .. } => "no JPEG picture: is `output` what it writes?".to_owned(),
            CommandOutput::Frames { width_px, height_px, .. } => {
                format!("no whole frame of {width_px}x{height_px}: are `output` and the size what it writes?")
            }
            CommandOutput::Pcm { .. } => "no whole sample of sound".to_owned(),
        },
        DriverSettings::Stream(StreamDriver::Folder(_)) | DriverSettings::Camera(_) | DriverSettings::Microphone(_) => {
            "no sample".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sensors::{ImuSettings, MicrophoneSettings, Mounting, SerialPortSettings};

    #[test]
    fn a_cut_cable_is_no_wrong_setting() {
        let port = SerialPortSettings { device: "/dev/ttyS0".to_owned(), baud: 9600 };
        let driver = ImuDriver::WitMotion(port);
        let driver = DriverSettings::Imu(ImuSettings { driver, mounting: Mounting::default() });
        let millis = |millis| MonoTime::default() + Duration::from_millis(millis);
        let mut unread = Unread::since(millis(0));
        assert_eq!(unread.stall(&driver, millis(2100), 2.0), "no data for 2.0 s");
        // The rest of a packet that was cut.
        unread.add(7, (0, 0), millis(20));
        assert_eq!(unread.stall(&driver, millis(2100), 2.0), "no data for 2.0 s");
        unread.add(5, (1, 0), millis(1200));
        let told = unread.stall(&driver, millis(2100), 2.0);
        assert_eq!(told, "12 bytes came in 2.0 s, but no packet of `witmotion`: wrong baud or driver?");
        let mut broken = Unread::since(millis(0));
        broken.add(0, (3, 0), millis(10));
        let driver = DriverSettings::Microphone(MicrophoneSettings::default());
        let told = broken.stall(&driver, millis(2100), 2.0);
        assert!(told.starts_with("3 pictures or frames came in 2.0 s, but all of them broken"), "{told}");
    }
}
