"""The errors a user can meet, each saying what happened, where, and what to do next."""

from __future__ import annotations

from pytest_gaitperf.plain import printable


class GaitperfError(Exception):
    """Base of every error that is the user's or the machine's, shown without a traceback."""

    def __str__(self) -> str:
        """Return the message; what it quotes of a server or a file is harmless in a terminal."""
        return printable(super().__str__())


class ConfigurationError(GaitperfError):
    """A wrong option, grid, model name or file: found before anything is measured."""


class ServerError(GaitperfError):
    """Triton cannot be found, started or reached, or it died."""


class MeasurementError(GaitperfError):
    """A cell could not be measured; the other cells may still be."""


class LeftOut(GaitperfError):  # noqa: N818 - no error of anybody's: it skips the test
    """A cell that is not measured on purpose, with the reason."""


class MeterError(GaitperfError):
    """A power sensor cannot be read."""


class BaselineError(GaitperfError):
    """A baseline file is corrupt, of a foreign schema, or cannot be written."""


def first_line(error: GaitperfError) -> str:
    """Return an error's message without what follows it, such as the end of a log."""
    return str(error).partition("\n")[0]
