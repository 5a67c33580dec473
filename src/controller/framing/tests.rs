//! Framing: what is a record, where it ends, and that chunking changes nothing.

use proptest::prelude::*;

use super::*;

/// Everything framed, as text; the bytes come in chunks of `chunk`.
fn framed(log: &[u8], chunk: usize) -> (Vec<(u64, Vec<u8>)>, FramingCounts) {
    let mut framer = Framer::default();
    let mut records = Vec::new();
    let mut sink = |record: Record<'_>| records.push((record.offset, record.text.to_vec()));
    for piece in log.chunks(chunk.max(1)) {
        framer.push(piece, &mut sink);
    }
    framer.finish(&mut sink);
    (records, framer.counts())
}

fn texts(log: &str) -> Vec<String> {
    let (records, _) = framed(log.as_bytes(), usize::MAX);
    records
        .into_iter()
        .map(|(_, text)| String::from_utf8(text).unwrap())
        .collect()
}

const LINE: &str = "2025-10-18 01:52:07 [WARN]: [WAIT-VM-READY] Health check failed \
    {\"vmIP\":\"192.168.100.17\",\"code\":\"ECONNREFUSED\",\"elapsed\":9035}";

#[test]
fn a_line_with_metadata_is_a_record_as_soon_as_it_ends() {
    let mut framer = Framer::default();
    let mut count = 0;
    framer.push(LINE.as_bytes(), &mut |_| count += 1);
    assert_eq!(framer.counts().records, 0, "half a line is held");
    framer.push(b"\n", &mut |_| count += 1);
    assert_eq!(count, 1);
    assert!(!framer.has_pending());
}

#[test]
fn the_consoles_header_with_its_upper_cased_colours_is_a_header() {
    for level in ["INFO", "WARN", "ERROR", "DEBUG", "HTTP"] {
        for (before, after) in [
            ("", ""),
            ("\u{1b}[33M", "\u{1b}[39M"),
            ("\u{1b}[1;31m", "\u{1b}[0m"),
        ] {
            let line = format!("2025-10-18 01:52:07 [{before}{level}{after}]: text");
            let header = header(line.as_bytes()).unwrap_or_else(|| panic!("{line:?}"));
            assert_eq!(&line.as_bytes()[header.level.clone()], level.as_bytes());
            assert_eq!(&line.as_bytes()[header.message..], b"text");
        }
    }
}

#[test]
fn what_only_resembles_a_header_is_none() {
    for line in [
        "",
        "2025-10-18 01:52:07",
        "2025-10-18 01:52:07 [INFO]",
        "2025-10-18 01:52:07 [info]: text",
        "2025-10-18T01:52:07 [INFO]: text",
        "2025-1O-18 01:52:07 [INFO]: text",
        " 2025-10-18 01:52:07 [INFO]: text",
        "2025-10-18 01:52:07 []: text",
        "2025-10-18 01:52:07 [VERYLONGLEVEL]: text",
    ] {
        assert_eq!(header(line.as_bytes()), None, "{line:?}");
    }
}

#[test]
fn an_indented_block_belongs_to_the_header_before_it() {
    let log = "2025-10-18 01:52:07 [WARN]: one\n{\n  \"a\": {\n    \"b\": 1\n  }\n}\nnot its\n";
    assert_eq!(
        texts(log),
        ["2025-10-18 01:52:07 [WARN]: one\n{\n  \"a\": {\n    \"b\": 1\n  }\n}"]
    );
    // The brace may stand on the header's own line.
    let log = "2025-10-18 01:52:07 [WARN]: one {\n  \"a\": 1\n}\n";
    assert_eq!(texts(log).len(), 1);
    assert!(texts(log)[0].ends_with("\n}"));
}

#[test]
fn a_block_that_closes_is_whole_at_once() {
    let mut framer = Framer::default();
    let mut count = 0;
    framer.push(
        b"2025-10-18 01:52:07 [WARN]: one\n{\n  \"a\": \"}\"\n",
        &mut |_| count += 1,
    );
    assert_eq!((framer.has_pending(), count), (true, 0));
    framer.push(b"}\n", &mut |_| count += 1);
    assert_eq!((framer.has_pending(), count), (false, 1));
}

#[test]
fn a_crash_record_ends_with_the_metadata_on_its_last_line() {
    let log = "2025-10-18 10:20:00 [ERROR]: uncaughtException: boom\nError: boom\n    at f (x.js:1:2)\n    \
               at g (y.js:3:4) {\"error\":{},\"exception\":true}\n2025-10-18 10:20:01 [INFO]: next {}\n";
    let texts = texts(log);
    assert_eq!(texts.len(), 2);
    assert!(texts[0].starts_with("2025-10-18 10:20:00") && texts[0].ends_with("true}"));
}

#[test]
fn a_message_with_raw_newlines_is_one_record() {
    let log = "2025-10-18 01:52:07 [ERROR]: Failed: cp\ncp: no space\n {\"vmId\":\"x\"}\n";
    assert_eq!(texts(log).len(), 1);
}

#[test]
fn the_last_record_waits_for_no_next_line() {
    let mut framer = Framer::default();
    let mut count = 0;
    framer.push(b"2025-10-18 01:52:07 [ERROR]: no metadata\n", &mut |_| {
        count += 1
    });
    assert_eq!(count, 0);
    framer.flush(&mut |_| count += 1);
    assert_eq!(count, 1, "after silence it is what it is");
    framer.push(b"  its late rest\n", &mut |_| count += 1);
    assert_eq!(
        (count, framer.counts().orphan_lines),
        (1, 1),
        "an orphan is counted, not parsed"
    );
}

#[test]
fn a_flood_of_lines_keeps_its_head_and_its_tail() {
    let mut log = String::from("2025-10-18 01:52:07 [ERROR]: flood\n");
    for number in 0..5_000 {
        log.push_str(&format!("    at frame {number}\n"));
    }
    let (records, counts) = framed(log.as_bytes(), 1 << 16);
    let text = String::from_utf8(records[0].1.clone()).unwrap();
    assert_eq!(text.lines().count(), 500);
    assert!(text.contains("frame 0\n") && text.ends_with("frame 4999"));
    assert_eq!(counts.dropped_lines, 5_001 - 500);
}

#[test]
fn a_line_beyond_the_limit_is_cut_and_the_next_one_whole() {
    let huge = format!("{LINE}{}\n{LINE}\n", "x".repeat(10 << 20));
    for chunk in [1 << 12, 1 << 16, usize::MAX] {
        let (records, counts) = framed(huge.as_bytes(), chunk);
        assert_eq!(counts.long_lines, 1, "{chunk}");
        assert_eq!(records.len(), 2, "{chunk}");
        assert_eq!(records[0].1.len(), KEPT_OF_LONG_LINE);
        assert_eq!(records[1].1, LINE.as_bytes());
    }
}

#[test]
fn zeros_that_a_crash_left_are_skipped_and_counted() {
    let log = [&[0u8; 4096][..], LINE.as_bytes(), b"\n"].concat();
    let (records, counts) = framed(&log, 100);
    assert_eq!(records, [(4096, LINE.as_bytes().to_vec())]);
    assert_eq!(counts.nul_bytes, 4096);
}

#[test]
fn a_carriage_return_before_the_newline_is_no_part_of_the_line() {
    assert_eq!(texts(&format!("{LINE}\r\n{LINE}\r\n")), [LINE, LINE]);
}

#[test]
fn blanks_that_a_copy_put_at_the_end_of_a_line_are_no_part_of_it() {
    for blanks in [" ", "\t", "   \r", " \x0c"] {
        let log = format!("{LINE}{blanks}\n{LINE}{blanks}");
        assert_eq!(texts(&log), [LINE, LINE], "{blanks:?}");
    }
    let block = "2025-10-18 01:52:07 [WARN]: [WAIT-VM-READY] Health check failed \n{ \n  \"vmIP\": \"192.168.100.17\" \n} \n";
    let bare: Vec<&str> = block.lines().map(str::trim_end).collect();
    assert_eq!(texts(block), [bare.join("\n")]);
}

#[test]
fn offsets_count_from_where_the_file_was_taken_up() {
    let mut framer = Framer::at(1000);
    let mut offsets = Vec::new();
    let log = format!("{LINE}\n{LINE}\n");
    for piece in log.as_bytes().chunks(7) {
        framer.push(piece, &mut |record| offsets.push(record.offset));
    }
    assert_eq!(offsets, [1000, 1000 + LINE.len() as u64 + 1]);
}

/// The same by plain means, over the whole text at once.
fn naive(log: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut open: Option<(usize, bool)> = None;
    let mut at = 0u64;
    let mut lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    for raw in lines {
        let begin = at;
        at += raw.len() as u64 + 1;
        let cut = if raw.len() > MAX_LINE {
            &raw[..KEPT_OF_LONG_LINE]
        } else {
            raw
        };
        let mut line = cut.trim_ascii_end();
        let zeros = line.iter().take_while(|byte| **byte == 0).count();
        if header(line).is_none() {
            line = &line[zeros..];
        }
        let zeros = if line.len() < cut.len() && cut[0] == 0 {
            zeros as u64
        } else {
            0
        };
        if header(line).is_some() {
            records.push((begin + zeros, line.to_vec()));
            open = (line.last() != Some(&b'}')).then(|| (1, line.ends_with(b" {")));
            continue;
        }
        let Some((lines, block)) = &mut open else {
            continue;
        };
        *lines += 1;
        *block |= *lines == 2 && line == b"{";
        let text = &mut records
            .last_mut()
            .expect("an open record is the last one")
            .1;
        text.push(b'\n');
        text.extend_from_slice(line);
        if if *block {
            line == b"}"
        } else {
            ends_with_metadata(line)
        } {
            open = None;
        }
    }
    records
}

/// Pieces that logs are made of, and bytes that they should not be made of.
fn any_log() -> impl Strategy<Value = Vec<u8>> {
    let text = |text: &'static str| Just(text.as_bytes().to_vec());
    let piece = prop_oneof![
        4 => text("2025-10-18 01:52:07 [WARN]: "),
        1 => text("2025-10-18 01:52:07 [\u{1b}[33MWARN\u{1b}[39M]: "),
        3 => text("a message {\"a\":1}"),
        1 => text("a message"),
        2 => text("{"),
        2 => text("}"),
        1 => text("\r"),
        6 => text("\n"),
        1 => text("  \"a\": 1"),
        1 => text("\u{1b}[2J"),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (0usize..9).prop_map(|length| vec![0; length]),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_frames_what_the_whole_text_frames(log in any_log(), chunk in 1usize..50) {
        let wanted = naive(&log);
        prop_assert_eq!(&framed(&log, chunk).0, &wanted);
        prop_assert_eq!(&framed(&log, usize::MAX).0, &wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_about_as_long_as_the_limit_are_framed_alike_in_any_chunks(
        longer in -3i64..4, chunk in prop_oneof![Just(MAX_LINE), 1usize << 14..1 << 20], newline in any::<bool>(),
    ) {
        let length = usize::try_from(MAX_LINE as i64 + longer).expect("not negative");
        let mut log = LINE.as_bytes().to_vec();
        log.resize(length - 1, b'x');
        log.extend_from_slice(b"}\n");
        log.extend_from_slice(LINE.as_bytes());
        if newline {
            log.push(b'\n');
        }
        let wanted = naive(&log);
        prop_assert_eq!(&framed(&log, chunk).0, &wanted);
        prop_assert_eq!(&framed(&log, usize::MAX).0, &wanted);
    }
}
