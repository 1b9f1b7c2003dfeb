//! Whole lives of wishes, event by event.

use super::*;

const WATCH: i64 = 4_000_000_000;

fn wish(generation: u64, json: &str) -> ConfigWish {
    let (digest, json) = (format!("{generation}:{json}"), json.to_owned());
    ConfigWish { generation, base: 0, is_whole: false, json, digest }
}

fn secs(secs: f64) -> MonoTime {
    MonoTime::from_secs_f64(secs)
}

fn start() -> Transaction {
    Transaction::new(ConfigLedger::default(), WATCH)
}

fn fault(what: &str) -> Vec<Fault> {
    vec![Fault::whole(what)]
}

fn state(transaction: &Transaction) -> Option<(u64, WishState)> {
    transaction.ledger().answer.as_ref().map(|answer| (answer.generation, answer.state))
}

/// What is told beside the last answer, each with its generation and digest.
fn asides(transaction: &mut Transaction) -> Vec<(u64, String, String)> {
    let asides = transaction.take_asides();
    assert!(asides.iter().all(|answer| answer.state == WishState::Rejected));
    asides.into_iter().map(|answer| (answer.generation, answer.digest, answer.faults[0].what.clone())).collect()
}

const REFUSED: [Step; 1] = [Step::Report];
const BACK: [Step; 3] = [Step::Undo, Step::Remember, Step::Report];

/// A wish that works, whole.
fn apply(transaction: &mut Transaction, wish: ConfigWish) {
    let steps = transaction.wish(wish, |_| Ok(()));
    assert_eq!(steps, [Step::Remember, Step::Report, Step::Prepare]);
    assert_eq!(transaction.prepared(Ok(())), [Step::Swap]);
    assert_eq!(transaction.swapped(secs(0.0), Ok(())), []);
    assert_eq!(transaction.looked(secs(3.9), fault("not yet there")), []);
    assert_eq!(transaction.looked(secs(4.0), vec![]), [Step::Commit]);
    assert_eq!(transaction.committed(Ok(())), [Step::Report]);
}

#[test]
fn a_wish_that_works_is_kept_and_the_one_before_remembered() {
    let mut transaction = start();
    apply(&mut transaction, wish(1, r#"{"log":{"level":"warn"}}"#));
    apply(&mut transaction, wish(2, r#"{"events":{"min_on_secs":1}}"#));
    let ledger = transaction.ledger();
    assert_eq!((ledger.generation, ledger.generation_before), (2, 1));
    assert_eq!(ledger.changes, r#"{"events":{"min_on_secs":1},"log":{"level":"warn"}}"#);
    assert_eq!(ledger.changes_before, r#"{"log":{"level":"warn"}}"#);
    assert_eq!((ledger.trial.clone(), state(&transaction)), (None, Some((2, WishState::Applied))));
    let whole = ConfigWish { is_whole: true, ..wish(3, "{}") };
    apply(&mut transaction, whole);
    assert_eq!(transaction.ledger().changes, "");
}

#[test]
fn old_generations_change_nothing_and_are_answered_anew() {
    let mut transaction = start();
    apply(&mut transaction, wish(5, "{}"));
    for (again, told) in [(wish(5, "{}"), 0), (wish(4, r#"{"log":{"level":"warn"}}"#), 1)] {
        assert_eq!(transaction.wish(again, |_| panic!("checked")), [Step::Report]);
        assert_eq!((state(&transaction), transaction.faults()), (Some((5, WishState::Applied)), vec![]));
        assert_eq!(asides(&mut transaction).len(), told);
    }
    let other = wish(5, r#"{"log":{"level":"warn"}}"#);
    assert_eq!(transaction.wish(other, |_| panic!("checked")), [Step::Report]);
    assert_eq!(state(&transaction), Some((5, WishState::Applied)));
    assert!(transaction.faults()[0].what.contains("other content"));
    let told = asides(&mut transaction);
    assert!(
        matches!(&told[..], [(5, digest, what)] if digest.contains("warn") && what.contains("other content")),
        "{told:?}"
    );
    assert_eq!(transaction.wish(wish(5, "{}"), |_| panic!("checked")), [Step::Report]);
    assert_eq!(transaction.faults(), []);
}

#[test]
fn a_generation_beyond_the_highest_stands_in_no_ones_way() {
    let mut transaction = start();
    for generation in [MAX_GENERATION + 1, u64::MAX] {
        assert_eq!(transaction.wish(wish(generation, "{}"), |_| panic!("checked")), REFUSED);
        assert_eq!(state(&transaction), None);
        assert!(transaction.faults()[0].what.contains("is higher than 9007199254740992"));
    }
    transaction.wish(wish(1, "{}"), |_| Ok(()));
    assert_eq!(transaction.wish(wish(u64::MAX, "{}"), |_| panic!("checked")), REFUSED);
    transaction.prepared(Err(vec![]));
    assert_eq!(transaction.next_waiting(), None);
    apply(&mut transaction, wish(2, "{}"));
    apply(&mut transaction, wish(MAX_GENERATION, "{}"));
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_tried() {
    let mut transaction = start();
    let wrong = vec![Fault { key: "log.level".to_owned(), what: "no".to_owned() }];
    assert_eq!(transaction.wish(wish(1, "{}"), |_| Err(wrong.clone())), REFUSED);
    assert_eq!((state(&transaction), transaction.faults()), (Some((1, WishState::Rejected)), wrong));
    for bad in [wish(2, "{"), wish(3, ""), ConfigWish { base: 7, ..wish(4, "{}") }] {
        assert_eq!(transaction.wish(bad, |_| panic!("checked")), REFUSED);
    }
    assert_eq!(transaction.wish(wish(0, "{}"), |_| panic!("checked")), [Step::Report], "0 is lower than any");
    assert_eq!(start().wish(wish(0, "{}"), |_| panic!("checked")), REFUSED);
    assert_eq!(transaction.ledger().generation, 0);
    apply(&mut transaction, wish(5, "{}"));
}

#[test]
fn what_cannot_be_prepared_leaves_the_running_one_alone() {
    let mut transaction = start();
    transaction.wish(wish(1, "{}"), |_| Ok(()));
    assert_eq!(transaction.prepared(Err(fault("no room"))), [Step::Remember, Step::Report]);
    assert_eq!(state(&transaction), Some((1, WishState::RolledBack)));
}

#[test]
fn what_does_not_work_is_undone_at_each_stage() {
    let mut transaction = start();
    transaction.wish(wish(1, "{}"), |_| Ok(()));
    transaction.prepared(Ok(()));
    assert_eq!(transaction.swapped(secs(0.0), Err(fault("no thread"))), BACK);
    transaction.wish(wish(2, "{}"), |_| Ok(()));
    transaction.prepared(Ok(()));
    transaction.swapped(secs(0.0), Ok(()));
    assert!(transaction.is_watching());
    assert_eq!(transaction.looked(secs(4.1), fault("front: it cannot do this size")), BACK);
    assert_eq!(state(&transaction), Some((2, WishState::RolledBack)));
    transaction.wish(wish(3, r#"{"log":{"level":"warn"}}"#), |_| Ok(()));
    transaction.prepared(Ok(()));
    transaction.swapped(secs(0.0), Ok(()));
    assert_eq!(transaction.looked(secs(4.1), vec![]), [Step::Commit]);
    assert_eq!(transaction.committed(Err("disk full".to_owned())), BACK);
    let ledger = transaction.ledger();
    assert_eq!((ledger.generation, ledger.changes.as_str(), ledger.trial.clone()), (0, "", None));
    assert_eq!((state(&transaction), transaction.faults()), (Some((3, WishState::RolledBack)), fault("disk full")));
}

#[test]
fn a_trial_is_remembered_until_it_has_ended() {
    let mut transaction = start();
    transaction.wish(wish(1, "{}"), |_| Ok(()));
    assert_eq!(transaction.ledger().trial.as_ref().map(|trial| trial.generation), Some(1));
    transaction.prepared(Err(vec![]));
    assert_eq!(transaction.ledger().trial, None);
}

#[test]
fn what_is_tried_at_an_ordered_stop_is_tried_by_the_next_start() {
    let mut transaction = start();
    apply(&mut transaction, wish(1, "{}"));
    assert_eq!(transaction.stopped(), [], "nothing is being tried");
    let second = wish(2, r#"{"log":{"level":"warn"}}"#);
    for until_watching in [false, true] {
        transaction.wish(second.clone(), |_| Ok(()));
        if until_watching {
            transaction.prepared(Ok(()));
            transaction.swapped(secs(0.0), Ok(()));
        }
        assert_eq!(transaction.stopped(), [Step::Remember]);
        assert_eq!((transaction.ledger().trial.clone(), state(&transaction)), (None, Some((1, WishState::Applied))));
        transaction = Transaction::new(transaction.ledger().clone(), WATCH);
    }
    apply(&mut transaction, second);
}

#[test]
fn only_the_newest_of_those_that_wait_is_tried() {
    let mut transaction = start();
    transaction.wish(wish(1, "{}"), |_| Ok(()));
    for waiting in [wish(1, "{}"), wish(2, "{}"), wish(2, "{}")] {
        assert_eq!(transaction.wish(waiting, |_| panic!("checked")), []);
    }
    assert_eq!(transaction.wish(wish(3, "{}"), |_| panic!("checked")), [Step::Report]);
    assert_eq!(asides(&mut transaction), [(2, "2:{}".to_owned(), REPLACED.to_owned())], "who wished it is told");
    assert_eq!(state(&transaction), Some((1, WishState::Pending)), "what is being tried still is");
    assert_eq!(transaction.next_waiting(), None);
    transaction.prepared(Err(vec![]));
    assert_eq!(transaction.next_waiting(), Some(wish(3, "{}")));
    assert_eq!(transaction.next_waiting(), None);
}

#[test]
fn a_wish_that_came_again_is_not_told_that_another_replaced_its_copy() {
    let mut transaction = start();
    let (first, second) = (wish(1, "{}"), wish(2, "{}"));
    transaction.wish(first.clone(), |_| Ok(()));
    transaction.wish(second.clone(), |_| panic!("checked"));
    for copy in [&first, &second] {
        assert_eq!((transaction.replaced(copy.clone()), asides(&mut transaction)), (vec![], vec![]), "tried, waits");
    }
    transaction.prepared(Err(vec![]));
    assert_eq!(transaction.next_waiting(), Some(second.clone()));
    apply(&mut transaction, second.clone());
    assert_eq!((transaction.replaced(second), asides(&mut transaction)), (vec![], vec![]), "in force");
    assert_eq!(transaction.replaced(wish(3, "{}")), REFUSED);
    assert_eq!(asides(&mut transaction), [(3, "3:{}".to_owned(), REPLACED.to_owned())]);
}

#[test]
fn news_of_another_stage_changes_nothing() {
    let mut transaction = start();
    assert_eq!(transaction.prepared(Ok(())), []);
    assert_eq!(transaction.swapped(secs(0.0), Ok(())), []);
    assert_eq!(transaction.looked(secs(9.0), fault("x")), []);
    assert_eq!(transaction.committed(Err("x".to_owned())), []);
    assert_eq!(state(&transaction), None);
    assert_eq!(transaction.refuse(0, "d".to_owned(), "not protobuf".to_owned()), [Step::Report]);
    assert_eq!((state(&transaction), transaction.faults()), (None, fault("not protobuf")));
}
