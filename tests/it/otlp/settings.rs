//! What a configuration may not say.

use std::path::Path;

use bootwatch::config::{self, Config, Problems, Surroundings};

fn read(otlp: &str) -> Result<Config, Problems> {
    let headers = (
        "BOOTWATCH_OTLP__HEADERS".to_owned(),
        "authorization=Bearer%20hunter2".to_owned(),
    );
    read_with(otlp, vec![headers])
}

fn read_with(otlp: &str, environment: Vec<(String, String)>) -> Result<Config, Problems> {
    let text = format!("[host]\nname = \"h\"\n[log]\nfile = \"/var/log/x.log\"\n[otlp]\n{otlp}");
    let surroundings = Surroundings {
        environment,
        host_name: None,
    };
    config::parse("test.toml", &text, Path::new("."), &surroundings)
}

#[test]
fn without_an_endpoint_nothing_is_sent() {
    assert_eq!(read("").unwrap().otlp, None);
}

#[test]
fn what_leaves_the_machine_in_clear_must_be_allowed() {
    for here in [
        "127.0.0.1:4317",
        "127.8.0.1",
        "[::1]:4317",
        "localhost:4317",
    ] {
        let settings = format!("endpoint = \"http://{here}\"");
        assert!(read(&settings).is_ok(), "{here}");
    }
    let away = "endpoint = \"http://collector.example:4317\"\n";
    let problem = read(away).unwrap_err().to_string();
    for word in ["otlp.endpoint", "TLS", "insecure = true"] {
        assert!(problem.contains(word), "{problem}");
    }
    assert!(read(&format!("{away}insecure = true")).is_ok());
    assert!(read(&away.replace("http:", "https:")).is_ok());
}

#[test]
fn a_path_is_for_http_and_credentials_are_for_headers() {
    let path = "endpoint = \"https://collector.example/otlp\"\n";
    let problem = read(path).unwrap_err().to_string();
    assert!(problem.contains("protocol = \"http\""), "{problem}");
    assert!(read(&format!("{path}protocol = \"http\"")).is_ok());
    let problem = read("endpoint = \"https://me:hunter2@collector.example\"").unwrap_err();
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
    let problem = read_with("headers = \"k=hunter2\"", Vec::new());
    let problem = problem.unwrap_err().to_string();
    assert!(problem.contains("headers_file"), "{problem}");
}

#[test]
fn headers_are_not_shown() {
    let config = read("endpoint = \"https://collector.example/\"").unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let headers = config.otlp.unwrap().headers;
    assert_eq!(headers[0].0, "authorization");
    assert_eq!(headers[0].1.expose(), "Bearer hunter2");
}

#[test]
fn a_client_certificate_has_its_key_with_it_and_is_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.pem");
    let settings = format!("endpoint = \"https://collector.example:4317\"\nclient_file = {file:?}");
    let said = read(&settings).unwrap_err().to_string();
    assert!(
        said.contains("otlp.client_file") && said.contains("cannot be read"),
        "{said}"
    );
    std::fs::write(&file, "").unwrap();
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode));
    mode(0o644).unwrap();
    let said = read(&settings).unwrap_err().to_string();
    assert!(said.contains("open to every user"), "{said}");
    mode(0o640).unwrap();
    let otlp = read(&settings).unwrap().otlp.unwrap();
    assert_eq!(otlp.client_file, Some(file));
}
