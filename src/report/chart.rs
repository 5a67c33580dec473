//! The report's charts, drawn by plotters: as SVG for a page and as PNG for a mail, by the same strokes.
//!
//! Every chart has a sentence that says what it shows, for whoever cannot see it. Colours are told apart without their
//! hue, too: what is good is dark, what is bad is warm and three times as light, what is compared with is grey; where good
//! and bad stand on each other, what is bad is striped. A page may put colours of its own in the place of these, such as
//! for the dark: `report.css` names them.

use std::sync::Once;

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Rectangle, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, RGBColor, TextStyle, register_font};

use super::words;
use crate::core::event::VmType;
use crate::core::report::sample::Quantile;
use crate::core::report::share::Share;
use crate::core::report::{EDGES, Report};

const GOOD: RGBColor = RGBColor(0x16, 0x4a, 0x6e);
const BAD: RGBColor = RGBColor(0xd9, 0x7a, 0x2b);
const BEFORE: RGBColor = RGBColor(0xb8, 0xc0, 0xc8);
const BLIND: RGBColor = RGBColor(0xe6, 0xe6, 0xe6);
const INK: RGBColor = RGBColor(0x22, 0x2a, 0x33);
const FAINT: RGBColor = RGBColor(0x6b, 0x75, 0x80);
const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);

const FONT: &[u8] = include_bytes!("assets/dejavu-sans-subset.ttf");
const SIZE: f64 = 13.0;
const WIDTH: u32 = 640;
/// From stripe to stripe of what is bad.
const STRIPE: usize = 6;
/// Rows of a chart of causes.
const ROWS: usize = 8;

/// One chart: what it is called, what it says, and how to draw it.
#[derive(Clone, Debug)]
pub struct Chart {
    /// For file names and anchors.
    pub name: &'static str,
    pub title: &'static str,
    /// What it shows, in a sentence.
    pub says: String,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    /// Beside each other, from the bottom up.
    Columns(Vec<Column>),
    /// Below each other, from the left.
    Rows(Vec<Row>),
}

#[derive(Clone, Debug)]
struct Column {
    label: String,
    above: String,
    /// Parts of the full height, from the bottom.
    parts: Vec<(f64, RGBColor)>,
}

#[derive(Clone, Debug)]
struct Row {
    label: String,
    /// Parts of the full length, each on a line of its own, and what is written behind it.
    bars: Vec<(f64, RGBColor, String)>,
}

/// The charts of a report; those that would show nothing are left out.
#[must_use]
pub fn charts(report: &Report) -> Vec<Chart> {
    [
        days(report),
        causes(report),
        distribution(report),
        stages(report),
        budget(report),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn days(report: &Report) -> Option<Chart> {
    let browsers = |kinds: &[(VmType, Share)]| {
        let found = kinds
            .iter()
            .find(|(vm_type, _)| *vm_type == VmType::Browser);
        found.map_or(Share::default(), |(_, share)| *share)
    };
    report.kind(VmType::Browser)?;
    let mut said = Vec::new();
    let columns = report.days.iter().map(|day| {
        let ready = browsers(&day.kinds);
        let label = day.date.strftime("%a %-d").to_string();
        said.push(format!("{label} {}", words::count(ready)));
        let parts = match ready.value() {
            Some(share) => vec![(share, GOOD), (1.0 - share, BAD)],
            None if day.seen.k * 2 < day.seen.n => vec![(1.0, BLIND)],
            None => Vec::new(),
        };
        Column {
            label,
            above: if ready.n == 0 {
                "–".to_owned()
            } else {
                words::count(ready)
            },
            parts,
        }
    });
    let columns = columns.collect();
    Some(Chart {
        name: "days",
        title: "Browser boots by day: whole is ready, striped failed, grey not seen",
        says: format!("Ready browser boots by day: {}.", said.join(", ")),
        shape: Shape::Columns(columns),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of boots stay far below 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}

fn causes(report: &Report) -> Option<Chart> {
    let most = report
        .causes
        .iter()
        .map(|cause| cause.failed.k.max(cause.before.k))
        .max()
        .filter(|most| *most > 0)?;
    let rows: Vec<Row> = report
        .causes
        .iter()
        .take(ROWS)
        .map(|cause| Row {
            label: format!(
                "{} ({})",
                words::plain(cause.failure.as_str()),
                cause.vm_type.spoken()
            ),
            bars: vec![
                (
                    float(cause.failed.k) / float(most),
                    BAD,
                    words::grouped(cause.failed.k),
                ),
                (
                    float(cause.before.k) / float(most),
                    BEFORE,
                    format!("{} last week", words::grouped(cause.before.k)),
                ),
            ],
        })
        .collect();
    let said: Vec<String> = report
        .causes
        .iter()
        .take(ROWS)
        .map(|cause| {
            format!(
                "{} {}",
                words::plain(cause.failure.as_str()),
                words::grouped(cause.failed.k)
            )
        })
        .collect();
    Some(Chart {
        name: "causes",
        title: "Failed boots by failure class, this week and last",
        says: format!("Failed boots by class: {}.", said.join(", ")),
        shape: Shape::Rows(rows),
    })
}

fn distribution(report: &Report) -> Option<Chart> {
    let browsers = report.kind(VmType::Browser)?;
    let most = *browsers
        .distribution
        .iter()
        .max()
        .filter(|most| **most > 0)?;
    let labels = EDGES
        .iter()
        .map(|edge| format!("{}", edge / 1000))
        .chain(["more".to_owned()]);
    let columns = labels
        .zip(&browsers.distribution)
        .map(|(label, count)| Column {
            label,
            above: if *count == 0 {
                String::new()
            } else {
                words::grouped(*count)
            },
            parts: vec![(float(*count) / float(most), GOOD)],
        })
        .collect();
    Some(Chart {
        name: "time-to-ready",
        title: "Time to ready of browser boots: boots within so many seconds",
        says: format!(
            "Time to ready of browser boots: {}.",
            words::quantiles(browsers.time_to_ready)
        ),
        shape: Shape::Columns(columns),
    })
}

fn stages(report: &Report) -> Option<Chart> {
    let browsers = report
        .stages
        .iter()
        .filter(|stage| stage.vm_type == VmType::Browser);
    // The p95 where there are enough, else the middle: a row says which.
    let shown = |quantiles: &crate::core::report::sample::Quantiles| match quantiles.p95 {
        Quantile::Ms(ms) => Some((ms, "p95")),
        _ => quantiles.p50.ms().map(|ms| (ms, "p50")),
    };
    let rows: Vec<(String, (u32, &str), Option<u32>)> = browsers
        .filter_map(|stage| {
            let (ms, which) = shown(&stage.completed)?;
            let before = shown(&stage.before)
                .filter(|(_, then)| *then == which)
                .map(|(ms, _)| ms);
            Some((words::plain(stage.stage.as_str()), (ms, which), before))
        })
        .collect();
    let most = rows
        .iter()
        .map(|(_, (ms, _), before)| (*ms).max(before.unwrap_or(0)))
        .max()
        .filter(|most| *most > 0)?;
    let of = |ms: u32| f64::from(ms) / f64::from(most);
    let said: Vec<String> = rows
        .iter()
        .map(|(stage, (ms, which), _)| format!("{stage} {which} {}", words::milliseconds(*ms)))
        .collect();
    let rows = rows
        .into_iter()
        .map(|(label, (ms, which), before)| {
            let mut bars = vec![(of(ms), GOOD, format!("{which} {}", words::milliseconds(ms)))];
            bars.extend(before.map(|ms| {
                (
                    of(ms),
                    BEFORE,
                    format!("{} last week", words::milliseconds(ms)),
                )
            }));
            Row { label, bars }
        })
        .collect();
    Some(Chart {
        name: "stages",
        title: "How long the stages of a browser boot take, this week and last",
        says: format!("Stages: {}.", said.join(", ")),
        shape: Shape::Rows(rows),
    })
}

fn budget(report: &Report) -> Option<Chart> {
    let budget = report.budget;
    if budget.judged == 0 {
        return None;
    }
    let whole = budget.allowed.max(float(budget.failed)).max(1.0);
    Some(Chart {
        name: "budget",
        title: "The budget of failed browser boots over 30 days",
        says: words::budget(report),
        shape: Shape::Rows(vec![
            Row {
                label: "allowed".to_owned(),
                bars: vec![(
                    budget.allowed / whole,
                    BEFORE,
                    words::tenths(budget.allowed),
                )],
            },
            Row {
                label: "failed".to_owned(),
                bars: vec![(
                    float(budget.failed) / whole,
                    BAD,
                    words::grouped(budget.failed),
                )],
            },
        ]),
    })
}

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

const COLUMNS_HEIGHT: u32 = 210;
const BAR: u32 = 14;

impl Chart {
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        let height = match &self.shape {
            Shape::Columns(_) => COLUMNS_HEIGHT,
            Shape::Rows(rows) => {
                let bars: usize = rows.iter().map(|row| row.bars.len()).sum();
                let heights = bars * usize::try_from(BAR).unwrap_or(0) + rows.len() * 10 + 12;
                u32::try_from(heights).unwrap_or(COLUMNS_HEIGHT)
            }
        };
        (WIDTH, height)
    }

    /// An `svg` element.
    #[must_use]
    pub fn svg(&self) -> String {
        install_font();
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, self.size()).into_drawing_area();
            if let Err(error) = self.draw(&area).and_then(|()| area.present()) {
                tracing::error!(%error, chart = self.name, "a chart cannot be drawn");
            }
        }
        text
    }

    /// A PNG file; empty where it cannot be drawn, which is logged.
    #[must_use]
    pub fn png(&self) -> Vec<u8> {
        install_font();
        let (width, height) = self.size();
        let pixels = usize::try_from(width * height * 3).unwrap_or(0);
        let mut buffer = vec![0xff; pixels];
        let drawn = {
            let area = BitMapBackend::with_buffer(&mut buffer, (width, height)).into_drawing_area();
            self.draw(&area).and_then(|()| area.present())
        };
        if let Err(error) = drawn {
            tracing::error!(%error, chart = self.name, "a chart cannot be drawn");
            return Vec::new();
        }
        encoded(&buffer, width, height)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        area.fill(&PAPER)?;
        match &self.shape {
            Shape::Columns(columns) => draw_columns(area, columns),
            Shape::Rows(rows) => draw_rows(area, rows),
        }
    }
}

/// Whole pixels of a part of a length.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a part of a chart's few hundred pixels"
)]
fn part(length: i32, of: f64) -> i32 {
    (f64::from(length) * of.clamp(0.0, 1.0)).round() as i32
}

fn style(colour: RGBColor, h_pos: HPos, v_pos: VPos) -> TextStyle<'static> {
    ("sans-serif", SIZE)
        .into_font()
        .color(&colour)
        .pos(Pos::new(h_pos, v_pos))
}

fn draw_columns<B: DrawingBackend>(area: &DrawingArea<B, Shift>, columns: &[Column]) -> Drawn<B> {
    let (width, height) = size_of(area);
    let (top, bottom) = (24, height - 24);
    let each = width / i32::try_from(columns.len().max(1)).unwrap_or(1);
    for (number, column) in (0..).zip(columns) {
        let (left, right) = (number * each + each / 8, (number + 1) * each - each / 8);
        let middle = i32::midpoint(left, right);
        let mut at = bottom;
        for (share, colour) in &column.parts {
            let to = at - part(bottom - top, *share);
            area.draw(&Rectangle::new([(left, to), (right, at)], colour.filled()))?;
            if *colour == BAD {
                for line in (to + 3..at - 1).step_by(STRIPE) {
                    area.draw(&Rectangle::new(
                        [(left, line), (right, line + 1)],
                        PAPER.filled(),
                    ))?;
                }
            }
            at = to;
        }
        area.draw(&Rectangle::new(
            [(left, bottom), (right, bottom + 1)],
            FAINT.filled(),
        ))?;
        area.draw(&Text::new(
            column.above.clone(),
            (middle, at - 3),
            style(INK, HPos::Center, VPos::Bottom),
        ))?;
        area.draw(&Text::new(
            column.label.clone(),
            (middle, bottom + 5),
            style(FAINT, HPos::Center, VPos::Top),
        ))?;
    }
    Ok(())
}

fn draw_rows<B: DrawingBackend>(area: &DrawingArea<B, Shift>, rows: &[Row]) -> Drawn<B> {
    const LABELS: i32 = 200;
    const BEHIND: i32 = 120;
    let (width, _) = size_of(area);
    let bar = i32::try_from(BAR).unwrap_or(14);
    let mut top = 6;
    for row in rows {
        let bars = i32::try_from(row.bars.len()).unwrap_or(1);
        area.draw(&Text::new(
            row.label.clone(),
            (LABELS - 8, top + bars * bar / 2),
            style(INK, HPos::Right, VPos::Center),
        ))?;
        for (share, colour, behind) in &row.bars {
            let right = LABELS + part(width - LABELS - BEHIND, *share);
            area.draw(&Rectangle::new(
                [(LABELS, top + 1), (right.max(LABELS + 1), top + bar - 1)],
                colour.filled(),
            ))?;
            area.draw(&Text::new(
                behind.clone(),
                (right + 6, top + bar / 2),
                style(FAINT, HPos::Left, VPos::Center),
            ))?;
            top += bar;
        }
        top += 10;
    }
    Ok(())
}

fn size_of<B: DrawingBackend>(area: &DrawingArea<B, Shift>) -> (i32, i32) {
    let (width, height) = area.dim_in_pixel();
    (
        i32::try_from(width).unwrap_or(0),
        i32::try_from(height).unwrap_or(0),
    )
}

/// The one font there is, so that nothing depends on the machine's: a subset of DejaVu Sans.
fn install_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if register_font("sans-serif", FontStyle::Normal, FONT).is_err() {
            tracing::error!("the charts' font cannot be read");
        }
    });
}

fn encoded(buffer: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let written = encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(buffer));
    match written {
        Ok(()) => file,
        Err(error) => {
            tracing::error!(%error, "a picture cannot be encoded");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contrast of two colours, as WCAG 2 has it.
    fn contrast(a: RGBColor, b: RGBColor) -> f64 {
        let light = |RGBColor(red, green, blue): RGBColor| {
            let [red, green, blue] = [red, green, blue].map(|part| {
                let part = f64::from(part) / 255.0;
                match part <= 0.040_45 {
                    true => part / 12.92,
                    false => ((part + 0.055) / 1.055).powf(2.4),
                }
            });
            0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05
        };
        let (a, b) = (light(a), light(b));
        a.max(b) / a.min(b)
    }

    #[test]
    fn ready_and_failed_are_told_apart_from_each_other_and_the_paper_by_lightness() {
        for (a, b) in [(GOOD, BAD), (GOOD, PAPER), (BAD, PAPER)] {
            assert!(contrast(a, b) >= 3.0, "{a:?} {b:?} {}", contrast(a, b));
        }
    }
}
