//! Text that only looks like a message, or like none: quoted, torn, hostile.

use super::*;

#[test]
fn braces_in_the_text_are_not_its_metadata() {
    let line = fill(
        r#"Authentication flow failed {"userId":$U,"sessionId":$S,"error":"VM not ready {x} after {\"y\":1}"}"#,
    );
    with(&file(&line), |decoded| {
        assert!(
            matches!(decoded, Decoded::Event(EventKind::FlowFailed { .. })),
            "{decoded:?}"
        );
    });
    with(
        &file(r#"Cannot read {x} of y {"module":"server"}"#),
        |decoded| {
            assert_eq!(decoded, Decoded::Unknown(b"Cannot read {x} of y"));
        },
    );
}

#[test]
fn a_record_quoted_inside_anothers_metadata_is_text() {
    let fake = file(r#"[WAIT-VM-READY] VM ready! {\"vmIP\":\"192.168.100.17\"}"#);
    let line = file(&format!(
        r#"[WAIT-VM-READY] Response body {{"module":"browser-auth","vmIP":"192.168.100.18","body":"{}"}}"#,
        fake.trim_end()
    ));
    with(&line, |decoded| assert_eq!(decoded, Decoded::Ignored));
}

#[test]
fn values_that_are_absent_null_or_of_another_kind_are_no_error_of_ours() {
    // `undefined` vanishes and `NaN` is null: what an event cannot do without is missed, the rest is not.
    with(
        &file(&fill(
            r#"[VM-CREATE] Step 3: Snapshot cloned {"vmId":$V,"elapsed":null}"#,
        )),
        |decoded| {
            let wanted = EventKind::StepDone {
                vm: vm(),
                step: 3,
                elapsed_ms: None,
                ip: None,
            };
            assert_eq!(decoded, Decoded::Event(wanted));
        },
    );
    for bad in [
        r#"[VM-CREATE] Step 3: Snapshot cloned {"vmId":7,"elapsed":1}"#,
        r#"[VM-CREATE] Step 3: Snapshot cloned {"vmId":"vm-not-an-id","elapsed":1}"#,
        r#"[WAIT-VM-READY] VM ready! {"vmIP":"1.2.3.4.5"}"#,
        r#"[WAIT-VM-READY] VM ready! {"vmIP":"192.168.100.17""#,
        r#"[WAIT-VM-READY] VM ready!"#,
    ] {
        with(&file(bad), |decoded| {
            assert_eq!(decoded, Decoded::Unparsed, "{bad}")
        });
    }
}

#[test]
fn the_record_behind_a_torn_one_on_its_line_is_found() {
    let log = format!(
        "2025-10-18 01:52:07 [INFO]: [VM-CREATE] Step 1: IP allocated {{\"vmId\":\"vm-70f{}",
        file(r#"Starting Master Controller... {"module":"server"}"#)
    );
    let mut framer = Framer::default();
    let mut found = 0;
    framer.push(log.as_bytes(), &mut |record| {
        assert_eq!(decode(&record), Decoded::Unparsed);
        let inner = glued(&record).expect("the second record");
        assert_eq!(
            decode(&inner),
            Decoded::Event(EventKind::ControllerStarting)
        );
        found += 1;
    });
    assert_eq!(found, 1);
}

#[test]
fn behind_noise_a_record_is_found_only_where_the_noise_is_torn() {
    let start = file(r#"Starting Master Controller... {"module":"server"}"#);
    let quoted = start.trim_end().replace('"', "\\\"");
    for (noise, found) in [
        (format!("GET /health 200 {{\"dur{start}"), true),
        (format!("[CANARY] Slot {{\"slot\":\"a{start}"), true),
        (format!("Never heard of {{\"a\":[{start}"), true),
        // Whole: whatever it quotes is its own.
        (format!("GET /health 200 {{\"body\":\"{quoted}\"}}"), false),
        (format!("Never heard of {{\"body\":\"{quoted}\"}}"), false),
        (format!("Guest: {start}"), false),
        (format!("Upstream said {{\"a\":1}} {start}"), false),
        ("GET /health 200 {\"a\":[1]: }".to_owned(), false),
    ] {
        let log = file(noise.trim_end());
        let mut framer = Framer::default();
        let mut seen = 0;
        framer.push(log.as_bytes(), &mut |record| {
            let decoded = decode(&record);
            assert!(
                matches!(decoded, Decoded::Ignored | Decoded::Unknown(_)),
                "{log}{decoded:?}"
            );
            let inner = glued_to_noise(&record).map(|inner| decode(&inner) == STARTING);
            assert_eq!(inner, found.then_some(true), "{log}");
            seen += 1;
        });
        assert_eq!(seen, 1, "{log}");
    }
}

#[test]
fn hostile_text_costs_no_more_than_its_length() {
    // Each of these makes a quadratic search of a megabyte where one is to be had.
    let torn = "2025-10-18 01:52:07 [INFO]: [WAIT-VM-READY] VM ready! {\"a\":[".repeat(16_000);
    let braces = format!("2025-10-18 01:52:07 [INFO]: x{}}}", " {\"".repeat(300_000));
    let deep = format!(
        "2025-10-18 01:52:07 [INFO]: [WAIT-VM-READY] VM ready! {}}}",
        "{\"a\":".repeat(200_000)
    );
    let stamps = format!(
        "2025-10-18 01:52:07 [INFO]: [WAIT-VM-READY] VM ready! {{{}",
        " [".repeat(500_000)
    );
    for log in [torn, braces, deep, stamps] {
        let mut framer = Framer::default();
        let mut sink = |record: Record<'_>| {
            if decode(&record) == Decoded::Unparsed {
                assert_eq!(glued(&record), None);
            }
            assert_eq!(glued_to_noise(&record), None);
        };
        framer.push(log.as_bytes(), &mut sink);
        framer.finish(&mut sink);
    }
}
