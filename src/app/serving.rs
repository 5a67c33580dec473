//! The web on a thread of its own, so that a thousand scrapes do not delay a page.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{page_zone, past};
use crate::clock;
use crate::config::Config;
use crate::core::alert::{Digest, Incident, Kind, Notification, Reason, Remarks};
use crate::export::Recorder;
use crate::notify;
use crate::web::{self, Readiness};

/// The web on its thread.
pub(super) struct Web {
    thread: thread::JoinHandle<io::Result<()>>,
    /// Completes when the thread ends, however it does.
    pub(super) ended: oneshot::Receiver<()>,
    cut: CancellationToken,
}

impl Web {
    /// Waits for the web to end; at `deadline` it is cut off, whatever a client still wants.
    pub(super) async fn end(mut self, deadline: Instant) {
        let in_time = self.ended.is_terminated()
            || tokio::time::timeout_at(deadline, &mut self.ended)
                .await
                .is_ok();
        if !in_time {
            tracing::debug!("clients of the web were cut off");
            self.cut.cancel();
        }
        // It has nothing left to wait for.
        match self.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the web failed"),
            Err(_) => tracing::error!("the web's thread panicked"),
        }
    }
}

/// What the web is shown of the owner.
pub(super) struct Showing {
    pub(super) ready: watch::Receiver<Readiness>,
    pub(super) operators: web::Operators,
    pub(super) live: watch::Receiver<Arc<web::Live>>,
    pub(super) guard: Arc<web::Guard>,
}

/// An incident's figures are present for so long.
const JUST_NOW_MS: i64 = 30_000;

/// An incident in the words that its pages have.
fn tell(context: &notify::Context, incident: &Incident, digest: Option<&Digest>) -> web::Words {
    let kind = match incident.is_firing() {
        true => Kind::Firing,
        false => Kind::Resolved,
    };
    let notification = Notification {
        kind,
        reason: Reason::FirstAlert,
        at: incident.resolved_at.unwrap_or(incident.fired_at),
        incident: incident.clone(),
        remarks: Remarks {
            digest: digest.cloned(),
            ..Remarks::default()
        },
    };
    let page = notify::Page::of(&notification, context);
    // What was counted then is not what is counted now.
    let now = clock::now();
    let is_old = incident.is_firing() && now.since(incident.fired_at) > JUST_NOW_MS;
    let summary = match digest {
        Some(_) => format!("{} {}", page.summary, page.diagnosis.join(" ")),
        None if is_old => format!(
            "When it fired, at {}: {}",
            context.moment(incident.fired_at, now),
            page.summary
        ),
        None => page.summary,
    };
    web::Words {
        title: page.title,
        summary,
        not_affected: page.not_affected,
        figures: page.figures,
        evidence: page.evidence,
        first_step: page.first_step.map(str::to_owned),
        boots: page.boots,
        runbook: page.runbook_url,
        fix: page.fix,
    }
}

pub(super) fn start(
    config: &Config,
    listener: TcpListener,
    recorder: &Arc<Recorder>,
    showing: Showing,
    stop: CancellationToken,
) -> anyhow::Result<Web> {
    let rendered = Arc::clone(recorder);
    let context = notify::Context::new(page_zone(config), &config.links);
    let Showing {
        ready,
        operators,
        live,
        guard,
    } = showing;
    let pages = config.links.pages.as_ref();
    let faces = web::Faces {
        version: env!("CARGO_PKG_VERSION"),
        host: config.host.clone(),
        metrics: Arc::new(move || rendered.render()),
        ready,
        operators,
        live,
        past: Arc::new(past::StorePast::new(config.store.path.clone())),
        zone: page_zone(config),
        causes: context.runbook("causes"),
        tell: Arc::new(move |incident, digest| tell(&context, incident, digest)),
        settings: config.shown.clone(),
        guard,
        reached_at: pages.and_then(|url| Some(url.authority()?.to_string())),
        public: config.web.public,
    };
    let (tell, ended) = oneshot::channel::<()>();
    let cut = CancellationToken::new();
    let until = cut.clone();
    let serve = move || {
        // Dropped with the thread, also by a panic.
        let _tell = tell;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let serving = web::serve(listener, faces, web::Limits::default(), stop);
            until.run_until_cancelled(serving).await;
            Ok(())
        })
    };
    let thread = thread::Builder::new()
        .name("web".to_owned())
        .spawn(serve)
        .context("start the web's thread")?;
    Ok(Web { thread, ended, cut })
}
