//! Hostile text: it leaves memory and every other boot as they were, and no secret gets out.

use bootwatch::controller::clock::Zone;
use bootwatch::controller::excerpt::excerpt;
use bootwatch::controller::fields::{self, Value};
use bootwatch::controller::reader::Reader;
use bootwatch::core::boot::{Boot, Observation, Tracker};
use proptest::prelude::*;

use crate::program::bytes;

/// The whole of bootwatch that reads a log, and the most it ever held.
struct Watch {
    reader: Reader,
    tracker: Tracker,
    said: Vec<Observation>,
    settled: Vec<Boot>,
}

impl Watch {
    fn new() -> Watch {
        let zone = Zone::Named(jiff::tz::TimeZone::UTC);
        Watch {
            reader: Reader::new(0, zone),
            tracker: Tracker::new(excerpt),
            said: Vec::new(),
            settled: Vec::new(),
        }
    }

    fn read(&mut self, log: &[u8]) {
        let (tracker, said) = (&mut self.tracker, &mut self.said);
        self.reader
            .push(log, &mut |event| tracker.observe(event, said));
        for said in self.said.drain(..) {
            if let Observation::BootSettled(boot) = said {
                self.settled.push(*boot);
            }
        }
    }

    /// What can be told of each boot, without where its lines stood and what came after its end.
    fn verdicts(mut self) -> Vec<String> {
        let (tracker, said) = (&mut self.tracker, &mut self.said);
        self.reader
            .finish(&mut |event| tracker.observe(event, said));
        self.tracker.finish(&mut self.said);
        self.read(b"");
        let mut verdicts: Vec<String> = self
            .settled
            .iter()
            .filter(|boot| boot.vm.is_some())
            .map(|boot| {
                let stages: Vec<_> = boot
                    .completed_stages()
                    .map(|(stage, span)| (stage, span.ms))
                    .collect();
                format!(
                    "{:?} {:?} {:?} {:?} {:?} {:?} {stages:?}",
                    boot.vm, boot.session, boot.ip, boot.outcome, boot.failure, boot.attempts
                )
            })
            .collect();
        verdicts.sort();
        verdicts
    }
}

/// A small generator: the same hostile lines every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One hostile line. `stamp` is the time of the real line before it.
fn hostile(dice: &mut Dice, stamp: &str, out: &mut Vec<u8>) {
    let number = dice.roll(u64::MAX >> 33);
    let kind = dice.roll(2_000);
    let id = format!("{:08x}-0bad-4bad-8bad-{:012x}", dice.roll(1 << 31), number);
    match kind {
        // Huge lines are rare, or this test would only copy memory.
        0 => out.resize(out.len() + 300_000, b'x'),
        1 => out.extend(format!("{stamp} [INFO]: [WAIT-VM-READY] VM ready! {}", "[{\"a\":".repeat(20_000)).bytes()),
        _ => match kind % 14 {
            0 | 1 => out.extend((0..40).map(|_| u8::try_from(dice.roll(256)).unwrap())),
            // A record inside another's text, as an agent's answer would put it.
            2 | 3 => out.extend(format!("{stamp} [INFO]: [WAIT-VM-READY] Response body {{\"vmIP\":\"127.0.100.9\",\"body\":\"{stamp} [INFO]: [WAIT-VM-READY] VM ready! {{\\\"vmIP\\\":\\\"127.0.100.3\\\"}}\"}}").bytes()),
            4 => out.extend(format!("{stamp} [INFO]: Starting authentication {{\"module\":\"browser-auth\",\"userId\":\"{id}\",\"provider\":\"p{number}\"}}").bytes()),
            5 => out.extend(format!("{stamp} [INFO]: Creating browser VM for OAuth {{\"userId\":\"{id}\",\"sessionId\":\"{id}\"}}").bytes()),
            6 => out.extend(format!("{stamp} [INFO]: Auth session cancelled {{\"sessionId\":\"{id}\"}}").bytes()),
            7 => out.extend(format!("{stamp} [WARN]: [WAIT-VM-READY] Health check failed {{\"vmIP\":\"10.{}.{}.{}\",\"code\":\"E{number}\",\"elapsed\":{number}}}", number % 256, number / 256 % 256, number / 65_536 % 256).bytes()),
            8 => out.extend(format!("{stamp} [INFO]: [WAIT-VM-READY] Starting health check {{\"vmIP\":\"10.1.{}.{}\",\"maxWaitMs\":1}}", number % 256, number / 256 % 256).bytes()),
            9 => out.extend(format!("{stamp} [INFO]: Destroying VM {{\"vmId\":\"vm-{id}\"}}").bytes()),
            10 => out.extend(format!("{stamp} [ERROR]: Message number {number} of {id} {{\"vmId\":\"vm-{id}\"}}").bytes()),
            11 => out.extend(format!("{stamp} [INFO]: [VM-CREATE] Starting VM creation {{\"vmId\":\"vm-{id}\",\"userId\":\"{id}\",\"vmType\":\"browser\"").bytes()),
            12 => out.extend(b"{\"metadata\":{\"metadata\":{\"metadata\":{}}}}"),
            _ => out.extend(format!("9999-99-99 99:99:99 [INFO]: [VM-CREATE] Step 1: IP allocated {{\"vmId\":\"vm-{id}\",\"ipAddress\":\"127.0.100.3\",\"elapsed\":1}}").bytes()),
        },
    }
    out.push(b'\n');
}

#[test]
fn a_million_hostile_lines_leave_memory_and_every_other_boot_as_they_were() {
    let stretches = ["concurrent", "agents", "killed_and_reused"];
    let real: Vec<u8> = stretches
        .iter()
        .flat_map(|name| bytes(&format!("{name}.log")))
        .collect();
    let mut alone = Watch::new();
    alone.read(&real);
    let wanted = alone.verdicts();
    assert!(wanted.len() > 20);

    let lines: Vec<&[u8]> = real.split_inclusive(|byte| *byte == b'\n').collect();
    let per_line = 1_000_000 / lines.len() + 1;
    let mut among = Watch::new();
    let mut dice = Dice(42);
    let mut log = Vec::new();
    let mut stamp = String::from("2026-11-23 18:24:10");
    let mut most = bootwatch::core::boot::Sizes::default();
    for line in lines {
        if let Some(real) = line.get(..19).filter(|_| line.starts_with(b"2026")) {
            stamp = String::from_utf8_lossy(real).into_owned();
        }
        log.clear();
        log.extend_from_slice(line);
        for _ in 0..per_line {
            hostile(&mut dice, &stamp, &mut log);
        }
        among.read(&log);
        let sizes = among.tracker.sizes();
        most.boots = most.boots.max(sizes.boots);
        most.sessions = most.sessions.max(sizes.sessions);
        most.addresses = most.addresses.max(sizes.addresses);
        most.requests = most.requests.max(sizes.requests);
        most.queued = most.queued.max(sizes.queued);
    }
    assert!(most.boots < 15_000 && most.sessions < 15_000, "{most:?}");
    assert!(
        most.addresses < 25_000 && most.requests <= 10_000,
        "{most:?}"
    );
    assert!(most.queued < 50_000, "{most:?}");
    assert!(among.reader.shapes().distinct() <= 1_000);
    let told = among.verdicts();
    let changed: Vec<_> = told.iter().filter(|one| !wanted.contains(one)).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    assert_eq!(told.len(), wanted.len());
}

/// JSON as the controller's library writes it, of any shape.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
        Just("} {\"\\ \u{1b}[2J\n".into()),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let keys = prop_oneof![
            Just("metadata".to_owned()),
            Just("vmIP".to_owned()),
            ".{0,6}"
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(keys, inner, 0..6)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_scan_takes_exactly_the_objects_that_a_parser_takes(json in any_json(), pretty in any::<bool>(), cut in 0usize..400) {
        let text = if pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) };
        let text = text.unwrap();
        let mut keys = Vec::new();
        let whole = fields::scan(text.as_bytes(), &mut |key, value| keys.push((key.to_vec(), value)));
        prop_assert_eq!(whole, json.is_object(), "{}", text);
        // A part of it is no object, unless only space was cut.
        let cut = cut.min(text.len());
        if cut < text.trim_end().len() {
            let part = fields::scan(&text.as_bytes()[..cut], &mut |_, _| {});
            prop_assert!(!part);
        }
        // The wrapper is looked through where it is one, and only there.
        if let Some(object) = json.as_object() {
            let inner = match object.get("metadata").and_then(|inner| inner.as_object()) {
                Some(inner) if object.len() == 1 => inner,
                _ => object,
            };
            prop_assert_eq!(keys.len(), inner.len());
            for (key, value) in &keys {
                if let (Ok(key), Value::Text(raw)) = (std::str::from_utf8(key), value)
                    && let Some(wanted) = inner.get(key).and_then(|value| value.as_str())
                {
                    prop_assert_eq!(fields::unescape(raw, usize::MAX), wanted);
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_an_excerpt_panic_or_grow(line in prop::collection::vec(any::<u8>(), 0..300), limit in 1usize..200) {
        let headed = [b"2025-10-18 01:52:07 [INFO]: x {\"error\":\"".as_slice(), &line, b"\"}"].concat();
        for record in [&line, &headed] {
            let safe = excerpt(record, limit);
            prop_assert!(safe.chars().count() <= limit);
            prop_assert!(safe.chars().all(|c| !c.is_control()), "{safe:?}");
        }
    }

    #[test]
    fn a_planted_secret_does_not_get_out(
        secret in "[a-z0-9]{12,20}", before in "[ -~&&[^\"\\\\]]{0,30}", after in "[ -~&&[^\"\\\\]]{0,30}", place in 0usize..9,
    ) {
        let planted = match place {
            0 => format!("http://user:{secret}@proxy.example:10001/"),
            1 => format!("Authorization: Bearer {secret}"),
            2 => format!("token={secret}"),
            3 => format!("https://auth.example/callback?code={secret}&state=x"),
            4 => format!("password: {secret}"),
            5 => format!("api_key={secret}"),
            6 => format!("client_secret:{secret}"),
            7 => format!("cookie={secret}"),
            _ => format!("access_token={secret}"),
        };
        let error = format!("{before} {planted} {after}");
        let line = format!("2025-10-18 01:52:07 [ERROR]: x {{\"error\":\"{error}\",\"proxyURL\":\"http://u:{secret}@h\"}}");
        prop_assert!(!excerpt(line.as_bytes(), 400).contains(&secret), "{}", excerpt(line.as_bytes(), 400));
        prop_assert!(!excerpt(error.as_bytes(), 400).contains(&secret), "{}", excerpt(error.as_bytes(), 400));
    }
}
