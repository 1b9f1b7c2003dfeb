//! The other end of configuration by topic: wishes to robots, and hears what becomes of them. For the command line.

use std::collections::BTreeSet;
use std::time::Duration;

use super::arrivals::{Arrived, RetainHandling, Subscription};
use super::client::{ConnectSettings, Connection, Failure, RefusedFilter, Step};
use super::heard::{Heard, HeardConfig, HeardPrompt};
use super::topics::{Class, class_of};
use super::{BrokerAccess, payload_digest, wire};
use crate::modality::Modality;

/// One ingredient of a prompt, with the bytes of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ingredient {
    /// Words.
    Text(String),
    /// A sound file.
    Audio(Vec<u8>),
    /// A picture file.
    Image(Vec<u8>),
}

/// A prompt as an operator wishes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptSpec {
    /// What it is made of, with weights.
    pub parts: Vec<(Ingredient, f32)>,
    /// What it must not be confused with.
    pub negatives: Vec<Ingredient>,
    /// Senses in which it is looked for; none: the usual ones.
    pub senses: Vec<Modality>,
    /// Wanted probability of a false alarm per window; none: the usual one.
    pub p_false: Option<f64>,
}

/// What a robot says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reported {
    /// Of its config.
    Config(HeardConfig),
    /// Of a prompt.
    Prompt(HeardPrompt),
    /// This prompt is no more.
    PromptGone(String),
}

/// Why an operator cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// No connection.
    #[error("no connection to the broker at {broker}: {why}")]
    NotConnected {
        /// The broker.
        broker: String,
        /// Why.
        why: String,
    },
    /// A prompt that says nothing: no bytes would take the prompt away.
    #[error("the prompt says nothing, and would be taken away: give it parts, negatives, senses or a `p_false`")]
    NothingSaid,
    /// The broker forbids it.
    #[error("the broker at {broker} refuses: {why}; see its access rules")]
    Refused {
        /// The broker.
        broker: String,
        /// Why.
        why: String,
    },
}

/// Which broker, as whom, and which fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorSettings {
    /// The broker, and how to reach it.
    pub broker: BrokerAccess,
    /// Name of the fleet.
    pub fleet: String,
}

/// A connection for wishes to the robots of one fleet.
pub struct Operator {
    connection: Connection,
    broker: String,
    fleet: String,
}

impl Operator {
    /// Connects and listens to what the robots of the fleet report; what they reported last comes at once.
    ///
    /// # Errors
    /// When there is no connection, or the broker does not let it listen.
    pub async fn connect(settings: OperatorSettings) -> Result<Self, OperatorError> {
        let OperatorSettings { broker, fleet } = settings;
        let name = broker.address.to_string();
        let connection = Connection::new(ConnectSettings {
            broker,
            client_id: format!("perceptd-operator-{:016x}", fastrand::u64(..)),
            keep_alive: Duration::from_secs(8),
            session_expiry: None,
            max_in_flight: 16,
        });
        let mut operator = Self { connection, broker: name, fleet };
        loop {
            match operator.connection.next().await {
                Ok(Step::Connected { .. }) => operator.subscribe()?,
                Ok(Step::Subscribed { refused }) if refused.is_empty() => return Ok(operator),
                Ok(Step::Subscribed { refused }) => {
                    return Err(operator.refused(RefusedFilter::in_words(&refused, &operator.heard())));
                }
                Ok(_) => {}
                Err(Failure(why)) => return Err(OperatorError::NotConnected { broker: operator.broker, why }),
            }
        }
    }

    /// The next report, with the robot's name.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn next(&mut self) -> Result<(String, Reported), OperatorError> {
        loop {
            match self.connection.next().await {
                Ok(Step::Arrived(arrived)) => {
                    if let Some(report) = reported(&arrived) {
                        return Ok(report);
                    }
                }
                Ok(_) => {}
                Err(Failure(why)) => return Err(OperatorError::NotConnected { broker: self.broker.clone(), why }),
            }
        }
    }

    /// The reports that the broker has kept: all that come until there is a pause of `quiet`.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn kept(&mut self, quiet: Duration) -> Result<Vec<(String, Reported)>, OperatorError> {
        let mut kept = Vec::new();
        while let Ok(report) = tokio::time::timeout(quiet, self.next()).await {
            kept.push(report?);
        }
        Ok(kept)
    }

    /// Wishes a config, retained; gives the digest that the answer will carry.
    ///
    /// # Errors
    /// When the client has no room.
    pub fn wish_config(
        &self,
        robot: &str,
        generation: u64,
        base: u64,
        is_whole: bool,
        json: String,
    ) -> Result<String, OperatorError> {
        let payload = wire::config_desired(generation, base, is_whole, json);
        self.publish(Class::ConfigDesired, robot, "config/desired", payload)
    }

    /// Wishes a prompt, retained, or that it be gone; gives the digest that the answer will carry.
    ///
    /// # Errors
    /// When the client has no room, or the prompt says nothing.
    pub fn wish_prompt(&self, robot: &str, id: &str, spec: Option<&PromptSpec>) -> Result<String, OperatorError> {
        let payload = prompt_payload(spec)?;
        self.publish(Class::PromptDesired, robot, &format!("prompt/{id}/desired"), payload)
    }

    /// Clears what was wished for a prompt, once the robot has seen it.
    ///
    /// # Errors
    /// When the client has no room.
    pub fn clear_prompt(&self, robot: &str, id: &str) -> Result<(), OperatorError> {
        self.publish(Class::PromptDesired, robot, &format!("prompt/{id}/desired"), Vec::new()).map(drop)
    }

    fn publish(&self, class: Class, robot: &str, below: &str, payload: Vec<u8>) -> Result<String, OperatorError> {
        let digest = payload_digest(&payload);
        let topic = format!("perceptd/v1/{}/{robot}/{below}", self.fleet);
        match self.connection.try_publish_as(class, topic, payload) {
            Ok(()) => Ok(digest),
            Err(why) => Err(self.refused(why)),
        }
    }

    fn subscribe(&self) -> Result<(), OperatorError> {
        self.connection.try_subscribe(&self.heard()).map_err(|why| self.refused(why))
    }

    /// What robots report.
    fn heard(&self) -> [Subscription; 2] {
        ["config/reported", "prompt/+/reported"].map(|below| Subscription {
            filter: format!("perceptd/v1/{}/+/{below}", self.fleet),
            retain_handling: RetainHandling::EveryConnect,
        })
    }

    fn refused(&self, why: String) -> OperatorError {
        OperatorError::Refused { broker: self.broker.clone(), why }
    }
}

/// A wish for a prompt; never without bytes, which would take it away.
fn prompt_payload(spec: Option<&PromptSpec>) -> Result<Vec<u8>, OperatorError> {
    let payload = spec.map_or_else(wire::prompt_removed, wire::prompt_desired);
    if payload.is_empty() { Err(OperatorError::NothingSaid) } else { Ok(payload) }
}

fn reported(arrived: &Arrived) -> Option<(String, Reported)> {
    let mut levels = arrived.topic.split('/').skip(3);
    let (robot, kind, id) = (levels.next()?, levels.next()?, levels.next()?);
    if arrived.payload.is_empty() {
        return (kind == "prompt").then(|| (robot.to_owned(), Reported::PromptGone(id.to_owned())));
    }
    match wire::hear(class_of(&arrived.topic)?, &arrived.payload).ok()? {
        Heard::ConfigReported(config) => Some((robot.to_owned(), Reported::Config(config))),
        Heard::PromptReported(prompt) => Some((robot.to_owned(), Reported::Prompt(prompt))),
        _ => None,
    }
}

/// The robots that a name or a pattern means, of those that were heard: `*` stands for any letters, `?` for one.
#[must_use]
pub fn matching<'a>(pattern: &str, robots: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    robots.into_iter().filter(|robot| is_match(pattern.as_bytes(), robot.as_bytes())).map(str::to_owned).collect()
}

fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([b'*', rest @ ..], _) => {
            is_match(rest, name) || name.split_first().is_some_and(|(_, left)| is_match(pattern, left))
        }
        ([b'?', rest @ ..], [_, left @ ..]) => is_match(rest, left),
        ([a, rest @ ..], [b, left @ ..]) => a == b && is_match(rest, left),
        ([], []) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prompt_is_taken_away_by_wishing_for_it() {
        for p_false in [None, Some(0.0)] {
            let refused = prompt_payload(Some(&PromptSpec { p_false, ..PromptSpec::default() }));
            assert!(matches!(refused, Err(OperatorError::NothingSaid)), "{refused:?}");
        }
        for spec in [None, Some(&PromptSpec { p_false: Some(0.1), ..PromptSpec::default() })] {
            assert!(!prompt_payload(spec).unwrap().is_empty());
        }
    }

    #[test]
    fn robots_are_named_by_patterns() {
        let robots = ["rover-1", "rover-22", "arm-1"];
        for (pattern, expected) in
            [("*", 3), ("rover-*", 2), ("rover-?", 1), ("*-1", 2), ("rover-1", 1), ("rover", 0), ("r*2*", 1)]
        {
            assert_eq!(matching(pattern, robots).len(), expected, "{pattern}");
        }
    }
}
