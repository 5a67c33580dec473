//! Alertmanager's webhook payload, version 4: what every receiver of Alertmanager already understands.
//!
//! An incident is a group, and each of its alerts a member: the same `groupKey`, label `incident` and fingerprints from
//! the first firing to the resolve. Strings are text until serde writes them, so that nothing in a log line can break out.

use std::borrow::Cow;

use serde::ser::{Serialize, Serializer};

use crate::core::alert::{Incident, Member, Notification};
use crate::core::event::Timestamp;
use crate::notify::page::{Context, Page, Status};

const VERSION: &str = "4";
/// An end that has not come, as Go writes it.
const NO_TIME: &str = "0001-01-01T00:00:00Z";
/// The name of a test's one alert.
const TEST: &str = "BootwatchTest";

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: u32,
    status: &'static str,
    receiver: &'a str,
    group_labels: Pairs<'a>,
    common_labels: Pairs<'a>,
    common_annotations: Pairs<'a>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    alerts: Vec<Alert<'a>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    status: &'static str,
    labels: Pairs<'a>,
    annotations: Pairs<'a>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

/// Names and values, written as an object in this order.
#[derive(Clone)]
struct Pairs<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'a> Pairs<'a> {
    /// What all have in common.
    fn common(all: &[&Pairs<'a>]) -> Pairs<'a> {
        let Some((first, rest)) = all.split_first() else {
            return Pairs(Vec::new());
        };
        let everywhere =
            |pair: &&(&'static str, Cow<'a, str>)| rest.iter().all(|other| other.0.contains(pair));
        Pairs(first.0.iter().filter(everywhere).cloned().collect())
    }
}

pub(super) fn render(
    receiver: &str,
    notification: &Notification,
    page: &Page,
    context: &Context,
) -> Vec<u8> {
    let incident = &notification.incident;
    let leads_to = page.main_url().unwrap_or_default();
    let body = page.body();
    let evidence = page.evidence.join("\n");
    let runbook = notification.remarks.digest.is_none();
    let mut alerts: Vec<Alert<'_>> = incident
        .members
        .iter()
        .enumerate()
        .map(|(at, member)| {
            let over = member.resolved_at.or(incident.resolved_at);
            Alert {
                status: over.map_or(Status::Firing, |_| Status::Resolved).as_str(),
                labels: labels(notification, member),
                annotations: annotations(
                    page,
                    &body,
                    &evidence,
                    page.figures.get(at),
                    // A digest is of many causes, so no one runbook is right.
                    runbook
                        .then(|| context.runbook_of(member, incident))
                        .flatten(),
                ),
                starts_at: moment(member.fired_at),
                ends_at: over.map_or_else(|| NO_TIME.to_owned(), moment),
                generator_url: leads_to,
                fingerprint: fingerprint(&[
                    ("alertname", member.rule.as_str()),
                    ("host", &incident.host),
                    ("incident", &incident.key),
                    ("vm_type", incident.subject.as_str()),
                ]),
            }
        })
        .collect();
    if page.is_test {
        alerts.push(test(notification, page));
    }
    let common_labels =
        Pairs::common(&alerts.iter().map(|alert| &alert.labels).collect::<Vec<_>>());
    let common_annotations = Pairs::common(
        &alerts
            .iter()
            .map(|alert| &alert.annotations)
            .collect::<Vec<_>>(),
    );
    let payload = Payload {
        version: VERSION,
        group_key: &incident.key,
        truncated_alerts: 0,
        status: page.status.as_str(),
        receiver,
        group_labels: group_labels(incident, page),
        common_labels,
        common_annotations,
        external_url: leads_to,
        alerts,
    };
    serde_json::to_vec(&payload).expect("strings and numbers always have a JSON form")
}

/// What all of the alerts have in common by being one group: each of them bears these.
fn group_labels<'a>(incident: &'a Incident, page: &Page) -> Pairs<'a> {
    let host = ("host", incident.host.as_str().into());
    if page.is_test {
        return Pairs(vec![("alertname", TEST.into()), host]);
    }
    let family = ("cause_family", incident.family.as_str().into());
    let key = ("incident", incident.key.as_str().into());
    with_vm_type(incident, vec![family, host, key])
}

/// An alert of no rule: it says that it is a test, and nothing that could be taken for an incident's.
fn test<'a>(notification: &'a Notification, page: &'a Page) -> Alert<'a> {
    let host = notification.incident.host.as_str();
    Alert {
        status: page.status.as_str(),
        labels: Pairs(vec![
            ("alertname", TEST.into()),
            ("host", host.into()),
            ("severity", page.severity.as_str().into()),
            ("test", "true".into()),
        ]),
        annotations: Pairs(vec![
            ("summary", page.title.as_str().into()),
            ("description", page.summary.as_str().into()),
        ]),
        starts_at: moment(page.starts_at),
        ends_at: page.ends_at.map_or_else(|| NO_TIME.to_owned(), moment),
        generator_url: "",
        fingerprint: fingerprint(&[("alertname", TEST), ("host", host)]),
    }
}

fn labels<'a>(notification: &'a Notification, member: &Member) -> Pairs<'a> {
    let incident = &notification.incident;
    let mut pairs: Vec<(&'static str, Cow<'a, str>)> = vec![
        ("alertname", member.rule.as_str().into()),
        ("cause", incident.cause.as_str().into()),
        ("cause_family", incident.family.as_str().into()),
        ("host", incident.host.as_str().into()),
        ("incident", incident.key.as_str().into()),
        ("severity", member.severity.as_str().into()),
    ];
    if notification.remarks.is_drill {
        pairs.push(("drill", "true".into()));
    }
    with_vm_type(incident, pairs)
}

/// Alertmanager knows no empty label: an incident about no kind of VM has none.
fn with_vm_type<'a>(
    incident: &'a Incident,
    mut pairs: Vec<(&'static str, Cow<'a, str>)>,
) -> Pairs<'a> {
    let vm_type = incident.subject.vm_type();
    pairs.extend(vm_type.map(|vm_type| ("vm_type", vm_type.as_str().into())));
    Pairs(pairs)
}

fn annotations<'a>(
    page: &'a Page,
    body: &'a str,
    evidence: &'a str,
    figure: Option<&'a String>,
    runbook: Option<String>,
) -> Pairs<'a> {
    let mut pairs: Vec<(&'static str, Cow<'a, str>)> = vec![
        ("summary", page.title.as_str().into()),
        ("description", body.into()),
    ];
    pairs.extend(figure.map(|figure| ("figures", figure.as_str().into())));
    pairs.push(("first_bad_at", moment(page.starts_at).into()));
    if let Some(well) = &page.not_affected {
        pairs.push(("not_affected", well.as_str().into()));
    }
    if !page.diagnosis.is_empty() {
        pairs.push(("diagnosis", page.diagnosis.join("\n").into()));
    }
    if let Some(fix) = &page.fix {
        pairs.push(("fix", fix.as_str().into()));
    }
    if !evidence.is_empty() {
        pairs.push(("evidence", evidence.into()));
    }
    if let Some(at) = page.ends_at {
        pairs.push(("ready_since", moment(at).into()));
    }
    if let Some(url) = runbook {
        pairs.push(("runbook_url", url.into()));
    }
    if let Some(url) = &page.incident_url {
        pairs.push(("incident_url", url.as_str().into()));
    }
    if let Some(url) = &page.dashboard_url {
        pairs.push(("dashboard_url", url.as_str().into()));
    }
    Pairs(pairs)
}

fn moment(at: Timestamp) -> String {
    at.utc()
        .map_or_else(|| NO_TIME.to_owned(), |at| at.to_string())
}

/// 16 hex digits of what identifies an alert (FNV-1a, as Alertmanager's): not of its cause, which may become clearer.
fn fingerprint(labels: &[(&str, &str)]) -> String {
    const SEPARATOR: u8 = 0xff;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (name, value) in labels {
        let bytes = name.bytes().chain([SEPARATOR]).chain(value.bytes());
        for byte in bytes.chain([SEPARATOR]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}
