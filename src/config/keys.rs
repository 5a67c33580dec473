//! Every key there is. The one list: it feeds the check for unknown keys, the defaults, the example file and the
//! documentation. A kind of notifier adds its own keys with its row in [`super::notify::KINDS`].

mod boots;
mod conditions;
mod otlp;
mod probe;
mod synthetic;

use std::time::Duration;

use boots::{ALPHA, ALPHA_DOC, BURNS, ERRORS, HEADROOM, REFUSED, SLOW};
use conditions::CONDITIONS;
use otlp::OTLP;
use probe::PROBE;
use synthetic::SYNTHETIC;

use super::shape::Shape;

/// One key, or, in the list of a kind of notifier, one key behind `notify.<name>.`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) shape: Shape,
    pub(super) default: Fallback,
    /// What it means, in a sentence or two; not what its shape and default already say.
    pub(super) doc: &'static str,
}

/// What holds when a key is not written. Values are TOML.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fallback {
    Value(&'static str),
    /// Nothing; `otherwise` says what that means.
    Absent {
        example: &'static str,
        otherwise: &'static str,
    },
    /// A configuration needs it, or the key that its documentation names instead.
    Needed {
        example: &'static str,
    },
}

impl Key {
    pub(super) fn section(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
    }

    pub(super) fn name(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or(self.path, |(_, name)| name)
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const ENABLED: Fallback = Fallback::Value("true");
const POLL: Shape = Shape::Duration {
    min: Duration::from_millis(10),
    max: MINUTE,
};
/// Event windows: shorter ones hold too few boots to judge; an hour is what is counted.
const WINDOW: Shape = Shape::Duration {
    min: MINUTE,
    max: Duration::from_secs(3_600),
};
/// Less than a minute is a flood, more than a week is never.
const REPEAT: Shape = Shape::Duration {
    min: MINUTE,
    max: Duration::from_secs(7 * 86_400),
};
/// A week's report needs the week before, too.
const KEEP: Shape = Shape::Duration {
    min: Duration::from_secs(14 * 86_400),
    max: Duration::from_secs(3_650 * 86_400),
};
const fn key(path: &'static str, shape: Shape, default: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        shape,
        default: Fallback::Value(default),
        doc,
    }
}

/// In the order in which they are documented.
const LISTS: &[&[Key]] = &[
    SOURCES,
    &SYNTHETIC,
    IMAGE,
    &PROBE,
    BEFORE_RULES,
    &REFUSED,
    &ERRORS,
    &BURNS,
    &SLOW,
    &HEADROOM,
    &CONDITIONS,
    AFTER_RULES,
    &OTLP,
    END,
];

const COUNT: usize = {
    let (mut count, mut list) = (0, 0);
    while list < LISTS.len() {
        count += LISTS[list].len();
        list += 1;
    }
    count
};

pub(super) const KEYS: &[Key] = &{
    let mut keys = [SOURCES[0]; COUNT];
    let (mut next, mut list) = (0, 0);
    while list < LISTS.len() {
        let mut place = 0;
        while place < LISTS[list].len() {
            keys[next] = LISTS[list][place];
            next += 1;
            place += 1;
        }
        list += 1;
    }
    keys
};

const SOURCES: &[Key] = &[
    Key {
        path: "host.name",
        shape: Shape::Text,
        default: Fallback::Absent {
            example: "\"controller-1\"",
            otherwise: "this machine's host name",
        },
        doc: "The name of this controller host in alerts, metrics and reports. Two hosts of one name are one to a fleet.",
    },
    Key {
        path: "log.file",
        shape: Shape::Path,
        default: Fallback::Needed {
            example: "\"/var/log/polydev/master-controller.log\"",
        },
        doc: "The controller's log file; its rotated family beside it is found by name (into a container mount the folder, not the file). Either this or `log.journal`.",
    },
    Key {
        path: "log.journal",
        shape: Shape::Text,
        default: Fallback::Absent {
            example: "\"master-controller\"",
            otherwise: "`log.file` is followed",
        },
        doc: "The systemd unit whose journal is followed, for a controller that logs only there.",
    },
    key(
        "log.timezone",
        Shape::Zone,
        "\"auto\"",
        "The zone in which the controller writes its local times; `auto` learns it from the log (records that carry UTC, too), beginning with this machine's.",
    ),
    key(
        "log.follow.inotify",
        Shape::Flag,
        "true",
        "Wake at each write. Without it the log is polled, and pages come later by the poll's interval.",
    ),
    key(
        "log.follow.poll_active",
        POLL,
        "\"250ms\"",
        "How often the log is looked at while it is being written.",
    ),
    key(
        "log.follow.poll_idle",
        POLL,
        "\"1s\"",
        "How often the log is looked at once it has been silent for a while.",
    ),
    Key {
        path: "store.path",
        shape: Shape::Path,
        default: Fallback::Absent {
            example: "\"/var/lib/bootwatch/bootwatch.db\"",
            otherwise: "`bootwatch.db` in the service's `STATE_DIRECTORY`, else in `bootwatch` under the user's \
                        `XDG_STATE_HOME` (`~/.local/state`)",
        },
        doc: "The file that outlives a restart: a SQLite database on a local disk, with its log and lock beside it.",
    },
    key(
        "store.keep_boots",
        KEEP,
        "\"400d\"",
        "How long boots are remembered. Reports and pages about the past know no older ones.",
    ),
    key(
        "store.keep_incidents",
        KEEP,
        "\"800d\"",
        "How long incidents are remembered.",
    ),
    Key {
        path: "store.fleet.url",
        shape: Shape::Secret,
        default: Fallback::Absent {
            example: "\"/etc/bootwatch/fleet-url\"",
            otherwise: "history stays on this machine",
        },
        doc: "The PostgreSQL database to which boots and incidents are copied. Unless it is on this machine, its \
              certificate is verified, by a name that should have one address (see `database.tls`); `sslmode` and \
              `sslrootcert` in the URL say otherwise.",
    },
    Key {
        path: "database.url",
        shape: Shape::Secret,
        default: Fallback::Absent {
            example: "\"postgres://bootwatch:PASSWORD@db.example:5432/postgres\"",
            otherwise: "the database is not watched",
        },
        doc: "The controller's database, with a role that can only read; `bootwatch db grants` prints the SQL for one.",
    },
    key(
        "database.schema",
        Shape::Text,
        "\"public\"",
        "Where the controller's tables are, or the views of `bootwatch db grants` (then `bootwatch`).",
    ),
    key(
        "database.poll",
        Shape::Duration {
            min: SECOND,
            max: MINUTE,
        },
        "\"5s\"",
        "The least time between two looks; chance adds up to as much again.",
    ),
    key(
        "database.tls",
        Shape::Name(super::database::tls_names, "mode"),
        "\"verify\"",
        "`verify` checks the server's certificate and name (a server on loopback may do without TLS); `unverified` \
         encrypts to whoever answers; `off` sends everything in clear. Where the name is checked and has several addresses, \
         one that takes no connections and refuses none hides those behind it: use a name with one address.",
    ),
    Key {
        path: "database.ca_file",
        shape: Shape::Path,
        default: Fallback::Absent {
            example: "\"/etc/bootwatch/database-ca.pem\"",
            otherwise: "this machine's certificate authorities",
        },
        doc: "A further certificate authority, in PEM, that the server's certificate may be signed by.",
    },
    Key {
        path: "console.enabled",
        shape: Shape::Flag,
        default: ENABLED,
        doc: "Follow the guests' consoles while they boot: the controller removes them with the VM. Read permission is \
              enough; where the folder cannot be read, boots have no console evidence and all else goes on.",
    },
    key(
        "console.users_dir",
        Shape::Path,
        "\"/var/lib/firecracker/users\"",
        "The folder in which the controller makes a directory for each VM.",
    ),
    key(
        "console.archive_dir",
        Shape::Path,
        "\"/var/log/vm-debug-logs\"",
        "Where later controllers copy a console to before they remove it; read only for boots whose console was not \
         followed.",
    ),
];

const IMAGE: &[Key] = &[
    Key {
        path: "image.path",
        shape: Shape::Path,
        default: Fallback::Absent {
            example: "\"/var/lib/firecracker/snapshots/base/golden-browser-rootfs.ext4\"",
            otherwise: "no image is audited",
        },
        doc: "The golden image that browser VMs are cloned from. It is read, never mounted: read permission is enough.",
    },
    Key {
        path: "image.settings",
        shape: Shape::Path,
        default: Fallback::Absent {
            example: "\"/opt/master-controller/.env\"",
            otherwise: "browser VMs are taken to be cloned from `golden-browser-rootfs.ext4` beside the image",
        },
        doc: "The controller's file of settings; `GOLDEN_BROWSER_ROOTFS` in it says what browser VMs are cloned from.",
    },
    key(
        "image.agent_source",
        Shape::Path,
        "\"/opt/master-controller/vm-browser-agent\"",
        "The agent's source on this host, with which the image's agent is compared; it need not exist.",
    ),
    Key {
        path: "image.kernel",
        shape: Shape::Path,
        default: Fallback::Absent {
            example: "\"/var/lib/firecracker/snapshots/base/vmlinux\"",
            otherwise: "whether the image needs modules for its network stays unknown",
        },
        doc: "The guests' kernel.",
    },
    key(
        "image.quiet",
        Shape::Duration {
            min: SECOND,
            max: Duration::from_secs(3_600),
        },
        "\"1m\"",
        "A changed image is audited once nothing was written to it for this long: a build is not judged half-way.",
    ),
    Key {
        path: "image.clones",
        shape: Shape::Flag,
        default: ENABLED,
        doc: "Look into a fresh copy as well, `rootfs.ext4` in the VM's directory below `console.users_dir`, at most \
              every minute: what is put into copies may be lost. Read permission is enough; where there is none, the \
              golden image alone is audited.",
    },
];

const BEFORE_RULES: &[Key] = &[
    key(
        "web.listen",
        Shape::Address,
        "\"127.0.0.1:9644\"",
        "Where metrics, health and pages are served. Loopback, unless another address is written here.",
    ),
    Key {
        path: "web.external_url",
        shape: Shape::Url,
        default: Fallback::Absent {
            example: "\"https://bootwatch.example\"",
            otherwise: "no link to the incident",
        },
        doc: "Where people reach these pages, perhaps through a proxy: every message links to its incident there.",
    },
    Key {
        path: "web.token",
        shape: Shape::Secret,
        default: Fallback::Absent {
            example: "\"/etc/bootwatch/token\"",
            otherwise: "nobody can silence, acknowledge or start a maintenance",
        },
        doc: "Who shows it (`Authorization: Bearer`) may silence alerts, acknowledge incidents and start maintenance.",
    },
    Key {
        path: "web.config_file",
        shape: Shape::File,
        default: Fallback::Absent {
            example: "\"/etc/bootwatch/web.yml\"",
            otherwise: "pages and metrics are served in the clear, to everybody who reaches the address",
        },
        doc: "TLS, users, headers and a limit of requests, in the form of the web configuration of Prometheus' exporters \
              (pages.md says what of it is done). A relative path is beside this file. It is read anew when it changes, and \
              so are the certificate and key.",
    },
    key(
        "web.public",
        Shape::Flag,
        "false",
        "Show everybody `/public`, users or not: whether VMs boot, since when, and the last 30 days; no id, address, name or text.",
    ),
    key(
        "rules.BootFailureRate.enabled",
        Shape::Flag,
        "true",
        "Page when too many boots of one kind of VM fail.",
    ),
    key(
        "rules.BootFailureRate.objective",
        Shape::Share {
            min: 0.5,
            max: 0.9999,
        },
        "0.95",
        "The share of boots that should become ready.",
    ),
    key("rules.BootFailureRate.alpha", ALPHA, "0.001", ALPHA_DOC),
    key(
        "rules.BootFailureRate.window",
        WINDOW,
        "\"1h\"",
        "How far back boots count, in the time of the log.",
    ),
    key(
        "rules.BootFailureRate.last",
        Shape::Count { min: 3, max: 60 },
        "20",
        "Where the window holds fewer boots than this, so many last boots are judged instead.",
    ),
    key(
        "rules.BootFailureRate.consecutive",
        Shape::Count { min: 3, max: 60 },
        "3",
        "So many failed boots in a row page at once.",
    ),
];

const AFTER_RULES: &[Key] = &[
    key(
        "alerts.keep_firing",
        Shape::Duration {
            min: SECOND,
            max: Duration::from_secs(3_600),
        },
        "\"2m\"",
        "An alert whose condition has cleared is held this long, so that it does not flap.",
    ),
    key(
        "alerts.group_wait",
        Shape::Duration {
            min: SECOND,
            max: Duration::from_secs(3_600),
        },
        "\"30s\"",
        "Alerts that join an open incident within this time are told in one update. A first page never waits.",
    ),
    key(
        "alerts.repeat",
        REPEAT,
        "\"4h\"",
        "A page is told again so long after the last message that was delivered, while it still fires and nobody has acknowledged it.",
    ),
    key(
        "alerts.repeat_ticket",
        REPEAT,
        "\"24h\"",
        "The same of a ticket.",
    ),
    Key {
        path: "alerts.last_resort",
        shape: Shape::Path,
        default: Fallback::Absent {
            example: "\"/usr/local/bin/page-by-sms\"",
            otherwise: "only the journal is told, at level emerg",
        },
        doc: "A program that is started with a page on its standard input when every channel has failed for 5 minutes, or at once where none is configured. `BOOTWATCH_SEVERITY` in its environment says `page` or `ticket`.",
    },
    Key {
        path: "maintenance.windows",
        shape: Shape::Windows,
        default: Fallback::Absent {
            example: "[\"Sun 02:00-04:00 Europe/Berlin rebuild of the golden image\"]",
            otherwise: "maintenance is started by hand",
        },
        doc: "When maintenance is: days, local times, a time zone and why. Boots that touch one count neither for nor against.",
    },
    Key {
        path: "report.schedule",
        shape: Shape::Text,
        default: Fallback::Absent {
            example: "\"Mon 08:00\"",
            otherwise: "reports are made by hand (`bootwatch report`)",
        },
        doc: "When the report of the last week is made: a day (Mon to Sun) and a time in `timezone`. One that was missed is \
              made up for, the last one only.",
    },
    key(
        "report.timezone",
        Shape::Zone,
        "\"auto\"",
        "The zone in which the report's weeks and days begin.",
    ),
    Key {
        path: "report.channel",
        shape: Shape::Text,
        default: Fallback::Absent {
            example: "\"email\"",
            otherwise: "the report is kept, and mailed to nobody",
        },
        doc: "The notifier of type `email` whose recipients get the report, each once a week.",
    },
    key(
        "report.fleet",
        Shape::Flag,
        "false",
        "Make the scheduled report over all hosts of `store.fleet`, in the place of this host's own. On one sidecar of a fleet \
         alone: what each recipient got is noted in its store.",
    ),
    Key {
        path: "heartbeat.url",
        shape: Shape::Endpoint,
        default: Fallback::Absent {
            example: "\"https://heartbeats.example/ping/0123\"",
            otherwise: "no heartbeat is sent",
        },
        doc: "Where a POST is sent regularly as long as bootwatch is well: a service that tells when none comes any more. \
              A URL with a token belongs into `url_file`.",
    },
    key(
        "heartbeat.interval",
        Shape::Duration {
            min: SECOND,
            max: Duration::from_secs(3_600),
        },
        "\"1m\"",
        "How often it is sent. Whoever waits for it should allow two or three to be late.",
    ),
    key(
        "heartbeat.timeout",
        Shape::Duration {
            min: Duration::from_millis(100),
            max: MINUTE,
        },
        "\"5s\"",
        "How long one may take, from connecting to the answer.",
    ),
];

const END: &[Key] = &[
    key(
        "shutdown.deadline",
        Shape::Duration {
            min: SECOND,
            max: Duration::from_secs(300),
        },
        "\"10s\"",
        "How long an orderly end may take: pages and state are written out first.",
    ),
    Key {
        path: "links.runbook_base",
        shape: Shape::Url,
        default: Fallback::Absent {
            example: "\"https://wiki.example/runbooks\"",
            otherwise: "no runbook link",
        },
        doc: "Pages link to this URL with the rule's name behind it.",
    },
    Key {
        path: "links.dashboard",
        shape: Shape::Url,
        default: Fallback::Absent {
            example: "\"https://grafana.example/d/bootwatch\"",
            otherwise: "no dashboard link",
        },
        doc: "Pages link to this dashboard.",
    },
];

/// What each section is for, in the order in which it is documented.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("host", "Who is watched."),
    ("log", "Where the controller's log is."),
    ("log.follow", "How the log file is followed."),
    ("store", "What outlives a restart."),
    ("store.fleet", "Where history is copied to."),
    (
        "database",
        "The controller's database, which tells what exists.",
    ),
    (
        "console",
        "What the guests write to their consoles: evidence that goes with the VM.",
    ),
    ("synthetic", "Boots of bootwatch's own."),
    ("image", "The golden image, and what it is compared with."),
    ("probe", "Where VMs are, and how bootwatch looks at them."),
    ("web", "What is served."),
    (
        "rules.BootFailureRate",
        "The failure rate of boots, per kind of VM.",
    ),
    (
        "rules.ConnectionRefusedSpike",
        "Boots whose VM runs, but nothing listens.",
    ),
    (
        "rules.ConnectionErrorSpike",
        "Boots whose VM cannot be reached or does not answer.",
    ),
    (
        "rules.BootBudgetBurn",
        "How fast failures use up what the objective tolerates.",
    ),
    (
        "rules.BootStageSlow",
        "Stages that take longer than they did.",
    ),
    (
        "rules.ReadinessHeadroomLow",
        "Boots that are ready only just in time.",
    ),
    (
        "rules.SessionsIncomplete",
        "Sessions past their deadline without a VM.",
    ),
    ("rules.IpPoolLow", "The controller's pool of addresses."),
    ("rules.GhostVms", "VMs that exist only in the database."),
    (
        "rules.ControllerSilent",
        "The controller's log stands still.",
    ),
    (
        "rules.DatabaseUnreachable",
        "The controller's database is not seen.",
    ),
    ("rules.LogLagging", "The controller's log is not seen."),
    ("rules.StoreUnwritable", "bootwatch's own store."),
    ("rules.NotifierFailing", "Channels that do not deliver."),
    (
        "rules.RecordsUnparsed",
        "A log that bootwatch does not understand.",
    ),
    ("rules.SyntheticFailing", "Trial boots that fail."),
    ("rules.BootsUntold", "Boots whose end nobody told."),
    ("rules.LogClockWrong", "A log in the wrong time."),
    (
        "rules.GoldenImageBroken",
        "A golden image that lacks something.",
    ),
    (
        "alerts",
        "When alerts end, and when messages about them are sent.",
    ),
    ("maintenance", "When boots do not count."),
    ("report", "The weekly reliability report."),
    (
        "heartbeat",
        "The sign of life, whose absence tells that nobody watches.",
    ),
    ("otlp", "Traces and metrics for an OpenTelemetry collector."),
    ("shutdown", "How bootwatch ends."),
    ("links", "What pages link to."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_section_that_is_explained() {
        let mut sections: Vec<&str> = KEYS.iter().map(Key::section).collect();
        sections.dedup();
        let explained: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            sections, explained,
            "the same order, and no section in two pieces"
        );
    }

    #[test]
    fn every_default_and_example_passes_its_own_check() {
        let kinds = super::super::notify::KINDS
            .iter()
            .flat_map(|kind| kind.keys);
        for key in KEYS.iter().chain(kinds) {
            let literal = match key.default {
                Fallback::Value(literal) => literal,
                Fallback::Absent { example, .. } | Fallback::Needed { example } => example,
            };
            let value = super::super::document::literal(literal);
            assert!(key.shape.check(&value).is_ok(), "{}: {literal}", key.path);
        }
    }
}
