PRAGMA application_id = 1651995508;

CREATE TABLE meta (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    -- Random: a new file begins its sequence anew, and whoever copies it must see that.
    store_id   TEXT NOT NULL,
    host       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    -- The last number given to a changed boot or incident.
    sequence   INTEGER NOT NULL
) STRICT;

-- Where to go on: opaque to the store.
CREATE TABLE state (
    kind  TEXT NOT NULL,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT;

-- Times are milliseconds since 1970, UTC; a stage's figure is there only if it completed.
CREATE TABLE boot (
    started_at          INTEGER NOT NULL,
    boot_id             TEXT NOT NULL UNIQUE,
    host                TEXT NOT NULL,
    vm_id               TEXT,
    session_id          TEXT,
    vm_type             TEXT NOT NULL,
    origin              TEXT NOT NULL,
    outcome             TEXT,
    failure             TEXT,
    failed_stage        TEXT,
    ended_at            INTEGER,
    ready_ms            INTEGER,
    allocate_ip_ms      INTEGER,
    create_tap_ms       INTEGER,
    clone_snapshot_ms   INTEGER,
    inject_agent_ms     INTEGER,
    write_config_ms     INTEGER,
    create_record_ms    INTEGER,
    start_firecracker_ms INTEGER,
    guest_network_ms    INTEGER,
    agent_start_ms      INTEGER,
    session_ready_ms    INTEGER,
    image               TEXT,
    build               TEXT,
    changed             INTEGER NOT NULL,
    PRIMARY KEY (started_at, boot_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX boot_changed ON boot (changed);

CREATE TABLE boot_detail (
    boot_id TEXT PRIMARY KEY REFERENCES boot (boot_id) ON DELETE CASCADE,
    detail  TEXT NOT NULL
) STRICT;

CREATE TABLE incident (
    key          TEXT PRIMARY KEY,
    host         TEXT NOT NULL,
    vm_type      TEXT NOT NULL,
    family       TEXT NOT NULL,
    cause        TEXT NOT NULL,
    first_bad_at INTEGER NOT NULL,
    fired_at     INTEGER NOT NULL,
    resolved_at  INTEGER,
    value        TEXT NOT NULL,
    changed      INTEGER NOT NULL
) STRICT;
CREATE INDEX incident_fired_at ON incident (fired_at);
CREATE INDEX incident_changed ON incident (changed);

-- Messages to receivers: in the order of their ids for each receiver and dedup key.
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    incident     TEXT NOT NULL,
    transition   TEXT NOT NULL,
    receiver     TEXT NOT NULL,
    dedup_key    TEXT NOT NULL,
    payload      TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    state        TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'dead', 'dropped')),
    last_status  TEXT,
    provider_ref TEXT,
    ended_at     INTEGER
) STRICT;
CREATE INDEX outbox_open ON outbox (id) WHERE state IN ('queued', 'sending');
CREATE INDEX outbox_ended ON outbox (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX outbox_created_at ON outbox (created_at);
