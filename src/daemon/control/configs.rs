//! Wishes for the config, done: prepared beside, swapped in, watched, saved, told; or put back.

use std::collections::BTreeSet;

use super::{Control, Trying, watch_nanos};
use crate::config::Overlay;
use crate::daemon::perception::PerceptionChange;
use crate::daemon::plan::{Plan, in_words, sensors_of};
use crate::daemon::prepare::Job;
use crate::daemon::sources::Sources;
use crate::daemon::threads::WindowChange;
use crate::daemon::transaction::Step;
use crate::modality::{Modality, SensorId};
use crate::publish::ConfigReport;
use crate::store::{ConfigLedger, Fault, RemoteError};
use crate::telemetry::SensorState;
use crate::time::now;
use crate::windows::Windower;

impl Control {
    pub(super) fn config_steps(&mut self, steps: Vec<Step>, sources: &mut Sources) {
        for step in steps {
            let next = match step {
                Step::Prepare => self.prepare(),
                Step::Swap => {
                    let outcome = self.swap(sources).map_err(|error| vec![Fault::whole(format!("{error:#}"))]);
                    self.transaction.swapped(now(), outcome)
                }
                Step::Undo => {
                    self.undo(sources);
                    Vec::new()
                }
                Step::Commit => {
                    let saved = self.save_config().map_err(|error| error.to_string());
                    if saved.is_ok() {
                        self.trying = None;
                    }
                    self.transaction.committed(saved)
                }
                Step::Remember => {
                    if let Err(error) = self.save_config() {
                        tracing::warn!("{error}");
                    }
                    Vec::new()
                }
                Step::Report => {
                    self.answers.config(self.transaction.ledger());
                    self.transaction.asides().iter().for_each(|answer| self.answers.aside(answer));
                    self.report_config();
                    Vec::new()
                }
            };
            self.config_steps(next, sources);
        }
    }

    /// Encoders that nobody needed until now are loaded beside; everything else is ready at once.
    fn prepare(&mut self) -> Vec<Step> {
        let Some(candidate) = &self.candidate else { return Vec::new() };
        let missing: BTreeSet<Modality> =
            candidate.plan.start.iter().map(|s| s.driver.modality()).filter(|m| !self.loaded.contains(m)).collect();
        if missing.is_empty() {
            return self.transaction.prepared(Ok(()));
        }
        match self.pipes.jobs.send(Job::Encoders(missing.into_iter().collect())) {
            Ok(()) => Vec::new(),
            Err(_closed) => self.transaction.prepared(Err(vec![Fault::whole("perceptd is stopping")])),
        }
    }

    fn swap(&mut self, sources: &mut Sources) -> anyhow::Result<()> {
        let Some(candidate) = self.candidate.take() else { return Ok(()) };
        let before = std::mem::replace(&mut self.settings, candidate.settings);
        let had = sensors_of(&before, &self.ground.recorded);
        let delivered = |id: &SensorId| self.telemetry.sensor(id).read().state == SensorState::Ok;
        let must_deliver = candidate.plan.start.iter().map(|sensor| sensor.id.clone());
        // What was not there before need not be there now; what is turned on must work.
        let must_deliver =
            must_deliver.filter(|id| delivered(id) || !had.iter().any(|(known, _)| known == id)).collect();
        self.trying = Some(Trying { before, must_deliver });
        if let Some(encoders) = candidate.encoders {
            self.tell_perception(PerceptionChange::Adopt(encoders));
            self.loaded.extend(candidate.plan.start.iter().map(|sensor| sensor.driver.modality()));
        }
        self.apply(candidate.plan, sources)
    }

    fn undo(&mut self, sources: &mut Sources) {
        let Some(Trying { before, .. }) = self.trying.take() else { return };
        let back = self.ground.plan(&self.settings, &before);
        self.settings = before;
        let undone = match back {
            Ok(plan) => self.apply(plan, sources),
            Err(faults) => Err(anyhow::Error::msg(in_words(&faults))),
        };
        if let Err(error) = undone {
            tracing::error!("a config could not be rolled back whole: {error:#}");
        }
    }

    /// Tells each part what changes for it, and no other.
    fn apply(&mut self, plan: Plan, sources: &mut Sources) -> anyhow::Result<()> {
        for sensor in plan.stop {
            sources.stop(&sensor);
            self.tell_windows(WindowChange::Remove(sensor.clone()));
            self.tell_perception(PerceptionChange::ForgetSensor(sensor));
        }
        for cut in plan.cut {
            let sensor = cut.sensor.clone();
            self.tell_perception(PerceptionChange::HearSensor(sensor.clone()));
            self.tell_windows(WindowChange::Put(sensor, Windower::new(cut)?));
        }
        if let Some(tuning) = plan.tuning {
            self.tell_windows(WindowChange::Tick(tuning.joint_hop_nanos));
            self.tell_perception(PerceptionChange::Tune(Box::new(tuning)));
        }
        for sensor in plan.start {
            sources.start(sensor)?;
        }
        if let Some(level) = plan.log {
            (self.remote.set_log)(level);
        }
        self.transaction.watch_for(watch_nanos(&self.settings));
        self.commands.allow(self.settings.remote.max_commands);
        self.publisher.sensors(sensors_of(&self.settings, &self.ground.recorded), now());
        Ok(())
    }

    /// What is wrong with the config that is being tried.
    pub(super) fn troubles(&self) -> Vec<Fault> {
        let must_deliver = self.trying.iter().flat_map(|trying| &trying.must_deliver);
        let silent = must_deliver.filter_map(|id| {
            let state = self.telemetry.sensor(id).read().state;
            let what = match &state {
                SensorState::Ok => return None,
                SensorState::Starting => "it has not given any data",
                other => other.reason(),
            };
            Some(Fault { key: format!("sensors.{id}"), what: what.to_owned() })
        });
        silent.collect()
    }

    /// Tells the answers that are owed, and last the one that stands.
    pub(super) fn report_config(&mut self) {
        for answer in self.transaction.take_asides() {
            let faults = answer.faults.clone();
            self.report(&ConfigLedger { answer: Some(answer), ..self.transaction.ledger().clone() }, &faults);
        }
        self.report(self.transaction.ledger(), &self.transaction.faults());
    }

    fn report(&self, ledger: &ConfigLedger, faults: &[Fault]) {
        let changes = Overlay::parse(&ledger.changes).unwrap_or_default();
        let file = self.remote.file.path();
        self.publisher.config_reported(&ConfigReport {
            at: now(),
            ledger,
            faults,
            in_force_json: &self.remote.file.json_with(&changes),
            // A file without a name for its folder is of no use to who reads of it elsewhere.
            file: &std::path::absolute(file).unwrap_or_else(|_gone| file.to_owned()).display().to_string(),
        });
    }

    /// Saves the ledger. Once one to which perceptd fell back is saved, starts are counted anew, with it.
    pub(super) fn save_config(&mut self) -> Result<(), RemoteError> {
        self.store.save_config(self.transaction.ledger())?;
        if std::mem::take(&mut self.is_fallback) {
            self.store.forget_starts();
        }
        Ok(())
    }
}
