//! Watches over the golden image: audited at the start, daily, and after each change once it rests.
//!
//! Where it is allowed, one fresh copy is looked into as well, at most every minute, as soon as the log says that it was
//! made: an image can be right, and what is put into its copies can be lost all the same.
//!
//! The file's state is asked for every few seconds, which needs neither a watch that can be lost nor a folder that must
//! exist, and costs a microsecond. Asking and auditing block, on a disk that may not answer; so both happen on a thread
//! for that, and nothing waits for them but this task.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config;
use crate::core::boot::Observation;
use crate::core::condition::{self, Facts};
use crate::core::diagnosis::{self, Signs};
use crate::core::event::{EventKind, VmId, VmType};
use crate::core::image::{
    GoldenImage, Injection, InjectionSight, Sighting, SourceSight, Verdict, overall,
};
use crate::export::Recorder;
use crate::image::{self, Mark, Places};
use crate::web::ImageNow;

/// An image that rests is audited all the same: what it is compared with may have changed.
const ANEW: Duration = Duration::from_secs(86_400);
const POLL: Duration = Duration::from_secs(5);
/// Of all copies that are made, one is looked into this often.
const BETWEEN_CLONES: Duration = Duration::from_secs(60);
/// Browser VMs whose copy is to come, and copies whose boot is to end, that are remembered.
const REMEMBERED: usize = 64;
/// The step of the creation that makes the copy.
const COPY: u8 = 3;

/// What the watch tells.
#[derive(Debug)]
pub(super) enum ImageSeen {
    /// Another file, or another state of it, stands there.
    Sighted(Sighting),
    Audited(GoldenImage),
    /// A VM's own copy, as it was made.
    Clone(VmId, GoldenImage),
}

/// Copies that are looked into, where that is allowed.
#[derive(Debug)]
pub(super) struct Clones {
    /// The folder with a directory a VM.
    pub(super) users_dir: PathBuf,
    pub(super) made: mpsc::Receiver<VmId>,
}

/// The image as last audited, with what boots tell of agents put into its copies.
#[derive(Debug, Default)]
pub(super) struct Audited {
    image: Option<GoldenImage>,
    injection: InjectionSight,
    source: SourceSight,
    /// Where copies that were made are told; `None`: they are not looked into.
    made: Option<mpsc::Sender<VmId>>,
    begun: VecDeque<VmId>,
    clones: VecDeque<(VmId, Signs)>,
    /// Under what the findings are shown; `None`: they are behind.
    shown: Option<Injection>,
    /// For the web.
    told: Option<Arc<ImageNow>>,
}

impl Audited {
    pub(super) fn telling(made: Option<mpsc::Sender<VmId>>) -> Audited {
        Audited {
            made,
            ..Audited::default()
        }
    }

    /// What the log says of copies while they are made.
    pub(super) fn log_says(&mut self, kind: &EventKind<'_>) {
        let Some(made) = &self.made else { return };
        match kind {
            EventKind::CreateStarted { vm, vm_type, .. } if *vm_type == VmType::Browser => {
                remember(&mut self.begun, *vm);
            }
            EventKind::StepDone { vm, step: COPY, .. } if self.begun.contains(vm) => {
                self.begun.retain(|begun| begun != vm);
                // One is looked into now and then: whoever comes while that goes on is not waited for.
                if made.try_send(*vm).is_err() {
                    tracing::trace!("a copy is not looked into");
                }
            }
            _ => {}
        }
    }

    /// A copy was looked into: what that says of its boot.
    pub(super) fn cloned(&mut self, vm: VmId, clone: &GoldenImage) -> Signs {
        let signs = diagnosis::of_clone(clone);
        let bad = clone.findings.iter();
        if let Some(worst) = bad.clone().find(|bad| bad.verdict == Verdict::Fail) {
            tracing::warn!(
                %vm,
                image = clone.path,
                check = worst.check.as_str(),
                path = worst.path,
                reason = worst.reason,
                "a VM's own copy of the golden image is broken"
            );
        }
        remember(&mut self.clones, (vm, signs));
        signs
    }

    /// What a look into the copy of a VM said whose boot has ended.
    pub(super) fn ended(&mut self, vm: VmId) -> Option<Signs> {
        let place = self.clones.iter().position(|(known, _)| *known == vm)?;
        self.clones.remove(place).map(|(_, signs)| signs)
    }

    /// The image as it is known from its audit and from what boots show.
    fn image(&self) -> Option<GoldenImage> {
        let mut image = self.image.clone()?;
        let objection = self.source.objection(&image);
        image.findings.extend(objection);
        Some(image)
    }

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
            let before = self.source.clone();
            self.source.take(boot);
            if self.source != before {
                self.shown = None;
            }
        }
    }

    /// What holds now of the image, once it was audited.
    pub(super) fn facts(&self, facts: &mut Facts) {
        if let Some(image) = &self.image() {
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
        if let Some(image) = &self.image() {
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

/// The latest ones.
fn remember<T>(those: &mut VecDeque<T>, one: T) {
    if those.len() == REMEMBERED {
        those.pop_front();
    }
    those.push_back(one);
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
    clones: Option<Clones>,
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
    let copies = async {
        match clones {
            Some(clones) => look_into(clones, &places, &images).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = watch => {}
        () = copies => {}
        () = stop.cancelled() => {}
    }
}

/// Looks into one copy after another. One that may not be read, or is gone already, says nothing.
async fn look_into(mut clones: Clones, places: &Places, images: &mpsc::Sender<ImageSeen>) {
    let mut said = false;
    let mut last: Option<Instant> = None;
    while let Some(vm) = clones.made.recv().await {
        let now = clock::monotonic();
        if last.is_some_and(|last| now.duration_since(last) < BETWEEN_CLONES) {
            continue;
        }
        last = Some(now);
        let of_clone = Places {
            image: clones.users_dir.join(vm.to_string()).join("rootfs.ext4"),
            settings: None,
            ..places.clone()
        };
        let seen = match blocking(move || image::audit(&of_clone)).await {
            Some(Ok(clone)) => ImageSeen::Clone(vm, clone),
            Some(Err(error)) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::info!(%error, "a VM's copy cannot be looked into; the golden image alone is");
                }
                continue;
            }
            None => continue,
        };
        if images.send(seen).await.is_err() {
            return;
        }
    }
    std::future::pending().await
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
