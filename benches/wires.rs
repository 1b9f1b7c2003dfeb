//! Parsers of what devices send, against the rate of their wires.

use criterion::{Criterion, Throughput};
use perceptd::sensors::wire::*;

#[path = "../tests/packets/mod.rs"]
mod packets;

/// Bytes that one turn parses, in reads of the size that a busy port gives.
const STREAM_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 256;

/// Bytes a second of each parser; a wire of 115200 baud carries 11520.
pub fn wires(criterion: &mut Criterion) {
    let axes = [0.5, 0.25, -9.75];
    stream(criterion, "witmotion", WitMotionParser::default, &packets::witmotion_cycle(300));
    stream(criterion, "bno08x_rvc", Bno08xRvcParser::default, &packets::bno08x_rvc(1, [1, 2, 1000]));
    stream(criterion, "vectornav", VectorNavParser::default, &packets::vectornav_autopilot(axes, axes));
    stream(criterion, "xsens", XsensParser::default, &packets::xsens(1, axes, axes));
    stream(criterion, "mavlink", MavlinkParser::default, &packets::mavlink_highres(1, 1, axes, axes));
    let lines = || TextLineParser::new(packets::vnymr_format());
    stream(criterion, "text_line", lines, packets::VNYMR_LINE.as_bytes());
    stream(criterion, "gy_mcu90640", GyMcu90640Parser::default, &packets::gy_mcu90640(|pixel| pixel as f32 / 10.0));
    let array = || SerialArrayParser::new(packets::array_format());
    stream(criterion, "serial_array", array, &packets::array(|pixel| pixel as f32 / 10.0));
}

fn stream<P: WireParser>(criterion: &mut Criterion, name: &str, new: impl Fn() -> P, packet: &[u8]) {
    let bytes = packet.repeat(STREAM_BYTES.div_ceil(packet.len()));
    let mut group = criterion.benchmark_group("wires");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(20);
    group.measurement_time(std::time::Duration::from_secs(2));
    group.bench_function(name, |b| {
        b.iter(|| {
            let mut parser = new();
            bytes.chunks(READ_BYTES).map(|read| parser.push(read).len()).sum::<usize>()
        });
    });
    group.finish();
}
