"""What a model is to answer: the table ``[accuracy.MODEL]`` of a grid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.text import did_you_mean

_VERSION = re.compile(r"(.+)@(\d+)", re.ASCII)


class Answers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model is to answer: as the ``reference`` does, and as the ``labels`` say.

    ``reference`` is a model of the same server, with ``@VERSION`` if not the newest, or a file (or
    directory) of outputs; ``labels`` is a file, ``score`` how they are looked for: as the largest
    output, or as the label of the nearest other sample. ``samples`` are so many, 0 for as many as
    is usual. "" is none.
    """

    reference: str = ""
    labels: str = ""
    score: Literal["top-1", "rank-1"] = "top-1"
    samples: Annotated[int, msgspec.Meta(ge=0, le=1 << 16)] = 0

    @property
    def file(self) -> Path | None:
        """The file or directory of stored outputs, None where the reference is a model."""
        stored = self.reference.endswith(".npz") or "/" in self.reference
        return Path(self.reference) if stored else None

    @property
    def model(self) -> tuple[str, str]:
        """The name and the version of the reference, "" for the newest, or for no model."""
        found = _VERSION.fullmatch(self.reference)
        name, version = (found[1], found[2]) if found else (self.reference, "")
        return ("", "") if self.file is not None else (name, version)


def read_answers(model: str, given: Any, where: str) -> Answers:
    """Read what a model is to answer; ConfigurationError, with ``where`` it stands."""
    if not isinstance(given, dict):
        example = "{reference = 'fp32'}"
        raise ConfigurationError(f"{where} must be a table such as {example}, not {given!r:.60}")
    if unknown := sorted(set(given) - set(Answers.__struct_fields__)):
        fields = Answers.__struct_fields__
        raise ConfigurationError(
            f"{where}: unknown key {unknown[0]!r}{did_you_mean(unknown[0], fields)} "
            f"the keys are {', '.join(fields)}"
        )
    try:
        found = msgspec.convert(given, Answers)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    if not (found.reference or found.labels):
        raise ConfigurationError(f"{where}: give a reference, or labels")
    if found.model == (model, ""):
        raise ConfigurationError(
            f"{where}: its reference is the model itself: name another model, or an older version, "
            f"such as '{model}@1'"
        )
    if "score" in given and not found.labels:
        raise ConfigurationError(f"{where}: score is given without labels")
    return found
