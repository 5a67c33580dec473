//! The same hour through the engine and through Prometheus: the same alerts, and how much later the twins are.
//!
//! The simulator plays twenty healthy minutes, fifteen with an image without the agent, ten of recovery and fifteen in which
//! nobody asks for anything. The engine judges in process, on an invented clock; a recorder shows `/metrics` at every
//! minute, and that is all that Prometheus gets: promtool evaluates the exported rules over it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use bootwatch::controller::clock::Zone;
use bootwatch::controller::excerpt::excerpt;
use bootwatch::controller::reader::Reader;
use bootwatch::core::alert::{Effect, Engine, Settings};
use bootwatch::core::boot::{Boot, Observation, Tracker};
use bootwatch::core::event::{Event, Timestamp};
use bootwatch::core::rule::RuleName;
use bootwatch::export::{ReadFigures, Recorder, Setup, SourceFigures};
use bootwatch::simulator::plan::{Happening, Injection, Phase, Plan};
use bootwatch::simulator::scenario::row;
use bootwatch::simulator::{Figures, Happened, Simulation, Version};

use crate::simulator::START;
use crate::tree;

const MINUTE: i64 = 60_000;
const BROKEN: i64 = 20;
const FIXED: i64 = 35;
const QUIET: i64 = 45;
const END: i64 = 60;
const LOG: &str = "log";
const PAGE: &str = "alerts/README.md";

fn hour() -> Plan {
    Plan::new(11, START)
        .figures(Figures::production(Version::Oct))
        .injection(Injection::Never)
        .phase(Phase {
            from: 1_000,
            rate: 150,
            boots: None,
            lasts: Some(QUIET * MINUTE),
            mix: vec![(6, row("healthy")), (1, row("cli-fresh"))],
        })
        .at(
            BROKEN * MINUTE,
            Happening::ImageRebuilt { with_agent: false },
        )
        .at(FIXED * MINUTE, Happening::ImageRebuilt { with_agent: true })
}

/// The rules that are judged over boots.
const OVER_BOOTS: [RuleName; 6] = [
    RuleName::BootFailureRate,
    RuleName::BootBudgetBurn,
    RuleName::ConnectionRefusedSpike,
    RuleName::ConnectionErrorSpike,
    RuleName::BootStageSlow,
    RuleName::ReadinessHeadroomLow,
];

/// Which alert, and from when to when it fired, in seconds after the hour's start.
type Fired = BTreeMap<(String, String), Vec<(f64, Option<f64>)>>;

/// The sidecar's core on an invented clock, and what it shows.
struct Sidecar {
    reader: Reader,
    tracker: Tracker,
    engine: Engine,
    recorder: Recorder,
    lines: u64,
    bytes: u64,
    fired: Fired,
    /// By series, its values from minute to minute.
    shown: BTreeMap<String, Vec<Option<f64>>>,
    minute: i64,
}

impl Sidecar {
    fn new() -> Sidecar {
        Sidecar {
            reader: Reader::new(0, Zone::Named(jiff::tz::TimeZone::UTC)),
            tracker: Tracker::new(excerpt),
            engine: Engine::new(Settings::default()),
            recorder: Recorder::new(&Setup {
                sources: vec![LOG.to_owned()],
                ..Setup::default()
            }),
            lines: 0,
            bytes: 0,
            fired: Fired::new(),
            shown: BTreeMap::new(),
            minute: 0,
        }
    }

    fn read(&mut self, text: &[u8], now: Timestamp) {
        self.lines += 1;
        self.bytes += text.len() as u64;
        let mut said: Vec<Observation> = Vec::new();
        let Sidecar {
            reader, tracker, ..
        } = self;
        let mut take = |event: &Event<'_>| tracker.observe(event, &mut said);
        reader.push(text, &mut take);
        reader.flush(&mut take);
        self.judge(&said, now);
    }

    fn judge(&mut self, said: &[Observation], now: Timestamp) {
        let mut effects = Vec::new();
        for observation in said {
            self.recorder.observe(observation, true);
            self.engine.observe(observation, now, &mut effects);
        }
        self.apply(effects);
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.recorder.effect(&effect);
            let Effect::AlertChanged(change) = effect else {
                continue;
            };
            let vm_type = change
                .subject
                .vm_type()
                .map_or("", |vm_type| vm_type.as_str());
            let key = (change.rule.as_str().to_owned(), vm_type.to_owned());
            let at = change.at.since(START) as f64 / 1000.0;
            let times = self.fired.entry(key).or_default();
            match change.to {
                "firing" => times.push((at, None)),
                "resolved" => times.last_mut().unwrap().1 = Some(at),
                _ => {}
            }
        }
    }

    /// Lets time pass: what is due happens when it is, and at each full minute the metrics are shown.
    fn pass(&mut self, until: Timestamp) {
        loop {
            let minute = START.plus_ms(self.minute * MINUTE);
            let due = self
                .engine
                .next_due()
                .filter(|due| *due <= until.min(minute));
            if let Some(due) = due {
                let mut effects = Vec::new();
                self.engine.tick(due, &mut effects);
                self.apply(effects);
                if self.engine.next_due() != Some(due) {
                    continue;
                }
            }
            if minute > until {
                return;
            }
            let mut said = Vec::new();
            self.tracker.advance(minute, &mut said);
            self.judge(&said, minute);
            self.show();
            self.minute += 1;
        }
    }

    fn show(&mut self) {
        let kinds = self.tracker.open_iter().map(Boot::kind);
        self.recorder.in_flight(kinds, self.engine.overdue());
        self.recorder.alerts(self.engine.alerts());
        self.recorder.source(
            LOG,
            &SourceFigures {
                up: true,
                lines: self.lines,
                bytes: self.bytes,
                ..SourceFigures::default()
            },
        );
        self.recorder.reads(
            LOG,
            &ReadFigures {
                newest: self.reader.newest(),
                ..ReadFigures::default()
            },
        );
        let text = String::from_utf8(self.recorder.render()).unwrap();
        let minute = usize::try_from(self.minute).unwrap();
        for line in text.lines().filter(|line| line.starts_with("bootwatch_")) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let mut value: f64 = value.parse().unwrap();
            // promtool's time begins at the epoch.
            if series.contains("_timestamp_seconds") {
                value -= START.0 as f64 / 1000.0;
            }
            let values = self.shown.entry(series.to_owned()).or_default();
            values.resize(minute, None);
            values.push(Some(value));
        }
    }
}

fn played() -> Sidecar {
    let mut sidecar = Sidecar::new();
    let simulation = Simulation::new(hour());
    for moment in simulation {
        if moment.at > START.plus_ms(END * MINUTE) {
            break;
        }
        sidecar.pass(moment.at);
        if let Happened::Line(record) = &moment.what {
            let at = jiff::Timestamp::from_millisecond(moment.at.0).unwrap();
            let mut text = Vec::new();
            record.write_plain(
                &mut text,
                at.strftime("%Y-%m-%d %H:%M:%S").to_string().as_bytes(),
            );
            sidecar.read(&text, moment.at);
        }
    }
    sidecar.pass(START.plus_ms(END * MINUTE));
    sidecar
}

/// promtool's test: the series, and at each minute the question which alerts fire, to which it expects none.
fn trial(shown: &BTreeMap<String, Vec<Option<f64>>>) -> String {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/bootwatch.rules.yml");
    let mut out = format!(
        "rule_files: [{:?}]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n  - series: 'up{{job=\"bootwatch\",instance=\"host-1:9644\"}}'\n    values: '1x{END}'\n",
        rules.display().to_string()
    );
    for (series, values) in shown {
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let comma = if labels == "}" { "" } else { "," };
        let values: Vec<String> = values
            .iter()
            .map(|value| value.map_or_else(|| "_".to_owned(), |value| value.to_string()))
            .collect();
        writeln!(
            out,
            "  - series: '{name}{{job=\"bootwatch\",instance=\"host-1:9644\"{comma}{labels}'\n    values: '{}'",
            values.join(" ")
        )
        .unwrap();
    }
    out.push_str("  promql_expr_test:\n");
    for minute in 0..=END {
        writeln!(
            out,
            "  - expr: ALERTS{{alertstate=\"firing\",alertname!=\"BootwatchHeartbeat\"}}\n    eval_time: {minute}m\n    exp_samples: []"
        )
        .unwrap();
    }
    out
}

/// What Prometheus says: from when to when each alert fired, read from promtool's complaints that something did.
fn judged_by_prometheus(shown: &BTreeMap<String, Vec<Option<f64>>>) -> Fired {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hour.yml");
    std::fs::write(&file, trial(shown)).unwrap();
    let output = Command::new("promtool")
        .args(["test", "rules"])
        .arg(&file)
        .output()
        .expect("promtool is installed (scripts/test installs it)");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let mut at: BTreeMap<(String, String), BTreeSet<i64>> = BTreeMap::new();
    let mut minute = 0;
    for line in said.lines() {
        if let Some((_, rest)) = line.split_once("time: ") {
            minute = minutes(rest.trim_end_matches(','));
        }
        for alert in line.split("__name__=\"ALERTS\"").skip(1) {
            let label = |name: &str| {
                let value = alert.split(&format!("{name}=\"")).nth(1);
                value
                    .map(|value| value.split('"').next().unwrap().to_owned())
                    .unwrap_or_default()
            };
            at.entry((label("alertname"), label("vm_type")))
                .or_default()
                .insert(minute);
        }
    }
    assert!(!at.is_empty(), "promtool said nothing of alerts: {said}");
    at.into_iter()
        .map(|(alert, minutes)| (alert, stretches(&minutes)))
        .collect()
}

/// `1h0m0s`, `25m0s` or `25m`.
fn minutes(text: &str) -> i64 {
    let (hours, rest) = text.split_once('h').unwrap_or(("0", text));
    let minutes = rest.split_once('m').map_or("0", |(minutes, _)| minutes);
    hours.parse::<i64>().unwrap() * 60 + minutes.parse::<i64>().unwrap_or(0)
}

fn stretches(minutes: &BTreeSet<i64>) -> Vec<(f64, Option<f64>)> {
    let seconds = |minute: i64| (minute * 60) as f64;
    let mut out: Vec<(f64, Option<f64>)> = Vec::new();
    for minute in minutes {
        if !minutes.contains(&(minute - 1)) {
            out.push((seconds(*minute), None));
        }
        if !minutes.contains(&(minute + 1)) && *minute < END {
            out.last_mut().unwrap().1 = Some(seconds(minute + 1));
        }
    }
    out
}

#[test]
fn the_same_hour_gives_the_same_alerts_in_the_engine_and_in_prometheus() {
    let sidecar = played();
    let engine = &sidecar.fired;
    // The engine is given boots only here: what is judged by other facts is of Prometheus alone.
    let names: BTreeSet<&str> = OVER_BOOTS.map(RuleName::as_str).into();
    let (twins, others): (Fired, Fired) = judged_by_prometheus(&sidecar.shown)
        .into_iter()
        .partition(|((name, _), _)| names.contains(name.as_str()));
    for (alert, times) in &others {
        println!("of Prometheus alone: {alert:?} {times:?}");
    }
    let alerts = |fired: &Fired| fired.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(
        alerts(engine),
        alerts(&twins),
        "the same alerts: {engine:?} and {twins:?}"
    );
    assert!(engine.len() >= 2, "{engine:?}");
    let mut table = String::from(
        "| alert | engine fires | Prometheus fires | later by | engine resolves | Prometheus resolves |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let broken = (BROKEN * 60) as f64;
    for (alert, theirs) in &twins {
        if alert.0 == RuleName::BootBudgetBurn.as_str() {
            // Its windows are hours: it outlasts the hour, and is a part of an incident that the others opened.
            let in_incident =
                |times: &[(f64, Option<f64>)]| times.len() == 1 && times[0].0 > broken;
            assert!(
                in_incident(&engine[alert]) && in_incident(theirs),
                "{alert:?}"
            );
            continue;
        }
        let [(fired, Some(over))] = engine[alert][..] else {
            panic!("{alert:?} fires once and is over: {engine:?}");
        };
        let [(twin_fired, Some(twin_over))] = theirs[..] else {
            panic!("the twin of {alert:?} fires once and is over: {theirs:?}");
        };
        assert!(
            fired > broken && twin_fired > broken,
            "{alert:?} fires in the incident"
        );
        assert!(
            twin_over < (END * 60) as f64,
            "{alert:?} is over before the end"
        );
        // It sees a minute's end, and a window of minutes.
        assert!(
            (-60.0..=180.0).contains(&(twin_fired - fired)),
            "{alert:?}: {twin_fired} and {fired}"
        );
        assert!(
            (twin_over - over).abs() <= 600.0,
            "{alert:?}: {twin_over} and {over}"
        );
        let after = |at: f64| format!("{:.0} s", at - broken);
        writeln!(
            table,
            "| {} ({}) | {} | {} | {:.0} s | {} | {} |",
            alert.0,
            alert.1,
            after(fired),
            after(twin_fired),
            twin_fired - fired,
            after(over),
            after(twin_over)
        )
        .unwrap();
    }
    println!("{table}");
    keep(&table);
}

/// The page's table is this one.
fn keep(table: &str) {
    let page = tree::read(PAGE);
    let (head, rest) = page.split_once("<!-- parity -->\n").unwrap();
    let (told, tail) = rest.split_once("<!-- parity ends -->").unwrap();
    if std::env::var_os("BLESS").is_some() {
        let page = format!("{head}<!-- parity -->\n{table}<!-- parity ends -->{tail}");
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE), page).unwrap();
    } else {
        assert_eq!(
            told, table,
            "{PAGE} tells other figures; BLESS=1 writes them"
        );
    }
}
