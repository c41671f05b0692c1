//! Certificates for tests, made on the spot.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// A certificate authority of one's own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        Self::named("rcgen self signed cert")
    }

    /// One that is told from others by its name as well.
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, name: &str) -> (CertificateDer<'static>, String, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a legal name");
        // With its issuer's name it would pass for one that has signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.der().clone(), certificate.pem(), key)
    }

    /// A server with a certificate for 127.0.0.1; if `clients` is given, only for clients with a certificate of it.
    pub fn server(&self, clients: Option<&Authority>) -> Arc<ServerConfig> {
        self.server_of("127.0.0.1", clients)
    }

    /// The same with a certificate for another name.
    pub fn server_of(&self, name: &str, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let (certificate, _, key) = self.issue(name);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("TLS versions");
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.0.der().clone()).expect("a root certificate");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier");
                config.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Arc::new(config.with_single_cert(vec![certificate], key.into()).expect("a server certificate"))
    }

    /// A certificate for 127.0.0.1 and its private key, as PEM each.
    pub fn server_pem(&self) -> (String, String) {
        let (_, certificate, key) = self.issue("127.0.0.1");
        (certificate, key.serialize_pem())
    }

    /// A client's private key and certificate in one PEM.
    pub fn client_identity(&self) -> String {
        let (_, certificate, key) = self.issue("client");
        key.serialize_pem() + &certificate
    }
}
