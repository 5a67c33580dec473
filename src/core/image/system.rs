//! The file system as a whole, and which of several images is meant.

use super::facts::{Desk, Look, Seen, Stamp, Trouble};
use super::table::says;
use super::{Check, Finding, Verdict};

pub(super) fn filesystem(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Filesystem;
    let path = desk
        .facts
        .host
        .image
        .as_ref()
        .map_or("/", |image| image.path.as_str());
    let (disk, size) = (&desk.facts.disk, desk.facts.generation.size);
    if disk.bytes > size {
        let reason = format!(
            "the file system is {} bytes long, but the file only {size}: cut short, or still being copied",
            disk.bytes
        );
        return says(CHECK, Verdict::Fail, path, reason);
    }
    if disk.needs_recovery {
        let reason = "mounted at the moment, or not unmounted cleanly: its journal holds changes that are not in place; \
                      unmount it, or run e2fsck -p";
        return says(CHECK, Verdict::Unknown, path, reason);
    }
    let mut troubles: Vec<(&Look, &Trouble)> = Vec::new();
    for (look, seen) in &desk.facts.seen {
        if let Seen::Unreadable(trouble) = seen {
            troubles.push((look, trouble));
        }
    }
    // Damage is worse than what is only not read here.
    troubles.sort_by_key(|(_, trouble)| !trouble.is_damage);
    if let Some((look, Trouble { why, is_damage })) = troubles.first() {
        let (verdict, reason) = match is_damage {
            true => (
                Verdict::Fail,
                format!("{why}; e2fsck -n says what is damaged"),
            ),
            false => (Verdict::Unknown, format!("cannot be read: {why}")),
        };
        return says(CHECK, verdict, look.path.as_str(), reason);
    }
    if disk.has_errors {
        let reason = "Linux found errors in this file system and wrote so; run e2fsck -n";
        return says(CHECK, Verdict::Warn, path, reason);
    }
    says(CHECK, Verdict::Pass, path, "clean")
}

pub(super) fn cloned_from(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::ClonedFrom;
    let host = &desk.facts.host;
    let Some(image) = &host.image else {
        return says(
            CHECK,
            Verdict::Unknown,
            "/",
            "where the image lies is not known",
        );
    };
    if let Some(missing) = &host.cloned_missing {
        let reason =
            format!("the controller clones browser VMs from {missing}, which is not there");
        return says(CHECK, Verdict::Fail, missing.as_str(), reason);
    }
    if let Some(cloned) = &host.cloned
        && !cloned.is_same(image)
    {
        let reason = format!(
            "browser VMs are cloned from {}, another file: what is here changes nothing for them",
            cloned.path
        );
        return says(CHECK, Verdict::Warn, image.path.as_str(), reason);
    }
    let newer = |built: &&Stamp| !built.is_same(image) && built.modified_at > image.modified_at;
    if let Some(built) = host.built.iter().find(newer) {
        let reason = format!(
            "a build wrote {} {} later; browser VMs are still cloned from this older file",
            built.path,
            spoken(built.modified_at.since(image.modified_at))
        );
        return says(CHECK, Verdict::Warn, image.path.as_str(), reason);
    }
    if host.cloned.is_none() && host.built.is_empty() {
        let reason =
            "no other image lies beside it, and what browser VMs are cloned from is not configured";
        return says(CHECK, Verdict::Unknown, image.path.as_str(), reason);
    }
    let reason = match host.built.iter().any(|built| built.is_same(image)) {
        true => "what builds write is this file",
        false => "no build wrote a newer one",
    };
    says(CHECK, Verdict::Pass, image.path.as_str(), reason)
}

/// `3 h`, `12 min`, `40 s`.
fn spoken(ms: i64) -> String {
    match ms / 1_000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
