"""What Keras keeps under this name, from where it belongs here."""

from ..data.directory import image_dataset_from_directory as image_dataset_from_directory
from ..data.labels import normalize as normalize
from ..data.labels import pad_sequences as pad_sequences
from ..data.labels import to_categorical as to_categorical
from ..data.stream import PyDataset as PyDataset
from ..drawing import plot_model as plot_model
from ..random import set_random_seed as set_random_seed
