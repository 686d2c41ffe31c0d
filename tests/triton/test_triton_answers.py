"""What real releases of Triton answered, and what our readers make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.errors import ConfigurationError, ServerError
from pytest_gaitperf.load.wire_http1 import ResponseReader
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.way import parse_url
from tests.fuzz.server_targets import CannedApi, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_gaitperf.model import ModelInfo

ANSWERS = Path(__file__).with_name("answers")
VERSIONS = sorted((path.name for path in ANSWERS.iterdir()), key=lambda name: name.split("."))


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """A release of which there are answers."""
    return str(request.param)


def answer(version: str, name: str) -> bytes:
    return (ANSWERS / version / name).read_bytes()


def model(version: str, name: str) -> ModelInfo:
    return CannedApi(
        answer(version, f"model-{name}.json"), answer(version, f"config-{name}.json")
    ).model(name, "")


def test_there_are_answers_of_the_oldest_release_on_a_jetson_and_of_the_newest_here() -> None:
    assert {"2.42.0", "2.51.0"} <= set(VERSIONS)


def test_a_release_says_who_it_is_and_what_it_has(version: str) -> None:
    name, said = CannedApi(answer(version, "server.json")).metadata()
    index = CannedApi(answer(version, "index.json")).index()
    assert (name[:9], said) == ("gaitperf-", version)
    assert [(entry.name, entry.version) for entry in index if entry.state == "READY"] == [
        ("identity", "1"),
        ("kinds", "1"),
        ("unbatched", "1"),
        ("versioned", "2"),
        ("versioned", "10"),
    ]
    (failed,) = [entry for entry in index if entry.state == "UNAVAILABLE"]
    assert "no weights here" in failed.reason
    assert CannedApi(answer(version, "regions.json")).regions() == []


def test_a_release_describes_its_models(version: str) -> None:
    kinds, versioned = model(version, "kinds"), model(version, "versioned")
    assert kinds.signature == "A:INT64[2], S:BYTES[-1]? -> B:FP16[3,2], C:BOOL[1]"
    assert (kinds.max_batch_size, kinds.backend, kinds.decoupled) == (8, "python", False)
    assert versioned.versions == ("2", "10")
    assert model(version, "unbatched").max_batch_size == 0


def test_a_release_counts_what_was_sent(version: str) -> None:
    # Six requests, of which the model failed two. From 2.48 on Triton books these as successes.
    counted = CannedApi(answer(version, "stats-identity.json")).statistics("identity", "1")
    assert counted.success_count + counted.fail_count == counted.execution_count == 6
    assert counted.inference_count == counted.success_count
    assert counted.fail_count == (2 if tuple(map(int, version.split("."))) < (2, 48) else 0)
    assert 0 < counted.compute_infer_ns < counted.success_ns
    idle = CannedApi(answer(version, "stats-versioned.json")).statistics("versioned", "10")
    assert idle.inference_count == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("error-model", "absent"),
        ("error-stats", "absent"),
        ("error-path", "Not Found"),
        ("error-infer", "inputs"),
        ("error-register", "no_such_key"),
    ],
)
def test_a_release_s_refusal_is_passed_on_in_its_words(version: str, name: str, says: str) -> None:
    api = CannedApi(answer(version, f"{name}.json"), status=400)
    with pytest.raises(ServerError, match=f"refused .*{says}"):
        api.unregister_region("r")


def test_a_release_s_inferences_are_taken_apart(version: str) -> None:
    reader = ResponseReader()
    for name, status in (("infer.http", (200,)), ("infer-failed.http", (400, 500))):
        content = answer(version, name)
        assert reader.feed(bytearray(content), len(content))
        assert reader.status in status
    assert "fails, as it was told to" in reader.error_text


def parts_left_out(document: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the document without each of its members in turn, with the way there."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield (key,), {name: each for name, each in document.items() if name != key}
            for way, changed in parts_left_out(value):
                yield (key, *way), {**document, key: changed}
    elif isinstance(document, list):
        for index, value in enumerate(document):
            for way, changed in parts_left_out(value):
                yield (index, *way), [*document[:index], changed, *document[index + 1 :]]


def _models(document: Any, version: str) -> object:
    metadata = answer(version, "model-kinds.json")
    return CannedApi(metadata, json.dumps(document).encode()).model("kinds", "")


def _statistics(document: Any, version: str) -> object:
    return CannedApi(json.dumps(document).encode()).statistics("identity", "1")


def _index(document: Any, version: str) -> object:
    return CannedApi(json.dumps(document).encode()).index()


@pytest.mark.parametrize(
    ("name", "read", "needed"),
    [
        ("config-kinds", _models, {"name", "data_type"}),
        ("stats-identity", _statistics, {"model_stats"}),
        ("index", _index, {"name"}),
    ],
)
def test_only_what_cannot_be_done_without_must_be_there(
    name: str, read: Callable[[Any, str], object], needed: set[str]
) -> None:
    version = VERSIONS[-1]
    document = json.loads(answer(version, f"{name}.json"))
    for way, changed in parts_left_out(document):
        last = way[-1]
        inner = way[0] in ("input", "output") or len(way) < 3
        if last in needed and inner:
            with pytest.raises(ServerError, match="of an unknown form"):
                read(changed, version)
        else:
            read(changed, version)


def test_numbers_may_come_as_texts_and_members_that_nobody_knows() -> None:
    def other(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: other(each) for key, each in value.items()} | {"from_tomorrow": [1]}
        if isinstance(value, list):
            return [other(each) for each in value]
        return str(value) if type(value) is int else value

    version = VERSIONS[-1]
    for name, read in (("config-kinds", _models), ("stats-identity", _statistics)):
        document = json.loads(answer(version, f"{name}.json"))
        assert read(other(document), version) == read(document, version)


@pytest.mark.parametrize(
    "count", ["1e999", "-1", "18446744073709551616", '"many"', "[]", '"\\ud800"']
)
def test_a_counter_that_is_none_is_an_answer_of_an_unknown_form(count: str) -> None:
    content = f'{{"model_stats": [{{"version": "1", "inference_count": {count}}}]}}'.encode()
    with pytest.raises(ServerError, match=r"unknown form|not JSON"):
        CannedApi(content).statistics("m", "1")


def test_sizes_that_are_none_are_an_answer_of_an_unknown_form() -> None:
    config = b'{"name": "m", "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-7]}]}'
    with pytest.raises(ServerError, match="unknown form"):
        CannedApi(b"{}", config).model("m", "")


def test_an_answer_that_promises_more_than_memory_holds_is_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\n{}"
    monkeypatch.setattr("socket.create_connection", lambda *_args, **_kwargs: served(head))
    with pytest.raises(ServerError, match="does not answer /v2"):
        Api("127.0.0.1", 8000).metadata()


@pytest.mark.parametrize(
    "url", ["a..b:8000", "http://" + "x" * 70, "\udcdb", "127.0.0.1:x", "[::1"]
)
def test_a_url_that_no_name_can_be_looked_up_of_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="give --triton-url as host:port"):
        parse_url(url)
