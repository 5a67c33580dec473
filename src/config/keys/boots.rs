//! The keys of the rules about boots: how many meet connection errors, the budget of failures, how long they take.

use std::time::Duration;

use super::{ENABLED, Key, WINDOW, key};
use crate::config::shape::Shape;

/// How much faster than the objective allows.
const BURN: Shape = Shape::Number {
    min: 1.0,
    max: 1_000.0,
};
/// How many boots are kept one by one.
const LAST: Shape = Shape::Count { min: 3, max: 60 };
const WAIT: Shape = Shape::Duration {
    min: Duration::ZERO,
    max: Duration::from_secs(86_400),
};
const WAIT_DOC: &str = "It must be so for this long, in the time of the log.";

pub(super) const ALPHA: Shape = Shape::Share {
    min: 0.000_000_001,
    max: 0.05,
};
pub(super) const ALPHA_DOC: &str =
    "How improbable the failures must be under what is normal: smaller pages later and errs less.";

/// The keys of a rule that counts boots with connection errors.
macro_rules! spike {
    ($rule:literal, $errors:literal) => {
        [
            Key {
                path: concat!("rules.", $rule, ".enabled"),
                shape: Shape::Flag,
                default: ENABLED,
                doc: concat!("Page when boots that meet ", $errors, " are improbably many."),
            },
            key(concat!("rules.", $rule, ".alpha"), ALPHA, "0.001", ALPHA_DOC),
            key(
                concat!("rules.", $rule, ".baseline"),
                Shape::Share { min: 0.001, max: 0.5 },
                "0.05",
                "The share of boots that may end so before it counts as more than normal.",
            ),
            key(
                concat!("rules.", $rule, ".window"),
                WINDOW,
                "\"1h\"",
                "How far back boots count, in the time of the log.",
            ),
            key(
                concat!("rules.", $rule, ".min_ready"),
                Shape::Count { min: 1, max: 10_000 },
                "20",
                "Boots in flight count only after so many ready boots taught the time to ready.",
            ),
            key(
                concat!("rules.", $rule, ".factor"),
                Shape::Number { min: 1.0, max: 10.0 },
                "1.5",
                "A boot in flight counts beyond this multiple of the learned time to ready (p99), and never before half \
                 the controller's own deadline.",
            ),
        ]
    };
}

pub(super) const REFUSED: [Key; 6] = spike!("ConnectionRefusedSpike", "ECONNREFUSED to the end");
pub(super) const ERRORS: [Key; 6] = spike!(
    "ConnectionErrorSpike",
    "EHOSTUNREACH, time-outs or other connection errors to the end"
);

pub(super) const BURNS: [Key; 8] = [
    Key {
        path: "rules.BootBudgetBurn.enabled",
        shape: Shape::Flag,
        default: ENABLED,
        doc: "Page, or write a ticket, when failures use up the objective's budget of 30 days too fast.",
    },
    key(
        "rules.BootBudgetBurn.objective",
        Shape::Share {
            min: 0.5,
            max: 0.9999,
        },
        "0.95",
        "The share of boots that should become ready, over 30 days.",
    ),
    key("rules.BootBudgetBurn.alpha", ALPHA, "0.001", ALPHA_DOC),
    key(
        "rules.BootBudgetBurn.last",
        LAST,
        "20",
        "Where a window of less than a day holds fewer boots than this, so many last boots of a day are judged instead.",
    ),
    key(
        "rules.BootBudgetBurn.page_1h",
        BURN,
        "14.4",
        "Page when the budget burns this many times too fast over 1 h and over 5 min: 2 % of it in an hour.",
    ),
    key(
        "rules.BootBudgetBurn.page_6h",
        BURN,
        "6.0",
        "Page when it does over 6 h and over 30 min: 5 % of it in 6 hours.",
    ),
    key(
        "rules.BootBudgetBurn.ticket_1d",
        BURN,
        "3.0",
        "A ticket when it does over 1 day and over 2 h: 10 % of it in a day.",
    ),
    key(
        "rules.BootBudgetBurn.ticket_3d",
        BURN,
        "1.0",
        "A ticket when it does over 3 days and over 6 h: 10 % of it in 3 days.",
    ),
];

pub(super) const SLOW: [Key; 7] = [
    Key {
        path: "rules.BootStageSlow.enabled",
        shape: Shape::Flag,
        default: ENABLED,
        doc: "A ticket when a stage of boots takes longer than was learned of it.",
    },
    key("rules.BootStageSlow.alpha", ALPHA, "0.001", ALPHA_DOC),
    key(
        "rules.BootStageSlow.last",
        LAST,
        "20",
        "So many last boots are judged.",
    ),
    key(
        "rules.BootStageSlow.min_boots",
        Shape::Count { min: 20, max: 500 },
        "100",
        "A stage is judged only after so many boots taught how long it takes.",
    ),
    key(
        "rules.BootStageSlow.factor",
        Shape::Number {
            min: 1.0,
            max: 100.0,
        },
        "1.5",
        "A boot counts as slow beyond this multiple of the learned p95,",
    ),
    key(
        "rules.BootStageSlow.slack",
        Shape::Duration {
            min: Duration::ZERO,
            max: Duration::from_secs(600),
        },
        "\"1s\"",
        "and only if it takes at least so much longer than that.",
    ),
    key("rules.BootStageSlow.for", WAIT, "\"15m\"", WAIT_DOC),
];

pub(super) const HEADROOM: [Key; 5] = [
    Key {
        path: "rules.ReadinessHeadroomLow.enabled",
        shape: Shape::Flag,
        default: ENABLED,
        doc: "A ticket when boots become ready only shortly before the controller's own deadline.",
    },
    key(
        "rules.ReadinessHeadroomLow.alpha",
        ALPHA,
        "0.001",
        ALPHA_DOC,
    ),
    key(
        "rules.ReadinessHeadroomLow.last",
        LAST,
        "20",
        "So many last ready boots are judged.",
    ),
    key(
        "rules.ReadinessHeadroomLow.headroom",
        Shape::Share {
            min: 0.01,
            max: 0.9,
        },
        "0.2",
        "The share of the logged deadline that should be left when a boot is ready.",
    ),
    key("rules.ReadinessHeadroomLow.for", WAIT, "\"15m\"", WAIT_DOC),
];
