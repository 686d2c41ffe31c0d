"""Grids: what they expand to, and how a wrong one is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.config.grid import FULL, Grid, load_grid
from pytest_gaitperf.engine.expectation import Expectation, expand
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.engine.requests import Offer


def model(name: str, max_batch_size: int = 32, *inputs: TensorSpec) -> ModelInfo:
    return ModelInfo(name, ("1",), max_batch_size, inputs, (), "python", decoupled=False)


ROWS = TensorSpec("ROWS", "FP32", (-1, 2, 2))
CLIP = TensorSpec("CLIP", "FP32", (3,))
KNOWN: dict[str, Offer] = {name: model(name, 32, ROWS) for name in ("2D_b", "2D_a")}
KNOWN = {"3D_a": model("3D_a", 32, CLIP), **KNOWN}


def grid_file(path: Path, text: str) -> str:
    (path / "grid.toml").write_text(text)
    return str(path / "grid.toml")


def test_quick_and_full_are_the_grids_that_the_help_names() -> None:
    quick, full = expand(load_grid("quick"), KNOWN), expand(load_grid("full"), KNOWN)
    assert [w.id for w in quick[:5]] == [
        "2D_a-b1-c1",
        "2D_a-b1-c4",
        "2D_a-b4-c1",
        "2D_a-b4-c4",
        "2D_b-b1-c1",
    ]
    assert FULL == (1, 4, 8, 12, 16, 20, 24, 28, 32)
    assert len(quick) == 3 * 4
    assert len(full) == 3 * 81


def test_a_file_says_models_sizes_and_shapes(tmp_path: Path) -> None:
    name = grid_file(
        tmp_path,
        'models = ["3D*", "2D_b"]\nbatch_sizes = [2, 2]\nconcurrencies = [3, 1]\n'
        "[shapes.2D_b]\nROWS = [5, 2, 2]\n",
    )
    cells = expand(load_grid(name), KNOWN)
    names = ["3D_a-b2-c3", "3D_a-b2-c1", "2D_b-b2-c3-ROWS=5x2x2", "2D_b-b2-c1-ROWS=5x2x2"]
    assert [w.id for w in cells] == names


def test_a_file_asks_for_open_loops_protocol_transport_and_ranges(tmp_path: Path) -> None:
    name = grid_file(
        tmp_path,
        'models = "3D*"\nbatch_sizes = [2]\nrequest_rates = [10, 12.5]\narrival = "poisson"\n'
        'subjects = [4]\nframe_rate = 10\nprotocol = "grpc"\ntransport = "shm"\n'
        "[ranges.3D_a]\nCLIP = [-1, 0.5]\n",
    )
    cells = expand(load_grid(name), KNOWN, protocol="http", transport="inline")
    assert [w.key for w in cells] == [
        "b2-r10-poisson-grpc-shm-CLIP=-1..0.5",
        "b2-r12.5-poisson-grpc-shm-CLIP=-1..0.5",
        "b2-s4-fps10-grpc-shm-CLIP=-1..0.5",
    ]


def test_open_loops_and_closed_loops_stand_side_by_side_where_both_are_given(
    tmp_path: Path,
) -> None:
    name = grid_file(tmp_path, "batch_sizes = [1]\nsubjects = [1]\nconcurrencies = [2]\n")
    grid = load_grid(name)
    assert [w.key for w in expand(grid, {"m": model("m")})] == ["b1-c2", "b1-s1"]
    only_rates = grid.narrowed({"request_rates": [7]}, "a marker")
    assert [w.key for w in expand(only_rates, {"m": model("m")})] == ["b1-r7"]
    only_batch = grid.narrowed({"batch_sizes": [3], "concurrencies": [1]}, "a marker")
    assert [w.key for w in expand(only_batch, {"m": model("m")})] == ["b3-c1"]


def test_marker_wins_over_grid_over_option(tmp_path: Path) -> None:
    known = {"m": model("m")}

    def key(grid: Grid) -> str:
        return expand(grid, known, protocol="grpc", transport="shm")[0].key

    bare = load_grid(grid_file(tmp_path, "batch_sizes = [1]\nconcurrencies = [1]\n"))
    assert key(bare) == "b1-c1-grpc-shm"
    named = bare.narrowed({"protocol": "http"}, "the file")
    assert key(named) == "b1-c1-shm"
    assert key(named.narrowed({"protocol": "grpc", "transport": "inline"}, "m")) == "b1-c1-grpc"


def test_clients_think_until_another_load_is_named(tmp_path: Path) -> None:
    file = grid_file(tmp_path, 'batch_sizes = [1]\nconcurrencies = [2]\nthink_time = "20 ms"\n')
    grid = load_grid(file)
    assert {cell.key for cell in expand(grid, KNOWN, ["3D*"])} == {"b1-c2-think20ms"}
    narrowed = grid.narrowed({"concurrencies": [4]}, "the marker")
    assert {cell.key for cell in expand(narrowed, KNOWN, ["3D*"])} == {"b1-c4"}


def test_a_grid_may_search_and_the_options_say_what_it_leaves_open(tmp_path: Path) -> None:
    name = grid_file(tmp_path, "batch_sizes = [1]\nsubjects = [2]\nmost_subjects = true\n")
    cells = expand(load_grid(name), KNOWN, ["3D*"], frame_rate=30.0, deadline_s=0.02)
    assert {cell.key for cell in cells} == {"b1-s2-fps30", "b1-most-fps30-20ms"}
    name = grid_file(
        tmp_path,
        'batch_sizes = [1]\nmost_subjects = true\nframe_rate = 10\ndeadline = "50 ms"\n'
        "percentile = 90\n",
    )
    cells = expand(load_grid(name), KNOWN, ["3D*"], frame_rate=30.0, deadline_s=0.02)
    assert {cell.key for cell in cells} == {"b1-most-fps10-p90-50ms"}


def test_subjects_that_do_not_fill_a_batch_name_the_grid() -> None:
    grid = Grid(concurrencies=(), subjects=(6,), batch_sizes=(4,), source="g.toml")
    with pytest.raises(ConfigurationError, match=r"^g\.toml: 6 subjects do not fill batches of 4"):
        expand(grid, KNOWN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("request_rates = 5", "request_rates must be a list of positive numbers up to 1e6, not 5"),
        (
            "request_rates = [0]",
            r"request_rates must be a list of positive numbers up to 1e6, not \[0\]",
        ),
        ("request_rates = [inf]", "request_rates must be a list of positive numbers"),
        ("subjects = [1.5]", "subjects must be a list of positive whole numbers"),
        ('request_rates = [1]\narrival = "random"', "arrival must be constant or poisson, not 'r"),
        ('arrival = "poisson"', "arrival is given without request_rates"),
        ("frame_rate = 30", "frame_rate is given without subjects or most_subjects"),
        ("speed = 2", "speed is given without trace"),
        (
            'subjects = [8]\nthink_time = "20 ms"',
            "think_time is given without concurrencies",
        ),
        ('think_time = "20"', "think_time: '20' is not a positive time with its unit"),
        ("think_time = 20", "think_time must be a time with its unit, such as '20 ms', not 20"),
        ('streaming = true\nprotocol = "http"', "protocol is 'http', and streams are grpc"),
        ('streaming = true\ntransport = "shm"', "transport is 'shm', and streams are inline"),
        ("sequences = 2", "sequences is given without request_rates or trace"),
        ("sequence_length = 0", "sequence_length must be a positive whole number, or .lowest"),
        ("sequence_length = [9, 8]", "sequence_length: .9, 8. is not .lowest, highest"),
        (
            "sequence_length = [1, 2, 3]",
            "sequence_length must be a positive whole number, or .lowest",
        ),
        ("sequence_length = true", "sequence_length must be a positive whole number, or .lowest"),
        ('best_under = "p99"', "best_under: 'p99' is no percentile"),
        ('best_under = "p100 <= 3 ms"', "best_under: 'p100 <= 3 ms' is no percentile"),
        ('best_under = "p99 <= 3"', "best_under: '3' is not a positive time with its unit"),
        ("streaming = 1", "streaming must be true or false, not 1"),
        ("trace = 3", "trace must be the path of a file, not 3"),
        ("subjects = [1]\npercentile = 95", "percentile is given without most_subjects"),
        ("most_subjects = 1", "most_subjects must be true or false, not 1"),
        ("most_subjects = true\ndeadline = 20", "deadline: 20 is not a positive time"),
        ("most_subjects = true\npercentile = 100", "percentile must be a number from 50 to below"),
        ("subjects = [1]\nframe_rate = true", "frame_rate must be a positive number per second"),
        ('protocol = "ftp"', "protocol must be http or grpc, not 'ftp'"),
        ("transport = 1", "transport must be inline or shm, not 1"),
        ("ranges = 1", "ranges must be a table"),
        ("ranges.a.X = [1]", r"ranges.a.X must be \[lowest, highest\], not \[1\]"),
        ("ranges.a.X = [2, 1]", r"ranges.a.X must be \[lowest, highest\]"),
        ("ranges.a.X = [nan, 1]", r"ranges.a.X must be \[lowest, highest\]"),
        (
            "batches = [1]",
            r"unknown key 'batches' \(did you mean 'batch_sizes'\?\); the keys",
        ),
        ("batch_sizes = [4294967296]", "batch_sizes must be a list of positive whole numbers"),
        ("concurrencies = [1000000]", "concurrencies must be .* up to 65536, not"),
        ("subjects = [1000000]", "subjects must be .* up to 65536, not"),
        ("request_rates = [1e300]", "request_rates must be .* up to 1e6, not"),
        (f"shapes = {[1] * 10_000}", r"at most 32, not \[1, 1, .* \.\.\."),
        ("shapes.a.X = [4294967296]", "shapes.a.X must be a list of positive whole numbers"),
        ("batch_sizes = []", r"batch_sizes must be a list of positive whole numbers, not \[\]"),
        ("batch_sizes = [0]", "batch_sizes must be a list of positive"),
        ("concurrencies = [1.5]", r"concurrencies must be a list of positive.*not \[1.5\]"),
        ("concurrencies = [true]", "concurrencies must be a list"),
        (
            "concurrencies = 4",
            "concurrencies must be a list of positive whole numbers up to 65536, not 4",
        ),
        ("models = []", "models must be a list of names or patterns"),
        ("models = [1]", "models must be a list of names or patterns"),
        ("models = 1", "models must be a list of names or patterns"),
        ("shapes = 1", "shapes must be a list of shapes, or a table of models, not 1"),
        ("shapes = []", r"shapes must be a list of positive whole numbers, at most 32, not \[\]"),
        (
            "shapes = [[2], 3]",
            r"shapes must be a list of shapes, each such as \[3, 224, 224\], not",
        ),
        ("shapes.a.X = [[2], []]", "shapes.a.X must be a list of shapes, each such as"),
        ("shapes.a = {X = [[1], [2]], Y = [[1], [2], [3]]}", "shapes.a: the tensors have 2 and 3"),
        ("shapes.a = 1", "shapes.a must be a table of tensors"),
        ("shapes.a.X = [-1]", "shapes.a.X must be a list of positive whole numbers"),
        ("batch_sizes = ]", "not valid TOML.*line 1"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    name = grid_file(tmp_path, text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_grid(name)
    assert str(caught.value).startswith(name)


def test_a_grid_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: no such file"):
        load_grid(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError, match="unknown grid 'fast'; give quick, full, or"):
        load_grid("fast")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_grid(str(tmp_path / "folder.toml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modles": ["a"]}, "unknown key 'modles'"),
        ({"batch_sizes": 4}, "batch_sizes must be a list"),
        ({"concurrencies": ["4"]}, "concurrencies must be a list"),
        ({"models": None}, "models must be a list"),
        ({"ranges": {"a": {"X": [0, 2**63]}}}, "ranges.a.X must be"),
    ],
)
def test_a_markers_typo_names_the_marker(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^the marker: {message}"):
        Grid().narrowed(arguments, "the marker")


def test_narrowing_replaces_only_what_is_given() -> None:
    grid = Grid(concurrencies=(2,)).narrowed({"models": "2D_a", "batch_sizes": (3,)}, "here")
    assert [w.id for w in expand(grid, KNOWN)] == ["2D_a-b3-c2"]
    assert Grid().narrowed({}, "here") == Grid()


def test_unknown_models_list_what_exists_and_name_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"no model matches 'x\*'; .*: 2D_a, 2D_b, 3D_a"):
        expand(Grid(models=("x*",), source="g.toml"), KNOWN)
    with pytest.raises(ConfigurationError, match="--gaitperf-models: no model matches '2D_c'"):
        expand(Grid(), KNOWN, ["2D_c"])
    with pytest.raises(ConfigurationError, match=r"'3D_A' \(did you mean '3D_a'\?\); the"):
        expand(Grid(), KNOWN, ["3D_A"])


@pytest.mark.parametrize(("limit", "batches"), [(2, [1]), (0, [1]), (4, [1, 4]), (None, [1, 4])])
def test_a_default_grid_measures_the_batches_that_a_model_takes(
    limit: int | None, batches: list[int]
) -> None:
    offer = None if limit is None else model("m", limit)
    for models, only in ((("*",), ()), (("m",), ()), (("*",), ("m",))):
        expectation = Expectation()
        cells = expand(Grid(models=models), {"m": offer, "n": model("n")}, only, expectation)
        mine = [cell.batch_size for cell in cells if cell.model == "m"]
        assert list(dict.fromkeys(mine)) == batches
        assert ("m" in expectation.left_out) == (batches == [1])


@pytest.mark.parametrize(
    ("limit", "message"),
    [(2, "batch size 4 for model 'm'.*max_batch_size is 2"), (0, "takes no batches")],
)
def test_a_batch_that_a_named_model_does_not_take_is_refused(limit: int, message: str) -> None:
    grid = Grid().narrowed({"batch_sizes": [4]}, "here")
    known = {"m": model("m", limit), "n": model("n")}
    with pytest.raises(ConfigurationError, match=f"here: .*{message}"):
        expand(grid, known, ["m"])
    assert {cell.model for cell in expand(grid, known)} == {"n"}
    with pytest.raises(ConfigurationError, match="here: nothing of it can be measured: m: "):
        expand(grid, {"m": model("m", limit)})


STREAMING = replace(model("streaming"), decoupled=True)
SEQUENCE = replace(model("sequence"), stateful=True)
OFFERS: dict[str, Offer] = {
    **KNOWN,
    "broken": "UNAVAILABLE: no weights",
    "streaming": STREAMING,
    "seq": SEQUENCE,
}


def test_what_cannot_be_measured_is_left_out_with_its_reason() -> None:
    expectation = Expectation()
    cells = expand(Grid(), OFFERS, (), expectation)
    assert {cell.model for cell in cells} == {*KNOWN, "streaming", "seq"}
    assert not any(map(expectation.expects, cells)), "nobody named them, and nothing is recorded"
    assert set(expectation.left_out) == {"broken", "seq"}
    assert expectation.left_out["seq"].startswith("it is stateful: Triton takes requests of one")
    assert {cell.load for cell in cells if cell.model == "seq"} == {
        "b1-c1-seq16..24",
        "b1-c4-seq16..24",
    }
    assert {cell.load for cell in cells if cell.model == "streaming"} == {
        f"b{batch}-c{load}-grpc-stream" for batch in (1, 4) for load in (1, 4)
    }
    assert "not measured: broken: UNAVAILABLE: no weights" in expectation.notes()


@pytest.mark.parametrize("name", ["broken", "gone"])
def test_what_the_baselines_have_is_expected(name: str) -> None:
    expectation = Expectation({name: {"b1-c4", "b64-c1"}})
    cells = expand(Grid(), OFFERS, (), expectation)
    assert [cell.key for cell in cells if cell.model == name] == ["b1-c4"]
    assert [cell.model for cell in cells if expectation.expects(cell)] == [name]
    assert name not in expectation.left_out
    narrowed = expand(Grid(), OFFERS, ["2D*"], expectation)
    assert {cell.model for cell in narrowed} == {"2D_a", "2D_b"}


@pytest.mark.parametrize("pattern", ["broken", "br*"])
def test_what_the_user_named_is_expected(pattern: str) -> None:
    for models, only in ((("*",), ("3D_a", pattern)), (("3D_a", pattern), ())):
        expectation = Expectation()
        cells = expand(Grid(models=models), OFFERS, only, expectation)
        assert len({cell.model for cell in cells}) == 2
        assert all(map(expectation.expects, cells))


def test_what_the_server_says_later_sets_aside_what_was_not_expected() -> None:
    undescribed: dict[str, Offer] = dict.fromkeys(("new", "named", "recorded", "good"))
    expectation = Expectation({"recorded": {"b1-c1"}}, {"named"})
    cells = expand(Grid(), undescribed, (), expectation)
    answers: dict[str, Offer] = dict.fromkeys(undescribed, "UNAVAILABLE")
    answers["good"] = model("good", 0)
    aside = expectation.set_aside(cells, answers)
    assert {cell.id for cell in cells} - {cell.id for cell in aside} == {
        *("good-b1-c1", "good-b1-c4", "recorded-b1-c1"),
        *(f"named-b{batch}-c{load}" for batch in (1, 4) for load in (1, 4)),
    }


def test_only_narrows_and_keeps_the_grids_order() -> None:
    grid = Grid(models=("3D*", "2D*"), batch_sizes=(1,), concurrencies=(1,))
    cells = expand(grid, KNOWN, ["2D_b", "3D_a"])
    assert [w.model for w in cells] == ["3D_a", "2D_b"]


@given(
    st.lists(st.sampled_from([*KNOWN, "*", "2D*", "?D_a"]), min_size=1),
    st.lists(st.integers(1, 32), min_size=1),
    st.lists(st.integers(1, 32), min_size=1),
)
def test_cells_are_unique_and_grouped_by_model(
    models: list[str], batches: list[int], concurrencies: list[int]
) -> None:
    arguments = {"models": models, "batch_sizes": batches, "concurrencies": concurrencies}
    cells = expand(Grid().narrowed(arguments, "here"), KNOWN)
    assert len({cell.id for cell in cells}) == len(cells)
    order = [cell.model for cell in cells]
    assert [order.index(name) for name in order] == sorted(order.index(name) for name in order)
    assert len(cells) == len(set(order)) * len(set(batches)) * len(set(concurrencies))


@pytest.mark.parametrize("quantity", ["memory", "cold_start", "accuracy"])
def test_each_model_by_itself_is_one_cell_however_many_its_loads_are(quantity: str) -> None:
    alone = [one for one in expand(load_grid("full"), KNOWN, quantity=quantity) if one.alone]
    assert [one.model for one in alone] == sorted(KNOWN)
    assert {one.key for one in alone} == {"model"}
    assert all(one.quantities == ("memory", "cold_start", "accuracy") for one in alone)
    assert not any(one.alone for one in expand(load_grid("full"), KNOWN, quantity="latency"))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        *((f"b1-c1{rest}", True) for rest in ("", "-v2", "-zeros", "-data=h01234567")),
        *((f"b1-c1-{what}", True) for what in ("INPUT=3x224x224", "A+B=128", "shapes=h01234567")),
        *((f"b1-c1{rest}", False) for rest in ("-40ms", "-grpc", "-30min", "-stream", "-seq4")),
        ("b1-c1-beside=detector-r25", False),
        ("b1-c16", False),
    ],
)
def test_a_cell_is_expected_where_the_same_load_was_recorded_whatever_was_sent(
    key: str, expected: bool
) -> None:
    assert Expectation({"model": [key]}).records(Workload("model", 1, 1)) == expected
