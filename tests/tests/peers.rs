//! `otaapp` against mosquitto, nginx and openssl.
#![cfg(feature = "peers")]
#![allow(missing_docs)]

use ota_verify::{HashMethod, Hasher};
use otaapp::host;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use uota_tests::peers::{Guard, find, free_port, run, serve, wait_text};
use uota_tests::{LIMIT, Made, image, program};

/// Names and secret of the published sign-on vector.
const PK: &str = "a1B2c3D4e5F";
const DN: &str = "dev001";
const DS: &str = "0123456789abcdef0123456789abcdef";
/// Its HMAC-SHA256, as computed by others.
const PASSWORD: &str = "88d3ce1423c115e0425395b171e6e5fd1c9c97c349f1584ad2baf32d5d913dca";
const OLD: &str = "app-1.0.0";
const NEW: &str = "app-2.0.0";

/// A broker and a file server, both real, and a listener to every topic.
struct Peers {
    dir: tempfile::TempDir,
    mqtt: u16,
    http: u16,
    https: u16,
    old: Made,
    new: Made,
    _servers: Vec<Guard>,
}

impl Peers {
    fn new() -> Self {
        Self::with(200_000, false)
    }

    fn with(len: usize, tls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Servers started by root give their rights up: they must get in.
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut peers = Self {
            mqtt: free_port(),
            http: free_port(),
            https: free_port(),
            old: image(OLD, &program(1, 60_000), None),
            new: image(NEW, &program(2, len), None),
            _servers: Vec::new(),
            dir,
        };
        host::init(&peers.file("device.flash"), &peers.old.bytes).unwrap();
        std::fs::create_dir(peers.file("www")).unwrap();
        std::fs::write(peers.file("www/app.bin"), &peers.new.bytes).unwrap();
        peers.certificates();
        peers._servers.push(peers.mosquitto(tls));
        peers._servers.push(peers.nginx());
        peers
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A root, and a certificate for 127.0.0.1 that it has signed.
    fn certificates(&self) {
        let openssl = |args: &str| {
            let mut command = Command::new(find("openssl"));
            run(command.current_dir(self.dir.path()).args(args.split(' ')));
        };
        openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
             -subj /CN=root -keyout ca.key -out ca.pem",
        );
        openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
             -subj /CN=server -keyout server.key -out server.csr",
        );
        std::fs::write(self.file("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile ext -out server.pem",
        );
        use std::os::unix::fs::PermissionsExt;
        let mode = PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(self.file("server.key"), mode).unwrap();
    }

    /// It knows the device's user name and password, and one for the test.
    fn mosquitto(&self, tls: bool) -> Guard {
        let passwords = self.file("passwords");
        File::create(&passwords).unwrap();
        for (user, password) in [(format!("{DN}&{PK}").as_str(), PASSWORD), ("test", "test")] {
            let mut command = Command::new(find("mosquitto_passwd"));
            run(command.arg("-b").arg(&passwords).args([user, password]));
        }
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&passwords, PermissionsExt::from_mode(0o644)).unwrap();
        let dir = self.dir.path().display();
        let tls = if tls {
            format!("cafile {dir}/ca.pem\ncertfile {dir}/server.pem\nkeyfile {dir}/server.key\n")
        } else {
            String::new()
        };
        let config = format!(
            "listener {} 127.0.0.1\n{tls}allow_anonymous false\npassword_file {dir}/passwords\n\
             persistence false\nlog_type all\nlog_dest stderr\n",
            self.mqtt
        );
        std::fs::write(self.file("mosquitto.conf"), config).unwrap();
        let log = File::create(self.file("mosquitto.log")).unwrap();
        let mut command = Command::new(find("mosquitto"));
        command.arg("-c").arg(self.file("mosquitto.conf"));
        serve(command.stderr(log), self.mqtt)
    }

    fn nginx(&self) -> Guard {
        let dir = self.dir.path().display();
        let (http, https) = (self.http, self.https);
        let config = format!(
            "daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.err;\n\
             events {{}}\n\
             http {{\n\
               log_format requests '$status $request_method $uri [$http_range] $body_bytes_sent \
                 ae=[$http_accept_encoding]';\n\
               access_log {dir}/nginx.log requests;\n\
               client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
               uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
               server {{ listen 127.0.0.1:{http}; listen 127.0.0.1:{https} ssl; root {dir}/www;\n\
                 ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.key;\n\
                 location /moved/ {{ return 302 /again/app.bin; }}\n\
                 location /again/ {{ return 307 http://127.0.0.1:{http}/app.bin; }}\n\
                 location /loop/ {{ return 302 /loop/app.bin; }}\n\
                 location /down/ {{ return 302 http://127.0.0.1:{http}/app.bin; }}\n\
                 location /slow/ {{ alias {dir}/www/; limit_rate 100k; }}\n\
                 location /whole/ {{ alias {dir}/www/; max_ranges 0; }}\n\
                 location /zipped/ {{ alias {dir}/www/; gzip on; gzip_types *; gzip_min_length 1; }}\n\
                 location /refused/ {{ alias {dir}/www/; if ($http_range ~ '=65608-') {{ return 416; }} }}\n\
                 location /bad/ {{ return 400; }}\n\
                 location /expired/ {{ return 403; }}\n\
               }}\n\
             }}\n"
        );
        std::fs::write(self.file("nginx.conf"), config).unwrap();
        let mut command = Command::new(find("nginx"));
        command.arg("-c").arg(self.file("nginx.conf"));
        command.arg("-e").arg(self.file("nginx.err"));
        serve(&mut command, self.http)
    }

    /// A command line tool of mosquitto, signed on.
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(find(name));
        let port = self.mqtt.to_string();
        command.args(["-h", "127.0.0.1", "-p", &port, "-u", "test", "-P", "test"]);
        command
    }

    /// Everything that is published, one line each: topic, QoS, payload in hex.
    fn listen(&self) -> (Guard, PathBuf) {
        let path = self.file("heard");
        let mut command = self.tool("mosquitto_sub");
        command.args(["-t", "#", "-q", "1", "-F", "%t %q %x"]);
        let child = command
            .stdout(File::create(&path).unwrap())
            .spawn()
            .unwrap();
        wait_text(&self.file("mosquitto.log"), "Sending SUBACK");
        (Guard(child), path)
    }

    fn device(&self, args: &[&str]) -> Guard {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uota-device"));
        let out = File::create(self.file("device.log")).unwrap();
        let child = command
            .args(["--once", "--broker", &format!("127.0.0.1:{}", self.mqtt)])
            .arg("--flash")
            .arg(self.file("device.flash"))
            .args(args)
            .args([PK, DN, DS])
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .stdin(Stdio::null())
            .spawn();
        Guard(child.unwrap())
    }

    /// What the device prints.
    fn log(&self) -> PathBuf {
        self.file("device.log")
    }

    fn requests(&self) -> String {
        std::fs::read_to_string(self.file("nginx.log")).unwrap()
    }

    /// The push as the platform writes it.
    fn push(&self, url: &str) -> String {
        let mut hasher = Hasher::new(HashMethod::Md5);
        hasher.update(&self.new.bytes);
        let md5 = hasher.finish();
        format!(
            "{{\"code\":\"1000\",\"data\":{{\"size\":{},\"version\":\"{NEW}\",\"url\":\"{url}\",\
             \"signMethod\":\"Md5\",\"sign\":\"{md5}\",\"md5\":\"{md5}\"}},\
             \"id\":1507707025,\"message\":\"success\"}}",
            self.new.bytes.len()
        )
    }

    fn publish(&self, payload: &str) {
        let topic = format!("/ota/device/upgrade/{PK}/{DN}");
        run(self
            .tool("mosquitto_pub")
            .args(["-q", "1", "-t", &topic, "-m", payload]));
    }

    /// One update from this path; the device's exit status.
    fn update(&self, path: &str, args: &[&str]) -> i32 {
        let mut device = self.device(args);
        wait_text(&self.log(), "mqtt pub acked");
        self.publish(&self.push(&format!("http://127.0.0.1:{}{path}", self.http)));
        wait_end(&mut device, &self.log())
    }

    fn assert_active(&self, made: &Made) {
        let slot = host::read_slot(&self.file("device.flash"), &host::ACTIVE, made.bytes.len());
        assert!(slot.unwrap() == made.bytes, "not {}", made.version);
    }

    fn assert_updated(&self, status: i32) {
        let log = std::fs::read_to_string(self.log()).unwrap();
        assert_eq!(status, 0, "{log}");
        assert!(log.ends_with("app-2.0.0 confirmed\n"), "{log}");
        self.assert_active(&self.new);
    }

    fn assert_failed(&self, status: i32, error: &str) {
        let log = std::fs::read_to_string(self.log()).unwrap();
        assert_eq!(status, 1, "{log}");
        assert!(
            log.contains(&format!("error: the update failed: {error}")),
            "{log}"
        );
        assert!(log.contains("see docs/troubleshooting.md#"), "{log}");
        self.assert_active(&self.old);
    }
}

/// The exit status.
fn wait_end(device: &mut Guard, log: &Path) -> i32 {
    let start = std::time::Instant::now();
    loop {
        if let Some(status) = device.0.try_wait().unwrap() {
            return status.code().unwrap();
        }
        if start.elapsed() >= LIMIT {
            let log = std::fs::read_to_string(log).unwrap();
            panic!("the device does not end:\n{log}");
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    hex.as_bytes()
        .chunks(2)
        .map(|c| digit(c[0]) << 4 | digit(c[1]))
        .collect()
}

#[test]
fn an_update_pushed_by_hand_and_the_bytes_on_the_wire() {
    let peers = Peers::new();
    let (_listener, heard) = peers.listen();
    let status = peers.update("/app.bin", &[]);
    peers.assert_updated(status);

    // CONNECT: names as the platform wants them. mosquitto has checked the password.
    let log = std::fs::read_to_string(peers.file("mosquitto.log")).unwrap();
    let connect = log
        .lines()
        .find(|l| l.contains(&format!("u'{DN}&{PK}'")))
        .unwrap();
    let id = connect
        .split(" as ")
        .nth(1)
        .unwrap()
        .split(" (")
        .next()
        .unwrap();
    let (name, rest) = id.split_once('|').unwrap();
    assert_eq!(name, format!("{PK}.{DN}"));
    let params: Vec<_> = rest.strip_suffix('|').unwrap().split(',').collect();
    for wanted in [
        "securemode=3",
        "signmethod=hmacsha256",
        "timestamp=2524608000000",
        "_ss=1",
    ] {
        assert!(params.contains(&wanted), "{id}");
    }
    // How mosquitto writes MQTT 3.1.1, clean session, 60 s keep-alive.
    assert!(connect.contains("(p2, c1, k60, "), "{connect}");

    // Reports, byte for byte.
    let heard = wait_text(&heard, &hex(&inform(NEW)));
    let messages: Vec<(&str, &str, Vec<u8>)> = heard
        .lines()
        .map(|l| {
            let mut words = l.split(' ');
            let (topic, qos) = (words.next().unwrap(), words.next().unwrap());
            (topic, qos, unhex(words.next().unwrap()))
        })
        .collect();
    let inform_topic = format!("/ota/device/inform/{PK}/{DN}");
    let informs: Vec<_> = messages.iter().filter(|m| m.0 == inform_topic).collect();
    assert_eq!(informs.len(), 2);
    for (message, version) in informs.iter().zip([OLD, NEW]) {
        assert_eq!(message.1, "1", "QoS of an inform");
        assert_eq!(message.2, inform(version).into_bytes());
    }
    let progress_topic = format!("/ota/device/progress/{PK}/{DN}");
    let progress: Vec<_> = messages.iter().filter(|m| m.0 == progress_topic).collect();
    let mut last = 0;
    for (_, qos, payload) in &progress {
        let text = std::str::from_utf8(payload).unwrap();
        let number = |name: &str| -> u32 {
            let rest = text.split(&format!("\"{name}\":\"")).nth(1).unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let (id, step) = (number("id"), number("step"));
        let whole = format!("{{\"id\":\"{id}\",\"params\":{{\"step\":\"{step}\",\"desc\":\"\"}}}}");
        assert_eq!(text, whole);
        assert!(step > last && step <= 100, "{text} after {last}");
        assert_eq!(*qos, if step == 100 { "1" } else { "0" });
        last = step;
    }
    assert_eq!(last, 100);

    // HTTP: the first bytes tell what the package is, which decides what is erased
    // before more comes; then windows of 64 KiB, each asked for once.
    let size = peers.new.bytes.len();
    let starts = std::iter::once(0).chain((72..size).step_by(65_536));
    let expected: Vec<String> = starts
        .map(|at| {
            let end = if at == 0 { 72 } else { size.min(at + 65_536) };
            // The last one is open: a file that is longer than offered shows.
            let last = if end == size {
                String::new()
            } else {
                (end - 1).to_string()
            };
            format!(
                "206 GET /app.bin [bytes={at}-{last}] {} ae=[identity]",
                end - at
            )
        })
        .collect();
    let requests = peers.requests();
    let found: Vec<_> = requests.lines().collect();
    assert_eq!(found, expected);
}

/// The version report as the reference writes it.
fn inform(version: &str) -> String {
    format!("{{\"id\":\"1\",\"params\":{{\"version\":\"{version}\"}}}}")
}

fn hex(text: &str) -> String {
    let text: Vec<_> = text.bytes().map(|b| format!("{b:02x}")).collect();
    text.concat()
}

#[test]
fn redirects_and_a_server_without_ranges_and_one_that_would_compress() {
    for (path, status) in [
        ("/moved/app.bin", "302"),
        ("/whole/app.bin", "200"),
        ("/zipped/app.bin", "206"),
    ] {
        let peers = Peers::with(100_000, false);
        let ended = peers.update(path, &[]);
        peers.assert_updated(ended);
        let requests = peers.requests();
        assert!(requests.starts_with(status), "{path}: {requests}");
    }
}

#[test]
fn a_slow_server_and_kills_on_the_way() {
    let peers = Peers::with(250_000, false);
    let url = format!("http://127.0.0.1:{}/slow/app.bin", peers.http);
    let mut kills = 0;
    let status = loop {
        let mut device = peers.device(&[]);
        wait_text(&peers.log(), "mqtt pub acked");
        peers.publish(&peers.push(&url));
        if kills < 2 {
            // Killed in the middle: what is stored is not fetched again.
            let mark = ["per:3", "per:7"][kills];
            wait_text(&peers.log(), mark);
            device.0.kill().unwrap();
            device.0.wait().unwrap();
            kills += 1;
            continue;
        }
        break wait_end(&mut device, &peers.log());
    };
    peers.assert_updated(status);
    let requests = peers.requests();
    let first = requests.lines().filter(|l| l.contains("[bytes=0-")).count();
    assert_eq!(first, 1, "{requests}");
    let sent: usize = requests
        .lines()
        .filter_map(|l| {
            l.split("] ")
                .nth(1)?
                .split(' ')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .sum();
    let twice = sent.saturating_sub(peers.new.bytes.len());
    println!("{twice} bytes sent twice in {kills} kills");
    // nginx counts what it has written, which may still be in its socket buffer.
    assert!(twice <= kills * 2 * (65_536 + 4096), "{requests}");
}

#[test]
fn servers_that_are_no_good_are_named() {
    for (path, error) in [
        ("/bad/app.bin", "http status refused (status 400) (step -2)"),
        ("/loop/app.bin", "too many redirects (step -2)"),
        ("/refused/app.bin", "range not satisfiable (step -2)"),
    ] {
        let peers = Peers::with(100_000, false);
        let status = peers.update(path, &[]);
        peers.assert_failed(status, error);
    }
}

#[test]
fn an_expired_address_is_renewed_through_firmware_get() {
    let peers = Peers::with(100_000, false);
    let (_listener, heard) = peers.listen();
    let mut device = peers.device(&[]);
    wait_text(&peers.log(), "mqtt pub acked");
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", peers.http);
    peers.publish(&peers.push(&url("/expired/app.bin?Expires=1")));
    let topic = format!("/sys/{PK}/{DN}/thing/ota/firmware/get");
    let question = wait_text(&heard, &format!("{topic} "));
    let line = question.lines().find(|l| l.starts_with(&topic)).unwrap();
    let text = String::from_utf8(unhex(line.split(' ').nth(2).unwrap())).unwrap();
    let id = text
        .split("\"id\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let wanted = format!(
        "{{\"id\":\"{id}\",\"version\":\"1.0\",\"params\":{{}},\"method\":\"thing.ota.firmware.get\"}}"
    );
    assert_eq!(text, wanted);
    // As the platform answers: no message, code as a number.
    let push = peers.push(&url("/app.bin?Expires=9"));
    let data = push
        .split("\"data\":")
        .nth(1)
        .unwrap()
        .split(",\"id\"")
        .next()
        .unwrap();
    let answer = format!("{{\"id\":\"{id}\",\"code\":200,\"data\":{data}}}");
    let reply = format!("{topic}_reply");
    run(peers
        .tool("mosquitto_pub")
        .args(["-t", &reply, "-m", &answer]));
    let status = wait_end(&mut device, &peers.log());
    peers.assert_updated(status);
}

#[test]
fn another_file_than_the_push_says() {
    let peers = Peers::with(100_000, false);
    // Longer on the server than offered, then of the right length but damaged.
    let mut longer = peers.new.bytes.clone();
    longer.push(0);
    std::fs::write(peers.file("www/app.bin"), &longer).unwrap();
    let status = peers.update("/app.bin", &[]);
    peers.assert_failed(
        status,
        "size on server differs from offer (offered 100188, found 100189) (step -2)",
    );
}

#[test]
fn tls_on_both_lines_with_a_root_made_by_openssl() {
    let peers = Peers::with(100_000, true);
    let ca = peers.file("ca.pem");
    let ca = ca.to_str().unwrap();
    let mut device = peers.device(&["--tls", "--ca", ca]);
    wait_text(&peers.log(), "mqtt pub acked");
    let url = format!("https://127.0.0.1:{}/app.bin", peers.https);
    publish_tls(&peers, ca, &peers.push(&url));
    let status = wait_end(&mut device, &peers.log());
    peers.assert_updated(status);
    let log = std::fs::read_to_string(peers.file("mosquitto.log")).unwrap();
    assert!(log.contains("securemode=2"), "{log}");
}

#[test]
fn tls_never_leads_out_of_tls() {
    let peers = Peers::with(50_000, false);
    let ca = peers.file("ca.pem");
    let mut device = peers.device(&["--ca", ca.to_str().unwrap()]);
    wait_text(&peers.log(), "mqtt pub acked");
    peers.publish(&peers.push(&format!("https://127.0.0.1:{}/down/app.bin", peers.https)));
    let status = wait_end(&mut device, &peers.log());
    peers.assert_failed(status, "redirect from https to http refused (step -2)");
}

fn publish_tls(peers: &Peers, ca: &str, payload: &str) {
    let topic = format!("/ota/device/upgrade/{PK}/{DN}");
    let mut tool = peers.tool("mosquitto_pub");
    run(tool.args(["--cafile", ca, "-q", "1", "-t", &topic, "-m", payload]));
}

#[test]
fn mosquitto_refuses_a_wrong_secret() {
    let peers = Peers::with(1000, false);
    let log = File::create(peers.log()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_uota-device"));
    command
        .args(["--once", "--broker", &format!("127.0.0.1:{}", peers.mqtt)])
        .arg("--flash")
        .arg(peers.file("device.flash"))
        .args([PK, DN, "wrong"])
        .stdout(Stdio::null())
        .stderr(log);
    let mut device = Guard(command.spawn().unwrap());
    assert_eq!(wait_end(&mut device, &peers.log()), 1);
    let text = std::fs::read_to_string(peers.log()).unwrap();
    assert!(text.starts_with("error: sign-on refused: "), "{text}");
    assert!(text.contains("docs/troubleshooting.md#sign-on"), "{text}");
}
