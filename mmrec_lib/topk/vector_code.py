"""Pieces of LLVM code that the compiled kernels are made of.

numba renews its files of machine code when the file of a kernel changes, not when this one does: a piece that is to do
something else needs another name.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

I32, I64 = ir.IntType(32), ir.IntType(64)
F32, F64 = ir.FloatType(), ir.DoubleType()


def emitted(function: Any) -> Any:
    """Make a function of LLVM code callable from compiled ones."""
    return intrinsic(function)


def vector_at(builder: Any, address: Any, of: Any, count: int) -> Any:
    """Load a vector from an address of any alignment."""
    loaded = builder.load(builder.inttoptr(address, ir.VectorType(of, count).as_pointer()))
    loaded.align = 1
    return loaded


def spread_over(builder: Any, value: Any, count: int) -> Any:
    """A vector of one value."""
    empty = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(I32, count), [0] * count))


def plus(builder: Any, address: Any, num_bytes: int) -> Any:
    """An address some bytes on."""
    return builder.add(address, ir.Constant(I64, num_bytes))
