//! Golden images, built as an ordinary user by mke2fs: one healthy of each variant, one broken in each way.

mod around;
mod broken;
pub(crate) mod build;
mod compared;
mod documented;
mod hostile;
mod program;
mod variants;
mod watched;

use bootwatch::core::image::{Check, Finding, GoldenImage, Verdict};

/// The worst finding of a check.
pub(crate) fn of(image: &GoldenImage, check: Check) -> &Finding {
    image
        .findings
        .iter()
        .filter(|finding| finding.check == check)
        .max_by_key(|finding| finding.verdict)
        .unwrap_or_else(|| panic!("{check} says nothing: {:#?}", image.findings))
}

/// What is not fine, without what the image alone cannot tell.
pub(crate) fn objections(image: &GoldenImage) -> Vec<(Check, Verdict)> {
    let mut objections: Vec<(Check, Verdict)> = image
        .findings
        .iter()
        .filter(|finding| matches!(finding.verdict, Verdict::Fail | Verdict::Warn))
        .map(|finding| (finding.check, finding.verdict))
        .collect();
    objections.dedup();
    objections
}
