//! Every scenario of the real controller's sample, judged as a user would have it judged.
//!
//! `tests/fixtures/controller/NAME.log` are the lines of a few boots as the controller wrote them to its file,
//! `NAME.console.log.gz` the same stretch of its standard output, `NAME.jsonl` what is true of each boot: the verdict
//! and session from the run's own ground truth, stages and attempts counted over the lines by other means.

use std::io::Write;

use serde_json::Value;

use crate::program::{analyze, answer, bytes, fixture};

/// In the order of the run.
const STRETCHES: &[&str] = &[
    "startup",
    "concurrent",
    "create_failures",
    "healthy",
    "database",
    "agents",
    "missing",
    "incident",
    "unreachable",
    "slow_clone",
    "killed_and_reused",
    "rejection",
];

fn truth(stretch: &str) -> Vec<Value> {
    let text = bytes(&format!("{stretch}.jsonl"));
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect(stretch))
        .collect()
}

/// Whether each boot of the stretch is told exactly as it was, and none is invented.
fn check(stretch: &str, form: &str, answer: &Value) {
    compare(&format!("{stretch}, {form}"), &truth(stretch), answer);
}

fn compare(name: &str, truth: &[Value], answer: &Value) {
    let told = answer["boot_list"].as_array().expect("a list");
    let mut problems = Vec::new();
    for wanted in truth {
        let vm = &wanted["vm_id"];
        if vm.is_null() {
            continue;
        }
        let found: Vec<&Value> = told.iter().filter(|boot| boot["vm_id"] == *vm).collect();
        let [boot] = found[..] else {
            problems.push(format!("{vm} is listed {} times", found.len()));
            continue;
        };
        let name = format!("{} {}", wanted["scenario"], vm);
        for field in [
            "vm_type",
            "outcome",
            "vm_ip",
            "attempts",
            "stages",
            "started_at",
        ] {
            let (told, wanted) = (boot_field(boot, field), &wanted[field]);
            // An address may be known that the truth does not have.
            if told != *wanted && !(field == "vm_ip" && wanted.is_null()) {
                problems.push(format!("{name}: {field} is {told}, not {wanted}"));
            }
        }
        if !wanted["session_id"].is_null() && boot["session_id"] != wanted["session_id"] {
            problems.push(format!("{name}: session is {}", boot["session_id"]));
        }
        let failure = boot["failure"].as_str().unwrap_or("None");
        let fits = match wanted["failure"].as_array() {
            Some(any) => any.iter().any(|one| one == failure),
            None => true,
        };
        if !fits {
            problems.push(format!(
                "{name}: failure is {failure}, not {}",
                wanted["failure"]
            ));
        }
    }
    let without_vm = |list: &[Value]| list.iter().filter(|boot| boot["vm_id"].is_null()).count();
    if without_vm(told) != without_vm(truth) || told.len() != truth.len() {
        problems.push(format!(
            "{} boots are told, {} were",
            told.len(),
            truth.len()
        ));
    }
    for boot in told.iter().filter(|boot| boot["vm_id"].is_null()) {
        if boot["failure"] != "not_started" {
            problems.push(format!("a boot without VM is {}", boot["failure"]));
        }
    }
    assert!(problems.is_empty(), "{name}:\n{}", problems.join("\n"));
}

/// A field as the truth writes it: the create stages only, since no other line tells the guest's.
fn boot_field(boot: &Value, field: &str) -> Value {
    const GUEST: [&str; 4] = [
        "inject_agent",
        "guest_network",
        "agent_start",
        "session_ready",
    ];
    match field {
        "stages" => {
            let stages = boot["stages"].as_object().expect("stages").clone();
            stages
                .into_iter()
                .filter(|(stage, _)| !GUEST.contains(&stage.as_str()))
                .collect()
        }
        _ => boot[field].clone(),
    }
}

fn path(name: &str) -> String {
    fixture(name).to_str().expect("a path of text").to_owned()
}

#[test]
fn every_boot_of_the_sample_is_judged_right_from_the_files() {
    for stretch in STRETCHES {
        let file = path(&format!("{stretch}.log"));
        check(stretch, "file", &answer(&[&file], b""));
    }
}

#[test]
fn every_boot_of_the_sample_is_judged_right_from_the_consoles_bytes() {
    for stretch in STRETCHES {
        let file = path(&format!("{stretch}.console.log.gz"));
        check(stretch, "console, gzipped", &answer(&[&file], b""));
    }
}

#[test]
fn standard_input_tells_the_same_as_a_file() {
    for stretch in STRETCHES {
        let text = bytes(&format!("{stretch}.log"));
        check(stretch, "standard input", &answer(&["-"], &text));
    }
}

/// The whole run in five files of a rotated family, cut in the middle of boots, named as the rotation names them.
fn rotated(folder: &std::path::Path, compressed: bool) -> Vec<String> {
    let mut text = Vec::new();
    for stretch in STRETCHES {
        text.extend(bytes(&format!("{stretch}.log")));
    }
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let names = ["4", "3", "2", "1", ""];
    let pieces = lines.chunks(lines.len().div_ceil(names.len()));
    names
        .iter()
        .zip(pieces)
        .map(|(number, piece)| {
            let ending = if compressed { ".gz" } else { "" };
            let path = folder.join(format!("master-controller{number}.log{ending}"));
            let text = piece.concat();
            std::fs::write(&path, if compressed { gzip(&text) } else { text })
                .expect("a piece is written");
            path.to_str().expect("a path of text").to_owned()
        })
        .collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn whole_truth() -> Vec<Value> {
    STRETCHES
        .iter()
        .flat_map(|stretch| truth(stretch))
        .collect()
}

#[test]
fn a_rotated_family_is_read_in_its_order_whatever_order_it_is_given_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = rotated(folder.path(), false);
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]] {
        let given: Vec<&str> = order.iter().map(|at| files[*at].as_str()).collect();
        compare("rotated", &whole_truth(), &answer(&given, b""));
    }
}

#[test]
fn compressed_pieces_are_read_like_plain_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = rotated(folder.path(), true);
    let given: Vec<&str> = files.iter().rev().map(String::as_str).collect();
    compare("gzipped", &whole_truth(), &answer(&given, b""));
}

#[test]
fn the_same_lines_in_a_second_form_or_twice_are_counted_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = rotated(folder.path(), false);
    let mut console = Vec::new();
    for stretch in STRETCHES {
        console.extend(bytes(&format!("{stretch}.console.log.gz")));
    }
    let path = folder.path().join("console.log");
    std::fs::write(&path, console).expect("written");
    files.push(path.to_str().expect("text").to_owned());
    files.push(files[1].clone());
    let given: Vec<&str> = files.iter().map(String::as_str).collect();
    let answer = answer(&given, b"");
    compare("twice", &whole_truth(), &answer);
    let notes = answer["notes"].as_array().expect("notes");
    assert!(notes.len() >= 2, "what was skipped is said: {notes:?}");
}

#[test]
fn an_error_log_of_another_name_is_not_counted_again_and_is_read_where_it_is_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = rotated(folder.path(), false);
    let mut errors = Vec::new();
    let mut is_error = false;
    for stretch in STRETCHES {
        for line in bytes(&format!("{stretch}.log")).split_inclusive(|byte| *byte == b'\n') {
            if let Some(level) = line.get(19..).filter(|rest| rest.starts_with(b" [")) {
                is_error = level.starts_with(b" [ERROR]");
            }
            if is_error {
                errors.extend(line);
            }
        }
    }
    let path = folder.path().join("failures.log");
    std::fs::write(&path, errors).expect("written");
    let path = path.to_str().expect("text").to_owned();
    let alone = answer(&[&path], b"");
    assert!(alone["boots"]["failed"].as_u64() > Some(0), "{alone}");
    files.insert(0, path);
    let given: Vec<&str> = files.iter().map(String::as_str).collect();
    let answer = answer(&given, b"");
    compare("errors beside", &whole_truth(), &answer);
    let without: Vec<&str> = given[1..].to_vec();
    assert_eq!(
        answer["boots"],
        crate::program::answer(&without, b"")["boots"]
    );
    let notes = answer["notes"].to_string();
    assert!(notes.contains("failures.log: skipped"), "{notes}");
}

/// The console's lines as journald hands them out; `entry` writes one.
fn journal(stretch: &str, mut entry: impl FnMut(&mut Vec<u8>, usize, &[u8])) -> Vec<u8> {
    let text = bytes(&format!("{stretch}.console.log.gz"));
    let mut out = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        entry(&mut out, number, line);
    }
    out
}

#[test]
fn a_journal_export_with_text_and_binary_messages_is_read() {
    for stretch in STRETCHES {
        let export = journal(stretch, |out, number, line| {
            out.extend(format!("__CURSOR=s=1;i={number:x}\n_PID=7\n").as_bytes());
            // journald writes a field as text only where it is printable.
            if line.contains(&0x1b) {
                out.extend(b"MESSAGE\n");
                out.extend((line.len() as u64).to_le_bytes());
                out.extend(line);
            } else {
                out.extend(b"MESSAGE=");
                out.extend(line);
            }
            out.extend(b"\n_SYSTEMD_UNIT=master-controller.service\n\n");
        });
        check(stretch, "export", &answer(&["-"], &export));
    }
}

#[test]
fn journal_json_with_messages_as_text_and_as_bytes_is_read() {
    for stretch in STRETCHES {
        let json = journal(stretch, |out, number, line| {
            let message = match std::str::from_utf8(line) {
                Ok(text) if number % 2 == 0 => Value::from(text),
                _ => line.iter().copied().map(Value::from).collect(),
            };
            let entry = serde_json::json!({"__CURSOR": number.to_string(), "MESSAGE": message, "_PID": "7"});
            out.extend(entry.to_string().as_bytes());
            out.push(b'\n');
        });
        check(stretch, "json", &answer(&["-"], &json));
    }
}

#[test]
fn the_ordinary_output_of_journalctl_is_read() {
    for stretch in STRETCHES {
        let file = bytes(&format!("{stretch}.log"));
        let mut short = Vec::new();
        for line in file.split_inclusive(|byte| *byte == b'\n') {
            short.extend(b"Nov 23 18:24:02 host master-controller[812]: ");
            short.extend(line);
        }
        check(stretch, "short", &answer(&["-"], &short));
    }
}

#[test]
fn a_zone_that_the_log_contradicts_is_not_believed_and_that_is_said() {
    let file = path("healthy.log");
    let output = crate::program::analyze(
        &[
            "--format",
            "json",
            "--boots",
            "--timezone",
            "America/New_York",
            &file,
        ],
        b"",
    );
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    check("healthy", "in a wrong zone", &answer);
    assert!(answer["boot_list"][0]["ready_seconds"].is_number());
    let notes = answer["notes"].to_string();
    assert!(
        notes.contains("say that its stamps are UTC, not America/New_York"),
        "{notes}"
    );
}

#[test]
fn journal_entries_whose_message_was_left_out_are_said() {
    let json = b"{\"__CURSOR\":\"1\",\"MESSAGE\":null}\n{\"__CURSOR\":\"2\",\"MESSAGE\":\"2025-10-18 01:52:07 [INFO]: x {}\"}\n";
    let answer = answer(&["-"], json);
    let notes = answer["notes"].to_string();
    assert!(
        notes.contains("1 journal entries have no message"),
        "{notes}"
    );
}

/// A log names no image: the call says since when which one stood there.
#[test]
fn boots_are_counted_by_the_golden_image_that_the_call_knows_of() {
    let path = |name: &str| fixture(name).display().to_string();
    let (healthy, incident) = (path("healthy.log"), path("incident.log"));
    let plain = answer(&[&healthy, &incident], b"");
    let browser = |outcome: &str| -> Vec<jiff::Timestamp> {
        let boots = plain["boot_list"].as_array().expect("a list").iter();
        boots
            .filter(|boot| boot["vm_type"] == "browser" && boot["outcome"] == outcome)
            .map(|boot| {
                boot["started_at"]
                    .as_str()
                    .expect("a time")
                    .parse()
                    .expect("a time")
            })
            .collect()
    };
    let (ready, failed) = (browser("ready"), browser("failed"));
    assert_eq!(plain["images"], Value::Array(Vec::new()));
    let first = *failed.iter().min().expect("a failed boot");
    let changed = first - jiff::SignedDuration::from_mins(38);
    let image = changed.to_string();
    let arguments = [
        "--image-changed",
        &image,
        "--timezone",
        "UTC",
        &healthy,
        &incident,
    ];
    let since = |at: &&jiff::Timestamp| **at >= changed;
    let bad = failed.iter().filter(since).count();
    let of = bad + ready.iter().filter(since).count();
    let text = String::from_utf8(analyze(&arguments, b"").stdout).expect("text");
    let wanted = format!("(changed {image}): {bad} of {of} failed (");
    assert!(text.contains(&wanted), "{wanted}\n{text}");
    assert!(
        text.contains("first failure 38 min after the image changed"),
        "{text}"
    );
    let json = answer(&[&arguments[..2], &arguments[4..]].concat(), b"");
    let images = json["images"].as_array().expect("a list");
    assert_eq!(images.len(), 2, "{json}");
    assert_eq!(
        (&images[0]["image"], &images[0]["changed_at"]),
        (&"before".into(), &Value::Null)
    );
    let before = images[0]["boots"].as_u64().expect("a number");
    let since = images[1]["boots"].as_u64().expect("a number");
    assert_eq!(
        before + since,
        (ready.len() + failed.len()) as u64,
        "{json}"
    );
    assert_eq!(images[1]["failed"], bad);
    assert_eq!(images[1]["seconds_to_first_failure"], 38.0 * 60.0);
    // An image that stands there says so itself; what is none is said.
    let output = analyze(&["--image", "/dev/null", &incident], b"");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no image can be read there"), "{said}");
}
