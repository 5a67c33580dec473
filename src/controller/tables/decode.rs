//! A row's cells into what they say. Odd values are taken as `other` or as nothing, and counted; only a row without an
//! id or a time is refused.

use std::net::Ipv4Addr;

use super::layout::ERROR_CUT;
use crate::core::event::{SessionId, Timestamp, UserKey, VmId, VmType, parse_uuid};
use crate::core::query::{Decoded, Unreadable};
use crate::core::redact;
use crate::core::row::{Provider, Row, SessionRow, SessionStatus, VmRow, VmStatus};

/// An error text as it is kept.
const ERROR_SHOWN: usize = 300;
/// Where our views cut it.
const ERROR_CUT_BY_VIEWS: usize = 300;

pub(super) fn vm(cells: &[Option<String>]) -> Result<Decoded, Unreadable> {
    let mut cells = Reader::new(cells);
    let vm = cells.next().and_then(vm_id).ok_or(Unreadable("vm_id"))?;
    let created_at = cells.moment().ok_or(Unreadable("created_at"))?;
    let version = cells.version();
    let user = cells.user();
    let vm_type = cells.word(VmType::from_word);
    let status = cells.word(VmStatus::from_word);
    let ip = cells.address();
    let row = VmRow {
        vm,
        user,
        vm_type,
        status: status.unwrap_or(VmStatus::Other),
        ip,
        has_process: cells.flag(),
        created_at,
        destroyed_at: cells.moment(),
        last_heartbeat: cells.moment(),
        memory_mb: cells.number(),
        version,
    };
    Ok(Decoded {
        row: Row::Vm(row),
        odd: cells.odd,
    })
}

pub(super) fn session(cells: &[Option<String>]) -> Result<Decoded, Unreadable> {
    let mut cells = Reader::new(cells);
    let session = cells
        .next()
        .and_then(|text| SessionId::parse(text.trim().as_bytes()))
        .ok_or(Unreadable("session_id"))?;
    let created_at = cells.moment().ok_or(Unreadable("created_at"))?;
    let version = cells.version();
    let user = cells.user();
    let provider = cells.word(Provider::from_word);
    let status = cells.word(SessionStatus::from_word);
    let vm = cells.next();
    let vm_known = vm.and_then(vm_id);
    cells.odd += u32::from(vm.is_some() && vm_known.is_none());
    let ip = cells.address();
    let row = SessionRow {
        session,
        user,
        provider: provider.unwrap_or(Provider::Other),
        status: status.unwrap_or(SessionStatus::Other),
        vm: vm_known,
        ip,
        has_auth_url: cells.flag(),
        error: cells.next().map(error),
        created_at,
        timeout_at: cells.moment(),
        version,
    };
    Ok(Decoded {
        row: Row::Session(row),
        odd: cells.odd,
    })
}

/// With its prefix, or the bare UUID of a column that takes no other.
fn vm_id(text: &str) -> Option<VmId> {
    let text = text.trim().as_bytes();
    VmId::parse(text).or_else(|| parse_uuid(text).map(VmId))
}

/// Safe to keep. A text that was cut may end within a secret whose mark lay behind the cut: its last word goes.
fn error(text: &str) -> String {
    let length = text.chars().count();
    let whole = length != ERROR_CUT && length != ERROR_CUT_BY_VIEWS;
    let kept = match text.trim_end().rsplit_once(char::is_whitespace) {
        _ if whole => text,
        Some((before, _)) => before,
        None => "",
    };
    redact::text(kept, ERROR_SHOWN)
}

/// Takes the cells in their order.
struct Reader<'a> {
    cells: std::slice::Iter<'a, Option<String>>,
    odd: u32,
    content: u64,
}

impl<'a> Reader<'a> {
    fn new(cells: &'a [Option<String>]) -> Reader<'a> {
        Reader {
            cells: cells.iter(),
            odd: 0,
            content: hash(cells),
        }
    }

    fn next(&mut self) -> Option<&'a str> {
        self.cells.next().and_then(Option::as_deref)
    }

    fn moment(&mut self) -> Option<Timestamp> {
        let text = self.next()?;
        match text.parse::<i64>() {
            Ok(micros) => Some(Timestamp(micros.div_euclid(1_000))),
            Err(_) => {
                self.odd += 1;
                None
            }
        }
    }

    /// Tables without row versions have the rows' content in their place.
    fn version(&mut self) -> u64 {
        let content = self.content;
        self.next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(content)
    }

    fn user(&mut self) -> Option<UserKey> {
        self.next().map(|text| UserKey::from_text(text.as_bytes()))
    }

    fn word<T>(&mut self, known: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.next()?;
        let word = known(text);
        self.odd += u32::from(word.is_none());
        word
    }

    /// INET in text form may carry its mask.
    fn address(&mut self) -> Option<Ipv4Addr> {
        let text = self.next()?;
        let bare = text.split('/').next().unwrap_or_default().trim();
        let address = bare.parse().ok();
        self.odd += u32::from(address.is_none() && !bare.is_empty());
        address
    }

    fn number(&mut self) -> Option<u32> {
        let text = self.next()?;
        let number = text.trim().parse().ok();
        self.odd += u32::from(number.is_none());
        number
    }

    fn flag(&mut self) -> bool {
        matches!(self.next(), Some("true" | "t" | "1"))
    }
}

/// FNV-1a over the cells and where they end.
fn hash(cells: &[Option<String>]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for cell in cells {
        match cell {
            Some(text) => {
                text.bytes().for_each(&mut add);
                add(0xff);
            }
            None => add(0xfe),
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(texts: &[&str]) -> Vec<Option<String>> {
        texts
            .iter()
            .map(|text| (*text != "-").then(|| (*text).to_owned()))
            .collect()
    }

    const VM: &str = "vm-70fa35e6-87ef-44c1-b852-d1de3517af9c";
    const SESSION: &str = "a30944b3-916c-4eec-a152-85f2c6f2e5ac";

    fn read_session(error: &str) -> SessionRow {
        let row = cells(&[
            SESSION,
            "1000000",
            "7",
            "-",
            "codex",
            "failed",
            VM,
            "192.168.100.9/32",
            "true",
            error,
            "2000999",
        ]);
        match session(&row).unwrap().row {
            Row::Session(row) => row,
            Row::Vm(_) => unreachable!("a session"),
        }
    }

    #[test]
    fn a_row_of_each_table_says_what_its_cells_hold() {
        let row = cells(&[
            VM,
            "1764000000123456",
            "815",
            SESSION,
            "browser",
            "running",
            "192.168.100.17",
            "true",
            "-",
            "-1",
            "768",
        ]);
        let decoded = vm(&row).unwrap();
        assert_eq!(decoded.odd, 0);
        let Row::Vm(row) = decoded.row else {
            unreachable!("a VM")
        };
        assert_eq!(row.vm, VmId::parse(VM.as_bytes()).unwrap());
        assert_eq!(row.user, Some(UserKey::from_text(SESSION.as_bytes())));
        assert_eq!(row.vm_type, Some(VmType::Browser));
        assert_eq!((row.status, row.has_process), (VmStatus::Running, true));
        assert_eq!(row.ip, Some(Ipv4Addr::new(192, 168, 100, 17)));
        assert_eq!(row.created_at, Timestamp(1_764_000_000_123));
        assert_eq!(
            (row.destroyed_at, row.last_heartbeat),
            (None, Some(Timestamp(-1)))
        );
        assert_eq!((row.version, row.memory_mb), (815, Some(768)));

        let row = read_session("VM not ready after 120000ms");
        assert_eq!(row.ip, Some(Ipv4Addr::new(192, 168, 100, 9)));
        assert_eq!(row.vm, VmId::parse(VM.as_bytes()));
        assert_eq!(row.timeout_at, Some(Timestamp(2_000)));
        assert_eq!(row.error.as_deref(), Some("VM not ready after 120000ms"));
        assert!(row.has_auth_url);
    }

    #[test]
    fn odd_values_are_counted_and_only_a_row_without_id_or_time_is_refused() {
        let odd = cells(&[
            VM,
            "5",
            "many",
            "not-a-uuid",
            "gpu",
            "zombie",
            "fe80::1",
            "perhaps",
            "soon",
            "-",
        ]);
        let decoded = vm(&odd).unwrap();
        assert_eq!(decoded.odd, 4, "kind, status, address and time");
        let Row::Vm(row) = decoded.row else {
            unreachable!("a VM")
        };
        assert_eq!(
            (row.status, row.vm_type, row.ip),
            (VmStatus::Other, None, None)
        );
        assert!(!row.has_process);
        assert_eq!(vm(&cells(&["vm-7", "5"])), Err(Unreadable("vm_id")));
        assert_eq!(vm(&cells(&[VM, "-"])), Err(Unreadable("created_at")));
        assert_eq!(session(&[]), Err(Unreadable("session_id")));
        assert!(
            session(&cells(&[SESSION, "5"])).is_ok(),
            "a table with fewer columns"
        );
    }

    #[test]
    fn without_row_versions_the_content_tells_rows_apart() {
        let version = |texts: &[&str]| vm(&cells(texts)).unwrap().row.version();
        let running = version(&[VM, "5", "-", "-", "cli", "running"]);
        assert_eq!(running, version(&[VM, "5", "-", "-", "cli", "running"]));
        assert_ne!(running, version(&[VM, "5", "-", "-", "cli", "destroyed"]));
        assert_ne!(running, version(&[VM, "5", "-", "cli", "-", "running"]));
    }

    #[test]
    fn no_secret_survives_in_an_error_text_not_even_a_cut_one() {
        let whole = read_session("proxy http://user:hunter2@proxy.example:1 refused")
            .error
            .unwrap();
        assert!(
            whole.contains("refused") && !whole.contains("hunter2"),
            "{whole}"
        );
        for cut_at in [300, 1_200] {
            let start = "http://user:hunter2";
            let text = format!("{}{start}", "x ".repeat(cut_at))
                .chars()
                .skip(cut_at * 2 + start.len() - cut_at)
                .collect::<String>();
            assert_eq!(text.chars().count(), cut_at);
            let kept = read_session(&text).error.unwrap();
            assert!(!kept.contains("hunter2"), "{kept}");
        }
        let long = read_session(&"é ".repeat(400)).error.unwrap();
        assert!(long.chars().count() <= 300);
    }
}
