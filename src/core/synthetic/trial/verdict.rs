//! What a boot that the controller calls ready is in truth: by our own looks, by VNC, and by what its session says.

use super::super::looked::{Fault, ours};
use super::super::phases::TrialPhase;
use super::super::plan::RowsSeen;
use super::{Fields, Running, VncMatters};
use crate::core::event::Failure;
use crate::core::probe::Verdict;
use crate::core::row::SessionStatus;
impl Running {
    /// Our own look found the agent well, or no address may be looked at.
    pub(super) fn has_looked(&self) -> bool {
        self.settings.networks.is_none() || self.last_look.is_some_and(|look| look.is_well())
    }

    /// What the session says of its VM, and whether there is no hope for more. An answer may come from the controller's
    /// memory, where VM and address are whatever the row says; so where there are rows, they alone tell.
    pub(super) fn fields(&self) -> Fields {
        let told = match (self.rows, &self.trace) {
            (RowsSeen::NoDatabase, _) => match self.fields_told {
                Some(true) => return Fields::Filled,
                Some(false) => Fields::Empty,
                None => Fields::Unseen,
            },
            (RowsSeen::Hidden, _) => Fields::Unseen,
            (RowsSeen::Seen, None) => Fields::Missing,
            (RowsSeen::Seen, Some(trace)) => match trace.session_row {
                None => Fields::Missing,
                Some(_) if trace.fields => return Fields::Filled,
                // The controller fills them before it says so.
                Some(
                    SessionStatus::Ready
                    | SessionStatus::AwaitingUserAuth
                    | SessionStatus::Completed,
                ) => Fields::LeftEmpty,
                Some(_) => Fields::Empty,
            },
        };
        match self.seen.fields {
            Some(_) => Fields::Filled,
            None => told,
        }
    }

    pub(super) fn waits_for_vnc(&self) -> bool {
        let wanted = self.settings.vnc != VncMatters::Off && self.address.is_some();
        wanted && !self.seen.vnc && !self.vnc.given_up
    }

    /// What is wrong with it beyond doubt, though the controller calls it ready.
    pub(super) fn fault(&self) -> Option<Fault> {
        let agent = self.last_look.and_then(|look| look.fault());
        let fields = match self.fields() {
            Fields::Filled | Fields::Unseen => None,
            Fields::Empty | Fields::LeftEmpty => Some("the session's VM fields stay empty"),
            Fields::Missing => Some("the session has no row"),
        };
        let fields = fields.map(|reason| Fault {
            failure: Failure::Unknown,
            phase: TrialPhase::SessionFields,
            reason: reason.to_owned(),
        });
        agent.or_else(|| self.vnc_fault()).or(fields)
    }

    pub(super) fn vnc_fault(&self) -> Option<Fault> {
        let web = self.vnc.web.filter(|_| self.vnc.is_paged);
        let seen = [(self.vnc.greeting, "VNC"), (web, "noVNC")];
        let (result, name) = seen
            .into_iter()
            .filter_map(|(result, name)| Some((result?, name)))
            .find(|(result, _)| result.verdict() == Verdict::Failed)
            .filter(|_| self.needs_vnc())?;
        Some(Fault {
            failure: Failure::VncNotReady,
            phase: TrialPhase::Vnc,
            reason: format!("{name} does not answer as it should: {result}"),
        })
    }

    pub(super) fn needs_vnc(&self) -> bool {
        self.settings.vnc == VncMatters::Required && !self.seen.vnc
    }

    /// Why our own looks leave it open whether it is well.
    pub(super) fn unsaid(&self) -> Option<String> {
        if self.has_looked() && !self.needs_vnc() {
            let unseen = self.fields() == Fields::Unseen;
            return unseen.then(|| "what the session says of its VM could not be seen".to_owned());
        }
        let Some(look) = self.last_look else {
            return Some("no look of ours at the VM was made".to_owned());
        };
        look.unsaid().or_else(|| {
            let mut results = [self.vnc.greeting, self.vnc.web].into_iter().flatten();
            let unsaid = results.find(|result| result.verdict() != Verdict::Passed);
            Some(unsaid.map_or_else(|| "no look of ours at VNC was made".to_owned(), ours))
        })
    }
}
