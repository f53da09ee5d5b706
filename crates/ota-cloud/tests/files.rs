//! The file server.

mod common;
use common::*;
use ota_cloud::{EventKind, Mode, Upload};
use std::time::Duration;

fn offered(b: &Bench, bytes: &[u8]) -> String {
    let f = b
        .cloud
        .upload(
            PK,
            &Upload::bytes("otaapp@mk3060.ota.md5.bin", bytes, "2.0.0"),
        )
        .unwrap();
    b.cloud.validate(f.id, Mode::Full, DN).unwrap();
    let push = b.online("1.0.0").next().json();
    push["data"]["url"].as_str().unwrap().to_string()
}

fn bytes() -> Vec<u8> {
    (0..200_000u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect()
}

#[test]
fn whole_files_and_ranges() {
    let b = bench();
    let file = bytes();
    let url = offered(&b, &file);
    let whole = get(&url, "");
    assert_eq!((whole.status, &whole.body), (200, &file));
    assert_eq!(whole.header("content-length"), Some("200000"));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let etag = whole.header("etag").unwrap().to_string();
    assert!(etag.starts_with('"') && etag.ends_with('"'));

    let part = get(&url, "Range: bytes=65536-131071\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &file[65536..131072]));
    assert_eq!(
        part.header("content-range"),
        Some("bytes 65536-131071/200000")
    );
    assert_eq!(part.header("content-length"), Some("65536"));
    assert_eq!(part.header("etag"), Some(&*etag));
    let rest = get(&url, "Range: bytes=150000-\r\n");
    assert_eq!((rest.status, &rest.body[..]), (206, &file[150_000..]));
    let tail = get(&url, "range: bytes=-28\r\n");
    assert_eq!((tail.status, &tail.body[..]), (206, &file[199_972..]));

    let beyond = get(&url, "Range: bytes=200000-\r\n");
    assert_eq!((beyond.status, beyond.body.len()), (416, 0));
    assert_eq!(beyond.header("content-range"), Some("bytes */200000"));

    let same = get(&url, &format!("Range: bytes=1-2\r\nIf-Range: {etag}\r\n"));
    assert_eq!(same.status, 206);
    let other = get(&url, "Range: bytes=1-2\r\nIf-Range: \"other\"\r\n");
    assert_eq!((other.status, other.body.len()), (200, file.len()));

    let head = request("HEAD", &url, "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("200000"));
    assert_eq!(request("POST", &url, "Content-Length: 0\r\n").status, 405);

    let events = b.cloud.events_after(0).unwrap();
    let downloads: Vec<_> = events
        .iter()
        .filter(|e| e.kind == EventKind::Download && e.dn == DN)
        .map(|e| e.text.as_str())
        .collect();
    assert_eq!(downloads[0], "200 bytes 0-199999/200000");
    assert_eq!(downloads[1], "206 bytes 65536-131071/200000");
}

#[test]
fn several_requests_on_one_connection() {
    use std::io::{Read, Write};
    let b = bench();
    let url = offered(&b, &bytes());
    let (host, path) = split_url(&url);
    let mut s = std::net::TcpStream::connect(host).unwrap();
    s.set_read_timeout(Some(WAIT)).unwrap();
    for first in [0, 1000, 2000] {
        let last = first + 99;
        write!(
            s,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nRange: bytes={first}-{last}\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            s.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let mut body = [0; 100];
        s.read_exact(&mut body).unwrap();
        assert_eq!(body[..], bytes()[first..first + 100]);
    }
}

#[test]
fn addresses_expire_and_cannot_be_altered() {
    let b = bench_with(|c| c.url_ttl = Duration::ZERO);
    let url = offered(&b, b"x");
    assert_eq!(get(&url, "").status, 403);
    let b = bench();
    let url = offered(&b, b"x");
    assert_eq!(get(&url, "").status, 200);
    for (from, to) in [
        ("Expires=", "Expires=9"),
        ("task=", "task=1"),
        ("/ota/", "/ota/0"),
    ] {
        assert_eq!(get(&url.replacen(from, to, 1), "").status, 403, "{from}");
    }
    let (bare, _) = url.split_once('?').unwrap();
    assert_eq!(get(bare, "").status, 403);
    let root = format!("http://{}/", b.cloud.http_addr());
    assert_eq!(get(&root, "").status, 403);
}

#[test]
fn addresses_can_be_as_long_as_the_real_ones() {
    let b = bench_with(|c| c.url_pad = 1800);
    let url = offered(&b, b"x");
    assert!(url.len() > 1900);
    assert_eq!(get(&url, "").status, 200);
}

#[test]
fn a_file_that_vanished_is_a_404() {
    let b = bench();
    let url = offered(&b, b"x");
    for f in std::fs::read_dir(b.dir.path().join("files")).unwrap() {
        std::fs::remove_file(f.unwrap().path()).unwrap();
    }
    assert_eq!(get(&url, "").status, 404);
}
