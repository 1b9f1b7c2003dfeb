//! Whether TLS could use what the files of `[mqtt]` hold, told without a broker, by the TLS of the MQTT client itself.

use rumqttc::tokio_rustls::rustls;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};

/// Looks at the certificates of the authorities to trust.
///
/// # Errors
/// Why a broker's certificate cannot be checked against any of them.
pub fn check_authorities(pem: &[u8]) -> Result<(), String> {
    let mut trusted = RootCertStore::empty();
    match trusted.add_parsable_certificates(certificates(pem)?) {
        (0, _) => Err("none of its certificates can be read".to_owned()),
        _ => Ok(()),
    }
}

/// Looks at our own certificate and its key.
///
/// # Errors
/// Whether it is the key that cannot be used, or else the certificate, and why.
pub fn check_identity(certificate_pem: &[u8], key_pem: &[u8]) -> Result<(), (bool, String)> {
    let chain = certificates(certificate_pem).map_err(|why| (false, why))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|why| match why {
        PemError::NoItemsFound => (true, "there is no private key in it (as PEM)".to_owned()),
        why => (true, why.to_string()),
    })?;
    match CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()) {
        Ok(_) => Ok(()),
        Err(Error::InconsistentKeys(_)) => Err((true, "it is not the key of the certificate".to_owned())),
        Err(why @ Error::InvalidCertificate(_)) => Err((false, why.to_string())),
        Err(why) => Err((true, why.to_string())),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in it (as PEM)".to_owned()),
        found => found.map_err(|why| why.to_string()),
    }
}
