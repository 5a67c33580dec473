//! What a page says beside its incident: what operators did, why it comes now, that it stands for many, or for nothing.

use super::{Context, Page, Status, append};
use crate::core::alert::{Digest, HeldBack, Kind, Notification, Reason, Subject};
use crate::core::event::Timestamp;

const DRILL: &str = "[DRILL] ";

/// Adds the notification's remarks to the words of its incident.
pub(super) fn apply(page: &mut Page, notification: &Notification, context: &Context) {
    let remarks = &notification.remarks;
    let moment = |at: Timestamp| context.moment(at, notification.at);
    if let Some(digest) = &remarks.digest {
        of_many(page, digest);
    }
    let firing = page.status == Status::Firing;
    if let (true, Kind::Update, Some(news)) = (firing, notification.kind, news(notification)) {
        page.summary.insert_str(0, &news);
        page.news = Some(news);
    }
    // Where nobody has heard of it, it is no repeat to them.
    if notification.reason == Reason::Repeat && notification.kind != Kind::Firing {
        page.title = format!("Still: {}", page.title);
        page.summary
            .push_str(" It is told again since it still fires and nobody has acknowledged it.");
    }
    if let Some(held) = &remarks.held {
        page.summary.push_str(&late_because(held));
    }
    if let Some(ends) = &remarks.silence {
        let at = moment(ends.ends_at);
        page.title = format!(
            "The silence of {} ends at {at}, and it still fires: {}",
            ends.author, page.title
        );
        append(
            &mut page.summary,
            format_args!(
                " Silence {} ends at {at} ({}); what still fires then is paged.",
                ends.id, ends.reason
            ),
        );
    }
    if let Some(taken) = &remarks.acknowledged {
        if notification.reason == Reason::Acknowledged {
            page.title = format!("{} has acknowledged: {}", taken.author, page.title);
        }
        append(
            &mut page.summary,
            format_args!(" Acknowledged by {} at {}", taken.author, moment(taken.at)),
        );
        page.summary.push_str(match taken.note.as_str() {
            "" => ".",
            _ => ": ",
        });
        page.summary.push_str(&taken.note);
    }
    if let (Some(reason), true) = (&remarks.maintenance, firing) {
        append(
            &mut page.summary,
            format_args!(
                " A maintenance is under way ({reason}); boots that touch it are not counted."
            ),
        );
    }
    if remarks.is_drill {
        page.is_drill = true;
        page.title.insert_str(0, DRILL);
        page.subject.insert_str(0, DRILL);
        page.summary.insert_str(
            0,
            "This is a drill: nothing happened, and all figures are invented. ",
        );
    }
}

/// Why an update comes, where its other words do not say so: at night nobody compares two messages.
fn news(notification: &Notification) -> Option<String> {
    match notification.reason {
        Reason::FurtherAlert => {
            let members = notification.incident.members.iter().skip(1);
            let firing = members.filter(|member| member.resolved_at.is_none());
            let rules: Vec<&str> = firing.map(|member| member.rule.as_str()).collect();
            let (last, before) = rules.split_last()?;
            let (rules, verb) = match before.is_empty() {
                true => ((*last).to_owned(), "fires"),
                false => (format!("{} and {last}", before.join(", ")), "fire"),
            };
            Some(format!(
                "New since the first message: {rules} {verb}, too. "
            ))
        }
        Reason::VerdictChanged => Some("New: more is known of its cause. ".to_owned()),
        _ => None,
    }
}

fn late_because(held: &HeldBack) -> String {
    match held {
        HeldBack::Silenced { id, author, reason } => {
            format!(" It comes late: it was silenced by {author} (silence {id}: {reason}).")
        }
        HeldBack::Inhibited { by } => {
            format!(
                " It comes late: it was taken for a consequence of incident {by}, and that one is over."
            )
        }
        HeldBack::Waiting | HeldBack::Storm => String::new(),
    }
}

fn about(subject: Subject) -> String {
    match subject.vm_type() {
        Some(vm_type) => format!("{} boots", vm_type.spoken()),
        None => "the host".to_owned(),
    }
}

/// What is true of many at once, whatever they are.
const MANY_FIRST: &str = "begin with the pages that came one by one before this: so many at once mostly have one cause \
     (the host, its disk, the database, the golden image), and those name it. All that are open stand on bootwatch's \
     first page; \"bootwatch ack\" lists them, too.";

/// One message for many incidents: how many, of what, and where the rest is. Nothing in it is the first member's alone.
fn of_many(page: &mut Page, digest: &Digest) {
    let all = digest.firing + digest.resolved;
    let mut causes: Vec<String> = digest
        .causes
        .iter()
        .map(|(subject, cause, count)| {
            format!("{count} of {}: {}", about(*subject), cause.meaning())
        })
        .collect();
    if digest.others > 0 {
        causes.push(format!("{} of other causes", digest.others));
    }
    let host = &page.host;
    let firing = page.status == Status::Firing;
    page.title = match (firing, digest.firing, all) {
        (true, 1, _) => format!("1 more incident on {host}"),
        (true, many, _) => format!("{many} more incidents at once on {host}"),
        (false, _, 1) => format!("The one incident more on {host} is over"),
        (false, ..) => format!("All of {all} incidents at once on {host} are over"),
    };
    if let (true, Some((subject, cause, count))) = (firing, digest.causes.first()) {
        let (subject, meaning) = (about(*subject), cause.meaning());
        match (*count == digest.firing, *count) {
            (true, _) => append(&mut page.title, format_args!(", {subject}: {meaning}")),
            (false, count) => append(
                &mut page.title,
                format_args!(", {count} of them of {subject}: {meaning}"),
            ),
        }
    }
    page.subject = format!("Many incidents at once on {host}");
    page.summary = format!(
        "More incidents than anybody can read page by page: {} of the {all} told here still {}. The first ones were paged \
         one by one; these are told together.",
        digest.firing,
        if digest.firing == 1 { "fires" } else { "fire" }
    );
    if !causes.is_empty() {
        causes.insert(0, "What they are:".to_owned());
    }
    page.diagnosis = causes;
    page.figures.clear();
    page.fix = None;
    page.not_affected = None;
    page.evidence.clear();
    page.boots.clear();
    page.first_step = firing.then_some(MANY_FIRST);
    page.runbook_url = None;
}
