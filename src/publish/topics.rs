//! The table of topics: `perceptd/v1/<fleet>/<robot>/…`. Retained = state, not retained = happenings.
//!
//! `docs/topics.md` shows the same table to consumers; a test keeps the two equal.

use crate::modality::{BadName, SensorId, is_name};

/// What a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Presence.
    Status,
    /// How perceptd is doing.
    Health,
    /// One sensor's vectors.
    Embedding,
    /// The joint vector.
    Joint,
    /// One prompt's events.
    Event,
    /// All open events.
    Active,
    /// The answer to a command, on the response topic that it named.
    Reply,
    /// A state as Home Assistant reads it.
    HomeState,
    /// What makes an entity known to Home Assistant; the one class that lies outside the root.
    HomeDiscovery,
    /// What became of a wish for the config, and what is in force.
    ConfigReported,
    /// What became of a wish for a prompt.
    PromptReported,
    /// A wish for the config.
    ConfigDesired,
    /// A wish for a prompt.
    PromptDesired,
    /// A command.
    Command,
}

/// MQTT's quality of service, of which perceptd uses two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
}

/// How a class is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it carries.
    pub class: Class,
    /// The topic below the root, with placeholders.
    pub topic: &'static str,
    /// Whether the broker keeps the newest for late subscribers.
    pub retained: bool,
    /// Quality of service.
    pub qos: Qos,
    /// Message expiry in seconds; a broker drops it from queues of absent subscribers after that.
    pub expiry_secs: Option<u32>,
    /// Name of the protobuf message; the media type of what is none.
    pub message: &'static str,
}

const fn rule(
    class: Class,
    topic: &'static str,
    retained: bool,
    qos: Qos,
    expiry_secs: Option<u32>,
    message: &'static str,
) -> Rule {
    Rule { class, topic, retained, qos, expiry_secs, message }
}

/// Every topic that perceptd publishes. Embeddings older than ten seconds serve nobody; a health reading is stale after nine periods.
pub const TABLE: [Rule; 11] = [
    rule(Class::Status, "status", true, Qos::AtLeastOnce, None, "perceptd.v1.Status"),
    rule(Class::Health, "health", true, Qos::AtMostOnce, Some(90), "perceptd.v1.Health"),
    rule(Class::Embedding, "embedding/<sensor>", false, Qos::AtMostOnce, Some(10), "perceptd.v1.Embedding"),
    rule(Class::Joint, "joint", false, Qos::AtMostOnce, Some(10), "perceptd.v1.JointEmbedding"),
    rule(Class::Event, "event/<prompt>", false, Qos::AtLeastOnce, None, "perceptd.v1.Event"),
    rule(Class::Active, "active", true, Qos::AtLeastOnce, None, "perceptd.v1.ActiveEvents"),
    rule(Class::Reply, "<response topic>", false, Qos::AtLeastOnce, Some(60), "perceptd.v1.CommandReply"),
    rule(Class::HomeState, "ha/<entity>", true, Qos::AtLeastOnce, None, "text/plain"),
    rule(
        Class::HomeDiscovery,
        "<discovery prefix>/<component>/<robot>/<entity>/config",
        true,
        Qos::AtLeastOnce,
        None,
        "application/json",
    ),
    rule(Class::ConfigReported, "config/reported", true, Qos::AtLeastOnce, None, "perceptd.v1.ConfigReported"),
    rule(Class::PromptReported, "prompt/<prompt>/reported", true, Qos::AtLeastOnce, None, "perceptd.v1.PromptReported"),
];

/// Every topic that perceptd listens to, as it is to be published. A command says itself how long it is valid.
pub const LISTENED: [Rule; 3] = [
    rule(Class::ConfigDesired, "config/desired", true, Qos::AtLeastOnce, None, "perceptd.v1.ConfigDesired"),
    rule(Class::PromptDesired, "prompt/<prompt>/desired", true, Qos::AtLeastOnce, None, "perceptd.v1.PromptDesired"),
    rule(Class::Command, "cmd/<command>", false, Qos::AtLeastOnce, Some(60), "perceptd.v1.Command"),
];

impl Class {
    /// How this class is published.
    #[must_use]
    pub const fn rule(self) -> &'static Rule {
        match self {
            Self::Status => &TABLE[0],
            Self::Health => &TABLE[1],
            Self::Embedding => &TABLE[2],
            Self::Joint => &TABLE[3],
            Self::Event => &TABLE[4],
            Self::Active => &TABLE[5],
            Self::Reply => &TABLE[6],
            Self::HomeState => &TABLE[7],
            Self::HomeDiscovery => &TABLE[8],
            Self::ConfigReported => &TABLE[9],
            Self::PromptReported => &TABLE[10],
            Self::ConfigDesired => &LISTENED[0],
            Self::PromptDesired => &LISTENED[1],
            Self::Command => &LISTENED[2],
        }
    }

    /// Whether it carries protobuf, as all but what Home Assistant reads do.
    #[must_use]
    pub const fn is_protobuf(self) -> bool {
        !matches!(self, Self::HomeState | Self::HomeDiscovery)
    }
}

/// The topics of one robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    root: String,
}

impl Topics {
    /// The topics of `robot` in `fleet`.
    ///
    /// # Errors
    /// When either holds anything but 1 to 32 of `a-z 0-9 _ -`.
    pub fn new(fleet: &str, robot: &str) -> Result<Self, BadName> {
        // `SensorId` is the one place that says what a bad name is.
        for name in [fleet, robot] {
            SensorId::new(name)?;
        }
        Ok(Self { root: format!("perceptd/v1/{fleet}/{robot}/") })
    }

    /// `…/status`.
    #[must_use]
    pub fn status(&self) -> String {
        self.at("status")
    }

    /// `…/health`.
    #[must_use]
    pub fn health(&self) -> String {
        self.at("health")
    }

    /// `…/embedding/<sensor>`.
    #[must_use]
    pub fn embedding(&self, sensor: &SensorId) -> String {
        format!("{}embedding/{sensor}", self.root)
    }

    /// `…/joint`.
    #[must_use]
    pub fn joint(&self) -> String {
        self.at("joint")
    }

    /// `…/event/<prompt>`.
    ///
    /// # Errors
    /// When the prompt's name cannot be one level of a topic.
    pub fn event(&self, prompt: &str) -> Result<String, BadName> {
        SensorId::new(prompt)?;
        Ok(format!("{}event/{prompt}", self.root))
    }

    /// `…/active`.
    #[must_use]
    pub fn active(&self) -> String {
        self.at("active")
    }

    /// `…/config/reported`.
    #[must_use]
    pub fn config_reported(&self) -> String {
        self.at("config/reported")
    }

    /// `…/prompt/<prompt>/reported`.
    ///
    /// # Errors
    /// When the prompt's name cannot be one level of a topic.
    pub fn prompt_reported(&self, prompt: &str) -> Result<String, BadName> {
        SensorId::new(prompt)?;
        Ok(format!("{}prompt/{prompt}/reported", self.root))
    }

    /// `perceptd/v1/<fleet>/<robot>/`.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The filter for everything of this robot.
    #[must_use]
    pub fn everything(&self) -> String {
        self.at("#")
    }

    fn at(&self, below: &str) -> String {
        format!("{}{below}", self.root)
    }
}

/// The filter for everything of every robot.
pub const ALL_ROBOTS: &str = "perceptd/v1/#";

/// What a topic of any robot carries; none for topics that are not perceptd's.
#[must_use]
pub fn class_of(topic: &str) -> Option<Class> {
    let mut levels = topic.strip_prefix("perceptd/v1/")?.split('/');
    let (fleet, robot) = (levels.next()?, levels.next()?);
    if !is_name(fleet) || !is_name(robot) {
        return None;
    }
    match (levels.next()?, levels.next(), levels.next()) {
        ("status", None, None) => Some(Class::Status),
        ("health", None, None) => Some(Class::Health),
        ("joint", None, None) => Some(Class::Joint),
        ("active", None, None) => Some(Class::Active),
        ("embedding", Some(_), None) => Some(Class::Embedding),
        ("event", Some(_), _) => Some(Class::Event),
        ("ha", Some(_), _) => Some(Class::HomeState),
        ("config", Some("desired"), None) => Some(Class::ConfigDesired),
        ("config", Some("reported"), None) => Some(Class::ConfigReported),
        ("prompt", Some(_), Some("desired")) => Some(Class::PromptDesired),
        ("prompt", Some(_), Some("reported")) => Some(Class::PromptReported),
        ("cmd", Some(_), None) => Some(Class::Command),
        ("reply", Some(_), _) => Some(Class::Reply),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_finds_its_own_row() {
        for rule in TABLE.iter().chain(&LISTENED) {
            assert_eq!(rule.class.rule(), rule);
        }
    }

    #[test]
    fn topics_are_built_and_read_back() {
        let topics = Topics::new("demo", "robot-1").unwrap();
        let sensor = SensorId::new("front").unwrap();
        for (topic, class, tail) in [
            (topics.status(), Class::Status, "status"),
            (topics.health(), Class::Health, "health"),
            (topics.embedding(&sensor), Class::Embedding, "embedding/front"),
            (topics.joint(), Class::Joint, "joint"),
            (topics.event("dog").unwrap(), Class::Event, "event/dog"),
            (topics.active(), Class::Active, "active"),
            (topics.config_reported(), Class::ConfigReported, "config/reported"),
            (topics.prompt_reported("dog").unwrap(), Class::PromptReported, "prompt/dog/reported"),
        ] {
            assert_eq!(topic, format!("perceptd/v1/demo/robot-1/{tail}"));
            assert_eq!(class_of(&topic), Some(class));
        }
    }

    #[test]
    fn names_that_would_break_a_topic_are_refused() {
        for bad in ["", "a/b", "+", "#", "A"] {
            assert!(Topics::new(bad, "robot").is_err(), "{bad}");
            assert!(Topics::new("fleet", bad).is_err(), "{bad}");
            assert!(Topics::new("fleet", "robot").unwrap().event(bad).is_err(), "{bad}");
        }
        for foreign in ["", "perceptd", "perceptd/v2/a/b/status", "perceptd/v1/a/b", "perceptd/v1/a/b/status/x", "x/y"]
        {
            assert_eq!(class_of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn the_documentation_shows_this_table() {
        let page = include_str!("../../docs/topics.md");
        for rule in TABLE.iter().chain(&LISTENED) {
            let retained = if rule.retained { "yes" } else { "no" };
            let qos = if rule.qos == Qos::AtLeastOnce { 1 } else { 0 };
            let expiry = rule.expiry_secs.map_or("none".to_owned(), |secs| format!("{secs} s"));
            let row = format!("| `{}` | {retained} | {qos} | {expiry} | `{}` |", rule.topic, rule.message);
            assert!(page.contains(&row), "docs/topics.md lacks this row:\n{row}");
        }
    }
}
