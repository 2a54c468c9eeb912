//! TLS of the listener, with the crypto provider of the HTTP client.

use super::client_certificates::{AllowedNames, AnyCertificate};
use super::{CertificateFile, ClientAuth, FileText, TlsSettings, certificate};
use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::fmt::Display;
use std::sync::Arc;

/// Without the choice of a protocol, clients that can do HTTP/2 would use that.
const PROTOCOL: &[u8] = b"http/1.1";

pub(super) fn server_config(settings: TlsSettings) -> Result<Arc<ServerConfig>, FileText> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[&SupportedProtocolVersion] =
        if settings.only_tls13 { &[&TLS13] } else { &[&TLS12, &TLS13] };
    let chain = certificates(&settings.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&settings.key.pem)
        .map_err(|error| settings.key.problem(&format!("holds no private key ({error})")))?;
    let verifier = client_verifier(&settings, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| settings.certificate.problem(&error))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            settings.key.problem(&format!("is not the key of {}", settings.certificate.path.display()))
        }
        _ => settings.key.problem(&error),
    })?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A resumed session would not check the certificate of the client again, which may have expired.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn client_verifier(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, FileText> {
    let auth = settings.client_auth;
    let verifier: Arc<dyn ClientCertVerifier> = match (auth, &settings.client_ca) {
        (ClientAuth::None, _) => return Ok(None),
        (ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify, Some(file)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| file.problem(&error))?;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            let builder = if auth.requires() { builder } else { builder.allow_unauthenticated() };
            builder.build().map_err(|error| file.problem(&error))?
        }
        _ => Arc::new(AnyCertificate::new(auth.requires(), Arc::clone(provider))),
    };
    Ok(Some(match &settings.allowed_sans {
        Some(names) => Arc::new(AllowedNames::new(names.clone(), verifier)),
        None => verifier,
    }))
}

fn certificates(file: &CertificateFile) -> Result<Vec<CertificateDer<'static>>, FileText> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(file.problem(&"holds no certificate")),
        Ok(all) => Ok(all),
        Err(error) => Err(file.problem(&format!("holds no certificate ({error})"))),
    }
}

/// A certificate that clients will not accept.
pub(super) fn warning(settings: &TlsSettings) -> Option<FileText> {
    let first = CertificateDer::from_pem_slice(&settings.certificate.pem).ok()?;
    let end = certificate::end(&first)?;
    let now = Timestamp::now().strftime("%Y%m%d%H%M%S").to_string();
    (end < now).then(|| {
        let (year, month, day) = (&end[..4], &end[4..6], &end[6..8]);
        settings
            .certificate
            .problem(&format!("the certificate has expired on {year}-{month}-{day}; renew it"))
    })
}

impl CertificateFile {
    fn problem(&self, text: &impl Display) -> FileText {
        (self.path.clone(), text.to_string())
    }
}
