"""The command `lrsweep-find`: a learning-rate range test.

    lrsweep-find [optimizer=sgd] [model.activation=relu] [seed=3] [find.num_seeds=5] [find.against=reference/lr]

The command takes the settings of `lrsweep` and those of the group `find`. It prints the rate that each rule suggests. If there
is a sweep of the same settings, it also prints how much accuracy the sweep's nearest rate loses. finder.json, finder.png and
finder.svg are written into the study's folder.

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
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        print("ConfigError: lrsweep-find takes one value per setting; find.num_seeds=5 sets the number of seeds", file=sys.stderr)
        sys.exit(2)
    sys.argv += _SINGLE_RUN
    run_command(_find, "An unfinished range test leaves no files.")


if __name__ == "__main__":
    main()
