//! One message after another: what is taken, what is refused, and that nothing of it grows.

use super::*;
use crate::modality::Modality;
use crate::prompts::{Part, PartSource};
use crate::publish::operator::{Ingredient, PromptSpec};
use crate::publish::wire::{self, commands};

const ROOT: &str = "perceptd/v1/fleet/robot/";
const NOW: i64 = 1_700_000_000_000_000_000;
const SNAPSHOT: CommandBody = CommandBody::Snapshot { without_thumbnails: true };

fn inbox() -> Inbox {
    Inbox::new(ROOT)
}

fn arrived(topic: &str, payload: Vec<u8>) -> Arrived {
    Arrived { topic: format!("{ROOT}{topic}"), payload, ..Arrived::default() }
}

fn command(id: &str) -> Arrived {
    Arrived {
        response_topic: Some(format!("{ROOT}reply/me")),
        correlation_data: Some(vec![7]),
        expiry: Some(Duration::from_secs(10)),
        ..arrived("cmd/snapshot", commands::command(id, Some(SNAPSHOT), 0))
    }
}

fn reason(pushed: Result<Option<Asked>, Refused>) -> RefusalReason {
    pushed.unwrap_err().reason
}

#[test]
fn wishes_and_commands_are_read() {
    let mut inbox = inbox();
    let config = wire::config_desired(3, 2, false, "{}".to_owned());
    let Ok(Some(Asked::Config(wish))) = inbox.push(arrived("config/desired", config.clone()), NOW) else { panic!() };
    assert_eq!((wish.generation, wish.base, wish.is_whole, wish.json.as_str()), (3, 2, false, "{}"));
    assert_eq!(wish.digest, payload_digest(&config));
    let spec = PromptSpec {
        parts: vec![(Ingredient::Text("dog".to_owned()), 1.0), (Ingredient::Audio(vec![1, 2]), 0.5)],
        negatives: vec![Ingredient::Image(vec![3])],
        senses: vec![Modality::Image],
        p_false: Some(0.25),
    };
    let prompt = arrived("prompt/dog/desired", wire::prompt_desired(&spec));
    let Ok(Some(Asked::Prompt(wish))) = inbox.push(prompt, NOW) else { panic!() };
    let expected = PromptContent::Made {
        parts: vec![
            Part { source: PartSource::Text("dog".to_owned()), weight: 1.0 },
            Part { source: PartSource::AudioBytes([1, 2].into()), weight: 0.5 },
        ],
        negatives: vec![PartSource::ImageBytes([3].into())],
        senses: vec![Modality::Image],
        p_false: Some(0.25),
        is_disabled: false,
    };
    assert_eq!((&*wish.id, wish.content), ("dog", expected));
    for removed in [Vec::new(), wire::prompt_removed()] {
        let Ok(Some(Asked::Prompt(wish))) = inbox.push(arrived("prompt/dog/desired", removed), NOW) else { panic!() };
        assert_eq!(wish.content, PromptContent::Removed);
    }
    let Ok(Some(Asked::Command(taken))) = inbox.push(command("a"), NOW) else { panic!() };
    assert_eq!((taken.body, taken.reply_to.correlation_data), (SNAPSHOT, vec![7]));
    assert_eq!(inbox.push(arrived("config/desired", Vec::new()), NOW), Ok(None), "a retained topic was emptied");
}

#[test]
fn without_properties_the_payload_says_it_all() {
    let payload = commands::command("a", Some(SNAPSHOT), NOW + 5_000_000_000);
    let payload = commands::with_reply_topic(&payload, &format!("{ROOT}reply/me/1"), &[9]);
    let Ok(Some(Asked::Command(taken))) = inbox().push(arrived("cmd/snapshot", payload), NOW) else { panic!() };
    assert_eq!(taken.reply_to.topic, format!("{ROOT}reply/me/1"));
    assert_eq!((taken.reply_to.correlation_data, taken.reply_to.id.as_str()), (vec![9], "a"));
}

#[test]
fn a_command_is_refused_when_retained_expired_replayed_or_timeless() {
    let mut inbox = inbox();
    let retained = Arrived { retained: true, ..command("a") };
    assert_eq!(reason(inbox.push(retained, NOW)), RefusalReason::Retained);
    for expiry in [None, Some(Duration::from_secs(3601))] {
        assert_eq!(reason(inbox.push(Arrived { expiry, ..command("a") }, NOW)), RefusalReason::NoExpiry);
    }
    let expired = Arrived { expiry: Some(Duration::ZERO), ..command("a") };
    assert_eq!(reason(inbox.push(expired, NOW)), RefusalReason::Expired);
    let late = commands::command("a", Some(SNAPSHOT), NOW);
    assert_eq!(reason(inbox.push(Arrived { payload: late, ..command("a") }, NOW)), RefusalReason::Expired);
    assert!(inbox.push(command("a"), NOW).is_ok(), "what was refused was not done");
    let replayed = inbox.push(command("a"), NOW).unwrap_err();
    assert_eq!(replayed.reason, RefusalReason::Replayed);
    assert!(matches!(replayed.about, About::Command(Some(_))), "the asker is told");
}

#[test]
fn a_command_that_the_broker_sends_again_is_done_and_answered_once() {
    let mut inbox = inbox();
    let again = |id: &str| Arrived { duplicate: true, ..command(id) };
    assert!(inbox.push(command("a"), NOW).is_ok());
    let refused = inbox.push(again("a"), NOW).unwrap_err();
    assert_eq!((refused.reason, refused.about), (RefusalReason::Redelivered, About::Nothing), "nobody is told");
    assert_eq!(reason(inbox.push(command("a"), NOW)), RefusalReason::Replayed, "a stranger's is another matter");
    assert!(inbox.push(again("b"), NOW).is_ok(), "the first one did not get through");
}

#[test]
fn a_command_of_the_run_before_is_not_done_again() {
    let mut before = inbox();
    let in_payload = commands::command("b", Some(SNAPSHOT), NOW + 50_000_000_000);
    let both = Arrived { payload: in_payload, ..command("b") };
    let until = [command("a"), both].map(|arrived| match before.push(arrived, NOW) {
        Ok(Some(Asked::Command(command))) => command.valid_until_unix_nanos - NOW,
        other => panic!("{other:?}"),
    });
    assert_eq!(until, [10_000_000_000, 50_000_000_000], "the later of the two");
    let mut after = inbox();
    after.remember(["a".to_owned()]);
    assert_eq!(reason(after.push(command("a"), NOW + 1)), RefusalReason::Replayed);
    assert!(after.push(command("c"), NOW + 1).is_ok());
}

#[test]
fn answers_go_below_the_robots_own_reply_topic_alone() {
    let mut inbox = inbox();
    for foreign in [
        "",
        "perceptd/v1/fleet/other/reply/me",
        "perceptd/v1/fleet/robot/status",
        "perceptd/v1/fleet/robot/reply/",
        "perceptd/v1/fleet/robot/reply/a/b/c/d",
        "perceptd/v1/fleet/robot/reply/+",
        "perceptd/v1/fleet/robot/reply/#",
        "perceptd/v1/fleet/robot/reply/../status",
        "$SYS/x",
    ] {
        let refused =
            inbox.push(Arrived { response_topic: Some(foreign.to_owned()), ..command("a") }, NOW).unwrap_err();
        assert_eq!((refused.reason, refused.about), (RefusalReason::NoReplyTopic, About::Command(None)), "{foreign}");
    }
}

#[test]
fn a_poison_message_is_known_again_on_its_topic() {
    let mut inbox = inbox();
    for (topic, about) in [
        ("config/desired", About::Config),
        ("prompt/dog/desired", About::Prompt("dog".into())),
        ("cmd/snapshot", About::Command(None)),
    ] {
        let poison = arrived(topic, vec![0x7f]);
        let digest = payload_digest(&poison.payload);
        let refused = inbox.push(poison.clone(), NOW).unwrap_err();
        assert_eq!((refused.reason, &refused.about, &*refused.digest), (RefusalReason::Malformed, &about, &*digest));
        let again = inbox.push(poison, NOW).unwrap_err();
        let about = if matches!(about, About::Command(_)) { About::Nothing } else { about };
        let is_config = about == About::Config;
        assert_eq!((again.reason, again.about, &*again.digest), (RefusalReason::Poison, about, &*digest));
        assert!(!is_config || again.what == refused.what, "a config is told again what is wrong: {}", again.what);
    }
    let other = Arrived { topic: format!("{ROOT}cmd/resend"), ..command("b") };
    assert_eq!(reason(inbox.push(other, NOW)), RefusalReason::Malformed, "the topic and the body disagree");
}

#[test]
fn what_is_too_large_or_elsewhere_is_refused() {
    let mut inbox = inbox();
    for (topic, most) in [
        ("config/desired", MAX_CONFIG_BYTES),
        ("prompt/dog/desired", MAX_PROMPT_BYTES),
        ("cmd/snapshot", MAX_COMMAND_BYTES),
    ] {
        let refused = inbox.push(arrived(topic, vec![0; most + 1]), NOW).unwrap_err();
        assert_eq!((refused.reason, &*refused.digest), (RefusalReason::TooLarge, &*payload_digest(&vec![0; most + 1])));
    }
    for topic in ["cmd/reboot", "cmd/snapshot/x", "prompt/Dog/desired", "prompt/dog", "config", "", "status"] {
        assert_eq!(reason(inbox.push(arrived(topic, vec![1]), NOW)), RefusalReason::UnknownTopic, "{topic}");
    }
    let elsewhere = Arrived { topic: "perceptd/v1/fleet/other/cmd/snapshot".to_owned(), ..command("a") };
    assert_eq!(reason(inbox.push(elsewhere, NOW)), RefusalReason::UnknownTopic);
}

#[test]
fn who_asks_for_a_command_of_another_version_is_told() {
    let mut inbox = inbox();
    let reply_to = |refused: &Refused| match &refused.about {
        About::Command(Some(to)) => (to.topic.clone(), to.correlation_data.clone(), to.id.clone()),
        about => panic!("{about:?}"),
    };
    let expected = (format!("{ROOT}reply/me"), vec![7], "a".to_owned());
    let other = Arrived { topic: format!("{ROOT}cmd/reboot"), ..command("a") };
    let refused = inbox.push(other.clone(), NOW).unwrap_err();
    assert_eq!((refused.reason, reply_to(&refused)), (RefusalReason::UnknownTopic, expected.clone()));
    assert!(refused.what.contains("`reboot`") && refused.what.contains("snapshot, record"), "{}", refused.what);
    let nowhere = Arrived { response_topic: None, ..other };
    assert_eq!(inbox.push(nowhere, NOW).unwrap_err().about, About::Nothing, "and acts on no topic but the robot's own");
    // A command of a known name with a body of tomorrow, which is none today.
    let bodiless = Arrived { payload: commands::command("a", None, 0), ..command("a") };
    let refused = inbox.push(bodiless, NOW).unwrap_err();
    assert_eq!((refused.reason, reply_to(&refused)), (RefusalReason::Malformed, expected));
    assert!(inbox.push(command("a"), NOW).is_ok(), "no id is spent on what is not done");
}

#[test]
fn a_flood_of_noise_is_refused_and_remembered_within_bounds() {
    let mut inbox = inbox();
    let mut random = fastrand::Rng::with_seed(4);
    let topics =
        ["config/desired", "prompt/dog/desired", "prompt/x/desired", "cmd/snapshot", "cmd/record", "cmd/resend"];
    let mut taken = 0;
    for _ in 0..20_000 {
        let mut payload = match random.u8(..4) {
            0 => wire::config_desired(random.u64(..), random.u64(..), random.bool(), "{\"a\":1}".to_owned()),
            1 => commands::command("id", Some(SNAPSHOT), NOW),
            2 => wire::prompt_removed(),
            _ => Vec::new(),
        };
        for _ in 0..random.usize(1..8) {
            payload.insert(random.usize(..=payload.len()), random.u8(..));
        }
        let retained = random.bool();
        let message = Arrived { retained, ..arrived(topics[random.usize(..topics.len())], payload) };
        taken += u32::from(inbox.push(message, NOW).is_ok());
    }
    assert!(taken < 20_000);
    assert!(inbox.poisons.len() <= POISONS_REMEMBERED && inbox.ids.len() <= IDS_REMEMBERED);
}
