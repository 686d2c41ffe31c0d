"""Let another process read a Keras file first: damage can hang or crash HDF5's C code.

Neither can be caught by the process in which it happens: no Python runs there any more.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo.importing import keras_file

LIMIT_S = 60
"""The file may take so long to read, with its process' start: 2 GB, the most that is read, do."""

_REMEDY = "copy it here again, or save the model again"

# Where this very package is found, and no file of the user's shadows a module.
_PACKAGE_ROOT = Path(__file__).parents[3]


def check(path: Path) -> None:
    """Raise ConfigurationError where reading the file crashes, or does not end within LIMIT_S.

    What is wrong with it otherwise is left to ``keras_file.read``, which says it better.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", __name__, str(path.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=_PACKAGE_ROOT,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"{path} cannot be read: HDF5 came to no end with it within {LIMIT_S} s: the file is "
            f"damaged, or its disk very slow; {_REMEDY}"
        ) from error
    if done.returncode < 0:
        killed = signal.Signals(-done.returncode)
        cause = "memory ran out" if killed is signal.SIGKILL else "the file is damaged"
        raise ConfigurationError(
            f"{path} cannot be read: a process that tried was killed by {killed.name}: {cause}; "
            f"{_REMEDY}"
        )


if __name__ == "__main__":
    signal.alarm(2 * LIMIT_S)  # a hang ends even where nobody is left to end it
    try:
        keras_file.read(Path(sys.argv[1]))
    except ConfigurationError:
        sys.exit(1)
