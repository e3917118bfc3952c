"""What fit tells how it gets on, by Keras' names."""

from .backup import BackupAndRestore
from .callback import Callback
from .files import CSVLogger, ModelCheckpoint, TensorBoard
from .rates import EarlyStopping, LambdaCallback, LearningRateScheduler, ReduceLROnPlateau, TerminateOnNaN

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
