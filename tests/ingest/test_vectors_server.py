"""What the stores on servers share: which ids are sent with a filtered search."""

from typing import Any

import numpy as np

from ingest.vectors.server import Limit
from tests.ingest.vector_contract import numbers

THERE = np.arange(10, 20)


def unasked() -> Any:
    """For limits that need not know all ids."""
    raise AssertionError("all ids were asked for")


def limit(*allowed: int) -> Limit:
    return Limit.of(numbers(*allowed), len(THERE), lambda: THERE)


def test_no_limit_sends_no_ids() -> None:
    assert Limit.of(None, 10, unasked) == Limit(10)


def test_up_to_half_is_sent_as_it_is() -> None:
    assert Limit.of(numbers(12, 11, 12), 10, unasked) == Limit(2, only=[11, 12])
    assert Limit.of(np.arange(10, 15), 10, unasked) == Limit(5, only=[10, 11, 12, 13, 14])
    assert Limit.of(numbers(), 10, unasked) == Limit(0, only=[])


def test_of_more_than_half_the_others_are_sent() -> None:
    assert limit(*range(19, 11, -1)) == Limit(8, but=[10, 11])
    assert limit(*range(11, 20), 7, 8, 3000) == Limit(9, but=[10])


def test_all_of_them_are_no_limit() -> None:
    assert limit(*range(30)) == Limit(10)


def test_ids_that_are_not_there_do_not_make_more_of_them() -> None:
    assert limit(10, 11, *range(50, 60)) == Limit(2, only=[10, 11, *range(50, 60)])
    assert limit(*range(50, 60)) == Limit(0, only=list(range(50, 60)))
