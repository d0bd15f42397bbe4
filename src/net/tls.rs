//! TLS from PEM files, for listeners and for the client

use crate::error::{Error, Fault, Result};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::Deserialize;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a listener's certificate is: the table `[server.tls]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the certificate, followed by those it is signed with.
    pub cert: PathBuf,
    /// A PEM file with the certificate's private key.
    pub key: PathBuf,
    /// A PEM file: only clients that show a certificate signed by one of these come in.
    pub client_ca: Option<PathBuf>,
}

/// What is wrong with the files.
pub fn faults(tls: &Tls) -> Vec<Fault> {
    let cert = certificates(&tls.cert).err().map(|error| Fault { key: "tls.cert".to_owned(), error });
    let key = private_key(&tls.key).err().map(|error| Fault { key: "tls.key".to_owned(), error });
    let client_ca = tls.client_ca.as_ref().and_then(|path| trusted(path).err());
    let client_ca = client_ca.map(|error| Fault { key: "tls.client_ca".to_owned(), error });
    let mut faults: Vec<Fault> = cert.into_iter().chain(key).chain(client_ca).collect();
    if faults.is_empty() {
        faults.extend(server(tls).err().map(|error| Fault { key: "tls".to_owned(), error }));
    }
    faults
}

/// What a listener needs to speak TLS 1.2 and 1.3.
pub fn server(tls: &Tls) -> Result<Arc<ServerConfig>> {
    let chain = certificates(&tls.cert)?;
    let key = private_key(&tls.key)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS cannot be set up: {error}")))?;
    let config = match &tls.client_ca {
        None => config.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted(path)?), provider())
                .build()
                .map_err(|error| wrong(path, "cannot be used to check clients", error))?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let mut config = config
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&tls.cert, format_args!("does not go with `{}`", tls.key.display()), error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What a client needs to trust only the certificates in this PEM file.
pub fn client(roots: &Path) -> Result<ClientConfig> {
    let store = trusted(roots)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS cannot be set up: {error}")))?;
    Ok(config.with_root_certificates(store).with_no_client_auth())
}

/// The cryptography: named, so that nothing depends on what the process has as its default.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn trusted(roots: &Path) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(roots)? {
        store.add(certificate).map_err(|error| wrong(roots, "has a certificate that cannot sign others", error))?;
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(path, "is not a PEM file", error))?;
    if chain.is_empty() {
        return Err(wrong(path, "has no certificate", "no `-----BEGIN CERTIFICATE-----` in it"));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|error| wrong(path, "has no private key that can be read", error))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::io(format_args!("`{}`: cannot read it for TLS", path.display()), error))
}

fn wrong(path: &Path, what: impl Display, error: impl Display) -> Error {
    Error::invalid(format!("`{}` {what}: {error}", path.display()))
}
