"""VGG16."""

from .ends import Application
from .imagenet import centred_bgr as preprocess_input
from .imagenet import decode_predictions
from .vgg import blocks, top

__all__ = ["VGG16", "decode_predictions", "preprocess_input"]

VGG16 = Application("vgg16", blocks((2, 2, 3, 3, 3)), top)
