"""Check that an Annoy file can be searched safely.

Annoy maps whatever file it is given and follows the numbers in it. A damaged file crashes the process or gives wrong
results, and a file truncated at the right place loads without an error. So the whole structure is checked before Annoy
sees a file. The check reads the file from end to end, which also brings it into the page cache. It reads rather than
maps the file, because a bad disk block is an error to a reader, but kills a process that has the block mapped.

The layout (Annoy 1.17, `annoylib.h`; Euclidean distance): nodes of `16 + 4 * dim` bytes, each

    int32 n_descendants | float32 a | int32 children[2] | float32 v[dim]

- Nodes 0 to n - 1 are the items, with one descendant each: themselves.
- A node with at most `dim + 2` descendants is a bucket: their item numbers fill the space of `children` and `v`.
- Any other node is a split; its children are nodes or items, and its descendants are those of its children.
- A root is a node with n descendants. The file ends with copies of all roots, where Annoy finds them.

The structure cannot show changed coordinates, or an item number that became another one: those are left to the digests
in `index.json`. Neither can crash a search, nor give a logo the id or distance of another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from io import FileIO

import numpy as np
from numpy.typing import NDArray

from index.errors import IndexDamagedError

_DESCENDANTS, _CHILDREN, _HEADER_VALUES = 0, 2, 4  # counted in 4-byte values
_BLOCK_BYTES = 2**22  # measured: larger blocks leave the processor's cache, smaller ones cost more calls


def node_size(dim: int) -> int:
    """Return the size of one node in bytes."""
    return 4 * (_HEADER_VALUES + dim)


def check_annoy_file(
    file: FileIO,
    *,
    dim: int,
    items: int,
    seen: Callable[[memoryview], object] = lambda _content: None,
) -> int:
    """Check an Annoy file of `items` vectors of `dim` values.

    Args:
        file: just opened for reading.
        dim: the number of values in a vector.
        items: how many items it must hold.
        seen: called with the content of the file, part by part.

    Returns:
        The number of trees.

    Raises:
        IndexDamagedError: the file cannot be searched safely; the message says why.
        OSError: it cannot be read.
    """
    size = os.fstat(file.fileno()).st_size
    if size == 0 or size % node_size(dim):
        raise IndexDamagedError(f"its {size} bytes are not a whole number of nodes for vectors of {dim} values")
    nodes = size // node_size(dim)
    logos = int(_node(file, nodes - 1, dim)[_DESCENDANTS])
    if logos != items:
        raise IndexDamagedError(f"its last node is not a root over the {items} logos of index.txt, but has {logos}")
    if nodes < items + 2:
        raise IndexDamagedError(f"its {nodes} nodes leave no room for a tree over {items} logos")
    headers = []
    for first, block in _blocks(file, nodes, dim, seen):
        item_rows = min(max(items - first, 0), len(block))
        if (block[:item_rows, _DESCENDANTS] != 1).any():
            raise IndexDamagedError(f"a node from {first} to {first + item_rows - 1} is not a vector of a logo")
        if not _buckets_hold_items(block[item_rows:], items, dim):
            raise IndexDamagedError(f"a bucket from node {first + item_rows} on holds something other than logos")
        headers.append(block[item_rows:, :_HEADER_VALUES].copy())
    tree_nodes = np.concatenate(headers)
    trees = _count_trees(tree_nodes, items)
    _check_splits(tree_nodes[:-trees], items, dim)
    _check_root_copies(file, tree_nodes[:, _DESCENDANTS], items, dim)
    return trees


def _blocks(
    file: FileIO, nodes: int, dim: int, seen: Callable[[memoryview], object]
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Yield the file from its start: the number of a node, and the `(m, 4 + dim)` nodes from there on.

    The same array is yielded each time, refilled.
    """
    buffer = np.empty((max(1, _BLOCK_BYTES // node_size(dim)), _HEADER_VALUES + dim), np.int32)
    for first in range(0, nodes, len(buffer)):
        block = buffer[: nodes - first]
        content = unread = block.data.cast("B")
        while unread:
            count = file.readinto(unread)
            if not count:
                raise IndexDamagedError("it was truncated while it was read")
            unread = unread[count:]
        seen(content)
        yield first, block


def _buckets_hold_items(nodes: NDArray[np.int32], items: int, dim: int) -> bool:
    """Return whether all children of the buckets among `(m, 4 + dim)` tree nodes are items."""
    capacity = dim + 2
    if (nodes[:, _DESCENDANTS] < 1).any():
        return False
    buckets = nodes[nodes[:, _DESCENDANTS] <= capacity]
    children = buckets[:, _CHILDREN:].view(np.uint32)  # a negative number becomes too large a one
    if children.max(initial=0) < items:  # Annoy leaves zeros after the last child, so this decides most cases
        return True
    return bool((children[np.arange(capacity) < buckets[:, [_DESCENDANTS]]] < items).all())


def _count_trees(tree_nodes: NDArray[np.int32], items: int) -> int:
    """Count the roots among the `(m, 4)` headers of the tree nodes: as many originals as copies at the end."""
    roots = np.flatnonzero(tree_nodes[:, _DESCENDANTS] == items)
    trees = len(roots) // 2
    if roots[trees] != len(tree_nodes) - trees:  # also if their number is odd
        raise IndexDamagedError("the roots at its end are incomplete; it was truncated")
    return trees


def _check_splits(tree_nodes: NDArray[np.int32], items: int, dim: int) -> None:
    """Check that the `(m, 4)` headers of the tree nodes, without the copies of the roots, form trees.

    Each split has the descendants of its children, which excludes cycles; each node except the roots is a child exactly
    once, which excludes shared and lost nodes.
    """
    descendants = tree_nodes[:, _DESCENDANTS].astype(np.int64)
    splits = descendants > dim + 2
    children = tree_nodes[splits][:, _CHILDREN:]
    if ((children < 0) | (children >= items + len(tree_nodes))).any():
        raise IndexDamagedError("a split has a child outside the file")
    inner = children >= items
    child_descendants = np.ones(children.shape, np.int64)
    child_descendants[inner] = descendants[children[inner] - items]
    if (child_descendants.sum(axis=1) != descendants[splits]).any():
        raise IndexDamagedError("a split has other descendants than its children")
    parents = np.bincount(children[inner] - items, minlength=len(tree_nodes))
    if (parents != (descendants != items)).any():
        raise IndexDamagedError("a node belongs to no tree, or to several")


def _check_root_copies(file: FileIO, descendants: NDArray[np.int32], items: int, dim: int) -> None:
    """Check that the roots at the end are those of the trees; parallel builders write them in any order."""
    roots = [bytes(_node(file, items + int(place), dim)) for place in np.flatnonzero(descendants == items)]
    trees = len(roots) // 2
    if sorted(roots[:trees]) != sorted(roots[trees:]):
        raise IndexDamagedError("the roots at its end are not those of its trees; it was truncated or overwritten")


def _node(file: FileIO, number: int, dim: int) -> NDArray[np.int32]:
    size = node_size(dim)
    content = os.pread(file.fileno(), size, number * size)
    if len(content) < size:
        raise IndexDamagedError("it was truncated while it was read")
    return np.frombuffer(content, np.int32)
