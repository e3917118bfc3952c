"""What a network looks at: maps of evidence over images, for any class, and checks of them."""

from . import draw as draw
from .bias import bias_report as bias_report
from .cam import eigen_cam as eigen_cam
from .cam import grad_cam as grad_cam
from .cam import grad_cam_plus_plus as grad_cam_plus_plus
from .cam import layer_cam as layer_cam
from .cam import score_cam as score_cam
from .check import Curve as Curve
from .check import agreement as agreement
from .check import centred_map as centred_map
from .check import deletion as deletion
from .check import insertion as insertion
from .check import pointing_game as pointing_game
from .check import random_map as random_map
from .check import randomization as randomization
from .check import rank_correlation as rank_correlation
from .explanation import Explanation as Explanation
from .occlusion import occlusion as occlusion
from .patch_map import ProbabilityMap as ProbabilityMap
from .patches import probability_map as probability_map
from .report import BiasReport as BiasReport
from .saliency import saliency as saliency
