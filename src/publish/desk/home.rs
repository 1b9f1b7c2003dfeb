//! What the desk says to Home Assistant, beside what it says in protobuf.

use std::collections::BTreeSet;

use super::Desk;
use crate::events::Event;
use crate::modality::SensorId;
use crate::publish::home_assistant::{HomeAssistant, Said};
use crate::publish::topics::Class;

/// What Home Assistant was told.
pub(super) struct Home {
    names: HomeAssistant,
    prompts: BTreeSet<String>,
    open: BTreeSet<String>,
}

impl Home {
    pub(super) const fn new(names: HomeAssistant) -> Self {
        Self { names, prompts: BTreeSet::new(), open: BTreeSet::new() }
    }
}

impl Desk {
    fn say_home(&mut self, class: Class, said: impl IntoIterator<Item = Said>) {
        for Said { topic, payload } in said {
            self.state(class, topic, payload);
        }
    }

    /// These prompts are looked for from now on.
    pub(in crate::publish) fn prompts<'a>(&mut self, prompts: impl IntoIterator<Item = &'a str>) {
        let Some(home) = &mut self.home else { return };
        let prompts: BTreeSet<String> = prompts.into_iter().map(str::to_owned).collect();
        let known: Vec<Said> = prompts.difference(&home.prompts).map(|prompt| home.names.prompt(prompt)).collect();
        let states: Vec<Said> =
            prompts.difference(&home.prompts).map(|prompt| home.names.prompt_state(prompt, false)).collect();
        let gone: Vec<[Said; 2]> =
            home.prompts.difference(&prompts).map(|prompt| home.names.forget_prompt(prompt)).collect();
        home.prompts = prompts;
        for [config, state] in gone {
            self.say_home(Class::HomeDiscovery, [config]);
            self.say_home(Class::HomeState, [state]);
        }
        self.say_home(Class::HomeDiscovery, known);
        self.say_home(Class::HomeState, states);
    }

    /// The prompts whose state has changed.
    pub(super) fn home_active(&mut self, events: &[Event]) {
        let Some(home) = &mut self.home else { return };
        let open: BTreeSet<String> = events.iter().map(|event| event.prompt.to_string()).collect();
        let changed = open.symmetric_difference(&home.open).filter(|prompt| home.prompts.contains(*prompt));
        let said: Vec<Said> = changed.map(|prompt| home.names.prompt_state(prompt, open.contains(prompt))).collect();
        home.open = open;
        self.say_home(Class::HomeState, said);
    }

    /// All states again, before they expire; and the sensors, which may be new.
    pub(super) fn home_health(&mut self) {
        let Some(home) = &self.home else { return };
        let states = home.prompts.iter().map(|prompt| home.names.prompt_state(prompt, home.open.contains(prompt)));
        let sensors = self.parts.sensors.iter();
        let sensor_states = sensors
            .map(|(sensor, _)| home.names.sensor_state(sensor, &self.parts.telemetry.sensor(sensor).read().state));
        let states: Vec<Said> = states.chain(sensor_states).collect();
        let known = self.parts.sensors.iter().map(|(sensor, modality)| home.names.sensor(sensor, *modality));
        let unknown = |said: &Said| {
            let told = self.states.get(&(Class::HomeDiscovery, said.topic.clone()));
            told.is_none_or(|told| told.message.payload.is_empty())
        };
        let unknown: Vec<Said> = known.filter(unknown).collect();
        self.say_home(Class::HomeDiscovery, unknown);
        self.say_home(Class::HomeState, states);
    }

    /// These sensors are read no longer: their entities go, and what was said last of them.
    pub(super) fn home_gone(&mut self, sensors: &[SensorId]) {
        let Some(home) = &self.home else { return };
        let gone: Vec<[Said; 2]> = sensors.iter().map(|sensor| home.names.forget_sensor(sensor)).collect();
        for [config, state] in gone {
            self.say_home(Class::HomeDiscovery, [config]);
            self.say_home(Class::HomeState, [state]);
        }
    }

    /// Whether perceptd is there.
    pub(super) fn home_available(&mut self, is_there: bool) {
        let said = self.home.as_ref().map(|home| home.names.available(is_there));
        self.say_home(Class::HomeState, said);
    }

    /// Home Assistant has come (back): all is said again.
    pub(in crate::publish) fn home_assistant_came(&mut self) {
        for ((class, _), state) in &mut self.states {
            if matches!(class, Class::HomeDiscovery | Class::HomeState) {
                state.is_said = false;
            }
        }
    }
}
