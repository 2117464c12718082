"""lrsweep.training.schedules: every step against torch.optim.lr_scheduler where it has the same, else against the closed form."""

import itertools
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from lrsweep.config import DataConfig, RunConfig, ScheduleConfig, TrainingConfig
from lrsweep.training.schedules import Pace, PlateauState, batch_size_at, lr_at, pace_of

LR = 0.3
NUM_STEPS = 64
PACE = Pace(epoch_steps=4, num_epochs=15)  # 60 steps: the run of NUM_STEPS goes on after the end
NAMES = (
    *("constant", "step", "multi_step", "piecewise", "exponential", "power", "polynomial", "cosine", "cosine_restarts"),
    *("triangular", "triangular2", "exp_range", "one_cycle", "one_cycle_torch", "plateau", "grow_batch"),
)


def steps(name: str, **settings: Any) -> ScheduleConfig:
    return ScheduleConfig(name=name, unit="step", **settings)


def rates(schedule: ScheduleConfig, num_steps: int = NUM_STEPS, *, base_lr: float = LR, pace: Pace = PACE) -> list[float]:
    return [lr_at(schedule, base_lr, step, pace) for step in range(num_steps)]


# Against PyTorch.

Scheduler = lr_scheduler.LRScheduler
Theirs = Callable[[torch.optim.Optimizer], Scheduler]


def rates_of_pytorch(make: Theirs, num_steps: int = NUM_STEPS, base_lr: float = LR) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base_lr)
    scheduler = make(optimizer)
    found = []
    for _ in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():  # SequentialLR steps its parts by a number that PyTorch itself calls deprecated
            warnings.filterwarnings("ignore", "The epoch parameter in `scheduler.step", UserWarning)
            scheduler.step()
    return found


def cyclic(mode: str, gamma: float = 1.0) -> Theirs:
    """PyTorch's cycle of 5 steps up and 5 down; its own momentum cycle is switched off."""
    return lambda o: lr_scheduler.CyclicLR(
        o, base_lr=0.04 * LR, max_lr=LR, step_size_up=5, mode=mode, gamma=gamma, cycle_momentum=False
    )


def one_cycle(**settings: Any) -> Theirs:
    return lambda o: lr_scheduler.OneCycleLR(o, max_lr=LR, cycle_momentum=False, **settings)


# Ours, theirs, and the steps that theirs has: OneCycleLR refuses one more, and PyTorch's cosine rises again after its end.
AGAINST_PYTORCH: dict[str, tuple[ScheduleConfig, Theirs, int]] = {
    "constant": (steps("constant"), lambda o: lr_scheduler.ConstantLR(o, factor=1.0), NUM_STEPS),
    "step": (steps("step", every=7), lambda o: lr_scheduler.StepLR(o, 7, 0.1), NUM_STEPS),
    "multi_step": (
        steps("multi_step", milestones=[3, 20, 21], factor=0.5),
        lambda o: lr_scheduler.MultiStepLR(o, [3, 20, 21], 0.5),
        NUM_STEPS,
    ),
    "exponential": (steps("exponential", every=9), lambda o: lr_scheduler.ExponentialLR(o, 0.1 ** (1 / 9)), NUM_STEPS),
    # PyTorch counts the steps after the first one, so its total is one less than the number of rates.
    "linear": (
        steps("polynomial", length=31, final=0.25),
        lambda o: lr_scheduler.LinearLR(o, 1.0, 0.25, total_iters=30),
        NUM_STEPS,
    ),
    "polynomial": (
        steps("polynomial", length=31, power=2.5),
        lambda o: lr_scheduler.PolynomialLR(o, total_iters=30, power=2.5),
        NUM_STEPS,
    ),
    "cosine": (
        steps("cosine", length=31, final_lr=0.03),
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=30, eta_min=0.03),
        31,
    ),
    "cosine_restarts": (
        steps("cosine_restarts", period=10, final=0.1),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=10, eta_min=0.1 * LR),
        NUM_STEPS,
    ),
    "cosine_restarts_growing": (
        steps("cosine_restarts", period=6, period_growth=2),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=6, T_mult=2),
        NUM_STEPS,
    ),
    "triangular": (steps("triangular", period=10), cyclic("triangular"), NUM_STEPS),
    "triangular2": (steps("triangular2", period=10), cyclic("triangular2"), NUM_STEPS),
    # PyTorch's gamma is of a step; ours is a factor over `every` steps.
    "exp_range": (steps("exp_range", period=10, factor=0.5, every=8), cyclic("exp_range", 0.5 ** (1 / 8)), NUM_STEPS),
    # Theirs ends at its first rate over final_div_factor, ours at a share of the largest.
    "one_cycle_torch": (
        steps("one_cycle_torch", length=40, low=0.04, final=0.04 / 100),
        one_cycle(total_steps=40, div_factor=25, final_div_factor=100),
        40,
    ),
    "one_cycle_torch_late": (
        steps("one_cycle_torch", length=40, low=0.5, final=0.05, rise=0.8),
        one_cycle(total_steps=40, pct_start=0.8, div_factor=2, final_div_factor=10),
        40,
    ),
}


@pytest.mark.parametrize("case", AGAINST_PYTORCH)
def test_every_step_is_pytorchs(case: str) -> None:
    ours, theirs, num_steps = AGAINST_PYTORCH[case]
    # PyTorch multiplies rate after rate; the absolute part is for its zeros, which come out as 1e-17.
    assert rates(ours, num_steps) == pytest.approx(rates_of_pytorch(theirs, num_steps), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("case", AGAINST_PYTORCH)
def test_a_warm_up_goes_before_every_schedule(case: str) -> None:
    ours, theirs, num_steps = AGAINST_PYTORCH[case]
    length = None if ours.length is None else ours.length + 5
    warmed = replace(ours, warmup=5, warmup_start=0.1, length=length)

    def after_linear(o: torch.optim.Optimizer) -> Scheduler:
        return lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=5)

    rise = rates_of_pytorch(after_linear, 5)
    assert rates(warmed, num_steps + 5) == pytest.approx([*rise, *rates(ours, num_steps)], rel=1e-9)
    if case in CHAINABLE:
        sequential = rates_of_pytorch(
            lambda o: lr_scheduler.SequentialLR(o, [after_linear(o), theirs(o)], milestones=[5]), num_steps + 5
        )
        assert rates(warmed, num_steps + 5) == pytest.approx(sequential, rel=1e-9, abs=1e-15)


# CyclicLR and OneCycleLR change the optimizer's rate when they are made, and with it the warm-up in front of them.
CHAINABLE = {name for name in AGAINST_PYTORCH if not name.startswith(("triangular", "exp_range", "one_cycle"))}

losses = st.lists(
    st.one_of(st.floats(0, 10), st.sampled_from([math.nan, math.inf, 0.5, 0.5 * (1 - 1e-4), 1.0])), min_size=1, max_size=60
)


@given(
    losses=losses,
    factor=st.floats(0.05, 0.95),
    patience=st.integers(1, 5),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    cooldown=st.integers(0, 4),
    final=st.sampled_from([0.0, 1e-3, 0.3]),
)
def test_plateau_is_pytorchs_after_every_epoch(losses: list[float], final: float, **settings: Any) -> None:
    schedule = ScheduleConfig(name="plateau", final=final, **settings)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    # eps 0: theirs leaves out a change of the rate below 1e-8, ours has no such limit.
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, min_lr=final * LR, threshold_mode="rel", eps=0.0, **settings)
    state = PlateauState()
    for loss in losses:
        state = state.after(schedule, LR, loss)
        theirs.step(loss)
        assert lr_at(schedule, LR, 0, PACE) * state.lr_scale == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        assert (state.best, state.num_bad, state.cooldown) == (theirs.best, theirs.num_bad_epochs, theirs.cooldown_counter)


def test_a_plateau_ends_at_a_rate_of_its_own() -> None:
    schedule = ScheduleConfig(name="plateau", patience=1, final_lr=LR / 50)
    states = itertools.accumulate([1.0] * 9, lambda state, loss: state.after(schedule, LR, loss), initial=PlateauState())
    assert [state.lr_scale for state in states] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.02, 0.02, 0.02, 0.02, 0.02])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "plateau"])
def test_only_a_plateau_listens_to_validation(name: str) -> None:
    state = PlateauState()
    assert state.after(example(name), LR, 1e9) is state


# Against closed forms.


@pytest.mark.parametrize("base_lr", [1e-6, 1e-3, 10**-1.5])
@pytest.mark.parametrize("step", [0, 1, 93, 94, 100_000])
def test_constant_is_constant(base_lr: float, step: int) -> None:
    assert lr_at(ScheduleConfig(), base_lr, step, PACE) == base_lr


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_power_divides_by_a_power_of_the_time(power: float) -> None:
    assert rates(steps("power", every=20, power=power)) == pytest.approx([LR / ((20 + t) / 20) ** power for t in range(64)])


def test_power_halves_the_rate_after_every() -> None:
    assert lr_at(ScheduleConfig(name="power", every=3), LR, 3 * PACE.epoch_steps, PACE) == LR / 2


def test_piecewise_takes_its_share_from_each_milestone_on() -> None:
    found = rates(ScheduleConfig(name="piecewise", milestones=[1.5, 3], shares=[1, 2, 0.25]), 16)
    assert found == [LR] * 6 + [2 * LR] * 6 + [LR / 4] * 4


def test_exponential_is_exactly_ten_times_smaller_every_s_steps() -> None:
    found = rates(steps("exponential", every=8))
    for t, later in enumerate(found[8:]):
        assert later == pytest.approx(found[t] / 10, rel=1e-14)
    assert found[16] == LR * 0.1**2


def test_one_cycle_is_up_for_half_down_for_half_and_on_down_at_the_end() -> None:
    """Document 001's. Of 101 steps the last tenth ends at a thousandth of the rate that the cycle began with."""
    found = rates(steps("one_cycle", length=101, low=0.04, final=0.04 / 1000, tail=0.1), 101)
    up = [0.04 + 0.96 * t / 45 for t in range(46)]
    last = [0.04 - (0.04 - 0.04 / 1000) * t / 10 for t in range(11)]
    assert found == pytest.approx([LR * share for share in [*up, *up[-2::-1], *last[1:]]], rel=1e-12)


def test_one_cycle_without_a_tail_ends_where_it_began() -> None:
    found = rates(steps("one_cycle", length=9, tail=0), 9)
    assert found == pytest.approx(found[::-1])
    assert found[0] == pytest.approx(0.04 * LR)
    assert max(found) == found[4] == LR


def test_from_1e_6_to_1e_4_over_n_steps() -> None:
    schedule = steps("constant", warmup=50, warmup_start_lr=1e-6)
    expected = [1e-6 + (1e-4 - 1e-6) * t / 50 for t in range(50)] + [1e-4] * 10
    assert rates(schedule, 60, base_lr=1e-4) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("polynomial", [1e-3 - (1e-3 - 1e-5) * t / 59 for t in range(60)]),
        ("cosine", [(1e-3 + 1e-5) / 2 + (1e-3 - 1e-5) / 2 * math.cos(math.pi * t / 59) for t in range(60)]),
    ],
)
def test_from_1e_3_to_1e_5_over_the_run(name: str, expected: list[float]) -> None:
    found = rates(ScheduleConfig(name=name, final_lr=1e-5), 70, base_lr=1e-3)
    assert found == pytest.approx([*expected, *[1e-5] * 10], rel=1e-12)


def grown_by_hand(factor: float, every: int, warmup: int, most: int, epoch: int) -> int:
    size = 32.0
    for _ in range(max(0, epoch - warmup) // every):
        size = min(float(most), size / factor)
    return round(size)


@pytest.mark.parametrize("factor", [0.5, 0.3, 0.999, 1.0, 1e-300])
@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("most", [32, 500, 512])
def test_a_batch_grows_up_to_its_largest(factor: float, warmup: int, most: int) -> None:
    schedule = ScheduleConfig(name="grow_batch", factor=factor, every=5, warmup=warmup, max_batch_size=most)
    epochs = [*range(60), 10_000, 10_000_000]
    counted = [*range(60), 10_000, 20_000]  # by then it has grown as far as it will
    assert [batch_size_at(schedule, 32, e) for e in epochs] == [grown_by_hand(factor, 5, warmup, most, e) for e in counted]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "grow_batch"])
def test_no_other_schedule_grows_the_batch(name: str) -> None:
    assert {batch_size_at(example(name), 32, epoch) for epoch in range(100)} == {32}


# The pace of a run.


@pytest.mark.parametrize(
    ("training", "pace"),
    [
        (TrainingConfig(), Pace(epoch_steps=94, num_epochs=20)),
        (TrainingConfig(patience=None, max_epochs=7), Pace(epoch_steps=94, num_epochs=7)),
        (TrainingConfig(batch_size=3_000), Pace(epoch_steps=1, num_epochs=20)),
        (TrainingConfig(batch_size=1_500), Pace(epoch_steps=2, num_epochs=20)),
    ],
)
def test_a_schedule_lasts_a_fixed_budget_or_twenty_epochs(training: TrainingConfig, pace: Pace) -> None:
    assert pace_of(RunConfig(training=training)) == pace


@pytest.mark.parametrize("name", ["polynomial", "cosine", "one_cycle", "one_cycle_torch"])
def test_the_last_step_of_a_fixed_budget_has_the_final_rate(name: str) -> None:
    run = RunConfig(
        data=DataConfig(num_train=320),
        training=TrainingConfig(patience=None, max_epochs=3),
        schedule=ScheduleConfig(name=name, warmup=1, final_lr=1e-6),
    )
    assert lr_at(run.schedule, 1e-3, 29, pace_of(run)) == pytest.approx(1e-6, rel=1e-9)
    assert lr_at(run.schedule, 1e-3, 28, pace_of(run)) > 1e-6


# Of any settings.

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "length": st.none() | st.floats(1e-3, 1e4),
    "final": st.sampled_from([0.0, 0.99]) | st.floats(0, 0.99),
    "factor": st.sampled_from([5e-324, 1.0]) | st.floats(1e-3, 1),
    "every": st.floats(1e-3, 1e6),
    "power": st.floats(1e-3, 1e300),
    "period": st.floats(1e-3, 1e4),
    "period_growth": st.sampled_from([1.0, 2.0]) | st.floats(1.1, 100),
    "low": st.floats(1e-6, 1),
    "tail": st.sampled_from([0.0, 0.99, math.nextafter(1, 0)]) | st.floats(0, 0.99),
    "rise": st.sampled_from([0.0, 0.99, math.nextafter(1, 0)]) | st.floats(0, 0.99),
    "milestones": st.lists(st.floats(1e-3, 1e6), min_size=3, max_size=3, unique=True).map(sorted),
    "shares": st.lists(st.floats(0, 10), min_size=4, max_size=4),
    "threshold": st.floats(0, 0.99),
    "patience": st.integers(1, 5),
    "cooldown": st.integers(0, 5),
}
USES: dict[str, tuple[str, ...]] = {
    "constant": (),
    "step": ("factor", "every"),
    "multi_step": ("factor", "milestones"),
    "piecewise": ("milestones", "shares"),
    "exponential": ("factor", "every"),
    "power": ("every", "power"),
    "polynomial": ("length", "power", "final"),
    "cosine": ("length", "final"),
    "cosine_restarts": ("period", "period_growth", "final"),
    "triangular": ("period", "low"),
    "triangular2": ("period", "low"),
    "exp_range": ("period", "low", "factor", "every"),
    "one_cycle": ("length", "low", "final", "tail"),
    "one_cycle_torch": ("length", "low", "final", "rise"),
    "plateau": ("factor", "patience", "threshold", "cooldown", "final"),
    "grow_batch": ("factor",),
}


def example(name: str, **settings: Any) -> ScheduleConfig:
    needed: dict[str, Any] = {"milestones": [2.0, 7.5], "shares": [1.0, 0.3, 0.1]}
    return ScheduleConfig(name=name, **{key: needed[key] for key in USES[name] if key in needed}, **settings)


@st.composite
def schedules(draw: st.DrawFn) -> ScheduleConfig:
    name = draw(st.sampled_from(NAMES))
    settings = {key: draw(FIELDS[key]) for key in USES[name]}
    unit = "epoch" if name == "grow_batch" else draw(st.sampled_from(["epoch", "step"]))
    longest = settings.get("length") or PACE.num_epochs
    warmup = draw(st.sampled_from([0.0, 0.99 * longest]) | st.floats(0, 0.99 * longest))
    return ScheduleConfig(name=name, unit=unit, warmup=warmup, warmup_start=draw(st.floats(0, 0.99)), **settings)


some_steps = st.lists(st.integers(0, 5_000), min_size=1, max_size=20)
paces = st.builds(Pace, epoch_steps=st.integers(1, 100), num_epochs=st.integers(1, 50))
base_lrs = st.sampled_from([1e-300, 1e-6, 1.0]) | st.floats(1e-8, 10)


@given(schedules(), base_lrs, paces, some_steps)
def test_a_rate_is_finite_and_no_larger_than_its_base(
    schedule: ScheduleConfig, base_lr: float, pace: Pace, at: list[int]
) -> None:
    most = max([1.0, *schedule.shares]) * base_lr
    for step in [*range(20), *at]:
        assert 0 <= lr_at(schedule, base_lr, step, pace) <= most * (1 + 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_of_a_long_run_has_rates(name: str) -> None:
    found = rates(example(name, warmup=3), 5_001)
    assert all(0 <= rate <= LR for rate in found)
    assert found[12] == pytest.approx(0.04 * LR if "low" in USES[name] else LR)


@given(schedules(), paces, some_steps)
def test_a_rate_depends_on_nothing_but_the_step(schedule: ScheduleConfig, pace: Pace, at: list[int]) -> None:
    there = [lr_at(schedule, LR, step, pace) for step in at]
    back = [lr_at(schedule, LR, step, pace) for step in reversed(at)]
    assert there == back[::-1]


@given(schedules().filter(lambda schedule: schedule.name != "grow_batch"), paces, some_steps)
def test_lengths_in_steps_mean_the_same_as_in_epochs(schedule: ScheduleConfig, pace: Pace, at: list[int]) -> None:
    used = {"warmup", "length", "every", "period"} & {"warmup", *USES[schedule.name]}
    lengths = {name: length * pace.epoch_steps for name in used if (length := getattr(schedule, name)) is not None}
    milestones = [milestone * pace.epoch_steps for milestone in schedule.milestones]
    in_epochs = replace(schedule, unit="epoch")
    in_steps = replace(schedule, unit="step", milestones=milestones, **lengths)
    assert [lr_at(in_epochs, LR, step, pace) for step in at] == [lr_at(in_steps, LR, step, pace) for step in at]


DEGENERATE = [
    *({"length": length} for length in (1e-9, 1, 2, 1e9)),
    *({"length": length, "tail": tail} for length in (1, 2, 3, 50) for tail in (0.0, 0.99, math.nextafter(1, 0))),
    *({"length": length, "rise": rise} for length in (1, 2, 3, 50) for rise in (0.0, 0.99, math.nextafter(1, 0))),
    *({"period": period} for period in (1e-9, 1, 2, 1e9)),
    *({"every": every} for every in (1e-9, 1, 1e9)),
]


@pytest.mark.parametrize("settings", DEGENERATE, ids=str)
@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_the_least_and_the_largest_lengths_have_rates(settings: dict[str, float], unit: str) -> None:
    users = [name for name in NAMES if set(settings) <= set(USES[name]) and name != "grow_batch"]
    assert users
    for name, pace in itertools.product(users, (Pace(1, 1), Pace(94, 1_000))):
        found = rates(ScheduleConfig(name=name, unit=unit, **settings), pace=pace)
        assert all(0 <= rate <= LR for rate in found), name


# Through a save and a load.


def go_on(schedule: ScheduleConfig, step: int, state: PlateauState, until: int) -> tuple[list[float], PlateauState]:
    """The rates of a run between two steps, and the state that it ends in. Nothing else of a schedule lives in a run."""
    found = []
    for now in range(step, until):
        found.append(lr_at(schedule, LR, now, PACE) * state.lr_scale)
        epoch, place = divmod(now, PACE.epoch_steps)
        if place == PACE.epoch_steps - 1:
            state = state.after(schedule, LR, VALID_LOSSES[epoch])
    return found, state


VALID_LOSSES = [2.0, 1.0, math.nan, 1.0, 1.1, math.inf, 1.0, 0.5, 0.5, 0.5]


def loaded(step: int, state: PlateauState) -> tuple[int, PlateauState]:
    """As JSON keeps them, infinity (of a plateau that has seen no loss) included."""
    found = json.loads(json.dumps({"step": step, "plateau": asdict(state)}))
    return found["step"], PlateauState(**found["plateau"])


@pytest.mark.parametrize("warmup", [0.0, 1.5])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_is_saved_at_any_step_goes_on_as_if_it_were_not(name: str, warmup: float) -> None:
    schedule = example(name, warmup=warmup)
    whole, _ = go_on(schedule, 0, PlateauState(), 40)
    for stopped in range(41):
        before, state = go_on(schedule, 0, PlateauState(), stopped)
        after, _ = go_on(schedule, *loaded(stopped, state), 40)
        assert before + after == whole


def test_the_plateau_in_that_run_lowers_the_rate() -> None:
    assert go_on(example("plateau"), 0, PlateauState(), 40)[1].lr_scale < 1
