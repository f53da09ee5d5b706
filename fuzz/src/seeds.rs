//! First inputs, made by code. They show the fuzzer what whole inputs look like;
//! it finds the rest.

use crate::{images, packages};

/// First inputs of a target; none for targets that build their own data.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "http" => http(),
        "json" => json(),
        "mqtt" => mqtt(),
        "records" => records(),
        "signon" => signon(),
        "xz" => xz(),
        // Enough bytes to decide something with.
        _ => (0..16).map(|seed| crate::noise(seed, 200)).collect(),
    }
}

fn http() -> Vec<Vec<u8>> {
    // Size 100, range 10..50, pieces of 7, first base URL.
    let prefix = |start: u32| {
        let mut v = vec![99];
        v.extend(start.to_le_bytes());
        v.extend(39u32.to_le_bytes());
        v.extend([7, 0]);
        v
    };
    let body = "b".repeat(100);
    [
        format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 10-49/100\r\nContent-Length: 40\r\nETag: \"a\"\r\n\r\n{}", &body[..40]),
        format!("HTTP/1.1 206 P\r\nContent-Range: bytes 10-19/*\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n12345\r\n5\r\n12345\r\n0\r\nA: b\r\n\r\n"),
        format!("HTTP/1.0 200 OK\r\nConnection: close\r\nLast-Modified: x\r\n\r\n{body}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: a/b\r\n\r\n{body}"),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nLocation: ../d?e#f\r\n\r\n".into(),
        "HTTP/1.1 307 T\r\nLocation: //h:81/x\r\nConnection: keep-alive, close\r\n\r\n".into(),
        "HTTP/1.1 416 R\r\nContent-Range: bytes */100\r\n\r\n".into(),
        "HTTP/1.1 206 P\r\nContent-Type: multipart/byteranges; boundary=x\r\n\r\n".into(),
        "http://[2001:db8::1]:8080/a/b?c=d#e".into(),
        "HTTPS://example.com:/a".into(),
        "?x".into(),
    ]
    .iter()
    .flat_map(|text| [0, 10].map(|start| [prefix(start), text.clone().into_bytes()].concat()))
    .collect()
}

fn json() -> Vec<Vec<u8>> {
    [
        r#"{"code":"1000","data":{"size":432945,"version":"2.0.0","url":"https://h/p?x=1","sign":"93230c3bde425a9d7984a594ac55ea1e","signMethod":"Md5","module":"MCU","extData":{"k":[1,2.5e-3,true,null]},"isDiff":1,"splictSize":"65536","dProtocol":"https","digestsign":"QUJD"},"id":1507707025,"message":"success"}"#,
        r#"{"code":200,"data":{"size":"1","version":"1","url":"http://h/","md5":"93230c3bde425a9d7984a594ac55ea1e","sign":null}}"#,
        r#"{"data":{"signMethod":"SHA256","sign":"93230c3bde425a9d7984a594ac55ea1e93230c3bde425a9d7984a594ac55ea1e","files":[{}]}}"#,
        "{\"id\":\"1\",\"code\":1000,\"data\":{}}\0",
        r#"["\ud83d\ude00\u0041\"\\\/\b\f\n\r\t","é",-0.5E+7,18446744073709551616,[[[]]],{"a":{},"a":1}]"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn mqtt() -> Vec<Vec<u8>> {
    [
        &[255, 0x90, 4, 0, 1, 1, 0][..],
        &[255, 0x32, 7, 0, 1, b't', 0, 9, b'p', b'q', 0x40, 2, 0, 1],
        &[3, 0x30, 3, 0, 1, b't', 0xD0, 0],
        &[255, 0x20, 2, 0, 5],
    ]
    .map(<[u8]>::to_vec)
    .into()
}

fn signon() -> Vec<Vec<u8>> {
    [
        "pk.dn|timestamp=2524608000000,securemode=3,signmethod=hmacsha256,_v=x|",
        "device&product",
        "/ota/device/upgrade/a1B2/device_1",
        "/sys/a1/d/thing/ota/firmware/get_reply",
        "a1B2 device_1 \0\0\0\0secret",
        "a1B2 device_1 \u{1}\u{1}\u{1}\u{1}secret",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn records() -> Vec<Vec<u8>> {
    use rsa::pkcs1::EncodeRsaPublicKey;
    use rsa::pkcs8::EncodePublicKey;
    let key = images::KEY.to_public_key();
    let shape = images::Shape {
        len: 200,
        seed: 1,
        version: Some(2),
        coded: false,
        signed: false,
        kind: ota_verify::ImageKind::App,
    };
    let file = shape.file();
    let block = ota_verify::SignedBlock::new(7, &[1; 32], images::PUBLIC.id(), 256);
    let mut seeds = vec![
        (0, file[200..].to_vec()),
        (0, [&[0x4C, 1][..], block.header()].concat()),
        (1, file[0x40..0xA0].to_vec()),
        (3, vec![5; 300]),
        (
            5,
            hal_mk3060::line_code::encode(&[3; 64]).flatten().collect(),
        ),
    ];
    if let (Ok(spki), Ok(pkcs1)) = (key.to_public_key_der(), key.to_pkcs1_der()) {
        seeds.push((2, spki.to_vec()));
        seeds.push((2, pkcs1.to_vec()));
    }
    if let Ok(pem) = key.to_public_key_pem(Default::default()) {
        seeds.push((2, pem.into_bytes()));
    }
    let header = "const unsigned char ota_pubn_buf[256] = {0x01, 2, 0X03,};\nota_pube_buf[3] = {0x01,0x00,0x01};";
    seeds.push((2, header.as_bytes().to_vec()));
    for text in [
        "app-1.0.9 app-1.0.10 app-1.0.10-rc1",
        "1.2 1.2.0 1.2.0-",
        "a01 a1 a1b",
    ] {
        seeds.push((4, text.as_bytes().to_vec()));
    }
    seeds
        .into_iter()
        .map(|(which, bytes)| [vec![which], bytes].concat())
        .collect()
}

fn xz() -> Vec<Vec<u8>> {
    let plain = b"abcabcabcabcabcabcabc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0xyz".repeat(9);
    let head = |mode| [mode, 7, 100, 0];
    vec![
        [&head(0)[..], &packages::lzma2(&plain)].concat(),
        [&head(0)[..], &packages::lzma2(&crate::noise(1, 300))].concat(),
        [&head(4)[..], &[1, 0, 2, 7, 8, 9, 2, 0, 0, 5, 0]].concat(),
        [&head(3)[..], &packages::pack(&plain, true)].concat(),
        [&head(1)[..], &crate::noise(2, 100)].concat(),
        [&head(2)[..], &crate::noise(3, 40)].concat(),
    ]
}
