//! `perceptd devices`: what is plugged in, with stable names, what it offers, and a section of the config to paste for each.

use std::io::{self, Write};
use std::ops::RangeInclusive;

use serde::Serialize;

use crate::sensors::{FoundCamera, FoundIio, FoundMicrophone, FoundSerialPort, Inventory, Offer};

/// Something found and the section that makes it a sensor.
#[derive(Serialize)]
struct Shown<'a, T> {
    #[serde(flatten)]
    found: &'a T,
    /// To paste; what is a guess is said to be one.
    config: String,
}

#[derive(Serialize)]
struct ShownInventory<'a> {
    cameras: Vec<Shown<'a, FoundCamera>>,
    microphones: Vec<Shown<'a, FoundMicrophone>>,
    serial_ports: Vec<Shown<'a, FoundSerialPort>>,
    iio: Vec<Shown<'a, FoundIio>>,
}

/// Prints what is there to `out`, for people or as JSON.
///
/// # Errors
/// When `out` cannot be written to.
pub(super) fn devices(inventory: &Inventory, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let shown = ShownInventory {
        cameras: shown(&inventory.cameras, camera_config),
        microphones: shown(&inventory.microphones, microphone_config),
        serial_ports: shown(&inventory.serial_ports, serial_config),
        iio: shown(&inventory.iio, iio_config),
    };
    if json {
        serde_json::to_writer_pretty(&mut *out, &shown)?;
        return writeln!(out);
    }
    if *inventory == Inventory::default() {
        return writeln!(
            out,
            "No camera, microphone, serial port or motion sensor is plugged in, or none may be seen from here (in a container, pass its devices in).\n\
             Network cameras, folders of pictures and programs need no device: see docs/sensors.md."
        );
    }
    for Shown { found, config } in &shown.cameras {
        section(out, "camera", &found.name, &found.names)?;
        if let Some(problem) = &found.problem {
            writeln!(out, "  cannot be asked what it offers: {problem}")?;
        }
        for offer in &found.offers {
            writeln!(out, "  {}", offer_in_words(offer))?;
        }
        snippet(out, config)?;
    }
    for Shown { found, config } in &shown.microphones {
        section(out, "microphone", &found.name, std::slice::from_ref(&found.device))?;
        for offer in &found.offers {
            writeln!(out, "  {offer}")?;
        }
        snippet(out, config)?;
    }
    for Shown { found, config } in &shown.serial_ports {
        section(out, "serial port", "", &found.names)?;
        snippet(out, config)?;
    }
    for Shown { found, config } in &shown.iio {
        section(out, "motion sensor", &found.measures.join(" and "), std::slice::from_ref(&found.device))?;
        snippet(out, config)?;
    }
    Ok(())
}

fn section(out: &mut dyn Write, kind: &str, name: &str, names: &[String]) -> io::Result<()> {
    let colon = if name.is_empty() { "" } else { ": " };
    writeln!(out, "{kind}{colon}{name}")?;
    names.iter().try_for_each(|name| writeln!(out, "  {name}"))
}

fn snippet(out: &mut dyn Write, config: &str) -> io::Result<()> {
    writeln!(out)?;
    config.lines().try_for_each(|line| writeln!(out, "    {line}"))?;
    writeln!(out)
}

fn shown<'a, T>(found: &'a [T], config: impl Fn(&T, &str) -> String) -> Vec<Shown<'a, T>> {
    let number = |index: usize| if index == 0 { String::new() } else { format!("-{}", index + 1) };
    let show = |(index, found): (usize, &'a T)| Shown { found, config: config(found, &number(index)) };
    found.iter().enumerate().map(show).collect()
}

fn offer_in_words(offer: &Offer) -> String {
    let size = |size: &crate::sensors::SizeOffer| match size.rates.is_empty() {
        true => size.size.clone(),
        false => format!("{} at {}", size.size, size.rates.join(", ")),
    };
    format!("{}: {}", offer.fourcc, offer.sizes.iter().map(size).collect::<Vec<_>>().join("; "))
}

/// A text in TOML's quotes.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

fn camera_config(camera: &FoundCamera, number: &str) -> String {
    let device = quoted(&camera.device);
    let offers = |fourcc: &str, sizes: &[&str]| {
        let offer = camera.offers.iter().filter(|offer| offer.fourcc == fourcc).flat_map(|offer| &offer.sizes);
        offer.map(|offer| offer.size.as_str()).find(|size| sizes.contains(size)).map(str::to_owned)
    };
    // Sizes that only these thermal cameras have: a Lepton with and without telemetry, an InfiRay.
    let lepton = offers("Y16", &["80x60", "80x63", "160x120", "160x122"]);
    let double = offers("YUYV", &["256x384", "256x386"]);
    let depth = camera.offers.iter().find(|offer| offer.fourcc == "Z16");
    if let Some(size) = lepton {
        let (width, height, telemetry) = match size.as_str() {
            "80x60" => (80, 60, 0),
            "80x63" => (80, 60, 3),
            "160x122" => (160, 120, 2),
            _ => (160, 120, 0),
        };
        return format!(
            "[sensors.thermal{number}]\ndriver = \"v4l_thermal\"\ndevice = {device}\nwidth_px = {width}\nheight_px = {height}\ntelemetry_rows = {telemetry}"
        );
    }
    if let Some(size) = double {
        let markers = if size == "256x386" { 2 } else { 0 };
        return format!(
            "[sensors.thermal{number}]\ndriver = \"v4l_thermal\"\nlayout = \"double_height\"\ndevice = {device}\nmarker_rows = {markers}"
        );
    }
    let (name, driver, offer) = match depth {
        Some(offer) => ("depth", "v4l_depth", Some(offer)),
        None => {
            let read = |fourcc: &&str| camera.offers.iter().find(|offer| offer.fourcc == **fourcc);
            ("camera", "v4l", ["YUYV", "MJPG", "NV12", "GREY", "Y16"].iter().find_map(read))
        }
    };
    let mut config = format!("[sensors.{name}{number}]\ndriver = \"{driver}\"\ndevice = {device}");
    if let Some(((width, height), rates)) = offer.and_then(usual_size) {
        config.push_str(&format!("\nwidth_px = {width}\nheight_px = {height}"));
        if let Some(rate_hz) = usual_rate(rates) {
            config.push_str(&format!("\nrate_hz = {rate_hz}"));
        }
    }
    if offer.is_none() && camera.problem.is_none() {
        let layouts: Vec<&str> = camera.offers.iter().map(|offer| offer.fourcc.as_str()).collect();
        config.push_str(&format!(
            "\n# perceptd reads none of its layouts ({}): a command source may",
            layouts.join(", ")
        ));
    }
    config
}

/// 640x480 where it is offered, else the first size, and its rates; none for a range, within which the default lies.
fn usual_size(offer: &Offer) -> Option<((u32, u32), &[String])> {
    let sizes = offer.sizes.iter().filter_map(|offer| {
        let (width, height) = offer.size.split_once('x')?;
        Some(((width.parse().ok()?, height.parse().ok()?), offer.rates.as_slice()))
    });
    let sizes: Vec<((u32, u32), &[String])> = sizes.collect();
    sizes.iter().find(|(size, _)| *size == (640, 480)).or_else(|| sizes.first()).copied()
}

/// The highest rate that is offered up to the usual one, unless that is a slide show: then the next one above. None where none is
/// told, or none that a config can have.
fn usual_rate(rates: &[String]) -> Option<f64> {
    const USUAL_HZ: f64 = 15.0;
    const FEW_HZ: f64 = 5.0;
    const IN_CONFIG_HZ: RangeInclusive<f64> = 0.1..=240.0;
    // `30`, or `5 to 30`.
    let range = |text: &String| {
        let (low, high) = text.split_once(" to ").unwrap_or((text, text));
        Some((low.parse::<f64>().ok()?, high.parse::<f64>().ok()?))
    };
    let ranges = || rates.iter().filter_map(range);
    let below = ranges().filter(|(low, _)| *low <= USUAL_HZ).map(|(_, high)| high.min(USUAL_HZ)).max_by(f64::total_cmp);
    let above = ranges().map(|(low, _)| low).filter(|low| *low > USUAL_HZ).min_by(f64::total_cmp);
    let rate = below.filter(|rate| *rate >= FEW_HZ).or(above).or(below);
    rate.filter(|rate| IN_CONFIG_HZ.contains(rate))
}

fn microphone_config(microphone: &FoundMicrophone, number: &str) -> String {
    let device = quoted(&microphone.device);
    format!("[sensors.microphone{number}]\ndriver = \"microphone\"\nhost = \"alsa\"\ndevice = {device}")
}

fn serial_config(port: &FoundSerialPort, number: &str) -> String {
    let device = quoted(&port.device);
    format!(
        "[sensors.serial{number}]\ndriver = \"witmotion\" # or what speaks at this port: see docs/sensors.md\ndevice = {device}"
    )
}

fn iio_config(sensor: &FoundIio, number: &str) -> String {
    format!("[sensors.imu{number}]\ndriver = \"iio\"\ndevice = {}", quoted(&sensor.device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, SourceSettings};
    use crate::sensors::{CameraDriver, DriverSettings, SizeOffer};

    fn camera(offers: &[(&str, &[&str])]) -> FoundCamera {
        let sizes = |sizes: &[&str]| {
            sizes.iter().map(|size| SizeOffer { size: (*size).to_owned(), rates: vec!["30".to_owned()] }).collect()
        };
        let offers =
            offers.iter().map(|(fourcc, list)| Offer { fourcc: (*fourcc).to_owned(), sizes: sizes(list) }).collect();
        let device = "/dev/v4l/by-id/usb-\"W\\-index0".to_owned();
        FoundCamera { name: "Webcam".to_owned(), names: vec![device.clone()], device, offers, problem: None }
    }

    fn driver(config: &str) -> DriverSettings {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pack.toml"), "").unwrap();
        let text = format!("[robot]\nname = 'a'\n[pack]\npath = '.'\n{config}\n");
        let SourceSettings::Sensors(sensors) = Settings::from_text(&text, folder.path()).unwrap().source else {
            panic!()
        };
        sensors[0].driver.clone()
    }

    #[test]
    fn every_section_can_be_pasted() {
        let v4l = driver(&camera_config(&camera(&[("MJPG", &["1920x1080", "640x480"])]), ""));
        let DriverSettings::Camera(CameraDriver::V4l(settings)) = v4l else { panic!() };
        assert_eq!((settings.node.width_px, settings.node.device.as_str()), (640, "/dev/v4l/by-id/usb-\"W\\-index0"));
        for (offers, expected) in [
            (("Y16", "160x122"), "telemetry_rows: 2"),
            (("YUYV", "256x386"), "marker_rows: 2"),
            (("Z16", "848x480"), "V4lDepth"),
            (("H264", "640x480"), "V4l("),
        ] {
            let config = camera_config(&camera(&[(offers.0, &[offers.1])]), "-2");
            assert!(config.starts_with("[sensors.") && config.contains("-2]"), "{config}");
            let driver = format!("{:?}", driver(&config));
            assert!(driver.contains(expected), "{driver}");
        }
        let device = "plughw:CARD=Webcam,DEV=0".to_owned();
        let microphone = FoundMicrophone { name: String::new(), device, offers: Vec::new() };
        assert!(matches!(driver(&microphone_config(&microphone, "")), DriverSettings::Microphone(_)));
        let port = FoundSerialPort { device: "/dev/ttyS0".to_owned(), names: Vec::new() };
        assert!(matches!(driver(&serial_config(&port, "")), DriverSettings::Imu(_)));
    }

    #[test]
    fn the_rate_is_one_that_the_camera_has() {
        let rate = |rates: &[&str]| usual_rate(&rates.iter().map(|rate| (*rate).to_owned()).collect::<Vec<_>>());
        for (rates, expected) in [
            (&["30", "15", "10"][..], Some(15.0)),
            (&["30", "10"], Some(10.0)),
            (&["10", "5"], Some(10.0)),
            (&["60", "30", "1"], Some(30.0)),
            (&["3"], Some(3.0)),
            (&["1 to 60"], Some(15.0)),
            (&["1 to 9"], Some(9.0)),
            (&["0"], None),
            (&[], None),
        ] {
            assert_eq!(rate(rates), expected, "{rates:?}");
        }
        let mut slow = camera(&[("YUYV", &["1280x720"])]);
        slow.offers[0].sizes[0].rates = vec!["7.5".to_owned()];
        let DriverSettings::Camera(CameraDriver::V4l(settings)) = driver(&camera_config(&slow, "")) else { panic!() };
        assert_eq!((settings.node.width_px, settings.node.rate_hz), (1280, 7.5));
    }

    #[test]
    fn people_and_programs_are_told_the_same() {
        let inventory = Inventory {
            cameras: vec![camera(&[("YUYV", &["640x480"])])],
            iio: vec![FoundIio { device: "lsm6dsl".to_owned(), measures: vec!["acceleration".to_owned()] }],
            ..Inventory::default()
        };
        let told = |json| {
            let mut out = Vec::new();
            devices(&inventory, json, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let (text, json) = (told(false), serde_json::from_str::<serde_json::Value>(&told(true)).unwrap());
        assert!(
            text.starts_with(
                "camera: Webcam\n  /dev/v4l/by-id/usb-\"W\\-index0\n  YUYV: 640x480 at 30\n\n    [sensors.camera]\n"
            ),
            "{text}"
        );
        assert!(text.contains("motion sensor: acceleration\n  lsm6dsl\n"), "{text}");
        assert_eq!(json["cameras"][0]["offers"][0]["fourcc"], "YUYV");
        assert!(json["cameras"][0]["config"].as_str().unwrap().starts_with("[sensors.camera]"));
    }

    #[test]
    fn an_empty_machine_is_told_kindly() {
        let mut out = Vec::new();
        devices(&Inventory::default(), false, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().starts_with("No camera, microphone"));
    }
}
