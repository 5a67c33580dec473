//! The keys of the rules about what holds now: each is on or off, has one limit, and a time for which it must hold
//! where the limit itself is no time.

use std::time::Duration;

use super::{ENABLED, Key, SECOND, key};
use crate::config::shape::Shape;

/// How long a condition may hold before it is told.
const HOLDS: Shape = Shape::Duration {
    min: SECOND,
    max: Duration::from_secs(24 * 3_600),
};
const FOR: Shape = Shape::Duration {
    min: Duration::ZERO,
    max: Duration::from_secs(24 * 3_600),
};
const FOR_DOC: &str = "How long that must hold.";

const fn on(path: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        shape: Shape::Flag,
        default: ENABLED,
        doc,
    }
}

const fn waits(path: &'static str, default: &'static str) -> Key {
    key(path, FOR, default, FOR_DOC)
}

pub(in crate::config) const CONDITIONS: [Key; 29] = [
    on(
        "rules.SessionsIncomplete.enabled",
        "Tell of sessions that are past their deadline and have no VM. Needs the controller's database.",
    ),
    key(
        "rules.SessionsIncomplete.sessions",
        Shape::Count {
            min: 1,
            max: 10_000,
        },
        "1",
        "So many such sessions at once.",
    ),
    waits("rules.SessionsIncomplete.for", "\"2m\""),
    on(
        "rules.IpPoolLow.enabled",
        "Tell when the controller's pool of addresses runs out. Needs the controller's database.",
    ),
    key(
        "rules.IpPoolLow.free",
        Shape::Count { min: 0, max: 200 },
        "25",
        "So few addresses are free, of 253.",
    ),
    waits("rules.IpPoolLow.for", "\"1m\""),
    on(
        "rules.GhostVms.enabled",
        "Tell when the database calls VMs running that have no process. Needs the controller's database.",
    ),
    key(
        "rules.GhostVms.vms",
        Shape::Count { min: 1, max: 253 },
        "5",
        "So many such VMs at once.",
    ),
    waits("rules.GhostVms.for", "\"5m\""),
    on(
        "rules.ControllerSilent.enabled",
        "Page when the controller writes nothing to its log.",
    ),
    key(
        "rules.ControllerSilent.silence",
        HOLDS,
        "\"11m\"",
        "So long without a record. An idle controller writes every 5 minutes, when it looks for VMs to hibernate; the \
         default allows one such look to be missed.",
    ),
    on(
        "rules.DatabaseUnreachable.enabled",
        "Tell when the controller's database, where one is watched, does not answer.",
    ),
    key(
        "rules.DatabaseUnreachable.after",
        HOLDS,
        "\"1m\"",
        "So long without an answer.",
    ),
    on(
        "rules.LogLagging.enabled",
        "Page when the controller's log cannot be read, or is read too slowly.",
    ),
    key(
        "rules.LogLagging.after",
        HOLDS,
        "\"1m\"",
        "So long unreadable, or without having been read to its end.",
    ),
    on(
        "rules.StoreUnwritable.enabled",
        "Tell when bootwatch cannot write its store.",
    ),
    key(
        "rules.StoreUnwritable.after",
        HOLDS,
        "\"1m\"",
        "So long without a commit.",
    ),
    on(
        "rules.NotifierFailing.enabled",
        "Tell on the other channels when one refuses bootwatch, or a message to it was given up.",
    ),
    waits("rules.NotifierFailing.for", "\"1m\""),
    on(
        "rules.RecordsUnparsed.enabled",
        "Tell when many log records that matter cannot be read: the controller's lines have changed.",
    ),
    key(
        "rules.RecordsUnparsed.share",
        Shape::Share {
            min: 0.0001,
            max: 0.5,
        },
        "0.01",
        "The share of records, over ten minutes; at least 20 must be unreadable.",
    ),
    waits("rules.RecordsUnparsed.for", "\"5m\""),
    on(
        "rules.SyntheticFailing.enabled",
        "Page when synthetic boots fail several times in a row.",
    ),
    key(
        "rules.SyntheticFailing.runs",
        Shape::Count { min: 1, max: 16 },
        "2",
        "So many in a row. Two that pass in a row end it.",
    ),
    on(
        "rules.BootsUntold.enabled",
        "Tell when the log does not tell how boots end: they count neither for nor against.",
    ),
    key(
        "rules.BootsUntold.boots",
        Shape::Count { min: 2, max: 20 },
        "3",
        "So many of the last 20.",
    ),
    on(
        "rules.LogClockWrong.enabled",
        "Tell when the log's times are not this machine's: a wrong zone, or a wrong clock.",
    ),
    key(
        "rules.LogClockWrong.offset",
        HOLDS,
        "\"2m\"",
        "So far off, 20 times in a row that records came.",
    ),
    on(
        "rules.GoldenImageBroken.enabled",
        "Tell when the golden image lacks what a browser VM needs; page where recent boots show that no agent is put into \
         each copy. Needs image.path.",
    ),
];
