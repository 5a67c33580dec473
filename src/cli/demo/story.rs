//! The demo told on the terminal: what happens, what bootwatch makes of it, and figures that move.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::screen::Screen;
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
    screen: Screen,
    once: bool,
    broken_at: Option<Duration>,
    fixed_at: Option<Duration>,
    paged_at: Option<Duration>,
    named_the_cause: bool,
    resolved_at: Option<Duration>,
    /// What the controller's tables say was told.
    compared: bool,
    /// How the synthetic boots went was told: the one that failed, and the one after the fix.
    tried: bool,
    tried_again: bool,
    /// What was told of why.
    why: String,
    /// The rules that the page and its updates named.
    told: Vec<String>,
    /// The key of the incident that the story is about.
    key: String,
    /// A line of moving figures stands at the cursor and is to be overwritten.
    moving: bool,
}

/// The columns that the time takes.
const INDENT: usize = 7;
/// A synthetic boot is asked for so long after the image was broken, and so long after it was mended.
const TRIAL_AFTER_BREAK: Duration = Duration::from_secs(6);
const TRIAL_AFTER_FIX: Duration = Duration::from_secs(2);
/// How long an audience may look at the happy end.
const AFTERMATH: Duration = Duration::from_secs(3);
/// And for so long if the last synthetic boot has not passed by then.
const LAST_WORD: Duration = Duration::from_secs(15);
/// Lines of evidence shown.
const EVIDENCE_LINES: usize = 3;
const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";

impl<'a> Story<'a> {
    pub(super) fn new(out: &'a mut dyn Write, screen: Screen, once: bool) -> Story<'a> {
        Story {
            out,
            screen,
            once,
            broken_at: None,
            fixed_at: None,
            paged_at: None,
            named_the_cause: false,
            resolved_at: None,
            compared: false,
            tried: false,
            tried_again: false,
            why: String::new(),
            told: Vec::new(),
            key: String::new(),
            moving: false,
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.screen.lively {
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

    /// Something happens: wrapped beside its time.
    fn at(&mut self, at: Duration, colour: &str, text: &str) -> std::io::Result<()> {
        for (n, line) in self.screen.wrapped(text, INDENT).into_iter().enumerate() {
            let before = if n == 0 { clock(at) } else { " ".repeat(5) };
            let line = format!("{before}  {}", self.paint(colour, &line));
            self.line(&line)?;
        }
        Ok(())
    }

    fn detail(&mut self, text: &str) -> std::io::Result<()> {
        for line in self.screen.wrapped(text, INDENT) {
            self.line(&format!("{:INDENT$}{line}", ""))?;
        }
        Ok(())
    }

    /// A line that was not written by us: cut, not wrapped.
    fn quote(&mut self, text: &str) -> std::io::Result<()> {
        let text = self.screen.cut(text, INDENT);
        let text = format!("{:INDENT$}{}", "", self.paint(DIM, &text));
        self.line(&text)
    }

    /// The detail that ends a chapter.
    fn remark(&mut self, text: &str) -> std::io::Result<()> {
        for line in self.screen.wrapped(text, INDENT) {
            let line = format!("{:INDENT$}{}", "", self.paint(BOLD, &line));
            self.line(&line)?;
        }
        Ok(())
    }

    pub(super) fn opens(
        &mut self,
        log: &Path,
        web: SocketAddr,
        token: &str,
    ) -> std::io::Result<()> {
        let title = self.paint(BOLD, "bootwatch demo");
        self.line(&format!(
            "{title}: the incident of October 2025 in fifty seconds."
        ))?;
        let what =
            "A simulated master-controller and the whole sidecar beside it, on this machine only.";
        for line in self.screen.wrapped(what, 0) {
            self.line(&line)?;
        }
        self.line(&format!("  log      {}", log.display()))?;
        self.line(&format!("  pages    http://{web}"))?;
        self.line(&format!("  metrics  http://{web}/metrics"))?;
        if !self.once {
            self.line(&format!("  token    {token}, for the pages' forms"))?;
            self.line("  end      Ctrl-C")?;
        }
        self.line("")?;
        self.at(
            Duration::ZERO,
            GREEN,
            "All is well: a user a second asks for a browser VM and has it in two or three.",
        )
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

    /// Whether it is time for a synthetic boot: one while the image is broken, and one once it is mended.
    pub(super) fn wants_a_trial(&self, at: Duration) -> bool {
        let since = |then: Duration| at.saturating_sub(then);
        match (self.broken_at, self.fixed_at) {
            (_, Some(fixed)) => self.tried && !self.tried_again && since(fixed) >= TRIAL_AFTER_FIX,
            (Some(broken), None) => !self.tried && since(broken) >= TRIAL_AFTER_BREAK,
            (None, None) => false,
        }
    }

    /// What the sidecar's own boots met, once it is known.
    pub(super) fn trial(&mut self, view: &Value, at: Duration) -> std::io::Result<()> {
        let run = match view["running"].is_null() {
            true => &view["runs"][0],
            false => &view["running"],
        };
        let word = |key: &str| clean(run[key].as_str().unwrap_or("unknown"));
        match run["result"].as_str() {
            Some("failed") if !self.tried => {
                self.tried = true;
                self.at(
                    at,
                    YELLOW,
                    "A synthetic boot, bootwatch's own, finds it too: no user is needed for that.",
                )?;
                self.detail(&format!(
                    "{}, stopped in {}; its VM is cancelled, and nothing of it will be left.",
                    word("failure"),
                    word("stopped_in"),
                ))
            }
            Some("passed") if !self.tried_again => {
                self.tried_again = true;
                self.at(
                    at,
                    GREEN,
                    "Another synthetic boot passes: the agent answers, and VNC behind it.",
                )
            }
            _ => Ok(()),
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
        let key = page["groupKey"].as_str().unwrap_or_default();
        if self.paged_at.is_some() && key != self.key {
            let (colour, what) = match resolved {
                true => (GREEN, "ANOTHER INCIDENT RESOLVED"),
                false => (RED, "ANOTHER INCIDENT"),
            };
            return self.at(at, colour, &format!("{what}: {}", text("summary")));
        }
        if resolved {
            self.resolved_at = Some(at);
            self.at(at, GREEN, &format!("RESOLVED: {}", text("summary")))?;
            let after = self
                .fixed_at
                .map(|fixed| at.saturating_sub(fixed).as_secs_f64());
            if let Some(after) = after {
                self.remark(&format!("{after:.1} s after the fix."))?;
            }
        } else if self.paged_at.is_none() {
            self.paged_at = Some(at);
            self.key = key.to_owned();
            self.named_the_cause = label("cause") == "agent_refused";
            self.at(at, RED, &format!("PAGE: {}", text("summary")))?;
            self.told.extend(rules(&alerts));
            self.detail(&text("figures"))?;
            let well = text("not_affected");
            if !well.is_empty() {
                self.detail(&format!("Not affected: {well}"))?;
            }
            for line in text("evidence").lines().take(EVIDENCE_LINES) {
                self.quote(self.screen.evidence(line))?;
            }
            let after = self
                .broken_at
                .map(|broken| at.saturating_sub(broken).as_secs_f64());
            if let Some(after) = after {
                self.remark(&format!(
                    "{after:.1} s after the image was broken. In October 2025 it took two days."
                ))?;
            }
        } else {
            let further: Vec<String> = rules(&alerts)
                .into_iter()
                .filter(|rule| !self.told.contains(rule))
                .collect();
            let what = match further.is_empty() {
                true => "the same incident goes on".to_owned(),
                false => format!("the same incident, now seen by {} too", further.join(", ")),
            };
            self.told.extend(further);
            self.at(at, RED, &format!("UPDATE: {what}; nobody is paged again."))?;
            let why = text("diagnosis");
            if !why.is_empty() && why != self.why {
                self.detail(why.lines().next().unwrap_or_default())?;
                self.why = why;
            }
        }
        Ok(())
    }

    /// What the sidecar's own metrics say: the database's chapter once all is over, and a line of figures that move.
    pub(super) fn metrics(&mut self, metrics: &str, at: Duration) -> std::io::Result<()> {
        if self.resolved_at.is_some() && !self.compared {
            self.compared = true;
            self.compare(metrics, at)?;
        }
        self.figures(metrics, at)
    }

    /// The log told what happened; the controller's tables tell whether it is so.
    fn compare(&mut self, metrics: &str, at: Duration) -> std::io::Result<()> {
        let sum = |name, with| sum(metrics, name, with);
        let failed = sum("bootwatch_sessions_total{", "status=\"failed\"");
        let ready = sum("bootwatch_sessions_total{", "status=\"awaiting_user_auth\"");
        let rows = sum("bootwatch_database_vms{", "");
        let disagree = sum("bootwatch_findings{", "db_disagrees");
        self.at(
            at,
            GREEN,
            &format!(
                "The controller's database, looked at every second: {rows:.0} VMs, {failed:.0} sessions failed, \
                 {ready:.0} ready."
            ),
        )?;
        let fits = match disagree {
            0.0 => "No row contradicts the log.".to_owned(),
            rows => format!("{rows:.0} rows contradict the log; the log decides."),
        };
        self.detail(&fits)
    }

    fn figures(&mut self, metrics: &str, at: Duration) -> std::io::Result<()> {
        if !self.screen.lively {
            return Ok(());
        }
        let sum = |name, with| sum(metrics, name, with);
        let line = format!(
            "{}  {:.0} ready, {:.0} failed, {:.0} in flight; {:.0} checks refused; {:.0} alerts firing",
            clock(at),
            sum("bootwatch_boots_total{", "outcome=\"ready\""),
            sum("bootwatch_boots_total{", "outcome=\"failed\""),
            sum("bootwatch_boots_in_progress{", ""),
            sum("bootwatch_health_checks_total{", "ECONNREFUSED"),
            sum("bootwatch_alerts_firing{", ""),
        );
        // A line that wraps could not be overwritten.
        let line = self.screen.cut(&line, 1);
        let line = self.paint(DIM, &line);
        write!(self.out, "\r\x1b[K{line}")?;
        self.moving = true;
        self.out.flush()
    }

    /// Told, and the figures have been well for a moment.
    pub(super) fn is_told(&self, at: Duration) -> bool {
        let wait = match self.tried_again {
            true => AFTERMATH,
            false => LAST_WORD,
        };
        self.resolved_at
            .is_some_and(|resolved| at >= resolved + wait)
    }

    pub(super) fn ends(&mut self) -> std::io::Result<Ending> {
        self.line("")?;
        let told = self.paged_at.is_some() && self.named_the_cause && self.compared;
        if told {
            for line in self.screen.wrapped(
                "One incident, one page, the cause named, and its end told. That was the whole sidecar.",
                0,
            ) {
                self.line(&line)?;
            }
            return Ok(Ending::Told);
        }
        if !self.once && self.paged_at.is_none() {
            self.line("Ended before there was anything to page.")?;
            return Ok(Ending::Told);
        }
        let missing = match (self.paged_at, self.named_the_cause, self.resolved_at) {
            (None, _, _) => "no page was sent",
            (Some(_), false, _) => "the page did not name the cause",
            (Some(_), true, None) => "the incident was not resolved",
            (Some(_), true, Some(_)) => "the database was not compared",
        };
        self.line(&format!("The story broke off: {missing}."))?;
        Ok(if self.once {
            Ending::Broken
        } else {
            Ending::Told
        })
    }
}

/// The sum of a family's series that contain `with`.
fn sum(metrics: &str, name: &str, with: &str) -> f64 {
    metrics
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(with))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        // The sum of nothing would be -0.
        .fold(0.0, |sum, value| sum + value)
}

/// The rules that fire, each once.
fn rules(alerts: &[Value]) -> Vec<String> {
    let mut rules: Vec<String> = alerts
        .iter()
        .filter_map(|alert| alert["labels"]["alertname"].as_str())
        .map(clean)
        .collect();
    rules.sort_unstable();
    rules.dedup();
    rules
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
