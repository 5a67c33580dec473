-- A batch that is on the disk and not in its tables yet: a page leaves when its batch lies here, which is one row. The
-- columns are those of a batch as `store/commit.rs` writes it down. The words within are a format of the file: a program
-- that comes after one which was killed reads what that one laid here.
CREATE TABLE ahead (
    id         INTEGER PRIMARY KEY,
    forgotten  TEXT,
    state      TEXT,
    cleared    TEXT,
    boots      TEXT,
    details    TEXT,
    incidents  TEXT,
    value      TEXT,
    outbox     TEXT,
    payload    TEXT,
    operations TEXT,
    trials     TEXT,
    sequence   INTEGER NOT NULL
) STRICT;
