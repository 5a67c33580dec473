//! What every kind must do alike, and what each of them sends, word for word.

pub(super) mod conformance;
pub(super) mod golden;

use std::net::SocketAddr;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::config::{
    Alertmanager, Channel, Email, Endpoint, PagerDuty, Secret, Security, Slack, SlackTarget,
    Webhook,
};

/// What must never be seen: in every secret of every notifier here.
pub(super) const HIDDEN: &str = "hunter2";
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn context() -> Context {
    Context {
        zone: TimeZone::UTC,
        runbook_base: Some("https://wiki.example/runbooks".to_owned()),
        dashboard: Some("https://grafana.example/d/bootwatch".to_owned()),
        pages: Some("https://bootwatch.example".to_owned()),
    }
}

pub(super) fn endpoint(scheme: &str, address: SocketAddr, path: &str) -> Endpoint {
    Endpoint::parse(&format!("{scheme}://{address}{path}")).unwrap()
}

pub(crate) fn webhook(scheme: &str, address: SocketAddr) -> Channel {
    Channel::Webhook(Webhook {
        url: endpoint(scheme, address, "/hunter2?token=hunter2"),
        timeout: TIMEOUT,
        headers: vec![("X-Team".to_owned(), Secret::new(HIDDEN))],
        authorization: Some(Secret::new(HIDDEN)),
    })
}

pub(super) fn pagerduty(scheme: &str, address: SocketAddr) -> Channel {
    Channel::PagerDuty(PagerDuty {
        routing_key: Secret::new(HIDDEN.repeat(5)),
        base_url: endpoint(scheme, address, ""),
        timeout: TIMEOUT,
    })
}

pub(super) fn slack(scheme: &str, address: SocketAddr) -> Channel {
    Channel::Slack(Slack {
        target: SlackTarget::Webhook(endpoint(scheme, address, "/services/hunter2")),
        timeout: TIMEOUT,
    })
}

pub(super) fn slack_bot(scheme: &str, address: SocketAddr) -> Channel {
    Channel::Slack(Slack {
        target: SlackTarget::Bot {
            token: Secret::new(HIDDEN),
            channel: "C0123456789".to_owned(),
            api_url: endpoint(scheme, address, "/api"),
        },
        timeout: TIMEOUT,
    })
}

pub(super) fn alertmanager(scheme: &str, address: SocketAddr) -> Channel {
    Channel::Alertmanager(Alertmanager {
        urls: vec![endpoint(scheme, address, "")],
        authorization: Some(Secret::new(HIDDEN)),
        timeout: TIMEOUT,
    })
}

pub(super) fn email(security: Security, address: SocketAddr) -> Channel {
    Channel::Email(Box::new(Email {
        server: address.ip().to_string(),
        port: address.port(),
        security,
        login: Some(("bootwatch".to_owned(), Secret::new(HIDDEN))),
        from: "bootwatch <bootwatch@example.org>".parse().unwrap(),
        to: vec![
            "On-call <oncall@example.org>".parse().unwrap(),
            "lead@example.org".parse().unwrap(),
        ],
        ca_file: None,
        timeout: TIMEOUT,
    }))
}

pub(super) fn notifier(channel: Channel) -> Notifier {
    Notifier {
        name: "ops".to_owned(),
        channel,
    }
}

pub(crate) fn sender(channel: Channel) -> Sender {
    Sender::new(&notifier(channel), context()).unwrap()
}
