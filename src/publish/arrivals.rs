//! What arrives from the broker for this robot, as plain data, and which topics it asks for.
//!
//! Says nothing about what a message means: that is the inbox's work.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::pipe::{Receiver, Sender, WhenFull, bounded};

/// Messages that may wait for the inbox. None is larger than a packet may be, so this bounds the memory as well.
const WAITING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);

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

/// Where messages arrive. A waiting retained message gives way to a newer one of its topic; when all places are taken, the oldest
/// goes. Both are counted ([`super::Publisher::arrivals_dropped`]).
pub type Arrivals = Receiver<Arrived>;

/// The pipe from the client to the inbox, which never makes the client wait.
pub(super) fn arrivals(dropped: Arc<AtomicU64>) -> (Sender<Arrived>, Arrivals) {
    let count = move |_: &Arrived| {
        dropped.fetch_add(1, Ordering::Relaxed);
    };
    bounded(WAITING, WhenFull::Latest(is_newer_state), Box::new(count))
}

fn is_newer_state(waiting: &Arrived, new: &Arrived) -> bool {
    waiting.retained && new.retained && waiting.topic == new.topic
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipe::Received;

    fn arrived(topic: &str, retained: bool, payload: u8) -> Arrived {
        Arrived { topic: topic.to_owned(), payload: vec![payload], retained, ..Arrived::default() }
    }

    #[test]
    fn a_flood_drops_the_oldest_and_state_keeps_its_newest() {
        let dropped = Arc::new(AtomicU64::new(0));
        let (sender, receiver) = arrivals(Arc::clone(&dropped));
        for payload in 0..40 {
            sender.send(arrived("cmd/a", false, payload)).unwrap();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 8);
        for payload in 0..3 {
            sender.send(arrived("config/desired", true, payload)).unwrap();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 11, "one command, and two settings that were replaced");
        let mut last = None;
        while let Received::Item(item) = receiver.recv(Duration::ZERO) {
            last = Some((item.topic, item.payload));
        }
        assert_eq!(last, Some(("config/desired".to_owned(), vec![2])));
    }
}
