CREATE SCHEMA IF NOT EXISTS bootwatch;

CREATE TABLE bootwatch.boots (
    host                 text NOT NULL,
    boot_id              text NOT NULL,
    vm_id                text,
    session_id           text,
    vm_type              text NOT NULL,
    origin               text NOT NULL,
    outcome              text,
    failure              text,
    failed_stage         text,
    started_at           timestamptz NOT NULL,
    ended_at             timestamptz,
    ready_ms             bigint,
    allocate_ip_ms       bigint,
    create_tap_ms        bigint,
    clone_snapshot_ms    bigint,
    inject_agent_ms      bigint,
    write_config_ms      bigint,
    create_record_ms     bigint,
    start_firecracker_ms bigint,
    guest_network_ms     bigint,
    agent_start_ms       bigint,
    session_ready_ms     bigint,
    image                text,
    build                text,
    detail               jsonb NOT NULL,
    copied_at            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (host, boot_id)
);
CREATE INDEX boots_started_at ON bootwatch.boots (started_at);

CREATE TABLE bootwatch.incidents (
    host         text NOT NULL,
    key          text NOT NULL,
    vm_type      text NOT NULL,
    family       text NOT NULL,
    cause        text NOT NULL,
    first_bad_at timestamptz NOT NULL,
    fired_at     timestamptz NOT NULL,
    resolved_at  timestamptz,
    value        jsonb NOT NULL,
    copied_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (host, key)
);
CREATE INDEX incidents_fired_at ON bootwatch.incidents (fired_at);

-- How far each store was copied; a store's numbers begin anew with its file.
CREATE TABLE bootwatch.cursors (
    host     text NOT NULL,
    store_id text NOT NULL,
    kind     text NOT NULL,
    at       bigint NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (host, store_id, kind)
);

CREATE TABLE bootwatch.version (version integer NOT NULL);
INSERT INTO bootwatch.version VALUES (1);
