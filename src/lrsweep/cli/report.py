"""The command `lrsweep-report`: build a study's report from its records.

    lrsweep-report study=lr [delta=0.002]
    lrsweep-report study=all

Reads the store and writes beside it: report.html (one file, nothing to load), report.md, figures/*.png and *.svg,
conclusions.en.md and .ko.md, runs.csv. `delta`: the validation accuracy that the best trade-off may lack (default: one
standard error of the best). `study=all`: every claim of the documents, from all studies (audit.py). Never imports torch, so
that a report can be built wherever the records are.
"""

import math
import sys
from pathlib import Path

from lrsweep.config import ALL_STUDIES, ConfigError, MachineConfig, StudyConfig
from lrsweep.report.audit.build import build_audit
from lrsweep.report.build import build
from lrsweep.report.texts.wording import percent
from lrsweep.storage import files


def _arguments(words: list[str]) -> tuple[Path, str, float | None]:
    """Folder, study and delta from `study=NAME`, `machine.results_dir=DIR` and `delta=SHARE`: lrsweep's own names."""
    given = {"study": "lr", "machine.results_dir": MachineConfig().results_dir, "delta": ""}
    for word in words:
        name, equals, value = word.partition("=")
        name = "study" if name == "study.name" else name
        if not equals or name not in given:
            raise ConfigError(
                f"{word!r} is not understood; usage: lrsweep-report study=NAME [delta=SHARE] [machine.results_dir=DIR]"
            )
        given[name] = value
    study = given["study"] if given["study"] == ALL_STUDIES else StudyConfig(name=given["study"]).name
    return Path(given["machine.results_dir"]) / study, study, _to_delta(given["delta"])


def _to_delta(text: str) -> float | None:
    if not text:
        return None
    try:
        delta = float(text)
    except ValueError:
        delta = math.nan
    if not 0 <= delta < 1:
        raise ConfigError(f"delta must be a share of accuracy, from 0 to below 1 (0.002 is {percent(0.002)}), got {text!r}")
    return delta


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    try:
        folder, study, delta = _arguments(sys.argv[1:])
        report = build_audit(folder.parent) if study == ALL_STUDIES else build(folder, study, delta)
        print(f"Report: {report} and {report.with_suffix('.html')}")
    except (ConfigError, files.StoreError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
