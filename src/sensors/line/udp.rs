//! Datagrams that others send to a port of ours.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::{ByteClock, ByteLine, lost};
use crate::sensors::SensorError;
use crate::time::now;

/// More than a datagram can hold.
const READ_BYTES: usize = 65_536;

/// A bound port.
pub(in crate::sensors) struct UdpLine {
    address: String,
    socket: UdpSocket,
    /// Who spoke last, and hears what we say.
    peer: Option<SocketAddr>,
    buffer: Box<[u8]>,
    clock: ByteClock,
}

impl UdpLine {
    pub(in crate::sensors) fn open(address: &str) -> Result<Self, SensorError> {
        let socket = UdpSocket::bind(address).map_err(|error| lost(address, error))?;
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Self { address: address.to_owned(), socket, peer: None, buffer, clock: ByteClock::of_datagrams() })
    }
}

impl ByteLine for UdpLine {
    fn read(&mut self, timeout: Duration) -> Result<&[u8], SensorError> {
        // A timeout of zero would mean none.
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        self.socket.set_read_timeout(timeout).map_err(|error| lost(&self.address, error))?;
        match self.socket.recv_from(&mut self.buffer) {
            Ok((n, peer)) => {
                self.peer = Some(peer);
                self.clock.arrived(n as u64, now());
                Ok(self.buffer.get(..n).unwrap_or_default())
            }
            Err(error) if is_passing(error.kind()) => Ok(&[]),
            Err(error) => Err(lost(&self.address, error)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SensorError> {
        let Some(peer) = self.peer else { return Ok(()) };
        match self.socket.send_to(bytes, peer) {
            Err(error) if !is_passing(error.kind()) => Err(lost(&self.address, error)),
            _ => Ok(()),
        }
    }

    fn clock(&mut self) -> &mut ByteClock {
        &mut self.clock
    }
}

/// Nothing came in time, or the other end does not listen now.
fn is_passing(kind: ErrorKind) -> bool {
    use ErrorKind::{ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut, WouldBlock};
    matches!(kind, ConnectionRefused | HostUnreachable | Interrupted | NetworkUnreachable | TimedOut | WouldBlock)
}
