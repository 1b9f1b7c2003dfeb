//! Keys of devices on serial ports.

use crate::config::section::Section;
use crate::sensors::{ImuDriver, ImuSettings, SerialPortSettings, ThermalArrayDriver};

const BAUDS: [u32; 9] = [9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600, 1_000_000];

pub(super) fn witmotion(section: &mut Section<'_>) -> Option<ImuSettings> {
    Some(ImuSettings { driver: ImuDriver::WitMotion(port(section)?) })
}

pub(super) fn gy_mcu90640(section: &mut Section<'_>) -> Option<ThermalArrayDriver> {
    port(section).map(ThermalArrayDriver::GyMcu90640)
}

fn port(section: &mut Section<'_>) -> Option<SerialPortSettings> {
    let device = section.required_text("device", "a serial port such as /dev/serial/by-id/…");
    let baud = section.integer("baud", 1200..=4_000_000).unwrap_or(115_200);
    if !BAUDS.contains(&baud) {
        section.problem(format!("`baud` is {baud}: serial ports run at one of {BAUDS:?}"));
    }
    Some(SerialPortSettings { device: device?.0, baud })
}
