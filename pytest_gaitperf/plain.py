"""Text from outside, made harmless for a terminal and a CI log.

What a server answers, a sensor is called or a file says may hold control characters, which move a
terminal's cursor or hide what stands there, and words that GitHub's runner takes for commands when
they begin a line of a job's log (``::add-mask::``, and ``##[...]`` anywhere in one).
"""

from __future__ import annotations

import re

_HARMFUL = re.compile(
    # C0 without tab and newline, DEL, C1; what turns the direction of writing; lone surrogates.
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_COMMAND = re.compile(r"^(\s*:):|(#)#(?=\[)", re.MULTILINE)


def printable(text: str) -> str:
    r"""Return a text with its control characters as ``\x1b`` and its would-be commands broken.

    Newlines and tabs stay. Nothing happens to a text without any of these.
    """
    text = _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
    return _COMMAND.sub(lambda found: f"{found[1]} :" if found[1] else "# #", text)
