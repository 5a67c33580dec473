//! The file is where its path says, is not, or is another one.

use super::*;

fn one(number: u128) -> Batch {
    Batch {
        boots: vec![boot(number, NOW)],
        ..Batch::default()
    }
}

/// How many boots a reader finds.
async fn kept(store: &Store) -> usize {
    let mut kept = 0;
    let mut history = history(store).await;
    history.boots(EVER, |_| kept += 1).await.unwrap();
    kept
}

#[tokio::test]
async fn who_reads_a_store_that_is_gone_hears_that_and_nothing_of_rights() {
    let folder = folder();
    let path = folder.path().join("gone.db");
    let Err(error) = History::open(&path).await else {
        panic!("there is no store to read");
    };
    let said = error.to_string();
    assert!(said.contains("gone.db: it is not there"), "{said}");
    assert!(!path.exists());
}

/// By hand, by a clean-up of the disk, or with its folder: SQLite itself goes on in the file that it holds.
#[tokio::test]
async fn a_file_that_loses_its_name_is_missed_and_written_again_once_it_is_back() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    store.commit(&one(1)).await.unwrap();
    store.upkeep(NOW).await.unwrap();
    let (file, aside) = (store.path().to_owned(), folder.path().join("aside"));
    let told = |error: StoreError| format!("{error}");

    fs::rename(&file, &aside).unwrap();
    let missed = told(store.upkeep(NOW).await.unwrap_err());
    assert!(missed.contains("it is not there; put it back"), "{missed}");
    let batch = one(2);
    assert_eq!(told(store.commit(&batch).await.unwrap_err()), missed);
    assert!(!file.exists(), "no other one is begun");

    fs::copy(&aside, &file).unwrap();
    let other = told(store.commit(&batch).await.unwrap_err());
    assert!(other.contains("another file is in its place"), "{other}");

    fs::rename(&aside, &file).unwrap();
    store.commit(&batch).await.unwrap();
    store.upkeep(NOW).await.unwrap();
    assert_eq!(kept(&store).await, 2);

    let copy = folder.path().join("copy");
    fs::copy(&file, &copy).unwrap();
    fs::rename(&copy, &file).unwrap();
    assert_eq!(told(store.upkeep(NOW).await.unwrap_err()), other);
}

/// A backup put in the place of a store that is being written, and bootwatch started anew, as it says.
#[tokio::test]
async fn another_file_in_its_place_is_taken_as_it_is() {
    for by_upkeep in [true, false] {
        let folder = folder();
        let mut store = open(folder.path()).await.store;
        store.commit(&one(1)).await.unwrap();
        store.upkeep(NOW).await.unwrap();
        let (file, backup) = (store.path().to_owned(), folder.path().join("backup"));
        fs::copy(&file, &backup).unwrap();
        for number in 2..200 {
            store.commit(&one(number)).await.unwrap();
        }
        fs::rename(&backup, &file).unwrap();
        if by_upkeep {
            store.upkeep(NOW).await.unwrap_err();
        }
        store.close().await;
        let opened = open(folder.path()).await;
        assert!(opened.set_aside.is_none(), "{:?}", opened.set_aside);
        assert_eq!(kept(&opened.store).await, 1, "of the backup, and no other");
    }
}
