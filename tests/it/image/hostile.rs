//! Images that mean harm, or came to harm: an answer in time, never a panic, and not a byte of theirs changed.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootwatch::clock::Stopwatch;
use bootwatch::core::image::{Check, GoldenImage, TABLE, Verdict, overall};
use bootwatch::image::{ImageError, audit, diff};
use proptest::prelude::*;

use super::build::{AGENT, AGENT_TEXT, NODE, Tree, UNIT, WANTS, places, program};
use super::{objections, of};

/// Longer than any audit of a small image takes on a busy machine.
const AT_MOST: Duration = Duration::from_secs(20);

fn in_time(path: &Path) -> GoldenImage {
    let watch = Stopwatch::start();
    let image = audit(&places(path)).unwrap();
    assert!(watch.elapsed() < AT_MOST, "{:?}", watch.elapsed());
    for row in TABLE {
        assert!(
            image
                .findings
                .iter()
                .any(|finding| finding.check == row.check),
            "{} says nothing",
            row.check
        );
    }
    image
}

#[test]
fn links_are_followed_within_the_image_only() {
    let tree = Tree::healthy();
    tree.remove(NODE);
    // On this host the target exists, in the image it does not.
    let outside = tree.beside("node");
    fs::write(&outside, program(true)).unwrap();
    tree.link(NODE, outside.to_str().unwrap());
    let image = tree.audit();
    let node = of(&image, Check::Interpreter);
    assert_eq!(node.verdict, Verdict::Fail, "{node:?}");
    assert!(node.reason.contains("not there"), "{node:?}");

    // More steps up than there are folders end at the image's root.
    let tree = Tree::healthy();
    tree.remove(NODE)
        .link(NODE, "../../../../../../opt/node")
        .program("/opt/node", &program(true));
    assert_eq!(objections(&tree.audit()), []);
    // An absolute link begins at the image's root.
    let tree = Tree::healthy();
    tree.remove(NODE)
        .link(NODE, "/opt/node")
        .program("/opt/node", &program(true));
    assert_eq!(objections(&tree.audit()), []);
}

#[test]
fn links_that_go_in_circles_are_told() {
    let tree = Tree::healthy();
    tree.remove(NODE)
        .link(NODE, "nodejs")
        .link("/usr/bin/nodejs", "node");
    tree.remove(UNIT).link(UNIT, UNIT);
    tree.remove(WANTS).link(WANTS, "/etc/systemd/system/multi-user.target.wants/../multi-user.target.wants/vm-browser-agent.service");
    let image = in_time(&tree.image());
    assert_eq!(of(&image, Check::Unit).verdict, Verdict::Fail);
    for check in [Check::Unit, Check::Interpreter] {
        let said = &of(&image, check).reason;
        assert!(
            check != Check::Unit || said.contains("in a circle"),
            "{said}"
        );
        assert!(!said.contains("not there"), "{said}");
    }
    let node = Tree::healthy();
    node.remove(NODE)
        .link(NODE, "node2")
        .link("/usr/bin/node2", "node");
    let said = of(&in_time(&node.image()), Check::Interpreter)
        .reason
        .clone();
    assert!(said.contains("in a circle"), "{said}");

    let long = Tree::healthy();
    long.remove(AGENT);
    for step in 0..60 {
        long.link(
            &format!("/opt/s{step}"),
            &format!("/opt/s{}/././", step + 1),
        );
    }
    long.folder("/opt/s60");
    long.link(AGENT, "/opt/s0");
    let image = in_time(&long.image());
    assert_eq!(of(&image, Check::Agent).verdict, Verdict::Fail);
    let said = &of(&image, Check::Agent).reason;
    assert!(said.contains("more than 40 links"), "{said}");
}

#[test]
fn hostile_names_and_units_stay_one_line_of_plain_text() {
    let tree = Tree::healthy();
    let evil = format!(
        "[Service]\nExecStart=/opt/\u{1b}[31m\u{202e}{}\r /x\u{7}\n",
        "a".repeat(100_000)
    );
    tree.write(UNIT, &evil);
    let image = in_time(&tree.image());
    for finding in &image.findings {
        let said = format!("{} {}", finding.path, finding.reason);
        assert!(
            !said.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{said:?}"
        );
        assert!(said.chars().count() <= 900, "{}", said.len());
    }
    assert_eq!(of(&image, Check::Interpreter).verdict, Verdict::Fail);
}

#[test]
fn secrets_of_the_environment_are_not_told() {
    let tree = Tree::healthy();
    tree.write("/etc/environment", "PROXY_PASSWORD hunter2\n");
    let image = tree.audit();
    assert_eq!(of(&image, Check::Environment).verdict, Verdict::Warn);
    assert!(!format!("{:?}", image.findings).contains("hunter2"));
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    fs::write(place("empty"), "").unwrap();
    fs::write(place("text"), "not an image\n".repeat(1_000)).unwrap();
    fs::write(place("zeros"), vec![0; 1 << 20]).unwrap();
    for name in ["empty", "text", "zeros"] {
        let image = in_time(&place(name));
        assert_eq!(
            of(&image, Check::Filesystem).verdict,
            Verdict::Fail,
            "{name}"
        );
        assert_eq!(overall(&image.findings), Verdict::Fail);
    }
    assert!(matches!(
        audit(&places(&place("gone"))),
        Err(ImageError::Open { .. })
    ));
    assert!(matches!(
        audit(&places(folder.path())),
        Err(ImageError::NotAFile { .. })
    ));
    symlink("itself", place("itself")).unwrap();
    assert!(matches!(
        audit(&places(&place("itself"))),
        Err(ImageError::Open { .. })
    ));
}

#[test]
fn a_truncated_image_is_told_wherever_it_ends() {
    let tree = Tree::healthy();
    let whole = fs::read(tree.image()).unwrap();
    let torn = tree.beside("torn.ext4");
    for length in [
        1_000,
        1_500,
        2_048,
        3_000,
        10_000,
        100_000,
        1 << 20,
        whole.len() - 1,
    ] {
        fs::write(&torn, &whole[..length]).unwrap();
        let image = in_time(&torn);
        let finding = of(&image, Check::Filesystem);
        assert_eq!(finding.verdict, Verdict::Fail, "{length}: {finding:?}");
    }
}

/// Flips bits of the superblock's fields, with a checksum that fits again.
fn with_superblock(path: &Path, change: impl Fn(&mut [u8])) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut superblock = [0; 1_024];
    file.read_exact_at(&mut superblock, 1_024).unwrap();
    change(&mut superblock);
    let mut sum: u32 = !0;
    for byte in &superblock[..0x3fc] {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 {
                sum >> 1 ^ 0x82f6_3b78
            } else {
                sum >> 1
            };
        }
    }
    superblock[0x3fc..].copy_from_slice(&sum.to_le_bytes());
    file.write_all_at(&superblock, 1_024).unwrap();
}

#[test]
fn states_of_the_whole_are_told() {
    let tree = Tree::healthy();
    let image = tree.image();
    let whole = fs::read(&image).unwrap();
    let verdict = |change: &dyn Fn(&mut [u8])| {
        fs::write(&image, &whole).unwrap();
        with_superblock(&image, change);
        let image = in_time(&image);
        let finding = of(&image, Check::Filesystem).clone();
        (finding.verdict, finding.reason, overall(&image.findings))
    };
    assert_eq!(verdict(&|_| {}).0, Verdict::Pass);
    let (errors, reason, _) = verdict(&|raw| raw[0x3a] |= 2);
    assert_eq!(errors, Verdict::Warn, "{reason}");
    let (mounted, reason, whole_verdict) = verdict(&|raw| raw[0x60] |= 4);
    assert_eq!(
        (mounted, whole_verdict),
        (Verdict::Unknown, Verdict::Unknown),
        "{reason}"
    );
    for (feature, name) in [(0x1u8, "compression"), (0x10, "meta blocks")] {
        let (strange, reason, whole_verdict) = verdict(&|raw| raw[0x60] |= feature);
        assert_eq!(
            (strange, whole_verdict),
            (Verdict::Unknown, Verdict::Unknown)
        );
        assert!(reason.contains(name), "{reason}");
    }
    let (future, reason, _) = verdict(&|raw| raw[0x63] |= 0x80);
    assert_eq!(future, Verdict::Unknown, "{reason}");
    // Without the right checksum it is damage.
    fs::write(&image, &whole).unwrap();
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[0xff], 1_024 + 0x200).unwrap();
    let damaged = of(&in_time(&image), Check::Filesystem).clone();
    assert_eq!(damaged.verdict, Verdict::Fail);
    assert!(damaged.reason.contains("checksum"), "{damaged:?}");
}

/// Folders that are not read are not called empty.
#[test]
fn what_could_not_be_read_is_not_called_missing() {
    let mut tree = Tree::healthy();
    tree.options.extend(["-O", "inline_data"]);
    let image = in_time(&tree.image());
    let sure: Vec<_> = image
        .findings
        .iter()
        .filter(|one| matches!(one.verdict, Verdict::Fail | Verdict::Warn))
        .collect();
    assert!(sure.is_empty(), "{sure:#?}");
    for check in [Check::Vnc, Check::Network, Check::Unit, Check::Agent] {
        let said = of(&image, check);
        assert_eq!(said.verdict, Verdict::Unknown, "{check}");
        assert!(said.reason.contains("cannot be read"), "{said:?}");
    }
    assert_eq!(overall(&image.findings), Verdict::Unknown);
}

#[test]
fn thousands_of_equal_findings_are_one_and_of_many_the_worst_are_told() {
    let with = |line: &dyn Fn(usize) -> String| {
        let tree = Tree::healthy();
        let lines: String = (0..5_000).map(line).collect();
        tree.write(
            UNIT,
            &format!("{}[Service]\n{lines}", super::build::UNIT_TEXT),
        );
        let image = in_time(&tree.image());
        let findings = image.findings.into_iter();
        findings
            .filter(|one| one.check == Check::Environment)
            .collect::<Vec<_>>()
    };
    let same = with(&|_| "EnvironmentFile=/etc/gone\n".to_owned());
    assert_eq!(same.len(), 1, "{same:#?}");
    let many = with(&|number| {
        format!(
            "EnvironmentFile=/etc/{}gone{number}\n",
            if number == 900 { "" } else { "*" }
        )
    });
    assert_eq!(many.len(), 20);
    assert_eq!(many[0].verdict, Verdict::Fail, "the worst is told");
    let last = &many[19].reason;
    assert!(
        last.starts_with("and 19") && last.contains("more of this check"),
        "{last}"
    );
}

#[test]
fn absurd_sizes_cost_neither_memory_nor_time() {
    let mut tree = Tree::healthy();
    tree.options.extend(["-O", "^metadata_csum"]);
    let image = tree.image();
    let whole = fs::read(&image).unwrap();
    // Inodes of the smallest table: each claims to be as large as can be, or to hold another's blocks.
    let fields: [(usize, &[u8]); 5] = [
        (0x4, &[0xff; 4]),
        (0x6c, &[0xff; 4]),
        (0x28, &[0xff; 60]),
        (0x20, &[0xff; 4]),
        (0x2a, &[0xff, 0xff, 0xff, 0xff, 0x05, 0x00]),
    ];
    // Where the first group's inodes are: the descriptor is in the block behind the superblock's.
    let block = 1_024_usize << whole[1_024 + 0x18];
    let descriptor = if block == 1_024 { 2_048 } else { block };
    let table = u32::from_le_bytes(whole[descriptor + 8..descriptor + 12].try_into().unwrap());
    let size = usize::from(u16::from_le_bytes([
        whole[1_024 + 0x58],
        whole[1_024 + 0x59],
    ]));
    for (at, bytes) in fields {
        let mut broken = whole.clone();
        for inode in 1..60 {
            let at = table as usize * block + inode * size + at;
            broken[at..at + bytes.len()].copy_from_slice(bytes);
        }
        fs::write(&image, &broken).unwrap();
        in_time(&image);
        diff(&image, &image).unwrap();
    }
}

#[test]
fn a_folder_within_itself_ends_a_comparison() {
    let mut tree = Tree::empty();
    tree.options.extend(["-O", "^metadata_csum", "-b", "1024"]);
    tree.folder("/loop/inner").write("/loop/inner/lost", "x");
    tree.write("/loop/found", "x");
    let image = tree.image_called("loop.ext4", "2M");
    let sound = tree.image_called("sound.ext4", "2M");
    let mut bytes = fs::read(&image).unwrap();
    // The entry `inner` is made to stand for the folder that holds it: find the name, take the inode of `.`.
    let name = bytes
        .windows(5)
        .position(|window| window == b"inner")
        .unwrap();
    let block = (name / 1_024) * 1_024;
    let own: [u8; 4] = bytes[block..block + 4].try_into().unwrap();
    bytes[name - 8..name - 4].copy_from_slice(&own);
    fs::write(&image, &bytes).unwrap();
    in_time(&image);
    let found = diff(&image, &image).unwrap();
    assert_eq!(found.changes, []);
    // What lies beyond it was not seen, and is not called removed.
    for (old, new) in [(&sound, &image), (&image, &sound)] {
        let found = diff(old, new).unwrap();
        assert_eq!(found.changes, [], "{:?}", found.unread);
        let unread = found.unread.join("\n");
        assert!(
            unread.contains("/loop/inner: a folder that was met before"),
            "{unread}"
        );
    }
}

#[test]
fn an_audit_changes_nothing() {
    let tree = Tree::healthy();
    let image = tree.image();
    let before = (
        fs::read(&image).unwrap(),
        fs::metadata(&image).unwrap().modified().unwrap(),
    );
    let mut permissions = fs::metadata(&image).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&image, permissions).unwrap();
    in_time(&image);
    let after = (
        fs::read(&image).unwrap(),
        fs::metadata(&image).unwrap().modified().unwrap(),
    );
    assert!(before == after);
}

/// Whatever is written over an image while it is read, what is said of it is of one state or of none.
#[test]
fn an_image_that_is_written_to_says_so_or_says_what_it_then_was() {
    let good = Tree::healthy();
    let bad = Tree::healthy();
    bad.remove("/opt/vm-browser-agent")
        .write("/opt/else", AGENT_TEXT);
    let states = [
        fs::read(good.image()).unwrap(),
        fs::read(bad.image()).unwrap(),
    ];
    let path = good.beside("busy.ext4");
    fs::write(&path, &states[0]).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::File::options().write(true).open(&path).unwrap();
            let mut turn = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for (piece, at) in states[turn % 2]
                    .chunks(64 << 10)
                    .zip((0..).step_by(64 << 10))
                {
                    file.write_all_at(piece, at).unwrap();
                }
                turn += 1;
            }
        });
        let mut unsettled = 0;
        for _ in 0..20 {
            let image = in_time(&path);
            let finding = of(&image, Check::Filesystem);
            if finding.verdict == Verdict::Unknown {
                assert!(finding.reason.contains("written to"), "{finding:?}");
                unsettled += 1;
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(unsettled > 0, "it was never met while being written");
    });
}

#[derive(Clone, Debug)]
struct Damage {
    with_checksums: bool,
    writes: Vec<(u32, Vec<u8>)>,
}

fn damage() -> impl Strategy<Value = Damage> {
    // Most of what steers a reader lies at the beginning.
    let at = prop_oneof![
        1_024u32..2_048,
        2_048u32..65_536,
        0u32..1 << 20,
        0u32..8 << 20
    ];
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..16),
        proptest::collection::vec(prop_oneof![Just(0u8), Just(0xff)], 1..512),
    ];
    let writes = proptest::collection::vec((at, bytes), 1..12);
    (any::<bool>(), writes).prop_map(|(with_checksums, writes)| Damage {
        with_checksums,
        writes,
    })
}

/// One image with checksums, one without, for all cases.
fn sound() -> &'static [(Tree, PathBuf, Vec<u8>); 2] {
    static SOUND: std::sync::OnceLock<[(Tree, PathBuf, Vec<u8>); 2]> = std::sync::OnceLock::new();
    SOUND.get_or_init(|| {
        ["metadata_csum", "^metadata_csum"].map(|feature| {
            let mut tree = Tree::healthy();
            tree.options.extend(["-O", feature]);
            let image = tree.image();
            let bytes = fs::read(&image).unwrap();
            (tree, image, bytes)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_damage_is_survived(damage in damage()) {
        let (tree, _, bytes) = &sound()[usize::from(!damage.with_checksums)];
        let mut broken = bytes.clone();
        for (at, written) in &damage.writes {
            let at = *at as usize;
            let end = (at + written.len()).min(broken.len());
            broken[at..end].copy_from_slice(&written[..end - at]);
        }
        let place = tree.beside("broken.ext4");
        fs::write(&place, &broken).unwrap();
        let image = in_time(&place);
        // What is damaged and was noticed is never called fine.
        let unread = image.findings.iter().any(|finding| finding.reason == "cannot be read");
        prop_assert!(!unread || overall(&image.findings) != Verdict::Pass);
        diff(&place, &place).unwrap();
        prop_assert!(fs::read(&place).unwrap() == broken);
    }
}
