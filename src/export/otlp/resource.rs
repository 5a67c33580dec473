//! Who sends: the identity under which a backend keeps the series.

use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// What every request says of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `service.instance.id`: the same over restarts and upgrades of one install.
    pub instance: String,
    /// `host.name`: the controller host's, as everywhere else.
    pub host: String,
    /// `deployment.environment.name`.
    pub environment: Option<String>,
}

impl Resource {
    pub(super) fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = vec![
            ("service.name", "bootwatch".to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", self.instance.clone()),
            ("host.name", self.host.clone()),
        ];
        if let Some(environment) = &self.environment {
            attributes.push(("deployment.environment.name", environment.clone()));
        }
        attributes
    }
}

/// An install is a store on a machine. A UUID of version 5 in the namespace that OpenTelemetry gives for this, so that
/// nothing has to be kept: of the machine's own id, where it has one, else of the host's name.
#[must_use]
pub fn instance_id(machine: Option<&str>, host: &str, store: &Path) -> String {
    const NAMESPACE: u128 = 0x4d63_009a_8d0f_11ee_aad7_4c79_6ed8_e320;
    let mut sha = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    sha.update(&NAMESPACE.to_be_bytes());
    sha.update(machine.unwrap_or(host).trim().as_bytes());
    sha.update(b"\0");
    sha.update(store.as_os_str().as_encoded_bytes());
    let hash = sha.finish();
    let mut bytes = [0; 16];
    for (byte, hashed) in bytes.iter_mut().zip(hash.as_ref()) {
        *byte = *hashed;
    }
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts =
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_install_keeps_its_id_and_two_have_two() {
        let id = |machine, host, store: &str| instance_id(machine, host, Path::new(store));
        let one = id(Some("0123\n"), "host-1", "/var/lib/bootwatch/bootwatch.db");
        let again = id(Some("0123"), "renamed", "/var/lib/bootwatch/bootwatch.db");
        assert_eq!(one, again);
        assert_ne!(one, id(Some("0123"), "host-1", "/other.db"));
        assert_ne!(
            one,
            id(Some("4567"), "host-1", "/var/lib/bootwatch/bootwatch.db")
        );
        let nameless = id(None, "host-1", "/x");
        assert_eq!(nameless, id(None, "host-1", "/x"));
        assert_ne!(nameless, id(None, "host-2", "/x"));
    }

    #[test]
    fn the_id_is_a_uuid_of_version_5() {
        let id = instance_id(Some("m"), "h", Path::new("/s"));
        assert_eq!(id.len(), 36);
        let bits = crate::core::event::parse_uuid(id.as_bytes()).unwrap();
        assert_eq!(bits >> 76 & 0xf, 5);
        assert_eq!(bits >> 62 & 0x3, 2);
    }
}
