//! Keys of inertial measurement units.

use super::serial_port::serial_port;
use crate::config::problem::suggestion;
use crate::config::section::Section;
use crate::sensors::wire::{TextColumn, TextLineFormat};
use crate::sensors::{
    IioSettings, IioWay, ImuDriver, ImuSettings, MavlinkLine, MavlinkSettings, Mounting, STANDARD_GRAVITY_MPS2,
};

/// Readings a second: below, a window of motion holds next to nothing; above, no interface here keeps up.
const RATE_HZ: std::ops::RangeInclusive<f64> = 1.0..=2000.0;
const USUAL_RATE_HZ: f64 = 100.0;

/// Any white space between columns. A space itself would look like nothing in a file.
const WHITE_SPACE: &str = "space";

pub(super) fn imu(driver: &str, section: &mut Section<'_>) -> Option<ImuSettings> {
    let mounting = section.numbers("mounting_rpy_deg", -360.0..=360.0).map(Mounting::from_rpy_deg).unwrap_or_default();
    let driver = match driver {
        "mavlink" => ImuDriver::Mavlink(mavlink(section)?),
        "iio" => ImuDriver::Iio(iio(section)?),
        "text_line" => {
            let (port, format) = (serial_port(section), text_line(section));
            ImuDriver::TextLine(port?, format?)
        }
        "vectornav" => ImuDriver::VectorNav(serial_port(section)?),
        "xsens" => ImuDriver::Xsens(serial_port(section)?),
        "bno08x_rvc" => ImuDriver::Bno08xRvc(serial_port(section)?),
        _ => ImuDriver::WitMotion(serial_port(section)?),
    };
    Some(ImuSettings { driver, mounting })
}

fn mavlink(section: &mut Section<'_>) -> Option<MavlinkSettings> {
    let udp = section.checked_text("udp", "an address and port of this machine such as 0.0.0.0:14550", socket_address);
    let system_id = section.integer("system_id", 1..=u8::MAX);
    let rate_hz = section.number("rate_hz", 0.0..=*RATE_HZ.end()).unwrap_or(USUAL_RATE_HZ);
    let line = match udp {
        None => MavlinkLine::Serial(serial_port(section)?),
        Some(address) => {
            if section.has("device") || section.has("baud") {
                section.forget_rest();
                section.problem("`udp` stands in the place of `device` and `baud`: leave one of them out");
            }
            MavlinkLine::Udp(address)
        }
    };
    Some(MavlinkSettings { line, system_id, asked_rate_hz: (rate_hz > 0.0).then_some(rate_hz) })
}

fn socket_address(text: &str) -> Result<(), String> {
    let what = |_| format!("\"{text}\" is no address and port: such as 0.0.0.0:14550, or [::]:14550");
    text.parse::<std::net::SocketAddr>().map(|_| ()).map_err(what)
}

fn iio(section: &mut Section<'_>) -> Option<IioSettings> {
    let device = section.required_text("device", "the name of an IIO device, as in /sys/bus/iio/devices/*/name");
    let gyro_device = section.text("gyro_device", "the name of an IIO device").map(|(name, _)| name);
    let rate_hz = section.number("rate_hz", RATE_HZ).unwrap_or(USUAL_RATE_HZ);
    let buffered = section.flag("buffered").unwrap_or(false);
    let trigger = section.text("trigger", "the name of an IIO trigger").map(|(name, _)| name);
    if buffered && gyro_device.is_some() {
        section.problem("`gyro_device` with `buffered`: two buffers cannot be joined; leave `buffered` out");
    }
    if !buffered && trigger.is_some() {
        section.problem("`trigger` without `buffered = true`: only buffers have one");
    }
    let way = if buffered { IioWay::Buffered { trigger } } else { IioWay::Polled };
    Some(IioSettings { device: device?.0, gyro_device, rate_hz, way })
}

fn text_line(section: &mut Section<'_>) -> Option<TextLineFormat> {
    let prefix = section.text("prefix", "what the lines begin with").map(|(prefix, _)| prefix).unwrap_or_default();
    let delimiter =
        section.checked_text("delimiter", "what stands between columns", |text| delimiter(text).map(|_| ()));
    let delimiter = delimiter.and_then(|text| self::delimiter(&text).ok()).unwrap_or(',');
    let requires_checksum = section.flag("checksum").unwrap_or(false);
    let columns = columns(section);
    let accel_unit = section.word("accel_unit", &["mps2", "g", "mg"]);
    let gyro_unit = section.word("gyro_unit", &["radps", "degps", "mdegps"]);
    let time_unit = section.word("time_unit", &["s", "ms", "us", "ns"]);
    let accel_scale = section.number("accel_scale", -1e6..=1e6).unwrap_or(1.0);
    let gyro_scale = section.number("gyro_scale", -1e6..=1e6).unwrap_or(1.0);
    let gravity = f64::from(STANDARD_GRAVITY_MPS2);
    let degree = std::f64::consts::PI / 180.0;
    let format = TextLineFormat {
        prefix,
        delimiter,
        requires_checksum,
        columns: columns?,
        accel_mps2_per_unit: accel_scale
            * match accel_unit {
                Some("g") => gravity,
                Some("mg") => gravity / 1000.0,
                _ => 1.0,
            },
        gyro_radps_per_unit: gyro_scale
            * match gyro_unit {
                Some("degps") => degree,
                Some("mdegps") => degree / 1000.0,
                _ => 1.0,
            },
        nanos_per_unit: match time_unit {
            Some("s") => 1e9,
            Some("us") => 1e3,
            Some("ns") => 1.0,
            _ => 1e6,
        },
    };
    match format.check() {
        Ok(()) => Some(format),
        Err(why) => {
            section.problem(format!("`columns`: {why}"));
            None
        }
    }
}

fn delimiter(text: &str) -> Result<char, String> {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(only), None) => Ok(only),
        _ if text == WHITE_SPACE => Ok(' '),
        _ => Err(format!("\"{text}\" is no delimiter: one character, or \"{WHITE_SPACE}\" for any white space")),
    }
}

fn columns(section: &mut Section<'_>) -> Option<Vec<TextColumn>> {
    let Some(names) = section.texts("columns") else {
        return Some([TextColumn::Accel, TextColumn::Gyro].iter().flat_map(|kind| [0, 1, 2].map(kind)).collect());
    };
    let known = TextColumn::NAMES.map(|(name, _)| name);
    let column = |(name, line): &(String, Option<u32>)| {
        let found = TextColumn::NAMES.iter().find(|(known, _)| known == name).map(|(_, column)| *column);
        if found.is_none() {
            let what = format!("`{name}` is no column; {}", suggestion(name, &known));
            section.findings.add(*line, section.key("columns"), what);
        }
        found
    };
    // All of them are looked at, so that each mistake is told.
    let columns: Vec<Option<TextColumn>> = names.iter().map(column).collect();
    columns.into_iter().collect()
}
