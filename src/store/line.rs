//! Boots as a report counts them, in the shortest form that both databases give away quickly: a line a boot, with what
//! `BootFact` holds between bars, the stages in their order. Rows by themselves cost several times as much to hand over.

use crate::core::event::{Failure, Origin, Outcome, Stage, Timestamp, VmType};
use crate::core::report::BootFact;

/// Of a line.
const FIELDS: usize = 20;
/// At its beginning, and mostly those of the line before.
const WORDS: usize = 5;
/// Beginnings that are remembered.
const MOST_KNOWN: usize = 64;
/// As many always fit.
const MOST_DIGITS: usize = 18;

#[derive(Clone, Copy, Debug)]
struct Words {
    vm_type: VmType,
    origin: Origin,
    outcome: Option<Outcome>,
    failure: Option<Failure>,
    failed_stage: Option<Stage>,
}

/// Reads lines one after the other.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Beginnings of lines, and what they say: few differ, and those that are met most come first.
    known: Vec<(String, Words)>,
}

#[derive(Debug, thiserror::Error)]
#[error("a boot's line holds {0}")]
pub(super) struct BadLine(&'static str);

impl From<BadLine> for sqlx::Error {
    fn from(error: BadLine) -> sqlx::Error {
        sqlx::Error::Decode(Box::new(error))
    }
}

impl Lines {
    /// Hands out what each line of `text` says; how many there were. `maintenance` is said of them all.
    pub(super) fn read(
        &mut self,
        text: &str,
        maintenance: bool,
        each: &mut impl FnMut(&BootFact<'_>),
    ) -> Result<u64, BadLine> {
        let mut count = 0;
        for line in text.split('\n').filter(|line| !line.is_empty()) {
            each(&self.fact(line, maintenance)?);
            count += 1;
        }
        Ok(count)
    }

    fn fact<'l>(&mut self, line: &'l str, maintenance: bool) -> Result<BootFact<'l>, BadLine> {
        let (words, end) = self.words(line)?;
        let mut figures = Figures {
            line: line.as_bytes(),
            at: end + 1,
        };
        let started_at = figures.next()?.ok_or(BadLine("no time"))?;
        let ended_at = figures.next()?;
        let ready_ms = figures.short()?;
        let mut stages = [None; 10];
        for stage in &mut stages {
            *stage = figures.short()?;
        }
        let names = line.get(figures.at..).unwrap_or_default();
        let (image, host) = names.split_once('|').ok_or(BadLine("too few fields"))?;
        if host.contains('|') {
            return Err(BadLine("too many fields"));
        }
        Ok(BootFact {
            host,
            vm_type: words.vm_type,
            origin: words.origin,
            outcome: words.outcome,
            failure: words.failure,
            failed_stage: words.failed_stage,
            maintenance,
            started_at: Timestamp(started_at),
            ended_at: ended_at.map(Timestamp),
            ready_ms,
            stages,
            image: Some(image).filter(|image| !image.is_empty()),
        })
    }

    /// What the words at the beginning say, and where the bar behind them is.
    fn words(&mut self, line: &str) -> Result<(Words, usize), BadLine> {
        let begins = |(known, _): &(String, Words)| {
            let behind = line.as_bytes().get(known.len());
            line.starts_with(known.as_str()) && behind == Some(&b'|')
        };
        if let Some(at) = self.known.iter().position(begins) {
            let (known, words) = &self.known[at];
            let found = (*words, known.len());
            if at > 0 {
                self.known.swap(at, at - 1);
            }
            return Ok(found);
        }
        let mut bars = line.bytes().enumerate().filter(|(_, byte)| *byte == b'|');
        let (end, _) = bars.nth(WORDS - 1).ok_or(BadLine("too few fields"))?;
        let (text, _) = line.split_at(end);
        let mut fields = text.split('|');
        let mut next = || fields.next().unwrap_or_default();
        let words = Words {
            vm_type: VmType::from_word(next()).ok_or(BadLine("an unknown vm_type"))?,
            origin: Origin::from_word(next()).ok_or(BadLine("an unknown origin"))?,
            outcome: Outcome::from_word(next()),
            failure: Failure::from_word(next()),
            failed_stage: Stage::from_word(next()),
        };
        self.known.truncate(MOST_KNOWN);
        self.known.push((text.to_owned(), words));
        Ok((words, end))
    }
}

/// The figures of a line, one after the other: each ends with a bar.
struct Figures<'l> {
    line: &'l [u8],
    at: usize,
}

impl Figures<'_> {
    /// `None`: there is nothing between the bars.
    fn next(&mut self) -> Result<Option<i64>, BadLine> {
        let rest = self.line.get(self.at..).unwrap_or_default();
        let (negative, digits) = match rest {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        let mut figure: i64 = 0;
        for (read, byte) in digits.iter().enumerate() {
            match byte {
                b'|' if read == 0 && negative => break,
                b'|' => {
                    self.at += read + 1 + usize::from(negative);
                    let signed = if negative { -figure } else { figure };
                    return Ok((read > 0).then_some(signed));
                }
                b'0'..=b'9' if read < MOST_DIGITS => {
                    figure = figure * 10 + i64::from(byte - b'0');
                }
                _ => break,
            }
        }
        Err(BadLine("no figure where one belongs"))
    }

    /// Durations beyond 49 days are none that a report counts with.
    fn short(&mut self) -> Result<Option<u32>, BadLine> {
        let figure = self.next()?.map(u32::try_from).transpose();
        figure.map_err(|_| BadLine("no duration where one belongs"))
    }
}

/// The columns of a line, in order; PostgreSQL writes them with `COPY`, SQLite's schema joins the same ones.
pub(super) fn columns() -> [&'static str; FIELDS] {
    [
        "vm_type",
        "origin",
        "outcome",
        "failure",
        "failed_stage",
        "(date_part('epoch', started_at) * 1000)::bigint",
        "(date_part('epoch', ended_at) * 1000)::bigint",
        "ready_ms",
        "allocate_ip_ms",
        "create_tap_ms",
        "clone_snapshot_ms",
        "inject_agent_ms",
        "write_config_ms",
        "create_record_ms",
        "start_firecracker_ms",
        "guest_network_ms",
        "agent_start_ms",
        "session_ready_ms",
        r"translate(image, E'|\\\n', '/  ')",
        r"translate(host, E'|\\\n', '/  ')",
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_its_boot_was_and_its_words_may_change_from_line_to_line() {
        let bars = |count: usize| "|".repeat(count);
        let text = [
            "browser|user|ready|||1000|41000|40000|1|2|3||5|6|7|8|9|10|2025-10-08 10:02 77fe|host 1"
                .to_owned(),
            format!("browser|user|failed|agent_refused|agent_start|2000|182000{}h2", bars(13)),
            format!("cli|synthetic||||3000{}h2\n", bars(14)),
        ]
        .join("\n");
        let mut seen = Vec::new();
        let count = Lines::default().read(&text, false, &mut |boot| {
            seen.push((
                boot.host.to_owned(),
                boot.image.map(str::to_owned),
                boot.vm_type,
                boot.origin,
                boot.outcome,
                boot.failure,
                boot.failed_stage,
                (boot.started_at.0, boot.ended_at.map(|at| at.0)),
                boot.ready_ms,
                boot.stages,
            ));
        });
        assert_eq!(count.unwrap(), 3);
        let mut stages: [Option<u32>; 10] = std::array::from_fn(|i| u32::try_from(i + 1).ok());
        stages[3] = None;
        assert_eq!(
            seen[0],
            (
                "host 1".to_owned(),
                Some("2025-10-08 10:02 77fe".to_owned()),
                VmType::Browser,
                Origin::User,
                Some(Outcome::Ready),
                None,
                None,
                (1_000, Some(41_000)),
                Some(40_000),
                stages,
            )
        );
        assert_eq!(seen[1].5, Some(Failure::AgentRefused));
        assert_eq!(seen[1].6, Some(Stage::AgentStart));
        assert_eq!((seen[1].8, seen[1].9), (None, [None; 10]));
        assert_eq!((seen[2].3, seen[2].4), (Origin::Synthetic, None));
        assert_eq!(seen[2].7, (3_000, None));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let line = |head: &str, bars: usize| format!("{head}{}h", "|".repeat(bars));
        let good = line("browser|user|ready|||1000", 14);
        for bad in [
            "browser".to_owned(),
            line("browser|user|ready|||1000", 13),
            line("browser|user|ready|||1000", 15),
            line("toaster|user|ready|||1000", 14),
            line("browser|user|ready|||x", 14),
            line("browser|user|ready|||-", 14),
            line("browser|user|ready|||1234567890123456789", 14),
            line("browser|user|ready|||1000||4294967296", 12),
            line("browser|user|ready|||1000||-1", 12),
            line("browser|user|ready|||", 14),
        ] {
            let refused = Lines::default().read(&bad, false, &mut |_| {});
            assert!(refused.is_err(), "{bad}");
        }
        assert_eq!(Lines::default().read(&good, true, &mut |_| {}).unwrap(), 1);
        assert_eq!(Stage::ALL.len() + 10, FIELDS);
    }
}
