"""Networks by Keras' names, made of layers; each family's module has preprocess_input and decode_predictions too."""

from . import alexnet as alexnet
from . import densenet as densenet
from . import efficientnet as efficientnet
from . import efficientnet_lite as efficientnet_lite
from . import imagenet as imagenet
from . import inception_resnet_v2 as inception_resnet_v2
from . import inception_v3 as inception_v3
from . import lenet as lenet
from . import mobilenet as mobilenet
from . import mobilenet_v2 as mobilenet_v2
from . import nasnet as nasnet
from . import resnet as resnet
from . import resnet_v2 as resnet_v2
from . import vgg16 as vgg16
from . import vgg19 as vgg19
from . import xception as xception
from .alexnet import AlexNet
from .densenet import DenseNet121, DenseNet169, DenseNet201
from .efficientnet import EfficientNetB0
from .efficientnet_lite import EfficientNetLite0
from .inception_resnet_v2 import InceptionResNetV2
from .inception_v3 import InceptionV3
from .lenet import LeNet5
from .mobilenet import MobileNet
from .mobilenet_v2 import MobileNetV2
from .nasnet import NASNetLarge, NASNetMobile
from .resnet import ResNet18, ResNet20, ResNet50, ResNet101, ResNet152
from .resnet_v2 import ResNet50V2, ResNet101V2, ResNet152V2
from .vgg16 import VGG16
from .vgg19 import VGG19
from .xception import Xception

__all__ = [
    "VGG16",
    "VGG19",
    "AlexNet",
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "EfficientNetB0",
    "EfficientNetLite0",
    "InceptionResNetV2",
    "InceptionV3",
    "LeNet5",
    "MobileNet",
    "MobileNetV2",
    "NASNetLarge",
    "NASNetMobile",
    "ResNet18",
    "ResNet20",
    "ResNet50",
    "ResNet50V2",
    "ResNet101",
    "ResNet101V2",
    "ResNet152",
    "ResNet152V2",
    "Xception",
]
