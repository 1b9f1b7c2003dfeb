"""The sound front end of `docs/pack.md`, in numpy: the reference that the daemon's own is compared with.

It is ImageBind's use of torchaudio's `kaldi.fbank` (htk_compat, Hann window, no dither, no energy, everything else at its default),
written out. `log_mel` computes in f64 by default; the training copy in `audio.py` is this in f32, batched.
"""

import numpy as np

SAMPLE_RATE_HZ = 16000
WINDOW_SAMPLES = 32000
FRAME_SAMPLES = 400
HOP_SAMPLES = 160
FFT_SIZE = 512
MEL_BINS = 128
MEL_FRAMES = 198
TARGET_FRAMES = 204
PRE_EMPHASIS = 0.97
LOW_HZ = 20.0
# f32 machine epsilon: torchaudio floors the mel energies with it whatever the type it computes in.
ENERGY_FLOOR = 1.1920928955078125e-07
MEAN = -4.268
STD = 9.138
PUBLISHED_CLIP_RMS_SHARE = 1 / 20


def hann(dtype=np.float64) -> np.ndarray:
    """Symmetric: torchaudio asks for `periodic=False`."""
    n = np.arange(FRAME_SAMPLES)
    return (0.5 - 0.5 * np.cos(2 * np.pi * n / (FRAME_SAMPLES - 1))).astype(dtype)


def mel_bank(dtype=np.float64) -> np.ndarray:
    """[MEL_BINS, FFT_SIZE / 2 + 1]: triangles that are straight on the mel axis; the Nyquist bin has no weight, as in Kaldi."""

    def mel(hz):
        return 1127.0 * np.log(1.0 + np.asarray(hz, np.float64) / 700.0)

    low, high = mel(LOW_HZ), mel(SAMPLE_RATE_HZ / 2)
    step = (high - low) / (MEL_BINS + 1)
    left = low + np.arange(MEL_BINS)[:, None] * step
    centre, right = left + step, left + 2 * step
    bins = mel(np.arange(FFT_SIZE // 2) * SAMPLE_RATE_HZ / FFT_SIZE)[None]
    bank = np.maximum(0.0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))
    return np.pad(bank, ((0, 0), (0, 1))).astype(dtype)


def frame_powers(samples: np.ndarray, dtype=np.float64) -> np.ndarray:
    """[frames, FFT_SIZE / 2 + 1] power of each analysis frame of one mono clip at 16 kHz in [-1, 1]."""
    x = np.asarray(samples, dtype)
    x = x - x.mean()
    starts = np.arange(0, len(x) - FRAME_SAMPLES + 1, HOP_SAMPLES)
    frames = x[starts[:, None] + np.arange(FRAME_SAMPLES)]
    frames = frames - frames.mean(1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    frames = (frames - dtype(PRE_EMPHASIS) * before) * hann(dtype)
    return (np.abs(np.fft.rfft(frames, FFT_SIZE)) ** 2).astype(dtype)


def log_mel(samples: np.ndarray, dtype=np.float64) -> np.ndarray:
    """[1, 1, 128, 204] model input of one window of 32000 samples."""
    energies = frame_powers(samples, dtype) @ mel_bank(dtype).T
    log_energies = np.log(np.maximum(energies, dtype(ENERGY_FLOOR))).T
    padded = np.zeros((MEL_BINS, TARGET_FRAMES), dtype)
    padded[:, : log_energies.shape[1]] = log_energies[:, :TARGET_FRAMES]
    return ((padded - dtype(MEAN)) / dtype(STD))[None, None]


def clips(samples: np.ndarray) -> np.ndarray:
    """[n, 32000]: a sound cut as the pack contract says; quiet clips left out, short sounds followed by silence."""
    samples = np.asarray(samples, np.float32)
    if len(samples) <= WINDOW_SAMPLES:
        return np.pad(samples, (0, WINDOW_SAMPLES - len(samples)))[None]
    count = -(-len(samples) // WINDOW_SAMPLES)
    starts = np.round(np.arange(count) * (len(samples) - WINDOW_SAMPLES) / (count - 1)).astype(int)
    cut = np.stack([samples[s : s + WINDOW_SAMPLES] for s in starts])
    loudness = np.sqrt((cut.astype(np.float64) ** 2).mean(1))
    return cut[loudness >= PUBLISHED_CLIP_RMS_SHARE * loudness.max()]
