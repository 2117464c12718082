"""Make stdout and stderr accept any text, whatever their encoding."""

import io
import sys


def write_any_text() -> None:
    """If the encoding of stdout or stderr lacks a character, write it as an escape. By default, Python raises an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
