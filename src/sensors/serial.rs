//! A serial port, and the time at which each of its bytes began on the wire.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use serialport::SerialPort;

use super::{SensorError, SerialPortSettings};
use crate::time::{MonoTime, NANOS_PER_SEC, now};

/// Bits on the wire for one byte: start, eight, stop.
const BITS_PER_BYTE: i64 = 10;

/// Bytes that one read takes at most: more than any packet.
const READ_BYTES: usize = 4096;

/// Reads remembered for stamping: a packet may arrive in many small reads.
const MARKS: usize = 4096;

/// An open port.
pub(super) struct SerialLine {
    device: String,
    port: Box<dyn SerialPort>,
    buffer: Box<[u8]>,
    pub(super) clock: ByteClock,
}

impl SerialLine {
    pub(super) fn open(SerialPortSettings { device, baud }: &SerialPortSettings) -> Result<Self, SensorError> {
        // DTR and RTS are left alone: ptys and some adapters refuse to set them.
        let port = serialport::new(device, *baud)
            .timeout(Duration::from_millis(250))
            .open()
            .map_err(|error| lost(device, error))?;
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Self { device: device.clone(), port, buffer, clock: ByteClock::new(*baud) })
    }

    /// The bytes that came within `timeout`; empty when none did.
    pub(super) fn read(&mut self, timeout: Duration) -> Result<&[u8], SensorError> {
        self.port.set_timeout(timeout).map_err(|error| lost(&self.device, error))?;
        match self.port.read(&mut self.buffer) {
            // An adapter that was pulled out reads as ended (tokio-serial shows it as 0 bytes for ever, serialport as BrokenPipe).
            Ok(0) => Err(lost(&self.device, "the line was closed")),
            Ok(n) => {
                self.clock.arrived(n as u64, now());
                Ok(self.buffer.get(..n).unwrap_or_default())
            }
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(&[]),
            Err(error) => Err(lost(&self.device, error)),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), SensorError> {
        self.port.write_all(bytes).map_err(|error| lost(&self.device, error))
    }
}

fn lost(device: &str, why: impl ToString) -> SensorError {
    SensorError::Lost { device: device.to_owned(), why: why.to_string() }
}

/// When each byte of a line began: a read's arrival minus the time that the bytes from there to the read's end took on the wire.
pub(super) struct ByteClock {
    nanos_per_byte: i64,
    total: u64,
    /// (bytes so far, arrival) after each read.
    marks: VecDeque<(u64, MonoTime)>,
}

impl ByteClock {
    pub(super) fn new(baud: u32) -> Self {
        let nanos_per_byte = BITS_PER_BYTE * NANOS_PER_SEC / i64::from(baud.max(1));
        Self { nanos_per_byte, total: 0, marks: VecDeque::new() }
    }

    pub(super) fn arrived(&mut self, bytes: u64, at: MonoTime) {
        self.total = self.total.saturating_add(bytes);
        if self.marks.len() >= MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((self.total, at));
    }

    /// When the byte at `offset` (counted from the opening) began; the arrival of its read when that is all that is known.
    pub(super) fn began(&self, offset: u64) -> Option<MonoTime> {
        let (total, at) = self.marks.get(self.marks.partition_point(|(total, _)| *total <= offset))?;
        let bytes = i64::try_from(total.saturating_sub(offset)).unwrap_or(0);
        Some(at.shifted(-bytes.saturating_mul(self.nanos_per_byte)))
    }

    /// Bytes before `offset` will not be asked for again.
    pub(super) fn forget_before(&mut self, offset: u64) {
        while self.marks.front().is_some_and(|(total, _)| *total <= offset) {
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_began_before_it_arrived() {
        let mut clock = ByteClock::new(10_000); // 1 ms a byte
        clock.arrived(5, MonoTime::from_nanos(100_000_000));
        clock.arrived(2, MonoTime::from_nanos(110_000_000));
        let began = |offset| clock.began(offset).map(|stamp| stamp.nanos() / 1_000_000);
        assert_eq!([0, 4, 5, 6, 7].map(began), [Some(95), Some(99), Some(108), Some(109), None]);
        clock.forget_before(5);
        assert_eq!(clock.marks.len(), 1);
    }
}
