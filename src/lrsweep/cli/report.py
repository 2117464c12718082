"""The command `lrsweep-report`: build the report of a study from its records.

    lrsweep-report study=lr [delta=0.002] [machine.results_dir=DIR]
    lrsweep-report study=all

Reads the records in results/lr and writes into the same folder: report.html (one self-contained file), report.md,
the same in Korean (report.ko.html, report.ko.md), figures/*.png and *.svg, conclusions.en.md and conclusions.ko.md, runs.csv.

delta: the smallest difference in test accuracy that matters, as a fraction. A rate is good if its runs show that it loses
less than delta. The default is the study.delta of the study's last sweep, or 0.002, which is 0.2 percentage points.

reload_seconds: the page says how far the sweep is, and reloads itself so often. A running sweep builds its reports with it.

study=all: write audit.html and audit.md instead, and the same in Korean, with a verdict on every claim of the documents, from all
studies.
"""

# Must not import torch, so that reports can be built on machines without it.

import math
import sys
import warnings
from pathlib import Path

from lrsweep.cli.signals import Stopped, stopped_by_signals
from lrsweep.cli.streams import write_any_text
from lrsweep.config import ALL_STUDIES, ConfigError, MachineConfig, StudyConfig
from lrsweep.report.texts.wording import percent
from lrsweep.storage import files


def _parse(arguments: list[str]) -> tuple[Path, str, float | None, int | None]:
    """The study's folder, its name, delta, and the seconds after which the page reloads itself."""
    values = {"study": "lr", "machine.results_dir": MachineConfig().results_dir, "delta": "", "reload_seconds": ""}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        name = "study" if name == "study.name" else name
        if not equals or name not in values:
            raise ConfigError(
                f"unknown argument {argument!r}; usage: lrsweep-report study=NAME [delta=FRACTION] [machine.results_dir=DIR]"
            )
        values[name] = value
    study = values["study"] if values["study"] == ALL_STUDIES else StudyConfig(name=values["study"]).name
    results_dir = MachineConfig(results_dir=values["machine.results_dir"]).results_dir
    return Path(results_dir) / study, study, _to_delta(values["delta"]), _to_seconds(values["reload_seconds"])


def _to_delta(text: str) -> float | None:
    if not text:
        return None
    try:
        delta = float(text)
    except ValueError:
        delta = math.nan
    if not 0 < delta < 1:
        raise ConfigError(f"delta must be a fraction above 0 and below 1 (0.002 means {percent(0.002)}), got {text!r}")
    return delta


def _to_seconds(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ConfigError(f"reload_seconds must be a whole number above 0, got {text!r}")
    return int(text)


def main() -> None:
    write_any_text()
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"  # without a line of code
    try:
        folder, study, delta, reload_seconds = _parse(sys.argv[1:])
        if study == ALL_STUDIES and not folder.parent.is_dir():
            raise files.StoreError(f"{folder.parent} does not exist")
        with stopped_by_signals():
            # These imports take seconds.
            from lrsweep.report.audit.build import build_audit
            from lrsweep.report.build import build

            report = build_audit(folder.parent) if study == ALL_STUDIES else build(folder, study, delta, reload_seconds)
        print(f"Report: {report} and {report.with_suffix('.html')}")
    except (ConfigError, files.StoreError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)


if __name__ == "__main__":
    main()
