"""bfloat16 training, by Keras' names: set_global_policy("mixed_bfloat16") before the layers are made.

Activations and their gradients are bfloat16, weights, their gradients and the optimizer's state float32, and so are
sums and what the loss reads. The exponents are float32's: no scaling of the loss.
"""

from .layers.policy import DTypePolicy as DTypePolicy
from .layers.policy import dtype_policy as dtype_policy
from .layers.policy import set_dtype_policy as set_dtype_policy

Policy = DTypePolicy
global_policy, set_global_policy = dtype_policy, set_dtype_policy
