"""The command `lrsweep-report`; build.py says what it takes."""

import gc


def main() -> None:
    gc.set_threshold(100_000)  # imports and figures make many objects and few cycles: looking for these took a tenth of the time
    from lrsweep.report.build import main as build

    build()
    gc.freeze()  # else the interpreter, as it ends, looks at every epoch of every record once more


if __name__ == "__main__":
    main()
