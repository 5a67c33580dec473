//! The metrics of a recorder that has seen everything: their list, their form, and that no log text adds to them.

mod exercise;
mod exposition;
mod otlp;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use bootwatch::core::boot::{Observation, TrackerCounts};
use bootwatch::core::event::{AttemptResult, Failure, Origin, Stage, StageOutcome, VmType};
use bootwatch::core::finding::FindingKind;
use bootwatch::core::inventory::{Addresses, SessionTotals};
use bootwatch::core::row::VmStatus;
use bootwatch::core::rule::RuleName;
use bootwatch::export::{ReadFigures, Recorder, Setup, SourceFigures};
use bootwatch::simulator::Version;

use crate::simulator::{order, play, scenario};
use crate::tree;
use exercise::{attempt, exercise, observations, setup, view};
use exposition::{Sample, families, samples};

fn text(recorder: &Recorder) -> String {
    String::from_utf8(recorder.render()).unwrap()
}

fn full() -> String {
    let recorder = Recorder::new(&setup());
    exercise(&recorder);
    text(&recorder)
}

fn value(text: &str, series: &str) -> f64 {
    samples(text)
        .iter()
        .find(|sample| sample.series == series)
        .unwrap_or_else(|| panic!("no {series} in\n{text}"))
        .value
}

/// Without the process's own figures, which change by themselves.
fn without_process(text: &str) -> Vec<Sample> {
    samples(text)
        .into_iter()
        .filter(|sample| !sample.name.starts_with("process_"))
        .collect()
}

#[test]
fn promtool_has_nothing_to_say() {
    for text in [text(&Recorder::new(&setup())), full()] {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is not on the PATH: install Prometheus (Debian: prometheus)");
        promtool
            .stdin
            .take()
            .expect("a pipe was asked for")
            .write_all(text.as_bytes())
            .unwrap();
        let said = promtool.wait_with_output().unwrap();
        let words = [&said.stdout[..], &said.stderr[..]].concat();
        assert_eq!(String::from_utf8_lossy(&words), "");
        assert!(said.status.success());
    }
}

#[test]
fn the_documented_list_is_the_whole_registry() {
    let documented: BTreeMap<String, (String, Vec<String>)> = tree::read("docs/metrics.md")
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, kind, labels, unit, source, _] = cells[..] else {
                return None;
            };
            let name = name.strip_prefix('`')?.strip_suffix('`')?;
            assert!(!unit.is_empty() && !source.is_empty(), "{line}");
            let mut labels: Vec<String> = labels
                .split(',')
                .map(|label| label.trim().trim_matches('`').to_owned())
                .filter(|label| !label.is_empty())
                .collect();
            labels.sort();
            Some((name.to_owned(), (kind.to_owned(), labels)))
        })
        .collect();
    let found: BTreeMap<String, (String, Vec<String>)> = families(&full())
        .into_iter()
        .map(|(name, family)| (name, (family.kind, family.labels.into_iter().collect())))
        .collect();
    assert_eq!(found, documented);
}

#[test]
fn labels_and_their_values_are_allowed_ones() {
    let allowed = BTreeSet::from([
        "boot_stage",
        "channel",
        "check",
        "failure",
        "kind",
        "label",
        "le",
        "origin",
        "outcome",
        "phase",
        "provider",
        "query",
        "reason",
        "result",
        "rule",
        "severity",
        "signal",
        "source",
        "state",
        "status",
        "version",
        "vm_type",
        "way",
    ]);
    for sample in samples(&full()) {
        for (label, value) in &sample.labels {
            assert!(allowed.contains(label.as_str()), "{}", sample.series);
            assert!(value.len() <= 32, "{}", sample.series);
        }
    }
}

#[test]
fn what_rules_ask_about_exists_at_zero_in_a_fresh_process() {
    let fresh = text(&Recorder::new(&setup()));
    let mut wanted = Vec::new();
    for vm_type in VmType::ALL {
        for origin in Origin::ALL {
            let boots = |outcome: &str, failure: &str| {
                format!(
                    "bootwatch_boots_total{{failure=\"{failure}\",origin=\"{origin}\",outcome=\"{outcome}\",vm_type=\"{vm_type}\"}}"
                )
            };
            wanted.push(boots("ready", "none"));
            wanted.push(boots("cancelled", "none"));
            wanted.push(boots("lost", "controller_restarted"));
            wanted.extend(
                Failure::ALL
                    .iter()
                    .filter(|failure| **failure != Failure::ControllerRestarted)
                    .map(|failure| boots("failed", failure.as_str())),
            );
        }
        wanted.push(format!(
            "bootwatch_boots_in_progress{{vm_type=\"{vm_type}\"}}"
        ));
    }
    for error in ["ECONNREFUSED", "EHOSTUNREACH", "timeout", "ECONNRESET"] {
        wanted.push(format!(
            "bootwatch_boots_overdue{{result=\"{error}\",vm_type=\"browser\"}}"
        ));
    }
    for rule in RuleName::ALL {
        let (rule, severity) = (rule.as_str(), rule.severity().as_str());
        wanted.push(format!(
            "bootwatch_alerts_firing{{rule=\"{rule}\",severity=\"{severity}\"}}"
        ));
        wanted.push(format!(
            "bootwatch_alert_transitions_total{{rule=\"{rule}\",severity=\"{severity}\",state=\"firing\"}}"
        ));
    }
    wanted.push("bootwatch_notifications_total{channel=\"ops\",result=\"failed_server\"}".into());
    wanted.push("bootwatch_source_up{source=\"log\"}".into());
    wanted.push("bootwatch_source_up{source=\"database\"}".into());
    wanted.push("bootwatch_log_records_unparsed_total{source=\"log\"}".into());
    wanted.push("bootwatch_sessions_total{provider=\"codex\",status=\"failed\"}".into());
    for series in wanted {
        assert_eq!(value(&fresh, &series), 0.0, "{series}");
    }
    assert!(
        !fresh.contains("bootwatch_ip_pool_addresses"),
        "no free address is told before any is counted"
    );
    assert!(
        !fresh.contains("_bucket"),
        "histograms come when first seen"
    );
}

#[test]
fn a_rule_that_is_off_has_no_series() {
    let recorder = Recorder::new(&Setup {
        rules: vec![RuleName::BootFailureRate],
        ..setup()
    });
    let text = text(&recorder);
    assert!(text.contains("rule=\"BootFailureRate\""));
    assert!(!text.contains("Spike\""));
}

/// Whatever a log says, and whatever a buggy caller names, the series stay those of the closed sets.
#[test]
fn hostile_text_creates_no_series() {
    let recorder = Recorder::new(&setup());
    exercise(&recorder);
    recorder.observe(&attempt(AttemptResult::Http(999)), true);
    recorder.notification("unheard of", "sent", Some(Duration::ZERO));
    recorder.notification("ops", "unheard of", Some(Duration::ZERO));
    recorder.waiting("unheard of", 1, None);
    recorder.database_asked("unheard of", Duration::ZERO);
    let sim = |seed| play(scenario("mass-incident"), &order(seed, Version::Oct, 30)).0;
    for observation in observations(&sim(1)) {
        recorder.observe(&observation, true);
    }
    let bounded = without_process(&text(&recorder)).len();

    // 10,000 providers, users' texts and error codes, in records of every kind.
    let log = String::from_utf8(sim(2)).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let mut hostile = String::new();
    for n in 0..10_000 {
        let line = lines[n % lines.len()]
            .replace("ECONNREFUSED", &format!("E{n}\\\"}} 1\\n"))
            .replace("EHOSTUNREACH", &format!("x{n}"))
            .replace("browser", &format!("kind-{n}"));
        hostile.push_str(&line.replace(
            "\"provider\":\"",
            &format!("\"provider\":\"p{n}{{le=\\\"1\\\"}}"),
        ));
        hostile.push('\n');
    }
    assert!(
        hostile.contains("\"provider\":\"p1"),
        "the log has providers"
    );
    for observation in observations(hostile.as_bytes()) {
        recorder.observe(&observation, true);
    }
    for n in 0..10_000u16 {
        recorder.observe(&attempt(AttemptResult::Http(n)), true);
        let name = format!("p{n}\"\n{{}}");
        recorder.notification(&name, &name, Some(Duration::ZERO));
        recorder.waiting(&name, 1, None);
        recorder.database_asked(&name, Duration::ZERO);
        recorder.source(&name, &SourceFigures::default());
        recorder.reads(&name, &ReadFigures::default());
    }
    let text = text(&recorder);
    // All of them together made one more: an unknown result of an unknown channel, `other` twice, in two families.
    let edges = samples(&text)
        .iter()
        .filter(|sample| {
            sample.series.starts_with(
                "bootwatch_notification_delivery_seconds_bucket{channel=\"ops\",result=\"sent\"",
            )
        })
        .count();
    assert_eq!(without_process(&text).len(), bounded + 1 + edges + 2);
    assert!(bounded < 5_000, "{bounded}");
    // 100 to 599 have a class: 9,500 of these have none, and one was told above.
    let overflown = |label: &str| {
        value(
            &text,
            &format!("bootwatch_label_overflow_total{{label=\"{label}\"}}"),
        )
    };
    assert_eq!(overflown("result"), 9_501.0 + 10_001.0);
    assert_eq!(overflown("channel"), 20_002.0);
    assert_eq!(overflown("source"), 20_000.0);
    assert_eq!(overflown("query"), 10_001.0);
}

#[test]
fn boots_of_the_past_change_only_the_deadline() {
    let recorder = Recorder::new(&setup());
    let fresh = text(&recorder);
    let (log, _) = play(scenario("mass-incident"), &order(3, Version::Oct, 30));
    let past = observations(&log);
    for observation in &past {
        recorder.observe(observation, false);
    }
    recorder.tracker(
        &TrackerCounts {
            late_marks: 9,
            ..TrackerCounts::default()
        },
        false,
    );
    let deadline = "bootwatch_boot_ready_deadline_seconds";
    let after = text(&recorder);
    assert!(value(&after, deadline) > 0.0);
    let mut changed = without_process(&after);
    changed.retain(|sample| sample.name != deadline);
    assert_eq!(changed, without_process(&fresh));
    recorder.tracker(
        &TrackerCounts {
            late_marks: 10,
            ..TrackerCounts::default()
        },
        true,
    );
    assert_eq!(
        value(&text(&recorder), "bootwatch_boot_late_marks_total"),
        1.0
    );
}

#[test]
fn histograms_are_cumulative_and_count_what_they_hold() {
    let text = full();
    let mut seen = 0;
    let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in samples(&text) {
        if let Some(edge) = sample.labels.get("le") {
            let edge = if edge == "+Inf" {
                f64::INFINITY
            } else {
                edge.parse().unwrap()
            };
            let series = sample.without("le").replace("_bucket", "_count");
            buckets
                .entry(series)
                .or_default()
                .push((edge, sample.value));
        }
    }
    for (series, edges) in buckets {
        assert!(edges.is_sorted_by(|a, b| a.0 < b.0), "{series}");
        assert!(edges.is_sorted_by(|a, b| a.1 <= b.1), "{series}");
        let (last, count) = edges.last().copied().unwrap();
        assert_eq!((last, count), (f64::INFINITY, value(&text, &series)));
        let sum = value(&text, &series.replace("_count", "_sum"));
        assert!(sum.is_finite() && sum >= 0.0, "{series}");
        if series.starts_with("bootwatch_boot_stage_duration") {
            for limit in [5.0, 15.0, 25.0, 30.0, 60.0, 120.0, 180.0] {
                assert!(edges.iter().any(|(edge, _)| *edge == limit), "{series}");
            }
        }
        seen += 1;
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn a_stage_that_timed_out_is_in_its_histogram() {
    let recorder = Recorder::new(&setup());
    let ended = Observation::StageEnded {
        vm_type: VmType::Browser,
        origin: Origin::User,
        stage: Stage::CloneSnapshot,
        outcome: StageOutcome::TimedOut,
        ms: 15_000,
    };
    recorder.observe(&ended, true);
    let text = text(&recorder);
    let labels = "boot_stage=\"clone_snapshot\",outcome=\"timed_out\",vm_type=\"browser\"";
    let bucket = |edge: &str| {
        value(
            &text,
            &format!("bootwatch_boot_stage_duration_seconds_bucket{{{labels},le=\"{edge}\"}}"),
        )
    };
    assert_eq!((bucket("10"), bucket("15")), (0.0, 1.0));
    let sum = format!("bootwatch_boot_stage_duration_seconds_sum{{{labels}}}");
    assert_eq!(value(&text, &sum), 15.0);
}

#[test]
fn counters_never_go_down_and_no_sample_bears_a_time() {
    let recorder = Recorder::new(&setup());
    let mut before: BTreeMap<String, f64> = BTreeMap::new();
    for round in 0..3 {
        exercise(&recorder);
        if round == 1 {
            // The follower starts anew, and the source is lost and found.
            recorder.source("log", &SourceFigures::default());
            recorder.reads("log", &ReadFigures::default());
            recorder.tracker(&TrackerCounts::default(), true);
            recorder.alerts([view(RuleName::BootFailureRate, false)]);
        }
        let text = text(&recorder);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (_, value) = line.rsplit_once([' ', '}']).unwrap();
            assert!(value.trim().parse::<f64>().is_ok(), "{line}");
            let labels_end = line.rfind('}').map_or(0, |at| at + 1);
            let (_, after) = line.split_at(labels_end);
            let words = after.split_ascii_whitespace().count();
            assert_eq!(words, if labels_end == 0 { 2 } else { 1 }, "{line}");
        }
        let kinds = families(&text);
        for sample in samples(&text) {
            let family = exposition::family_of(&sample.name, &kinds);
            if kinds[family].kind == "gauge" {
                continue;
            }
            let last = before.insert(sample.series.clone(), sample.value);
            assert!(
                last.is_none_or(|last| last <= sample.value),
                "{}",
                sample.series
            );
        }
        for series in before.keys() {
            assert!(text.contains(series), "{series} was withdrawn");
        }
    }
}

#[test]
fn gauges_follow_what_they_are_told() {
    let recorder = Recorder::new(&setup());
    exercise(&recorder);
    let told = text(&recorder);
    let firing = "bootwatch_alerts_firing{rule=\"BootFailureRate\",severity=\"page\"}";
    let browser = "bootwatch_boots_in_progress{vm_type=\"browser\"}";
    let refused = "bootwatch_boots_overdue{result=\"ECONNREFUSED\",vm_type=\"browser\"}";
    let lag = "bootwatch_log_lag_bytes{source=\"log\"}";
    let newest = "bootwatch_log_last_record_timestamp_seconds{source=\"log\"}";
    assert_eq!(value(&told, firing), 1.0);
    assert_eq!(value(&told, browser), 2.0);
    assert_eq!(value(&told, refused), 1.0);
    assert_eq!(value(&told, lag), 7.0);
    assert_eq!(value(&told, newest), 1_767_599_400.5);
    assert_eq!(
        value(&told, "bootwatch_notifications_waiting{channel=\"ops\"}"),
        3.0
    );
    let since = "bootwatch_notifications_waiting_since_timestamp_seconds{channel=\"ops\"}";
    assert_eq!(value(&told, since), 1_767_599_400.5);
    recorder.waiting("ops", 0, None);
    assert!(!text(&recorder).contains(since), "nothing waits");
    recorder.alerts([view(RuleName::BootFailureRate, false)]);
    recorder.in_flight([], []);
    recorder.source("log", &SourceFigures::default());
    let told = text(&recorder);
    for series in [
        firing,
        browser,
        refused,
        "bootwatch_source_up{source=\"log\"}",
    ] {
        assert_eq!(value(&told, series), 0.0, "{series}");
    }
    assert!(!told.contains(lag), "the lag of a lost source is not known");
    assert!(value(&told, "process_resident_memory_bytes") > 0.0);
}

#[test]
fn without_a_database_nothing_is_said_of_one() {
    let fresh = text(&Recorder::new(&Setup {
        queries: Vec::new(),
        ..setup()
    }));
    for family in [
        "findings",
        "sessions_incomplete",
        "sessions_total",
        "database_vms",
    ] {
        assert!(!fresh.contains(&format!("bootwatch_{family}")), "{family}");
    }
}

#[test]
fn rows_are_gauges_and_restored_session_totals_are_not_counted() {
    let recorder = Recorder::new(&setup());
    let mut totals = SessionTotals::default();
    totals.0[0][5] = 7;
    recorder.sessions(&totals, false);
    totals.0[0][5] = 9;
    recorder.sessions(&totals, true);
    recorder.vms(&[
        (Some(VmType::Cli), VmStatus::Running, 4),
        (None, VmStatus::Other, 1),
    ]);
    recorder.addresses(Some(Addresses {
        used: 4,
        ghost: 1,
        free: 248,
    }));
    recorder.database_up(true);
    let told = text(&recorder);
    let failed = "bootwatch_sessions_total{provider=\"codex\",status=\"failed\"}";
    let running = "bootwatch_database_vms{status=\"running\",vm_type=\"cli\"}";
    assert_eq!(value(&told, failed), 2.0);
    assert_eq!(value(&told, running), 4.0);
    assert_eq!(
        value(
            &told,
            "bootwatch_database_vms{status=\"other\",vm_type=\"other\"}"
        ),
        1.0
    );
    assert_eq!(
        value(&told, "bootwatch_ip_pool_addresses{state=\"free\"}"),
        248.0
    );
    recorder.vms(&[]);
    assert_eq!(value(&text(&recorder), running), 0.0);
    // The rows lost the column that tells of addresses.
    recorder.addresses(None);
    let untold = text(&recorder);
    assert!(!untold.contains("bootwatch_ip_pool_addresses"), "{untold}");
    assert!(untold.contains("bootwatch_database_vms"));
}

#[test]
fn gauges_of_rows_are_there_while_rows_can_be_seen_and_at_no_other_time() {
    const OF_ROWS: [&str; 6] = [
        "bootwatch_database_clock_skew_seconds",
        "bootwatch_database_rows_unreadable",
        "bootwatch_database_vms",
        "bootwatch_findings",
        "bootwatch_ip_pool_addresses",
        "bootwatch_sessions_incomplete",
    ];
    let shown =
        |recorder: &Recorder| -> Vec<String> { families(&text(recorder)).into_keys().collect() };
    let recorder = Recorder::new(&setup());
    for family in OF_ROWS {
        let shown = shown(&recorder);
        assert!(!shown.iter().any(|name| name == family), "{family}");
    }
    // The rest of what rules ask about is there at zero with the first look.
    recorder.database_up(true);
    let first = text(&recorder);
    for kind in FindingKind::ALL {
        let series = format!("bootwatch_findings{{kind=\"{kind}\"}}");
        assert_eq!(value(&first, &series), 0.0);
    }
    assert_eq!(value(&first, "bootwatch_sessions_incomplete"), 0.0);

    exercise(&recorder);
    let before = shown(&recorder);
    let seen = text(&recorder);
    recorder.database_up(false);
    let mut gone = before.clone();
    gone.retain(|name| !shown(&recorder).contains(name));
    assert_eq!(gone, OF_ROWS, "counters and histograms stay");
    let blind = text(&recorder);
    assert_eq!(
        value(&blind, "bootwatch_source_up{source=\"database\"}"),
        0.0
    );
    recorder.database_up(true);
    assert_eq!(
        without_process(&text(&recorder)),
        without_process(&seen),
        "and all are back"
    );
}

#[test]
fn an_image_that_is_not_there_has_no_size_and_no_age() {
    let recorder = Recorder::new(&setup());
    exercise(&recorder);
    let of_image = |recorder: &Recorder| -> Vec<String> {
        let names = families(&text(recorder)).into_keys();
        names.filter(|name| name.contains("_image_")).collect()
    };
    const CHECK: &str = "bootwatch_golden_image_check";
    let all = [
        CHECK,
        "bootwatch_golden_image_modified_timestamp_seconds",
        "bootwatch_golden_image_size_bytes",
    ];
    assert_eq!(of_image(&recorder), all);
    recorder.golden_image(None, &[]);
    assert_eq!(of_image(&recorder), [CHECK]);
    exercise(&recorder);
    assert_eq!(of_image(&recorder), all);
}
