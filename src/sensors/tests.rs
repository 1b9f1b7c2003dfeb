//! Serial devices on ptys: unplugging is the master's end going away.

#![expect(clippy::disallowed_methods, reason = "the driver runs in real time on its own thread")]

use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serialport::{SerialPort, TTYPort};

use super::*;
use crate::pipe::{Received, Receiver, WhenFull, bounded};
use crate::telemetry::{SensorCounters, SensorState};

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
        let deadline = crate::time::now() + Duration::from_secs(5);
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

fn witmotion(device: String, baud: u32) -> DriverSettings {
    DriverSettings::Imu(ImuSettings { driver: ImuDriver::WitMotion(SerialPortSettings { device, baud }) })
}

fn gy_mcu90640(device: String, baud: u32) -> DriverSettings {
    DriverSettings::ThermalArray(ThermalArrayDriver::GyMcu90640(SerialPortSettings { device, baud }))
}

fn cycle(n: i16) -> Vec<u8> {
    [imu::witmotion_tests::packet(0x51, [n, 0, 2048]), imu::witmotion_tests::packet(0x52, [0, 0, n])].concat()
}

/// Writes until the driver has opened the port and the first sample came.
fn first_sample(running: &Running, port: &mut TTYPort, bytes: &[u8]) -> Sample {
    let deadline = crate::time::now() + Duration::from_secs(5);
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
    for _ in 0..3 {
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
    let frame = thermal_array::gy_mcu90640_tests::frame_bytes(|pixel| 20.0 + pixel as f32 / 100.0);
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
    for driver in [
        witmotion(device.clone(), 9600),
        gy_mcu90640(device, 115_200),
        DriverSettings::Camera(CameraDriver::V4l(v4l)),
        DriverSettings::Camera(CameraDriver::V4lThermal(thermal)),
        DriverSettings::Camera(CameraDriver::V4lDepth(depth)),
        DriverSettings::Camera(CameraDriver::Nokhwa(nokhwa)),
        DriverSettings::Microphone(microphone),
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
