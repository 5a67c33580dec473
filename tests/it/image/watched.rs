//! The sidecar watches the image: its metrics follow what is on disk.

use std::fs;
use std::net::SocketAddr;

use bootwatch::app::Start;

use super::build::Tree;
use crate::sidecar::{Sidecar, eventually};

/// Nobody listens there, and nothing is to be paged.
const NOBODY: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

#[test]
fn the_sidecar_audits_at_the_start_and_after_a_change() {
    let tree = Tree::healthy();
    let image = tree.image();
    let log = tree.beside("master-controller.log");
    fs::write(&log, "").unwrap();
    let more = format!(
        "[image]\npath = {:?}\nquiet = \"1s\"\n",
        image.display().to_string()
    );
    let sidecar = Sidecar::start(&log, SocketAddr::from(NOBODY), &more, Start::default());
    let shows = |line: &str| {
        eventually(line, || {
            let (_, metrics) = sidecar.get("/metrics");
            metrics.lines().any(|found| found == line)
        });
    };
    shows("bootwatch_golden_image_check{check=\"agent\"} 1");
    shows("bootwatch_golden_image_check{check=\"kernel_modules\"} 1");
    shows("bootwatch_golden_image_check{check=\"agent_current\"} -1");
    shows("bootwatch_golden_image_size_bytes 8388608");
    // As the builder does: another file takes the name.
    tree.remove("/opt/vm-browser-agent");
    let built = tree.image_called("built", "9M");
    fs::rename(built, &image).unwrap();
    shows("bootwatch_golden_image_check{check=\"agent\"} 0");
    shows("bootwatch_golden_image_size_bytes 9437184");
    fs::remove_file(&image).unwrap();
    shows("bootwatch_golden_image_check{check=\"filesystem\"} 0");
    shows("bootwatch_golden_image_check{check=\"agent\"} -1");
    let (_, metrics) = sidecar.get("/metrics");
    assert!(!metrics.contains("bootwatch_golden_image_size_bytes"));
    sidecar.stop().unwrap();
}
