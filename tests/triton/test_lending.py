"""Models that are loaded for a while, or anew, at a server of somebody: it is left as it was."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.triton.control import Lent, reload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class FakeApi(Api):
    """A Triton in the mode explicit, which takes a name in a path as it comes.

    ``steps`` are loaded with a model. ``faults`` are what a request ends in, by what it asks for:
    unloading is done by then, and loading goes on.
    """

    def __init__(
        self,
        *names: str,
        ready: Iterable[str] = (),
        steps: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__("127.0.0.1", 1)
        self.states = dict.fromkeys(names, "") | dict.fromkeys(ready, "READY")
        self.steps = steps or {}
        self.faults: dict[str, BaseException] = {}

    @property
    def loaded(self) -> set[str]:
        return {name for name, state in self.states.items() if state == "READY"}

    def request(self, *asked: object, **_how: object) -> tuple[int, bytes]:
        path = str(asked[1])
        if path == "/v2/repository/index":
            entries = [
                {"name": name, "version": "1", "state": state} if state else {"name": name}
                for name, state in self.states.items()
            ]
            return 200, json.dumps(entries).encode()
        found = re.fullmatch(r"/v2/repository/models/([^/]+)/(load|unload)", path)
        assert found is not None, path
        name, what = found.groups()
        if name not in self.states:
            return 400, b'{"error": "it is not in the repository"}'
        fault = self.faults.pop(f"{what} {name}", None)
        state = "UNAVAILABLE" if what == "unload" else "READY" if fault is None else "LOADING"
        along = self.steps.get(name, ()) if what == "load" else ()
        self.states |= dict.fromkeys((name, *along), state)
        if fault is not None:
            raise fault
        return 200, b""


@pytest.mark.parametrize("name", ["half[fp16]", "m+trt", "yolo@v2", "a=b"])
def test_a_model_is_loaded_and_unloaded_by_the_name_that_it_has(name: str) -> None:
    api = FakeApi(name)
    with closing(Lent(api, [name], 1.0)) as lent:
        assert lent.failed == {}
        assert api.loaded == {name}
    assert api.loaded == set()


def test_what_comes_with_a_model_goes_with_it_and_what_was_there_stays() -> None:
    api = FakeApi("both", "one", "two", ready=["two"], steps={"both": ("one", "two")})
    with closing(Lent(api, ["both", "two"], 1.0)):
        assert api.loaded == {"both", "one", "two"}
    assert api.loaded == {"two"}


def test_a_model_that_is_loaded_later_than_it_may_be_is_unloaded_too() -> None:
    api = FakeApi("slow", "quick")
    api.faults["load slow"] = TimeoutError("timed out")
    with closing(Lent(api, ["slow", "quick"], 3.0)) as lent:
        why = "Triton at 127.0.0.1:1 did not load 'slow' within 3 s: give more time with "
        assert lent.failed == {"slow": f"{why}--triton-timeout"}
        assert api.loaded == {"quick"}
        api.states["slow"] = "READY"
    assert api.loaded == set()


def test_an_interrupt_while_models_are_loaded_unloads_them() -> None:
    api = FakeApi("first", "second", "third")
    api.faults["load second"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        Lent(api, ["first", "second", "third"], 1.0)
    assert set(api.states.values()) == {"UNAVAILABLE"}


def test_a_model_whose_unloading_is_answered_too_late_is_loaded_again() -> None:
    api = FakeApi("first", "other", ready=["first", "other"])
    api.faults["unload first"] = TimeoutError("timed out")
    with pytest.raises(ServerError, match="does not answer"):
        reload(api, ["first", "other"], 1.0, None)
    assert api.loaded == {"first", "other"}
