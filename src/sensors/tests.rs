//! Serial devices on ptys: unplugging is the master's end going away.

#![expect(clippy::disallowed_methods, reason = "the driver runs in real time on its own thread")]

use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serialport::{SerialPort, TTYPort};

use super::wire::packets;
use super::*;
use crate::pipe::{Received, Receiver, WhenFull, bounded};
use crate::telemetry::{DropReason, SensorCounters, SensorState};

/// A device that runs on its thread, as in the daemon.
struct Running {
    counters: Arc<SensorCounters>,
    samples: Receiver<Sample>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(driver: DriverSettings) -> Self {
        let settings = SensorSettings { id: SensorId::new("s").unwrap(), time_offset_ms: 0.0, driver };
        let capacity = NonZeroUsize::new(1024).unwrap();
        let (output, samples) = bounded(capacity, WhenFull::DropOldest, Box::new(|_: &Sample| {}));
        let (counters, stop) = (Arc::new(SensorCounters::default()), Arc::new(AtomicBool::new(false)));
        let (counters_there, stop_there) = (Arc::clone(&counters), Arc::clone(&stop));
        let thread = std::thread::spawn(move || run(&settings, counters_there, output, &stop_there));
        Self { counters, samples, stop, thread: Some(thread) }
    }

    fn wait_for(&self, what: &str) -> SensorState {
        let deadline = crate::time::now() + Duration::from_secs(30);
        loop {
            let state = self.counters.read().state;
            if state.name() == what {
                return state;
            }
            assert!(crate::time::now() < deadline, "{state:?} instead of {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Plugs a pty in under a stable name, as udev does.
fn plug(name: &Path) -> TTYPort {
    let (master, slave) = TTYPort::pair().unwrap();
    let target = PathBuf::from(slave.name().unwrap());
    if name.is_symlink() {
        std::fs::remove_file(name).unwrap();
    }
    symlink(target, name).unwrap();
    master
}

fn imu(driver: ImuDriver) -> DriverSettings {
    DriverSettings::Imu(ImuSettings { driver, mounting: Mounting::default() })
}

fn witmotion(device: String, baud: u32) -> DriverSettings {
    imu(ImuDriver::WitMotion(SerialPortSettings { device, baud }))
}

fn gy_mcu90640(device: String, baud: u32) -> DriverSettings {
    DriverSettings::ThermalArray(ThermalArrayDriver::GyMcu90640(SerialPortSettings { device, baud }))
}

fn cycle(n: i16) -> Vec<u8> {
    [packets::witmotion(0x51, [n, 0, 2048]), packets::witmotion(0x52, [0, 0, n])].concat()
}

/// Writes until the driver has opened the port and the first sample came.
fn first_sample(running: &Running, port: &mut TTYPort, bytes: &[u8]) -> Sample {
    let deadline = crate::time::now() + Duration::from_secs(30);
    loop {
        // Until the driver has opened the other end, writing fails.
        let written = port.write_all(bytes).is_ok();
        if !written {
            std::thread::sleep(Duration::from_millis(10));
        } else if let Received::Item(sample) = running.samples.recv(Duration::from_millis(50)) {
            return sample;
        }
        assert!(crate::time::now() < deadline, "{:?}", running.counters.read().state);
    }
}

#[test]
fn an_imu_is_read_lost_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("imu");
    let mut port = plug(&name);
    let device = name.to_str().unwrap().to_owned();
    let running = Running::start(witmotion(device, 115_200));
    let before = crate::time::now();
    let sample = first_sample(&running, &mut port, &cycle(7));
    let SampleData::Imu(readings) = &sample.data else { panic!() };
    assert!((readings[0].accel_in_body_mps2[2] - STANDARD_GRAVITY_MPS2).abs() < 1e-3);
    assert!(readings[0].gyro_in_body_radps.is_some());
    assert!(sample.captured_at <= sample.arrived_at && sample.captured_at > before - Duration::from_millis(50));
    running.wait_for("ok");
    for _ in 0..2 {
        drop(port);
        let state = running.wait_for("lost");
        assert!(state.reason().contains("imu"), "{state:?}");
        port = plug(&name);
        first_sample(&running, &mut port, &cycle(8));
        running.wait_for("ok");
    }
}

#[test]
fn a_thermal_camera_is_read_lost_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("heat");
    let mut port = plug(&name);
    let device = name.to_str().unwrap().to_owned();
    let running = Running::start(gy_mcu90640(device, 460_800));
    let frame = packets::gy_mcu90640(|pixel| 20.0 + pixel as f32 / 100.0);
    let sample = first_sample(&running, &mut port, &frame);
    let SampleData::Thermal(plane) = &sample.data else { panic!() };
    assert_eq!((plane.width, plane.height, plane.values[100]), (32, 24, 21.0));
    // 1544 bytes took 33.5 ms on the wire.
    assert!(sample.arrived_at.nanos_since(sample.captured_at) >= 33_000_000);
    drop(port);
    running.wait_for("lost");
    port = plug(&name);
    first_sample(&running, &mut port, &frame);
    running.wait_for("ok");
}

/// A driver on a pty with this name.
fn on_pty(driver: impl FnOnce(SerialPortSettings) -> DriverSettings) -> (tempfile::TempDir, TTYPort, Running) {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("device");
    let port = plug(&name);
    let device = name.to_str().unwrap().to_owned();
    let running = Running::start(driver(SerialPortSettings { device, baud: 115_200 }));
    (dir, port, running)
}

fn readings(sample: &Sample) -> &[ImuReading] {
    let SampleData::Imu(readings) = &sample.data else { panic!("{sample:?}") };
    readings
}

#[test]
fn every_imu_on_a_port_is_read_in_the_bodys_axes() {
    let (accel, gyro) = ([0.5, 0.25, -9.75], [0.125, 0.5, -1.0]);
    type Case = (fn(SerialPortSettings) -> ImuDriver, Vec<u8>, bool);
    let cases: [Case; 4] = [
        (ImuDriver::VectorNav, packets::vectornav_common(1_000_000, accel, gyro), true),
        (ImuDriver::Xsens, packets::xsens(7, accel.map(|v| -v), gyro), true),
        (ImuDriver::Bno08xRvc, packets::bno08x_rvc(1, [0, 0, 1000]), false),
        (
            |port| ImuDriver::TextLine(port, packets::vnymr_format()),
            [packets::VNYMR_LINE.as_bytes(), packets::VNYMR_LINE.as_bytes()].concat(),
            true,
        ),
    ];
    for (driver, bytes, has_gyro) in cases {
        let (_dir, mut port, running) = on_pty(|port| {
            // Turned about z: x of the case points to the body's left.
            let mounting = Mounting::from_rpy_deg([0.0, 0.0, 90.0]);
            DriverSettings::Imu(ImuSettings { driver: driver(port), mounting })
        });
        let sample = first_sample(&running, &mut port, &bytes);
        let reading = readings(&sample)[0];
        assert!(reading.captured_at <= sample.arrived_at);
        assert_eq!(reading.gyro_in_body_radps.is_some(), has_gyro);
        match bytes[0] {
            // VectorNav's z points down, so y and z of (0.5, 0.25, -9.75) turn over first.
            0xFA if bytes[1] == 0x01 => {
                assert_eq!(reading.accel_in_body_mps2, [0.25, 0.5, 9.75]);
                assert_eq!(reading.gyro_in_body_radps, Some([0.5, 0.125, 1.0]));
            }
            0xFA => {
                assert_eq!(reading.accel_in_body_mps2, [0.25, -0.5, 9.75]);
                assert_eq!(reading.gyro_in_body_radps, Some([-0.5, 0.125, -1.0]));
            }
            0xAA => assert_eq!(reading.accel_in_body_mps2, [0.0, 0.0, STANDARD_GRAVITY_MPS2]),
            _ => assert_eq!(reading.accel_in_body_mps2, [-0.273, -0.105, -9.654]),
        }
    }
}

#[test]
fn an_autopilot_over_udp_is_asked_for_its_imu() {
    let autopilot = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    autopilot.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let address = {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    };
    let line = MavlinkLine::Udp(address.clone());
    let mavlink = MavlinkSettings { line, system_id: None, asked_rate_hz: Some(200.0) };
    let running = Running::start(imu(ImuDriver::Mavlink(mavlink)));
    let deadline = crate::time::now() + Duration::from_secs(20);
    let (mut asked, mut buffer) = (false, [0; 300]);
    while !asked {
        assert!(crate::time::now() < deadline, "nothing was asked");
        // Until the driver has bound its port, this is lost.
        drop(autopilot.send_to(&packets::mavlink_autopilot_heartbeat(7), &address));
        while let Ok((count, _)) = autopilot.recv_from(&mut buffer) {
            // COMMAND_LONG, to system 7, for HIGHRES_IMU every 5 ms.
            let (is_command, to) = (buffer[7] == 76, buffer[10 + 30]);
            let numbers = buffer[10..18].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            asked |= count > 40 && is_command && to == 7 && numbers.eq([105.0, 5000.0]);
        }
    }
    let frame = packets::mavlink_highres(7, 5_000_000, [0.5, 1.0, -9.75], [0.25, 0.5, -1.0]);
    autopilot.send_to(&frame, &address).unwrap();
    let Received::Item(sample) = running.samples.recv(Duration::from_secs(20)) else { panic!("no sample") };
    assert_eq!(readings(&sample)[0].accel_in_body_mps2, [0.5, -1.0, 9.75]);
    running.wait_for("ok");
}

#[test]
fn an_array_is_read_as_the_config_describes_it() {
    let (_dir, mut port, running) =
        on_pty(|port| DriverSettings::ThermalArray(ThermalArrayDriver::SerialArray(port, packets::array_format())));
    let frame = packets::array(|pixel| if pixel == 5 { 1000.0 } else { 20.0 + pixel as f32 / 100.0 });
    let sample = first_sample(&running, &mut port, &frame);
    let SampleData::Thermal(plane) = &sample.data else { panic!() };
    assert_eq!((plane.width, plane.height, plane.values[100]), (32, 24, 21.0));
    assert!(plane.values[5].is_nan());
}

#[test]
fn bytes_that_become_no_packet_are_told_as_such() {
    let (_dir, mut port, running) = on_pty(|port| imu(ImuDriver::Xsens(port)));
    let deadline = crate::time::now() + Duration::from_secs(30);
    let reason = loop {
        // Lines of text on the port of another device; until the driver has opened the other end, writing fails.
        drop(port.write_all(b"1.5,2.5,9.8\n"));
        let state = running.counters.read().state;
        if state.name() == "stalled" {
            break state.reason().to_owned();
        }
        assert!(crate::time::now() < deadline, "{state:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(reason.contains(" bytes came in 2.0 s, but no packet of `xsens`: wrong baud"), "{reason}");
}

#[test]
fn a_program_that_writes_no_picture_is_told_as_such() {
    let command = ["sh", "-c", "echo no picture"].map(str::to_owned).to_vec();
    let output = CommandOutput::Mjpeg { rate_hz: 5.0 };
    let running = Running::start(DriverSettings::Stream(StreamDriver::Command(CommandSettings { command, output })));
    let reason = running.wait_for("lost").reason().to_owned();
    assert_eq!(reason, "sh: it ended; 11 bytes came, but no JPEG picture: is `output` what it writes?");
}

#[test]
fn refused_packets_are_counted() {
    let (_dir, mut port, running) = on_pty(|port| imu(ImuDriver::WitMotion(port)));
    first_sample(&running, &mut port, &cycle(7));
    let mut damaged = cycle(8);
    damaged[5] ^= 1;
    port.write_all(&[damaged, cycle(9)].concat()).unwrap();
    let Received::Item(_) = running.samples.recv(Duration::from_secs(20)) else { panic!("no sample") };
    assert_eq!(running.counters.read().drops.get(&DropReason::Undecodable), Some(&1));
}

#[test]
fn readings_that_are_no_numbers_are_counted_as_such() {
    let (_dir, mut port, running) = on_pty(|port| imu(ImuDriver::TextLine(port, packets::csv_format())));
    first_sample(&running, &mut port, &packets::csv_line(1, [0.0, 0.0, 1.0], [0.0; 3]));
    let bad = packets::csv_line(2, [f32::NAN, 0.0, 1.0], [0.0; 3]);
    let good = packets::csv_line(3, [0.5, 0.0, 1.0], [0.0; 3]);
    port.write_all(&[&bad[..], b"4,x,0,1,0,0,0\n", &good].concat()).unwrap();
    let deadline = crate::time::now() + Duration::from_secs(20);
    while running.counters.read().drops.len() < 2 {
        assert!(crate::time::now() < deadline, "{:?}", running.counters.read());
        std::thread::sleep(Duration::from_millis(20));
    }
    let reading = running.counters.read();
    assert_eq!(reading.drops, [(DropReason::Undecodable, 1), (DropReason::NotFinite, 1)].into());
    assert_eq!(reading.state.name(), "ok");
}

#[test]
fn a_device_that_gives_no_numbers_alone_is_told_as_such() {
    let (_dir, mut port, running) = on_pty(|port| imu(ImuDriver::Xsens(port)));
    let deadline = crate::time::now() + Duration::from_secs(30);
    let reason = loop {
        drop(port.write_all(&packets::xsens(1, [f32::NAN, 0.0, 9.8], [0.0; 3])));
        let reading = running.counters.read();
        if reading.state.name() == "stalled" {
            assert!(reading.drops[&DropReason::NotFinite] > 0, "{reading:?}");
            break reading.state.reason().to_owned();
        }
        assert!(crate::time::now() < deadline, "{reading:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(reason.contains("none of finite numbers"), "{reason}");
}

#[test]
fn a_device_that_is_not_there_is_lost_and_never_fatal() {
    let device = "/dev/serial/by-id/none".to_owned();
    let node = VideoNodeSettings { device: device.clone(), width_px: 640, height_px: 480, rate_hz: 5.0 };
    let layout = ThermalLayout::DoubleHeight { marker_rows: 0 };
    let thermal = V4lThermalSettings { node: node.clone(), layout, valid_celsius: [-40.0, 300.0] };
    let depth = V4lDepthSettings { node: node.clone(), metres_per_step: 0.001 };
    let v4l = V4lSettings { node, fourcc: None, y16_bits: 16 };
    let nokhwa = NokhwaSettings { index: 99, width_px: 640, height_px: 480, rate_hz: 5.0 };
    let microphone = MicrophoneSettings { device: Some("no such microphone".to_owned()), ..Default::default() };
    let port = || SerialPortSettings { device: "/dev/serial/by-id/none".to_owned(), baud: 115_200 };
    let mavlink = |line| imu(ImuDriver::Mavlink(MavlinkSettings { line, system_id: None, asked_rate_hz: None }));
    // An address of documentation (RFC 5737) is none of ours.
    let elsewhere = MavlinkLine::Udp("192.0.2.1:14550".to_owned());
    let iio = IioSettings { device: "no-such-imu".to_owned(), gyro_device: None, rate_hz: 100.0, way: IioWay::Polled };
    for driver in [
        witmotion(device.clone(), 9600),
        gy_mcu90640(device, 115_200),
        DriverSettings::Camera(CameraDriver::V4l(v4l)),
        DriverSettings::Camera(CameraDriver::V4lThermal(thermal)),
        DriverSettings::Camera(CameraDriver::V4lDepth(depth)),
        DriverSettings::Camera(CameraDriver::Nokhwa(nokhwa)),
        DriverSettings::Microphone(microphone),
        mavlink(MavlinkLine::Serial(port())),
        mavlink(elsewhere),
        imu(ImuDriver::Iio(iio)),
        imu(ImuDriver::TextLine(port(), packets::csv_format())),
        DriverSettings::ThermalArray(ThermalArrayDriver::SerialArray(port(), packets::array_format())),
    ] {
        let running = Running::start(driver);
        let state = running.wait_for("lost");
        assert!(!state.reason().is_empty());
    }
}

#[test]
fn a_mute_line_leaves_a_stop_within_half_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("imu");
    let _port = plug(&name);
    let device = name.to_str().unwrap().to_owned();
    let running = Running::start(witmotion(device, 115_200));
    std::thread::sleep(Duration::from_millis(50));
    let asked = crate::time::now();
    drop(running);
    assert!(crate::time::now().nanos_since(asked) < 500_000_000);
}
