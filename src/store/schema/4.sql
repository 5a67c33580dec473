-- Weekly reports as they were last reckoned, and who got them: one a week and recipient, also over restarts.
CREATE TABLE report (
    zone     TEXT NOT NULL,
    week     TEXT NOT NULL,
    revision INTEGER NOT NULL,
    made_at  INTEGER NOT NULL,
    headline TEXT NOT NULL,
    html     TEXT NOT NULL,
    markdown TEXT NOT NULL,
    json     TEXT NOT NULL,
    PRIMARY KEY (zone, week)
) STRICT;
CREATE TABLE report_sent (
    zone      TEXT NOT NULL,
    week      TEXT NOT NULL,
    recipient TEXT NOT NULL,
    revision  INTEGER NOT NULL,
    sent_at   INTEGER NOT NULL,
    PRIMARY KEY (zone, week, recipient)
) STRICT;
-- The few boots that touched a maintenance, without reading every boot's detail.
CREATE INDEX boot_detail_maintenance ON boot_detail (boot_id) WHERE detail ->> 'maintenance';
