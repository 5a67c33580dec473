//! The later versions' words (contract 2.3), in logs written by hand: what changed changes no verdict.

use serde_json::{Value, json};

use crate::program::{analyze, answer, fixture};

/// The answer for `dec-NAME.log`, nothing in which is torn or unknown.
fn told(name: &str) -> Value {
    let path = fixture(&format!("dec-{name}.log"));
    let answer = answer(&[path.to_str().unwrap()], b"");
    assert_eq!(answer["records"]["unparsed"], 0, "{name}");
    assert_eq!(answer["unknown_messages"], json!([]), "{name}");
    answer
}

/// Outcome, failure and session number of each boot, in order.
fn verdicts(answer: &Value) -> Vec<(String, String)> {
    let boots = answer["boot_list"].as_array().unwrap();
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    boots
        .iter()
        .map(|boot| (word(&boot["outcome"]), word(&boot["failure"])))
        .collect()
}

fn failed(class: &str) -> (String, String) {
    ("failed".to_owned(), class.to_owned())
}

#[test]
fn a_boot_with_step_0_a_first_delay_and_vnc_is_ready_when_all_of_it_is() {
    let answer = told("healthy");
    let boot = &answer["boot_list"][0];
    assert_eq!(boot["outcome"], "ready");
    assert_eq!(boot["vm_ip"], "192.168.100.21", "internalIP is the address");
    assert_eq!(boot["session_id"], "0d0c0001-5555-4666-8777-000000000001");
    assert_eq!(
        boot["attempts"],
        json!({"ECONNREFUSED": 1, "vnc_not_ready": 1, "ok": 1})
    );
    // Step 1's elapsed includes step 0; the console's raw lines in between belong to nothing.
    assert_eq!(boot["stages"]["allocate_ip"], 0.215);
    assert_eq!(boot["stages"]["clone_snapshot"], 11.0);
    assert_eq!(boot["stages"]["start_firecracker"], 0.554);
    let ready = boot["ready_seconds"].as_f64().unwrap();
    assert!(
        (65.0..67.0).contains(&ready),
        "the desktop's wait included: {ready}"
    );
}

#[test]
fn an_agent_whose_vnc_never_answers_is_vnc_not_ready() {
    let answer = told("vnc-not-ready");
    assert_eq!(verdicts(&answer), [failed("vnc_not_ready")]);
    assert_eq!(
        answer["boot_list"][0]["attempts"],
        json!({"EHOSTUNREACH": 1, "ECONNREFUSED": 1, "vnc_not_ready": 20})
    );
    assert_eq!(answer["boot_list"][0]["failed_stage"], "session_ready");
}

#[test]
fn a_clean_up_after_a_grace_period_does_not_make_a_failure_a_cancel() {
    assert_eq!(
        verdicts(&told("refused-grace-period")),
        [failed("agent_refused")]
    );
}

#[test]
fn a_proxy_that_cannot_be_had_fails_the_configuration() {
    let answer = told("proxy");
    assert_eq!(
        verdicts(&answer),
        [failed("config_failed"), failed("config_failed")]
    );
    let path = fixture("dec-healthy.log");
    let text = analyze(&["--boots", path.to_str().unwrap()], b"").stdout;
    let everything = format!("{answer}{}", String::from_utf8_lossy(&text));
    assert!(
        !everything.contains("hunter2"),
        "the proxy's password stays inside"
    );
}

#[test]
fn an_empty_pool_is_its_own_class() {
    assert_eq!(
        verdicts(&told("pool-exhausted")),
        [failed("ip_pool_exhausted")]
    );
}

#[test]
fn an_injection_that_fails_is_told_by_its_tag_and_not_by_its_wording() {
    assert_eq!(
        verdicts(&told("injection")),
        [failed("agent_injection_failed")]
    );
}

#[test]
fn a_background_failure_ends_what_no_other_line_ends() {
    let answer = told("database");
    assert_eq!(
        verdicts(&answer),
        [failed("not_started"), failed("record_failed")]
    );
    assert_eq!(answer["boot_list"][0]["vm_id"], Value::Null);
}

#[test]
fn a_cancelled_boot_stays_cancelled_when_its_wait_ends_later() {
    let answer = told("cancelled");
    assert_eq!(
        verdicts(&answer),
        [("cancelled".to_owned(), "-".to_owned())]
    );
    assert_eq!(answer["boots"]["failed"], 0);
}

#[test]
fn the_later_versions_console_reads_like_their_file() {
    for name in ["healthy", "vnc-not-ready", "proxy", "database", "cancelled"] {
        let file = std::fs::read_to_string(fixture(&format!("dec-{name}.log"))).unwrap();
        let console: Vec<String> = file.lines().map(on_the_console).collect();
        let mut from_console = answer(&["-"], console.join("\n").as_bytes());
        let mut from_file = told(name);
        // A boot without VM is named after where its request stands.
        for answer in [&mut from_console, &mut from_file] {
            for boot in answer["boot_list"].as_array_mut().unwrap() {
                if boot["vm_id"].is_null() {
                    boot["boot_id"] = Value::Null;
                }
            }
        }
        assert_eq!(from_console["boot_list"], from_file["boot_list"], "{name}");
    }
}

/// A file line as the console shows it: colour around the level, metadata one level deeper.
fn on_the_console(line: &str) -> String {
    let Some((head, rest)) = line.split_once("]: ") else {
        return line.to_owned();
    };
    let Some((stamp, level)) = head.split_once('[') else {
        return line.to_owned();
    };
    let colour = match level {
        "ERROR" => 31,
        "WARN" => 33,
        _ => 32,
    };
    let (text, metadata) = rest.split_once(" {").unwrap_or((rest, "}"));
    format!("{stamp}[\u{1b}[{colour}M{level}\u{1b}[39M]: {text} {{\"metadata\":{{{metadata}}}")
}
