//! A serial port.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use serialport::SerialPort;

use super::{ByteClock, ByteLine, lost};
use crate::sensors::{SensorError, SerialPortSettings};
use crate::time::now;

/// Bytes that one read takes at most: more than any packet.
const READ_BYTES: usize = 4096;

/// An open port.
pub(in crate::sensors) struct SerialLine {
    device: String,
    port: Box<dyn SerialPort>,
    buffer: Box<[u8]>,
    clock: ByteClock,
}

impl SerialLine {
    pub(in crate::sensors) fn open(
        SerialPortSettings { device, baud }: &SerialPortSettings,
    ) -> Result<Self, SensorError> {
        // DTR and RTS are left alone: ptys and some adapters refuse to set them.
        let port = serialport::new(device, *baud)
            .timeout(Duration::from_millis(250))
            .open()
            .map_err(|error| lost(device, error))?;
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Self { device: device.clone(), port, buffer, clock: ByteClock::of_baud(*baud) })
    }
}

impl ByteLine for SerialLine {
    fn read(&mut self, timeout: Duration) -> Result<&[u8], SensorError> {
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

    fn write(&mut self, bytes: &[u8]) -> Result<(), SensorError> {
        match self.port.write_all(bytes) {
            // An end that does not read (a pty nobody drains) may still speak.
            Err(error) if error.kind() != ErrorKind::TimedOut => Err(lost(&self.device, error)),
            _ => Ok(()),
        }
    }

    fn clock(&mut self) -> &mut ByteClock {
        &mut self.clock
    }
}
