//! Drawings: bars that stretch with their place, words beside them in HTML, so that letters keep their size on a phone.
//!
//! Outcomes differ by more than their hue, for eyes and printers that do not tell red from green: what is ready is plain
//! and what failed is striped and far from it in lightness; the others are hollow, each with an outline of its own.

use maud::{Markup, html};

/// A part of a stacked bar: its class and how much it is.
pub(super) type Part = (&'static str, u64);

/// One bar with what it says to whoever does not see it.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) parts: Vec<Part>,
}

/// The class of what failed.
pub(super) const FAILED: &str = "c-failed";
const WIDTH: u64 = 1_000;
const HEIGHT: u64 = 100;
/// A part that is there is so high at least.
const LEAST: f64 = 1.5;

/// The stripes of what failed are so far from each other.
const STRIPE: f64 = 6.0;

/// Stacked bars on one scale; `about` is what they say in words. A bar without anything is a grey mark on the ground.
pub(super) fn bars(bars: &[Bar], about: &str) -> Markup {
    let most = bars.iter().map(total).max().unwrap_or(0).max(1);
    let step = WIDTH as f64 / bars.len().max(1) as f64;
    html! {
        svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(about) {
            @for (place, bar) in bars.iter().enumerate() {
                g {
                    title { (bar.label) }
                    @let x = place as f64 * step;
                    @if total(bar) == 0 {
                        rect.c-none x=(figure(x + step * 0.1)) y="96" width=(figure(step * 0.8)) height="4" {}
                    }
                    @for (class, from, height) in stacked(&bar.parts, most) {
                        @let top = HEIGHT as f64 - from - height;
                        rect class=(class) x=(figure(x + step * 0.1)) y=(figure(top))
                            width=(figure(step * 0.8)) height=(figure(height)) {}
                        @if class == FAILED { (stripes(x + step * 0.1, step * 0.8, top, height)) }
                    }
                }
            }
        }
    }
}

/// Lines across a part, which a stretched drawing leaves lines; none where it is too low for one.
fn stripes(left: f64, width: f64, top: f64, height: f64) -> Markup {
    let (width, mut path) = (figure(width), String::new());
    let mut at = top + STRIPE / 2.0;
    while at + 1.0 < top + height {
        path += &format!("M{} {}h{width}", figure(left), figure(at));
        at += STRIPE;
    }
    html! { @if !path.is_empty() { path.c-stripes d=(path) {} } }
}

fn total(bar: &Bar) -> u64 {
    bar.parts.iter().map(|(_, boots)| boots).sum()
}

/// From where on, and how high; what is there at all can be seen, and what that takes is the largest part's.
fn stacked(parts: &[Part], most: u64) -> Vec<(&'static str, f64, f64)> {
    let scaled = |boots: u64| boots as f64 / most as f64 * HEIGHT as f64;
    let there = || parts.iter().filter(|(_, boots)| *boots > 0);
    let seen: f64 = there().map(|(_, boots)| scaled(*boots).max(LEAST)).sum();
    let excess = (seen - HEIGHT as f64).max(0.0);
    let largest = there().map(|(_, boots)| *boots).max();
    let (mut from, mut taken) = (0.0, false);
    let mut drawn = Vec::new();
    for (class, boots) in there() {
        let mut height = scaled(*boots).max(LEAST);
        if Some(*boots) == largest && !std::mem::replace(&mut taken, true) {
            height -= excess;
        }
        drawn.push((*class, from, height));
        from += height;
    }
    drawn
}

/// A stretch of a track: where it begins and how long it is, of `whole`.
pub(super) struct Stretch {
    pub(super) class: &'static str,
    pub(super) from: f64,
    pub(super) length: f64,
    pub(super) label: String,
}

/// One track of a waterfall.
pub(super) fn track(whole: f64, stretches: &[Stretch]) -> Markup {
    let scale = WIDTH as f64 / whole.max(1.0);
    html! {
        svg.track viewBox={ "0 0 " (WIDTH) " 10" } preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect.c-track x="0" y="4.5" width=(WIDTH) height="1" {}
            @for stretch in stretches {
                @let x = (stretch.from * scale).clamp(0.0, WIDTH as f64 - 3.0);
                rect class=(stretch.class) x=(figure(x)) y="0" height="10"
                    width=(figure((stretch.length * scale).clamp(3.0, WIDTH as f64 - x))) { title { (stretch.label) } }
            }
        }
    }
}

/// A share of a whole, from 0 to 1.
pub(super) fn meter(class: &str, share: f64, about: &str) -> Markup {
    let filled = share.clamp(0.0, 1.0) * WIDTH as f64;
    html! {
        svg.meter viewBox={ "0 0 " (WIDTH) " 10" } preserveAspectRatio="none" role="img" aria-label=(about) {
            rect.c-track x="0" y="0" width=(WIDTH) height="10" {}
            rect class=(class) x="0" y="0" width=(figure(filled)) height="10" {}
        }
    }
}

/// A small square of a legend.
pub(super) fn swatch(class: &str) -> Markup {
    html! {
        svg viewBox="0 0 10 10" aria-hidden="true" focusable="false" {
            rect class=(class) width="10" height="10" rx="2" {}
            @if class == FAILED { path.c-stripes d="M0 3.3h10M0 6.7h10" {} }
        }
    }
}

fn figure(value: f64) -> String {
    let shown = format!("{value:.1}");
    shown.trim_end_matches(".0").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_among_hundreds_is_within_the_picture() {
        let drawn = stacked(&[("c-ready", 598), ("c-failed", 1), ("c-lost", 1)], 600);
        let top = drawn.last().map(|(_, from, height)| from + height);
        assert!(
            top.is_some_and(|top| (top - HEIGHT as f64).abs() < 1e-9),
            "{drawn:?}"
        );
        assert!(
            drawn.iter().all(|(_, _, height)| *height >= LEAST),
            "{drawn:?}"
        );
        assert_eq!(stacked(&[("c-ready", 0), ("c-failed", 0)], 600), []);
    }

    #[test]
    fn bars_share_one_scale_and_what_is_there_can_be_seen() {
        let one = |boots| Bar {
            label: String::new(),
            parts: vec![("c-ready", boots)],
        };
        let drawn = bars(&[one(0), one(1), one(1_000)], "three").into_string();
        assert!(drawn.contains(r#"aria-label="three""#));
        assert!(drawn.contains("c-none"), "no boot is told from few");
        assert!(drawn.contains(r#"height="1.5""#) && drawn.contains(r#"height="100""#));
    }

    #[test]
    fn what_failed_is_striped_within_its_part_and_in_the_legend() {
        let of = |class| Bar {
            label: String::new(),
            parts: vec![("c-ready", 4), (class, 1)],
        };
        let drawn = bars(&[of(FAILED)], "one").into_string();
        // The part is from 0 to 20.
        let path = r#"d="M100 3h800M100 9h800M100 15h800""#;
        assert!(drawn.contains(path), "{drawn}");
        assert!(!bars(&[of("c-lost")], "one").into_string().contains("path"));
        assert!(swatch(FAILED).into_string().contains("c-stripes"));
        // One that can just be seen is too low for a stripe, and stays whole.
        assert_eq!(stripes(0.0, 8.0, 98.5, LEAST).into_string(), "");
    }

    #[test]
    fn a_track_never_leaves_its_place() {
        let drawn = track(
            10.0,
            &[Stretch {
                class: "c-span",
                from: 50.0,
                length: 50.0,
                label: "<late>".to_owned(),
            }],
        );
        let drawn = drawn.into_string();
        assert!(
            drawn.contains(r#"x="997""#) && drawn.contains(r#"width="3""#),
            "{drawn}"
        );
        assert!(drawn.contains("&lt;late&gt;"));
    }
}
