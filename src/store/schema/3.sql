-- What operators did: silences, acknowledgements, maintenances; nothing of it is ever changed.
CREATE TABLE operation (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    action    TEXT NOT NULL,
    subject   TEXT NOT NULL,
    author    TEXT NOT NULL,
    reason    TEXT NOT NULL,
    starts_at INTEGER,
    ends_at   INTEGER
) STRICT;
CREATE INDEX operation_at ON operation (at);
