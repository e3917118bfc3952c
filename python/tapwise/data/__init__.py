"""Images from files, and mini-batches of them."""

from . import audio as audio
from .augment import Augment as Augment
from .batches import Batches as Batches
from .dataset import Dataset as Dataset
from .dataset import read as read
from .directory import image_dataset_from_directory as image_dataset_from_directory
from .embeddings import WordVectors as WordVectors
from .embeddings import read_word_vectors as read_word_vectors
from .folder import read_folder as read_folder
from .idx import read_idx as read_idx
from .idx import read_idx_pair as read_idx_pair
from .npz import read_npz as read_npz
from .split import stratified_split as stratified_split
from .stream import Stream as Stream
