"""The errors a user can meet, each saying what happened, where, and what to do next.

Their text, like any text from outside, is made harmless for a terminal and a CI log by
``sanitize``.
"""

from __future__ import annotations

import re

# Compiled when first used, and kept by re: every start of pytest imports this module.
# C0 without tab and newline, DEL, C1; what turns the direction of writing; lone surrogates.
_HARMFUL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
_COMMAND = r"(?m)^(\s*:):|(#)#(?=\[)"


def sanitize(text: str) -> str:
    r"""Return a text with its control characters as ``\x1b`` and its would-be commands broken.

    Control characters move a terminal's cursor or hide what stands there. GitHub's runner obeys
    ``::add-mask::`` at the start of a line of a job's log, and ``##[...]`` anywhere in one.
    Newlines and tabs stay. Nothing happens to a text without any of these.
    """
    text = re.sub(_HARMFUL, lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
    return re.sub(_COMMAND, lambda found: f"{found[1]} :" if found[1] else "# #", text)


class GaitperfError(Exception):
    """Base of every error that is the user's or the machine's, shown without a traceback."""

    def __str__(self) -> str:
        """Return the message; what it quotes of a server or a file is harmless in a terminal."""
        return sanitize(super().__str__())


class ConfigurationError(GaitperfError):
    """A wrong option, grid, model name or file: found before anything is measured."""


class ServerError(GaitperfError):
    """Triton cannot be found, started or reached, or it died."""


class RefusedError(ServerError):
    """Triton answers, and refuses what it was asked for."""


class MeasurementError(GaitperfError):
    """A cell could not be measured; the other cells may still be."""


class FailedRequestsError(MeasurementError):
    """A model answers too many requests with an error."""


class LeftOut(GaitperfError):  # noqa: N818 - no error of anybody's: it skips the test
    """A cell that is not measured on purpose, with the reason."""


class MeterError(GaitperfError):
    """A power sensor cannot be read."""


class BaselineError(GaitperfError):
    """A baseline file is corrupt, of a foreign schema, or cannot be written."""


def first_line(error: GaitperfError | str) -> str:
    """Return an error's message without what follows it, such as the end of a log."""
    return str(error).partition("\n")[0]
