"""Which language is spoken? A CNN on mel spectrograms of telephone prompts, with and without augmented sound.

    apt-get install asterisk-core-sounds-{en,es,fr,it,ru}-wav
    pip install ".[audio,plots]" && python examples/audio.py

The same prompts exist in five languages; a fifth of the prompts' names is kept for the test, in all languages. There is
one speaker a language, so what the network tells apart is language and voice together. Takes two minutes.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

import tapwise
from tapwise import data, layers, optimizers
from tapwise.data import audio

matplotlib.use("Agg")
from matplotlib import pyplot

FOLDER = Path("/usr/share/asterisk/sounds")
LANGUAGES = {"en": "en_US_f_Allison", "es": "es_MX_f_Allison", "fr": "fr_CA_f_June", "it": "it_IT_m_Carlo",
             "ru": "ru_RU_f_IvrvoiceRU"}  # fmt: skip
RATE, SECONDS = 8000, 1.5
EFFECTS = [
    audio.TimeStretch((0.85, 1.18)),
    audio.PitchShift((-2, 2)),
    audio.Shift((-0.2, 0.2)),
    audio.Gain((-10, 6)),
    audio.Noise((5, 60)),
]


def spectrogram(clip):
    """(samples,) -> (frames, mels, 1), the loudest 50 decibels as -1 to 1."""
    decibels = audio.mel_spectrogram(clip, RATE, hop=160)
    return np.maximum((decibels - decibels.max()) / 25 + 1, -1)[..., None]


def read(folder, most):
    """Clips (n, samples) without silence at their ends, languages (n,), and whether each is for the test (n,)."""
    clips, languages, prompts = [], [], []
    for number, name in enumerate(LANGUAGES.values()):
        for path in sorted((folder / name).rglob("*.wav"))[:most]:
            clip, rate = audio.read_wav(path)
            assert rate == RATE
            clip = audio.without_silence(clip, RATE)
            if len(clip) >= RATE // 4:
                clips.append(audio.fitted(clip, round(SECONDS * RATE)))
                languages.append(number)
                prompts.append(str(path.relative_to(folder / name)))
    names = sorted(set(prompts))
    kept = {names[i] for i in np.random.default_rng(0).permutation(len(names))[: len(names) // 5]}
    return np.stack(clips), np.array(languages), np.array([prompt in kept for prompt in prompts])


def network():
    model = [tapwise.Input((76, 40, 1))]
    for filters in (16, 32, 48):
        model += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ]
    model += [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(len(LANGUAGES), activation="softmax")]
    return tapwise.Sequential(model)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="audio.png")
    parser.add_argument("--quick", action="store_true", help="fewer clips and epochs")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"{options.folder} is not there: apt-get install asterisk-core-sounds-{{en,es,fr,it,ru}}-wav")
        return
    clips, y, is_test = read(options.folder, 60 if options.quick else None)
    x_train, y_train, x_test, y_test = clips[~is_test], y[~is_test], clips[is_test], y[is_test]
    rng = np.random.default_rng(1)
    conditions = {
        "test prompts": x_test,
        "noise 10 dB below": np.stack([audio.add_noise(clip, 10, rng) for clip in x_test]),
        "3 semitones higher": np.stack([audio.pitch_shift(clip, 3) for clip in x_test]),
    }
    tests = {name: np.stack(list(map(spectrogram, part))) for name, part in conditions.items()}
    majority = np.mean(y_test == np.bincount(y_train).argmax())
    print(f"{len(x_train):,} clips to train on, {len(x_test):,} to test; the most frequent language: {majority:.1%}")
    print(f"{'training':<20}", *(f"{name:>20}" for name in tests))
    figure, axes = pyplot.subplots(1, 3, figsize=(14, 4))
    for name, effects in (("clips as they are", []), ("clips augmented", EFFECTS)):
        tapwise.set_random_seed(0)
        model = network()
        model.compile(optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
        augment = audio.AugmentAudio(effects, sample_rate=RATE, transform=spectrogram)
        batches = data.Batches(x_train, y_train, augment=augment, workers=2)
        epochs = 2 if options.quick else options.epochs
        history = model.fit(batches, epochs=epochs, validation_data=(tests["test prompts"], y_test), verbose=0).history
        print(f"{name:<20}", *(f"{model.evaluate(x, y_test, verbose=0)[1]:>20.1%}" for x in tests.values()), flush=True)
        axes[2].plot(history["val_accuracy"], label=name)
    for axis, clip, title in ((axes[0], x_test[0], "a clip"), (axes[1], augment(x_test[:1])[0], "the same, augmented")):
        image = spectrogram(clip) if clip.ndim == 1 else clip
        axis.imshow(image[..., 0].T, origin="lower", aspect="auto", vmin=-1, vmax=1)
        axis.set(title=title, xlabel="frame", ylabel="mel band")
    axes[2].axhline(majority, color="gray", linestyle=":", label="most frequent language")
    axes[2].set(xlabel="epoch", ylabel="accuracy on test prompts", ylim=(0, 1))
    axes[2].legend()
    figure.tight_layout()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
