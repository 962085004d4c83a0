"""The ``sslsim`` command: studies, campaigns of them, reports, benchmarks.

Results go to standard output and into the run folder; errors and warnings to standard error, one
line each. Exit status: 0 done, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TextIO

from experiments.command_line import parsed
from experiments.registry import STUDIES
from experiments.study import Study, execute, speaks
from sslsim.core.interruption import Interrupted

_TAKE_MEMORY = ("batch", "pairs", "samples", "limit", "width", "widths")
_MEMORY_WORDS = ("DefaultCPUAllocator", "not enough memory", "CUDA out of memory")


def main(argv: Sequence[str] | None = None, studies: Sequence[Study] = STUDIES) -> int:
    """Run the command line.

    >>> main(["--version"])
    sslsim 0.2.0
    0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        from importlib import metadata

        print(f"sslsim {metadata.version('sslsim')}")
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        try:
            study, options = parsed(arguments, studies)
        except SystemExit:  # of --help, which has been printed
            return 0
        except BrokenPipeError:
            return _unread()
        except ValueError as error:
            return _failed(_one_line(error))
        try:
            folder = execute(study, options)
            if folder is not None and speaks():
                print(f"written to {folder}", flush=True)
        except Interrupted as stop:
            print(f"sslsim: {stop}; the same command goes on from there", file=sys.stderr)
            return 130
        except KeyboardInterrupt:
            print("sslsim: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:
            return _unread()
        except SystemExit as stop:  # of code that is not ours
            return _failed(f"code that {study.name} calls has exited, with status {stop.code}")
        except Exception as error:
            if out_of_memory(error):
                return _failed(_out_of_memory(error, options))
            if not isinstance(error, (ValueError, OSError)):
                raise
            return _failed(_as_typed(_one_line(error), options))
    return 0


def _unread() -> int:
    """Stop in silence when the reader of the output has seen enough (`sslsim ... | head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of numpy or of torch, which is not imported.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: ..."))
    True
    >>> out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_WORDS):
        return True
    return error.__cause__ is not None and out_of_memory(error.__cause__)


def _out_of_memory(error: Exception, options: Any) -> str:
    """What to say where memory ran out, with what to try of the options that the command has."""
    amount = re.search(r"allocate ([\d.]+ \w+)", str(error))
    reason = f"cannot allocate {amount[1]}" if amount else _one_line(error)
    names = [f"--{name}" for name in _TAKE_MEMORY if hasattr(options, name)]
    smaller = " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    return f"out of memory: {reason}" + (f"; try a smaller {smaller}" if names else "")


def _as_typed(message: str, options: Any) -> str:
    """A message with options spelled as on the command line: init-scale, not init_scale."""
    for option in fields(options):
        name = rf"(?<![\w./-]){option.name}(?![\w/-]|\.\w)"
        message = re.sub(name, option.name.replace("_", "-"), message)
    return message


def _failed(message: str) -> int:
    print(f"sslsim: error: {message}", file=sys.stderr)
    return 2


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return place + error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"sslsim: warning: {' '.join(str(message).split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
