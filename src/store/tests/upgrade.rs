//! Stores of other versions.

use sqlx::{ConnectOptions, Connection as _};

use super::*;

/// A store as version 1 left it: its tables by its own text, and a row in each.
async fn version_1(path: &Path) {
    let mut raw = connection::options(path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    for text in [
        include_str!("../schema/1.sql"),
        include_str!("version_1.sql"),
    ] {
        sqlx::raw_sql(text).execute(&mut raw).await.unwrap();
    }
    raw.close().await.unwrap();
}

#[tokio::test]
async fn an_older_store_is_brought_up_to_date_and_a_copy_kept() {
    let folder = folder();
    let path = settings(folder.path()).path;
    version_1(&path).await;
    let opened = open(folder.path()).await;
    let copy = folder.path().join("bootwatch.db.v1-20251018T015207Z");
    assert_eq!(opened.copy.as_ref(), Some(&copy));
    assert_eq!(opened.saved.value("tracker", "parts"), Some("[1,2]"));
    assert_eq!(opened.saved.unsent.len(), 1);
    assert_eq!(opened.saved.created_at, Timestamp(1_760_000_000_000));
    let mut history = history(&opened.store).await;
    assert_eq!(history.boots(EVER, |_| {}).await.unwrap(), 1);
    let mut raw = connection::options(&copy)
        .read_only(true)
        .connect()
        .await
        .unwrap();
    let kept: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM boot)",
    )
    .fetch_one(&mut raw)
    .await
    .unwrap();
    assert_eq!(kept, (1, 1));
    drop(opened);
    assert_eq!(open(folder.path()).await.copy, None, "once is enough");
}

#[tokio::test]
async fn a_newer_store_is_refused_and_left_alone() {
    let folder = folder();
    let path = settings(folder.path()).path;
    let mut store = open(folder.path()).await.store;
    statement(&mut store, "PRAGMA user_version = 99".to_owned()).await;
    store.close().await;
    let before = fs::read(&path).unwrap();
    let refused = Store::open(settings(folder.path()), NOW).await.unwrap_err();
    let (shown, known) = (path.display(), crate::store::version());
    assert_eq!(
        refused.to_string(),
        format!(
            "the store {shown} is of version 99, and this bootwatch knows versions up to {known}; run the newer \
             bootwatch again, or put the copy that it kept ({shown}.v{known}-*) in the store's place"
        )
    );
    assert!(!refused.is_passing());
    assert!(fs::read(&path).unwrap() == before, "it was written");
}

#[tokio::test]
async fn the_database_of_another_program_is_left_alone() {
    let folder = folder();
    let path = settings(folder.path()).path;
    let mut raw = connection::options(&path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql("CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('soup')")
        .execute(&mut raw)
        .await
        .unwrap();
    let refused = Store::open(settings(folder.path()), NOW).await.unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    let soup: String = sqlx::query_scalar("SELECT name FROM recipes")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(soup, "soup");
}
