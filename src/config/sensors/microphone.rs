//! Keys of microphones.

use crate::config::section::Section;
use crate::sensors::MicrophoneSettings;

pub(super) fn microphone(section: &mut Section<'_>) -> MicrophoneSettings {
    MicrophoneSettings {
        host: section.text("host", "a sound system such as alsa").map(|(host, _)| host),
        device: section.text("device", "a device's name").map(|(device, _)| device),
        sample_rate_hz: section.integer("sample_rate_hz", 8000..=192_000),
        channel: section.integer("channel", 0..=63).unwrap_or(0),
        silence_secs: section.integer("silence_secs", 0..=86_400).unwrap_or(60),
    }
}
