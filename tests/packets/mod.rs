//! What devices send, put together by hand from the pages of their makers: for unit tests, benchmarks and fuzzing alike.

// Each of those uses some of them.
#![allow(dead_code)]

use super::{ArrayElement, SerialArrayFormat, TextColumn, TextLineFormat};

fn sum8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// A WitMotion packet of three axes and a temperature.
pub(crate) fn witmotion(kind: u8, axes: [i16; 3]) -> Vec<u8> {
    let mut bytes = vec![0x55, kind];
    bytes.extend(axes.iter().chain(&[2500]).flat_map(|axis| axis.to_le_bytes()));
    bytes.push(sum8(&bytes));
    bytes
}

/// A WitMotion cycle: acceleration, rotation, angle.
pub(crate) fn witmotion_cycle(n: i16) -> Vec<u8> {
    [witmotion(0x51, [n, 0, 2048]), witmotion(0x52, [0, n, 0]), witmotion(0x53, [9, 9, 9])].concat()
}

/// A BNO08x packet with accelerations in thousandths of g.
pub(crate) fn bno08x_rvc(index: u8, milli_g: [i16; 3]) -> Vec<u8> {
    let mut bytes = vec![0xAA, 0xAA, index, 0x10, 0x27, 0x00, 0x00, 0xF0, 0xFF];
    bytes.extend(milli_g.iter().flat_map(|axis| axis.to_le_bytes()));
    bytes.extend([0, 0, 0]);
    bytes.push(sum8(&bytes[2..]));
    bytes
}

/// A GY-MCU90640 frame.
pub(crate) fn gy_mcu90640(celsius: impl Fn(usize) -> f32) -> Vec<u8> {
    let mut bytes = vec![0x5A, 0x5A, 0x02, 0x06];
    bytes.extend((0..769).flat_map(|pixel| ((celsius(pixel) * 100.0).round() as i16).to_le_bytes()));
    let sum = bytes.iter().fold(0u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// A home-made board's frames: four bytes of header and 32×24 floats.
pub(crate) fn array_format() -> SerialArrayFormat {
    SerialArrayFormat {
        header: vec![0xAA, 0xBB, 0xCC, 0xDD],
        width_px: 32,
        height_px: 24,
        element: ArrayElement::F32,
        big_endian: false,
        celsius_per_unit: 1.0,
        celsius_at_zero: 0.0,
        trailer_bytes: 0,
        valid_celsius: -40.0..=300.0,
    }
}

/// A frame in that format.
pub(crate) fn array(celsius: impl Fn(usize) -> f32) -> Vec<u8> {
    let mut bytes = array_format().header;
    bytes.extend((0..768).flat_map(|pixel| celsius(pixel).to_le_bytes()));
    bytes
}

/// CRC16 of VectorNav, bit by bit.
fn crc16_ccitt(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc: u16, _| crc << 1 ^ if crc >> 15 == 1 { 0x1021 } else { 0 })
    })
}

fn vectornav(header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0xFA], header, payload].concat();
    bytes.extend(crc16_ccitt(&bytes[1..]).to_be_bytes());
    bytes
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// VectorNav's IMU and attitude groups as ArduPilot asks for them.
pub(crate) fn vectornav_autopilot(accel_mps2: [f32; 3], gyro_radps: [f32; 3]) -> Vec<u8> {
    let uncompensated = f32s(&[0.1, 0.2, 0.3, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 25.0, 101.3, 0.1, 0.2, 0.3]);
    let quaternion = f32s(&[0.0, 0.0, 0.0, 1.0]);
    let payload = [uncompensated, f32s(&accel_mps2), f32s(&gyro_radps), quaternion].concat();
    vectornav(&[0x14, 0x3E, 0x07, 0x04, 0x00], &payload)
}

/// VectorNav's common group with time, rotation and acceleration.
pub(crate) fn vectornav_common(nanos: u64, accel_mps2: [f32; 3], gyro_radps: [f32; 3]) -> Vec<u8> {
    let payload = [nanos.to_le_bytes().to_vec(), f32s(&gyro_radps), f32s(&accel_mps2)].concat();
    vectornav(&[0x01, 0x21, 0x01], &payload)
}

/// An Xsens MTData2 message: packet counter, sample time, acceleration, rate of turn, each an f32.
pub(crate) fn xsens(ticks: u32, accel_mps2: [f32; 3], gyro_radps: [f32; 3]) -> Vec<u8> {
    let vector = |axes: [f32; 3]| axes.iter().flat_map(|axis| axis.to_be_bytes()).collect::<Vec<u8>>();
    let mut data = vec![0x10, 0x20, 2, 0, 7, 0x10, 0x60, 4];
    data.extend(ticks.to_be_bytes());
    data.extend([0x40, 0x20, 12]);
    data.extend(vector(accel_mps2));
    data.extend([0x80, 0x20, 12]);
    data.extend(vector(gyro_radps));
    let mut bytes = vec![0xFA, 0xFF, 0x36, data.len() as u8];
    bytes.extend(data);
    bytes.push(sum8(&bytes[1..]).wrapping_neg());
    bytes
}

/// The same with a longer length, filled up with `filler_bytes` of a field that nobody reads.
pub(crate) fn xsens_extended(short: &[u8], filler_bytes: usize) -> Vec<u8> {
    let mut data = short[4..short.len() - 1].to_vec();
    for _ in 0..filler_bytes / 13 {
        data.extend([0xC0, 0x20, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    let mut bytes = vec![0xFA, 0xFF, 0x36, 0xFF];
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes.push(sum8(&bytes[1..]).wrapping_neg());
    bytes
}

/// CRC-16/MCRF4XX of MAVLink, with the seed of the message after it.
fn crc_mcrf4xx(bytes: &[u8], seed: u8) -> u16 {
    bytes.iter().chain(&[seed]).fold(0xFFFF, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x8408 } else { 0 })
    })
}

/// A MAVLink 2 frame of component 1; trailing zeros of the payload are cut, as the protocol asks.
fn mavlink(system_id: u8, message_id: u32, seed: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let [id0, id1, id2, _] = message_id.to_le_bytes();
    let mut bytes = vec![0xFD, length as u8, 0, 0, 7, system_id, 1, id0, id1, id2];
    bytes.extend(&payload[..length]);
    bytes.extend(crc_mcrf4xx(&bytes[1..], seed).to_le_bytes());
    bytes
}

/// A message that the common dialect does not have.
pub(crate) fn mavlink_of_another_dialect(message_id: u32, payload: &[u8]) -> Vec<u8> {
    mavlink(1, message_id, 127, payload)
}

fn highres_payload(micros: u64, accel_mps2: [f32; 3], gyro_radps: [f32; 3]) -> Vec<u8> {
    let others = [0.1, 0.2, 0.3, 1013.0, 0.0, 100.0, 25.0];
    let mut payload = micros.to_le_bytes().to_vec();
    payload.extend(f32s(&[&accel_mps2[..], &gyro_radps, &others].concat()));
    payload.extend(0x1FFFu16.to_le_bytes());
    payload
}

/// HIGHRES_IMU of the first IMU, in the vehicle's axes (z down).
pub(crate) fn mavlink_highres(system_id: u8, micros: u64, accel_mps2: [f32; 3], gyro_radps: [f32; 3]) -> Vec<u8> {
    mavlink(system_id, 105, 93, &[highres_payload(micros, accel_mps2, gyro_radps), vec![0]].concat())
}

/// The same as a MAVLink 1 frame.
pub(crate) fn mavlink_highres_v1(system_id: u8, micros: u64, accel_mps2: [f32; 3], gyro_radps: [f32; 3]) -> Vec<u8> {
    let payload = highres_payload(micros, accel_mps2, gyro_radps);
    let mut bytes = vec![0xFE, payload.len() as u8, 7, system_id, 1, 105];
    bytes.extend(payload);
    bytes.extend(crc_mcrf4xx(&bytes[1..], 93).to_le_bytes());
    bytes
}

/// SCALED_IMU, in thousandths of g and of rad/s.
pub(crate) fn mavlink_scaled(millis: u32, milli_g: [i16; 3], milliradps: [i16; 3]) -> Vec<u8> {
    let mut payload = millis.to_le_bytes().to_vec();
    payload.extend([milli_g, milliradps, [1, 2, 3]].iter().flatten().flat_map(|axis| axis.to_le_bytes()));
    mavlink(1, 26, 170, &payload)
}

/// The heartbeat of a PX4.
pub(crate) fn mavlink_autopilot_heartbeat(system_id: u8) -> Vec<u8> {
    mavlink(system_id, 0, 50, &[0, 0, 0, 0, 2, 12, 81, 4, 3])
}

/// A MAVLink 2 frame with other incompatibility flags; the first of them adds a signature.
pub(crate) fn mavlink_with_flags(frame: &[u8], flags: u8) -> Vec<u8> {
    let mut bytes = frame[..frame.len() - 2].to_vec();
    bytes[2] = flags;
    bytes.extend(crc_mcrf4xx(&bytes[1..], 93).to_le_bytes());
    bytes.extend(vec![0x11; if flags == 1 { 13 } else { 0 }]);
    bytes
}

/// Time in milliseconds, acceleration in g, rotation in degrees a second, separated by commas.
pub(crate) fn csv_format() -> TextLineFormat {
    use TextColumn::{Accel, Gyro, Time};
    TextLineFormat {
        prefix: String::new(),
        delimiter: ',',
        requires_checksum: false,
        columns: vec![Time, Accel(0), Accel(1), Accel(2), Gyro(0), Gyro(1), Gyro(2)],
        accel_mps2_per_unit: 9.806_65,
        gyro_radps_per_unit: std::f64::consts::PI / 180.0,
        nanos_per_unit: 1e6,
    }
}

/// A line in that format.
pub(crate) fn csv_line(millis: u64, accel_g: [f32; 3], gyro_degps: [f32; 3]) -> Vec<u8> {
    let ([ax, ay, az], [gx, gy, gz]) = (accel_g, gyro_degps);
    format!("{millis},{ax:.4},{ay:.4},{az:.4},{gx:.3},{gy:.3},{gz:.3}\r\n").into_bytes()
}

/// VectorNav's line of yaw, pitch, roll, magnetic field, acceleration and rotation.
pub(crate) fn vnymr_format() -> TextLineFormat {
    use TextColumn::{Accel, Gyro, Ignored};
    let measured = [Accel(0), Accel(1), Accel(2), Gyro(0), Gyro(1), Gyro(2)];
    TextLineFormat {
        prefix: "$VNYMR".to_owned(),
        requires_checksum: true,
        columns: [&[Ignored; 6][..], &measured].concat(),
        accel_mps2_per_unit: 1.0,
        gyro_radps_per_unit: 1.0,
        ..csv_format()
    }
}

/// Such a line.
pub(crate) const VNYMR_LINE: &str = "$VNYMR,+006.380,+000.023,-001.953,+1.0640,-0.2531,+3.0614,-00.105,+00.273,-09.654,-0.001222,-0.000450,+0.001218*6E\r\n";
