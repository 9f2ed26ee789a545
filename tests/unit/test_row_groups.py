"""Groups of rows that have the same values in columns."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommendations.stores.row_groups import count_before, group_rows

ROWS = st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 2)), max_size=30)


@given(ROWS, st.data())
def test_rows_are_grouped_by_all_columns(rows, data):
    columns = [np.array([row[column] for row in rows], np.int64) for column in (0, 1)]
    groups = group_rows(*columns)
    firsts = [rows.index(row) for row in rows]
    assert groups.firsts[groups.numbers].tolist() == firsts
    assert len(groups) == len(set(rows))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), np.bool_)
    marked = {row for row, is_marked in zip(rows, mask, strict=True) if is_marked}
    assert [rows[first] in marked for first in groups.firsts.tolist()] == groups.any_of(mask).tolist()


@given(st.lists(st.integers(0, 4), max_size=30))
def test_earlier_rows_of_the_group_are_counted(numbers):
    expected = [numbers[:position].count(number) for position, number in enumerate(numbers)]
    assert count_before(np.array(numbers, np.int64)).tolist() == expected
