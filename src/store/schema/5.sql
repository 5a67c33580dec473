-- What a report counts of a boot, as one text and in an index: a week is read in its order, and nothing else with it.
-- `store/line.rs` reads it. No name in it can end a field or a line.
ALTER TABLE boot ADD COLUMN fact TEXT GENERATED ALWAYS AS (printf(
    '%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s',
    vm_type, origin, outcome, failure, failed_stage, started_at, ended_at, ready_ms,
    allocate_ip_ms, create_tap_ms, clone_snapshot_ms, inject_agent_ms, write_config_ms, create_record_ms,
    start_firecracker_ms, guest_network_ms, agent_start_ms, session_ready_ms,
    replace(replace(image, '|', '/'), char(10), ' '), replace(replace(host, '|', '/'), char(10), ' ')
)) VIRTUAL;
CREATE INDEX boot_fact ON boot (started_at, boot_id, fact);
