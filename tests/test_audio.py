"""Sound, by signals whose answers are known: a stretched sine keeps its frequency, a shifted one moves by semitones."""

import sys
import wave

import numpy as np
import pytest

from tapwise import data
from tapwise.data import audio

pytest.importorskip("scipy", reason='pip install "tapwise[audio]"')
RATE = 8000
TIME = np.arange(RATE, dtype=np.float32) / RATE
SINE = (0.5 * np.sin(2 * np.pi * 440 * TIME)).astype(np.float32)
SPEECH = (np.random.default_rng(0).standard_normal(RATE) * np.sin(np.pi * TIME) ** 2 / 4).astype(np.float32)


def pitch(x):
    """The frequency of the loudest line, between bins by a parabola."""
    size = 1 << 15
    powers = np.log(np.abs(np.fft.rfft(x * np.hanning(len(x)), size)) + 1e-9)
    k = int(powers.argmax())
    a, b, c = powers[k - 1 : k + 2]
    return (k + (a - c) / (2 * (a - 2 * b + c))) * RATE / size


@pytest.mark.parametrize("rate", [0.7, 0.95, 1.0, 1.3, 2.0])
def test_a_stretched_sine_keeps_its_frequency(rate):
    y = audio.time_stretch(SINE, rate)
    assert y.dtype == np.float32
    assert len(y) == round(RATE / rate)
    assert abs(pitch(y) - 440) < 1
    middle = y[len(y) // 4 : -len(y) // 4]
    assert abs(np.sqrt(2 * np.mean(middle**2)) - 0.5) < 0.05


def test_stretching_by_one_changes_nothing():
    np.testing.assert_allclose(audio.time_stretch(SPEECH, 1.0), SPEECH, atol=2e-5)


@pytest.mark.parametrize("semitones", [-5, -1, 0, 1, 7, 12])
def test_pitch_moves_by_semitones(semitones):
    y = audio.pitch_shift(SINE, semitones)
    assert (y.dtype, y.shape) == (np.float32, SINE.shape)
    want = 440 * 2 ** (semitones / 12)
    assert abs(pitch(y[500:-500]) / want - 1) < 0.004  # a fourteenth of a semitone


@pytest.mark.parametrize("snr", [-10, 0, 20])
def test_noise_has_the_asked_ratio(snr):
    noise = audio.add_noise(SPEECH, snr, np.random.default_rng(1)) - SPEECH
    measured = 10 * np.log10(np.mean(SPEECH**2) / np.mean(noise**2))
    assert abs(measured - snr) < 0.3  # 4 standard deviations of 8,000 values' variance are 0.27 dB


def test_shift_and_gain_are_exact():
    x = np.arange(1, 6, dtype=np.float32)
    assert audio.shift(x, 2).tolist() == [0, 0, 1, 2, 3]
    assert audio.shift(x, -2).tolist() == [3, 4, 5, 0, 0]
    assert audio.shift(x, 9).tolist() == [0] * 5
    np.testing.assert_allclose(audio.gain(x, 20), 10 * x, rtol=1e-7)
    np.testing.assert_allclose(audio.gain(x, -6.0206), x / 2, rtol=1e-5)


def test_silence_goes():
    x = np.concatenate([np.zeros(1000, np.float32), SINE[:4000], 1e-4 * SINE])
    kept = audio.without_silence(x, RATE)
    assert 4000 <= len(kept) <= 4000 + 2 * 160
    assert len(audio.without_silence(np.zeros(500, np.float32), RATE)) == 0
    assert len(audio.without_silence(x[:0], RATE)) == 0


def test_mel_spectrogram_shows_a_sine_where_it_is():
    y = audio.mel_spectrogram(SINE, RATE)
    assert (y.dtype, y.shape) == (np.float32, (63, 40))
    filters = audio.mel_filters(RATE, 256, 40, 0, RATE / 2)
    middle = y[5:-5]
    assert set(middle.argmax(1)) <= set(np.flatnonzero(filters[round(440 * 256 / RATE)]))
    assert np.abs(middle.max(1) - 10 * np.log10(0.25**2)).max() < 3  # half of the amplitude, to both sides of 0 Hz
    assert middle[:, 30:].max() < -60
    assert audio.mel_spectrogram(np.zeros(RATE, np.float32), RATE).max() == pytest.approx(-100, abs=1e-4)
    both = audio.mel_spectrogram(np.stack([SINE, SPEECH]), RATE)
    np.testing.assert_allclose(both[0], y, atol=1e-3)


def test_mel_filters_add_up_to_one():
    sums = audio.mel_filters(RATE, 2048, 20, 0, RATE / 2).sum(1)
    np.testing.assert_allclose(sums[60:-200], 1, atol=1e-6)


def write(path, width, samples, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, RATE, 0, "NONE", ""))
        values = np.asarray(samples) * 2.0 ** (8 * width - 1)
        if width == 1:
            file.writeframes((values + 128).astype(np.uint8).tobytes())
        else:
            numbers = values.astype("<i4").reshape(-1, 1).view(np.uint8)
            file.writeframes(numbers[:, :width].tobytes())


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_files_of_all_widths(tmp_path, width):
    want = np.array([0, 0.5, -0.5, -1, 0.25, 0.984375])
    write(tmp_path / "x.wav", width, want)
    x, rate = audio.read_wav(tmp_path / "x.wav")
    assert (x.dtype, rate) == (np.float32, RATE)
    np.testing.assert_array_equal(x, want)
    write(tmp_path / "stereo.wav", width, want, 2)
    np.testing.assert_array_equal(audio.read_wav(tmp_path / "stereo.wav")[0], want.reshape(3, 2))
    write(tmp_path / "empty.wav", width, [])
    assert audio.read_wav(tmp_path / "empty.wav")[0].shape == (0,)


def test_wav_files_that_cant_be_read_are_named(tmp_path):
    path = tmp_path / "x.wav"
    write(path, 2, SINE)
    whole = path.read_bytes()
    for damaged, message in (
        (whole[:-100], "the header declares 8000 samples, found 7950"),
        (whole[:10], "not a readable WAV file"),
        (b"", "not a readable WAV file: it ends too early"),
        (b"OggS" + whole[4:], "not a readable WAV file: file does not start with RIFF id"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=message) as caught:
            audio.read_wav(path)
        assert str(caught.value).startswith(str(path))


def test_augmented_clips_depend_on_seed_epoch_and_clip_alone():
    clips = np.stack([SINE, SPEECH, SINE[::-1], SPEECH / 2])
    effects = [audio.TimeStretch(), audio.PitchShift(), audio.Noise(), audio.Shift(), audio.Gain()]
    augment = audio.AugmentAudio(effects, sample_rate=RATE, seed=3)
    whole = augment(clips, epoch=2)
    assert (whole.dtype, whole.shape) == (np.float32, clips.shape)
    assert (whole != clips).mean() > 0.9
    assert (whole != augment(clips, epoch=1)).mean() > 0.9
    for workers in (0, 1, 2, 4):
        batches = data.Batches(clips, np.arange(4), batch_size=1, augment=augment, workers=workers)
        for x, y in batches.epoch(2):
            np.testing.assert_array_equal(x[0], whole[y[0]])
    augment.transform = lambda x: audio.mel_spectrogram(x, RATE)
    batches = data.Batches(clips, np.arange(4), augment=augment)
    assert batches.like()[0].shape == (4, 63, 40)


def test_an_effect_on_a_share_of_the_clips():
    clips = np.tile(SINE, (400, 1))[:, :80].copy()
    augment = audio.AugmentAudio([audio.Sometimes(audio.Gain((6, 6)), 0.25)], sample_rate=RATE, seed=1)
    changed = (augment(clips) != clips).any(1)
    assert abs(changed.sum() - 100) <= 3 * np.sqrt(400 * 0.25 * 0.75)  # three standard deviations
    np.testing.assert_array_equal(augment(clips)[changed], audio.gain(SINE[:80], 6)[None].repeat(changed.sum(), 0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: audio.Sometimes(audio.Gain(), 1.5), r"share must be in \[0, 1\], got 1.5"),
        (lambda: audio.time_stretch(SINE, 0), "rate must be > 0, got 0"),
        (
            lambda: audio.time_stretch(SINE.astype("f8"), 1),
            "a signal must be float32 of .*, got float64",
        ),
        (lambda: audio.gain(SINE[:0], 1), r"a signal must be float32 of shape \(samples,\), .* shape \(0,\)"),
        (lambda: audio.TimeStretch((0, 1)), "rate must be two numbers > 0, the first not the larger"),
        (lambda: audio.Gain((2, 1)), "decibels must be two numbers, the first not the larger"),
        (lambda: audio.mel_spectrogram(SINE, RATE, high=5000), r"low and high must lie in \[0, 4000\]"),
        (lambda: audio.AugmentAudio([], sample_rate=RATE)(SINE), r"clips must be float32 of shape \(n, samples\)"),
    ],
)
def test_rejects(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_scipy_the_install_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.signal", None)
    with pytest.raises(ImportError, match=r'pip install "tapwise\[audio\]"'):
        audio.pitch_shift(SINE, 1)
