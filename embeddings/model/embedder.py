"""Crops to vectors: run the converted network in TensorFlow's lite runtime.

The network processes one crop at a time, so a vector never depends on the rest of the request. One interpreter computes
with all threads, behind a lock. Single-threaded interpreters side by side, one for each thread, served two clients a
few per cent faster, but one client at half the speed, in twice the memory. Two other ways gained nothing: several crops
in one larger input tensor, and preparing the next crop meanwhile in a thread.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embeddings.errors import ModelError
from embeddings.model.description import ConvertedModel, ModelDescription
from embeddings.model.native_output import caught_stderr

logger = logging.getLogger(__name__)

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Embedder:
    """Turns crops into vectors. Any number of threads may call it.

    `load` or the first `embed` reads the file. Load after forking: the interpreter starts threads.

    Args:
        model: the converted file and its description.
        threads: number of threads that compute the network.
    """

    def __init__(self, model: ConvertedModel, *, threads: int = 2) -> None:
        self._model = model
        self._threads = threads
        self._lock = threading.Lock()
        self._network: Network | None = None
        self._checked: tuple[int, ...] = ()

    @property
    def description(self) -> ModelDescription:
        """What the vectors depend on."""
        return self._model.description

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self._model.description.dim

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._network is not None

    def load(self) -> None:
        """Read and verify the weights, once.

        Raises:
            ModelError: the file is missing, is not the one described, or is not such a network.
        """
        with self._lock:
            self._loaded_network()

    def check(self) -> None:
        """Check that the weights can be loaded, without loading them. A file that does not change is read once.

        Raises:
            ModelError: the file is missing, or is not the one described.
        """
        if self.loaded:
            return
        try:
            status = self._model.path.stat()
        except OSError as error:
            raise ModelError(f"the weights {self._model.path} cannot be read: {error.strerror}") from error
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if identity != self._checked:
            _read(self._model)
            self._checked = identity

    def embed(self, crops: Iterable[Image.Image]) -> NDArray[np.float32]:
        """Return one vector per crop, `(n, dim) float32`. A crop may have any size and mode.

        Crops are consumed one by one, so an iterator that makes them on demand keeps only one in memory.

        Raises:
            ModelError: as for `load`.
        """
        vectors = []
        for crop in crops:
            pixels = self.description.preprocessing.pixels(crop)
            with self._lock:
                vectors.append(self._loaded_network()(pixels))
        return np.array(vectors, np.float32).reshape(-1, self.dim)

    def _loaded_network(self) -> Network:
        if self._network is None:
            self._network = _load(self._model, self._threads)
        return self._network


def _read(model: ConvertedModel) -> bytes:
    try:
        content = model.path.read_bytes()
    except OSError as error:
        raise ModelError(f"the weights {model.path} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != model.description.file_sha256:
        raise ModelError(f"the weights {model.path} are damaged: their digest is not the one in their description")
    return content


def _load(model: ConvertedModel, threads: int) -> Network:
    from ai_edge_litert.interpreter import Interpreter

    started = time.perf_counter()
    description = model.description
    content = _read(model)
    try:
        with caught_stderr() as lines:
            interpreter = Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"the weights {model.path} are not a LiteRT model: {error}") from error
    for line in lines:
        logger.debug("LiteRT: %s", line)
    size = description.preprocessing.size
    input_index = _sole_tensor(model, interpreter.get_input_details(), (1, size, size, 3))
    output_index = _sole_tensor(model, interpreter.get_output_details(), (1, description.dim))
    logger.info(
        "loaded %s, %s weights, in %.2f s", description.name, description.weights, time.perf_counter() - started
    )
    if not description.is_trained:
        logger.warning("the %s weights are untrained: %s", description.weights, description.source)

    def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(input_index, pixels[np.newaxis])
        interpreter.invoke()
        vector: NDArray[np.float32] = interpreter.get_tensor(output_index)[0]
        return vector

    return run


def _sole_tensor(model: ConvertedModel, details: list[dict[str, object]], shape: tuple[int, ...]) -> int:
    found = [(tuple(np.asarray(tensor["shape"]).tolist()), tensor["dtype"]) for tensor in details]
    if found != [(shape, np.float32)]:
        raise ModelError(f"the network {model.path} has tensors {found}, but its description says {shape} float32")
    index = details[0]["index"]
    assert isinstance(index, int)
    return index
