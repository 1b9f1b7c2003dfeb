//! Microphones.

/// A microphone through cpal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MicrophoneSettings {
    /// cpal's host name (`alsa`, …); none = the platform's default.
    pub host: Option<String>,
    /// cpal's device id, such as `plughw:CARD=Webcam`; none = the default device.
    pub device: Option<String>,
    /// Wanted samples a second; none = what the device prefers.
    pub sample_rate_hz: Option<u32>,
    /// The channel that is taken, from 0.
    pub channel: u16,
    /// Seconds of nothing but zeros after which the microphone is told as stalled and opened again; 0 = never.
    pub silence_secs: u32,
}
