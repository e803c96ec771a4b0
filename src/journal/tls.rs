//! What `database_url` says of hosts and encryption, as tokio-postgres and rustls want it. The URL
//! holds a password: no error made here repeats any part of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Parameters that Prisma, and so LiteLLM's `DATABASE_URL`, knows and PostgreSQL does not. They tune a
/// pool that Tidegate does not have.
const FOREIGN: &[&str] = &[
    "connection_limit",
    "pgbouncer",
    "pool_timeout",
    "schema",
    "single_use_connections",
    "socket_timeout",
    "statement_cache_size",
];

/// How the server's certificate is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// `prefer`, `require`: encryption against listeners, any certificate, as in libpq.
    Anyone,
    /// `verify-ca`: signed by a known authority, whatever its name.
    Authority,
    /// `verify-full`: signed by a known authority for this very host.
    Host,
}

/// A `database_url` taken apart.
pub(super) struct Address {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: MakeRustlsConnect,
}

/// Why a `database_url` is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AddressError {
    /// Neither `postgres://…` nor `host=… user=…`.
    Malformed,
    SslMode,
    Roots(PathBuf),
    Tls(String),
}

impl Address {
    /// Reads `postgres://user:password@host/database?sslmode=…` or `host=… user=…`. `sslmode` means what
    /// it means to libpq: `disable`, `prefer` (when absent), `require`, `verify-ca`, `verify-full`; `sslrootcert` names
    /// a PEM file of authorities, else the system's are taken.
    pub(super) fn parse(url: &str) -> Result<Self, AddressError> {
        let (plain, ssl_mode, ssl_root) = split(url);
        let mut config =
            tokio_postgres::Config::from_str(&plain).map_err(|_| AddressError::Malformed)?;
        let nowhere = |host: &Host| matches!(host, Host::Tcp(name) if name.is_empty());
        let hosts = config.get_hosts();
        if hosts.iter().any(nowhere) || (hosts.is_empty() && config.get_hostaddrs().is_empty()) {
            return Err(AddressError::Malformed);
        }
        let (mode, trust) = match ssl_mode.as_deref() {
            Some("disable") => (SslMode::Disable, Trust::Anyone),
            None | Some("allow" | "prefer") => (SslMode::Prefer, Trust::Anyone),
            // As in libpq: who names an authority wants it asked.
            Some("require") if ssl_root.is_some() => (SslMode::Require, Trust::Authority),
            Some("require") => (SslMode::Require, Trust::Anyone),
            Some("verify-ca") => (SslMode::Require, Trust::Authority),
            Some("verify-full") => (SslMode::Require, Trust::Host),
            Some(_) => return Err(AddressError::SslMode),
        };
        config.ssl_mode(mode);
        if config.get_application_name().is_none() {
            config.application_name("tidegate");
        }
        let tls = MakeRustlsConnect::new(client_config(trust, ssl_root.as_deref())?);
        Ok(Self { config, tls })
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => {
                f.write_str("database_url cannot be read; write postgres://user:password@host:5432/name")
            }
            Self::SslMode => f.write_str(
                "database_url has an unknown sslmode; write disable, prefer, require, verify-ca or verify-full",
            ),
            Self::Roots(path) => {
                write!(f, "database_url's sslrootcert {} holds no certificate", path.display())
            }
            Self::Tls(why) => write!(f, "TLS to the database cannot be set up: {why}"),
        }
    }
}

/// Takes out what tokio-postgres does not know: `sslmode` and `sslrootcert`, which it knows less of
/// than libpq, and Prisma's parameters.
fn split(url: &str) -> (String, Option<String>, Option<PathBuf>) {
    let mut ssl_mode = None;
    let mut ssl_root = None;
    let mut take = |pair: &str| {
        let Some((name, value)) = pair.split_once('=') else { return false };
        match name.trim() {
            "sslmode" => ssl_mode = Some(value.trim_matches([' ', '\'']).to_owned()),
            "sslrootcert" => ssl_root = Some(PathBuf::from(value.trim_matches([' ', '\'']))),
            name => return FOREIGN.contains(&name),
        }
        true
    };
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let plain = if is_url {
        // A password may hold a question mark; whatever comes before the `@` is none of ours.
        let host = url.find('@').unwrap_or(0);
        let query = url.get(host..).and_then(|rest| rest.find('?'));
        match query.and_then(|at| Some((url.get(..host + at)?, url.get(host + at + 1..)?))) {
            Some((head, query)) => {
                let rest: Vec<_> = query.split('&').filter(|pair| !take(pair)).collect();
                if rest.is_empty() { head.to_owned() } else { format!("{head}?{}", rest.join("&")) }
            }
            None => url.to_owned(),
        }
    } else {
        let pairs = url.split_whitespace().count();
        let rest: Vec<_> = url.split_whitespace().filter(|pair| !take(pair)).collect();
        // Untouched where nothing was taken: a quoted password may hold spaces.
        if rest.len() == pairs { url.to_owned() } else { rest.join(" ") }
    };
    (plain, ssl_mode, ssl_root)
}

fn client_config(trust: Trust, roots: Option<&Path>) -> Result<ClientConfig, AddressError> {
    let failed = |error: &dyn fmt::Display| AddressError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let authority = if trust == Trust::Anyone {
        None
    } else {
        let store = Arc::new(load_roots(roots)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(store, provider.clone())
            .build()
            .map_err(|error| failed(&error))?;
        Some(verifier)
    };
    let verifier = Arc::new(Verifier { trust, authority, algorithms });
    Ok(builder(provider)
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

fn builder(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

fn load_roots(file: Option<&Path>) -> Result<RootCertStore, AddressError> {
    let mut store = RootCertStore::empty();
    let Some(file) = file else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(store);
    };
    let unusable = || AddressError::Roots(file.to_owned());
    for certificate in CertificateDer::pem_file_iter(file).map_err(|_| unusable())? {
        store.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
    }
    if store.is_empty() { Err(unusable()) } else { Ok(store) }
}

/// libpq's ladder of trust. The handshake's signature is checked on every rung: whoever answers must
/// hold the key of the certificate that was shown.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    authority: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = &self.authority else {
            return Ok(ServerCertVerified::assertion());
        };
        let outcome =
            authority.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        match outcome {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.trust == Trust::Authority => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn litellm_urls_are_understood() {
        let url = "postgresql://llm:pa%40ss@db:5433/litellm?connection_limit=10&schema=public&sslmode=require&connect_timeout=3";
        let address = Address::parse(url).ok().unwrap();
        assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(address.config.get_dbname(), Some("litellm"));
        assert_eq!(address.config.get_password(), Some("pa@ss".as_bytes()));
        let address = Address::parse("host=db user=llm sslmode=disable").ok().unwrap();
        assert_eq!(address.config.get_ssl_mode(), SslMode::Disable);
        let address =
            Address::parse("postgres://llm:what?sslmode=disable@db/x?schema=a").ok().unwrap();
        assert_eq!(address.config.get_password(), Some("what?sslmode=disable".as_bytes()));
        let address = Address::parse("postgres://llm@db/x").ok().unwrap();
        assert_eq!(address.config.get_ssl_mode(), SslMode::Prefer);
    }

    #[test]
    fn errors_never_repeat_the_url() {
        for url in [
            "postgres://llm:hunter2canary@",
            "postgres://llm:pass@db/x?hunter2canary=x",
            "hunter2canary",
            "postgres://llm:hunter2canary@db/x?sslmode=hunter2canary",
            "postgres://llm:hunter2canary@db:notaport/x",
        ] {
            let error = Address::parse(url).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("hunter2canary"), "{url}");
        }
    }

    #[test]
    fn verification_needs_roots() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let url =
            format!("postgres://db/x?sslmode=verify-full&sslrootcert={}", file.path().display());
        assert_eq!(Address::parse(&url).err(), Some(AddressError::Roots(file.path().to_owned())));
    }
}
