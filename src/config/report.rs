//! `[report]`: when the weekly report is made, in which zone, and who is sent it.

use super::document::Settings;
use super::notify::Channel;
use super::problem::Problems;
use super::{Zone, notify};
use crate::core::report::schedule::Schedule;

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// `None`: reports are made by hand only.
    pub schedule: Option<Schedule>,
    pub timezone: Zone,
    /// The name of a mail notifier whose recipients get it; `None`: it is only kept.
    pub channel: Option<String>,
    /// Over all hosts of the fleet.
    pub fleet: bool,
}

pub(super) fn read(settings: &Settings) -> Report {
    let schedule: Option<String> = settings.maybe("report.schedule");
    Report {
        schedule: schedule.and_then(|text| Schedule::parse(&text).ok()),
        timezone: settings.read("report.timezone"),
        channel: settings.maybe("report.channel"),
        fleet: settings.read("report.fleet"),
    }
}

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    if !settings.is_sound("report") {
        return;
    }
    let schedule: Option<String> = settings.maybe("report.schedule");
    if let Some(Err(problem)) = schedule.as_deref().map(Schedule::parse) {
        problems.add("report.schedule", problem);
    }
    let of_fleet: bool = settings.read("report.fleet");
    if of_fleet
        && !settings.is_written("store.fleet.url")
        && !settings.is_written("store.fleet.url_file")
    {
        problems.add(
            "report.fleet",
            "there is no fleet to report of; write store.fleet.url, or take fleet = true away",
        );
    }
    let channel: Option<String> = settings.maybe("report.channel");
    if let Some(channel) = channel
        && settings.is_sound("notify")
    {
        let all = notify::read(settings);
        let mails: Vec<&str> = all
            .iter()
            .filter(|one| matches!(one.channel, Channel::Email(_)))
            .map(|one| one.name.as_str())
            .collect();
        if !mails.contains(&channel.as_str()) {
            let known = match mails.as_slice() {
                [] => {
                    "none is configured; write one, [notify.team] with type = \"email\"".to_owned()
                }
                known => format!("known are: {}", known.join(", ")),
            };
            problems.add(
                "report.channel",
                format!("\"{channel}\" is no notifier of type email; {known}"),
            );
        }
    }
}
