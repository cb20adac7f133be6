"""The front end that the key word network was trained with: sound to features.

Source:
    MLPerf Tiny, ``benchmark/training/keyword_spotting/get_dataset.py`` and ``kws_util.py``,
    feature type ``mfcc``, whose steps are those of TensorFlow's ``tf.signal``: windows of
    30 ms every 20 ms, magnitudes, mel bands, logarithm, discrete cosine transform.
"""

import numpy as np
import numpy.typing as npt

RATE_HZ = 16_000
"""Of the sound; a frame is one second of it."""

WINDOW, STRIDE, TRANSFORM = 480, 320, 512
"""Samples of a window, from one to the next, and of its Fourier transform."""

BANDS, LOWEST_HZ, HIGHEST_HZ = 40, 20.0, 4_000.0
"""Mel bands, and what they reach over."""

COEFFICIENTS = 10
"""That are kept of each window's; the first ones."""

LEAST = 1e-6
"""Added to a band before the logarithm."""


def features(sound: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Turn one second of sound into what the network takes.

    Args:
        sound: [16000] samples in any scale: loudness is taken out.

    Returns:
        [49, 10, 1]: steps in time, mel frequency cepstral coefficients, one.
    """
    samples = sound.astype(np.float32)
    loudest = samples.max(initial=0.0)
    if loudest > 0:
        samples /= loudest
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::STRIDE]
    magnitudes = np.abs(np.fft.rfft(windows * _HANN, TRANSFORM))
    cepstrum = np.log(magnitudes @ _MEL + LEAST) @ _COSINES
    return cepstrum.astype(np.float32)[:, :, np.newaxis]


def _mel_bands() -> npt.NDArray[np.float64]:
    """Give the triangles that gather frequencies into bands, [bins, bands].

    Source:
        ``tf.signal.linear_to_mel_weight_matrix``; the scale is HTK's.
    """
    bins = _mel(np.linspace(0.0, RATE_HZ / 2, TRANSFORM // 2 + 1))[:, np.newaxis]
    edges = np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), BANDS + 2)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    return np.maximum(triangles, 0.0)


def _mel(frequency_hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return 1127.0 * np.log1p(np.asarray(frequency_hz, np.float64) / 700.0)


def _cosines() -> npt.NDArray[np.float64]:
    """Give the transform from bands to coefficients, [bands, coefficients]: DCT-II."""
    bands, kept = np.arange(BANDS)[:, np.newaxis], np.arange(COEFFICIENTS)
    return np.sqrt(2.0 / BANDS) * np.cos(np.pi / BANDS * (bands + 0.5) * kept)


_HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
_MEL, _COSINES = _mel_bands(), _cosines()
