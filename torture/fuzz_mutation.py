"""Damage a good file as bad disks, bad copies and bad people do.

No format is known here. `spots` are the offsets of bytes that control a reader, so that most changes hit those and not
the pixels or vectors, which are most of every file.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal

_CHANGES_AT_MOST = 4
_WIDTHS = (1, 2, 4, 8)
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**48, 2**62, 2**63 - 1, 2**64 - 1)

Change = Callable[[bytearray, int, random.Random], None]


def mutate(content: bytes, spots: Sequence[int], chance: random.Random) -> tuple[bytes, str]:
    """Change a file in one to four ways, mostly one, and return it with the names of the changes.

    Args:
        content: the file.
        spots: offsets at which most changes begin; not empty.
        chance: the source of all choices.
    """
    spoilt = bytearray(content)
    done: list[str] = []
    while not done or (len(done) < _CHANGES_AT_MOST and chance.random() < 0.3):
        name, change = chance.choice(_CHANGES)
        place = chance.choice(spots) if chance.random() < 0.9 else chance.randrange(len(content))
        if place < len(spoilt):
            change(spoilt, place, chance)
        done.append(name)
    return bytes(spoilt), "+".join(done)


def near_content(content: bytes, margin: int = 16) -> list[int]:
    """Return the offsets of bytes that are not zero, and of the `margin` bytes after each."""
    spots, last = [], -margin - 1
    for place, byte in enumerate(content):
        if byte:
            last = place
        if place - last <= margin:
            spots.append(place)
    return spots


def _flip_a_bit(content: bytearray, place: int, chance: random.Random) -> None:
    content[place] ^= 1 << chance.randrange(8)


def _write_noise(content: bytearray, place: int, chance: random.Random) -> None:
    size = min(chance.choice((1, 2, 4, 8, 16, 64, 512)), len(content) - place)
    content[place : place + size] = chance.randbytes(size)


def _write_a_run(content: bytearray, place: int, chance: random.Random) -> None:
    size = min(chance.choice((2, 4, 8, 16, 64, 512, 4096)), len(content) - place)
    content[place : place + size] = bytes([chance.choice((0, 0xFF))]) * size


def _write_an_edge(content: bytearray, place: int, chance: random.Random) -> None:
    """Write a number that programs often handle wrongly, of any width and either byte order."""
    width = min(chance.choice(_WIDTHS), len(content) - place)
    edge = chance.choice((*_EDGES, len(content), len(content) - place, place)) + chance.choice((-1, 0, 0, 0, 1))
    order = _byte_order(chance)
    content[place : place + width] = (edge % 2 ** (8 * width)).to_bytes(width, order)


def _step_a_number(content: bytearray, place: int, chance: random.Random) -> None:
    width = min(chance.choice(_WIDTHS), len(content) - place)
    order = _byte_order(chance)
    number = int.from_bytes(content[place : place + width], order)
    number += chance.choice((-1, 1)) * chance.choice((1, 2, 8, 16, 256, 4096))
    content[place : place + width] = (number % 2 ** (8 * width)).to_bytes(width, order)


def _byte_order(chance: random.Random) -> Literal["little", "big"]:
    return "little" if chance.random() < 0.7 else "big"


def _copy_bytes(content: bytearray, place: int, chance: random.Random) -> None:
    """Overwrite with bytes from another place, for example an address of something of another kind."""
    size = min(chance.choice((1, 2, 4, 8, 8, 24, 64)), len(content) - place)
    begin = chance.randrange(max(1, len(content) - size))
    content[place : place + size] = content[begin : begin + size]


def _swap_blocks(content: bytearray, place: int, chance: random.Random) -> None:
    size = chance.choice((8, 64, 512, 4096))
    first = place // size * size
    second = chance.randrange(len(content)) // size * size
    one, other = content[first : first + size], content[second : second + size]
    if first != second and len(one) == len(other):
        content[first : first + size], content[second : second + size] = other, one


def _take_out(content: bytearray, place: int, chance: random.Random) -> None:
    del content[place : place + chance.choice((1, 4, 8, 64, 512))]


def _put_in(content: bytearray, place: int, chance: random.Random) -> None:
    content[place:place] = chance.randbytes(chance.choice((1, 4, 8, 64, 512)))


def _cut(content: bytearray, place: int, chance: random.Random) -> None:
    del content[place if chance.random() < 0.5 else chance.randrange(len(content)) :]


def _extend(content: bytearray, _: int, chance: random.Random) -> None:
    size = chance.choice((1, 7, 512, 4096, 100_000))
    content += bytes(size) if chance.random() < 0.5 else chance.randbytes(size)


_CHANGES: list[tuple[str, Change]] = [
    *[("bit", _flip_a_bit)] * 4,
    ("noise", _write_noise),
    ("noise", _write_noise),
    ("run", _write_a_run),
    *[("edge", _write_an_edge)] * 5,
    ("step", _step_a_number),
    ("step", _step_a_number),
    ("copy", _copy_bytes),
    ("copy", _copy_bytes),
    ("swap", _swap_blocks),
    ("out", _take_out),
    ("in", _put_in),
    ("cut", _cut),
    ("extend", _extend),
]
