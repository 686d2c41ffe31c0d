"""NVIDIA's ``trtexec``: finding it, on this machine or in a container, and running it."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.lease import prefix
from pytest_gaitperf.triton.launch import Docker, remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PLACES = (
    "/usr/src/tensorrt/bin/trtexec",
    "/usr/local/tensorrt/bin/trtexec",
    "/opt/tensorrt/bin/trtexec",
)
"""Where JetPack, NVIDIA's containers and the tar files put it; none of them on PATH."""

_VERSION = re.compile(r"^&&&& RUNNING TensorRT\.trtexec \[TensorRT v(\d+)\]", re.MULTILINE)
_MILESTONE = re.compile(
    r"\[I\] ((?:Start parsing|Finished parsing|Engine built in|Created engine with).*)"
)
_HELP_S = 120.0
_TAIL_LINES = 20


@dataclass(frozen=True, slots=True)
class Trtexec:
    """A trtexec that answers. ``image`` is the container it runs in, None on this machine.

    ``version`` is TensorRT's: 8.6.1 is (8, 6, 1).
    """

    executable: str
    image: str | None
    version: tuple[int, int, int]

    def build(
        self,
        flags: Sequence[str],
        directories: Sequence[Path],
        log: Path,
        say: Callable[[str], None],
    ) -> None:
        """Run it, its output kept in ``log``; ``say`` gets its milestones.

        A container sees ``directories``. Raises ConfigurationError with the end of the log.
        """
        command = _command(self.executable, self.image, directories, flags)
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(  # found, and given our flags
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            except OSError as error:
                raise ConfigurationError(f"cannot run {command[0]}: {error.strerror}") from error
            with process:
                try:
                    for line in process.stdout or ():
                        output.write(line)
                        if milestone := _MILESTONE.search(line.decode("utf-8", "replace")):
                            say(milestone[1].strip())
                except BaseException:
                    process.terminate()
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(10)
                    process.kill()  # nothing, where it has ended
                    raise
        if process.returncode:
            text = log.read_text("utf-8", "replace")
            raise ConfigurationError(
                f"trtexec failed with exit status {process.returncode}, its log is {log}"
                + _said(text, self.image)
            )


def find(image: str | None) -> Trtexec:
    """Find it on PATH and where it usually is, or in ``image``; ask it for its version."""
    if image is None:
        executable = shutil.which("trtexec") or next(filter(shutil.which, PLACES), None)
        if executable is None:
            raise ConfigurationError(
                f"there is no trtexec on PATH nor at {', '.join(PLACES)}; install TensorRT's "
                "(JetPack: sudo apt install libnvinfer-bin), or name Triton's container with "
                "--image, so that the one in it builds the plan"
            )
    else:
        executable = PLACES[0]
    try:
        done = subprocess.run(  # a program that was found, and --help
            _command(executable, image, (), ("--help",)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_HELP_S,
            check=False,
        )
        text = done.stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError) as error:
        text = str(error)
    if (found := _VERSION.search(text)) is None:
        where = f"in {image}" if image else executable
        raise ConfigurationError(f"trtexec {where} did not start{_said(text, image)}")
    digits = found[1]
    # v8601 is 8.6.1; from 10 on there are two digits for each: v100300 is 10.3.0.
    width = 1 if len(digits) <= 4 else 2  # the four of 8601
    patch, minor, major = digits[-2:], digits[-2 - width : -2], digits[: -2 - width]
    return Trtexec(executable, image, (int(major or 0), int(minor or 0), int(patch)))


def _command(
    executable: str, image: str | None, directories: Sequence[Path], flags: Sequence[str]
) -> list[str]:
    if image is None:
        return [executable, *flags]
    if (engine := Docker.find()) is None:
        raise ConfigurationError(
            f"--image={image} needs docker, which is not on PATH; install it, or run this on a "
            "machine that has trtexec"
        )
    return [
        engine.executable,
        *("run", "--rm", "--init", "--pull=never", "--runtime", "nvidia"),
        *("--name", prefix("trtexec") + secrets.token_hex(4)),
        *(word for path in directories for word in ("-v", f"{path}:{path}")),
        image,
        executable,
        *flags,
    ]


def _said(text: str, image: str | None) -> str:
    """Return what to do about the container engine's message, if it is one, and the log's end."""
    advice = remedy(text, image).replace("--triton-image", "--image") if image else ""
    tail = "\n".join(text.rstrip().splitlines()[-_TAIL_LINES:]) or "(nothing)"
    return f"{': ' if advice else ''}{advice}; it said:\n{tail}"
