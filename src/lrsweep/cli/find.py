"""The command `lrsweep-find`: a learning-rate range test.

    lrsweep-find [optimizer=sgd] [model.activation=relu] [seed=3] [find.num_seeds=5] [find.against=reference/lr]

The command takes the settings of `lrsweep` and these:

    find.num_seeds=3      tests, with the seeds seed, seed + 1, …
    find.num_steps=300    optimizer steps of a test
    find.low, find.high   the rates of the first and the last step (1e-7 and 10)
    find.spacing          exponential or linear: how the rate rises
    find.smoothing=0.98   weight of the past in the moving average of the losses
    find.against=lr       the study whose sweep scores the suggestions

It prints the rate that each rule suggests. If in doubt, use that of `valley`, the default of fastai. `cycle low` and `cycle high`
are the ends of a cyclic schedule, and not rates to train at. If the study of find.against has runs of the same settings, the
command also prints how much accuracy its nearest rate loses. finder.json, finder.png and finder.svg are written into the study's
folder; study.name=NAME chooses another one.

More steps mean more training at each rate, so the loss falls at lower rates: the suggestions depend on find.num_steps. With
the defaults, every rule's median over 5 seeds was 0.7 to 2.0 decades lower with 900 steps than with 100 (on a CPU;
results/reference/find holds both).
"""

import sys

from omegaconf import DictConfig

from lrsweep.cli.main import run_command, to_app_config

# A study's file may set a sweep and a launcher, which would train runs. These settings switch both off.
_SINGLE_RUN = (
    "hydra.mode=RUN",
    "hydra/launcher=basic",
    "hydra.run.dir='${machine.results_dir}/${inside:${study.name}}/hydra/find'",
)


def _find(cfg: DictConfig) -> None:
    app = to_app_config(cfg)
    from lrsweep.cli.range_tests import find_rates  # PyTorch takes seconds to import

    find_rates(app)


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        print("ConfigError: lrsweep-find takes one value per setting; find.num_seeds=5 sets the number of seeds", file=sys.stderr)
        sys.exit(2)
    sys.argv += _SINGLE_RUN
    run_command(_find, "An unfinished range test leaves no result.")


if __name__ == "__main__":
    main()
