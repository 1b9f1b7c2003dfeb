use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NOW: MonoTime = MonoTime::from_nanos(0);

fn limits(max_records: usize, max_bytes: usize) -> OutboxLimits {
    OutboxLimits { max_records, max_bytes, ..OutboxLimits::default() }
}

fn record(event: u128, seq: u64, bytes: usize) -> Record {
    Record {
        event: Uuid::from_u128(event),
        sensor: SensorId::new("mic").unwrap(),
        topic: "t".to_owned(),
        boot_id: "boot".into(),
        seq,
        accepted_at: (NOW, 0),
        payload: vec![0; bytes],
    }
}

fn accept(outbox: &mut Outbox, record: Record) -> RecordId {
    outbox.accept(record, Openness::Open)
}

fn offered_seq(outbox: &mut Outbox, now: MonoTime) -> Option<(RecordId, u64)> {
    outbox.offer(now).map(|(id, record)| (id, record.seq))
}

fn at(secs: i64) -> MonoTime {
    MonoTime::from_nanos(secs * 1_000_000_000)
}

#[test]
fn a_record_waits_only_behind_its_own_event() {
    let mut outbox = Outbox::new(limits(10, 1000));
    for (event, seq) in [(1, 0), (1, 1), (2, 2)] {
        accept(&mut outbox, record(event, seq, 1));
    }
    let (first, seq) = offered_seq(&mut outbox, NOW).unwrap();
    assert_eq!(seq, 0);
    assert_eq!(offered_seq(&mut outbox, NOW).unwrap().1, 2);
    assert_eq!(offered_seq(&mut outbox, NOW), None);
    outbox.settle(first, Outcome::Delivered, NOW);
    assert_eq!(offered_seq(&mut outbox, NOW).unwrap().1, 1);
}

#[test]
fn live_records_go_before_the_backlog() {
    let mut outbox = Outbox::new(limits(10, 1000));
    accept(&mut outbox, record(1, 0, 1));
    accept(&mut outbox, record(2, 1, 1));
    outbox.connected(NOW);
    accept(&mut outbox, record(3, 2, 1));
    let order: Vec<u64> = std::iter::from_fn(|| offered_seq(&mut outbox, NOW).map(|(_, seq)| seq)).collect();
    assert_eq!(order, [2, 0, 1]);
}

#[test]
fn without_a_subscriber_it_is_offered_again_and_then_counted() {
    let mut outbox = Outbox::new(limits(10, 1000));
    accept(&mut outbox, record(1, 0, 1));
    let mut offers = 0;
    for second in 0..=70 {
        if let Some((id, _)) = offered_seq(&mut outbox, at(second)) {
            offers += 1;
            outbox.settle(id, Outcome::Unclaimed, at(second));
        }
    }
    assert_eq!(offers, 61);
    assert_eq!((outbox.len(), outbox.counts().unclaimed, outbox.counts().delivered), (0, 1, 0));
}

#[test]
fn on_a_young_connection_it_rests_for_less() {
    let mut outbox = Outbox::new(limits(10, 1000));
    outbox.connected(at(5));
    accept(&mut outbox, record(1, 0, 1));
    let (mut now, mut rests) = (at(5), Vec::new());
    while now < at(12) {
        let (id, _) = offered_seq(&mut outbox, now).unwrap();
        outbox.settle(id, Outcome::Unclaimed, now);
        let due = outbox.next_due().unwrap();
        rests.push(due.nanos_since(now) / 1_000_000);
        now = due;
    }
    assert!(rests.starts_with(&[100, 100, 100, 100, 100, 125, 156]) && rests.ends_with(&[1_000, 1_000]), "{rests:?}");
    assert_eq!(rests.len(), 18, "not four times as many for a minute");
}

#[test]
fn an_event_of_many_messages_is_not_offered_for_longer_than_one_of_one() {
    let mut outbox = Outbox::new(limits(10, 1000));
    for seq in 0..5 {
        accept(&mut outbox, record(1, seq, 1));
    }
    let mut left = Vec::new();
    for second in 0..=120 {
        if second == 50 {
            accept(&mut outbox, Record { accepted_at: (at(second), 0), ..record(1, 5, 1) });
        }
        while let Some((id, _)) = offered_seq(&mut outbox, at(second)) {
            outbox.settle(id, Outcome::Unclaimed, at(second));
        }
        assert_eq!(outbox.untried(), 0, "a stop does not wait for those behind it either");
        left.push(outbox.len());
    }
    assert_eq!([left[49], left[59], left[60], left[109], left[110]], [5, 6, 1, 1, 0], "each has its own minute");
    assert_eq!(outbox.counts().unclaimed, 6);
}

#[test]
fn a_subscriber_that_comes_back_in_time_gets_it() {
    let mut outbox = Outbox::new(limits(10, 1000));
    accept(&mut outbox, record(1, 0, 1));
    let (id, _) = offered_seq(&mut outbox, at(0)).unwrap();
    outbox.settle(id, Outcome::Unclaimed, at(0));
    assert_eq!(outbox.next_due(), Some(at(1)));
    assert_eq!((offered_seq(&mut outbox, NOW), outbox.untried(), outbox.unclaimed()), (None, 0, 1));
    let (again, _) = offered_seq(&mut outbox, at(1)).unwrap();
    outbox.settle(again, Outcome::Delivered, at(1));
    assert_eq!((id, outbox.counts().delivered, outbox.is_empty()), (again, 1, true));
    assert_eq!(outbox.unclaimed(), 0);
}

#[test]
fn that_nobody_subscribes_holds_for_the_connection_on_which_it_was_said() {
    let mut outbox = Outbox::new(limits(10, 1000));
    outbox.connected(NOW);
    for (event, seq) in [(1, 0), (1, 1), (2, 2)] {
        accept(&mut outbox, record(event, seq, 1));
    }
    let (first, _) = offered_seq(&mut outbox, NOW).unwrap();
    outbox.settle(first, Outcome::Unclaimed, NOW);
    assert_eq!((outbox.unclaimed(), outbox.len()), (2, 3), "it and the one behind it, and not another event");
    outbox.connected(at(1));
    assert_eq!(outbox.unclaimed(), 0, "the next broker has not been asked");
    let asked: Vec<_> = std::iter::from_fn(|| outbox.offer(at(1))).map(|(id, _)| id).collect();
    assert!(asked.contains(&first), "{asked:?}");
    outbox.settle(first, Outcome::Unclaimed, at(1));
    assert_eq!(outbox.unclaimed(), 2);
}

#[test]
fn the_oldest_that_is_not_on_its_way_is_dropped() {
    let mut outbox = Outbox::new(limits(2, 1000));
    accept(&mut outbox, record(1, 0, 1));
    offered_seq(&mut outbox, NOW).unwrap();
    accept(&mut outbox, record(2, 1, 1));
    accept(&mut outbox, record(3, 2, 1));
    assert_eq!(outbox.take_dropped().len(), 1);
    assert_eq!((outbox.counts().dropped, outbox.len(), outbox.offered()), (1, 2, 1));
    accept(&mut outbox, record(4, 3, 1001));
    assert_eq!(outbox.take_dropped().len(), 1, "no room would do for it");
    assert_eq!((outbox.counts().dropped, outbox.len()), (2, 2));
    assert_eq!(offered_seq(&mut outbox, NOW).unwrap().1, 2, "the second was dropped");
}

#[test]
fn what_waited_too_long_is_dropped() {
    let mut outbox = Outbox::new(OutboxLimits { max_age: Duration::from_secs(100), ..OutboxLimits::default() });
    for (seq, secs) in [(0, 0), (1, 50), (2, 101)] {
        accept(&mut outbox, Record { accepted_at: (at(secs), 0), ..record(seq.into(), seq, 1) });
    }
    assert_eq!((outbox.counts().dropped, outbox.len()), (1, 2));
    outbox.connected(at(151));
    assert_eq!((outbox.counts().dropped, outbox.len()), (2, 1));
}

#[test]
fn what_was_acknowledged_just_before_the_connection_broke_is_offered_again_in_its_order() {
    let mut outbox = Outbox::new(limits(10, 1000));
    for seq in 0..4 {
        accept(&mut outbox, record(1, seq, 1));
    }
    for millis in [500, 2_600, 3_000] {
        let time = MonoTime::from_nanos(millis * 1_000_000);
        let (id, _) = offered_seq(&mut outbox, time).unwrap();
        outbox.settle(id, Outcome::Delivered, time);
    }
    outbox.connected(at(4));
    assert_eq!((outbox.len(), outbox.again(), outbox.counts().again), (3, 2, 2));
    let mut order = Vec::new();
    while let Some((id, seq)) = offered_seq(&mut outbox, at(4)) {
        order.push(seq);
        outbox.settle(id, Outcome::Delivered, at(4));
    }
    assert_eq!(order, [1, 2, 3], "not the first, which was acknowledged long before");
    assert_eq!((outbox.counts().delivered, outbox.len(), outbox.bytes()), (4, 0, 0));
}

#[test]
fn a_repeat_is_repeated_but_not_for_ever() {
    let mut outbox = Outbox::new(limits(10, 1000));
    accept(&mut outbox, record(1, 0, 1));
    let mut offers = 0;
    for second in 0..30 {
        if let Some((id, _)) = offered_seq(&mut outbox, at(second)) {
            offers += 1;
            outbox.settle(id, Outcome::Delivered, at(second));
        }
        outbox.connected(at(second));
    }
    assert_eq!((offers, outbox.counts().again, outbox.counts().delivered), (21, 20, 1));
}

/// Acknowledges all that is offered; gives their sequence numbers.
fn deliver_all(outbox: &mut Outbox, now: MonoTime) -> Vec<u64> {
    let mut delivered = Vec::new();
    while let Some((id, seq)) = offered_seq(outbox, now) {
        outbox.settle(id, Outcome::Delivered, now);
        delivered.push(seq);
    }
    delivered
}

#[test]
fn a_repeat_counts_for_as_long_as_its_connection_lived_on() {
    let mut outbox = Outbox::new(limits(100, 1000));
    accept(&mut outbox, record(1, 0, 1));
    // The first four are what a broker did that lost messages (docs/faults.md).
    let lives = [140, 120, 60, 290, 800, 600].map(|millis| (millis, true)).into_iter().chain([(600, false)]);
    for (number, (millis, is_offered)) in lives.enumerate() {
        let time = at(10 * number as i64);
        outbox.connected(time);
        assert_eq!(deliver_all(&mut outbox, time).contains(&0), is_offered, "on connection {number}");
        let later = time + Duration::from_millis(millis);
        accept(&mut outbox, record(2, 1 + number as u64, 1));
        deliver_all(&mut outbox, later);
    }
}

#[test]
fn what_was_acknowledged_before_a_silence_is_offered_again_unless_it_was_long() {
    // A broker that hangs is killed by its watchdog after a minute, say.
    for (broken_after_secs, again) in [(20, 1), (60, 1), (599, 1), (603, 0)] {
        let mut outbox = Outbox::new(limits(10, 1000));
        outbox.connected(NOW);
        accept(&mut outbox, record(1, 0, 1));
        deliver_all(&mut outbox, NOW);
        outbox.disconnected(at(broken_after_secs));
        // Attempts to connect that fail tell nothing of the connection before.
        outbox.disconnected(at(broken_after_secs + 100));
        outbox.connected(at(broken_after_secs + 101));
        assert_eq!(outbox.len(), again, "noticed {broken_after_secs} s later");
    }
}

#[test]
fn delivered_and_unclaimed_records_are_sent_again_on_request() {
    let mut outbox = Outbox::new(limits(10, 1000));
    for seq in 5..10 {
        accept(&mut outbox, Record { topic: format!("t{}", seq % 2), ..record(seq.into(), seq, 1) });
    }
    while let Some((id, seq)) = offered_seq(&mut outbox, NOW) {
        let outcome = if seq == 8 { Outcome::Unclaimed } else { Outcome::Delivered };
        outbox.settle(id, outcome, NOW);
    }
    let (id, _) = offered_seq(&mut outbox, at(59)).unwrap();
    outbox.settle(id, Outcome::Unclaimed, at(59));
    assert_eq!(outbox.len(), 1, "its minute is not over");
    let (id, _) = offered_seq(&mut outbox, at(60)).unwrap();
    outbox.settle(id, Outcome::Unclaimed, at(60));
    assert_eq!((outbox.kept(), outbox.counts().unclaimed), (5, 1));
    let resent = |messages, waited, oldest_seq| Resent { messages, waited, oldest_seq: Some(oldest_seq) };
    assert_eq!(outbox.resend(7, Some("t0"), NOW).unwrap(), resent(1, 0, 6));
    assert_eq!(offered_seq(&mut outbox, at(70)).unwrap().1, 8);
    assert_eq!(outbox.resend(0, None, NOW).unwrap(), resent(5, 1, 5));
    assert_eq!(outbox.resend(6, None, NOW).unwrap(), resent(4, 4, 5), "they come, and none is lost");
    assert_eq!((outbox.len(), outbox.counts().again), (5, 5), "each once");
}

#[derive(Clone, Debug)]
enum Step {
    Accept(u8, u8),
    Offer,
    Settle(u8, u8),
    Connected,
    Resend,
    Wait(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4, 1u8..20).prop_map(|(event, bytes)| Step::Accept(event, bytes)),
        4 => Just(Step::Offer),
        4 => (0u8..8, 0u8..4).prop_map(|(which, outcome)| Step::Settle(which, outcome)),
        1 => Just(Step::Connected),
        1 => Just(Step::Resend),
        1 => (0u8..40).prop_map(Step::Wait),
    ]
}

/// What a consumer and the broker see while steps go by.
#[derive(Default)]
struct Model {
    now_secs: i64,
    accepted: u64,
    outstanding: BTreeMap<RecordId, u128>,
    first_offers: BTreeMap<u128, Vec<RecordId>>,
    delivered: BTreeSet<RecordId>,
    /// Delivered before a connect, or asked for.
    may_come_again: BTreeSet<RecordId>,
    has_come_again: bool,
}

impl Model {
    fn step(&mut self, outbox: &mut Outbox, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Accept(event, bytes) => {
                let record = record(event.into(), self.accepted, bytes.into());
                outbox.accept(record, Openness::Open);
                self.accepted += 1;
            }
            Step::Offer => {
                let offer = outbox.offer(at(self.now_secs)).map(|(id, record)| (id, record.event.as_u128()));
                let Some((id, event)) = offer else { return Ok(()) };
                let is_alone = !self.outstanding.values().any(|&other| other == event);
                prop_assert!(is_alone || self.has_come_again, "two of one event at once");
                prop_assert!(self.may_come_again.contains(&id) || !self.delivered.contains(&id), "offered once more");
                self.outstanding.insert(id, event);
                let offers = self.first_offers.entry(event).or_default();
                if !offers.contains(&id) {
                    offers.push(id);
                }
            }
            Step::Settle(which, outcome) => {
                let index = usize::from(which) % self.outstanding.len().max(1);
                let Some(id) = self.outstanding.keys().nth(index).copied() else { return Ok(()) };
                self.outstanding.remove(&id);
                let outcome =
                    [Outcome::Delivered, Outcome::Unclaimed, Outcome::Refused, Outcome::Undone][usize::from(outcome)];
                if outcome == Outcome::Delivered {
                    self.delivered.insert(id);
                }
                outbox.settle(id, outcome, at(self.now_secs));
            }
            Step::Connected => {
                outbox.connected(at(self.now_secs));
                self.may_come_again.clone_from(&self.delivered);
                self.has_come_again = true;
            }
            Step::Resend => {
                outbox.resend(0, None, at(self.now_secs)).unwrap();
                self.may_come_again.clone_from(&self.delivered);
                self.has_come_again = true;
            }
            Step::Wait(secs) => self.now_secs += i64::from(secs),
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_uncounted_and_events_keep_their_order(
        steps in proptest::collection::vec(any_step(), 0..200),
    ) {
        let mut outbox = Outbox::new(limits(12, 100));
        let mut model = Model::default();
        for step in &steps {
            model.step(&mut outbox, step)?;
            let counts = outbox.counts();
            let gone = counts.delivered + counts.dropped + counts.unclaimed + counts.refused;
            prop_assert_eq!(counts.accepted, model.accepted);
            prop_assert_eq!(counts.accepted, gone + (outbox.len() - outbox.again()) as u64);
            prop_assert!(outbox.len() <= 12 && outbox.bytes() <= 100);
            prop_assert_eq!(outbox.offered(), model.outstanding.len());
        }
        for offers in model.first_offers.values() {
            prop_assert!(offers.windows(2).all(|pair| pair[0] < pair[1]), "an event's records in another order");
        }
        drain(&mut outbox, &model)?;
    }
}

/// After any history a good broker gets all that is left.
fn drain(outbox: &mut Outbox, model: &Model) -> Result<(), TestCaseError> {
    let later = at(model.now_secs + 1_000);
    for &id in model.outstanding.keys() {
        outbox.settle(id, Outcome::Delivered, later);
    }
    while let Some((id, _)) = outbox.offer(later) {
        outbox.settle(id, Outcome::Delivered, later);
    }
    prop_assert!(outbox.is_empty());
    prop_assert_eq!(outbox.bytes(), 0);
    Ok(())
}

/// So long after its acknowledgement the killed broker below hands a message on.
const LAG_MILLIS: i64 = 100;

proptest! {
    /// Each connection lives for a while and takes so many messages; then the broker is killed, with what it had not handed on.
    #[test]
    fn a_broker_that_is_killed_again_and_again_takes_nothing_along(
        connections in proptest::collection::vec((0..3 * LAG_MILLIS, 0i64..5), 0..=20),
    ) {
        let mut outbox = Outbox::new(limits(1000, 10_000));
        let (mut now, mut accepted, mut handed_on) = (0, 0, BTreeSet::new());
        for &(life, messages) in connections.iter().chain([&(10 * LAG_MILLIS, 1)]) {
            let millis = |millis| MonoTime::from_nanos(millis * 1_000_000);
            outbox.connected(millis(now));
            let end = now + life;
            for step in 0..=messages {
                let time = now + life * step / (messages + 1);
                let acknowledged = deliver_all(&mut outbox, millis(time));
                handed_on.extend(acknowledged.into_iter().filter(|_| time + LAG_MILLIS <= end));
                if step < messages {
                    accept(&mut outbox, record(u128::from(accepted) % 3, accepted, 1));
                    accepted += 1;
                }
            }
            outbox.disconnected(millis(end));
            now = end + 500;
        }
        prop_assert!((0..accepted).all(|seq| handed_on.contains(&seq)), "{accepted} accepted, {handed_on:?} handed on");
    }
}
