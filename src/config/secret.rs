//! Values that must not be seen: they print as `***` and come from the environment or from a file of their own.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::Uri;

const SHOWN: &str = "***";

/// A password, token or key. Neither `Debug` nor `Display` shows it; [`Secret::expose`] is the one way to it, and
/// is called where the value leaves for its destination.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    /// Where it was read; it may be another one there by now.
    file: Option<Box<Path>>,
}

impl Secret {
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            file: None,
        }
    }

    pub(super) fn kept_in(self, path: PathBuf) -> Self {
        Self {
            file: Some(path.into()),
            ..self
        }
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// What its file holds now, if that is another secret.
    pub(super) fn renewed(&self) -> Result<Option<Secret>, String> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        let value = read(path)?;
        let renewed = Secret::new(value).kept_in(path.to_path_buf());
        Ok((renewed != *self).then_some(renewed))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

/// Where something is sent. Receivers put tokens into the path, so only scheme and host are shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    /// Where it was read; it may be another one there by now.
    file: Option<Box<Path>>,
}

impl Endpoint {
    /// An absolute http or https URL.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        (matches!(uri.scheme_str(), Some("http" | "https")) && has_host)
            .then_some(Self { uri, file: None })
    }

    pub(super) fn kept_in(self, path: PathBuf) -> Self {
        Self {
            file: Some(path.into()),
            ..self
        }
    }

    /// What its file holds now, if that is another URL.
    pub(super) fn renewed(&self) -> Result<Option<Endpoint>, String> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        let renewed = Endpoint::parse(&read(path)?)
            .ok_or_else(|| format!("{} holds no http or https URL", quoted(path)))?
            .kept_in(path.to_path_buf());
        Ok((renewed != *self).then_some(renewed))
    }

    #[must_use]
    pub fn expose(&self) -> &Uri {
        &self.uri
    }

    /// The host and the port that are connected to.
    #[must_use]
    pub fn place(&self) -> (String, u16) {
        let host = self.uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let usual = match self.uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        };
        (host.to_owned(), self.uri.port_u16().unwrap_or(usual))
    }

    /// Does it carry a user name or password before the host?
    pub(super) fn has_credentials(&self) -> bool {
        self.uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}", self.uri.host().unwrap_or_default())?;
        if let Some(port) = self.uri.port_u16() {
            write!(f, ":{port}")?;
        }
        write!(f, "/{SHOWN}")
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a secret's file is: as written if absolute, else a systemd credential of that name, else beside the
/// configuration file.
pub(super) fn locate(written: &str, credentials: Option<&Path>, beside: &Path) -> PathBuf {
    let written = Path::new(written);
    match credentials.map(|directory| directory.join(written)) {
        Some(credential) if !written.is_absolute() && credential.is_file() => credential,
        _ => beside.join(written),
    }
}

fn unread(path: &Path, error: &std::io::Error) -> String {
    format!(
        "{} cannot be read: {error}; correct the path or the permissions",
        quoted(path)
    )
}

/// A file with a secret in it is there, and not for everybody.
pub(super) fn closed(path: &Path) -> Result<(), String> {
    let facts = std::fs::metadata(path).map_err(|error| unread(path, &error))?;
    let mode = facts.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(format!(
            "{} is open to every user (mode {mode:04o}); run chmod o= {}",
            quoted(path),
            path.display()
        ));
    }
    Ok(())
}

/// The one line that a secret's file holds, or what is wrong with the file. The message never holds the secret.
pub(super) fn read(path: &Path) -> Result<String, String> {
    closed(path)?;
    let text = std::fs::read_to_string(path).map_err(|error| unread(path, &error))?;
    let secret = text.trim_end_matches(['\n', '\r']);
    match secret.lines().count() {
        0 => Err(format!(
            "{} is empty; write the secret into it",
            quoted(path)
        )),
        1 => Ok(secret.to_owned()),
        count => Err(format!(
            "{} holds {count} lines; a secret is one line",
            quoted(path)
        )),
    }
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "*** *** Some(***)"
        );
        let endpoint =
            Endpoint::parse("https://me:hunter2@pager.example:8443/v1/hunter2?key=hunter2")
                .unwrap();
        assert_eq!(
            format!("{endpoint} {endpoint:?}"),
            "https://pager.example:8443/*** https://pager.example:8443/***"
        );
    }

    #[test]
    fn only_absolute_http_urls_are_endpoints() {
        for text in [
            "",
            "pager.example",
            "/hook",
            "ftp://pager.example/x",
            "https://",
            "http:///x",
            "a b",
        ] {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
        assert!(Endpoint::parse("http://127.0.0.1:9093/hook").is_some());
    }

    #[test]
    fn a_file_that_every_user_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "hunter2\n").unwrap();
        for (mode, allowed) in [
            (0o600, true),
            (0o640, true),
            (0o400, true),
            (0o644, false),
            (0o602, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), allowed, "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let shown = path.display();
        assert_eq!(
            read(&path).unwrap_err(),
            format!("\"{shown}\" is open to every user (mode 0644); run chmod o= {shown}")
        );
    }

    #[test]
    fn a_secret_is_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let with = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            read(&path)
                .map_err(|message| message.rsplit("\" ").next().unwrap_or_default().to_owned())
        };
        assert_eq!(with("hunter2\r\n"), Ok("hunter2".to_owned()));
        assert_eq!(with(" spaces stay "), Ok(" spaces stay ".to_owned()));
        assert_eq!(
            with("\n"),
            Err("is empty; write the secret into it".to_owned())
        );
        assert_eq!(
            with("a\nb\n"),
            Err("holds 2 lines; a secret is one line".to_owned())
        );
    }

    #[test]
    fn a_secret_is_renewed_by_its_file_alone_and_only_by_another_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let write = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("hunter2\n");
        let secret = Secret::new("hunter2");
        assert_eq!(secret.renewed(), Ok(None), "it has no file");
        let secret = secret.kept_in(path.clone());
        assert_eq!(secret.renewed(), Ok(None), "it is the same");
        write("");
        assert!(secret.renewed().is_err());
        write("hunter3\n");
        let renewed = secret.renewed().unwrap().unwrap();
        assert_eq!(renewed.expose(), "hunter3");
        assert_eq!(renewed.renewed(), Ok(None));
    }

    #[test]
    fn a_url_is_renewed_by_its_file_alone_and_only_by_another_url() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("url");
        let write = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("https://pager.example/hunter2\n");
        let url = Endpoint::parse("https://pager.example/hunter2").unwrap();
        assert_eq!(url.renewed(), Ok(None), "it has no file");
        let url = url.kept_in(path.clone());
        assert_eq!(url.renewed(), Ok(None), "it is the same");
        write("hunter3");
        let wrong = url.renewed().unwrap_err();
        assert!(wrong.ends_with("holds no http or https URL"), "{wrong}");
        write("https://pager.example/hunter3\n");
        let renewed = url.renewed().unwrap().unwrap();
        assert_eq!(renewed.expose().path(), "/hunter3");
        assert_eq!(renewed.renewed(), Ok(None));
    }

    #[test]
    fn a_relative_name_is_a_credential_first_and_a_neighbour_else() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("url"), "x").unwrap();
        let credentials = Some(directory.path());
        let beside = Path::new("/etc/bootwatch");
        assert_eq!(
            locate("url", credentials, beside),
            directory.path().join("url")
        );
        assert_eq!(
            locate("other", credentials, beside),
            Path::new("/etc/bootwatch/other")
        );
        assert_eq!(
            locate("/run/url", credentials, beside),
            Path::new("/run/url")
        );
    }
}
