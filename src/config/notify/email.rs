//! `type = "email"`: a mail, handed to an SMTP server.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use lettre::message::Mailbox;

use super::super::document::Settings;
use super::super::keys::{Fallback, Key};
use super::super::problem::Problems;
use super::super::secret::Secret;
use super::super::shape::Shape;
use super::{Channel, Kind, TIMEOUT};

const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;

#[derive(Clone, Debug, PartialEq)]
pub struct Email {
    pub server: String,
    pub port: u16,
    pub security: Security,
    /// Name and password.
    pub login: Option<(String, Secret)>,
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    /// A PEM file of certificates that are trusted beside the machine's own.
    pub ca_file: Option<PathBuf>,
    pub timeout: Duration,
}

/// How the way to the server is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// In clear until STARTTLS, which the server must offer.
    StartTls,
    /// From the first byte.
    Tls,
    /// In clear.
    None,
}

const SECURITIES: &[(&str, Security)] = &[
    ("starttls", Security::StartTls),
    ("tls", Security::Tls),
    ("none", Security::None),
];

fn security_names() -> Vec<&'static str> {
    SECURITIES.iter().map(|(name, _)| *name).collect()
}

pub(super) const KIND: Kind = Kind {
    name: "email",
    keys: &[
        Key {
            path: "server",
            shape: Shape::Text,
            default: Fallback::Needed {
                example: "\"smtp.example.org\"",
            },
            doc: "The SMTP server that takes the mails; its certificate must be for this name.",
        },
        Key {
            path: "port",
            shape: Shape::Count {
                min: 1,
                max: 65_535,
            },
            default: Fallback::Absent {
                example: "587",
                otherwise: "587; 465 with `security = \"tls\"`",
            },
            doc: "Its port.",
        },
        Key {
            path: "security",
            shape: Shape::Name(security_names, "security mode"),
            default: Fallback::Value("\"starttls\""),
            doc: "`starttls` asks for it and sends nothing without it, `tls` speaks TLS from the first byte, `none` sends in clear, which is for this machine's own server.",
        },
        Key {
            path: "allow_plain",
            shape: Shape::Flag,
            default: Fallback::Value("false"),
            doc: "Lets `security = \"none\"` leave this machine. Nobody can then rely on what a mail says, nor that it stays private.",
        },
        Key {
            path: "username",
            shape: Shape::Text,
            default: Fallback::Absent {
                example: "\"bootwatch\"",
                otherwise: "mails are handed over without a login",
            },
            doc: "Who logs in at the server.",
        },
        Key {
            path: "password",
            shape: Shape::Secret,
            default: Fallback::Absent {
                example: "\"0123\"",
                otherwise: "mails are handed over without a login",
            },
            doc: "The password that belongs to `username`.",
        },
        Key {
            path: "from",
            shape: Shape::Mailbox,
            default: Fallback::Needed {
                example: "\"bootwatch <bootwatch@example.org>\"",
            },
            doc: "Who sends; answers and what cannot be delivered go there.",
        },
        Key {
            path: "to",
            shape: Shape::Mailboxes,
            default: Fallback::Needed {
                example: "[\"oncall@example.org\"]",
            },
            doc: "Who is told.",
        },
        Key {
            path: "ca_file",
            shape: Shape::Path,
            default: Fallback::Absent {
                example: "\"/etc/ssl/certs/mail.pem\"",
                otherwise: "the machine's certificates are trusted",
            },
            doc: "PEM certificates that are trusted beside the machine's own.",
        },
        Key {
            doc: "How long one try may take until the mail has been handed over whole. The answer to it may take eight times \
                  as long: a mail that a server still looks into would arrive again at each try.",
            ..TIMEOUT
        },
    ],
    check,
    read,
};

fn check(settings: &Settings, section: &str, problems: &mut Problems) {
    let key = |name: &str| format!("{section}.{name}");
    let sound = |name: &str| settings.is_sound(&key(name));
    let is = |name: &str| settings.is_written(&key(name));
    let has_password = is("password") || is("password_file");
    if is("username") != has_password {
        let missing = if has_password {
            "username = \"bootwatch\""
        } else {
            "password_file = \"/path/to/it\""
        };
        problems.add(
            section,
            format!("a login has a name and a password; write {missing}"),
        );
    }
    if is("password") && is("password_file") {
        problems.add(section, "both password and password_file are set; keep one");
    }
    if !["server", "security", "allow_plain"].into_iter().all(sound) || !is("server") {
        return;
    }
    let server: String = settings.read(&key("server"));
    if let Some((name, port)) = more_than_a_name(&server) {
        let port = port.map_or_else(String::new, |port| format!(" and port = {port}"));
        problems.add(
            key("server"),
            // Without what is written: a URL may hold a password.
            format!("this is more than a server's name; write server = {name:?}{port}"),
        );
        return;
    }
    if security(settings, section) != Security::None || is_loopback(&server) {
        return;
    }
    if !settings.read::<bool>(&key("allow_plain")) {
        problems.add(
            key("security"),
            format!("\"none\" would send mails in clear to {server:?}; write \"starttls\" or \"tls\" (or allow_plain = true)"),
        );
    }
    if has_password {
        problems.add(
            key("security"),
            format!("\"none\" would send the password in clear to {server:?}; write \"starttls\" or \"tls\""),
        );
    }
}

/// The name in a URL or before a port, and that port: none of it would ever be found.
fn more_than_a_name(server: &str) -> Option<(String, Option<u16>)> {
    if server.parse::<IpAddr>().is_ok() || !server.contains(['/', ':']) {
        return None;
    }
    let uri: Result<Uri, _> = match server.contains("://") {
        true => server.parse(),
        false => format!("smtp://{server}").parse(),
    };
    let uri = uri.ok()?;
    let name = uri.host()?.trim_matches(['[', ']']);
    (!name.is_empty()).then(|| (name.to_owned(), uri.port_u16()))
}

fn is_loopback(server: &str) -> bool {
    server == "localhost"
        || server
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

fn security(settings: &Settings, section: &str) -> Security {
    let written: String = settings.read(&format!("{section}.security"));
    SECURITIES
        .iter()
        .find(|(name, _)| *name == written)
        .map(|(_, security)| *security)
        .expect("the name was checked against this list")
}

fn read(settings: &Settings, section: &str) -> Channel {
    let key = |name: &str| format!("{section}.{name}");
    let security = security(settings, section);
    let usual = match security {
        Security::Tls => SUBMISSIONS,
        Security::StartTls | Security::None => SUBMISSION,
    };
    let port: Option<u64> = settings.maybe(&key("port"));
    let name: Option<String> = settings.maybe(&key("username"));
    let from: Box<Mailbox> = settings.read(&key("from"));
    Channel::Email(Box::new(Email {
        server: settings.read(&key("server")),
        port: port
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(usual),
        security,
        login: name.zip(settings.maybe(&key("password"))),
        from: *from,
        to: settings.read(&key("to")),
        ca_file: settings.maybe(&key("ca_file")),
        timeout: settings.read(&key("timeout")),
    }))
}
