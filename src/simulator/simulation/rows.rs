//! What the controller writes into its tables, and when a statement is committed: always in the moment of its answer.
//!
//! The habits that a reader must know are here. A VM's row says `running` before Firecracker starts, and its process
//! and socket stay NULL until there are any; a creation that fails later leaves it so for ever. A failed boot ends as
//! `destroyed`, never as `failed`. A session's final status is final for October's controller; December's writes
//! `cancelled` over it. A start of the controller writes nothing: it only takes the addresses of the rows that say
//! `running`. While the database is away nothing is written, and nothing is made up for later.

use super::{Happened, Simulation, Who};
use crate::core::event::{SessionId, Timestamp, VmId, VmType};
use crate::simulator::line::tap_name;
use crate::simulator::tables::{Cell, Key, TableOp};
use crate::simulator::world::{OpenSession, Row, SessionState};

const SOCKETS: &str = "/var/lib/firecracker/sockets/";
const SESSION_LIFE: i64 = 300_000;
const HEARTBEAT_LIMIT: i64 = 5 * 60_000;
const STALE_AFTER: i64 = 2 * 3_600_000;
/// A row that waited too long for its statement's limit is written so much later all the same.
const LATE: i64 = 1_500;

/// A row whose statement is still on its way, though nobody waits for it any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct LateRow {
    who: Who,
    began: i64,
}

impl Simulation {
    /// The database's clock, in milliseconds.
    fn database_now(&self) -> i64 {
        self.now + self.plan.figures.database_ahead
    }

    /// A statement is committed, if there is a database.
    fn commit(&mut self, op: TableOp) {
        if self.world.database_up {
            self.emit(Happened::Written(op));
        }
    }

    fn update_vm(&mut self, vm: VmId, columns: Vec<(&'static str, Cell)>) {
        self.commit(TableOp::update(Key::Vm(vm), columns));
    }

    fn vm_columns(&self, row: &Row, user: u128) -> Vec<(&'static str, Cell)> {
        let (vcpu, memory) = match row.vm_type {
            VmType::Browser if self.is_dec() => (200, 4_096),
            VmType::Browser => (200, 2_048),
            VmType::Cli => (100, 256),
        };
        vec![
            ("user_id", Cell::Uuid(user)),
            ("vm_type", Cell::Word(row.vm_type.as_str())),
            ("vcpu_count", Cell::Hundredths(vcpu)),
            ("memory_mb", Cell::Int(memory)),
            ("ip_address", Cell::Ip(row.ip)),
            ("tap_device", Cell::Text(tap_name(row.vm))),
            ("status", Cell::Word(row.status)),
            ("created_at", Cell::Time(row.created_micros())),
        ]
    }

    fn process_columns(vm: VmId, pid: i64) -> Vec<(&'static str, Cell)> {
        vec![
            ("firecracker_pid", Cell::Int(pid)),
            ("socket_path", Cell::Text(format!("{SOCKETS}{vm}.sock"))),
        ]
    }

    /// A CLI VM from before the log began, whole as it is.
    pub(super) fn row_settled(&mut self, user: usize, row: Row, pid: i64) {
        let mut columns = self.vm_columns(&row, self.world.users[user].id);
        columns.extend(Self::process_columns(row.vm, pid));
        self.commit(TableOp::insert(Key::Vm(row.vm), columns));
        self.world.users[user].rows.push(row);
    }

    /// Step 5: the row says `running`, and Firecracker has not even been started. Whether there is a database was asked
    /// when the statement left.
    pub(super) fn row_inserted(&mut self, who: &Who) {
        let created = self.database_now();
        self.row_created(who, created);
    }

    fn row_created(&mut self, who: &Who, created: i64) {
        let row = Row {
            vm: who.vm,
            vm_type: who.vm_type,
            ip: who.ip,
            created,
            destroyed: None,
            heartbeat: None,
            life: self.life,
            status: "running",
        };
        let columns = self.vm_columns(&row, who.user_id);
        self.emit(Happened::Written(TableOp::insert(Key::Vm(row.vm), columns)));
        self.world.add_row(who.user, who.user_id, row);
    }

    /// The controller gives up on its INSERT; the database has it and will finish.
    pub(super) fn row_left_behind(&mut self, who: &Who, waited: i64) {
        let began = self.database_now() - waited;
        self.late_rows.insert(who.vm, LateRow { who: *who, began });
        self.schedule(self.now + LATE, super::Event::RowLands(who.vm));
    }

    /// It says when its transaction began: readers that go by `created_at` alone have looked there already.
    pub(super) fn row_lands(&mut self, vm: VmId) {
        if let Some(late) = self.late_rows.remove(&vm)
            && self.world.database_up
        {
            self.row_created(&late.who, late.began);
        }
    }

    /// Firecracker's socket is there.
    pub(super) fn row_has_process(&mut self, vm: VmId, pid: i64) {
        self.update_vm(vm, Self::process_columns(vm, pid));
    }

    /// `destroyed_at` is the controller's clock as it asked; a second destruction writes over the first.
    pub(super) fn row_destroyed(&mut self, vm: VmId, asked_at: i64) {
        if !self.world.database_up {
            return;
        }
        if let Some(row) = self.world.row_mut(vm) {
            row.destroyed = Some(asked_at);
            row.status = "destroyed";
            let columns = vec![
                ("status", Cell::Word("destroyed")),
                ("destroyed_at", Cell::Time(asked_at * 1_000)),
            ];
            self.update_vm(vm, columns);
        }
    }

    pub(super) fn row_heartbeat(&mut self, vm: VmId) {
        let now = self.now;
        if !self.world.database_up {
            return;
        }
        let Some(row) = self.world.row_mut(vm) else {
            return;
        };
        row.heartbeat = Some(now);
        let load = i64::try_from((vm.0 ^ u128::from(now.unsigned_abs())) % 60).unwrap_or_default();
        let columns = vec![
            ("last_heartbeat", Cell::Time(now * 1_000)),
            ("cpu_usage_percent", Cell::Hundredths(100 + 10 * load)),
            ("memory_usage_mb", Cell::Int(96 + load)),
        ];
        self.update_vm(vm, columns);
    }

    /// The only rows that ever become `failed`: those that once had a heartbeat and have none for five minutes, of VMs
    /// that this controller did not start.
    pub(super) fn rows_without_heartbeat(&mut self) -> Vec<(VmId, u128)> {
        if !self.world.database_up {
            return Vec::new();
        }
        let before = self.now - HEARTBEAT_LIMIT;
        let silent = self.world.fail_silent_rows(before, self.life);
        for (vm, _) in &silent {
            self.update_vm(*vm, vec![("status", Cell::Word("failed"))]);
        }
        silent
    }

    /// The login request's first statement; whether there is a database was asked when it left.
    pub(super) fn session_inserted(&mut self, who: &Who, asked_at: i64) {
        let created = self.database_now();
        let micros = i64::try_from(who.session.0 % 1_000).unwrap_or_default();
        let columns = vec![
            ("user_id", Cell::Uuid(who.user_id)),
            ("provider", Cell::Word(who.provider)),
            ("status", Cell::Word("started")),
            ("timeout_at", Cell::Time((asked_at + SESSION_LIFE) * 1_000)),
            ("created_at", Cell::Time(created * 1_000 + micros)),
        ];
        let key = Key::Session(who.session);
        self.emit(Happened::Written(TableOp::insert(key, columns)));
        let open = OpenSession {
            session: who.session,
            created,
        };
        self.world.open_sessions.push(open);
        if self.plan.api.is_some() {
            self.world.add_session(SessionState {
                session: who.session,
                user: who.user_id,
                provider: who.provider,
                status: "started",
                vm: None,
                ip: None,
                error: None,
                created,
            });
        }
    }

    /// The session's new status, with what is written beside it.
    pub(super) fn session_says(
        &mut self,
        session: SessionId,
        status: &'static str,
        beside: Vec<(&'static str, Cell)>,
    ) {
        if !self.world.database_up {
            return;
        }
        if !matches!(status, "started" | "vm_created") {
            self.world
                .open_sessions
                .retain(|open| open.session != session);
        }
        if let Some(known) = self.world.session_mut(session) {
            known.status = status;
            for (_, cell) in &beside {
                match cell {
                    Cell::Vm(vm) => known.vm = Some(*vm),
                    Cell::Ip(ip) => known.ip = Some(*ip),
                    Cell::Text(text) if matches!(status, "failed" | "timeout") => {
                        known.error = Some(text.clone());
                    }
                    _ => {}
                }
            }
        }
        let mut columns = vec![("status", Cell::Word(status))];
        columns.extend(beside);
        self.commit(TableOp::update(Key::Session(session), columns));
    }

    pub(super) fn session_failed(&mut self, session: SessionId, status: &'static str, why: &str) {
        let beside = vec![("error_message", Cell::Text(why.to_owned()))];
        self.session_says(session, status, beside);
    }

    /// Before any health check: a wait that fails leaves these columns filled.
    pub(super) fn session_has_vm(&mut self, who: &Who) {
        let session = who.session;
        let page = format!("http://localhost:4000/api/auth/session/{session}/novnc");
        if self.leaves_fields_empty(who.user_id) {
            return self.session_says(session, "vm_created", Vec::new());
        }
        let beside = vec![
            ("browser_vm_id", Cell::Vm(who.vm)),
            ("vm_ip", Cell::Ip(self.row_ip(who.user_id, who.ip))),
            ("vnc_url", Cell::Text(page)),
        ];
        self.session_says(session, "vm_created", beside);
    }

    /// Later controllers tie session and VM together once more, before the status says so.
    pub(super) fn session_tied(&mut self, who: &Who) {
        if self.leaves_fields_empty(who.user_id) {
            return;
        }
        let columns = vec![
            ("browser_vm_id", Cell::Vm(who.vm)),
            ("vm_ip", Cell::Ip(self.row_ip(who.user_id, who.ip))),
            ("last_heartbeat", Cell::Time(self.now * 1_000)),
        ];
        self.commit(TableOp::update(Key::Session(who.session), columns));
    }

    pub(super) fn session_awaits_user(&mut self, who: &Who) {
        let url = format!(
            "https://auth.example.invalid/oauth/authorize?state={:08x}",
            who.vm.0 >> 96
        );
        let beside = vec![("auth_url", Cell::Text(url))];
        self.session_says(who.session, "awaiting_user_auth", beside);
    }

    /// The hourly task: sessions that never got further than a VM become `timeout`, without a word why.
    pub(super) fn sessions_given_up(&mut self) -> usize {
        if !self.world.database_up {
            return 0;
        }
        let before = Timestamp(self.now - STALE_AFTER);
        let stale: Vec<SessionId> = self
            .world
            .open_sessions
            .iter()
            .filter(|open| open.created < before.0)
            .map(|open| open.session)
            .collect();
        for session in &stale {
            self.session_says(*session, "timeout", Vec::new());
        }
        stale.len()
    }
}
