//! Both servers over TLS.

mod common;
use common::*;
use ota_cloud::{Cloud, Config, Error, Mode, TaskState, TlsFiles, Upload};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{self, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn files() -> TlsFiles {
    TlsFiles {
        cert: data("test-cert.pem"),
        key: data("test-key.pem"),
    }
}

/// A stream that trusts the test certificate alone.
fn secure(addr: SocketAddr) -> Box<dyn Stream> {
    let mut roots = RootCertStore::empty();
    let cert = CertificateDer::from_pem_file(data("test-cert.pem")).unwrap();
    roots.add(cert).unwrap();
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(addr).unwrap();
    tcp.set_read_timeout(Some(WAIT)).unwrap();
    Box::new(StreamOwned::new(tls, tcp))
}

#[test]
fn an_update_over_tls() {
    let b = bench_with(|c| c.tls = Some(files()));
    let file: Vec<u8> = (0..150_000u32).map(|i| (i % 255) as u8).collect();
    let f = b
        .cloud
        .upload(PK, &Upload::bytes("app.bin", file.clone(), "2"))
        .unwrap();
    let job = b.cloud.validate(f.id, Mode::Full, DN).unwrap();
    let stream = secure(b.cloud.mqtt_addr());
    let mut c = Client::connect_over(stream, CLIENT_ID, USER, HMAC_SHA256, 60).unwrap();
    c.inform("1");
    let push = c.next().json();
    let url = push["data"]["url"].as_str().unwrap();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let range = "Range: bytes=100000-\r\n";
    let r = request_over(secure(b.cloud.http_addr()), "GET", url, range);
    assert_eq!((r.status, &r.body[..]), (206, &file[100_000..]));
    c.inform("2");
    assert_eq!(
        b.cloud.job(job.id).unwrap().tasks[0].state,
        TaskState::Succeeded
    );
}

#[test]
fn plain_text_is_not_served_on_a_tls_port() {
    let b = bench_with(|c| c.tls = Some(files()));
    let mut tcp = TcpStream::connect(b.cloud.mqtt_addr()).unwrap();
    tcp.set_read_timeout(Some(WAIT)).unwrap();
    use std::io::{Read, Write};
    tcp.write_all(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 0])
        .unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer);
    assert_ne!(answer.first(), Some(&0x20), "a CONNACK without TLS");
}

#[test]
fn files_that_are_no_certificate_or_key_are_named() {
    for (cert, key, names) in [
        ("test-key.pem", "test-key.pem", "test-key.pem"),
        ("test-cert.pem", "test-cert.pem", "test-cert.pem"),
        ("missing.pem", "test-key.pem", "missing.pem"),
        ("test-cert.pem", "missing.pem", "missing.pem"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path());
        config.tls = Some(TlsFiles {
            cert: data(cert),
            key: data(key),
        });
        let e = Cloud::start(config).unwrap_err();
        assert!(
            matches!(&e, Error::Tls(text) if text.contains(names)),
            "{e}"
        );
        assert!(e.help().contains("PEM"));
    }
}
