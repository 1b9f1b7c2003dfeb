//! Lines of bytes: serial ports and UDP, and the time at which each byte began on them.

mod serial;
mod udp;

pub(super) use serial::SerialLine;
pub(super) use udp::UdpLine;

use std::collections::VecDeque;
use std::time::Duration;

use super::SensorError;
use crate::time::{MonoTime, NANOS_PER_SEC};

/// Bits on the wire for one byte: start, eight, stop.
const BITS_PER_BYTE: i64 = 10;

/// Reads remembered for stamping: a packet may arrive in many small reads.
const MARKS: usize = 4096;

/// Where bytes come from.
pub(super) trait ByteLine: Send {
    /// The bytes that came within `timeout`; empty when none did.
    fn read(&mut self, timeout: Duration) -> Result<&[u8], SensorError>;

    /// Says something to the other end, if it listens.
    fn write(&mut self, bytes: &[u8]) -> Result<(), SensorError>;

    /// When each byte began.
    fn clock(&mut self) -> &mut ByteClock;
}

fn lost(device: &str, why: impl ToString) -> SensorError {
    SensorError::Lost { device: device.to_owned(), why: why.to_string() }
}

/// When each byte of a line began: a read's arrival minus the time that the bytes from there to the read's end took on the wire.
#[derive(Debug)]
pub(super) struct ByteClock {
    nanos_per_byte: i64,
    total: u64,
    /// Bytes that [`Self::take_bytes`] has told.
    told: u64,
    /// (bytes so far, arrival) after each read.
    marks: VecDeque<(u64, MonoTime)>,
}

impl ByteClock {
    /// For a serial port.
    fn of_baud(baud: u32) -> Self {
        let nanos_per_byte = BITS_PER_BYTE * NANOS_PER_SEC / i64::from(baud.max(1));
        Self { nanos_per_byte, total: 0, told: 0, marks: VecDeque::new() }
    }

    /// For bytes that arrive together: datagrams, and what is faster than anyone looks.
    pub(super) fn of_datagrams() -> Self {
        Self { nanos_per_byte: 0, total: 0, told: 0, marks: VecDeque::new() }
    }

    pub(super) fn arrived(&mut self, bytes: u64, at: MonoTime) {
        self.total = self.total.saturating_add(bytes);
        if self.marks.len() >= MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((self.total, at));
    }

    /// How many bytes arrived since the last call.
    pub(super) const fn take_bytes(&mut self) -> u64 {
        let bytes = self.total.saturating_sub(self.told);
        self.told = self.total;
        bytes
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
        let mut clock = ByteClock::of_baud(10_000); // 1 ms a byte
        clock.arrived(5, MonoTime::from_nanos(100_000_000));
        clock.arrived(2, MonoTime::from_nanos(110_000_000));
        let began = |offset| clock.began(offset).map(|stamp| stamp.nanos() / 1_000_000);
        assert_eq!([0, 4, 5, 6, 7].map(began), [Some(95), Some(99), Some(108), Some(109), None]);
        clock.forget_before(5);
        assert_eq!(clock.marks.len(), 1);
    }
}
