//! Wishes for prompts, one after another.

use super::*;
use crate::modality::Modality;
use crate::prompts::{Part, PartSource};

fn words(text: &str) -> Part {
    Part { source: PartSource::Text(text.to_owned()), weight: 1.0 }
}

fn file_prompt() -> PromptSettings {
    PromptSettings {
        id: "dog".into(),
        parts: vec![words("a dog")],
        negatives: Vec::new(),
        modalities: vec![Modality::Image],
        p_false: 0.01,
    }
}

fn book() -> PromptBook {
    PromptBook::new(&[file_prompt()], Winner::Topic)
}

fn made(id: &str, parts: Vec<Part>, p_false: Option<f64>) -> PromptWish {
    let content = PromptContent::Made { parts, negatives: vec![], senses: vec![], p_false, is_disabled: false };
    PromptWish { id: id.into(), digest: format!("{id} {content:?}"), payload: vec![1], content }
}

fn fine(_: &PromptSettings) -> Vec<Fault> {
    Vec::new()
}

fn told(steps: &[PromptStep]) -> (WishState, PromptOrigin) {
    let report = steps.iter().find_map(|step| if let PromptStep::Report(report) = step { Some(report) } else { None });
    report.map(|report| (report.state, report.origin)).unwrap()
}

#[test]
fn a_wish_is_enrolled_and_then_in_force() {
    let (mut book, wish) = (book(), made("cat", vec![words("a cat")], None));
    let steps = book.wish(wish.clone(), fine);
    assert_eq!(told(&steps), (WishState::Pending, PromptOrigin::Nowhere));
    assert!(matches!(&steps[1], PromptStep::Enrol(settings, _) if settings.modalities == USUAL_SENSES));
    assert_eq!(book.payload(&wish.id, &wish.digest), Some([1].as_slice()));
    assert_eq!(told(&book.settled(&wish.id, &wish.digest, Ok(()))), (WishState::Applied, PromptOrigin::Topic));
    assert_eq!(book.wanted().len(), 2);
    assert_eq!(told(&book.wish(wish.clone(), |_| panic!("again"))), (WishState::Applied, PromptOrigin::Topic));
    assert_eq!(book.settled(&wish.id, &wish.digest, Ok(())), [], "it was settled before");
}

#[test]
fn what_cannot_be_embedded_leaves_the_one_before() {
    let mut book = book();
    let wish = made("dog", vec![words("")], None);
    book.wish(wish.clone(), fine);
    let steps = book.settled(&wish.id, &wish.digest, Err(Fault::whole("silent")));
    assert_eq!(told(&steps), (WishState::RolledBack, PromptOrigin::File));
    assert_eq!(book.wanted(), [(file_prompt(), None)]);
}

#[test]
fn a_threshold_alone_keeps_the_parts_of_the_file() {
    let mut book = book();
    let wish = made("dog", vec![], Some(0.2));
    let steps = book.wish(wish.clone(), fine);
    let expected = PromptSettings { p_false: 0.2, ..file_prompt() };
    assert_eq!(steps[1], PromptStep::Enrol(expected.clone(), wish.digest.clone()));
    book.settled(&wish.id, &wish.digest, Ok(()));
    assert_eq!(book.wanted(), [(expected, Some(wish.digest))]);
}

#[test]
fn what_is_removed_gives_way_to_the_file_or_is_gone() {
    let mut book = book();
    for id in ["dog", "cat"] {
        let wish = made(id, vec![words("x")], None);
        book.wish(wish.clone(), fine);
        book.settled(&wish.id, &wish.digest, Ok(()));
    }
    let remove = |id: &str| PromptWish {
        id: id.into(),
        content: PromptContent::Removed,
        digest: "empty".to_owned(),
        payload: vec![],
    };
    let (dog, cat) = (PromptId::from("dog"), PromptId::from("cat"));
    let steps = book.wish(remove("dog"), fine);
    assert_eq!(steps, [PromptStep::Forget(dog.clone()), PromptStep::Enrol(file_prompt(), String::new())]);
    assert_eq!(told(&book.settled(&dog, "", Ok(()))), (WishState::Applied, PromptOrigin::File));
    let gone = [PromptStep::Forget(cat.clone()), PromptStep::Drop(cat.clone()), PromptStep::Gone(cat)];
    assert_eq!(book.wish(remove("cat"), fine), gone);
    assert_eq!(book.wish(remove("cat"), fine), gone);
    assert_eq!(book.wanted(), [(file_prompt(), None)]);
}

#[test]
fn a_prompt_of_the_file_that_cannot_be_embedded_stays_told_until_a_topic_mends_it() {
    let (mut book, dog) = (book(), PromptId::from("dog"));
    let broken = (WishState::RolledBack, PromptOrigin::Nowhere);
    assert_eq!(told(&book.settled(&dog, "", Err(Fault::whole("silent")))), broken);
    let removed = PromptWish { content: PromptContent::Removed, ..made("dog", vec![], None) };
    assert_eq!(told(&book.wish(removed.clone(), fine)), broken, "there was nothing to take away");
    let wish = made("dog", vec![words("a dog")], None);
    book.wish(wish.clone(), fine);
    assert_eq!(told(&book.settled(&dog, &wish.digest, Ok(()))), (WishState::Applied, PromptOrigin::Topic));
    assert_eq!(book.wish(removed, fine)[1], PromptStep::Enrol(file_prompt(), String::new()));
    assert_eq!(told(&book.settled(&dog, "", Ok(()))), (WishState::Applied, PromptOrigin::File), "its file was mended");
}

#[test]
fn what_perceptd_ended_of_is_not_tried_again_beside_a_prompt_of_the_file() {
    let (dog, wish) = (PromptId::from("dog"), made("dog", vec![words("a wolf")], None));
    for (outcome, origin) in [(Ok(()), PromptOrigin::File), (Err(Fault::whole("silent")), PromptOrigin::Nowhere)] {
        let mut book = book();
        book.quarantine(&dog, wish.digest.clone(), "ended".to_owned());
        book.file_started(&dog, outcome);
        let steps = book.wish(wish.clone(), |_| panic!("it is tried again"));
        assert_eq!((steps.len(), told(&steps)), (1, (WishState::RolledBack, origin)));
        let other = made("dog", vec![words("a fox")], None);
        assert_eq!(told(&book.wish(other, fine)).0, WishState::Pending, "another one is tried");
    }
}

#[test]
fn what_became_of_a_wish_outlasts_the_start_of_the_file() {
    let (mut book, dog) = (book(), PromptId::from("dog"));
    let last = |book: &PromptBook| {
        let report = book.reports().next().unwrap();
        (report.state, report.origin, report.faults.clone(), report.digest.clone())
    };
    book.file_started(&dog, Ok(()));
    assert_eq!(last(&book), (WishState::Applied, PromptOrigin::File, vec![], String::new()), "there was no wish");
    let cut_off = |book: &mut PromptBook| book.unreadable(&dog, "cut off".to_owned(), "c".to_owned());
    let steps = cut_off(&mut book);
    assert_eq!((cut_off(&mut book), steps.len()), (steps, 1), "who wishes it again is answered again");
    book.file_started(&dog, Ok(()));
    let unreadable = vec![Fault::whole("cut off")];
    assert_eq!(last(&book), (WishState::Rejected, PromptOrigin::File, unreadable, "c".to_owned()));
    let wish = made("dog", vec![words("")], None);
    book.wish(wish.clone(), fine);
    book.settled(&dog, &wish.digest, Err(Fault::whole("silent")));
    book.file_started(&dog, Ok(()));
    let silent = vec![Fault::whole("silent")];
    assert_eq!(last(&book), (WishState::RolledBack, PromptOrigin::File, silent, wish.digest));
}

#[test]
fn a_newer_wish_overtakes_one_that_is_being_tried() {
    let mut book = book();
    let (first, second) = (made("cat", vec![words("a")], None), made("cat", vec![words("b")], None));
    book.wish(first.clone(), fine);
    let steps = book.wish(second.clone(), fine);
    let told = steps.iter().filter_map(|step| match step {
        PromptStep::Report(report) => Some((report.digest.clone(), report.state, report.faults.clone())),
        _ => None,
    });
    let (rejected, pending) = (WishState::Rejected, WishState::Pending);
    let expected =
        [(first.digest.clone(), rejected, vec![Fault::whole(REPLACED)]), (second.digest.clone(), pending, vec![])];
    assert_eq!(told.collect::<Vec<_>>(), expected, "both are told");
    let unseen = made("cat", vec![words("c")], None);
    assert_eq!(self::told(&book.replaced_unseen(&unseen)).0, rejected);
    assert_eq!(book.replaced_unseen(&second), [], "a copy of what is being tried");
    assert_eq!(book.reports().find(|report| report.prompt == unseen.id).unwrap().digest, second.digest);
    assert!(!book.is_wanted(&first.id, &first.digest) && book.is_wanted(&second.id, &second.digest));
    assert_eq!(book.settled(&first.id, &first.digest, Ok(())), []);
    book.settled(&second.id, &second.digest, Ok(()));
    assert_eq!(book.replaced_unseen(&second), [], "a copy of what is in force");
}

#[test]
fn a_disabled_prompt_is_kept_and_not_looked_for() {
    let mut book = book();
    let mut wish = made("dog", vec![], None);
    wish.content =
        PromptContent::Made { parts: vec![], negatives: vec![], senses: vec![], p_false: None, is_disabled: true };
    let steps = book.wish(wish.clone(), |_| panic!("there is nothing to check"));
    assert_eq!(steps, [PromptStep::Keep(wish.id.clone(), vec![1]), PromptStep::Drop(wish.id.clone())]);
    assert_eq!(told(&book.settled(&wish.id, &wish.digest, Ok(()))), (WishState::Applied, PromptOrigin::Topic));
    assert_eq!(book.wanted(), []);
}

#[test]
fn the_file_wins_where_it_is_told_to() {
    let mut book = PromptBook::new(&[file_prompt()], Winner::File);
    let steps = book.wish(made("dog", vec![words("x")], None), fine);
    assert_eq!(told(&steps), (WishState::Rejected, PromptOrigin::File));
    assert_eq!(told(&book.wish(made("cat", vec![words("x")], None), fine)).0, WishState::Pending);
}

#[test]
fn strangers_fill_neither_memory_nor_the_broker() {
    let mut book = book();
    let mut reports = 0;
    for index in 0..1000 {
        reports += book.unreadable(&format!("x{index}").as_str().into(), "bad".to_owned(), String::new()).len();
    }
    assert_eq!(reports, MOST_REPORTS - 1);
    let mut book = self::book();
    for index in 0..MOST_PROMPTS {
        assert_eq!(told(&book.wish(made(&format!("x{index}"), vec![words("x")], None), fine)).0, WishState::Pending);
    }
    assert_eq!(told(&book.wish(made("more", vec![words("x")], None), fine)).0, WishState::Rejected);
    let large = PromptWish { payload: vec![0; MOST_BYTES], ..made("x1", vec![words("y")], None) };
    assert_eq!(told(&book.wish(large, fine)).0, WishState::Rejected);
    book.wish(PromptWish { content: PromptContent::Removed, ..made("x0", vec![], None) }, fine);
    assert_eq!(told(&book.wish(made("more", vec![words("x")], None), fine)).0, WishState::Pending, "there is room now");
}
