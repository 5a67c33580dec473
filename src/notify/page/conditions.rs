//! The words for what holds now: one sentence, what it means for who is on call, and what to look at first.

use super::figures::length;
use crate::core::condition::{Condition, Level};
use crate::core::digits::grouped;
use crate::core::rule::RuleName;

/// What is wrong, with its figures where they say more than its name; `since` follows.
pub(super) fn title(condition: Condition, level: Option<&Level>) -> String {
    let count = level.map(|level| (level.value, level.of));
    match (condition, count) {
        (Condition::SessionsIncomplete, Some((sessions, _))) => {
            let (noun, verb) = counted(sessions, "session is", "sessions are");
            format!("{noun} {verb} past the deadline without a VM")
        }
        (Condition::IpPoolLow, Some((free, Some(of)))) => {
            let (free, of) = (grouped(free), grouped(of));
            format!("only {free} of {of} addresses are left in the controller's pool")
        }
        (Condition::GhostVms, Some((ghosts, _))) => {
            let (noun, verb) = counted(ghosts, "VM has", "VMs have");
            format!("{noun} {verb} no process, and the database calls them running")
        }
        (Condition::NotifierFailing, Some((failing, Some(of)))) => {
            let verb = if failing == 1 { "does" } else { "do" };
            format!("{failing} of {of} notifiers {verb} not deliver")
        }
        (Condition::RecordsUnparsed, Some((unparsed, Some(of)))) if unparsed == of => {
            let of = grouped(of);
            format!("bootwatch understands none of the log's last {of} records")
        }
        (Condition::RecordsUnparsed, Some((unparsed, Some(of)))) => {
            let (unparsed, of) = (grouped(unparsed), grouped(of));
            format!("{unparsed} of {of} log records that matter cannot be read")
        }
        (Condition::BootsUntold, Some((untold, Some(of)))) => {
            let (untold, of) = (grouped(untold), grouped(of));
            format!("the log does not tell how {untold} of the last {of} boots ended")
        }
        (Condition::SyntheticFailing, Some((failed, _))) => match failed {
            0 | 1 => "bootwatch's own trial boots fail".to_owned(),
            failed => format!("the last {failed} trial boots of bootwatch itself failed"),
        },
        (Condition::GoldenImageBroken, _) => {
            "browser boots fail: the golden image lacks what a VM needs".to_owned()
        }
        _ => condition.meaning().to_owned(),
    }
}

fn counted(number: u64, one: &str, many: &str) -> (String, String) {
    let words = if number == 1 { one } else { many };
    let (noun, verb) = words.split_once(' ').unwrap_or((words, ""));
    (format!("{} {noun}", grouped(number)), verb.to_owned())
}

/// What it means while it lasts.
pub(super) fn consequence(condition: Condition) -> &'static str {
    match condition {
        Condition::SessionsIncomplete => {
            "Users wait for VMs that will not come; their boots may have left no other trace."
        }
        Condition::IpPoolLow => "When none is left, no VM can be made at all.",
        Condition::GhostVms => "Each keeps an address of the pool, and its user a VM that is gone.",
        Condition::ControllerSilent => {
            "A controller that runs writes at least every 5 minutes, even when idle. Whether boots succeed cannot be \
             told meanwhile."
        }
        Condition::DatabaseUnreachable => {
            "Boots are judged by the log as before; what only the rows tell (sessions, addresses, ghosts) is not known \
             meanwhile. The controller itself cannot make a VM without its database."
        }
        Condition::DatabaseRefuses | Condition::DatabaseBlind | Condition::DatabaseBehind => {
            "Boots are judged by the log as before; what only the rows tell (sessions, addresses, ghosts) is not known \
             meanwhile."
        }
        Condition::LogUnreadable => {
            "Boots cannot be judged meanwhile: no page about them will come, and none will resolve."
        }
        Condition::LogLagging => "What happens now is judged late, and pages come late.",
        Condition::StoreUnwritable => {
            "Alerts go on from memory and messages are sent; what happens meanwhile would be lost by a restart."
        }
        Condition::NotifierFailing => {
            "Who relies on it is told nothing. This message was sent on every other channel."
        }
        Condition::RecordsUnparsed => {
            "Boots may be missing or judged wrongly; the controller's lines may have changed."
        }
        Condition::BootsUntold => {
            "They count neither as ready nor as failed: an outage could look like this and page nobody."
        }
        Condition::LogClockWrong => {
            "Boots are judged in the log's own time, so pages still come; but times in pages and reports are wrong, and \
             the log cannot be laid beside anything else."
        }
        Condition::SyntheticFailing => {
            "They ask for a browser VM as a user does: the next user may get none. It pages early on purpose, at quiet \
             hours before anybody has met it."
        }
        Condition::GoldenImageBroken => {
            "Recent boots show that no agent is put into each copy, so that each browser VM copied from this image fails. \
             CLI VMs are copied from another one."
        }
        Condition::GoldenImageSuspect => {
            "Whether it decides is not known: recent boots do not show whether an agent is put into each copy, or they \
             show one."
        }
    }
}

/// The figure of one alert, with the limit that it is beyond.
pub(super) fn figure(rule: RuleName, level: &Level) -> String {
    let Level { value, of, limit } = *level;
    let of = of.map_or_else(String::new, |of| format!(" of {}", grouped(of)));
    let (so_many, most) = (grouped(value), grouped(limit));
    let time = |ms: u64| length(i64::try_from(ms).unwrap_or(i64::MAX));
    match rule {
        RuleName::SessionsIncomplete => {
            format!("{so_many}{of} sessions without a VM (limit {most})")
        }
        RuleName::IpPoolLow => format!("{so_many}{of} addresses free (limit {most})"),
        RuleName::GhostVms => format!("{so_many}{of} VMs without a process (limit {most})"),
        RuleName::NotifierFailing => {
            let verb = if value == 1 { "does" } else { "do" };
            format!("{so_many}{of} notifiers {verb} not deliver (limit {most})")
        }
        RuleName::RecordsUnparsed => format!("{so_many}{of} records unread (limit {most})"),
        RuleName::ControllerSilent => {
            format!("{} without a record (limit {})", time(value), time(limit))
        }
        RuleName::DatabaseUnreachable => {
            format!(
                "{} without sight of the rows (limit {})",
                time(value),
                time(limit)
            )
        }
        RuleName::LogLagging => format!("{} behind (limit {})", time(value), time(limit)),
        RuleName::StoreUnwritable => {
            format!("{} without a commit (limit {})", time(value), time(limit))
        }
        RuleName::GoldenImageBroken | RuleName::GoldenImageBrokenTicket => match value {
            1 => "1 fault in the golden image".to_owned(),
            faults => format!("{faults} faults in the golden image"),
        },
        RuleName::BootsUntold => {
            format!("{so_many}{of} boots without an end (limit {most})")
        }
        RuleName::LogClockWrong => format!("{} off (limit {})", time(value), time(limit)),
        RuleName::SyntheticFailing => {
            format!("{so_many} synthetic boots failed in a row (limit {most})")
        }
        _ => format!("{so_many}{of} (limit {most})"),
    }
}

pub(super) fn first_step(condition: Condition) -> &'static str {
    match condition {
        Condition::SessionsIncomplete => {
            "look for the sessions' ids in the controller's log: did it fail before it began a VM, or was it restarted?"
        }
        Condition::IpPoolLow => {
            "compare the VMs that the database calls running with the Firecracker processes on the host: if ghosts hold \
             the addresses, free their rows; if not, VMs are not destroyed in time."
        }
        Condition::GhostVms => {
            "list the Firecracker processes on the host and compare them with the named rows; find in the log who ended \
             the VMs (clean-up, crash, restart), then mark their rows destroyed."
        }
        Condition::ControllerSilent => {
            "is the controller's unit running (systemctl status), and does it answer on its port? If it is well, look \
             whether it writes to another file, or its disk is full."
        }
        Condition::DatabaseUnreachable => {
            "does the database answer from this host (psql with the watching role)? Compare with the controller's own \
             log: it names connection errors, too, if the database is down for all."
        }
        Condition::DatabaseRefuses => {
            "read what the database said: is it the role, its password or its limit of connections, the certificate, or a lock \
             that a migration holds? psql with the watching role is told the same; the controller may be, too."
        }
        Condition::DatabaseBlind => {
            "row-level security hides the rows without an error: bootwatch db grants prints the SQL for a role that sees \
             what is needed; was the role or a policy changed?"
        }
        Condition::DatabaseBehind => {
            "on the replica, is there a row in pg_stat_wal_receiver, and is its replay paused (pg_is_wal_replay_paused()) or \
             held up by a long query? If its primary is another server by now, name that in database.url."
        }
        Condition::LogUnreadable => {
            "look at the log's path and rights as bootwatch's user (ls -l), and at bootwatch's own log for the error."
        }
        Condition::LogLagging => {
            "look at the host's load and bootwatch's own CPU: is the log growing faster than before, and with what?"
        }
        Condition::StoreUnwritable => {
            "check the free space and the rights of the folder of store.path, and bootwatch's own log for the error."
        }
        Condition::NotifierFailing => {
            "run bootwatch notify test CHANNEL for the channel named: a refused key or a gone address needs a new \
             configuration, a receiver that is down comes back by itself."
        }
        Condition::RecordsUnparsed => {
            "was the controller deployed lately? Look at the newest lines of its log for a changed form."
        }
        Condition::BootsUntold => {
            "look in the controller's log for one of the VMs named. If it is there: does it say how the boot ended, in \
             other words than before (was the controller deployed?), or do lines stop in the middle (was the log cut)? If \
             it is not: does the controller that made it write to another log than the one that is read?"
        }
        Condition::LogClockWrong => {
            "compare date on the host with the newest line of the log: a whole number of hours is a time zone (log.timezone \
             in bootwatch's configuration), anything else is the host's clock (timedatectl)."
        }
        Condition::SyntheticFailing => {
            "do users' boots fail too? If they do, follow their page. If they do not, look at what the lines above say: \
             the trial's own account, or a fault that users have not met yet."
        }
        Condition::GoldenImageBroken => {
            "put the last good image back in one mv, then rebuild; bootwatch image audit FILE says what is missing, and \
             bootwatch image audit --diff OLD NEW what changed."
        }
        Condition::GoldenImageSuspect => {
            "run bootwatch image audit FILE; look for [INJECT-AGENT] lines in the newest browser boot: where they are, the \
             image's own agent does not matter."
        }
    }
}
