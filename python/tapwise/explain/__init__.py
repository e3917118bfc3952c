"""What a network looks at: maps of evidence over images, for any class, and checks of them."""

from . import draw as draw
from .cam import eigen_cam as eigen_cam
from .cam import grad_cam as grad_cam
from .cam import grad_cam_plus_plus as grad_cam_plus_plus
from .cam import layer_cam as layer_cam
from .cam import score_cam as score_cam
from .explanation import Explanation as Explanation
from .occlusion import occlusion as occlusion
from .saliency import saliency as saliency
