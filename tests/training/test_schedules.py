"""Every step of every schedule, against torch.optim.lr_scheduler if PyTorch has the schedule, else against its closed form."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
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
PACE = Pace(epoch_steps=4, num_epochs=15)  # 60 steps: a run of NUM_STEPS continues after the schedule's end

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
NAMES = tuple(USES)


def example(name: str, **settings: Any) -> ScheduleConfig:
    needed: dict[str, Any] = {"milestones": [2.0, 7.5], "shares": [1.0, 0.3, 0.1]}
    return ScheduleConfig(name=name, **{key: needed[key] for key in USES[name] if key in needed}, **settings)


def steps(name: str, **settings: Any) -> ScheduleConfig:
    return ScheduleConfig(name=name, unit="step", **settings)


def rates(schedule: ScheduleConfig, num_steps: int = NUM_STEPS, *, base_lr: float = LR, pace: Pace = PACE) -> list[float]:
    return [lr_at(schedule, base_lr, step, pace) for step in range(num_steps)]


# Against PyTorch.

BuildScheduler = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]


def rates_of_pytorch(build: BuildScheduler, num_steps: int = NUM_STEPS) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = build(optimizer)
    lrs = []
    for _ in range(num_steps):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return lrs


def cyclic(mode: str, gamma: float = 1.0) -> BuildScheduler:
    """PyTorch's cycle: 5 steps up and 5 down."""
    return lambda o: lr_scheduler.CyclicLR(
        o, base_lr=0.04 * LR, max_lr=LR, step_size_up=5, mode=mode, gamma=gamma, cycle_momentum=False
    )


def one_cycle(**settings: Any) -> BuildScheduler:
    return lambda o: lr_scheduler.OneCycleLR(o, max_lr=LR, cycle_momentum=False, **settings)


# Our schedule, PyTorch's, and the number of steps to compare: OneCycleLR has no more, and CosineAnnealingLR rises after its end.
AGAINST_PYTORCH: dict[str, tuple[ScheduleConfig, BuildScheduler, int]] = {
    "constant": (steps("constant"), lambda o: lr_scheduler.ConstantLR(o, factor=1.0), NUM_STEPS),
    "step": (steps("step", every=7), lambda o: lr_scheduler.StepLR(o, 7, 0.1), NUM_STEPS),
    "multi_step": (
        steps("multi_step", milestones=[3, 20, 21], factor=0.5),
        lambda o: lr_scheduler.MultiStepLR(o, [3, 20, 21], 0.5),
        NUM_STEPS,
    ),
    "exponential": (steps("exponential", every=9), lambda o: lr_scheduler.ExponentialLR(o, 0.1 ** (1 / 9)), NUM_STEPS),
    # PyTorch does not count the first step, so its total is one less than our length.
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
    # PyTorch's gamma is per step; our factor is per `every` steps.
    "exp_range": (steps("exp_range", period=10, factor=0.5, every=8), cyclic("exp_range", 0.5 ** (1 / 8)), NUM_STEPS),
    # PyTorch's final rate is relative to the initial rate, ours to the maximum.
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
    **{
        f"one_cycle_torch_rising_for_{rise * 40:g}_steps": (
            steps("one_cycle_torch", length=40, low=0.04, final=0.0, rise=rise),
            one_cycle(total_steps=40, pct_start=rise, div_factor=25, final_div_factor=math.inf),
            40,
        )
        for rise in (0.0, 0.001, 0.0125, 0.03)
    },
}


@pytest.mark.parametrize("case", AGAINST_PYTORCH)
def test_every_step_equals_pytorchs(case: str) -> None:
    ours, theirs, num_steps = AGAINST_PYTORCH[case]
    # PyTorch's zeros are 1e-17 because it multiplies the previous rate, hence the absolute tolerance.
    assert rates(ours, num_steps) == pytest.approx(rates_of_pytorch(theirs, num_steps), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("case", [case for case, (ours, _, _) in AGAINST_PYTORCH.items() if not ours.starts_low])
def test_a_warm_up_can_precede_every_schedule_that_starts_at_the_full_rate(case: str) -> None:
    ours, _, num_steps = AGAINST_PYTORCH[case]
    length = None if ours.length is None else ours.length + 5
    warmed = replace(ours, warmup=5, warmup_start=0.1, length=length)
    rise = rates_of_pytorch(lambda o: lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=5), 5)
    assert rates(warmed, num_steps + 5) == pytest.approx([*rise, *rates(ours, num_steps)], rel=1e-9)


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
def test_plateau_equals_pytorchs_after_every_epoch(losses: list[float], final: float, **settings: Any) -> None:
    schedule = ScheduleConfig(name="plateau", final=final, **settings)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    # With eps > 0, PyTorch skips very small changes of the rate.
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, min_lr=final * LR, threshold_mode="rel", eps=0.0, **settings)
    state = PlateauState()
    for loss in losses:
        state = state.after(schedule, LR, loss)
        theirs.step(loss)
        assert lr_at(schedule, LR, 0, PACE) * state.lr_scale == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        assert (state.best, state.num_bad, state.cooldown) == (theirs.best, theirs.num_bad_epochs, theirs.cooldown_counter)


def test_plateau_does_not_go_below_final_lr() -> None:
    schedule = ScheduleConfig(name="plateau", patience=1, final_lr=LR / 50)
    states = itertools.accumulate([1.0] * 9, lambda state, loss: state.after(schedule, LR, loss), initial=PlateauState())
    assert [state.lr_scale for state in states] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.02, 0.02, 0.02, 0.02, 0.02])


def test_only_plateau_depends_on_validation() -> None:
    state = PlateauState(best=1.0)
    assert [name for name in NAMES if state.after(example(name), LR, 1e9) != state] == ["plateau"]


# Against closed forms.


@pytest.mark.parametrize("base_lr", [1e-6, 1e-3, 10**-1.5])
def test_constant_is_constant(base_lr: float) -> None:
    assert {lr_at(ScheduleConfig(), base_lr, step, PACE) for step in (0, 1, 93, 94, 100_000)} == {base_lr}


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_power_divides_by_a_power_of_the_time(power: float) -> None:
    assert rates(steps("power", every=20, power=power)) == pytest.approx([LR / ((20 + t) / 20) ** power for t in range(64)])


def test_piecewise_changes_the_rate_at_each_milestone() -> None:
    lrs = rates(ScheduleConfig(name="piecewise", milestones=[1.5, 3], shares=[1, 2, 0.25]), 16)
    assert lrs == [LR] * 6 + [2 * LR] * 6 + [LR / 4] * 4


def test_exponential_divides_the_rate_by_ten_every_s_steps() -> None:
    lrs = rates(steps("exponential", every=8))
    for t, later in enumerate(lrs[8:]):
        assert later == pytest.approx(lrs[t] / 10, rel=1e-14)
    assert lrs[16] == LR * 0.1**2


def test_one_cycle_rises_falls_and_falls_further_in_the_tail() -> None:
    """As in document 001: the last tenth of 101 steps ends at a thousandth of the initial rate."""
    lrs = rates(steps("one_cycle", length=101, low=0.04, final=0.04 / 1000, tail=0.1), 101)
    up = [0.04 + 0.96 * t / 45 for t in range(46)]
    tail = [0.04 - (0.04 - 0.04 / 1000) * t / 10 for t in range(11)]
    assert lrs == pytest.approx([LR * factor for factor in [*up, *up[-2::-1], *tail[1:]]], rel=1e-12)


def test_one_cycle_without_a_tail_is_symmetric() -> None:
    lrs = rates(steps("one_cycle", length=9, tail=0), 9)
    assert lrs == pytest.approx(lrs[::-1])
    assert lrs[0] == pytest.approx(0.04 * LR)
    assert max(lrs) == lrs[4] == LR


def test_a_warm_up_from_1e_6_to_1e_4() -> None:
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
def test_a_decay_from_1e_3_to_1e_5_over_the_run(name: str, expected: list[float]) -> None:
    lrs = rates(ScheduleConfig(name=name, final_lr=1e-5), 70, base_lr=1e-3)
    assert lrs == pytest.approx([*expected, *[1e-5] * 10], rel=1e-12)


def grown(factor: float, every: int, warmup: int, largest: int, epoch: int) -> int:
    size = 32.0
    for _ in range(max(0, epoch - warmup) // every):
        size = min(float(largest), size / factor)
    return round(size)


@pytest.mark.parametrize("factor", [0.5, 0.3, 0.999, 1.0, 1e-300])
@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("largest", [32, 500, 512])
def test_a_batch_grows_up_to_max_batch_size(factor: float, warmup: int, largest: int) -> None:
    schedule = ScheduleConfig(name="grow_batch", factor=factor, every=5, warmup=warmup, max_batch_size=largest)
    for epoch in [*range(60), 10_000]:
        assert batch_size_at(schedule, 32, epoch) == grown(factor, 5, warmup, largest, epoch)
    assert batch_size_at(schedule, 32, 10_000_000) == grown(factor, 5, warmup, largest, 20_000)  # it has stopped growing by then


def test_only_grow_batch_changes_the_batch_size() -> None:
    assert [name for name in NAMES if any(batch_size_at(example(name), 32, epoch) != 32 for epoch in range(100))] == [
        "grow_batch"
    ]


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
def test_a_schedule_lasts_for_the_fixed_budget_or_20_epochs(training: TrainingConfig, pace: Pace) -> None:
    assert pace_of(RunConfig(training=training)) == pace


@pytest.mark.parametrize("name", ["polynomial", "cosine", "one_cycle", "one_cycle_torch"])
def test_the_last_step_of_a_fixed_budget_has_the_final_rate(name: str) -> None:
    run = RunConfig(
        data=DataConfig(num_train=320),
        training=TrainingConfig(patience=None, max_epochs=3),
        schedule=ScheduleConfig(name=name, warmup=0 if "low" in USES[name] else 1, final_lr=1e-6),
    )
    assert lr_at(run.schedule, 1e-3, 29, pace_of(run)) == pytest.approx(1e-6, rel=1e-9)
    assert lr_at(run.schedule, 1e-3, 28, pace_of(run)) > 1e-6


# Properties of all settings.

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "length": st.none() | st.sampled_from([1e-9, 1.0, 2.0, 3.0, 1e7]) | st.floats(1e-3, 1e4),
    "final": st.sampled_from([0.0, 0.99]) | st.floats(0, 0.99),
    "factor": st.sampled_from([5e-324, 1.0]) | st.floats(1e-3, 1),
    "every": st.sampled_from([1e-9, 1e7]) | st.floats(1e-3, 1e6),
    "power": st.floats(1e-3, 1e300),
    "period": st.sampled_from([1e-9, 1.0, 2.0, 1e7]) | st.floats(1e-3, 1e4),
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


@st.composite
def schedules(draw: st.DrawFn) -> ScheduleConfig:
    name = draw(st.sampled_from(NAMES))
    settings = {key: draw(FIELDS[key]) for key in USES[name]}
    unit = "epoch" if name == "grow_batch" else draw(st.sampled_from(["epoch", "step"]))
    longest = settings.get("length") or PACE.num_epochs
    warmup = 0.0 if "low" in USES[name] else draw(st.sampled_from([0.0, 0.99 * longest]) | st.floats(0, 0.99 * longest))
    return ScheduleConfig(name=name, unit=unit, warmup=warmup, warmup_start=draw(st.floats(0, 0.99)), **settings)


some_steps = st.lists(st.integers(0, 5_000), min_size=1, max_size=20)
paces = st.builds(Pace, epoch_steps=st.integers(1, 100), num_epochs=st.integers(1, 50))
base_lrs = st.sampled_from([1e-300, 1e-6, 1.0]) | st.floats(1e-8, 10)


@given(schedules(), base_lrs, paces, some_steps)
def test_a_rate_is_between_0_and_its_maximum(schedule: ScheduleConfig, base_lr: float, pace: Pace, at: list[int]) -> None:
    maximum = max([1.0, *schedule.shares]) * base_lr
    for step in [*range(20), *at]:
        assert 0 <= lr_at(schedule, base_lr, step, pace) <= maximum * (1 + 1e-12)


@pytest.mark.parametrize("name", [name for name in NAMES if "low" not in USES[name]])
def test_the_schedule_starts_after_the_warm_up(name: str) -> None:
    assert lr_at(example(name, warmup=3), LR, 3 * PACE.epoch_steps, PACE) == pytest.approx(LR)


@given(schedules().filter(lambda schedule: schedule.name != "grow_batch"), paces, some_steps)
def test_lengths_in_steps_equal_lengths_in_epochs(schedule: ScheduleConfig, pace: Pace, at: list[int]) -> None:
    used = {"warmup", "length", "every", "period"} & {"warmup", *USES[schedule.name]}
    lengths = {name: length * pace.epoch_steps for name in used if (length := getattr(schedule, name)) is not None}
    milestones = [milestone * pace.epoch_steps for milestone in schedule.milestones]
    in_epochs = replace(schedule, unit="epoch")
    in_steps = replace(schedule, unit="step", milestones=milestones, **lengths)
    assert [lr_at(in_epochs, LR, step, pace) for step in at] == [lr_at(in_steps, LR, step, pace) for step in at]
