//! What comes in by topic: wishes for the config and for prompts, and commands; or why a message is refused.
//!
//! Pure: a message and the time go in, what it asks for comes out. It acts on nothing and answers nothing; the daemon does. What it
//! remembers is bounded: ids of commands, so that none is done twice, and digests of messages that could not be read, so that a poison
//! message that the broker keeps is told once and then passed over.

mod asked;
mod recent;
#[cfg(test)]
mod tests;

use std::time::Duration;

use sha2::{Digest, Sha256};

pub use self::asked::{
    About, Asked, Command, CommandBody, ConfigWish, PromptContent, PromptWish, RefusalReason, Refused, ReplyTo,
};
use self::recent::Recent;
use super::arrivals::{Arrived, RetainHandling, Subscription};
use super::client::MAX_PACKET_BYTES;
use super::wire;
use crate::modality::is_name;
use crate::prompts::PromptId;

/// Largest payload of `config/desired`: its JSON and some room for the rest.
pub const MAX_CONFIG_BYTES: usize = 65_536 + 1_024;
/// Largest payload of `prompt/<id>/desired`: what fits into a packet with its topic and properties.
pub const MAX_PROMPT_BYTES: usize = MAX_PACKET_BYTES as usize - 4_096;
/// Highest generation of a wish for the config: beyond it, one wish could leave no room for any other.
pub const MAX_GENERATION: u64 = 1 << 53;
/// Largest payload of a command.
pub const MAX_COMMAND_BYTES: usize = 4_096;
/// Longest correlation data that is given back.
const MAX_CORRELATION_BYTES: usize = 256;
/// Most ingredients of a prompt, and most negatives.
pub const MAX_PARTS: usize = 16;
/// Commands whose ids are remembered; beyond that the oldest is forgotten.
const IDS_REMEMBERED: usize = 4_096;
/// Unreadable messages that are remembered.
const POISONS_REMEMBERED: usize = 256;
/// A command may not be valid for longer.
pub const LONGEST_EXPIRY_SECS: u32 = 3_600;

/// Sorts what comes in.
pub struct Inbox {
    /// `perceptd/v1/<fleet>/<robot>/`.
    root: String,
    ids: Recent,
    poisons: Recent,
}

impl Inbox {
    /// For the topics below `root`, which ends with a slash.
    #[must_use]
    pub fn new(root: &str) -> Self {
        Self { root: root.to_owned(), ids: Recent::new(IDS_REMEMBERED), poisons: Recent::new(POISONS_REMEMBERED) }
    }

    /// Commands that came before this start, oldest first: none of them is done again.
    pub fn remember(&mut self, ids: impl IntoIterator<Item = String>) {
        for id in ids {
            self.ids.insert(&id);
        }
    }

    /// Takes one message at `unix_nanos`, the wall clock; none for one that asks for nothing, as a retained topic that was emptied.
    ///
    /// # Errors
    /// When the message is not to be acted on.
    pub fn push(&mut self, arrived: Arrived, unix_nanos: i64) -> Result<Option<Asked>, Refused> {
        let levels: Vec<&str> = arrived.topic.strip_prefix(&self.root).unwrap_or_default().split('/').collect();
        match *levels.as_slice() {
            ["config", "desired"] if arrived.payload.is_empty() => Ok(None),
            ["config", "desired"] => self.config(&arrived).map(Asked::Config).map(Some),
            ["prompt", id, "desired"] if is_name(id) => {
                let id = PromptId::from(id);
                self.prompt(id, arrived).map(Asked::Prompt).map(Some)
            }
            ["cmd", name] if COMMANDS.contains(&name) => {
                let name = name.to_owned();
                self.command(&name, &arrived, unix_nanos).map(Asked::Command).map(Some)
            }
            ["cmd", name] => Err(self.no_such_command(name, &arrived)),
            _ => {
                let what = format!("perceptd listens to no topic `{}`", short(&arrived.topic));
                Err(Refused::new(About::Nothing, RefusalReason::UnknownTopic, what))
            }
        }
    }

    fn config(&mut self, arrived: &Arrived) -> Result<ConfigWish, Refused> {
        let digest = self.digest_of(arrived, &About::Config, MAX_CONFIG_BYTES).map_err(|refused| {
            // A config is small: what is wrong with it is found anew.
            let is_again = refused.reason == RefusalReason::Poison;
            let what = is_again.then(|| wire::config_wish(&arrived.payload, &refused.digest).err()).flatten();
            Refused { what: what.unwrap_or(refused.what), ..refused }
        })?;
        wire::config_wish(&arrived.payload, &digest).map_err(|what| self.poison(arrived, About::Config, &digest, what))
    }

    fn prompt(&mut self, id: PromptId, arrived: Arrived) -> Result<PromptWish, Refused> {
        let about = About::Prompt(id.clone());
        let digest = self.digest_of(&arrived, &about, MAX_PROMPT_BYTES)?;
        match prompt_content(&arrived.payload) {
            Ok(content) => Ok(PromptWish { id, content, digest, payload: arrived.payload }),
            Err(what) => Err(self.poison(&arrived, about, &digest, what)),
        }
    }

    fn command(&mut self, name: &str, arrived: &Arrived, unix_nanos: i64) -> Result<Command, Refused> {
        let digest = self.digest_of(arrived, &About::Command(None), MAX_COMMAND_BYTES)?;
        let asked = wire::command(&arrived.payload)
            .map_err(|what| self.poison(arrived, About::Command(None), &digest, what))?;
        let reply_to = self.reply_to(arrived, &asked);
        let about = About::Command(reply_to.clone().ok());
        let refuse = |reason, what: &str| Err(Refused::new(about.clone(), reason, what));
        if arrived.retained {
            return refuse(RefusalReason::Retained, "commands must not be retained: publish it anew without the flag");
        }
        if !(1..=64).contains(&asked.id.len()) {
            return Err(self.poison(arrived, about, &digest, "`id` must have 1 to 64 characters".to_owned()));
        }
        let body = asked.body.clone().map_err(|what| self.poison(arrived, about.clone(), &digest, what))?;
        if body.name() != name {
            let what = format!("the body is of cmd/{}, but the topic is cmd/{name}", body.name());
            return Err(self.poison(arrived, about, &digest, what));
        }
        let valid_until_unix_nanos = check_expiry(arrived.expiry, asked.expires_at_unix_nanos, unix_nanos)
            .map_err(|(reason, what)| Refused::new(about.clone(), reason, what))?;
        let reply_to =
            reply_to.map_err(|what| Refused::new(About::Command(None), RefusalReason::NoReplyTopic, what))?;
        if !self.ids.insert(&asked.id) {
            if arrived.duplicate {
                // It is being done, or was, and answered as the one that it is.
                let what = "the broker sent a command twice, and it is done once";
                return Err(Refused::new(About::Nothing, RefusalReason::Redelivered, what));
            }
            return refuse(RefusalReason::Replayed, "a command with this id came before: give each its own");
        }
        Ok(Command { body, reply_to, valid_until_unix_nanos })
    }

    /// One of another version of perceptd, perhaps: who asks is told, where the rest of the command can be read.
    fn no_such_command(&self, name: &str, arrived: &Arrived) -> Refused {
        let asked =
            (arrived.payload.len() <= MAX_COMMAND_BYTES).then(|| wire::command(&arrived.payload).ok()).flatten();
        let reply_to = asked.and_then(|asked| self.reply_to(arrived, &asked).ok());
        let about = reply_to.map_or(About::Nothing, |to| About::Command(Some(to)));
        let what = format!("there is no command `{}`: this perceptd knows {}", short(name), COMMANDS.join(", "));
        Refused::new(about, RefusalReason::UnknownTopic, what)
    }

    /// Where the answer may go: below `reply/` of this robot, so that no command makes it speak in another's name or on its own topics.
    fn reply_to(&self, arrived: &Arrived, asked: &AskedCommand) -> Result<ReplyTo, String> {
        let topic = arrived.response_topic.as_deref().filter(|topic| !topic.is_empty()).unwrap_or(&asked.reply_topic);
        let own = format!("{}reply/", self.root);
        let allowed = |below: &str| {
            let levels: Vec<&str> = below.split('/').collect();
            levels.len() <= 3 && levels.iter().all(|level| is_reply_level(level))
        };
        if topic.is_empty() {
            return Err(format!("no response topic: give one below `{own}`"));
        }
        if !topic.strip_prefix(&own).is_some_and(allowed) {
            return Err(format!(
                "the response topic `{}` is not allowed: give one below `{own}`, of 1 to 3 levels of a-z, A-Z, 0-9, `_`, `-`",
                short(topic)
            ));
        }
        let correlation_data = arrived.correlation_data.as_ref().unwrap_or(&asked.correlation_data).clone();
        if correlation_data.len() > MAX_CORRELATION_BYTES {
            return Err(format!("the correlation data has more than {MAX_CORRELATION_BYTES} bytes"));
        }
        Ok(ReplyTo { topic: topic.to_owned(), correlation_data, id: short(&asked.id) })
    }

    /// The payload's digest, unless it is too large or known to be unreadable.
    fn digest_of(&mut self, arrived: &Arrived, about: &About, most_bytes: usize) -> Result<String, Refused> {
        let digest = payload_digest(&arrived.payload);
        let bytes = arrived.payload.len();
        if bytes > most_bytes {
            let what = format!("{bytes} bytes, at most {most_bytes} are taken");
            return Err(Refused::new(about.clone(), RefusalReason::TooLarge, what).of(&digest));
        }
        if self.poisons.contains(&poison_key(&arrived.topic, &digest)) {
            // Who asks the same again is answered again; a command that cannot be read has nowhere to be answered.
            let about = if matches!(about, About::Command(_)) { &About::Nothing } else { about };
            let refused = Refused::new(about.clone(), RefusalReason::Poison, "an unreadable message came again");
            return Err(refused.of(&digest));
        }
        Ok(digest)
    }

    fn poison(&mut self, arrived: &Arrived, about: About, digest: &str, what: impl Into<String>) -> Refused {
        self.poisons.insert(&poison_key(&arrived.topic, digest));
        Refused::new(about, RefusalReason::Malformed, what).of(digest)
    }
}

/// The same bytes on another topic are another message, with an answer of its own.
fn poison_key(topic: &str, digest: &str) -> String {
    format!("{digest} {topic}")
}

/// The content of a prompt's payload, as it came or as it was kept.
///
/// # Errors
/// What is wrong with it.
pub fn prompt_content(payload: &[u8]) -> Result<PromptContent, String> {
    if payload.is_empty() { Ok(PromptContent::Removed) } else { wire::prompt_content(payload) }
}

/// SHA-256 in lower-case hexadecimal, as reports tell it.
#[must_use]
pub fn payload_digest(payload: &[u8]) -> String {
    hex(&Sha256::digest(payload))
}

/// The names of the commands, as their topics have them.
pub(super) const COMMANDS: [&str; 4] = ["snapshot", "record", "restart-sensor", "resend"];

/// A command as its payload says it.
pub(super) struct AskedCommand {
    pub(super) id: String,
    /// `Err` says what is wrong with the body.
    pub(super) body: Result<CommandBody, String>,
    /// 0: not said.
    pub(super) expires_at_unix_nanos: i64,
    /// Empty: not said.
    pub(super) reply_topic: String,
    pub(super) correlation_data: Vec<u8>,
}

/// Until when a command is valid: the later of what the packet and the payload say, for the packet's can be said anew.
fn check_expiry(packet: Option<Duration>, at_unix_nanos: i64, now: i64) -> Result<i64, (RefusalReason, String)> {
    let (longest_secs, longest) = (LONGEST_EXPIRY_SECS, i64::from(LONGEST_EXPIRY_SECS) * 1_000_000_000);
    let left = (at_unix_nanos != 0).then(|| at_unix_nanos.saturating_sub(now));
    let packet_left = packet.map(|left| i64::try_from(left.as_nanos()).unwrap_or(i64::MAX));
    if left.or(packet_left).is_none() {
        let what = "no expiry: set the message expiry, or `expires_at_unix_nanos`".to_owned();
        return Err((RefusalReason::NoExpiry, what));
    }
    for left in [left, packet_left].into_iter().flatten() {
        if left <= 0 {
            return Err((RefusalReason::Expired, "it came after its expiry; see that the clocks agree".to_owned()));
        }
        if left > longest {
            return Err((RefusalReason::NoExpiry, format!("valid for more than {longest_secs} s: say less")));
        }
    }
    Ok(now.saturating_add(left.max(packet_left).unwrap_or(0)))
}

fn is_reply_level(level: &str) -> bool {
    (1..=64).contains(&level.len()) && level.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The beginning of what someone sent, for messages to people.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// What perceptd subscribes to below `root`: first state that the broker keeps, then commands, of which it never keeps one.
#[must_use]
pub fn subscriptions(root: &str) -> Vec<Subscription> {
    let wanted = [
        ("config/desired", RetainHandling::EveryConnect),
        ("prompt/+/desired", RetainHandling::EveryConnect),
        ("cmd/+", RetainHandling::Never),
    ];
    wanted.map(|(filter, retain_handling)| Subscription { filter: format!("{root}{filter}"), retain_handling }).into()
}
