"""Flows from rows to columns: what an adversary can carry where, exactly, without a solver's tolerance."""

from itertools import cycle
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]
"""Float64 numbers: one a state, `(n,)`, or one a pair of states, `(m, n)`."""


def largest_flow(supply: Vector, demand: Vector, edges: NDArray[np.bool_]) -> tuple[Vector, Vector]:
    """Return a largest flow from rows to columns, by shortest augmenting paths.

    Args:
        supply: `(m,)` what each row has to give, at least 0.
        demand: `(n,)` what each column can take, at least 0.
        edges: `(m, n)` bool, which row may give to which column.

    Returns:
        The flow, `(m, n)`, and what each row keeps for want of a way, `(m,)`: exactly 0 where it gives all, which the
        flow's sums, being rounded, cannot say.

    References:
        Theoretical improvements in algorithmic efficiency for network flow problems (Edmonds and Karp, 1972)
        https://doi.org/10.1145/321694.321699

    Example:
        >>> largest_flow(np.array([0.5, 0.5]), np.array([0.5, 0.5]), np.array([[True, True], [True, False]]))
        (array([[0. , 0.5],
               [0.5, 0. ]]), array([0., 0.]))
    """
    flow, left, room = np.zeros(edges.shape), supply.copy(), demand.copy()
    while True:
        row_into, column_into = arrivals(left > 0, flow, edges)
        ends = np.flatnonzero((row_into >= 0) & (room > 0))
        if len(ends) == 0:
            return flow, left
        path = _way_back(int(ends[0]), row_into, column_into)
        first, end = path[-1][0], path[0][1]
        amount = min(left[first], room[end], *(flow[step] for step in path[1::2]))
        for step, sign in zip(path, cycle((1, -1)), strict=False):
            flow[step] += sign * amount
        left[first] -= amount
        room[end] -= amount


def arrivals(
    rows: NDArray[np.bool_], flow: Vector, edges: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where a breadth-first search arrives that goes along edges, and back where there is flow to take back.

    Args:
        rows: `(m,)` bool, where it starts.
        flow: `(m, n)`.
        edges: `(m, n)` bool.

    Returns:
        The row from which each column is entered, `(n,)`, and the column from which each row is, `(m,)`; -1 where the
        search does not arrive, and for the rows in which it starts.

    Example:
        >>> arrivals(np.array([True, False]), np.zeros((2, 2)), np.eye(2, dtype=bool))
        (array([ 0, -1]), array([-1, -1]))
    """
    row_into, column_into = np.full(edges.shape[1], -1), np.full(edges.shape[0], -1)
    seen, frontier = rows.copy(), np.flatnonzero(rows)
    while True:
        columns = np.flatnonzero(edges[frontier].any(axis=0) & (row_into < 0))
        if len(columns) == 0:
            return row_into, column_into
        row_into[columns] = frontier[edges[np.ix_(frontier, columns)].argmax(axis=0)]
        back = flow[:, columns] > 0
        frontier = np.flatnonzero(back.any(axis=1) & ~seen)
        column_into[frontier] = columns[back[frontier].argmax(axis=1)]
        seen[frontier] = True


def _way_back(column: int, row_into: NDArray[np.intp], column_into: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Return the edges of the way to a column, the last first; every second one goes against the flow."""
    row = int(row_into[column])
    path = [(row, column)]
    while column_into[row] >= 0:
        column = int(column_into[row])
        path.append((row, column))
        row = int(row_into[column])
        path.append((row, column))
    return path
