"""When an epoch is an improvement, and when a run is over."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.training.early_stopping import EarlyStopping

NAN = math.nan


def states_after(patience: int, accuracies: list[float | None]) -> list[EarlyStopping]:
    """The state at the start and after each epoch."""
    states = [EarlyStopping(patience=patience)]
    for accuracy in accuracies:
        states.append(states[-1].after(accuracy))
    return states


@pytest.mark.parametrize(
    ("accuracies", "best_epoch"),
    [
        ([], 0),
        ([0.0], 1),
        ([0.1, 0.2, 0.3], 3),
        ([0.1, 0.5, 0.2, 0.5, 0.4], 2),
        ([NAN], 0),
        ([NAN, 0.1], 2),
        ([0.1, NAN, 0.2], 3),
        ([None, 0.1, None], 2),
        ([None, None], 0),
    ],
)
def test_the_best_epoch(accuracies: list[float | None], best_epoch: int) -> None:
    last = states_after(5, accuracies)[-1]
    assert (last.epoch, last.best_epoch) == (len(accuracies), best_epoch)
    assert last.best_accuracy == (accuracies[best_epoch - 1] if best_epoch else -math.inf)


def test_a_tie_is_not_an_improvement() -> None:
    states = states_after(5, [0.5, 0.5, math.nextafter(0.5, 1)])
    assert [state.is_improvement for state in states] == [False, True, False, True]


@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("improving", [[], [0.5], [0.5, 0.6]], ids=str)
def test_a_run_is_over_after_patience_epochs_without_improvement(patience: int, improving: list[float]) -> None:
    states = states_after(patience, improving + [NAN] * patience)
    assert [state.is_over for state in states] == [False] * (len(states) - 1) + [True]


def test_an_improvement_in_the_last_epoch_of_patience_continues_the_run() -> None:
    assert not any(state.is_over for state in states_after(3, [0.5, 0.4, 0.4, 0.6, 0.4, 0.4]))


@given(
    patience=st.integers(1, 6),
    accuracies=st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, NAN]) | st.floats(0, 1), max_size=30),
)
def test_every_state_agrees_with_the_whole_list(patience: int, accuracies: list[float]) -> None:
    for epoch, state in enumerate(states_after(patience, accuracies)):
        so_far = [-1.0 if math.isnan(accuracy) else accuracy for accuracy in accuracies[:epoch]]
        best = max(so_far, default=-1.0)
        best_epoch = 1 + so_far.index(best) if best >= 0 else 0
        assert state.best_epoch == best_epoch
        assert state.is_improvement == (epoch > 0 and best_epoch == epoch)
        assert state.is_over == (epoch - best_epoch >= patience)
