//! Damaged files: set aside under their own name, whole, and a new store begun.

use std::path::PathBuf;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A store with some history, closed, and its bytes.
async fn filled(folder: &Path) -> Vec<u8> {
    let mut store = open(folder).await.store;
    let batch = Batch {
        state: vec![state("a", Some(&"x".repeat(9_000)))],
        boots: (0..300).map(|number| boot(number, NOW)).collect(),
        incidents: vec![incident("i-1", NOW)],
        outbox: vec![message("i-1", "firing")],
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    store.close().await;
    fs::read(settings(folder).path).unwrap()
}

#[tokio::test]
async fn a_file_that_is_no_store_is_set_aside_whole_and_named() {
    let whole = filled(folder().path()).await;
    let cut = |at: usize| whole[..at].to_vec();
    let with = |at: usize, bytes: &[u8]| {
        let mut damaged = whole.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        damaged
    };
    let zeroed = {
        let mut damaged = whole.clone();
        damaged[4_096..].fill(0);
        damaged
    };
    for (what, bytes) in [
        (
            "garbage",
            b"this is no database, whatever its name says".repeat(300),
        ),
        ("cut within the header", cut(50)),
        ("cut after the first page", cut(4_096)),
        ("cut in the middle of a page", cut(whole.len() / 2 + 100)),
        ("the last page is gone", cut(whole.len() - 4_096)),
        ("another magic", with(0, b"NotSQL")),
        ("the schema's page is damaged", with(100, &[0xff; 2_000])),
        ("everything but the first page is zero", zeroed),
    ] {
        let folder = folder();
        let path = settings(folder.path()).path;
        fs::write(&path, &bytes).unwrap();
        let opened = open(folder.path()).await;
        let aside = folder.path().join("bootwatch.db.corrupt-20251018T015207Z");
        assert_eq!(opened.set_aside.as_ref(), Some(&aside), "{what}");
        assert!(fs::read(&aside).unwrap() == bytes, "{what}: not as it was");
        // Where to go on is read of it whole, or not at all.
        let found = opened.saved.value("tracker", "a");
        assert!(
            found.is_none_or(|found| found == "x".repeat(9_000)),
            "{what}"
        );
        assert_eq!(opened.saved.is_empty(), found.is_none(), "{what}");
        let mut store = opened.store;
        let batch = Batch {
            state: vec![state("a", Some("1"))],
            ..Batch::default()
        };
        store.commit(&batch).await.unwrap();
        drop(store);
        let again = open(folder.path()).await;
        assert_eq!(again.set_aside, None, "{what}: the new store is not sound");
        assert_eq!(again.saved.value("tracker", "a"), Some("1"), "{what}");
    }
}

#[tokio::test]
async fn a_second_damaged_file_does_not_take_the_name_of_the_first() {
    let folder = folder();
    let path = settings(folder.path()).path;
    for number in [1u8, 2, 3] {
        fs::write(&path, [number; 5_000]).unwrap();
        open(folder.path()).await.store.close().await;
    }
    for (number, ending) in [(1u8, ""), (2, "-2"), (3, "-3")] {
        let aside = folder
            .path()
            .join(format!("bootwatch.db.corrupt-20251018T015207Z{ending}"));
        assert!(fs::read(&aside).unwrap() == [number; 5_000], "{aside:?}");
    }
}

/// A database whose file is gone while its log is there: the log may hold what nobody else has.
#[tokio::test]
async fn a_log_without_its_database_is_set_aside_too() {
    let folder = folder();
    let path = settings(folder.path()).path;
    let wal = file::beside(&path, "-wal");
    fs::write(&wal, b"frames").unwrap();
    let opened = open(folder.path()).await;
    assert!(opened.set_aside.is_some());
    let aside = folder
        .path()
        .join("bootwatch.db.corrupt-20251018T015207Z-wal");
    assert_eq!(fs::read(aside).unwrap(), b"frames");
}

/// The damage is where a start does not look: a check finds it, or a commit does.
#[tokio::test]
async fn damage_found_later_is_set_aside_without_a_restart() {
    let folder = folder();
    let whole = filled(folder.path()).await;
    let path = settings(folder.path()).path;
    let place = boot_page(&whole);
    let mut damaged = whole;
    damaged[place..place + 2_048].fill(0xaa);
    fs::write(&path, &damaged).unwrap();
    let opened = open(folder.path()).await;
    assert_eq!(opened.set_aside, None, "a start reads what it needs");
    assert_eq!(opened.saved.unsent.len(), 1);
    let mut store = opened.store;
    let found = history(&store).await.check().await.unwrap_err();
    assert_eq!(found.kind(), Kind::Corrupt);
    let batch = Batch {
        boots: (0..300)
            .map(|number| boot(number, NOW.plus_ms(1)))
            .collect(),
        ..Batch::default()
    };
    let failed = store.commit(&batch).await.unwrap_err();
    assert_eq!(failed.kind(), Kind::Corrupt);

    let aside: PathBuf = store.renew(NOW.plus_ms(1_000)).await.unwrap();
    assert_eq!(
        aside,
        folder.path().join("bootwatch.db.corrupt-20251018T015208Z")
    );
    assert_eq!(fs::read(&aside).unwrap().len(), damaged.len());
    store.commit(&batch).await.unwrap();
    let mut history = history(&store).await;
    history.check().await.unwrap();
    assert_eq!(history.boots(EVER, |_| {}).await.unwrap(), 300);
    assert!(names(folder.path()).contains(&"bootwatch.db".to_owned()));
}

/// Where a leaf page of `boot_detail` begins that is not its last: it is full of evidence.
fn boot_page(bytes: &[u8]) -> usize {
    let pages = bytes.chunks(4_096).enumerate();
    let full = |page: &[u8]| {
        let text = String::from_utf8_lossy(page);
        page[0] == 13 && text.matches("ECONNREFUSED").count() > 3
    };
    let found: Vec<usize> = pages
        .filter(|(_, page)| full(page))
        .map(|(number, _)| number * 4_096)
        .collect();
    assert!(found.len() > 5, "{found:?}");
    found[1]
}
