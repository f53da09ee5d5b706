//! The shipped images against a broker and a file server that we did not write:
//! mosquitto and nginx.

use board_tests::{Desk, file, packed};
use ota_flash::PartitionId;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use uota_tests::peers::{Guard, find, free_port, run, serve, wait_text};

/// Names and secret of the published sign-on vector.
const PK: &str = "a1B2c3D4e5F";
const DN: &str = "dev001";
const DS: &str = "0123456789abcdef0123456789abcdef";
/// Its HMAC-SHA256, as computed by others.
const PASSWORD: &str = "88d3ce1423c115e0425395b171e6e5fd1c9c97c349f1584ad2baf32d5d913dca";

/// Lets servers that were started by root, and gave their rights up, read it.
fn readable(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// It knows the device's user name and password, and one for the test.
fn mosquitto(dir: &Path, port: u16) -> Guard {
    let passwords = dir.join("passwords");
    File::create(&passwords).unwrap();
    for (user, password) in [(format!("{DN}&{PK}").as_str(), PASSWORD), ("test", "test")] {
        let mut command = Command::new(find("mosquitto_passwd"));
        run(command.arg("-b").arg(&passwords).args([user, password]));
    }
    readable(&passwords, 0o644);
    let config = format!(
        "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n\
         persistence false\nlog_type all\nlog_dest stderr\n",
        passwords.display()
    );
    std::fs::write(dir.join("mosquitto.conf"), config).unwrap();
    let log = File::create(dir.join("mosquitto.log")).unwrap();
    let mut command = Command::new(find("mosquitto"));
    command.arg("-c").arg(dir.join("mosquitto.conf"));
    serve(command.stderr(log), port)
}

fn nginx(dir: &Path, port: u16) -> Guard {
    let at = dir.display();
    let config = format!(
        "daemon off; pid {at}/nginx.pid; error_log {at}/nginx.err;\n\
         events {{}}\n\
         http {{\n\
           log_format requests '$status $request_method $uri [$http_range] $body_bytes_sent';\n\
           access_log {at}/nginx.log requests;\n\
           client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
           uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
           server {{ listen 127.0.0.1:{port}; root {at}/www; }}\n\
         }}\n"
    );
    std::fs::write(dir.join("nginx.conf"), config).unwrap();
    let mut command = Command::new(find("nginx"));
    command.arg("-c").arg(dir.join("nginx.conf"));
    command.arg("-e").arg(dir.join("nginx.err"));
    serve(&mut command, port)
}

#[test]
fn an_update_through_mosquitto_and_nginx() {
    let dir = tempfile::tempdir().unwrap();
    readable(dir.path(), 0o755);
    let v1 = packed("app-1.0.0", &file("otaapp.bin"), None);
    let v2 = packed("app-2.0.0", &file("otaapp-2.bin"), None);
    std::fs::create_dir(dir.path().join("www")).unwrap();
    std::fs::write(dir.path().join("www/app.bin"), &v2).unwrap();
    let (mqtt, http) = (free_port(), free_port());
    let _broker = mosquitto(dir.path(), mqtt);
    let _files = nginx(dir.path(), http);
    let tool = |name: &str| {
        let mut command = Command::new(find(name));
        command.args(["-h", "127.0.0.1", "-u", "test", "-P", "test", "-p"]);
        command.arg(mqtt.to_string());
        command
    };
    // Everything that is published, one line each: topic, QoS, payload.
    let heard = dir.path().join("heard");
    let child = tool("mosquitto_sub")
        .args(["-t", "#", "-q", "1", "-F", "%t %q %p"])
        .stdout(File::create(&heard).unwrap())
        .spawn();
    let _listener = Guard(child.unwrap());
    wait_text(&dir.path().join("mosquitto.log"), "Sending SUBACK");

    let map = format!("files.example:80=127.0.0.1:{http}");
    let mut desk = Desk::new(&file("boot2.bin"), &v1, &map);
    // 10.0.2.2 is this machine.
    desk.sign_on([PK, DN, DS, "secret"], &format!("10.0.2.2:{mqtt}"));
    let inform = |version: &str| {
        format!(
            "/ota/device/inform/{PK}/{DN} 1 {{\"id\":\"1\",\"params\":{{\"version\":\"{version}\"}}}}"
        )
    };
    let said = |what: &str| std::fs::read_to_string(&heard).unwrap().contains(what);
    desk.until(|| said(&inform("app-1.0.0")));

    // The push as the platform writes it.
    let digest = ota_verify::Digest::Sha256(ota_verify::sha256(&v2));
    let push = format!(
        "{{\"code\":\"1000\",\"data\":{{\"size\":{},\"version\":\"app-2.0.0\",\
         \"url\":\"http://files.example/app.bin\",\"signMethod\":\"SHA256\",\"sign\":\"{digest}\"}},\
         \"id\":1507707025,\"message\":\"success\"}}",
        v2.len()
    );
    let topic = format!("/ota/device/upgrade/{PK}/{DN}");
    run(tool("mosquitto_pub").args(["-q", "1", "-t", &topic, "-m", &push]));

    desk.expect("download file size:");
    desk.expect("download finish ret:0.");
    desk.expect("app_version: app-2.0.0");
    desk.expect("running image confirmed");
    desk.until(|| said(&inform("app-2.0.0")));
    assert_eq!(desk.lost(), 0, "bytes came in while flash was busy");
    assert_eq!(desk.slot(PartitionId::Application, v2.len()), v2);
    // The head, then windows of 64 KiB; each byte once.
    let requests = std::fs::read_to_string(dir.path().join("nginx.log")).unwrap();
    let ranges: Vec<_> = requests.lines().collect();
    assert!(
        ranges.len() <= 1 + v2.len().div_ceil(0x1_0000),
        "{requests}"
    );
    assert!(
        ranges
            .iter()
            .all(|r| r.starts_with("206 GET /app.bin [bytes=")),
        "{requests}"
    );
    let served = ranges
        .iter()
        .map(|r| r.rsplit(' ').next().unwrap().parse::<usize>().unwrap());
    assert_eq!(served.sum::<usize>(), v2.len());
}
