//! The keys about looking at VMs.

use std::time::Duration;

use super::{Fallback, Key, SECOND, key};
use crate::config::shape::Shape;

const PORT: Shape = Shape::Count {
    min: 1,
    max: 65_535,
};
const LIMIT: Shape = Shape::Duration {
    min: Duration::from_millis(10),
    max: Duration::from_secs(60),
};

pub(super) const PROBE: [Key; 9] = [
    key(
        "probe.networks",
        Shape::Networks,
        "[\"192.168.100.0/24\"]",
        "The networks in which VMs live. Nothing outside of them is ever contacted; the first address of the first one is \
         the bridge's.",
    ),
    key(
        "probe.agent_port",
        PORT,
        "8080",
        "The port of the agent in a browser VM.",
    ),
    key("probe.vnc_web_port", PORT, "6080", "The port of noVNC."),
    key(
        "probe.vnc_port",
        PORT,
        "5901",
        "The port of the VNC server.",
    ),
    Key {
        path: "probe.interval",
        shape: Shape::Duration {
            min: SECOND,
            max: Duration::from_secs(3_600),
        },
        default: Fallback::Absent {
            example: "\"30s\"",
            otherwise: "VMs are looked at only by `bootwatch probe`",
        },
        doc: "How often each browser VM is looked at.",
    },
    key(
        "probe.quick",
        Shape::Duration {
            min: Duration::from_millis(100),
            max: Duration::from_secs(60),
        },
        "\"2s\"",
        "How often a VM is looked at that boots, that was given up, or that does not answer; at most 90 times in a row.",
    ),
    key(
        "probe.connect_timeout",
        LIMIT,
        "\"4s\"",
        "How long a connection may take to be made. The kernel needs 3 s to find out that nobody has an address.",
    ),
    key(
        "probe.timeout",
        LIMIT,
        "\"5s\"",
        "How long one check may take as a whole.",
    ),
    key(
        "probe.controller",
        Shape::Address,
        "\"127.0.0.1:4000\"",
        "Where the controller answers. If it does not, and the bridge's address is not on this host, VMs are not looked at.",
    ),
];
