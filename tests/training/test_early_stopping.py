"""lrsweep.training.early_stopping: what is a record, and when a run is over."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsweep.training.early_stopping import EarlyStopping

NAN = math.nan


def after(patience: int, accuracies: list[float]) -> list[EarlyStopping]:
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
        ([0.5, 0.4, 0.45], 1),
        ([0.1, 0.5, 0.2, 0.5, 0.4], 2),
        ([NAN], 0),
        ([NAN, 0.1], 2),
        ([0.1, NAN, 0.2], 3),
        ([0.1, 0.2, NAN], 2),
    ],
)
def test_the_best_epoch(accuracies: list[float], best_epoch: int) -> None:
    last = after(5, accuracies)[-1]
    assert (last.epoch, last.best_epoch) == (len(accuracies), best_epoch)
    assert last.best_accuracy == (accuracies[best_epoch - 1] if best_epoch else -math.inf)


def test_a_tie_is_not_a_record() -> None:
    assert [state.is_record for state in after(5, [0.5, 0.5, math.nextafter(0.5, 1)])] == [False, True, False, True]


def test_nan_is_not_a_record_and_hides_none() -> None:
    assert [state.is_record for state in after(5, [NAN, 0.1, NAN, 0.2])] == [False, False, True, False, True]


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_patience_is_the_number_of_epochs_without_a_record(patience: int) -> None:
    states = after(patience, [0.5, 0.6] + [0.1] * patience)
    assert [state.is_over for state in states] == [False] * (len(states) - 1) + [True]


def test_a_record_in_the_last_epoch_of_patience_goes_on() -> None:
    assert not any(state.is_over for state in after(3, [0.5, 0.4, 0.4, 0.6, 0.4, 0.4]))


@pytest.mark.parametrize("patience", [1, 5])
def test_a_run_that_never_learns_ends_after_one_epoch_and_its_patience(patience: int) -> None:
    over = [state.is_over for state in after(patience, [0.1] * (patience + 1))]
    assert over.index(True) == 1 + patience


@pytest.mark.parametrize("patience", [1, 5])
def test_a_run_without_any_record_ends_after_its_patience(patience: int) -> None:
    over = [state.is_over for state in after(patience, [NAN] * patience)]
    assert over.index(True) == patience


@given(
    patience=st.integers(1, 6),
    accuracies=st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, NAN]) | st.floats(0, 1), max_size=30),
)
def test_it_is_what_a_look_at_the_whole_list_says(patience: int, accuracies: list[float]) -> None:
    for epoch, state in enumerate(after(patience, accuracies)):
        seen = [-1.0 if math.isnan(accuracy) else accuracy for accuracy in accuracies[:epoch]]
        best = max(seen, default=-1.0)
        best_epoch = 1 + seen.index(best) if best >= 0 else 0
        assert state.best_epoch == best_epoch
        assert state.is_record == (epoch > 0 and best_epoch == epoch)
        assert state.is_over == (epoch - best_epoch >= patience)
