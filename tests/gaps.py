"""What the Python example of deploy/examples takes for missing: numbers in any order are fine, a gap is told once.

Time is a number here; nothing waits.
"""

import importlib.util
import pathlib

PATH = pathlib.Path(__file__).resolve().parents[1] / "deploy" / "examples" / "events.py"
SPEC = importlib.util.spec_from_file_location("events", PATH)
EVENTS = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(EVENTS)
LATER = 2.5 * EVENTS.PATIENCE_SECS


def heard(numbers, boot="boot", gaps=None, at=0.0):
    gaps = gaps or EVENTS.Gaps()
    for number in numbers:
        gaps.came("fleet/robot", "event/dog", boot, number, at)
    return gaps


def missing(gaps, at=LATER):
    return [number for _, numbers in gaps.take_overdue(at) for number in numbers]


def two_events_whose_messages_cross_have_no_gap():
    # After an outage what is new comes first, and then the backlog of each event.
    numbers = [100, 101, 160, *range(102, 160, 2), *range(103, 160, 2), 161]
    gaps = heard(numbers)
    assert missing(gaps) == []


def a_gap_is_told_once_and_not_before_its_time():
    gaps = heard([100, 101, 105, 103])
    assert missing(gaps, at=EVENTS.PATIENCE_SECS - 1) == []
    assert missing(gaps) == [102, 104]
    assert missing(gaps) == []
    # A repeat, or what comes after all, changes nothing.
    heard([101, 104, 106], gaps=gaps, at=LATER)
    assert missing(gaps, at=3 * LATER) == []


def while_late_numbers_come_nothing_is_missing():
    gaps = heard([1, 50])
    for second in range(2, 50):
        heard([second], gaps=gaps, at=float(second))
        assert missing(gaps, at=second + 0.5) == []
    assert missing(gaps, at=1000.0) == []


def a_restart_is_no_gap():
    gaps = heard([1000, 1001])
    gaps.status("fleet/robot", "boot", 9000, True, 0.0)
    heard([9001, 1003, 9000, 9002], gaps=gaps)
    assert missing(gaps) == [1002]
    # Nor is one whose birth was not heard, or another boot.
    heard([80_000_000, 80_000_001], gaps=gaps)
    heard([5, 6], "other", gaps)
    assert missing(gaps) == []


def who_is_away_is_waited_for():
    gaps = heard([1, 3])
    gaps.status("fleet/robot", "boot", 1, False, 1.0)
    assert missing(gaps, at=1000.0) == []
    gaps.status("fleet/robot", "boot", 1, True, 1000.0)
    assert missing(gaps, at=1001.0) == []
    gaps.connection(False, 1002.0)
    assert missing(gaps, at=2000.0) == []
    gaps.connection(True, 2000.0)
    assert missing(gaps, at=2001.0) == []
    assert missing(gaps, at=2000.0 + LATER) == [2]


if __name__ == "__main__":
    two_events_whose_messages_cross_have_no_gap()
    a_gap_is_told_once_and_not_before_its_time()
    while_late_numbers_come_nothing_is_missing()
    a_restart_is_no_gap()
    who_is_away_is_waited_for()
