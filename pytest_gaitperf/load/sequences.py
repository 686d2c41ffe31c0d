"""Requests of a stateful model: each slot sends one sequence after the other."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_gaitperf.load.encode import Requests
    from pytest_gaitperf.workload import Protocol

    Encode = Callable[[Mapping[str, bool | int]], Requests]

SEQUENCE_SEED = 20_26
"""Seed of the sequences' lengths: those of a slot are the same in every session."""

_FIRST_ID, _MOST_IDS = 10**17, 8 * 10**17
"""Ids have 18 digits, and nine bytes in protobuf: those of two clients do not meet."""
_CHUNK = 1024


class Template(NamedTuple):
    """A request without the id of its sequence."""

    before: bytes
    after: bytes


Steps = tuple[Template, Template, Template, Template]
"""A request that is inside a sequence, begins it, ends it, and is all of it."""


@dataclass(slots=True)
class SequenceRequests:
    """The requests of one slot, each with the id of its sequence, and whether it begins or ends it.

    A sequence begins with the first sample and has them in rotation. Its length is drawn evenly
    between the two ``lengths``. ``ending``: the next request is the last of its sequence, and no
    other begins.
    """

    _samples: Sequence[Steps]
    _ids: Iterator[int]
    _text: Callable[[int], bytes]
    _lengths: Iterator[int]
    ending: bool = False
    _id: bytes = field(default=b"", init=False)
    _left: int = field(default=0, init=False)
    _at: int = field(default=0, init=False)

    def __iter__(self) -> SequenceRequests:
        return self

    def __next__(self) -> bytes:
        begins = not self._left
        if begins:
            self._id, self._left, self._at = self._text(next(self._ids)), next(self._lengths), 0
        ends = self._left == 1 or self.ending
        template = self._samples[self._at % len(self._samples)][begins + 2 * ends]
        self._left = 0 if ends else self._left - 1
        self._at += 1
        return b"".join((template.before, self._id, template.after))

    @property
    def under_way(self) -> bool:
        """Whether a sequence has begun and not ended."""
        return self._left > 0

    def lost(self) -> None:
        """Begin anew: a request failed, and with it, as far as known, its sequence."""
        self._left = 0


def sequence_requests(
    encode: Encode, protocol: Protocol, lengths: tuple[int, int]
) -> Iterator[SequenceRequests]:
    """Yield the requests of one slot after the other, without end.

    ``encode`` returns the requests of each slot, or those of all, with some parameters.
    """
    text = _varint if protocol == "grpc" else _digits
    marked = [
        encode({"sequence_id": _FIRST_ID, "sequence_start": begins, "sequence_end": ends})
        for ends in (False, True)
        for begins in (False, True)
    ]
    slots: list[list[Steps]] = []
    for rows in zip(*marked, strict=True):
        cut = [[_template(request, text(_FIRST_ID)) for request in row] for row in rows]
        slots.append(list(zip(*cut, strict=True)))
    ids = count(_FIRST_ID + secrets.randbelow(_MOST_IDS))
    for slot in count():
        yield SequenceRequests(slots[slot % len(slots)], ids, text, _drawn(lengths, slot))


def whole_sequence() -> dict[str, bool | int]:
    """Return the parameters of a request that is a whole sequence."""
    number = _FIRST_ID + secrets.randbelow(_MOST_IDS)
    return {"sequence_id": number, "sequence_start": True, "sequence_end": True}


def _drawn(lengths: tuple[int, int], slot: int) -> Iterator[int]:
    generator = np.random.default_rng((SEQUENCE_SEED, slot))
    while True:
        yield from generator.integers(*lengths, _CHUNK, endpoint=True).tolist()


def _template(request: bytes, marked: bytes) -> Template:
    before, _, after = request.partition(marked)  # no tensor stands before the parameters
    return Template(before, after)


def _digits(number: int) -> bytes:
    return b"%d" % number


def _varint(number: int) -> bytes:
    """Return a number as protobuf has it: seven bits a byte, the lowest first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
