import threading
import time

import pytest

from risloc.utils.prefetch import ahead


def slowly(n, seconds=0.0, made=None):
    for i in range(n):
        time.sleep(seconds)
        if made is not None:
            made.append(i)
        yield i


@pytest.mark.parametrize("n", [0, 1, 5])
def test_the_items_are_the_same_in_the_same_order(n):
    assert list(ahead(slowly(n))) == list(range(n))


def test_none_is_an_item_too():
    assert list(ahead(iter([None, 0, None]))) == [None, 0, None]


def test_one_item_is_made_while_another_is_in_use_and_no_more():
    made = []
    items = ahead(slowly(5, made=made))
    assert next(items) == 0
    deadline = time.monotonic() + 10
    while len(made) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert made == [0, 1]
    items.close()


def test_making_and_using_overlap():
    began = time.perf_counter()
    for _ in ahead(slowly(6, seconds=0.1)):
        time.sleep(0.1)
    assert time.perf_counter() - began < 1.1  # 0.7; one after the other 1.2


def test_an_error_comes_where_its_item_would_have():
    def failing():
        yield 1
        raise RuntimeError("no second item")

    items = ahead(failing())
    assert next(items) == 1
    with pytest.raises(RuntimeError, match="no second item"):
        next(items)


def test_left_half_way_it_leaves_no_thread():
    items = ahead(slowly(5))
    next(items)
    items.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]
