//! Messages to channels, tries to deliver them, and signs of life.

use std::time::Duration;

use ::prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::family::{DELIVERY_SECONDS, Family};
use super::table::{Axis, Table, words};
use crate::core::event::Timestamp;
use crate::export::label;

#[derive(Debug)]
pub(super) struct Notifications {
    channels: Vec<String>,
    results: Vec<&'static str>,
    tries: Table<IntCounterVec, 2>,
    delivery: Table<HistogramVec, 2>,
    waiting: Table<IntGaugeVec, 1>,
    waiting_since: GaugeVec,
    broken: Table<IntGaugeVec, 1>,
    heartbeats: Table<IntCounterVec, 1>,
}

impl Notifications {
    /// `all`: the channels, and what others are called.
    pub(super) fn new(
        family: &Family<'_>,
        channels: &[String],
        results: &[&'static str],
        all: Axis,
    ) -> Notifications {
        let sent = words(results.iter().copied().chain([label::OTHER]));
        Notifications {
            channels: channels.to_vec(),
            results: results.to_vec(),
            tries: Table::new(
                family.counter(
                    "notifications_total",
                    "What became of notifications, and of each try to send one.",
                    &["channel", "result"],
                ),
                [all.clone(), sent.clone()],
            ),
            delivery: Table::new(
                family.histogram(
                    "notification_delivery_seconds",
                    "From the decision to notify to the receiver's answer.",
                    DELIVERY_SECONDS,
                    &["channel", "result"],
                ),
                [all.clone(), sent],
            ),
            waiting: Table::new(
                family.gauge(
                    "notifications_waiting",
                    "Notifications that wait to be sent, or to be tried again.",
                    &["channel"],
                ),
                [all.clone()],
            ),
            waiting_since: family.real_gauge(
                "notifications_waiting_since_timestamp_seconds",
                "When the oldest notification that waits was made; absent while none waits.",
                &["channel"],
            ),
            broken: Table::new(
                family.gauge(
                    "notification_channel_broken",
                    "Whether a channel refuses us, so that only a person can make it work again.",
                    &["channel"],
                ),
                [all],
            ),
            heartbeats: Table::new(
                family.counter(
                    "heartbeats_total",
                    "Signs of life that were sent, were not taken, or were withheld because bootwatch is not well.",
                    &["result"],
                ),
                [words(label::HEARTBEATS)],
            ),
        }
    }

    /// `beats`: a sign of life is sent.
    pub(super) fn zero(&self, beats: bool) {
        for channel in 0..self.channels.len() {
            for result in 0..self.results.len() {
                self.tries.make([channel, result]);
            }
            self.waiting.make([channel]);
            self.broken.make([channel]);
        }
        if beats {
            for result in 0..label::HEARTBEATS.len() - 1 {
                self.heartbeats.make([result]);
            }
        }
    }

    /// The place of a channel; as an error that of all which are not known.
    pub(super) fn channel(&self, name: &str) -> Result<usize, usize> {
        let known = self.channels.iter().position(|known| known == name);
        known.ok_or(self.channels.len())
    }

    /// The place of a result; as an error that of all which are not known.
    pub(super) fn result(&self, name: &str) -> Result<usize, usize> {
        let known = self.results.iter().position(|known| *known == name);
        known.ok_or(self.results.len())
    }

    pub(super) fn tried(&self, channel: usize, result: usize, latency: Option<Duration>) {
        let place = [channel, result];
        self.tries.at(place).inc();
        if let Some(latency) = latency {
            self.delivery.at(place).observe(latency.as_secs_f64());
        }
    }

    pub(super) fn waiting(&self, channel: usize, notifications: usize, oldest: Option<Timestamp>) {
        let waiting = i64::try_from(notifications).unwrap_or(i64::MAX);
        self.waiting.at([channel]).set(waiting);
        let name = self
            .channels
            .get(channel)
            .map_or(label::OTHER, String::as_str);
        match oldest {
            Some(oldest) => {
                let since = self.waiting_since.with_label_values(&[name]);
                since.set(oldest.0 as f64 / 1_000.0);
            }
            // It may not be there, which is just as well.
            None => drop(self.waiting_since.remove_label_values(&[name])),
        }
    }

    pub(super) fn broken(&self, channel: usize, broken: bool) {
        self.broken.at([channel]).set(i64::from(broken));
    }

    /// Whether the result is a known one.
    pub(super) fn heartbeat(&self, result: &str) -> bool {
        let known = label::HEARTBEATS.iter().position(|known| *known == result);
        self.heartbeats
            .at([known.unwrap_or(label::HEARTBEATS.len() - 1)])
            .inc();
        known.is_some()
    }
}
