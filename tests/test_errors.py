from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.errors import MeasurementError, sanitize


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("plain, über 5 ms\n\tnext", "plain, über 5 ms\n\tnext"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("over\rwritten", "over\\x0dwritten".replace("\\x0d", "\\r")),
        ("a\u202eb", "a\\u202eb"),
        ("\udc80", "\\udc80"),
        ("::error::no", ": :error::no"),
        ("first\n  ::add-mask::secret", "first\n  : :add-mask::secret"),
        ("Model::load: no command", "Model::load: no command"),
        ("some ##[group]x", "some # #[group]x"),
    ],
)
def test_what_is_harmful_is_shown_in_letters(given_text: str, shown: str) -> None:
    assert sanitize(given_text) == shown


@given(st.text())
def test_nothing_harmful_is_left_and_a_second_time_changes_nothing(text: str) -> None:
    shown = sanitize(text)
    assert all(one in "\n\t" or (one >= " " and not "\x7f" <= one <= "\x9f") for one in shown)
    assert not any(line.lstrip().startswith("::") for line in shown.split("\n"))
    assert "##[" not in shown
    assert sanitize(shown) == shown
    shown.encode()


def test_an_error_that_quotes_a_server_is_harmless() -> None:
    assert str(MeasurementError("it said \x1b]0;title\x07")) == "it said \\x1b]0;title\\x07"
