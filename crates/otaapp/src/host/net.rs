//! TCP and TLS for the agent.

use std::cell::{OnceCell, RefCell};
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{ErrorType, Read, Write};
use ota_agent::{Connect, ConnectFailure, Security};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::{Error, Flash};

/// Whose certificates are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Roots {
    /// Those of the operating system.
    #[default]
    System,
    /// Those in a PEM file, and no others.
    File(PathBuf),
}

/// TLS by these roots.
pub(super) fn connector(roots: &Roots) -> Result<TlsConnector, Error> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::File(path) => {
            let bad = |e: &dyn std::fmt::Display| Error::Roots(format!("{}: {e}", path.display()));
            let certs = CertificateDer::pem_file_iter(path).map_err(|e| bad(&e))?;
            for cert in certs {
                let added = cert.map_err(|e| bad(&e)).map(|c| store.add(c))?;
                added.map_err(|e| bad(&e))?;
            }
            if store.is_empty() {
                return Err(bad(&"no certificate in it"));
            }
        }
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                let why = found.errors.first().map(ToString::to_string);
                let why = why.unwrap_or_else(|| "none installed".into());
                return Err(Error::Roots(format!("of the system: {why}")));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Roots(e.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The device's network. It falls silent when the device loses power.
pub(super) struct Net<'a> {
    pub flash: &'a RefCell<Flash>,
    pub roots: &'a Roots,
    pub tls: &'a OnceCell<TlsConnector>,
    /// What the system said about the last attempt that failed.
    pub trouble: RefCell<Option<String>>,
}

impl Net<'_> {
    fn fail<T>(
        &self,
        failure: ConnectFailure,
        why: impl std::fmt::Display,
    ) -> Result<T, ConnectFailure> {
        *self.trouble.borrow_mut() = Some(why.to_string());
        Err(failure)
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, ConnectFailure> {
        let addresses = match tokio::net::lookup_host((host, port)).await {
            Ok(addresses) => addresses,
            Err(e) => return self.fail(ConnectFailure::Dns, e),
        };
        let mut why = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Small packets wait for nothing; a refusal of this is no fault.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(e) => why = Some(format!("{address}: {e}")),
            }
        }
        match why {
            Some(why) => self.fail(ConnectFailure::Connect, why),
            None => self.fail(ConnectFailure::Dns, "the name has no address"),
        }
    }

    fn connector(&self) -> Result<&TlsConnector, ConnectFailure> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        match connector(self.roots) {
            Ok(tls) => Ok(self.tls.get_or_init(|| tls)),
            Err(e) => self.fail(ConnectFailure::Tls, e),
        }
    }
}

/// What TCP and TLS have in common.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// A connection.
pub(super) struct Stream<'a> {
    io: FromTokio<Box<dyn Io>>,
    flash: &'a RefCell<Flash>,
}

impl Stream<'_> {
    /// A device without power neither sends nor hears.
    async fn powered(&self) {
        if !self.flash.borrow().is_powered() {
            pending::<()>().await;
        }
    }
}

impl ErrorType for Stream<'_> {
    type Error = std::io::Error;
}

impl Read for Stream<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        self.powered().await;
        self.io.read(buf).await
    }
}

impl Write for Stream<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        self.powered().await;
        self.io.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        self.powered().await;
        self.io.flush().await
    }
}

impl<'f> Connect for Net<'f> {
    type Stream<'a>
        = Stream<'a>
    where
        Self: 'a;

    async fn connect<'a>(
        &'a self,
        host: &str,
        port: u16,
        security: Security,
    ) -> Result<Stream<'a>, ConnectFailure> {
        let tcp = self.tcp(host, port).await?;
        let io: Box<dyn Io> = match security {
            Security::Plain => Box::new(tcp),
            Security::Tls => {
                let name = match ServerName::try_from(host.to_owned()) {
                    Ok(name) => name,
                    Err(e) => return self.fail(ConnectFailure::Tls, e),
                };
                match self.connector()?.connect(name, tcp).await {
                    Ok(stream) => Box::new(stream),
                    Err(e) => return self.fail(ConnectFailure::Tls, e),
                }
            }
        };
        Ok(Stream {
            io: FromTokio::new(io),
            flash: self.flash,
        })
    }

    fn has_tls(&self) -> bool {
        true
    }
}
