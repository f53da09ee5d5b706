//! The running cloud: listeners, threads, configuration.

use crate::mqtt::{self, Fault, Hub};
use crate::url::Signer;
use crate::{Cloud, Error, Result, http, store};
use ntex::ServiceFactory;
use ntex::http::{HttpService, Request};
use ntex::io::{Filter, Io};
use ntex_tls::rustls::TlsAcceptor;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::rustls::{self, ServerConfig};

/// How to serve.
#[derive(Debug, Clone)]
pub struct Config {
    /// Data directory.
    pub data: PathBuf,
    /// Address of the MQTT server; port 0 takes a free one.
    pub mqtt: SocketAddr,
    /// Address of the file server; port 0 takes a free one.
    pub http: SocketAddr,
    /// Start of download addresses as devices see them (`http://HOST:PORT`),
    /// when it is not the file server's own address.
    pub public_url: Option<String>,
    /// How long a download address is good.
    pub url_ttl: Duration,
    /// Filler added to download addresses, in bytes: those of the real cloud
    /// have some 800 characters.
    pub url_pad: usize,
    /// A device that has not informed its version is sent its upgrade all the
    /// same, this long after its sign-on.
    pub inform_grace: Duration,
    /// How often new jobs are looked for.
    pub poll: Duration,
    /// Largest firmware taken, in bytes.
    pub max_firmware: u64,
    /// Serves both ports with TLS.
    pub tls: Option<TlsFiles>,
}

impl Config {
    /// Serves `data` on free ports of the loopback interface.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            data: data.into(),
            mqtt: any,
            http: any,
            public_url: None,
            url_ttl: Duration::from_secs(24 * 3600),
            url_pad: 0,
            inform_grace: Duration::from_secs(3),
            poll: Duration::from_millis(100),
            max_firmware: store::MAX_FIRMWARE,
            tls: None,
        }
    }
}

/// Certificate chain and private key, both PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain, the server's own first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A cloud that serves devices. It stops when dropped.
///
/// All operations of [`Cloud`] are available on it.
#[derive(Debug)]
pub struct Server {
    cloud: Cloud,
    mqtt: SocketAddr,
    http: SocketAddr,
    stop: Option<ntex::server::Server>,
    thread: Option<JoinHandle<()>>,
    // Released last: until then no other server may take the directory.
    _lock: store::Lock,
}

impl std::ops::Deref for Server {
    type Target = Cloud;
    fn deref(&self) -> &Cloud {
        &self.cloud
    }
}

impl Cloud {
    /// Serves devices until the returned [`Server`] is dropped.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Listen`], [`Error::Tls`], and those of [`Cloud::open`].
    pub fn start(config: Config) -> Result<Server> {
        Server::start(config)
    }
}

impl Server {
    fn start(config: Config) -> Result<Self> {
        let mut cloud = Cloud::open(&config.data)?;
        cloud.max_firmware = config.max_firmware;
        let lock = store::lock(cloud.dir())?.ok_or_else(|| Error::InUse(config.data.clone()))?;
        cloud.all_offline()?;
        let tls = config.tls.as_ref().map(tls_config).transpose()?;
        let (mqtt, mqtt_addr) = listen(config.mqtt)?;
        let (http, http_addr) = listen(config.http)?;
        let base_url = config.public_url.clone().unwrap_or_else(|| {
            let host = reachable(http_addr.ip());
            let scheme = if tls.is_some() { "https" } else { "http" };
            format!("{scheme}://{}", SocketAddr::new(host, http_addr.port()))
        });
        let shared = Shared {
            signer: Signer::new(&cloud.meta("url_key")?.unwrap_or_default()),
            cloud: cloud.clone(),
            base_url: base_url.trim_end_matches('/').into(),
            config,
            tls,
        };
        let (tx, rx) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("ota-cloud".into())
            .spawn(move || run(shared, mqtt, http, &tx))
            .map_err(Error::io(cloud.dir()))?;
        let started = rx
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("the server's thread ended at once")));
        let stop = started.map_err(|source| Error::Listen {
            addr: mqtt_addr,
            source,
        })?;
        Ok(Self {
            cloud,
            mqtt: mqtt_addr,
            http: http_addr,
            stop: Some(stop),
            thread: Some(thread),
            _lock: lock,
        })
    }

    /// Where devices sign on.
    pub fn mqtt_addr(&self) -> SocketAddr {
        self.mqtt
    }

    /// Where files are served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// The operator's side; it goes on working after the server has stopped.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Stops serving and closes all connections.
    pub fn stop(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(server) = self.stop.take() {
            drop(server.stop(false));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.cloud.all_offline();
    }
}

/// What the worker needs to set itself up.
#[derive(Clone)]
struct Shared {
    cloud: Cloud,
    signer: Signer,
    base_url: String,
    config: Config,
    tls: Option<Arc<ServerConfig>>,
}

fn run(
    shared: Shared,
    mqtt: TcpListener,
    http: TcpListener,
    started: &mpsc::Sender<std::io::Result<ntex::server::Server>>,
) {
    let started = started.clone();
    ntex::rt::System::new("ota-cloud", ntex::rt::DefaultRuntime).block_on(async move {
        match serve(shared, mqtt, http) {
            Ok(mut server) => {
                // Asked for the end before anybody can stop it: a question that comes
                // behind the stop is never answered.
                let mut handle = Some(server.clone());
                let _ = poll_fn(|cx| {
                    let end = Pin::new(&mut server).poll(cx);
                    if let Some(handle) = handle.take() {
                        let _ = started.send(Ok(handle));
                    }
                    end
                })
                .await;
            }
            Err(e) => {
                let _ = started.send(Err(e));
            }
        }
    });
}

fn serve(
    shared: Shared,
    mqtt: TcpListener,
    http: TcpListener,
) -> std::io::Result<ntex::server::Server> {
    let files = shared.clone();
    let tls = shared.tls.clone();
    let builder = ntex::server::build()
        .workers(1)
        .disable_signals()
        .shutdown_timeout(ntex::time::Seconds(1));
    let builder = match tls.clone() {
        None => builder.listen("mqtt", mqtt, async move |_| mqtt::service(&shared.hub()))?,
        Some(tls) => builder.listen("mqtt", mqtt, async move |_| {
            let mqtt = mqtt::service(&shared.hub()).map_init_err(drop);
            TlsAcceptor::new(tls.clone())
                .map_err(|e| Fault::tls(&e))
                .and_then(mqtt)
        })?,
    };
    let mqtt = ntex_mqtt::MqttServiceConfig::new().set_max_size(mqtt::MAX_PACKET);
    let builder = builder.config("mqtt", ntex::SharedCfg::new("mqtt").add(mqtt));
    let builder = match tls {
        None => builder.listen("http", http, async move |_| files.http())?,
        Some(tls) => builder.listen("http", http, async move |_| {
            let http = files.http().map_err(drop).map_init_err(drop);
            TlsAcceptor::new(tls.clone()).map_err(drop).and_then(http)
        })?,
    };
    Ok(builder.run())
}

impl Shared {
    /// The MQTT side of the worker's thread, with its search for new jobs running.
    fn hub(&self) -> Rc<Hub> {
        let (cloud, signer) = (self.cloud.clone(), self.signer.clone());
        let hub = Hub::new(cloud, signer, self.base_url.clone(), &self.config);
        ntex::rt::spawn(poll(Rc::downgrade(&hub), self.config.poll));
        hub
    }

    fn http<F: Filter>(
        &self,
    ) -> impl ServiceFactory<
        Io<F>,
        ntex::SharedCfg,
        Response = (),
        Error: std::fmt::Debug,
        InitError: std::fmt::Debug,
    > + use<F> {
        let (cloud, signer) = (self.cloud.clone(), self.signer.clone());
        HttpService::new(move |req: Request| {
            let resp = http::serve(&cloud, &signer, &req);
            async move { Ok::<_, std::io::Error>(resp) }
        })
    }
}

/// What both servers need to speak TLS.
fn tls_config(files: &TlsFiles) -> Result<Arc<ServerConfig>> {
    let about =
        |path: &Path, e: &dyn std::fmt::Display| Error::Tls(format!("{}: {e}", path.display()));
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|e| about(&files.cert, &e))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| about(&files.key, &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|c| c.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|e| about(&files.cert, &e))?;
    Ok(Arc::new(config))
}

/// Looks for upgrades to push: jobs are started by other processes too.
async fn poll(hub: Weak<Hub>, every: Duration) {
    loop {
        ntex::time::sleep(every).await;
        let Some(hub) = hub.upgrade() else { return };
        if let Err(e) = hub.push_due() {
            log::error!("{e:?}");
        }
    }
}

fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let fail = |source| Error::Listen { addr, source };
    let listener = TcpListener::bind(addr).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    let addr = listener.local_addr().map_err(fail)?;
    Ok((listener, addr))
}

/// The address other machines reach this one by, when `ip` stands for all of them.
fn reachable(ip: IpAddr) -> IpAddr {
    if !ip.is_unspecified() {
        return ip;
    }
    // No packet is sent: connecting a datagram socket only looks up the route.
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|s| {
            s.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
            s.local_addr()
        })
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |a| a.ip())
}
