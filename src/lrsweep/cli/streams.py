"""What a terminal or a pipe can show."""

import io
import sys


def write_any_text() -> None:
    """Write characters that the encoding of stdout or stderr lacks as escapes, where Python would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
