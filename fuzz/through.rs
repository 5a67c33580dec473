//! What a fuzzer's bytes go through: the target that libFuzzer drives and the test that stable Rust runs share it.

use bootwatch::controller::clock::Zone;
use bootwatch::controller::excerpt::excerpt;
use bootwatch::controller::reader::Reader;
use bootwatch::core::boot::{Observation, Tracker};

/// Arbitrary bytes in arbitrary chunks through framing, decoding and the tracker: nothing panics, every boot that ended
/// is handed out, and nothing is left behind.
///
/// The first byte seeds the chunking and chooses whether silence is flushed; the rest is the log.
pub(crate) fn through(data: &[u8]) {
    let Some((seed, log)) = data.split_first() else {
        return;
    };
    let zone = Zone::Learnt {
        offset_ms: 0,
        told: false,
    };
    let mut reader = Reader::new(0, zone);
    let mut tracker = Tracker::new(excerpt);
    let mut said = Vec::new();
    let mut rest = log;
    let mut state = u32::from(*seed);
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = if seed & 1 == 0 { 8 } else { 4096 };
        let length = (state as usize >> 16) % most + 1;
        let (chunk, behind) = rest.split_at(length.min(rest.len()));
        reader.push(chunk, &mut |event| tracker.observe(event, &mut said));
        if seed & 2 != 0 {
            reader.flush(&mut |event| tracker.observe(event, &mut said));
        }
        rest = behind;
    }
    reader.finish(&mut |event| tracker.observe(event, &mut said));
    tracker.finish(&mut said);

    let count = |of: fn(&Observation) -> bool| said.iter().filter(|said| of(said)).count();
    let ended = count(|said| matches!(said, Observation::BootEnded(_)));
    let settled = count(|said| matches!(said, Observation::BootSettled(_)));
    assert!(ended <= settled, "every boot that ended was handed out");
    assert_eq!(
        tracker.sizes(),
        Default::default(),
        "nothing is left behind"
    );
}
