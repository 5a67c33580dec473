//! Over TLS, with a certificate authority and headers of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use bootwatch::app::Start;

use super::limits::Program;
use super::receiver::Receiver;
use super::traces::play;
use crate::sidecar::{Pager, Sidecar, eventually, log};

/// A certificate for 127.0.0.1 and its key.
pub(crate) fn make_keys(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("server.key"))
        .arg("-out")
        .arg(folder.join("server.pem"))
        .output()
        .expect("openssl is installed (scripts/test installs it)");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

#[test]
fn headers_reach_a_collector_whose_certificate_is_trusted_and_no_other() {
    let (folder, log) = log();
    make_keys(folder.path());
    let headers = folder.path().join("headers");
    std::fs::write(&headers, "authorization=Bearer%20hunter2\n").unwrap();
    std::fs::set_permissions(&headers, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (pager, receiver) = (Pager::start(), Receiver::encrypted(folder.path()));
    let settings = |more: &str| {
        format!(
            "[otlp]\nendpoint = \"https://{}\"\nheaders_file = {headers:?}\ninterval = \"1s\"\n{more}",
            receiver.address
        )
    };
    let ca = format!("ca_file = {:?}\n", folder.path().join("server.pem"));

    // Nobody vouches for it: it is told nothing.
    let sidecar = Sidecar::start(&log, pager.address, &settings(""), Start::default());
    sidecar.wait_until_ready();
    play(&log, 5, &["healthy"], 2);
    play(&log, 4, &["healthy"], 1);
    eventually("metrics are given up", || {
        let dropped = "result=\"dropped\",signal=\"metrics\"";
        sidecar.metric("bootwatch_otlp_items_total", dropped) >= 1.0
    });
    sidecar.stop().unwrap();
    assert!(receiver.so_far().is_empty());

    let sidecar = Sidecar::start(&log, pager.address, &settings(&ca), Start::default());
    sidecar.wait_until_ready();
    play(&log, 3, &["healthy"], 1);
    let told = receiver.traces();
    assert_eq!(told.authorization.as_deref(), Some("Bearer hunter2"));
    sidecar.stop().unwrap();
}

#[test]
fn a_collector_that_asks_who_we_are_is_shown_the_client_certificate() {
    let (folder, log) = log();
    make_keys(folder.path());
    let file = |name: &str| folder.path().join(name);
    let client = file("client.pem");
    let both = [file("server.key"), file("server.pem")].map(|path| std::fs::read(path).unwrap());
    std::fs::write(&client, both.concat()).unwrap();
    std::fs::set_permissions(&client, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (pager, receiver) = (Pager::start(), Receiver::encrypted_both_ways(folder.path()));
    let settings = |more: &str| {
        format!(
            "[otlp]\nendpoint = \"https://{}\"\nca_file = {:?}\ninterval = \"1s\"\n{more}",
            receiver.address,
            file("server.pem")
        )
    };

    let sidecar = Sidecar::start(&log, pager.address, &settings(""), Start::default());
    sidecar.wait_until_ready();
    play(&log, 5, &["healthy"], 2);
    play(&log, 4, &["healthy"], 1);
    eventually("metrics are given up", || {
        let dropped = "result=\"dropped\",signal=\"metrics\"";
        sidecar.metric("bootwatch_otlp_items_total", dropped) >= 1.0
    });
    sidecar.stop().unwrap();
    assert!(receiver.so_far().is_empty(), "it takes from anybody");

    let shown = settings(&format!("client_file = {client:?}\n"));
    let sidecar = Sidecar::start(&log, pager.address, &shown, Start::default());
    sidecar.wait_until_ready();
    play(&log, 3, &["healthy"], 1);
    assert!(receiver.traces().taken);
    sidecar.stop().unwrap();
}

#[test]
fn an_authority_of_ones_own_is_enough_where_the_machine_has_none() {
    let (folder, log) = log();
    make_keys(folder.path());
    let receiver = Receiver::encrypted(folder.path());
    let otlp = format!(
        "endpoint = \"https://{}\"\nca_file = {:?}\n",
        receiver.address,
        folder.path().join("server.pem")
    );
    let none = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| (name, "/nonexistent"));
    let _program = Program::told(folder.path(), &log, &otlp, &none);
    assert!(!receiver.metrics().resource_metrics.is_empty());
}
