//! A device made of files, as the kernel shows an MPU-6050.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::time::MonoTime;

/// ±2 g at 16384 a g, ±250 °/s at 131 a degree a second, as the kernel's driver tells them.
const ACCEL_SCALE: f32 = 0.000_598;
const GYRO_SCALE: f32 = 0.000_133;

struct FakeDevice {
    root: tempfile::TempDir,
}

impl FakeDevice {
    fn new() -> Self {
        let fake = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(fake.sysfs("scan_elements")).unwrap();
        for folder in ["buffer", "trigger"] {
            std::fs::create_dir(fake.sysfs(folder)).unwrap();
        }
        for (file, text) in [
            ("name", "mpu6050"),
            ("in_accel_scale", "0.000598"),
            ("in_anglvel_scale", "0.000133"),
            ("in_accel_x_raw", "0"),
            ("in_accel_y_raw", "-8192"),
            ("in_accel_z_raw", "16384"),
            ("in_anglvel_x_raw", "1000"),
            ("in_anglvel_y_raw", "0"),
            ("in_anglvel_z_raw", "-1000"),
            ("sampling_frequency", "50"),
            ("buffer/enable", "1"),
            ("buffer/length", "2"),
            ("trigger/current_trigger", ""),
            ("current_timestamp_clock", "realtime"),
        ] {
            fake.set(file, text);
        }
        let channels =
            ["in_accel_x", "in_accel_y", "in_accel_z", "in_temp", "in_anglvel_x", "in_anglvel_y", "in_anglvel_z"];
        for (index, channel) in channels.iter().enumerate() {
            fake.set(&format!("scan_elements/{channel}_en"), "0");
            fake.set(&format!("scan_elements/{channel}_index"), &index.to_string());
            fake.set(&format!("scan_elements/{channel}_type"), "be:s16/16>>0");
        }
        fake.set("scan_elements/in_temp_en", "1");
        fake.set("scan_elements/in_timestamp_en", "0");
        fake.set("scan_elements/in_timestamp_index", "7");
        fake.set("scan_elements/in_timestamp_type", "le:s64/64>>0");
        fake
    }

    fn sysfs(&self, file: &str) -> PathBuf {
        self.root.path().join("sys/iio:device3").join(file)
    }

    fn set(&self, file: &str, text: &str) {
        std::fs::write(self.sysfs(file), format!("{text}\n")).unwrap();
    }

    fn get(&self, file: &str) -> String {
        std::fs::read_to_string(self.sysfs(file)).unwrap().trim().to_owned()
    }

    fn open(&self, device: &str, way: IioWay) -> Result<Iio, SensorError> {
        let settings = IioSettings { device: device.to_owned(), gyro_device: None, rate_hz: 200.0, way };
        let (sysfs, dev) = (self.root.path().join("sys"), self.root.path().to_owned());
        Iio::open_in(&sysfs, &dev, SensorId::new("imu").unwrap(), &settings)
    }

    fn error(&self, device: &str, way: IioWay) -> String {
        self.open(device, way).err().unwrap().to_string()
    }
}

fn readings(iio: &mut Iio) -> Vec<ImuReading> {
    let deadline = now() + Duration::from_secs(10);
    loop {
        assert!(now() < deadline, "nothing came");
        if let Some(sample) = iio.next(Duration::from_millis(100)).unwrap() {
            let SampleData::Imu(readings) = sample.data else { panic!() };
            return readings;
        }
    }
}

#[test]
fn channels_are_polled_in_si() {
    let fake = FakeDevice::new();
    let mut iio = fake.open("mpu6050", IioWay::Polled).unwrap();
    assert_eq!(fake.get("sampling_frequency"), "200");
    let before = now();
    let first = readings(&mut iio)[0];
    assert_eq!(first.accel_in_body_mps2, [0.0, -8192.0 * ACCEL_SCALE, 16_384.0 * ACCEL_SCALE]);
    assert_eq!(first.gyro_in_body_radps, Some([1000.0 * GYRO_SCALE, 0.0, -1000.0 * GYRO_SCALE]));
    assert!(first.captured_at >= before && first.captured_at <= now());
    fake.set("in_accel_x_raw", "16384");
    let second = readings(&mut iio)[0];
    assert_eq!(second.accel_in_body_mps2[0], 16_384.0 * ACCEL_SCALE);
    // 200 Hz, unless the machine is busy.
    assert!(second.captured_at.nanos_since(first.captured_at) >= 2_000_000);
}

#[test]
fn offsets_matrices_and_a_gyroscope_of_its_own() {
    let fake = FakeDevice::new();
    fake.set("in_accel_z_offset", "-16384");
    fake.set("in_mount_matrix", "0, 1, 0; -1, 0, 0; 0, 0, 1");
    let gyro = fake.root.path().join("sys/iio:device4");
    std::fs::create_dir(&gyro).unwrap();
    for (file, text) in
        [("label", "turn"), ("in_anglvel_x_raw", "7"), ("in_anglvel_y_raw", "8"), ("in_anglvel_z_raw", "9")]
    {
        std::fs::write(gyro.join(file), text).unwrap();
    }
    let (sysfs, id) = (fake.root.path().join("sys"), SensorId::new("imu").unwrap());
    let gyro_device = Some("turn".to_owned());
    let settings = IioSettings { device: "iio:device3".to_owned(), gyro_device, rate_hz: 200.0, way: IioWay::Polled };
    let reading = readings(&mut Iio::open_in(&sysfs, fake.root.path(), id, &settings).unwrap())[0];
    assert_eq!(reading.accel_in_body_mps2, [-8192.0 * ACCEL_SCALE, 0.0, 0.0]);
    assert_eq!(reading.gyro_in_body_radps, Some([7.0, 8.0, 9.0]));
}

#[test]
fn the_buffer_gives_scans_with_the_kernels_stamps() {
    let fake = FakeDevice::new();
    let node = fake.root.path().join("iio:device3");
    assert!(Command::new("mkfifo").arg(&node).status().unwrap().success());
    let trigger = Some("hrtimer0".to_owned());
    let mut iio = fake.open("mpu6050", IioWay::Buffered { trigger }).unwrap();
    assert_eq!([fake.get("buffer/enable"), fake.get("buffer/length")], ["1", "64"]);
    assert_eq!([fake.get("trigger/current_trigger"), fake.get("current_timestamp_clock")], ["hrtimer0", "monotonic"]);
    let enabled = |channel: &str| fake.get(&format!("scan_elements/{channel}_en"));
    assert_eq!([enabled("in_accel_y"), enabled("in_timestamp"), enabled("in_temp")], ["1", "1", "0"]);
    assert!(iio.next(Duration::from_millis(5)).unwrap().is_none());
    let mut kernel = std::fs::OpenOptions::new().write(true).open(&node).unwrap();
    let start = now().shifted(-50_000_000);
    let scan = |n: i64| {
        let mut bytes: Vec<u8> =
            [0i16, -8192, 16_384, 1000, 0, n as i16].iter().flat_map(|raw| raw.to_be_bytes()).collect();
        bytes.extend([0; 4]);
        bytes.extend(start.shifted(n * 5_000_000).nanos().to_le_bytes());
        bytes
    };
    kernel.write_all(&[scan(0), scan(1), scan(2)].concat()).unwrap();
    let found = readings(&mut iio);
    assert_eq!(
        found.iter().map(|r| r.captured_at).collect::<Vec<MonoTime>>(),
        [0, 1, 2].map(|n| start.shifted(n * 5_000_000))
    );
    assert_eq!(found[2].accel_in_body_mps2, [0.0, -8192.0 * ACCEL_SCALE, 16_384.0 * ACCEL_SCALE]);
    assert_eq!(found[2].gyro_in_body_radps, Some([1000.0 * GYRO_SCALE, 0.0, 2.0 * GYRO_SCALE]));
    drop(iio);
    assert_eq!(fake.get("buffer/enable"), "0");
}

#[test]
fn what_cannot_be_read_is_told() {
    let fake = FakeDevice::new();
    let polled = || IioWay::Polled;
    let buffered = || IioWay::Buffered { trigger: None };
    assert_eq!(fake.error("bmi160", polled()), "bmi160: no such IIO device; there are: mpu6050");
    fake.set("in_accel_scale", "big");
    assert_eq!(fake.error("mpu6050", polled()), "mpu6050 cannot do this: `big` is no number");
    fake.set("in_accel_scale", "0.000598");
    fake.set("in_mount_matrix", "1, 0, 0; 0, 1, 0");
    assert!(fake.error("mpu6050", polled()).contains("is no rotation"));
    std::fs::remove_file(fake.sysfs("in_mount_matrix")).unwrap();
    assert!(fake.error("mpu6050", buffered()).contains("No such file"));
    fake.set("scan_elements/in_accel_x_type", "le:f32/32>>0");
    assert!(fake.error("mpu6050", buffered()).contains("is no type of a scan element"));
    std::fs::remove_file(fake.sysfs("buffer/enable")).unwrap();
    assert!(fake.error("mpu6050", buffered()).contains("it has no buffer"));
    std::fs::remove_file(fake.sysfs("in_accel_y_raw")).unwrap();
    assert!(fake.error("mpu6050", polled()).contains("it has no acceleration"));
    let nowhere = Iio::open_in(
        Path::new("/nowhere"),
        Path::new("/nowhere"),
        SensorId::new("imu").unwrap(),
        &IioSettings { device: "x".to_owned(), gyro_device: None, rate_hz: 1.0, way: IioWay::Polled },
    );
    assert!(nowhere.err().unwrap().to_string().contains("No such file"));
}
