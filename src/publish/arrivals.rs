//! What arrives from the broker for this robot, as plain data, and which topics it asks for.
//!
//! Says nothing about what a message means: that is the inbox's work.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::pipe::{Closed, Received, Receiver, Sender, WhenFull, bounded};
use crate::time::MonoTime;

/// Messages that may wait for the inbox: all that a broker keeps for a robot comes at once, and that is a wish for each prompt of which
/// anything is told, one for the config, and as many commands again as a person sends.
const MOST_WAITING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(319);
/// Bytes of what waits: twice what all prompts of a robot may have.
const MOST_BYTES: usize = 32 << 20;
/// Replaced messages that are still to be answered, and their bytes.
pub(super) const MOST_REPLACED: usize = 32;
const MOST_REPLACED_BYTES: usize = 4 << 20;
/// What the broker keeps is asked for again at once, and then so much later each time.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// Topics of which it is known what was let in.
const MOST_KNOWN: usize = 4_096;
/// Emptied topics that are remembered until there is room, and their longest name: more than a robot has prompts and names are long.
const MOST_EMPTIED: usize = 256;
const LONGEST_EMPTIED: usize = 256;

/// Which retained messages a subscription asks for when it is made (MQTT 5's Retain Handling).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainHandling {
    /// On every connect: for state, such as `config/desired`.
    EveryConnect,
    /// Never: for commands.
    Never,
}

/// One topic filter, subscribed with QoS 1 and Retain-As-Published on every connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The topic filter.
    pub filter: String,
    /// Which retained messages it asks for.
    pub retain_handling: RetainHandling,
}

/// One message from the broker. What MQTT 3.1.1 cannot say is absent there: a command must carry it in its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Its topic.
    pub topic: String,
    /// Its payload; empty where a retained topic was cleared.
    pub payload: Vec<u8>,
    /// Whether it was published as retained (or, with MQTT 3.1.1, comes from the broker's memory).
    pub retained: bool,
    /// Whether the broker says that it may have sent it before.
    pub duplicate: bool,
    /// Where an answer is wanted.
    pub response_topic: Option<String>,
    /// What the answer must carry.
    pub correlation_data: Option<Vec<u8>>,
    /// What is left of its life.
    pub expiry: Option<Duration>,
}

impl Arrived {
    fn bytes(&self) -> usize {
        let beside = [self.response_topic.as_ref().map(String::len), self.correlation_data.as_ref().map(Vec::len)];
        self.topic.len() + self.payload.len() + beside.into_iter().flatten().sum::<usize>()
    }

    /// Whether the broker keeps it, so that it can be had again. MQTT 3.1.1 does not say so of what comes live, but the topic does.
    fn is_kept(&self) -> bool {
        self.topic.ends_with("/desired")
    }
}

/// Where messages arrive. A waiting retained message gives way to a newer one of its topic; while 320 messages or 32 MiB wait, what comes
/// goes. Both are counted ([`super::Publisher::arrivals_dropped`]); what went and the broker keeps is asked for again.
pub struct Arrivals {
    pipe: Receiver<Arrived>,
    load: Arc<Load>,
    replaced: Arc<Mutex<Vec<Arrived>>>,
}

impl Arrivals {
    /// Waits up to `timeout` for the next message.
    pub fn recv(&self, timeout: Duration) -> Received<Arrived> {
        let received = self.pipe.recv(timeout);
        if let Received::Item(arrived) = &received {
            self.load.less(arrived);
        }
        received
    }

    /// Those that gave way to newer ones of this topic, oldest first, as far as there was room for them: whoever sent them waits for an
    /// answer.
    pub fn replaced(&self, topic: &str) -> Vec<Arrived> {
        lock(&self.replaced).extract_if(.., |arrived| arrived.topic == topic).collect()
    }
}

fn lock(replaced: &Mutex<Vec<Arrived>>) -> MutexGuard<'_, Vec<Arrived>> {
    // Whole messages are put in and taken out: a panic leaves nothing half done.
    replaced.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What waits for the inbox.
#[derive(Default)]
struct Load {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Load {
    fn more(&self, arrived: &Arrived) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(arrived.bytes(), Ordering::Relaxed);
    }

    fn less(&self, arrived: &Arrived) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(arrived.bytes(), Ordering::Relaxed);
    }

    fn has_room_for(&self, arrived: &Arrived) -> bool {
        self.messages.load(Ordering::Relaxed) < MOST_WAITING.get()
            && self.bytes.load(Ordering::Relaxed) + arrived.bytes() <= MOST_BYTES
    }

    fn is_empty(&self) -> bool {
        self.messages.load(Ordering::Relaxed) == 0
    }
}

/// Where the client puts what comes. It never has to wait.
pub(super) struct Door {
    pipe: Sender<Arrived>,
    load: Arc<Load>,
    dropped: Arc<AtomicU64>,
    /// Whether something went that the broker keeps.
    has_lost: bool,
    /// Topics that were emptied while there was no room: the broker keeps nothing of that.
    emptied: BTreeSet<String>,
    known: Known,
    ask_at: MonoTime,
    backoff: Backoff,
}

/// The way from the client to the inbox.
pub(super) fn arrivals(dropped: Arc<AtomicU64>) -> (Door, Arrivals) {
    let load = Arc::new(Load::default());
    let (waiting, count, replaced) = (Arc::clone(&load), Arc::clone(&dropped), Arc::<Mutex<Vec<Arrived>>>::default());
    let owed = Arc::clone(&replaced);
    // None goes because the pipe is full: the door lets no more in than it has room for.
    let on_replaced = move |old: &Arrived| {
        waiting.less(old);
        count.fetch_add(1, Ordering::Relaxed);
        let mut owed = lock(&owed);
        let bytes = owed.iter().chain([old]).map(Arrived::bytes).sum::<usize>();
        if owed.len() < MOST_REPLACED && bytes <= MOST_REPLACED_BYTES {
            owed.push(old.clone());
        }
    };
    let (sender, pipe) = bounded(MOST_WAITING, WhenFull::Latest(is_newer_state), Box::new(on_replaced));
    let (ask_at, backoff) = (MonoTime::default(), Backoff::new(ASK_AGAIN.0, ASK_AGAIN.1, 0));
    let known = Known::default();
    let door = Door {
        pipe: sender,
        load: Arc::clone(&load),
        dropped,
        has_lost: false,
        emptied: BTreeSet::new(),
        known,
        ask_at,
        backoff,
    };
    (door, Arrivals { pipe, load, replaced })
}

impl Door {
    /// Lets a message in, if there is room.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub(super) fn take(&mut self, arrived: Arrived) -> Result<(), Closed<Arrived>> {
        if arrived.is_kept() && self.known.comes_again(&arrived) {
            return Ok(());
        }
        // Whatever comes now is newer.
        self.emptied.remove(&arrived.topic);
        if !self.load.has_room_for(&arrived) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.has_lost |= arrived.is_kept();
            self.remember_emptied(arrived);
            return Ok(());
        }
        self.load.more(&arrived);
        if arrived.is_kept() {
            self.known.insert(&arrived);
        }
        self.pipe.send(arrived)
    }

    /// A new connection: all that the broker keeps comes anyway.
    pub(super) fn connected(&mut self) {
        self.has_lost = false;
        self.known = Known::default();
        self.backoff.reset();
    }

    /// Whether what went is to be asked for now: what waited is done, and it is not too soon after the last time.
    pub(super) fn asks_again(&mut self, now: MonoTime) -> bool {
        if !self.has_lost || !self.load.is_empty() || now < self.ask_at {
            return false;
        }
        self.has_lost = false;
        self.known.asked += 1;
        self.ask_at = now + self.backoff.next_wait();
        for topic in std::mem::take(&mut self.emptied) {
            // Who does not listen any more loses nothing by it.
            drop(self.take(Arrived { topic, retained: true, ..Arrived::default() }));
        }
        true
    }

    fn remember_emptied(&mut self, arrived: Arrived) {
        let is_wanted = arrived.is_kept() && arrived.payload.is_empty() && arrived.topic.len() <= LONGEST_EMPTIED;
        if is_wanted && self.emptied.len() < MOST_EMPTIED {
            self.emptied.insert(arrived.topic);
        }
    }
}

/// What was let in of what the broker keeps. When it is asked again it sends all of it once more, and what was let in before must not
/// take the room of the rest.
#[derive(Default)]
struct Known {
    hashes: RandomState,
    /// By the topic's hash, for a topic may have 64 KiB: the last payload's hash, and after how many times of asking it came last.
    topics: HashMap<u64, (u64, u32)>,
    asked: u32,
}

impl Known {
    /// Whether this is what came before, and comes now because the broker was asked.
    fn comes_again(&mut self, arrived: &Arrived) -> bool {
        let Some((hash, came)) = self.topics.get_mut(&self.hashes.hash_one(&arrived.topic)) else { return false };
        // An emptied topic is not kept, so it does not come because of that.
        if *came == self.asked || arrived.payload.is_empty() || *hash != self.hashes.hash_one(&arrived.payload) {
            return false;
        }
        *came = self.asked;
        true
    }

    fn insert(&mut self, arrived: &Arrived) {
        let now = (self.hashes.hash_one(&arrived.payload), self.asked);
        let topic = self.hashes.hash_one(&arrived.topic);
        if self.topics.len() < MOST_KNOWN || self.topics.contains_key(&topic) {
            self.topics.insert(topic, now);
        }
    }
}

fn is_newer_state(waiting: &Arrived, new: &Arrived) -> bool {
    waiting.retained && new.retained && waiting.topic == new.topic
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(topic: &str, retained: bool, payload: u8) -> Arrived {
        Arrived { topic: topic.to_owned(), payload: vec![payload], retained, ..Arrived::default() }
    }

    fn door() -> (Door, Arrivals, Arc<AtomicU64>) {
        let dropped = Arc::new(AtomicU64::new(0));
        let (door, arrivals) = arrivals(Arc::clone(&dropped));
        (door, arrivals, dropped)
    }

    fn rest(arrivals: &Arrivals) -> Vec<(String, Vec<u8>)> {
        let next = || match arrivals.recv(Duration::ZERO) {
            Received::Item(item) => Some((item.topic, item.payload)),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    const LATER: MonoTime = MonoTime::from_nanos(1_000_000_000_000);

    #[test]
    fn what_a_broker_keeps_for_a_robot_waits_in_full() {
        let (mut door, arrivals, dropped) = door();
        for n in 0..256 {
            door.take(arrived(&format!("prompt/p{n}/desired"), true, 0)).unwrap();
        }
        for payload in 0..3 {
            door.take(arrived("config/desired", true, payload)).unwrap();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 2, "settings that were replaced");
        assert!(!door.asks_again(LATER), "nothing of them is lost");
        let replaced = arrivals.replaced("config/desired");
        assert_eq!(
            replaced.iter().map(|arrived| arrived.payload[0]).collect::<Vec<_>>(),
            [0, 1],
            "they are owed an answer"
        );
        assert!(arrivals.replaced("config/desired").is_empty() && arrivals.replaced("prompt/p1/desired").is_empty());
        let waited = rest(&arrivals);
        assert_eq!((waited.len(), waited.last().unwrap()), (257, &("config/desired".to_owned(), vec![2])));
        assert!(!door.asks_again(LATER));
    }

    #[test]
    fn what_is_emptied_in_a_flood_is_emptied_after_it_unless_it_is_filled_anew() {
        let (mut door, arrivals, _) = door();
        let empty = |topic: &str| Arrived { topic: topic.to_owned(), retained: true, ..Arrived::default() };
        (0..320).for_each(|_| door.take(arrived("cmd/a", false, 0)).unwrap());
        door.take(empty("prompt/a/desired")).unwrap();
        door.take(empty("prompt/b/desired")).unwrap();
        door.take(arrived("prompt/b/desired", true, 1)).unwrap();
        assert!(!door.asks_again(LATER), "there is no room yet");
        assert_eq!(rest(&arrivals).len(), 320);
        assert!(door.asks_again(LATER));
        assert_eq!(rest(&arrivals), [("prompt/a/desired".to_owned(), Vec::new())]);
    }

    #[test]
    fn a_flood_displaces_nothing_and_what_it_kept_out_is_asked_for_again() {
        let (mut door, arrivals, dropped) = door();
        door.take(arrived("config/desired", true, 1)).unwrap();
        for _ in 0..400 {
            door.take(arrived("cmd/a", false, 0)).unwrap();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 81);
        assert_eq!(rest(&arrivals).first(), Some(&("config/desired".to_owned(), vec![1])));
        assert!(!door.asks_again(LATER), "commands are not kept");

        for n in 0..400 {
            door.take(arrived(&format!("prompt/p{n}/desired"), false, 0)).unwrap();
        }
        assert!(!door.asks_again(LATER), "while others wait it would come too early");
        assert_eq!(rest(&arrivals).len(), 320);
        assert!(door.asks_again(LATER) && !door.asks_again(LATER), "once");
        let all = |door: &mut Door, payload| {
            (0..400).for_each(|n| door.take(arrived(&format!("prompt/p{n}/desired"), true, payload)).unwrap());
        };
        all(&mut door, 0);
        assert_eq!(rest(&arrivals).len(), 80, "those that had no room");
        assert!(!door.asks_again(LATER + ASK_AGAIN.0));
        door.take(arrived("prompt/p1/desired", true, 0)).unwrap();
        assert_eq!(rest(&arrivals).len(), 1, "who wishes the same again is answered");

        // A broker that keeps too much is not asked without end.
        let mut asked = 0;
        for secs in 0..3_600 {
            all(&mut door, u8::try_from(1 + secs % 250).unwrap());
            assert_eq!(rest(&arrivals).len(), 320);
            asked += u32::from(door.asks_again(LATER + Duration::from_secs(secs)));
        }
        assert!((10..30).contains(&asked), "{asked} times in an hour");
    }

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let (mut door, arrivals, dropped) = door();
        let large = |n: u8| Arrived { payload: vec![n; 1 << 20], ..arrived(&format!("prompt/p{n}/desired"), true, n) };
        for _ in 0..2 {
            (0..40).for_each(|n| door.take(large(n)).unwrap());
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 9 + 40);
        assert_eq!(rest(&arrivals).len(), 31);
        assert!(door.asks_again(LATER));
    }
}
