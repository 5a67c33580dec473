//! What there is to know of a server before its rows mean anything: its clock, who it is, whether it is a replica, and
//! whether this role sees anything.

use std::time::Duration;

use super::connection::Connection;
use super::error::DatabaseError;
use crate::clock;
use crate::core::event::Timestamp;
use crate::core::query::{Cells, Layout, Statement, Table};

/// A server's state at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The moment whose rows are seen; none of a replica that has replayed nothing yet.
    pub(super) as_of_us: Option<i64>,
    pub(super) now_us: i64,
    /// By how much its clock is ahead of this machine's.
    pub(super) ahead_ms: i64,
    pub(super) replica: bool,
    pub(super) lag: Option<Duration>,
    /// Changes when another server answers, or this one was started anew or promoted.
    pub(super) identity: String,
    /// How long the oldest transaction that can be seen has been open.
    pub(super) longest_us: i64,
    stream: Stream,
}

/// How a replica follows its primary. It shows what it has replayed; on an idle primary, or one at whose long work nothing
/// is committed, that is long ago though nothing is missing. So what it had received at one look is remembered, and once
/// it is replayed the replica is of that look, less the time within which it would notice that it hears nothing any more.
/// It lags by how long more than that has been waiting; one that is fed by an archive, by what it replayed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stream {
    /// While its receiver lives.
    received: Option<i64>,
    replayed: Option<i64>,
    patience_us: i64,
    /// When it had received what is to be replayed next, and how much that is.
    awaited: Option<(i64, i64)>,
    /// All that was received by then is replayed.
    caught_us: Option<i64>,
}

impl Stream {
    /// Of this look, with what the last one at the same server left.
    fn follow(&mut self, now_us: i64, last: Option<Stream>) {
        let last = last.unwrap_or_default();
        (self.awaited, self.caught_us) = (last.awaited, last.caught_us);
        let (Some(received), Some(replayed)) = (self.received, self.replayed) else {
            self.awaited = None;
            return;
        };
        if replayed >= received {
            (self.awaited, self.caught_us) = (None, Some(now_us));
            return;
        }
        match self.awaited {
            Some((_, wanted)) if replayed < wanted => {}
            reached => {
                self.caught_us = reached.map(|(at, _)| at).or(self.caught_us);
                self.awaited = Some((now_us, received));
            }
        }
    }
}

impl State {
    /// Of a replica: what its rows are as of and how far it is behind, by this look and the last.
    pub(super) fn follow(&mut self, last: Option<&State>) {
        if !self.replica {
            return;
        }
        let same = last.filter(|last| last.identity == self.identity);
        self.stream
            .follow(self.now_us, same.map(|last| last.stream));
        let caught = self.stream.caught_us;
        // What came since the last look may be replayed as it comes, and looks may be a minute apart.
        let hears = same.filter(|_| self.stream.received.is_some());
        let between = hears.map_or(0, |last| self.now_us.saturating_sub(last.now_us));
        let behind = self
            .as_of_us
            .max(caught.map(|at| at.saturating_add(between)));
        self.lag = behind.map(|since| {
            let us = self.now_us.saturating_sub(since).max(0);
            Duration::from_micros(us.unsigned_abs())
        });
        let heard = caught.filter(|_| self.stream.patience_us > 0);
        self.as_of_us = self
            .as_of_us
            .max(heard.map(|at| at - self.stream.patience_us));
    }
}

/// Other roles' transactions are seen only with `pg_read_all_stats`; the function is what the view `pg_stat_activity`
/// reads, without the names that the view joins to it at three times the cost. What only a replica has to say is asked of
/// none but a replica: Amazon Aurora refuses these functions.
///
/// Who it is: no two servers started in the same microsecond, and a promotion ends recovery; so the system's identifier
/// and timeline, which not everyone may ask for, would add nothing.
const POSTGRES: &str = "SELECT \
    (extract(epoch FROM CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() ELSE now() END) * 1000000)::bigint::text, \
    (extract(epoch FROM now()) * 1000000)::bigint::text, \
    pg_is_in_recovery()::text, \
    concat_ws('/', pg_is_in_recovery(), pg_postmaster_start_time(), inet_server_addr(), inet_server_port()), \
    (SELECT (extract(epoch FROM now() - min(xact_start)) * 1000000)::bigint::text FROM pg_catalog.pg_stat_get_activity(NULL) \
     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), \
    CASE WHEN pg_is_in_recovery() THEN CASE WHEN (SELECT pid IS NOT NULL FROM pg_catalog.pg_stat_get_wal_receiver()) \
        THEN (pg_last_wal_receive_lsn() - '0/0'::pg_lsn)::bigint::text END END, \
    CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint::text END, \
    (extract(epoch FROM current_setting('wal_receiver_timeout', true)::interval) * 1000000)::bigint::text";
const SQLITE: &str = "SELECT CAST(at AS TEXT), CAST(at AS TEXT), 'false', 'file', NULL, NULL, NULL, NULL FROM \
    (SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000 AS at)";

/// Begins the transaction of a look, and reads the state in it.
pub(super) async fn begin(connection: &mut Connection) -> Result<State, DatabaseError> {
    const ACTION: &str = "read the server's state";
    let sql = if connection.is_sqlite() {
        SQLITE
    } else {
        POSTGRES
    };
    let statement = Statement {
        sql: sql.to_owned(),
        values: Vec::new(),
    };
    let asked_at = clock::now();
    let rows = connection.begin_with(ACTION, &statement).await?;
    let answered_at = clock::now();
    let mut cells = rows.into_iter().next().unwrap_or_default().into_iter();
    let number =
        |cell: Option<Option<String>>| cell.flatten().and_then(|text| text.parse::<i64>().ok());
    let as_of_us = number(cells.next());
    let now_us = number(cells.next()).unwrap_or_default();
    let replica = cells.next().flatten().as_deref() == Some("true");
    let identity = cells.next().flatten().unwrap_or_default();
    let longest_us = number(cells.next()).unwrap_or_default().max(0);
    let stream = Stream {
        received: number(cells.next()),
        replayed: number(cells.next()),
        patience_us: number(cells.next()).unwrap_or_default(),
        ..Stream::default()
    };
    Ok(State {
        as_of_us,
        now_us,
        ahead_ms: ahead_ms(now_us, (asked_at, answered_at)),
        replica,
        lag: None,
        identity,
        longest_us,
        stream,
    })
}

/// By how much a server's clock is ahead that showed `now_us` between these two moments: half of what the way there
/// and back took is the most that this is off.
fn ahead_ms(now_us: i64, (asked_at, answered_at): (Timestamp, Timestamp)) -> i64 {
    let midpoint = asked_at.plus_ms(answered_at.since(asked_at) / 2);
    Timestamp(now_us.div_euclid(1_000)).since(midpoint)
}

/// What a role sees of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// Rows seen, counted up to [`COUNTED`].
    pub(super) seen: u64,
    /// What the server's own statistics say that there is.
    pub(super) estimate: u64,
    /// Policies choose what this role sees.
    pub(super) filtered: bool,
}

/// Enough to tell nothing from something, and cheap.
const COUNTED: u64 = 1_000;

impl Sight {
    /// Nothing is seen where there is something; or policies hide more than half.
    pub(super) fn is_blind(self) -> bool {
        let hidden =
            self.filtered && self.seen < COUNTED && self.seen.saturating_mul(2) < self.estimate;
        (self.seen == 0 && self.estimate > 0) || hidden
    }
}

pub(super) async fn sight(
    connection: &mut Connection,
    layout: &dyn Layout,
    table: Table,
) -> Result<Sight, DatabaseError> {
    if connection.is_sqlite() {
        return Ok(Sight::default());
    }
    let relation = layout.relation(table);
    // Of a view, the tables beneath it; of a table, itself. The collector's figure is fresher than the planner's, and
    // is nothing at all after a crash.
    let sql = format!(
        "WITH base AS ( \
            SELECT c.oid, c.reltuples FROM pg_catalog.pg_class c WHERE c.oid = $1::text::regclass AND c.relkind IN ('r', 'p') \
            UNION SELECT c.oid, c.reltuples FROM pg_catalog.pg_rewrite r \
            JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid \
            JOIN pg_catalog.pg_class c ON d.refclassid = 'pg_catalog.pg_class'::regclass AND c.oid = d.refobjid \
            WHERE r.ev_class = $1::text::regclass AND c.relkind IN ('r', 'p')) \
         SELECT (SELECT count(*) FROM (SELECT FROM {relation} LIMIT {COUNTED}) few)::text, \
            (SELECT max(CASE WHEN pg_stat_get_live_tuples(oid) + pg_stat_get_tuples_inserted(oid) > 0 \
                THEN pg_stat_get_live_tuples(oid) ELSE greatest(reltuples, 0)::bigint END) FROM base)::text, \
            row_security_active($1::text::regclass)::text"
    );
    let values = vec![relation];
    let rows = connection
        .rows("look whether rows are visible", &Statement { sql, values })
        .await?;
    let cells = rows.into_iter().next().unwrap_or_default();
    let number = |at: usize| cells.get(at)?.as_ref()?.parse::<u64>().ok();
    Ok(Sight {
        seen: number(0).unwrap_or_default(),
        estimate: number(1).unwrap_or_default(),
        filtered: cells.get(2).and_then(Option::as_deref) == Some("true"),
    })
}

pub(super) async fn one(
    connection: &mut Connection,
    action: &'static str,
    sql: &str,
) -> Result<Cells, DatabaseError> {
    let statement = Statement {
        sql: sql.to_owned(),
        values: Vec::new(),
    };
    let rows = connection.rows(action, &statement).await?;
    Ok(rows.into_iter().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_question() {
        let asked = (Timestamp(1_000_000), Timestamp(1_000_400));
        assert_eq!(ahead_ms(1_000_200_000, asked), 0);
        assert_eq!(ahead_ms(1_090_200_999, asked), 90_000);
        assert_eq!(ahead_ms(910_199_000, asked), -90_001);
    }
    const SECOND: i64 = 1_000_000;
    const PATIENCE: i64 = 60 * SECOND;

    /// A look at a replica of which no transaction was replayed but one, long ago.
    fn look(at: i64, received: Option<i64>, replayed: i64, last: Option<&State>) -> State {
        let mut state = State {
            as_of_us: Some(-3_600 * SECOND),
            now_us: at * SECOND,
            ahead_ms: 0,
            replica: true,
            lag: None,
            identity: "t".to_owned(),
            longest_us: 0,
            stream: Stream {
                received,
                replayed: Some(replayed),
                patience_us: PATIENCE,
                ..Stream::default()
            },
        };
        state.follow(last);
        state
    }

    fn lag(state: &State) -> u64 {
        state.lag.unwrap().as_secs()
    }

    #[test]
    fn a_replica_that_keeps_up_with_long_work_is_not_behind_though_nothing_is_committed() {
        let mut last = look(0, Some(100), 100, None);
        assert_eq!((lag(&last), last.as_of_us), (0, Some(-PATIENCE)));
        for number in 1..100 {
            let received = 100 + number * 10;
            last = look(number * 60, Some(received), received - 5, Some(&last));
            assert_eq!(lag(&last), 0);
            let shown = (number - 1) * 60 * SECOND - PATIENCE;
            assert_eq!(last.as_of_us, Some(shown));
        }
    }

    #[test]
    fn a_replica_that_replays_no_more_or_hears_nothing_is_behind_since_that_was_noticed() {
        for (received, noticed) in [(Some(110), 5), (None, 0)] {
            let mut last = look(0, Some(100), 100, None);
            for at in (5..=600).step_by(5) {
                last = look(at, received, 100, Some(&last));
                assert_eq!(lag(&last), at.abs_diff(noticed), "{received:?}");
                assert_eq!(last.as_of_us, Some(-PATIENCE), "{received:?}");
            }
        }
        let never = look(0, None, 100, None);
        assert_eq!(
            (lag(&never), never.as_of_us),
            (3_600, Some(-3_600 * SECOND))
        );
    }

    #[test]
    fn a_replica_that_replays_all_the_time_and_late_is_behind_at_every_look() {
        let mut last = look(0, Some(0), 0, None);
        for at in (5..=600).step_by(5) {
            let replayed = (at - 40).max(0) * 10;
            last = look(at, Some(at * 10), replayed, Some(&last));
            assert!(at < 40 || (30..80).contains(&lag(&last)), "{at}: {last:?}");
        }
    }

    #[test]
    fn a_replica_whose_primary_s_clock_is_ahead_is_not_behind() {
        let mut state = look(0, Some(110), 100, None);
        state.as_of_us = Some(3 * SECOND);
        state.follow(None);
        assert_eq!(lag(&state), 0);
    }
}
