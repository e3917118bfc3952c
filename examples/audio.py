"""Which language is spoken? A CNN on mel spectrograms of telephone prompts, with and without augmented sound.

    apt-get install asterisk-core-sounds-{en,es,fr,it,ru}-wav
    pip install ".[audio,plots]" && python examples/audio.py

The same prompts exist in five languages; a fifth of the prompts' names is kept for the test, in all languages. There is
one speaker a language, so what the network tells apart is language and voice together. Takes 70 seconds on two cores.
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
    audio.TimeStretch((0.8, 1.25)),
    audio.PitchShift((-3, 3)),
    audio.Shift((-0.2, 0.2)),
    audio.Gain((-10, 6)),
    audio.Noise((5, 60)),
]
SHARE = 1 / 3  # of the clips that each effect changes: most are changed by one or two, some by none


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
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"{options.folder} is not there: apt-get install asterisk-core-sounds-{{en,es,fr,it,ru}}-wav")
        return
    clips, y, is_test = read(options.folder, 60 if options.quick else None)
    x_train, y_train, x_test, y_test = clips[~is_test], y[~is_test], clips[is_test], y[is_test]
    rng = np.random.default_rng(1)
    conditions = {
        "as they are": x_test,
        "noise 10 dB below": np.stack([audio.add_noise(clip, 10, rng) for clip in x_test]),
        "a fifth slower": np.stack([audio.fitted(audio.time_stretch(clip, 0.8), len(clip)) for clip in x_test]),
        "3 semitones higher": np.stack([audio.pitch_shift(clip, 3) for clip in x_test]),
    }
    tests = {name: np.stack(list(map(spectrogram, part))) for name, part in conditions.items()}
    majority = np.mean(y_test == np.bincount(y_train).argmax())
    print(f"{len(x_train):,} clips to train on, {len(x_test):,} to test; the most frequent language: {majority:.1%}")
    print(f"{'trained on':<18}", *(f"{name:>19}" for name in tests))
    epochs = 2 if options.quick else options.epochs
    sometimes = [audio.Sometimes(effect, SHARE) for effect in EFFECTS]
    figure, axes = pyplot.subplots(1, 3, figsize=(14, 4))
    for number, (name, effects) in enumerate((("clips as they are", []), ("clips augmented", sometimes))):
        tapwise.set_random_seed(0)
        model = network()
        if effects:
            augment = audio.AugmentAudio(effects, sample_rate=RATE, transform=spectrogram)
            batches = data.Batches(x_train, y_train, augment=augment, workers=2)
        else:
            batches = data.Batches(np.stack(list(map(spectrogram, x_train))), y_train)
        # The rate falls to 0: at a constant one the accuracy of the last epoch is a matter of luck.
        rate = optimizers.schedules.CosineDecay(3e-3, epochs * len(batches))
        model.compile(optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(batches, epochs=epochs, verbose=0)
        scores = [model.evaluate(x, y_test, verbose=0)[1] for x in tests.values()]
        print(f"{name:<18}", *(f"{score:>19.1%}" for score in scores), flush=True)
        axes[2].bar(np.arange(len(scores)) + 0.4 * (number - 0.5), scores, 0.38, label=name)
    changed = audio.AugmentAudio(EFFECTS, sample_rate=RATE, seed=2)(x_test[:1])[0]
    for axis, clip, title in ((axes[0], x_test[0], "a clip"), (axes[1], changed, "changed by all five effects")):
        axis.imshow(spectrogram(clip)[..., 0].T, origin="lower", aspect="auto", vmin=-1, vmax=1)
        axis.set(title=title, xlabel="frame", ylabel="mel band")
    axes[2].axhline(majority, color="gray", linestyle=":", label="most frequent language")
    axes[2].set(xlabel="test prompts", ylabel="accuracy", ylim=(0, 1.25), title="five languages")
    axes[2].set_xticks(range(len(tests)), ["\n".join(name.rsplit(" ", 1)) for name in tests])
    axes[2].legend(loc="upper right")
    figure.tight_layout()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
