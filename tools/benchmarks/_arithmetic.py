"""How many products of numbers a training step takes, and how fast a plain matrix product is.

Counted are the products that a training step cannot do without: convolutions, recurrent layers and output layers,
forwards and backwards, over all frames of the padded batch, the utterance whole.  One multiplication with its
addition is 2 FLOP.
Additions of biases, gates, norms, losses, features and the optimiser are not counted: they are little, and
counting them would flatter us.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from asr.model import ModelConfig
    from asr.nn.cells.cell import Cell
    from asr.nn.encoder import EncoderConfig

PRODUCT_SIZE = 4096  # of the square matrices that a step is compared with


def forward_products(config: "ModelConfig", num_tokens: int, rows: int, frames: int) -> Iterator[tuple[str, int]]:
    """Yield (layer, multiply-adds) of the encoder's forward pass, the first layer first.

    Args: rows, frames: B and T of the padded batch of features (B, T, F).
    """
    front = config.encoder
    front_products = list(_convolutions(config, rows, frames))
    yield from front_products
    positions = rows * _subsampled(frames, front.strided)
    inputs, directions = front.subsampling_width, 2 if front.bidirectional else 1
    for layer in range(1, front.layers + 1):
        matrices, outputs = _cell(front, inputs)
        yield f"{front.cell} {layer}", positions * directions * matrices
        inputs = directions * outputs
    heads = 2 if front.intermediate else 1
    yield "output", positions * heads * inputs * num_tokens


def _cell(config: "EncoderConfig", inputs: int) -> tuple[int, int]:
    """Return the numbers in the matrices of a layer of one direction, each used once a frame, and its outputs."""
    import torch

    from asr.nn.cells import make_cell

    with torch.device("meta"):
        cell = make_cell(config.cell, inputs, config.hidden, projection=config.projection)
    return numbers_in_matrices(cell), cell.output_size


def numbers_in_matrices(cell: "Cell") -> int:
    """Return the numbers in the matrices of a cell, each of which a frame is multiplied with once."""
    operands = cell.operands()
    matrices = (cell.input_matrix(), operands.recurrent, operands.projection)
    return sum(matrix.numel() for matrix in matrices if matrix is not None)


def step_flop(config: "ModelConfig", num_tokens: int, rows: int, frames: int) -> int:
    """Return the FLOP of a training step on features (B, T, F), forwards and backwards.

    Backwards, every layer takes two products as large as its own: one for the gradient of its weights, one for
    that of its input.  The first layer needs none for its input, which is data.
    """
    products = [count for _, count in forward_products(config, num_tokens, rows, frames)]
    return 2 * (3 * sum(products) - products[0])


def product_rate(size: int, dtype: "torch.dtype", device: "torch.device", repeats: int = 1) -> float:
    """Return the FLOP per second of the product of two square matrices of random numbers."""
    import torch

    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    product = torch.empty_like(left)
    torch.mm(left[:64], right)  # the kernel is loaded, the threads are awake
    synchronize(device)
    started = time.perf_counter()
    for _ in range(repeats):
        torch.mm(left, right, out=product)
    synchronize(device)
    return repeats * 2 * size**3 / (time.perf_counter() - started)


def synchronize(device: "torch.device") -> None:
    """Wait until a GPU has done all it was given; on a CPU that is always so."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _convolutions(config: "ModelConfig", rows: int, frames: int) -> Iterator[tuple[str, int]]:
    encoder, features = config.encoder, config.features.num_features
    if encoder.subsampling == "conv":
        for number, (kernel, stride) in enumerate(encoder.strided, start=1):
            frames = _subsampled(frames, ((kernel, stride),))
            yield f"convolution {number}", rows * frames * kernel * features * encoder.subsampling_width
            features = encoder.subsampling_width
        return
    channels, outputs = 1, 32
    for number in range(len(encoder.strided) // 3):  # a block: two convolutions of 3 x 3, then pooling
        positions = rows * frames * features
        yield f"convolution {2 * number + 1}", positions * 9 * channels * outputs
        yield f"convolution {2 * number + 2}", positions * 9 * outputs * outputs
        frames = _subsampled(frames, encoder.strided[3 * number + 2 : 3 * number + 3])
        channels, outputs, features = outputs, outputs + 32, (features + 1) // 2
    yield "projection", rows * frames * channels * features * encoder.subsampling_width


def _subsampled(frames: int, strided: tuple[tuple[int, int], ...]) -> int:
    for kernel, stride in strided:
        frames = (frames + 2 * ((kernel - 1) // 2) - kernel) // stride + 1
    return frames
