//! The events of this process for the journal: its start and stop, the source that it leads, and the roles that halt.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::{
    control::journal,
    postgres::{Error, Session},
    status::{Phase, ProcessStatus},
};

/// The most events that wait while PostgreSQL is away; those after them are left out.
const QUEUE: usize = 100;

/// Finds the events and records them.
pub(super) struct Events {
    instance: String,
    started: bool,
    leads: bool,
    /// Why a role has halted, until it runs again.
    halted: BTreeMap<&'static str, String>,
    queue: VecDeque<(String, Value)>,
}

impl Events {
    /// The events of the process of that name.
    pub(super) fn new(instance: &str) -> Self {
        let instance = instance.to_owned();
        Self { instance, started: false, leads: false, halted: BTreeMap::new(), queue: VecDeque::new() }
    }

    /// Takes note of what has changed.
    pub(super) fn note(&mut self, process: &ProcessStatus) {
        if !std::mem::replace(&mut self.started, true) {
            let roles: Vec<&str> = process.roles.keys().copied().collect();
            self.push("process started".to_owned(), json!({ "version": env!("CARGO_PKG_VERSION"), "roles": roles }));
        }
        let leads = process.led.is_some();
        if leads != std::mem::replace(&mut self.leads, leads) {
            let what = if leads { "leads the source" } else { "leads the source no longer" };
            self.push(what.to_owned(), json!({}));
        }
        for (role, line) in &process.roles {
            let halted = line.reason.as_ref().filter(|_| line.phase == Phase::Halted);
            if let Some(reason) = halted.filter(|reason| self.halted.get(role) != Some(reason)) {
                self.halted.insert(*role, reason.clone());
                self.push(format!("{role} halted"), json!({ "why": reason }));
            }
            if line.phase == Phase::Running && self.halted.remove(*role).is_some() {
                self.push(format!("{role} runs again"), json!({}));
            }
        }
    }

    fn push(&mut self, what: String, detail: Value) {
        if self.queue.len() < QUEUE {
            self.queue.push_back((what, detail));
        }
    }

    /// Records what waits, in its order.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause; what is not recorded waits on.
    pub(super) async fn record(&mut self, session: &Session) -> Result<(), Error> {
        while let Some((what, detail)) = self.queue.front() {
            if !journal::record(session, &self.instance, what, detail).await? {
                break;
            }
            self.queue.pop_front();
        }
        Ok(())
    }

    /// Drops what waits.
    pub(super) fn forget(&mut self) {
        self.queue.clear();
    }

    /// Records that the process stops.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub(super) async fn stop(&mut self, session: &Session) -> Result<(), Error> {
        self.push("process stopped".to_owned(), json!({}));
        self.record(session).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Led, Role, Status};

    #[test]
    fn each_change_is_one_event() {
        let status = Status::new(&[Role::Source, Role::Sink]);
        let mut events = Events::new("a");
        let mut seen = |status: &Status| {
            events.note(&status.read());
            events.note(&status.read());
            events.queue.drain(..).map(|(what, _)| what).collect::<Vec<_>>()
        };
        assert_eq!(seen(&status), ["process started"]);
        status.led(Some(Led::default()));
        assert_eq!(seen(&status), ["leads the source"]);
        status.halted(Role::Sink, "a right is missing".to_owned(), None, true);
        assert_eq!(seen(&status), ["sink halted"]);
        status.phase(Role::Sink, Phase::Starting);
        status.halted(Role::Sink, "a right is missing".to_owned(), None, true);
        assert_eq!(seen(&status), [""; 0], "an attempt that fails as the last one did is no event");
        status.phase(Role::Sink, Phase::Running);
        status.led(None);
        assert_eq!(seen(&status), ["leads the source no longer", "sink runs again"]);
    }
}
