//! What the image alone cannot tell: its kernel, which image is cloned, and whether its agent is the host's.

use bootwatch::core::image::{Check, Verdict};
use bootwatch::image::{Places, audit};

use super::build::{AGENT_TEXT, Tree, places};
use super::of;

#[test]
fn the_kernel_decides_whether_modules_are_missing() {
    let tree = Tree::healthy();
    tree.remove("/usr/lib/modules");
    let image = tree.image();
    let with = |kernel: Option<&[u8]>| {
        let path = tree.beside("vmlinux");
        let places = Places {
            kernel: kernel.map(|bytes| {
                std::fs::write(&path, bytes).unwrap();
                path.clone()
            }),
            ..places(&image)
        };
        of(&audit(&places).unwrap(), Check::KernelModules).clone()
    };
    assert_eq!(with(None).verdict, Verdict::Unknown);
    let modular = with(Some(b"\x7fELF Linux version 5.10.225 (gcc) loop\0"));
    assert_eq!(modular.verdict, Verdict::Fail, "{modular:?}");
    assert!(modular.path.contains("5.10.225"), "{modular:?}");
    let own = with(Some(b"\x7fELF Linux version 5.10.225 (gcc) virtio_net\0"));
    assert_eq!(own.verdict, Verdict::Pass, "{own:?}");
    // A version that lies across two pieces of what is read.
    let mut far = vec![b' '; (1 << 20) - 20];
    far.extend_from_slice(b"Linux version 6.1.9 (gcc) virtio_net\0");
    assert_eq!(with(Some(&far)).verdict, Verdict::Pass);
}

#[test]
fn a_rebuilt_image_that_nobody_clones_is_told() {
    let tree = Tree::healthy();
    let browser = tree.image();
    assert_eq!(
        of(&audit(&places(&browser)).unwrap(), Check::ClonedFrom).verdict,
        Verdict::Pass
    );
    let built = tree.image_called("golden-rootfs.ext4", "8M");
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_760_000_000);
    let file = std::fs::File::options().write(true).open(&browser).unwrap();
    file.set_modified(old).unwrap();
    let image = audit(&places(&browser)).unwrap();
    let stale = of(&image, Check::ClonedFrom);
    assert_eq!(stale.verdict, Verdict::Warn);
    assert!(stale.reason.contains("golden-rootfs.ext4"), "{stale:?}");
    let image = audit(&places(&built)).unwrap();
    let other = of(&image, Check::ClonedFrom);
    assert_eq!(other.verdict, Verdict::Warn);
    assert!(
        other.reason.contains("golden-browser-rootfs.ext4"),
        "{other:?}"
    );
    // One file under both names, as once on the host.
    std::fs::remove_file(&browser).unwrap();
    std::os::unix::fs::symlink("golden-rootfs.ext4", &browser).unwrap();
    for path in [&browser, &built] {
        let image = audit(&places(path)).unwrap();
        assert_eq!(
            of(&image, Check::ClonedFrom).verdict,
            Verdict::Pass,
            "{path:?}"
        );
    }
}

#[test]
fn the_controllers_own_settings_say_what_is_cloned() {
    let tree = Tree::healthy();
    let image = tree.image();
    let settings = tree.beside("env");
    let other = tree.image_called("other.ext4", "8M");
    let with = |named: &std::path::Path| {
        std::fs::write(
            &settings,
            format!("A=b\nGOLDEN_BROWSER_ROOTFS=\"{}\"\n", named.display()),
        )
        .unwrap();
        let places = Places {
            settings: Some(settings.clone()),
            ..places(&image)
        };
        of(&audit(&places).unwrap(), Check::ClonedFrom).clone()
    };
    assert_eq!(with(&image).verdict, Verdict::Pass);
    assert_eq!(with(&other).verdict, Verdict::Warn);
    let gone = with(&tree.beside("gone.ext4"));
    assert_eq!(gone.verdict, Verdict::Fail);
    assert!(gone.reason.contains("is not there"), "{gone:?}");
}

#[test]
fn an_agent_that_is_not_the_hosts_is_stale() {
    let tree = Tree::healthy();
    let source = tree.beside("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("server.js"), AGENT_TEXT).unwrap();
    let image = tree.image();
    let with = || {
        let places = Places {
            source: Some(source.clone()),
            ..places(&image)
        };
        of(&audit(&places).unwrap(), Check::AgentCurrent).clone()
    };
    assert_eq!(with().verdict, Verdict::Pass, "{:?}", with());
    std::fs::write(source.join("webrtc-server.js"), "new").unwrap();
    assert!(
        with().reason.contains("webrtc-server.js is missing"),
        "{:?}",
        with()
    );
    std::fs::write(source.join("server.js"), format!("{}\n", AGENT_TEXT)).unwrap();
    let stale = with();
    assert_eq!(stale.verdict, Verdict::Warn);
    assert!(stale.reason.contains("server.js is another"), "{stale:?}");
    assert!(stale.reason.contains("newer than the image"), "{stale:?}");
}
