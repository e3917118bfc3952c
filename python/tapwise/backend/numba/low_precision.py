"""bfloat16 and int8 have no Numba kernels, and nothing is cast silently."""

from __future__ import annotations

from typing import Any, NoReturn

from ..interface import Array


def _refuse(dtype: str) -> NoReturn:
    raise TypeError(f"x must be float32 or float64 on the numba backend, got {dtype}: native and reference have it")


def conv_bf16(*arrays: Any, **options: Any) -> None:
    _refuse("bfloat16")


cast = conv_bf16_grad_input = conv_bf16_grad_weight = conv_bf16


def bf16_algorithm(w: Array, *geometry: Any) -> str:
    _refuse(str(w.dtype))


def conv_int8(*arrays: Any, **options: Any) -> None:
    _refuse("int8")


def pack_words(w: Array, *geometry: Any) -> None:
    _refuse(str(w.dtype))
