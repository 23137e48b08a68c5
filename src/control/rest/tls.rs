//! Encryption: the certificate's files, and who answers a handshake with them.
//!
//! Invariants: TLS 1.2 or later; a certificate that is renewed on the disk counts for the next handshake, without a
//! restart; while its files are no pair (one of them is written before the other) the former one counts.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::telemetry::CertificateRead;

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file cannot be read, or is not what it should be.
    #[error("{path} is no {what} in PEM that can be read")]
    File {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Why not.
        source: pem::Error,
    },
    /// There is nothing in it.
    #[error("{path} has no certificate: it must hold the chain in PEM, the server's own first")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// They do not belong together, or the key is of a kind that is not known.
    #[error("the key {key} and the certificate {cert} do not go together")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// One without the other.
    #[error("`cnc.rest.tls_cert` and `cnc.rest.tls_key` go together: give both, or none")]
    Half,
}

/// A certificate that follows its files.
#[derive(Debug)]
pub(super) struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
    /// Of the files that were tried last.
    stamps: Mutex<[Option<Stamp>; 2]>,
}

/// Tells a file from what it was before.
type Stamp = (u64, u64, i64, i64);

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(super) fn read(cert: PathBuf, key: PathBuf) -> Result<Arc<Self>, TlsError> {
        let stamps = Mutex::new([&cert, &key].map(|path| stamp(path)));
        let current = RwLock::new(Arc::new(load(&cert, &key)?));
        Ok(Arc::new(Self { cert, key, current, stamps }))
    }

    /// Reads them again where they have changed.
    pub(super) fn renew(&self) {
        let now = [&self.cert, &self.key].map(|path| stamp(path));
        {
            let mut stamps = self.stamps.lock();
            if *stamps == now {
                return;
            }
            *stamps = now;
        }
        match load(&self.cert, &self.key) {
            Ok(key) => {
                *self.current.write() = Arc::new(key);
                CertificateRead::Renewed { path: &self.cert }.emit();
            }
            Err(error) => CertificateRead::Kept { why: &crate::error_chain(&error) }.emit(),
        }
    }

    /// Who encrypts with it.
    pub(super) fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring can do what rustls takes for safe");
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(Resolver(self.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config).into()
    }
}

#[derive(Debug)]
struct Resolver(Arc<Certificate>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.read().clone())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

fn load(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let fault = |path: &Path, what, source| TlsError::File { path: path.to_owned(), what, source };
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|source| fault(cert, "certificate", source))?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: cert.to_owned() });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| fault(key, "private key", source))?;
    let pair = CertifiedKey::from_der(chain, private, &default_provider());
    pair.map_err(|source| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), source })
}
