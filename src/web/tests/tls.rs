//! TLS and users on a real server: certificates by openssl, clients by rustls.

use std::path::Path;
use std::process::Command;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::core::desk::{Standing, View};
use crate::core::finding::FindingKind;
use operators::operators;

/// A certificate of its own for `localhost`, and its key.
fn certificate(folder: &Path, name: &str) {
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            // A certificate of an authority is none of a server.
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(file("key"))
        .arg("-out")
        .arg(file("crt"))
        .output()
        .expect("openssl is installed; scripts/test installs it");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

/// What a client that trusts only this certificate is answered; `None`: it does not get that far.
async fn ask_over_tls(address: SocketAddr, trusts: &Path, head: &str) -> Option<String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(trusts).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = connect(address).await;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = soon(TlsConnector::from(Arc::new(config)).connect(name, stream))
        .await
        .ok()?;
    let request = format!("GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.ok()?;
    Some(String::from_utf8(answer).unwrap())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's server has no supervisor"
)]
async fn guarded(file: &Path) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut faces = faces(
        two_lines(),
        watch::channel(Readiness::ready()).1,
        operators(None).0,
    );
    faces.guard = Arc::new(Guard::read(file).unwrap());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, faces, Limits::default(), stop.clone()));
    Server {
        address,
        ready: None,
        stop,
        serving,
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    certificate(folder.path(), "old");
    certificate(folder.path(), "new");
    for end in ["crt", "key"] {
        std::fs::copy(at(&format!("old.{end}")), at(&format!("server.{end}"))).unwrap();
    }
    std::fs::write(
        at("web.yml"),
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n",
    )
    .unwrap();
    let server = guarded(&at("web.yml")).await;
    let answer = ask_over_tls(server.address, &at("old.crt"), "")
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(ask_over_tls(server.address, &at("new.crt"), "").await, None);
    for end in ["crt", "key"] {
        let to = at(&format!("server.{end}"));
        std::fs::copy(at(&format!("new.{end}")), &to).unwrap();
        // Dated by hand: two writes may fall into one tick of the file system's clock.
        let file = std::fs::File::options().write(true).open(&to).unwrap();
        let later = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        file.set_modified(later).unwrap();
    }
    let answer = ask_over_tls(server.address, &at("new.crt"), "")
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(ask_over_tls(server.address, &at("old.crt"), "").await, None);
    // Whoever speaks in the clear is not heard, and holds up nobody.
    let mut plain = connect(server.address).await;
    send(&mut plain, "GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut bytes = Vec::new();
    drop(soon(plain.read_to_end(&mut bytes)).await);
    assert!(!bytes.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn every_key_of_the_format_is_done_or_said_or_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    certificate(folder.path(), "server");
    let read = |more: &str| {
        let text =
            format!("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{more}");
        std::fs::write(at("web.yml"), text).unwrap();
        Guard::read(&at("web.yml"))
    };
    for (more, said) in [
        (
            "  min_version: TLS10\n  max_version: TLS12\n",
            &["min_version"][..],
        ),
        (
            "  max_version: TLS13\n  prefer_server_cipher_suites: true\n",
            &[],
        ),
        (
            "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_128_CBC_SHA]\n",
            &["TLS_RSA_WITH_AES_128_CBC_SHA"],
        ),
        ("  curve_preferences: [X25519, CurveP521]\n", &["CurveP521"]),
        ("http_server_config:\n  http2: false\n", &[]),
    ] {
        let notes = read(more).unwrap().notes();
        assert_eq!(notes.len(), said.len(), "{more}: {notes:?}");
        assert!(notes.iter().zip(said).all(|(note, key)| note.contains(key)));
    }
    for (more, key) in [
        ("  client_allowed_sans: [ada]\n", "client_allowed_sans"),
        ("  client_ca_file: server.crt\n", "client_auth_type"),
        (
            "  client_auth_type: RequestClientCert\n",
            "client_auth_type",
        ),
        (
            "  min_version: TLS13\n  max_version: TLS12\n",
            "max_version",
        ),
        ("  max_version: TLS11\n", "max_version"),
        (
            "  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n",
            "cipher_suites",
        ),
        ("  cipher_suites: [none]\n", "cipher_suites"),
        ("  curve_preferences: [CurveP521]\n", "curve_preferences"),
        ("  cert: x\n", "cert_file"),
        ("  ciphers: []\n", "ciphers"),
    ] {
        let error = read(more).unwrap_err().to_string();
        assert!(error.contains(key), "{more}: {error}");
    }
    // Certificate and key in the file itself, an old TLS alone, headers on every answer.
    let indented = |file: &str| {
        let text = std::fs::read_to_string(at(file)).unwrap();
        text.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    let text = format!(
        "tls_server_config:\n  cert: |\n{}  key: |\n{}  max_version: TLS12\n\
         http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=600\n",
        indented("server.crt"),
        indented("server.key"),
    );
    std::fs::write(at("web.yml"), text).unwrap();
    let server = guarded(&at("web.yml")).await;
    let answer = ask_over_tls(server.address, &at("server.crt"), "").await;
    let answer = answer.unwrap();
    assert!(
        answer.contains("strict-transport-security: max-age=600\r\n"),
        "{answer}"
    );
    assert!(answer.contains("x-frame-options: DENY\r\n"), "{answer}");
}

#[tokio::test]
async fn whoever_asks_more_often_than_the_file_allows_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    std::fs::write(&file, "rate_limit:\n  interval: 1h\n  burst: 2\n").unwrap();
    let server = guarded(&file).await;
    for status in [200, 200, 429, 429] {
        let answer = ask(&server, "GET", "/-/healthy").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains("content-security-policy: "), "{answer}");
    }
}

#[tokio::test]
async fn whoever_is_not_known_is_shown_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    let hash = bcrypt::hash("right", 4).unwrap();
    std::fs::write(&file, format!("basic_auth_users:\n  ada: {hash}\n")).unwrap();
    let server = guarded(&file).await;
    for path in [
        "/",
        "/boots",
        "/metrics",
        "/api/v1/state",
        "/events",
        "/-/healthy",
        "/assets/style.css",
    ] {
        let answer = ask(&server, "GET", path).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
        assert!(
            answer.contains("www-authenticate: Basic realm=\"bootwatch\""),
            "{answer}"
        );
        assert!(answer.contains("content-security-policy: "), "{answer}");
    }
    // ada:right
    let mut stream = connect(server.address).await;
    send(&mut stream, "GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Basic YWRhOnJpZ2h0\r\n\r\n").await;
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// A host with an open incident, of which everything says who, where and why.
fn told(faces: &mut Faces) {
    let now = crate::clock::now();
    let value = serde_json::json!({
        "key": "bw-5f2c0a", "host": "vmhost-1", "vm_type": "browser", "family": "Guest", "cause": "agent_refused",
        "first_bad_at": now, "fired_at": now, "resolved_at": null, "good_since": null,
        "members": [], "others": [], "evidence": ["connect ECONNREFUSED 192.168.100.17:8080"],
        "boots": [], "update_due": null, "flapping": false,
    });
    let incident = serde_json::from_value(value).unwrap();
    let view = View {
        incidents: vec![Standing {
            incident,
            acknowledged: None,
            held: None,
            is_told: true,
            digest: None,
        }],
        ..View::default()
    };
    faces.operators.view = watch::channel(Arc::new(view)).1;
    faces.live = watch::channel(Arc::new(Live {
        at: Some(now.plus_ms(60_000)),
        last_boot: Some(now),
        findings: vec![FindingLine {
            kind: FindingKind::Ghost,
            text: "ghost 192.168.100.17".to_owned(),
            count: 1,
            whom: Vec::new(),
        }],
        ..Live::default()
    }))
    .1;
}

#[tokio::test]
async fn the_page_for_everybody_says_whether_vms_boot_and_nothing_of_who_where_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    let hash = bcrypt::hash("right", 4).unwrap();
    std::fs::write(&file, format!("basic_auth_users:\n  ada: {hash}\n")).unwrap();
    let with = |public: bool| {
        let mut faces = faces(
            two_lines(),
            watch::channel(Readiness::ready()).1,
            operators(None).0,
        );
        told(&mut faces);
        faces.guard = Arc::new(Guard::read(&file).unwrap());
        faces.public = public;
        start_with(Limits::default(), faces)
    };
    let server = with(true).await;
    let page = ask(&server, "GET", "/public").await;
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert!(
        page.contains("Browser VMs fail to boot") && page.contains("class=\"state s-d"),
        "{page}"
    );
    for secret in [
        "5f2c0a",
        "vmhost",
        "controller",
        "192.168",
        "ECONNREFUSED",
        "refused",
        "words of",
        "/incidents",
        "/boots",
        "1.2.3",
    ] {
        assert!(!page.contains(secret), "{secret}: {page}");
    }
    // It stays as of now without loading itself anew, and takes no place of a stream.
    assert!(page.contains("data-every=\"30\"") && !page.contains("http-equiv"));
    for asset in ["/assets/style.css", "/assets/live.js"] {
        let answer = ask(&server, "GET", asset).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{asset}: {answer}");
    }
    for path in [
        "/",
        "/public/",
        "/api/v1/state",
        "/metrics",
        "/incidents",
        "/events",
    ] {
        let answer = ask(&server, "GET", path).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
    }
    let answer = ask(&server, "POST", "/public").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");

    let server = with(false).await;
    let answer = ask(&server, "GET", "/public").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}
