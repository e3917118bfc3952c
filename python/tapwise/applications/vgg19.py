"""VGG19."""

from .ends import Application
from .imagenet import centred_bgr as preprocess_input
from .imagenet import decode_predictions
from .vgg import blocks, top

__all__ = ["VGG19", "decode_predictions", "preprocess_input"]

VGG19 = Application("vgg19", blocks((2, 2, 4, 4, 4)), top)
