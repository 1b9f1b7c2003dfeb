//! Several operators at once: each is told what became of its own wish.

use super::{Rover, places, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_several_wishes_at_once_has_an_answer_of_its_own() {
    let rover = Rover::start();
    let places = places(rover.broker.address());
    until(&places, "both deliver", |places| places.len() == 2).await;
    let at_once = |lines: &[Vec<String>]| -> Vec<(i32, String)> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = lines
                .iter()
                .map(|line| scope.spawn(|| rover.perceptd(&line.iter().map(String::as_str).collect::<Vec<_>>())))
                .collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        })
    };
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();

    let changes: Vec<_> = (1..=4).map(|n| words(&format!("config set events.min_off_secs=1.1{n}"))).collect();
    let answers = at_once(&changes);
    let applied: Vec<_> = answers.iter().enumerate().filter(|(_, (code, _))| *code == 0).collect();
    assert!(!applied.is_empty(), "one of them is in force: {answers:?}\n{}", rover.log());
    for (code, told) in &answers {
        let word = if *code == 0 { ": applied as generation " } else { ": rejected:" };
        assert!(told.contains(word), "{answers:?}\n{}", rover.log());
    }
    let in_force = rover.expect(&["config", "get"], 0, &[]);
    let is_winner = |n: usize| in_force.contains(&format!("events.min_off_secs = 1.1{}\n", n + 1));
    assert!(applied.iter().any(|(n, _)| is_winner(*n)), "{answers:?} but {in_force}");

    let adds = ["dog", "rain", "knock"].map(|word| words(&format!("prompt add cc text:{word} --in imu"))).to_vec();
    let answers = at_once(&adds);
    assert!(answers.iter().any(|(code, told)| *code == 0 && told.contains("looks for cc")), "{answers:?}");
    for (code, told) in &answers {
        let word = if *code == 0 { "looks for cc: text:" } else { "rejected cc:\n  a later wish came" };
        assert!(told.contains(word), "{answers:?}\n{}", rover.log());
    }
}
