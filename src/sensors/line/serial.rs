//! A serial port.

use std::io::{Error, ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use serialport::SerialPort;

use super::{ByteClock, ByteLine, lost};
use crate::sensors::holder::{busy, denied};
use crate::sensors::{SensorError, SerialPortSettings};
use crate::time::now;

/// Bytes that one read takes at most: more than any packet.
const READ_BYTES: usize = 4096;

/// How serialport tells of EIO.
const IO_ERROR: &str = "I/O error";

/// How serialport tells of ENOTTY.
const NO_TERMINAL: &str = "Not a typewriter";

/// errno of a device whose driver has let go of it.
const EIO: i32 = 5;
const ENXIO: i32 = 6;
const ENODEV: i32 = 19;

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
            .map_err(|error| not_opened(device, &error))?;
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Self { device: device.clone(), port, buffer, clock: ByteClock::of_baud(*baud) })
    }

    /// Why an open port failed, in words: an adapter that was pulled out reads as ended, or as a pipe that broke.
    fn lost(&self, error: &Error) -> SensorError {
        let is_gone =
            error.kind() == ErrorKind::BrokenPipe || matches!(error.raw_os_error(), Some(EIO | ENXIO | ENODEV));
        if is_gone {
            lost(&self.device, "the device is gone (pulled out, or its driver let go of it); it is looked for again")
        } else {
            lost(&self.device, error)
        }
    }
}

/// Why a port does not open, in words.
fn not_opened(device: &str, error: &serialport::Error) -> SensorError {
    match error.kind {
        serialport::ErrorKind::Io(ErrorKind::PermissionDenied) => lost(device, denied(Path::new(device))),
        // EBUSY, or its lock is taken.
        serialport::ErrorKind::NoDevice => lost(device, busy(Path::new(device))),
        // EIO has no kind of its own there: a board's UART whose driver is not bound, or a number without hardware (/dev/ttyS1).
        _ if error.description == IO_ERROR => {
            lost(device, "there is no hardware behind this port, or no driver is bound to it: is it the right one?")
        }
        _ if error.description == NO_TERMINAL => {
            lost(device, "it is no serial port; `perceptd devices` lists those that there are")
        }
        _ => lost(device, error),
    }
}

impl ByteLine for SerialLine {
    fn read(&mut self, timeout: Duration) -> Result<&[u8], SensorError> {
        self.port.set_timeout(timeout).map_err(|error| lost(&self.device, error))?;
        match self.port.read(&mut self.buffer) {
            Ok(0) => Err(self.lost(&ErrorKind::BrokenPipe.into())),
            Ok(n) => {
                self.clock.arrived(n as u64, now());
                Ok(self.buffer.get(..n).unwrap_or_default())
            }
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(&[]),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SensorError> {
        match self.port.write_all(bytes) {
            // An end that does not read (a pty nobody drains) may still speak.
            Err(error) if error.kind() != ErrorKind::TimedOut => Err(self.lost(&error)),
            _ => Ok(()),
        }
    }

    fn clock(&mut self) -> &mut ByteClock {
        &mut self.clock
    }
}
