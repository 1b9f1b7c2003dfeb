//! What is plugged into this machine, read from the kernel's own lists: nothing is opened but capture nodes, to ask what they offer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::camera::{Offer, offers};

/// Devices that sensors could be.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Inventory {
    /// Capture nodes of V4L2.
    pub cameras: Vec<FoundCamera>,
    /// Capture devices of ALSA.
    pub microphones: Vec<FoundMicrophone>,
    /// Serial ports.
    pub serial_ports: Vec<FoundSerialPort>,
    /// Motion sensors of Linux IIO.
    pub iio: Vec<FoundIio>,
}

/// A capture node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FoundCamera {
    /// What it calls itself.
    pub name: String,
    /// Its most stable name: by-id where that is its alone, else by-path, else the node.
    pub device: String,
    /// Every name.
    pub names: Vec<String>,
    /// What it offers.
    pub offers: Vec<Offer>,
    /// Why it could not be asked.
    pub problem: Option<String>,
}

/// A capture device of a sound card.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FoundMicrophone {
    /// What it calls itself.
    pub name: String,
    /// ALSA's name by the card's id, which stays when cards come and go.
    pub device: String,
    /// Formats, channels and rates, where the driver lists them (USB).
    pub offers: Vec<String>,
}

/// A serial port.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FoundSerialPort {
    /// Its most stable name, as of cameras.
    pub device: String,
    /// Every name.
    pub names: Vec<String>,
}

/// A motion sensor of Linux IIO.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FoundIio {
    /// Its name in `/sys/bus/iio/devices/*/name`.
    pub device: String,
    /// Whether it measures acceleration and rotation.
    pub measures: Vec<String>,
}

impl Inventory {
    /// Looks at this machine. What cannot be read is left out.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::of(Path::new("/"), |node| offers(&node.display().to_string()))
    }

    /// Looks below `root`, asking capture nodes by `ask`.
    fn of(root: &Path, ask: impl Fn(&Path) -> io::Result<Vec<Offer>>) -> Self {
        Self {
            cameras: cameras(root, ask),
            microphones: microphones(root),
            serial_ports: serial_ports(root),
            iio: iio(root),
        }
    }
}

fn cameras(root: &Path, ask: impl Fn(&Path) -> io::Result<Vec<Offer>>) -> Vec<FoundCamera> {
    let links = Links::below(root, "dev/v4l");
    let nodes = entries(&root.join("dev")).into_iter().filter(|node| is_numbered(node, "video"));
    let camera = |node: PathBuf| {
        let (offers, problem) = match ask(&node) {
            // A node for metadata, or one that only plays.
            Ok(offers) if offers.is_empty() => return None,
            Ok(offers) => (offers, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let about = root.join("sys/class/video4linux").join(node.file_name()?).join("name");
        let (device, names) = links.names_of(root, &node);
        Some(FoundCamera { name: first_line(&about).unwrap_or_default(), device, names, offers, problem })
    };
    nodes.filter_map(camera).collect()
}

/// Capture devices of ALSA, from the kernel's list alone.
pub(super) fn microphones(root: &Path) -> Vec<FoundMicrophone> {
    let asound = root.join("proc/asound");
    let list = fs::read_to_string(asound.join("pcm")).unwrap_or_default();
    // `00-02: ID : NAME : playback 1 : capture 1`
    let microphone = |line: &str| {
        let (place, rest) = line.split_once(':')?;
        let (card, device) = place.split_once('-')?;
        let (card, device): (u32, u32) = (card.trim().parse().ok()?, device.trim().parse().ok()?);
        if !rest.split(':').any(|part| part.trim().starts_with("capture")) {
            return None;
        }
        let folder = asound.join(format!("card{card}"));
        let id = first_line(&folder.join("id"))?;
        let stream = fs::read_to_string(folder.join(format!("stream{device}"))).unwrap_or_default();
        let name = rest.split(':').nth(1).or_else(|| rest.split(':').next()).unwrap_or_default().trim().to_owned();
        Some(FoundMicrophone { name, device: format!("plughw:CARD={id},DEV={device}"), offers: usb_offers(&stream) })
    };
    list.lines().filter_map(microphone).collect()
}

/// Each alternative of the capture part of a USB card's `/proc/asound/card*/stream*`.
fn usb_offers(stream: &str) -> Vec<String> {
    let capture = stream.split("Capture:").nth(1).unwrap_or_default();
    let capture = capture.split("Playback:").next().unwrap_or_default();
    let alternative = |text: &str| {
        let value = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
        let (format, channels, rates) = (value("Format:")?, value("Channels:")?, value("Rates:")?);
        Some(format!("{format}, {channels} channel(s), {rates} Hz"))
    };
    capture.split("Altset").skip(1).filter_map(alternative).collect()
}

fn serial_ports(root: &Path) -> Vec<FoundSerialPort> {
    let links = Links::below(root, "dev/serial");
    let ports = entries(&root.join("sys/class/tty")).into_iter().filter(|port| is_serial_port(port));
    let port = |port: PathBuf| {
        let node = root.join("dev").join(port.file_name()?);
        let (device, names) = links.names_of(root, &node);
        node.exists().then_some(FoundSerialPort { device, names })
    };
    ports.filter_map(port).collect()
}

/// Terminals with a device behind them. Of the old ports' names some have none: their type is 0.
fn is_serial_port(port: &Path) -> bool {
    port.join("device").exists() && first_line(&port.join("type")).is_none_or(|kind| kind != "0")
}

fn iio(root: &Path) -> Vec<FoundIio> {
    let sensor = |folder: PathBuf| {
        let device = first_line(&folder.join("name"))?;
        let files: Vec<String> = entries(&folder).iter().filter_map(|file| file_name(file)).collect();
        let kinds = [("in_accel_", "acceleration"), ("in_anglvel_", "rotation")];
        let measures = kinds.into_iter().filter(|(start, _)| files.iter().any(|file| file.starts_with(start)));
        let measures: Vec<String> = measures.map(|(_, name)| name.to_owned()).collect();
        (!measures.is_empty()).then_some(FoundIio { device, measures })
    };
    entries(&root.join("sys/bus/iio/devices")).into_iter().filter_map(sensor).collect()
}

/// Links that udev keeps to nodes, by their stability.
struct Links(Vec<(PathBuf, PathBuf)>);

impl Links {
    fn below(root: &Path, folder: &str) -> Self {
        let links = ["by-id", "by-path"].into_iter().flat_map(|kind| entries(&root.join(folder).join(kind)));
        Self(links.filter_map(|link| Some((link.canonicalize().ok()?, link))).collect())
    }

    /// The most stable name of a node, and all of them, as they are without `root`.
    fn names_of(&self, root: &Path, node: &Path) -> (String, Vec<String>) {
        let target = node.canonicalize().unwrap_or_else(|_| node.to_owned());
        let links = self.0.iter().filter(|(to, _)| *to == target).map(|(_, link)| link.as_path());
        let name = |path: &Path| format!("/{}", path.strip_prefix(root).unwrap_or(path).display());
        let names: Vec<String> = links.chain([node]).map(name).collect();
        (names.first().cloned().unwrap_or_default(), names)
    }
}

/// What a folder holds, `video10` behind `video9`; nothing where there is no such folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort_by_key(|path| {
        let name = file_name(path).unwrap_or_default();
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (stem, number) = name.split_at(name.len() - digits);
        (stem.to_owned(), number.parse::<u64>().unwrap_or(0), name)
    });
    paths
}

fn is_numbered(path: &Path, stem: &str) -> bool {
    let name = file_name(path).unwrap_or_default();
    name.strip_prefix(stem).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn first_line(file: &Path) -> Option<String> {
    // The kernel cuts names of devices at a byte, in the midst of a letter too.
    let text = String::from_utf8_lossy(&fs::read(file).ok()?).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sensors::camera::SizeOffer;

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(root: &Path, link: &str, target: &str) {
        let path = root.join(link);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(root.join(target), path).unwrap();
    }

    fn yuyv() -> Vec<Offer> {
        let sizes = vec![SizeOffer { size: "640x480".to_owned(), rates: vec!["30".to_owned()] }];
        vec![Offer { fourcc: "YUYV".to_owned(), sizes }]
    }

    #[test]
    fn cameras_have_their_stable_names_and_metadata_nodes_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (node, name) in [("video0", "Webcam"), ("video1", "Webcam"), ("video10", "Other"), ("video2", "Shut")] {
            put(root, &format!("dev/{node}"), "");
            put(root, &format!("sys/class/video4linux/{node}/name"), &format!("{name}\n"));
        }
        link(root, "dev/v4l/by-id/usb-W-video-index0", "dev/video0");
        link(root, "dev/v4l/by-path/pci-0-video-index0", "dev/video0");
        link(root, "dev/v4l/by-path/pci-1-video-index0", "dev/video10");
        let found = Inventory::of(root, |node| match file_name(node).unwrap().as_str() {
            "video1" => Ok(Vec::new()),
            "video2" => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            _ => Ok(yuyv()),
        });
        let told: Vec<_> = found.cameras.iter().map(|c| (c.name.as_str(), c.device.as_str(), c.names.len())).collect();
        assert_eq!(
            told,
            [
                ("Webcam", "/dev/v4l/by-id/usb-W-video-index0", 3),
                ("Shut", "/dev/video2", 1),
                ("Other", "/dev/v4l/by-path/pci-1-video-index0", 2),
            ]
        );
        assert!(found.cameras[1].problem.as_deref().unwrap().contains("permission denied"), "{:?}", found.cameras[1]);
    }

    #[test]
    fn capture_devices_of_sound_cards_are_named_by_their_cards() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        put(
            root,
            "proc/asound/pcm",
            "00-00: ALC257 Analog : ALC257 Analog : playback 1 : capture 1\n00-03: HDMI 0 : HDMI 0 : playback 1\n\
             01-00: USB Audio : USB Audio : capture 1\n",
        );
        put(root, "proc/asound/card0/id", "PCH\n");
        put(root, "proc/asound/card1/id", "Webcam\n");
        put(
            root,
            "proc/asound/card1/stream0",
            "USB Webcam : USB Audio\n\nCapture:\n  Status: Stop\n  Interface 3\n    Altset 1\n    Format: S16_LE\n    \
             Channels: 1\n    Rates: 16000, 48000\n    Bits: 16\n",
        );
        let found = Inventory::of(root, |_| Ok(Vec::new())).microphones;
        let devices: Vec<_> = found.iter().map(|microphone| microphone.device.as_str()).collect();
        assert_eq!(devices, ["plughw:CARD=PCH,DEV=0", "plughw:CARD=Webcam,DEV=0"]);
        assert_eq!(found[1].offers, ["S16_LE, 1 channel(s), 16000, 48000 Hz"]);
    }

    #[test]
    fn serial_ports_and_motion_sensors_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (port, kind) in [("ttyS0", "4"), ("ttyS1", "0"), ("ttyUSB0", "")] {
            put(root, &format!("dev/{port}"), "");
            put(root, &format!("sys/class/tty/{port}/device/uevent"), "");
            put(root, &format!("sys/class/tty/{port}/type"), kind);
        }
        put(root, "sys/class/tty/tty1/active", "");
        link(root, "dev/serial/by-id/usb-FTDI-if00-port0", "dev/ttyUSB0");
        put(root, "sys/bus/iio/devices/iio:device0/name", "lsm6dsl_accel\n");
        put(root, "sys/bus/iio/devices/iio:device0/in_accel_x_raw", "1\n");
        put(root, "sys/bus/iio/devices/iio:device1/name", "ads1015\n");
        let found = Inventory::of(root, |_| Ok(Vec::new()));
        let ports: Vec<_> = found.serial_ports.iter().map(|port| port.device.as_str()).collect();
        assert_eq!(ports, ["/dev/ttyS0", "/dev/serial/by-id/usb-FTDI-if00-port0"]);
        assert_eq!(
            found.iio,
            [FoundIio { device: "lsm6dsl_accel".to_owned(), measures: vec!["acceleration".to_owned()] }]
        );
    }

    #[test]
    fn an_empty_machine_has_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Inventory::of(dir.path(), |_| Ok(yuyv())), Inventory::default());
    }
}
