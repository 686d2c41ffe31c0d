"""A project that has fixtures of our names, and nothing to do with us."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.own import is_ours

if TYPE_CHECKING:
    import pytest

OWN = """
import pytest

@pytest.fixture(params=[1, 2])
def perf_cell(request):
    return request.param

@pytest.fixture
def perf():
    return "its own"

@pytest.fixture
def triton_server():
    return "its own"

@pytest.fixture
def triton_load(triton_server):
    return triton_server

@pytest.fixture
def power_meter():
    return "its own"

@pytest.fixture
def cell():
    return "its own"

@pytest.fixture
def load(cell):
    return cell

@pytest.fixture
def triton(cell):
    return cell

def test_by_a_fixture(perf, perf_cell, triton_server, triton_load, power_meter):
    assert {perf, triton_server, triton_load, power_meter} == {"its own"}
    assert perf_cell in (1, 2)

@pytest.mark.parametrize("perf_cell", ["a", "b"])
def test_by_a_mark(perf, perf_cell, cell, load, triton):
    assert (perf, cell, load, triton) == ("its own",) * 4
    assert perf_cell in ("a", "b")

def test_nothing_of_ours_is_there(pytestconfig):
    assert pytestconfig.pluginmanager.get_plugin("gaitperf-running") is None
"""

ARGUMENTS = """
import pytest

NAMES = ("perf", "perf_cell", "triton_server", "triton_load", "power_meter")

@pytest.mark.parametrize(NAMES, [range(5)])
def test_by_arguments_alone(perf, perf_cell, triton_server, triton_load, power_meter):
    assert (perf, perf_cell, triton_server, triton_load, power_meter) == (0, 1, 2, 3, 4)
"""


def test_it_is_untouched(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_arguments=ARGUMENTS, test_own=OWN)
    # Neither a wrong setting nor an output that cannot be written is its affair.
    pytester.makepyprojecttoml("[tool.gaitperf]\ngrid = 'none.toml'\nbudgets = 3\n")
    shown = pytester.runpytest_inprocess("-p", "no:hypothesispytest", "--strict-markers")
    shown.assert_outcomes(passed=6)
    assert "gaitperf ==" not in shown.stdout.str()
    assert "measured in" not in shown.stdout.str()


WRAPPED = """
import pytest

@pytest.fixture
def perf(perf):
    return perf

@pytest.fixture
def triton_server():
    return "its own"

class TestIt:
    @pytest.fixture
    def perf(self, perf):
        return perf

    @pytest.fixture
    def triton_server(self, triton_server):
        return triton_server

    def test_it(self, perf, triton_server): pass
"""


def test_a_fixture_that_wraps_ours_is_ours_and_one_in_its_place_is_not(
    pytester: pytest.Pytester,
) -> None:
    path = pytester.makepyfile(test_wrapped=WRAPPED)
    (item,), _ = pytester.inline_genitems("-p", "no:hypothesispytest", path)
    assert is_ours(item, "perf")
    assert not is_ours(item, "triton_server")
