//! Watches over the golden image: audited at the start, daily, and after each change once it rests.
//!
//! The file's state is asked for every few seconds, which needs neither a watch that can be lost nor a folder that must
//! exist, and costs a microsecond. Asking and auditing block, on a disk that may not answer; so both happen on a thread
//! for that, and nothing waits for them but this task.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config;
use crate::core::boot::Observation;
use crate::core::condition::{self, Facts};
use crate::core::image::{GoldenImage, Injection, InjectionSight, Sighting, overall};
use crate::export::Recorder;
use crate::image::{self, Mark, Places};
use crate::web::ImageNow;

/// An image that rests is audited all the same: what it is compared with may have changed.
const ANEW: Duration = Duration::from_secs(86_400);
const POLL: Duration = Duration::from_secs(5);

/// What the watch tells.
#[derive(Debug)]
pub(super) enum ImageSeen {
    /// Another file, or another state of it, stands there.
    Sighted(Sighting),
    Audited(GoldenImage),
}

/// The image as last audited, with what boots tell of agents put into its copies.
#[derive(Debug, Default)]
pub(super) struct Audited {
    image: Option<GoldenImage>,
    injection: InjectionSight,
    /// Under what the findings are shown; `None`: they are behind.
    shown: Option<Injection>,
    /// For the web.
    told: Option<Arc<ImageNow>>,
}

impl Audited {
    pub(super) fn take(&mut self, image: GoldenImage) {
        let broken = image.broken(self.injection.known());
        if let Some(worst) = broken.first() {
            tracing::warn!(
                image = image.path,
                check = worst.check.as_str(),
                path = worst.path,
                reason = worst.reason,
                failed = broken.len(),
                "the golden image is broken"
            );
        }
        self.image = Some(image);
        self.shown = None;
    }

    pub(super) fn observe(&mut self, observation: &Observation) {
        if let Observation::BootEnded(boot) = observation {
            self.injection.take(boot);
        }
    }

    /// What holds now of the image, once it was audited.
    pub(super) fn facts(&self, facts: &mut Facts) {
        if let Some(image) = &self.image {
            condition::of_image(image, self.injection.known(), facts);
        }
    }

    /// Brings the metrics up to date.
    pub(super) fn show(&mut self, recorder: &Recorder) {
        let known = self.injection.known();
        if self.shown == Some(known) {
            return;
        }
        self.shown = Some(known);
        if let Some(image) = &self.image {
            let findings = image.given(known);
            recorder.golden_image(image.generation.as_ref(), &findings);
            self.told = Some(Arc::new(ImageNow {
                path: image.path.clone(),
                generation: image.generation.clone(),
                audited_at: image.audited_at,
                verdict: overall(&findings),
                findings,
            }));
        }
    }

    /// The image as it is shown.
    pub(super) fn told(&self) -> Option<Arc<ImageNow>> {
        self.told.clone()
    }
}

/// Which state of the file boots are copied from: one that did not change between two looks, as while it is written to
/// each look shows another.
#[derive(Debug, Default)]
struct Stands {
    seen: Option<Option<Mark>>,
    told: Option<Option<Mark>>,
}

impl Stands {
    /// Takes the file's state; says whether it is to be told.
    fn is_news(&mut self, mark: Option<Mark>) -> bool {
        let rests = self.seen.is_none() || self.seen == Some(mark);
        self.seen = Some(mark);
        let news = rests && self.told != Some(mark);
        if news {
            self.told = Some(mark);
        }
        news
    }
}

/// When an audit is due, from the file's states as they were seen.
#[derive(Debug, Default)]
struct Rest {
    seen: Option<(Option<Mark>, Instant)>,
    audited: Option<(Option<Mark>, Instant)>,
}

impl Rest {
    /// Takes the file's state; says whether to audit it now.
    fn is_due(&mut self, mark: Option<Mark>, now: Instant, quiet: Duration) -> bool {
        let since = match self.seen {
            Some((seen, since)) if seen == mark => since,
            _ => now,
        };
        self.seen = Some((mark, since));
        let due = match self.audited {
            None => true,
            Some((audited, at)) => {
                now.duration_since(at) >= ANEW
                    || (audited != mark && now.duration_since(since) >= quiet)
            }
        };
        if due {
            self.audited = Some((mark, now));
        }
        due
    }
}

/// Audits until `stop`. The channel waits when it is full: there is one image, and it is not in a hurry.
pub(super) async fn run(
    settings: config::Image,
    images: mpsc::Sender<ImageSeen>,
    stop: CancellationToken,
) {
    let quiet = settings.quiet;
    let pause = POLL.min(quiet / 4);
    let places = Places::from(&settings);
    let watch = async {
        let (mut rest, mut stands) = (Rest::default(), Stands::default());
        loop {
            let path = places.image.clone();
            let mark = blocking(move || Mark::of_path(&path).ok()).await.flatten();
            if stands.is_news(mark) {
                let path = places.image.clone();
                let sighted = blocking(move || image::sight(&path));
                if let Some(sighting) = sighted.await
                    && images.send(ImageSeen::Sighted(sighting)).await.is_err()
                {
                    return;
                }
            }
            if rest.is_due(mark, clock::monotonic(), quiet) {
                let places = places.clone();
                let audited = blocking(move || {
                    image::audit(&places).unwrap_or_else(|error| image::unopened(&places, &error))
                });
                if let Some(audited) = audited.await
                    && images.send(ImageSeen::Audited(audited)).await.is_err()
                {
                    return;
                }
            }
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        () = watch => {}
        () = stop.cancelled() => {}
    }
}

/// `None`: it panicked, which ends that look and nothing else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) => {
            tracing::error!(%error, "a look at the golden image failed");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_being_written_to_is_told_once_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        let mark = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Some(Mark::of_path(&file).unwrap())
        };
        let (first, half, whole) = (mark("1"), mark("12"), mark("123"));
        let mut stands = Stands::default();
        for (state, news) in [
            (first, true),
            (first, false),
            (half, false),
            (whole, false),
            (whole, true),
            (whole, false),
            (None, false),
            (None, true),
        ] {
            assert_eq!(stands.is_news(state), news);
        }
    }

    #[test]
    fn a_change_is_audited_once_it_rests_and_a_rest_daily() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        let mark = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Some(Mark::of_path(&file).unwrap())
        };
        let (first, second, third) = (mark("1"), mark("12"), mark("123"));
        let start = clock::monotonic();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let quiet = Duration::from_secs(60);
        let mut rest = Rest::default();
        for (seconds, state, due) in [
            (0, None, true),
            (5, None, false),
            (10, first, false),
            (40, second, false),
            // Quiet since 40, not since 10.
            (75, second, false),
            (100, second, true),
            (105, second, false),
            (110, third, false),
            // What was audited is back, as when a copy was undone: nothing is new.
            (115, second, false),
            (400, second, false),
            (100 + 86_400, second, true),
            (100 + 86_405, None, false),
            (100 + 86_465, None, true),
        ] {
            assert_eq!(
                rest.is_due(state, at(seconds), quiet),
                due,
                "at {seconds} s"
            );
        }
    }
}
