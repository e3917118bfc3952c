"""Sound: WAV files, mel spectrograms, augmentation of clips. The transforms are SciPy's: pip install "tapwise[audio]".

Signals are float32 in [-1, 1], (samples,); rates are in Hz.
"""

from __future__ import annotations

import math
import os
import wave
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .philox import Draws

Signal: TypeAlias = NDArray[np.float32]
Range: TypeAlias = tuple[float, float]
WINDOW = 512  # samples of a frame in time_stretch; a quarter of it from frame to frame
TINY = 1e-10  # the power below which decibels don't go


def read_wav(path: str | os.PathLike[str]) -> tuple[Signal, int]:
    """Whole numbers of 8 to 32 bits -> ((samples,) or (samples, channels) in [-1, 1), the sample rate).

    Raises ValueError naming the file if it is truncated, compressed or no WAV file.
    """
    path = Path(path)
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, count = file.getparams()[:4]
            data = file.readframes(count)
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path}: not a readable WAV file: {str(error) or 'it ends too early'}") from None
    if len(data) != count * channels * width:
        found = len(data) // (channels * width)
        raise ValueError(f"{path}: the header declares {count} samples, found {found}")
    x: NDArray[Any]
    if width == 1:
        x = np.frombuffer(data, np.uint8).astype(np.float32) / 128 - 1
    elif width == 3:
        bytes_ = np.frombuffer(data, np.uint8).reshape(-1, 3)
        x = np.hstack([np.zeros_like(bytes_[:, :1]), bytes_]).view("<i4")[:, 0].astype(np.float32) * np.float32(2**-31)
    else:
        x = np.frombuffer(data, f"<i{width}").astype(np.float32) * np.float32(2.0 ** (1 - 8 * width))
    return (x if channels == 1 else x.reshape(-1, channels)).astype(np.float32, copy=False), rate


def time_stretch(x: Signal, rate: float) -> Signal:
    """The same sounds in len(x) / rate samples: rate > 1 shortens, rate < 1 lengthens.

    Flanagan & Golden, "Phase Vocoder", 1966: frames are read at other times, their phases go on at each frequency.
    It loses up to a tenth of the amplitude: bins of one sound drift apart.
    """
    if not rate > 0:
        raise ValueError(f"rate must be > 0, got {rate}")
    hop = WINDOW // 4
    window = _hann(WINDOW)
    padded = np.pad(_checked(x), (WINDOW // 2, WINDOW // 2 + 2 * hop))
    frames = _scipy("fft").rfft(_frames(padded, WINDOW, hop) * window)
    loudness, angles = np.abs(frames), np.angle(frames) / np.float32(2 * np.pi)  # angles count turns
    times = np.arange(0, len(frames) - 1, rate)
    at = times.astype(np.intp)
    between = (times - at)[:, None].astype(np.float32)
    sizes = (1 - between) * loudness[at] + between * loudness[at + 1]
    expected = hop / WINDOW * np.arange(frames.shape[1])
    turns = (angles[1:] - angles[:-1]) - expected
    turns -= np.rint(turns)
    phases = np.empty(sizes.shape)
    phases[0] = angles[0]
    np.cumsum((expected + turns)[at[:-1]], 0, out=phases[1:])
    phases[1:] += angles[0]
    phases -= np.rint(phases)
    waves = (np.float32(2 * np.pi) * phases.astype(np.float32)).astype(np.float32)
    pieces = _scipy("fft").irfft(sizes * (np.cos(waves) + 1j * np.sin(waves))) * window
    sums, weights = np.zeros((2, len(pieces) + 3, hop))
    for quarter in range(4):
        part = slice(quarter * hop, (quarter + 1) * hop)
        sums[quarter : quarter + len(pieces)] += pieces[:, part]
        weights[quarter : quarter + len(pieces)] += (window * window)[part]
    length = round(len(x) / rate)
    y = (sums / np.maximum(weights, 1e-3)).ravel()
    return fitted(y[WINDOW // 2 : WINDOW // 2 + length], length)


def pitch_shift(x: Signal, semitones: float) -> Signal:
    """The same length, all frequencies times 2^(semitones / 12)."""
    stretched = time_stretch(x, 2 ** (-semitones / 12))
    y: Signal = _scipy("signal").resample(stretched, len(x)).astype(np.float32)
    return y


def add_noise(x: Signal, snr: float, rng: np.random.Generator) -> Signal:
    """White noise whose power lies snr decibels below x's."""
    power = float(np.mean(_checked(x).astype(np.float64) ** 2)) / 10 ** (snr / 10)
    return x + np.float32(math.sqrt(power)) * rng.standard_normal(len(x), np.float32)


def shift(x: Signal, samples: int) -> Signal:
    """Later by samples, or earlier if negative; silence comes in."""
    y = np.zeros_like(_checked(x))
    if abs(samples) < len(x):
        y[max(samples, 0) : len(x) + min(samples, 0)] = x[max(-samples, 0) : len(x) - max(samples, 0)]
    return y


def gain(x: Signal, decibels: float) -> Signal:
    return _checked(x) * np.float32(10 ** (decibels / 20))


def fitted(x: NDArray[Any], length: int) -> Signal:
    """The first length samples, with silence behind them where x has fewer."""
    return np.pad(x[:length], (0, max(0, length - len(x)))).astype(np.float32)


def without_silence(x: Signal, sample_rate: int, decibels: float = 40.0) -> Signal:
    """What lies between the first and the last 20 ms that are at most decibels below the loudest 20 ms."""
    if not len(x):
        return x
    size = max(1, sample_rate // 50)
    blocks = np.pad(_checked(x), (0, -len(x) % size)).reshape(-1, size)
    powers = np.mean(blocks.astype(np.float64) ** 2, 1)
    loud = np.flatnonzero(powers >= max(powers.max() * 10 ** (-decibels / 10), TINY))
    return x[loud[0] * size : (loud[-1] + 1) * size] if len(loud) else x[:0]


def mel_spectrogram(
    x: NDArray[Any], sample_rate: int, *, window: int = 256, hop: int = 128, mels: int = 40, low: float = 0.0,
    high: float | None = None,
) -> Signal:  # fmt: skip
    """x (..., samples) -> decibels (..., frames, mels) of windows around every hop-th sample, low to high Hz."""
    high = sample_rate / 2 if high is None else high
    if not 0 <= low < high <= sample_rate / 2:
        raise ValueError(f"low and high must lie in [0, {sample_rate / 2:g}], low the lower, got {low} and {high}")
    x = np.asarray(x, np.float32)
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(window // 2, window // 2)])
    hann = _hann(window)
    spectra = _scipy("fft").rfft(_frames(padded, window, hop) * hann)
    powers = (spectra.real**2 + spectra.imag**2) / np.float32(np.sum(hann) ** 2)
    decibels: Signal = 10 * np.log10(powers @ mel_filters(sample_rate, window, mels, low, high) + np.float32(TINY))
    return decibels


@lru_cache(maxsize=8)
def mel_filters(sample_rate: int, window: int, mels: int, low: float, high: float) -> Signal:
    """(window // 2 + 1, mels): triangles between mels + 2 frequencies, which are even in 2595 log10(1 + f / 700).

    Read-only, since every clip takes the same.
    """
    first, last = (2595 * math.log10(1 + f / 700) for f in (low, high))
    edges = 700 * (10 ** (np.linspace(first, last, mels + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(window, 1 / sample_rate)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    filters: Signal = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters.flags.writeable = False
    return filters


@lru_cache(maxsize=8)
def _hann(size: int) -> Signal:
    window: Signal = _scipy("signal").get_window("hann", size).astype(np.float32)
    window.flags.writeable = False
    return window


class Effect(Protocol):
    """One random change of a clip."""

    def __call__(self, x: Signal, sample_rate: int, draws: Draws) -> Signal: ...


class TimeStretch:
    """Shortened or lengthened, rate drawn on a logarithmic scale."""

    def __init__(self, rate: Range = (0.8, 1.25)) -> None:
        self.range = ordered(rate, "rate", above=0.0)

    def __call__(self, x: Signal, sample_rate: int, draws: Draws) -> Signal:
        return time_stretch(x, math.exp(drawn(draws, (math.log(self.range[0]), math.log(self.range[1])))))


class PitchShift:
    def __init__(self, semitones: Range = (-2.0, 2.0)) -> None:
        self.range = ordered(semitones, "semitones")

    def __call__(self, x: Signal, sample_rate: int, draws: Draws) -> Signal:
        return pitch_shift(x, drawn(draws, self.range))


class Noise:
    """White noise at a signal-to-noise ratio of so many decibels."""

    def __init__(self, snr: Range = (10.0, 40.0)) -> None:
        self.range = ordered(snr, "snr")

    def __call__(self, x: Signal, sample_rate: int, draws: Draws) -> Signal:
        rng = np.random.Generator(np.random.Philox(int(draws.words()[0, 0])))
        return add_noise(x, drawn(draws, self.range), rng)


class Shift:
    """Later or earlier by up to so many seconds."""

    def __init__(self, seconds: Range = (-0.1, 0.1)) -> None:
        self.range = ordered(seconds, "seconds")

    def __call__(self, x: Signal, sample_rate: int, draws: Draws) -> Signal:
        return shift(x, round(drawn(draws, self.range) * sample_rate))


class Gain:
    def __init__(self, decibels: Range = (-6.0, 6.0)) -> None:
        self.range = ordered(decibels, "decibels")

    def __call__(self, x: Signal, sample_rate: int, draws: Draws) -> Signal:
        return gain(x, drawn(draws, self.range))


class Sometimes:
    """An effect on a share of the clips, drawn; the others stay as they are."""

    def __init__(self, effect: Effect, share: float = 0.5) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must be in [0, 1], got {share}")
        self.effect, self.share = effect, share

    def __call__(self, x: Signal, sample_rate: int, draws: Draws) -> Signal:
        return self.effect(x, sample_rate, draws) if drawn(draws, (0.0, 1.0)) < self.share else x


class AugmentAudio:
    """Clips (items, samples) float32, changed by effects in their order, as long as before, then transformed.

    transform makes features of one clip, such as mel_spectrogram's. Random numbers depend on seed, epoch and the
    clip's number alone. For data.Batches(augment=), which runs it in workers, or called with clips.
    """

    def __init__(
        self, effects: Sequence[Effect], *, sample_rate: int, seed: int = 0,
        transform: Callable[[Signal], NDArray[Any]] | None = None,
    ) -> None:  # fmt: skip
        self.effects, self.sample_rate, self.seed, self.transform = list(effects), sample_rate, seed, transform

    def __call__(self, x: Signal, *, rows: NDArray[Any] | None = None, epoch: int = 0) -> NDArray[Any]:
        if x.ndim != 2 or x.dtype != np.float32:
            raise ValueError(f"clips must be float32 of shape (n, samples), got {x.dtype} of shape {x.shape}")
        rows = np.arange(len(x)) if rows is None else rows
        return np.stack([self._clip(x[row], int(row), epoch) for row in rows])

    def batch(self, x: Signal, y: Any, rows: NDArray[np.intp], epoch: int, target: str) -> tuple[Any, Any]:
        if target != "labels":
            raise ValueError(f"target must be labels for clips, got {target}")
        return self(x, rows=rows, epoch=epoch), y[rows]

    def _clip(self, clip: Signal, row: int, epoch: int) -> NDArray[Any]:
        length = len(clip)
        for number, effect in enumerate(self.effects):
            clip = effect(clip, self.sample_rate, Draws(self.seed, epoch, np.array([row]), number))
        clip = fitted(clip, length)
        return clip if self.transform is None else self.transform(clip)


def ordered(given: Range, name: str, above: float = -math.inf) -> Range:
    if len(given) != 2 or not above < given[0] <= given[1] < math.inf:
        rule = "" if above == -math.inf else f" > {above:g}"
        raise ValueError(f"{name} must be two numbers{rule}, the first not the larger, got {given}")
    return float(given[0]), float(given[1])


def drawn(draws: Draws, given: Range) -> float:
    return float(draws.uniform(given)[0][0])


def _checked(x: Signal) -> Signal:
    if x.ndim != 1 or x.dtype != np.float32 or not x.size:
        raise ValueError(f"a signal must be float32 of shape (samples,), got {x.dtype} of shape {x.shape}")
    return x


def _frames(x: NDArray[Any], size: int, hop: int) -> NDArray[Any]:
    """(..., samples) -> (..., frames, size), a view."""
    return np.lib.stride_tricks.sliding_window_view(x, size, -1)[..., ::hop, :]


def _scipy(module: str) -> Any:
    try:
        import scipy.fft
        import scipy.signal
    except ImportError:
        raise ImportError('sound needs SciPy: pip install "tapwise[audio]"') from None
    return getattr(scipy, module)
