//! Keys of serial ports.

use crate::config::section::Section;
use crate::sensors::SerialPortSettings;

/// The rates that ports and adapters have in common.
const BAUDS: [u32; 14] = [
    9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 500_000, 921_600, 1_000_000, 1_500_000, 2_000_000,
    3_000_000, 4_000_000,
];

pub(super) fn serial_port(section: &mut Section<'_>) -> Option<SerialPortSettings> {
    let device = section.required_text("device", "a serial port such as /dev/serial/by-id/…");
    let baud = section.integer("baud", 1200..=4_000_000).unwrap_or(115_200);
    if !BAUDS.contains(&baud) {
        section.problem(format!("`baud` is {baud}: serial ports run at one of {BAUDS:?}"));
    }
    Some(SerialPortSettings { device: device?.0, baud })
}
