INSERT INTO meta VALUES (1, '00112233445566778899aabbccddeeff', 'host-1', 1760000000000, 2);
INSERT INTO state VALUES ('tracker', 'parts', '[1,2]');
INSERT INTO boot (started_at, boot_id, host, vm_id, vm_type, origin, outcome, failure, failed_stage, ended_at, clone_snapshot_ms, changed)
VALUES (1760000001000, '0000000000000000000000000000002a', 'host-1', 'vm-00000000-0000-0000-0000-00000000002a', 'browser', 'user',
        'failed', 'agent_refused', 'agent_start', 1760000121000, 4211, 1);
INSERT INTO boot_detail VALUES ('0000000000000000000000000000002a',
    '{"ip":"192.168.100.17","first":{"source":0,"generation":0,"offset":0},"stages":[],"attempts":[["ECONNREFUSED",60]],"ladder":[],"limits":null,"injected":false,"error":null,"evidence":[],"late_marks":0}');
INSERT INTO outbox (incident, transition, receiver, dedup_key, payload, created_at, due, state)
VALUES ('i-1', 'firing', 'ops', 'bootwatch/i-1', '{}', 1760000121000, 1760000121000, 'sending');
PRAGMA user_version = 1;
