//! The demo told on the terminal: what happens, what bootwatch makes of it, and figures that move.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::simulator::plan::Happening;

/// How the demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The page was sent, named the cause and was resolved.
    Told,
    Broken,
}

pub(super) struct Story<'a> {
    out: &'a mut dyn Write,
    colours: bool,
    once: bool,
    broken_at: Option<Duration>,
    fixed_at: Option<Duration>,
    paged_at: Option<Duration>,
    named_the_cause: bool,
    resolved_at: Option<Duration>,
    /// A line of moving figures stands at the cursor and is to be overwritten.
    moving: bool,
}

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";

impl<'a> Story<'a> {
    pub(super) fn new(out: &'a mut dyn Write, colours: bool, once: bool) -> Story<'a> {
        Story {
            out,
            colours,
            once,
            broken_at: None,
            fixed_at: None,
            paged_at: None,
            named_the_cause: false,
            resolved_at: None,
            moving: false,
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("{colour}{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn line(&mut self, text: &str) -> std::io::Result<()> {
        if self.moving {
            write!(self.out, "\r\x1b[K")?;
            self.moving = false;
        }
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    fn at(&mut self, at: Duration, colour: &str, text: &str) -> std::io::Result<()> {
        let text = format!("{}  {}", clock(at), self.paint(colour, text));
        self.line(&text)
    }

    fn detail(&mut self, text: &str) -> std::io::Result<()> {
        let text = format!("       {text}");
        self.line(&text)
    }

    pub(super) fn opens(&mut self, log: &Path, web: SocketAddr) -> std::io::Result<()> {
        let title = self.paint(BOLD, "bootwatch demo");
        self.line(&format!(
            "{title}: a simulated master-controller and the whole sidecar, on this machine only"
        ))?;
        self.line(&format!("  its log   {}", log.display()))?;
        self.line(&format!("  metrics   http://{web}/metrics"))?;
        if !self.once {
            self.line("  Ctrl-C ends it")?;
        }
        self.line("")?;
        self.at(Duration::ZERO, GREEN, "All is well: users ask for a browser VM about once a second, and each is ready in two.")
    }

    pub(super) fn happened(&mut self, happening: Happening, at: Duration) -> std::io::Result<()> {
        match happening {
            Happening::ImageRebuilt { with_agent: false } => {
                self.broken_at = Some(at);
                self.at(
                    at,
                    YELLOW,
                    "The golden image is rebuilt, and the agent is not in it. Nobody notices.",
                )?;
                self.detail(
                    "New VMs boot, get their address, and refuse every health check on port 8080.",
                )
            }
            Happening::ImageRebuilt { with_agent: true } => {
                self.fixed_at = Some(at);
                self.at(
                    at,
                    YELLOW,
                    "On-call puts the agent back into the golden image.",
                )
            }
            other => self.at(at, YELLOW, &format!("{other:?}")),
        }
    }

    pub(super) fn page(&mut self, page: &Value, at: Duration) -> std::io::Result<()> {
        let alerts = page["alerts"].as_array().cloned().unwrap_or_default();
        let text = |field: &str| {
            let common = page["commonAnnotations"][field].as_str();
            let first = alerts
                .iter()
                .find_map(|alert| alert["annotations"][field].as_str());
            clean(common.or(first).unwrap_or_default())
        };
        let label = |name: &str| {
            alerts
                .iter()
                .find_map(|alert| alert["labels"][name].as_str())
                .unwrap_or_default()
        };
        let resolved = page["status"] == "resolved";
        if resolved {
            self.resolved_at = Some(at);
            self.at(at, GREEN, &format!("RESOLVED  {}", text("summary")))?;
            let after = self
                .fixed_at
                .map(|fixed| at.saturating_sub(fixed).as_secs_f64());
            if let Some(after) = after {
                self.detail(&format!("{after:.1} s after the fix."))?;
            }
        } else if self.paged_at.is_none() {
            self.paged_at = Some(at);
            self.named_the_cause = label("cause") == "agent_refused";
            self.at(at, RED, &format!("PAGE  {}", text("summary")))?;
            for field in ["figures", "not_affected"] {
                let words = text(field);
                if !words.is_empty() {
                    self.detail(&words)?;
                }
            }
            for line in text("evidence").lines() {
                let line = self.paint(DIM, line);
                self.detail(&line)?;
            }
            let after = self
                .broken_at
                .map(|broken| at.saturating_sub(broken).as_secs_f64());
            if let Some(after) = after {
                self.detail(&format!(
                    "{after:.1} s after the image was broken. In October 2025 it took two days."
                ))?;
            }
        } else {
            let mut rules: Vec<&str> = alerts
                .iter()
                .filter_map(|alert| alert["labels"]["alertname"].as_str())
                .collect();
            rules.sort_unstable();
            rules.dedup();
            self.at(
                at,
                RED,
                &format!("update  the same incident, now also: {}", rules.join(", ")),
            )?;
        }
        Ok(())
    }

    /// One line of figures, from the sidecar's own metrics.
    pub(super) fn figures(&mut self, metrics: &str, at: Duration) -> std::io::Result<()> {
        if !self.colours {
            return Ok(());
        }
        let sum = |name: &str, with: &str| -> f64 {
            metrics
                .lines()
                .filter(|line| line.starts_with(name) && line.contains(with))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        };
        let line = format!(
            "{}  boots ready {:.0}, failed {:.0}, in flight {:.0}; health checks refused {:.0}; alerts firing {:.0}",
            clock(at),
            sum("bootwatch_boots_total{", "outcome=\"ready\""),
            sum("bootwatch_boots_total{", "outcome=\"failed\""),
            sum("bootwatch_boots_in_progress{", ""),
            sum("bootwatch_health_checks_total{", "ECONNREFUSED"),
            sum("bootwatch_alerts_firing{", ""),
        );
        let line = self.paint(DIM, &line);
        write!(self.out, "\r\x1b[K{line}")?;
        self.moving = true;
        self.out.flush()
    }

    pub(super) fn is_told(&self) -> bool {
        self.resolved_at.is_some()
    }

    pub(super) fn ends(&mut self) -> std::io::Result<Ending> {
        self.line("")?;
        let told = self.paged_at.is_some() && self.named_the_cause && self.resolved_at.is_some();
        if told {
            self.line("One incident, one page, the cause named, and its end told. That was the whole sidecar.")?;
            return Ok(Ending::Told);
        }
        if !self.once && self.paged_at.is_none() {
            self.line("Ended before the incident.")?;
            return Ok(Ending::Told);
        }
        let missing = match (self.paged_at, self.named_the_cause, self.resolved_at) {
            (None, _, _) => "no page was sent",
            (Some(_), false, _) => "the page did not name the cause",
            (Some(_), true, None) => "the incident was not resolved",
            (Some(_), true, Some(_)) => "nothing",
        };
        self.line(&format!("The story broke off: {missing}."))?;
        Ok(if self.once {
            Ending::Broken
        } else {
            Ending::Told
        })
    }
}

/// Text of a page, for a terminal: no control characters but line ends.
fn clean(text: &str) -> String {
    text.chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect()
}

fn clock(at: Duration) -> String {
    format!("{:02}:{:02}", at.as_secs() / 60, at.as_secs() % 60)
}
