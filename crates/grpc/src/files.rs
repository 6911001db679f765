//! Reading certificates and keys, and noticing that they changed.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Files are looked at no more often than this.
const INTERVAL: Duration = Duration::from_secs(1);

/// Who one end is: a certificate chain and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// File of the certificate, the own one first.
    pub certificate: PathBuf,
    /// File of its private key.
    pub key: PathBuf,
}

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file cannot be read, or holds no PEM of the kind.
    #[error("{} cannot be read: it must hold {what} in PEM", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// A file holds no certificate at all.
    #[error("{} holds no certificate", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// No certificate of an authority was found.
    #[error("no certificate authority is known: name a file with its certificate")]
    NoAuthority,
    /// Certificate and key do not belong together, or are of a kind that nobody here knows.
    #[error("the certificates cannot be used together")]
    Rejected {
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Certificates of clients cannot be checked.
    #[error("clients' certificates cannot be checked")]
    Verifier {
        /// Why.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
}

impl Identity {
    pub(crate) fn load(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertError> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| CertError::File {
            path: self.key.clone(),
            what: "a private key",
            source,
        })?;
        Ok((chain, key))
    }
}

/// The certificates of a file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let failed = |source| CertError::File { path: path.to_owned(), what: "certificates", source };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let found = found.map_err(failed)?;
    if found.is_empty() { Err(CertError::Empty { path: path.to_owned() }) } else { Ok(found) }
}

/// The authorities of some files.
pub(crate) fn authorities(paths: &[PathBuf]) -> Result<RootCertStore, CertError> {
    let mut store = RootCertStore::empty();
    for path in paths {
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|source| CertError::Rejected { source })?;
        }
    }
    if store.is_empty() { Err(CertError::NoAuthority) } else { Ok(store) }
}

/// Something made of files, made again when they change.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    paths: Vec<PathBuf>,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    seen: Stamp,
    looked: Instant,
}

/// Time and size of each file.
type Stamp = Vec<Option<(SystemTime, u64)>>;

impl<T: Clone> Watched<T> {
    pub(crate) fn new(
        paths: Vec<PathBuf>,
        make: impl FnOnce() -> Result<T, CertError>,
    ) -> Result<Self, CertError> {
        // Before the files are read: what changes meanwhile is then seen at the next look.
        let seen = stamp(&paths);
        let state = State { value: make()?, seen, looked: Instant::now() };
        Ok(Self { paths, state: Mutex::new(state) })
    }

    /// What the files say now, or said when they last made sense.
    pub(crate) fn current(&self, make: impl FnOnce() -> Result<T, CertError>) -> T {
        let mut state = self.lock();
        if state.looked.elapsed() >= INTERVAL {
            state.looked = Instant::now();
            let now = stamp(&self.paths);
            if now != state.seen {
                state.seen = now;
                match make() {
                    Ok(value) => {
                        state.value = value;
                        tracing::info!(files = ?self.paths, "certificates were read again");
                    }
                    Err(error) => {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::error!(%error, cause, "certificates changed and cannot be used; the old ones stay");
                    }
                }
            }
        }
        state.value.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Every step leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(paths: &[PathBuf]) -> Stamp {
    let of = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    paths.iter().map(of).collect()
}
