//! What Home Assistant reads: discovery messages, and states as plain text, since it cannot read protobuf. Pure.
//!
//! One binary sensor per prompt (on while one of its events is open), one sensor per sensor (its state), and whether perceptd is there.
//! Discovery is by component, which every Home Assistant that can read MQTT understands. States are said again with every `health`, and
//! expire after three of them: of a robot that lost its power nobody says that it is gone.

use serde_json::{Value, json};

use crate::modality::{Modality, SensorId};
use crate::telemetry::SensorState;

/// Seconds after which Home Assistant calls a state that was not said again unavailable: three health periods.
const EXPIRE_AFTER_SECS: u32 = 30;

/// What Home Assistant says on its [`birth_topic`] when it has come (back): then it wants to hear all discovery messages again.
pub(super) const BIRTH: &[u8] = b"online";

/// Where Home Assistant says whether it is there.
pub(super) fn birth_topic(prefix: &str) -> String {
    format!("{prefix}/status")
}

/// The names of one robot's entities and topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HomeAssistant {
    /// Where Home Assistant looks for discovery messages: `homeassistant`, if nobody changed it.
    prefix: String,
    /// `perceptd/v1/<fleet>/<robot>/ha/`.
    states: String,
    /// The robot among all that this Home Assistant knows, of `a-z 0-9 _ - R`.
    device: String,
    robot: String,
    fleet: String,
}

/// A topic and what is retained there; an empty payload takes it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

impl HomeAssistant {
    pub(super) fn new(prefix: &str, root: &str, fleet: &str, robot: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            states: format!("{root}ha/"),
            // Names have no capitals, so no two robots are one device; Home Assistant takes neither dots nor slashes here.
            device: format!("perceptd-{fleet}-R-{robot}"),
            robot: robot.to_owned(),
            fleet: fleet.to_owned(),
        }
    }

    /// Makes the entity of a prompt known.
    pub(super) fn prompt(&self, prompt: &str) -> Said {
        let own = json!({
            "name": prompt,
            "state_topic": self.prompt_topic(prompt),
            "payload_on": "ON",
            "payload_off": "OFF",
            "icon": "mdi:magnify-scan",
        });
        self.entity("binary_sensor", &format!("prompt-{prompt}"), own)
    }

    /// Makes the entity of a sensor known.
    pub(super) fn sensor(&self, sensor: &SensorId, modality: Modality) -> Said {
        let own = json!({
            "name": format!("{sensor} state"),
            "state_topic": self.sensor_topic(sensor),
            "entity_category": "diagnostic",
            "icon": icon(modality),
        });
        self.entity("sensor", &format!("sensor-{sensor}"), own)
    }

    /// Takes the entity of a prompt away, and its state.
    pub(super) fn forget_prompt(&self, prompt: &str) -> [Said; 2] {
        nothing([self.config_topic("binary_sensor", &format!("prompt-{prompt}")), self.prompt_topic(prompt)])
    }

    /// Takes the entity of a sensor away, and its state.
    pub(super) fn forget_sensor(&self, sensor: &SensorId) -> [Said; 2] {
        nothing([self.config_topic("sensor", &format!("sensor-{sensor}")), self.sensor_topic(sensor)])
    }

    /// Whether one of the prompt's events is open.
    pub(super) fn prompt_state(&self, prompt: &str, is_on: bool) -> Said {
        Said { topic: self.prompt_topic(prompt), payload: if is_on { b"ON".to_vec() } else { b"OFF".to_vec() } }
    }

    /// Whether a sensor delivers.
    pub(super) fn sensor_state(&self, sensor: &SensorId, state: &SensorState) -> Said {
        Said { topic: self.sensor_topic(sensor), payload: state.name().as_bytes().to_vec() }
    }

    /// Whether perceptd is there, as `status` says it in protobuf.
    pub(super) fn available(&self, is_there: bool) -> Said {
        Said { topic: self.available_topic(), payload: if is_there { b"online".to_vec() } else { b"offline".to_vec() } }
    }

    /// What every entity has, and its own.
    fn entity(&self, component: &str, object: &str, own: Value) -> Said {
        let mut config = json!({
            "unique_id": format!("{}-{object}", self.device),
            "qos": 1,
            "expire_after": EXPIRE_AFTER_SECS,
            "availability_topic": self.available_topic(),
            "device": {
                "identifiers": [self.device],
                "name": self.robot,
                "manufacturer": "perceptd",
                "model": format!("robot of {}", self.fleet),
                "sw_version": env!("CARGO_PKG_VERSION"),
            },
            "origin": { "name": "perceptd", "sw_version": env!("CARGO_PKG_VERSION") },
        });
        if let (Some(config), Value::Object(own)) = (config.as_object_mut(), own) {
            config.extend(own);
        }
        Said { topic: self.config_topic(component, object), payload: config.to_string().into_bytes() }
    }

    fn config_topic(&self, component: &str, object: &str) -> String {
        format!("{}/{component}/{}/{object}/config", self.prefix, self.device)
    }

    fn prompt_topic(&self, prompt: &str) -> String {
        format!("{}prompt/{prompt}", self.states)
    }

    fn sensor_topic(&self, sensor: &SensorId) -> String {
        format!("{}sensor/{sensor}", self.states)
    }

    fn available_topic(&self) -> String {
        format!("{}available", self.states)
    }
}

fn nothing(topics: [String; 2]) -> [Said; 2] {
    topics.map(|topic| Said { topic, payload: Vec::new() })
}

/// One of Material Design Icons, which Home Assistant brings.
const fn icon(modality: Modality) -> &'static str {
    match modality {
        Modality::Image => "mdi:camera",
        Modality::Audio => "mdi:microphone",
        Modality::Thermal => "mdi:thermometer",
        Modality::Depth => "mdi:cube-scan",
        Modality::Imu => "mdi:axis-arrow",
        Modality::Text => "mdi:format-text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> HomeAssistant {
        HomeAssistant::new("homeassistant", "perceptd/v1/farm/r1/", "farm", "r1")
    }

    #[test]
    fn a_prompt_is_a_binary_sensor_of_the_robot() {
        let said = home().prompt("dog");
        assert_eq!(said.topic, "homeassistant/binary_sensor/perceptd-farm-R-r1/prompt-dog/config");
        let config: Value = serde_json::from_slice(&said.payload).unwrap();
        assert_eq!(config["unique_id"], "perceptd-farm-R-r1-prompt-dog");
        assert_eq!(config["state_topic"], home().prompt_state("dog", true).topic);
        assert_eq!(config["availability_topic"], home().available(true).topic);
        assert_eq!(config["payload_on"].as_str().unwrap().as_bytes(), home().prompt_state("dog", true).payload);
        assert_eq!(config["payload_off"].as_str().unwrap().as_bytes(), home().prompt_state("dog", false).payload);
    }

    #[test]
    fn what_is_forgotten_is_what_was_made_known() {
        let [config, state] = home().forget_prompt("dog");
        assert_eq!(config, Said { topic: home().prompt("dog").topic, payload: Vec::new() });
        assert_eq!(state, Said { topic: home().prompt_state("dog", true).topic, payload: Vec::new() });
        let mic = SensorId::new("mic").unwrap();
        let [config, state] = home().forget_sensor(&mic);
        assert_eq!(config.topic, home().sensor(&mic, Modality::Audio).topic);
        assert_eq!(state.topic, home().sensor_state(&mic, &SensorState::Ok).topic);
    }

    #[test]
    fn robots_do_not_share_entities() {
        let other = HomeAssistant::new("homeassistant", "perceptd/v1/farm/r2/", "farm", "r2");
        assert_ne!(home().prompt("dog").topic, other.prompt("dog").topic);
        assert_ne!(home().prompt("dog").payload, other.prompt("dog").payload);
    }
}
