//! Serial ports.

/// A serial port: eight bits, no parity, one stop bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialPortSettings {
    /// `/dev/serial/by-id/…`, `/dev/serial/by-path/…` or a tty.
    pub device: String,
    /// Bits a second.
    pub baud: u32,
}
