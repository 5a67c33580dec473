-- What a week's report says of the time that was not all well, though it was read: what was history to a host's sidecar
-- (`history`), and where the controller wrote nothing (`silent`).
CREATE TABLE bootwatch.sight (
    host  text NOT NULL,
    kind  text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (host, kind, since)
);
UPDATE bootwatch.version SET version = 3;
