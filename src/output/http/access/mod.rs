//! Who may use the TCP listener: TLS and passwords of the web configuration file. The Unix socket has the rights of its
//! file instead.

mod certificate;
mod client_certificates;
mod gate;
mod tls;
mod users;

pub(super) use gate::{Gate, Peer, refuse_strangers};

use rustls::ServerConfig;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use users::Users;

/// A web configuration file that was read, with the files that it names.
#[derive(Debug, Default)]
pub struct WebSettings {
    pub tls: Option<TlsSettings>,
    /// Names, with the bcrypt hashes of their passwords.
    pub users: Vec<(String, String)>,
}

#[derive(Debug)]
pub struct TlsSettings {
    pub certificate: CertificateFile,
    pub key: CertificateFile,
    pub client_ca: Option<CertificateFile>,
    pub client_auth: ClientAuth,
    pub allowed_sans: Option<Vec<String>>,
    /// Otherwise also TLS 1.2.
    pub only_tls13: bool,
}

pub struct CertificateFile {
    pub path: PathBuf,
    pub pem: Vec<u8>,
}

impl fmt::Debug for CertificateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertificateFile").field(&self.path).finish() // it may be a key
    }
}

/// Which certificate a client needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientAuth {
    None,
    /// One is asked for, and any is accepted.
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

impl ClientAuth {
    #[must_use]
    pub const fn requires(self) -> bool {
        matches!(self, ClientAuth::RequireAny | ClientAuth::RequireAndVerify)
    }

    #[must_use]
    pub const fn verifies(self) -> bool {
        matches!(self, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify)
    }
}

/// About a file.
pub type FileText = (PathBuf, String);

/// The listener's TLS and passwords, ready for use. Without either, everybody is admitted.
#[derive(Default)]
pub struct WebAccess {
    tls: Option<Arc<ServerConfig>>,
    users: Option<Users>,
    /// Of the settings and the files, for comparison.
    digest: [u8; 32],
}

impl WebAccess {
    /// Also returns what is probably a mistake.
    ///
    /// # Errors
    /// A file holds no certificate or key, or they do not belong together: which one, and why.
    pub fn new(settings: WebSettings) -> Result<(WebAccess, Vec<FileText>), FileText> {
        let digest = digest(&settings);
        let warnings = settings.tls.iter().filter_map(tls::warning).collect();
        let tls = settings.tls.map(tls::server_config).transpose()?;
        let users = (!settings.users.is_empty()).then(|| Users::new(settings.users));
        Ok((WebAccess { tls, users, digest }, warnings))
    }

    /// # Errors
    /// Why this is not the hash of a password.
    pub fn check_hash(hash: &str) -> Result<(), String> {
        users::PasswordHash::parse(hash).map(drop)
    }

    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether it asks for anything.
    #[must_use]
    pub const fn restricts(&self) -> bool {
        self.tls.is_some() || self.users.is_some()
    }
}

fn digest(settings: &WebSettings) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(format!("{settings:?}"));
    let files =
        settings.tls.iter().flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]);
    for file in files.flatten() {
        digest.update(file.pem.len().to_le_bytes());
        digest.update(&file.pem);
    }
    digest.finalize().into()
}

impl PartialEq for WebAccess {
    fn eq(&self, other: &WebAccess) -> bool {
        self.digest == other.digest
    }
}

impl Eq for WebAccess {}

impl fmt::Debug for WebAccess {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tls, users) = (self.tls.is_some(), self.users.is_some());
        f.debug_struct("WebAccess").field("tls", &tls).field("users", &users).finish_non_exhaustive()
    }
}
