
-- What a week's report over all hosts needs besides boots and incidents: the stretches in which a host's log was read whole,
CREATE TABLE bootwatch.seen (
    host  text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (host, since)
);
-- when somebody was told of an incident and when somebody took it up,
CREATE TABLE bootwatch.told (
    host            text NOT NULL,
    incident        text NOT NULL,
    delivered_at    timestamptz,
    acknowledged_at timestamptz,
    PRIMARY KEY (host, incident)
);
-- how bootwatch's own runs ended,
CREATE TABLE bootwatch.runs (
    host       text NOT NULL,
    id         bigint NOT NULL,
    started_at timestamptz NOT NULL,
    word       text NOT NULL,
    PRIMARY KEY (host, id)
);
CREATE INDEX runs_started_at ON bootwatch.runs (started_at);
-- and the few boots that touched a maintenance, without reading every boot's detail.
CREATE INDEX boots_maintenance ON bootwatch.boots (host, boot_id) WHERE detail ->> 'maintenance' = 'true';
UPDATE bootwatch.version SET version = 2;
