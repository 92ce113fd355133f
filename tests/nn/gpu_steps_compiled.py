"""Bytes of machine code of every kernel for a card of compute capability 9.0, as JSON; `test_gpu_steps` starts this.

Triton brings the assembler, so no GPU is needed: each cell runs with kernels that are compiled for what they are given
and not launched.
"""

import json
from dataclasses import replace
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from asr.nn.cells import CELL_NAMES, CellName, make_cell
from asr.nn.gpu_steps import run_steps

H200 = GPUTarget("cuda", 90, 32)
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}


class Compiled:
    """A kernel that is compiled where it would be launched."""

    def __init__(self, function: Any) -> None:
        self.function, self.sizes = function, list[int]()

    def warmup(self, *arguments: Any, grid: tuple[int, ...], **options: Any) -> None:
        """Compile for arguments as Triton would on a GPU."""
        signature, constants, aligned = {}, {}, {}
        for number, (parameter, value) in enumerate(zip(self.function.params, arguments, strict=True)):
            signature[parameter.name] = "constexpr" if parameter.is_constexpr else "i32"
            if isinstance(value, Tensor):
                signature[parameter.name] = POINTERS[value.dtype]
                aligned[(number,)] = [["tt.divisibility", 16]]
            elif parameter.is_constexpr:
                constants[parameter.name] = value
            else:
                assert parameter.do_not_specialize, f"{parameter.name} would be compiled for each of its values"
        source = ASTSource(self.function, signature, constants, aligned)
        self.sizes.append(len(triton.compile(source, target=H200, options=options).asm["cubin"]))

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *arguments: None


def sizes_of(name: CellName, dtype: torch.dtype) -> list[int]:
    """Return the bytes of the forward and of the backward kernel."""
    cell: Any = make_cell(name, 8, 320)
    kernel = cell.kernel("cuda")
    forward, backward = Compiled(kernel.forward), Compiled(kernel.backward)
    cell.kernel = lambda device: replace(kernel, forward=forward, backward=backward)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        ((hidden, memory),) = run_steps([cell], [torch.zeros(2, 1, 8)], [cell.initial_state(1)])
    (hidden.float().sum() + memory.sum()).backward()
    return forward.sizes + backward.sizes


if __name__ == "__main__":
    print(json.dumps({f"{name}, {dtype}": sizes_of(name, dtype) for name in CELL_NAMES for dtype in POINTERS}))
