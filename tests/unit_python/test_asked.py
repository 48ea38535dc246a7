"""How long connections take to make is told in time, whatever a driver and the site's settings say."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from canter import asked


class Wrapper:
    """A connection of Django's that is played: notes with which limit it was made."""

    def __init__(self, options: dict[str, Any] | None, wait: threading.Event | None = None) -> None:
        self.settings_dict: dict[str, Any] = {"OPTIONS": options}
        self.wait = wait
        self.limits: list[Any] = []
        self.begun = threading.Event()

    def connect(self) -> None:
        self.limits.append(self.settings_dict["OPTIONS"]["connect_timeout"])
        self.begun.set()
        if self.wait is not None:
            self.wait.wait()

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("own", "limit"),
    [(None, 2), (0, 2), (1, 1), ("1", "1"), (2, 2), (10, 2), ("30", 2), (-1, 2), ("soon", 2)],
)
def test_the_shorter_of_the_sites_limit_and_ours_counts(own: Any, limit: Any) -> None:
    options = {} if own is None else {"connect_timeout": own}
    wrapper = Wrapper(options)
    assert asked._tried(["default"], lambda _: wrapper)["default"]["ms"] >= 0
    assert wrapper.limits == [limit] * asked.TRIES
    assert options == ({} if own is None else {"connect_timeout": own})


def test_a_driver_that_waits_for_ever_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "TRYING", 0.01)
    wait = threading.Event()
    wrapper = Wrapper({}, wait)
    late = {"default": {"error": "none could be made in 0 s"}}
    assert asked._tried(["default"], lambda _: wrapper) == late
    assert wrapper.begun.wait(60)
    # One thread waits, not one for each question.
    told = asked._tried(["default"], lambda _: wrapper)["default"]["error"]
    assert told == "those that were tried before are still being made" and len(wrapper.limits) == 1
    wait.set()
    with asked._trying:
        assert len(wrapper.limits) == 1, "no other is tried once the time is over"
    monkeypatch.setattr(asked, "TRYING", 60.0)
    assert "ms" in asked._tried(["default"], lambda _: wrapper)["default"]


def test_what_went_wrong_is_told_of_each_database() -> None:
    def create(alias: str) -> Any:
        if alias == "broken":
            raise OSError
        return Wrapper({})

    told = asked._tried(["broken", "default"], create)
    assert told["broken"] == {"error": "none could be made: OSError"} and "ms" in told["default"]
