"""The group of commands, and handling of errors, warnings and signals."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from ..version import __version__
from ._options import DEBUG, debug_option

# The command "super-resolve" is `super_resolve` in _super_resolve.py, which is imported when it is
# called, so that --help does not import torch.
COMMANDS = {
    "super-resolve": "Fuse raster files or products of several dates into one georeferenced image.",
    "simulate": "Simulate scenes, in the challenge's layout.",
    "score": "Score estimators, or images, on scenes with HR images.",
    "train": "Train FusionNet or another estimator on scenes.",
    "predict": "Super-resolve scenes to 16-bit PNGs, or to a submission.",
    "benchmark": "Train and score the published study's configurations, and write their table.",
    "report": "Write a page on the quality of estimators, with pictures of scenes.",
    "weights": "List the weights that ship with the package.",
    "info": "Show versions, the device and the threads that are used.",
}

# Exit code of a signal, by the convention of shells: this and the signal's number.
_SIGNALLED = 128

# Errors in arguments and input files.
_USAGE_ERRORS = (
    ValueError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
)


class _UsageError(click.ClickException):
    """Error in arguments or input files; other errors exit with click's code 1."""

    exit_code = 2


class _Signalled(KeyboardInterrupt):
    """Request to end the process by another signal than that of Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Commands(click.Group):
    """Import commands when they are called, and print errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        return getattr(import_module(f"{__package__}._{name}"), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
                raise  # handled by click
            except Exception as error:
                kind = _UsageError if isinstance(error, _USAGE_ERRORS) else click.ClickException
                if ctx.meta.get(DEBUG):
                    click.echo(traceback.format_exc(), err=True)
                    ctx.exit(kind.exit_code)
                raise kind(_message_of(error)) from error

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.Abort as error:
            click.echo("Interrupted", err=True)
            code = _SIGNALLED + getattr(error.__cause__, "number", signal.SIGINT)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = error.exit_code
        except click.ClickException as error:
            click.echo(f"Error: {_one_line(error.format_message())}{_see_help(error)}", err=True)
            code = error.exit_code
        sys.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="probav")
@debug_option
def probav() -> None:
    """Multi-image super-resolution of satellite images.

    Folders of scenes have the layout of the PROBA-V challenge: FOLDER may be the root of a data set
    (with train/ and norm.csv), one split (train/) or one band (train/RED/).
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; `args` default to those of the process."""
    if threading.current_thread() is threading.main_thread():
        _interrupt_on_signals()
    probav.main(args)


def _interrupt_on_signals():
    """Let signals that ask a process to end do what Ctrl-C does.

    What the shell has set to be ignored, as nohup does, stays ignored.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(number, frame):
    # A second one ends the process at once.
    signal.signal(number, signal.SIG_DFL)
    raise _Signalled(number)


def _show_warning(message, category, filename, lineno, file=None, line=None):
    click.echo(f"Warning: {_one_line(str(message))}", err=True)


def _message_of(error):
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, (*_USAGE_ERRORS, OSError)):
        return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error} (--debug shows where)"


def _see_help(error):
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return ""
    return f" (see {error.ctx.command_path} --help)"


def _one_line(text):
    return " ".join(line.strip() for line in text.splitlines())
