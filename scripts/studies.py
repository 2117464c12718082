"""Run every study and confirm it on fresh seeds. `make studies` calls this script. Running it again skips finished runs.

    python scripts/studies.py [Hydra overrides for every sweep, e.g. hydra/launcher=fused machine.results_dir=results/mine]

Stops at the first sweep that ends with an error.
"""

import sys
from collections.abc import Sequence

import torch

from lrsweep.cli.confirm import defines_runs, run_to_end, study_config

STUDIES: dict[str, list[str]] = {  # study → its own overrides. Cheap studies run first, and pretrain runs before finetune
    "pretrain": [],
    "finetune": [],
    "mini_batch": [],
    "initialisation": [],
    "warmup": [],
    "warmup_start": [],
    "grow_batch": [],
    "activations": [],
    "batch_norm": [],
    "regularisers": [],
    "restarts": [],
    "augmentation": [],
    "edge": [],
    "double_softmax": [],
    "batch_size": [],
    "optimizer_rates": [],
    "schedules_sgd": [],
    "layerwise": [],
    "adam": [],
    "schedules": [],
    "long": [],
    "patience": [],
    "optimizers": [],
    "mixed_precision": [],
    "lr": ["seed=range(10)", "loss=cross_entropy,double_softmax", "study.extend=true"],  # `make sweep` may have run one loss
}


def commands(study: str, overrides: Sequence[str] = ()) -> list[list[str]]:
    """The modules and arguments that run a study's sweep, and its fresh seeds if it has some.

    lrsweep-confirm reads the settings that define a run from the sweep's records, so only the sweep gets such overrides.
    """
    words = [f"study={study}", *STUDIES[study], *overrides]
    sweep = ["lrsweep", *words]
    confirm = ["lrsweep.cli.confirm", *(word for word in words if not defines_runs(word))]
    return [sweep, confirm] if study_config(study).fresh_seeds else [sweep]


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    for study in STUDIES:
        if study == "mixed_precision" and not torch.cuda.is_available():
            print("mixed_precision: left out, because it needs a GPU", flush=True)
            continue
        for command in commands(study, sys.argv[1:]):
            print(f"\n{' '.join(command)}", flush=True)
            exit_code = run_to_end([sys.executable, "-m", *command])
            if exit_code:
                sys.exit(exit_code)


if __name__ == "__main__":
    main()
