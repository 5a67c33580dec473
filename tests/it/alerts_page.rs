//! The table of `docs/alerts.md` is true: its chances, and which counts page.

use bootwatch::core::binomial;
use bootwatch::core::boot::Lines;
use bootwatch::core::event::{Failure, Timestamp};
use bootwatch::core::rule::{self, Besides, RuleName, RuleSettings, Sight};
use bootwatch::core::window::{Judged, Settled, Window};

const PAGE: &str = include_str!("../../docs/alerts.md");

/// Whether so many bad boots fire, spread as evenly as can be and with a good one last where there is one.
fn fires(bad: u32, of: u32) -> bool {
    let mut window = Window::default();
    let mut newest = Timestamp(0);
    for n in 0..of {
        newest = newest.plus_ms(15_000);
        let is_bad = (n + 1) * bad / of > n * bad / of;
        window.add(Judged {
            vm: None,
            session: None,
            started_at: newest,
            ended_at: newest,
            failure: is_bad.then_some(Failure::AgentRefused),
            evidence: Lines::default(),
            signs: Default::default(),
        });
    }
    let settings = RuleSettings::default();
    let sight = Sight {
        window: &window,
        besides: Besides::default(),
        settled: Settled::default(),
        now: newest,
        usual: settings.tolerated,
        worst: 1.0,
        since_fired: u64::MAX,
    };
    rule::read(RuleName::BootFailureRate, &settings, sight).bad
}

#[test]
fn the_documented_chances_and_verdicts_are_true() {
    let mut rows = 0;
    for line in PAGE.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [count, chance, pages] = cells[..] else {
            continue;
        };
        let Some((bad, of)) = count.split_once(" of ") else {
            continue;
        };
        let (Ok(bad), Ok(of)) = (bad.parse::<u32>(), of.parse::<u32>()) else {
            continue;
        };
        let told: f64 = chance.parse().unwrap();
        let chance = binomial::tail(bad, of, RuleSettings::default().tolerated);
        assert!((told / chance - 1.0).abs() < 0.01, "{line}: {chance}");
        assert_eq!(fires(bad, of), pages == "yes", "{line}");
        rows += 1;
    }
    assert_eq!(rows, 9);
}
