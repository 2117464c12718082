"""The edges of learning: closed forms, and simulations with a known answer."""

import math

import numpy as np
import pandas as pd
import pytest

from lrsweep.analysis.edges import learning_edges, upper_edges


def runs_with_edges(rates: np.ndarray, start_S: list[float], end_S: list[float]) -> pd.DataFrame:  # type: ignore[type-arg]
    """Seed s learns at the rates from 10^start_S[s] to 10^end_S[s]."""
    rows = [
        {"seed": seed, "lr": lr, "status": "ok", "learned": bool(start <= math.log10(lr) <= end)}
        for seed, (start, end) in enumerate(zip(start_S, end_S, strict=True))
        for lr in rates
    ]
    return pd.DataFrame(rows)


GRID = 10 ** np.arange(-6.0, -1.45, 0.1)


def test_the_edges_are_the_mean_of_the_seeds_edges() -> None:
    edges = learning_edges(runs_with_edges(GRID, [-5.25, -5.05, -5.15], [-1.95, -1.95, -1.75]))
    assert edges.start is not None
    assert edges.end is not None
    assert math.log10(edges.start.lr) == pytest.approx(-5.15)
    assert math.log10(edges.end.lr) == pytest.approx(-1.95 + 0.2 / 3)
    assert edges.start.low < edges.start.lr < edges.start.high
    assert edges.start.num_seeds == 3


def test_the_upper_edge_of_each_seed() -> None:
    runs = runs_with_edges(GRID[30:], [-4.0, -4.0, -4.0], [-1.95, -2.15, 0.0])
    edges = upper_edges(runs)
    assert edges["seed"].tolist() == [0, 1, 2]
    assert edges["edge"].tolist() == pytest.approx([-1.95, -2.15, -1.5])
    assert edges["is_cut"].tolist() == [False, False, True]
    runs.loc[(runs["seed"] == 0) & (runs["lr"] > 10**-2.01), "status"] = "diverged"
    assert upper_edges(runs)["edge"].iloc[0] == pytest.approx(-2.05)
    both = learning_edges(runs[runs["seed"] < 2])
    assert both.end is not None
    assert math.log10(both.end.lr) == pytest.approx(-2.1)


def test_an_edge_does_not_depend_on_where_the_grid_begins() -> None:
    whole, part = (learning_edges(runs_with_edges(GRID[first:], [-5.25, -5.05], [-1.95, -1.85])) for first in (0, 6))
    assert whole.start is not None
    assert part.start is not None
    assert whole.start.lr == pytest.approx(part.start.lr)


def test_an_edge_beyond_the_grid_is_not_known() -> None:
    edges = learning_edges(runs_with_edges(GRID, [-7.0, -5.0], [-1.0, -1.0]))
    assert edges.start is None
    assert edges.end is None


def test_no_edge_if_nothing_learned() -> None:
    edges = learning_edges(runs_with_edges(GRID, [0.0], [1.0]))
    assert (edges.start, edges.end) == (None, None)


def test_one_seed_has_an_estimate_without_an_interval() -> None:
    edge = learning_edges(runs_with_edges(GRID, [-5.0], [-2.0])).start
    assert edge is not None
    assert math.isnan(edge.low)


def test_a_diverged_run_has_not_learned() -> None:
    runs = runs_with_edges(GRID, [-5.25, -5.25], [-1.0, -1.0])
    runs.loc[runs["lr"] > 0.02, "status"] = "diverged"
    edge = learning_edges(runs).end
    assert edge is not None
    assert 0.0199 < edge.lr < 0.0201 * 10**0.1


@pytest.mark.parametrize(("num_seeds", "sd"), [(3, 0.15), (10, 0.15), (10, 0.01)], ids=["3 seeds", "10 seeds", "all in one cell"])
def test_the_interval_holds_the_true_edge_95_times_in_100(num_seeds: int, sd: float) -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        true = -5 + rng.uniform(-0.05, 0.05)  # anywhere within a cell of the grid
        edge = learning_edges(runs_with_edges(GRID, list(rng.normal(true, sd, num_seeds)), [-2.0] * num_seeds)).start
        assert edge is not None
        held.append(edge.low <= 10**true <= edge.high)
    assert np.mean(held) > 0.91


@pytest.mark.parametrize(("num_seeds", "level"), [(3, 0.05), (4, 0.05), (3, 0.002)])
def test_a_few_seeds_that_agree_do_not_make_an_edge_certain(num_seeds: int, level: float) -> None:
    """Edges lie in two neighbouring cells of the grid. By chance, those of the few seeds here are all in the rarer cell."""
    share = level ** (1 / num_seeds) + 0.01  # the rarer cell's share: this chance is just above `level`
    edge = learning_edges(runs_with_edges(GRID, [-5.05] * num_seeds, [-2.0] * num_seeds), level).start
    assert edge is not None
    assert math.log10(edge.low) <= -5.05 - 0.1 * (1 - share)
    assert math.log10(edge.high) >= -5.05 + 0.1 * (1 - share)
