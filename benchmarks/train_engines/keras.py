"""TensorFlow through Keras: train_on_batch, compiled by XLA or not."""

import keras
import tensorflow

from networks import TASKS

XLA = False


def start(settings):
    global XLA
    tensorflow.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    XLA = settings["xla"]
    return {"version": tensorflow.__version__}


def step(name, x, y):
    model = TASKS[name].make(keras)
    optimizer = keras.optimizers.Adam() if TASKS[name].optimizer == "adam" else keras.optimizers.SGD(0.01, 0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=XLA)
    images, labels = tensorflow.constant(x), tensorflow.constant(y)
    return lambda: float(model.train_on_batch(images, labels))
