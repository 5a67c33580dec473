//! How the sending over OTLP itself goes.

use ::prometheus::{IntCounterVec, IntGaugeVec};

use super::family::Family;
use super::table::{Table, words};
use crate::export::otlp::{Sent, Signal};

#[derive(Debug)]
pub(super) struct Otlp {
    items: Table<IntCounterVec, 2>,
    waiting: Table<IntGaugeVec, 0>,
}

impl Otlp {
    pub(super) fn new(family: &Family<'_>, traces: bool) -> Otlp {
        let otlp = Otlp {
            items: Table::new(
                family.counter(
                    "otlp_items_total",
                    "What became of traces of boots, and of snapshots of the metrics, that were to be sent over OTLP.",
                    &["signal", "result"],
                ),
                [
                    words(Signal::ALL.iter().map(|signal| signal.as_str())),
                    words(Sent::ALL.iter().map(|sent| sent.as_str())),
                ],
            ),
            waiting: Table::new(
                family.gauge(
                    "otlp_traces_waiting",
                    "Traces of boots that wait to be sent over OTLP.",
                    &[],
                ),
                [],
            ),
        };
        if traces {
            otlp.waiting(0);
        }
        for signal in Signal::ALL {
            for sent in Sent::ALL {
                otlp.items.make([*signal as usize, *sent as usize]);
            }
        }
        otlp
    }

    pub(super) fn sent(&self, signal: Signal, sent: Sent, items: usize) {
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        self.items
            .at([signal as usize, sent as usize])
            .inc_by(items);
    }

    pub(super) fn waiting(&self, traces: usize) {
        let waiting = i64::try_from(traces).unwrap_or(i64::MAX);
        self.waiting.at([]).set(waiting);
    }
}
