//! `cargo bench --profile release`: each encoder of the reference pack, and everything around them that takes time.

// A benchmark stops at what it cannot measure, and prints for the script that reads it.
#![allow(clippy::expect_used, clippy::print_stdout, unreachable_pub)]

mod encoders;
mod rooms;
mod wires;

criterion::criterion_group!(
    benches,
    encoders::sessions,
    encoders::preprocessing,
    encoders::loading,
    rooms::rooms,
    wires::wires
);

fn main() {
    if std::env::args().any(|argument| argument == "--tract-sessions") {
        println!("{}", encoders::session_millis());
        return;
    }
    benches();
    criterion::Criterion::default().configure_from_args().final_summary();
}
