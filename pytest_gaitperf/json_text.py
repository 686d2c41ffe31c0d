"""Read JSON that comes from outside, with one kind of error."""

from __future__ import annotations

from typing import Any

import msgspec


def parse_json(content: bytes | str) -> Any:
    """Return the document; ValueError where it is none.

    Stricter than the standard library's: NaN, a number that no float holds, half a surrogate pair
    and nesting too deep to read are refused, so that what is read can be computed with and written
    again.
    """
    try:
        return msgspec.json.decode(content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
