"""The entry point: runs the command line, and prints errors with an exit code."""

from __future__ import annotations

import sys

import click

from tuner.cli import cli
from tuner.errors import TunerError


def main() -> None:
    """Run ``tuner``; tracebacks are shown only with ``-v``."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        result = cli.main(arguments, prog_name="tuner", standalone_mode=False)
    except (click.exceptions.Exit, click.ClickException, TunerError) as error:
        return _show_error(error)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:  # the reader of our output closed the pipe
        sys.stderr.close()
        return 141
    except Exception as error:  # noqa: BLE001 -- an unexpected error
        return _report_bug(error)
    return result if isinstance(result, int) else 0


def _show_error(error: click.exceptions.Exit | click.ClickException | TunerError) -> int:
    if isinstance(error, click.ClickException):
        error.show()
    elif isinstance(error, TunerError):
        click.echo(_with_colours(str(error)), err=True)
    return error.exit_code


def _report_bug(error: Exception) -> int:
    """Report an unexpected error: one line for the user, and the traceback in a file."""
    import traceback

    from tuner.home import home

    if "-v" in sys.argv or "--verbose" in sys.argv:
        traceback.print_exception(error)
    report = home() / "bug.txt"
    report.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    click.echo(
        _with_colours(
            f"error: unexpected {type(error).__name__}: {error}; this is a bug in tuner\n"
            f"  fix: report it with {report}; nothing is lost, the command can be repeated"
        ),
        err=True,
    )
    return 1


def _with_colours(text: str) -> str:
    """Colour the severity and the fix."""
    for word, colour in (("error:", "red"), ("warning:", "yellow"), ("  fix:", "cyan")):
        text = "\n".join(
            click.style(word, fg=colour, bold=True) + line[len(word) :]
            if line.startswith(word)
            else line
            for line in text.split("\n")
        )
    return text


if __name__ == "__main__":
    main()
