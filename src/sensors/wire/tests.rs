//! The laws of all parsers: any split, noise between packets, truncation, any bytes at all.

use proptest::prelude::*;

use super::*;

#[path = "../../../fuzz/bodies.rs"]
mod bodies;

use bodies::{Found, TARGETS};

/// At every byte of a stream of a few packets, and at every pair of bytes a packet apart.
fn split_everywhere<P: WireParser<Found: Found>>(new: impl Fn() -> P, stream: &[u8], expected: usize) {
    let found = |parts: &[&[u8]]| {
        let mut parser = new();
        let found: Vec<_> = parts.iter().flat_map(|part| parser.push(part)).collect();
        found.iter().map(|found| (found.offset(), found.bits())).collect::<Vec<_>>()
    };
    let whole = found(&[stream]);
    assert_eq!(whole.len(), expected);
    let apart = stream.len() / 4;
    for cut in 0..=stream.len() {
        let second = (cut + apart).min(stream.len());
        let parts = [&stream[..cut], &stream[cut..second], &stream[second..]];
        assert_eq!(found(&parts), whole, "split at {cut} and {second}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(found(&bytes), whole, "byte by byte");
}

#[test]
fn packets_may_be_split_at_every_byte() {
    let three = |packet: &dyn Fn(u8) -> Vec<u8>| (1..=3).flat_map(packet).collect::<Vec<u8>>();
    let axes = |n: u8| [f32::from(n), 0.5, -9.75];
    split_everywhere(WitMotionParser::default, &three(&|n| packets::witmotion_cycle(n.into())), 3);
    split_everywhere(Bno08xRvcParser::default, &three(&|n| packets::bno08x_rvc(n, [n.into(), 2, 3])), 3);
    split_everywhere(VectorNavParser::default, &three(&|n| packets::vectornav_common(n.into(), axes(n), axes(1))), 3);
    split_everywhere(VectorNavParser::default, &three(&|n| packets::vectornav_autopilot(axes(n), axes(1))), 3);
    split_everywhere(XsensParser::default, &three(&|n| packets::xsens(n.into(), axes(n), axes(1))), 3);
    split_everywhere(MavlinkParser::default, &three(&|n| packets::mavlink_highres(1, n.into(), axes(n), axes(1))), 3);
    let lines = three(&|n| packets::csv_line(n.into(), axes(n), axes(1)));
    split_everywhere(|| TextLineParser::new(packets::csv_format()), &lines, 2);
    let frames = three(&|n| packets::gy_mcu90640(|pixel| f32::from(n) + pixel as f32 / 10.0));
    split_everywhere(GyMcu90640Parser::default, &frames, 3);
    let frames = three(&|n| packets::array(|pixel| f32::from(n) + pixel as f32 / 10.0));
    split_everywhere(|| SerialArrayParser::new(packets::array_format()), &frames, 3);
}

#[test]
fn a_packet_with_a_value_that_is_no_number_is_counted_apart() {
    fn counted<P: WireParser>(mut parser: P, bytes: &[u8]) -> (usize, u64, u64) {
        (parser.push(bytes).len(), parser.refused(), parser.not_finite())
    }
    for wrong in [f32::NAN, f32::INFINITY] {
        let of = |packet: &dyn Fn([f32; 3], [f32; 3]) -> Vec<u8>| {
            let (good, bad) = ([1.0, 2.0, 3.0], [0.0, wrong, 0.0]);
            [packet(good, good), packet(bad, good), packet(good, bad), packet(good, good)].concat()
        };
        let vectornav = of(&|accel, gyro| packets::vectornav_common(1, accel, gyro));
        assert_eq!(counted(VectorNavParser::default(), &vectornav), (2, 0, 2));
        let xsens = of(&|accel, gyro| packets::xsens(1, accel, gyro));
        assert_eq!(counted(XsensParser::default(), &xsens), (2, 0, 2));
        let mavlink = of(&|accel, gyro| packets::mavlink_highres(1, 1, accel, gyro));
        assert_eq!(counted(MavlinkParser::default(), &mavlink), (2, 0, 2));
        let lines = [b"\n".to_vec(), of(&|accel, gyro| packets::csv_line(1, accel, gyro))].concat();
        assert_eq!(counted(TextLineParser::new(packets::csv_format()), &lines), (2, 0, 2));
    }
    let timeless = b"\nnan,0,0,1,0,0,0\n1,0,0,1,0,0,0\n";
    assert_eq!(counted(TextLineParser::new(packets::csv_format()), timeless), (1, 0, 1));
}

#[test]
fn every_parser_has_its_laws() {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    for target in TARGETS {
        (target.body)(&[]);
        (target.body)(&(target.example)());
    }
}

proptest! {
    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        TARGETS.iter().for_each(|target| (target.body)(&bytes));
    }

    /// Good packets with noise between them, cut short, and with some of their bytes changed: nearer to what a line does.
    #[test]
    fn damaged_packets(
        noise in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec((0usize..4000, 0usize..4000), 3),
        flips in prop::collection::vec((0usize..4000, any::<u8>()), 0..4),
    ) {
        for target in TARGETS {
            let good = (target.example)();
            let parts = cuts.iter().flat_map(|(from, to)| {
                let (from, to) = (from % (good.len() + 1), to % (good.len() + 1));
                [&good[from.min(to)..from.max(to)], &noise[..], &good[..]].concat()
            });
            let mut bytes: Vec<u8> = parts.collect();
            for (at, value) in &flips {
                let at = at % bytes.len();
                bytes[at] = *value;
            }
            (target.body)(&bytes);
        }
    }
}
