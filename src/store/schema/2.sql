-- What synthetic boots set out to do, written before they do it: after a crash it says what to clean up.
CREATE TABLE synthetic (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    state      TEXT NOT NULL,
    intent     TEXT NOT NULL,
    vm_id      TEXT,
    session_id TEXT,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER
) STRICT;
CREATE INDEX synthetic_open ON synthetic (id) WHERE ended_at IS NULL;
