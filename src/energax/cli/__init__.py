"""The command line: one program, `energax`, whose commands make, use and show models.

`main` turns every ending into an exit status: 0 when all went well, 2 with one sentence for a
mistake in what was asked, 3 for a fit that diverged, 130 for Ctrl-C, 1 when the machine would
not go on (a full disk, no memory left). Anything else is a bug and shows its traceback.
Nothing here imports JAX before a command needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from energax.checks import InputError

__all__ = ["Stopped", "main"]

STUCK, BAD_INPUT, DIVERGED, INTERRUPTED = 1, 2, 3, 130


class Stopped(Exception):
    """A command that ended early for a stated reason, with its exit status."""

    def __init__(self, sentence: str, status: int):
        super().__init__(sentence)
        self.status = status


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv
        The words after the program's name; those it was started with if None.
    """
    from cyclopts import CycloptsError, UnusedCliTokensError

    from energax.cli.app import app

    for name in ("stdout", "stderr"):  # closed by whoever started this
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = app(
            words, exit_on_error=False, print_error=False, verbose=False, result_action="return_value"
        )
        sys.stdout.flush()
    except UnusedCliTokensError as error:
        command = " ".join(("energax", *(error.command_chain or ())))
        besides = " ".join(error.unused_tokens or ())
        return _say(f"error: {besides!r} is more than `{command}` takes: see `{command} --help`.", BAD_INPUT)
    except CycloptsError as error:
        return _say(f"error: {error}", BAD_INPUT)
    except InputError as error:
        return _say(f"error: {error}", BAD_INPUT)
    except Stopped as stopped:
        return _say(str(stopped), stopped.status)
    except KeyboardInterrupt:
        return _say("interrupted.", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return _say("error: the memory of this machine is exhausted.", STUCK)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _say(f"error: {error.strerror or error}{where}.", STUCK)
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _say("error: the memory of the device is exhausted: ask for fewer at a time.", STUCK)
    return status if isinstance(status, int) else 0


def _say(sentence: str, status: int) -> int:
    print("energax: " + " ".join(sentence.split()), file=sys.stderr)
    return status
