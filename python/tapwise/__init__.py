"""Tapwise: a compiled convolution engine with a thin CNN training layer."""

from ._version import __version__ as __version__
