//! How to reach a broker: the same for who publishes, listens, or asks.

/// Which broker, over what, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAccess {
    /// Where it listens.
    pub address: BrokerAddress,
    /// The protocol's version; none is 5, or 3.1.1 where the broker does not take 5.
    pub version: Option<MqttVersion>,
    /// The path of the broker's WebSocket, such as `/mqtt`, for MQTT inside one; none is MQTT by itself.
    pub websocket_path: Option<String>,
    /// How to check and encrypt the connection; none is in the clear.
    pub tls: Option<TlsSettings>,
    /// Name and password for the broker, if it wants them.
    pub credentials: Option<Credentials>,
}

impl BrokerAccess {
    /// Over plain TCP, without a login, in whichever version the broker speaks.
    #[must_use]
    pub const fn plain(address: BrokerAddress) -> Self {
        Self { address, version: None, websocket_path: None, tls: None, credentials: None }
    }

    /// The URL of the broker's WebSocket, if it is one; whether TLS is around it, the transport says.
    pub(super) fn websocket_url(&self) -> Option<String> {
        let (path, BrokerAddress { host, port }) = (self.websocket_path.as_ref()?, &self.address);
        let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
        let host = if is_bare_ipv6 { format!("[{host}]") } else { host.clone() };
        Some(format!("ws://{host}:{port}{path}"))
    }
}

/// A broker's host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The protocol's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 5.
    V5,
    /// MQTT 3.1.1, for brokers that know no other: no reasons, so an acknowledgement counts as delivery; no properties.
    V311,
}

impl MqttVersion {
    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V5 => "5",
            Self::V311 => "3.1.1",
        }
    }
}

/// TLS: whom to trust, and who we are. Keys are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificates of the authorities that may sign the broker's, as PEM.
    pub ca_pem: Vec<u8>,
    /// Our own certificate chain and its private key, as PEM, if the broker wants them.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSettings").field("has_identity", &self.identity_pem.is_some()).finish_non_exhaustive()
    }
}

/// Name and password; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}
