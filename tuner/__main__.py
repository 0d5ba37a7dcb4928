"""The entry point: runs the command line and turns every error into lines and an exit code."""

from __future__ import annotations

import sys

import click

from tuner.cli import cli
from tuner.errors import TunerError


def main() -> None:
    """Run ``tuner``; no traceback reaches a user but under ``-v``."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        result = cli.main(arguments, prog_name="tuner", standalone_mode=False)
    except (click.exceptions.Exit, click.ClickException, TunerError) as error:
        return _explained(error)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stderr.close()
        return 141
    except Exception as error:  # noqa: BLE001 -- the last line of defence
        return _bug(error)
    return result if isinstance(result, int) else 0


def _explained(error: click.exceptions.Exit | click.ClickException | TunerError) -> int:
    if isinstance(error, click.ClickException):
        error.show()
    elif isinstance(error, TunerError):
        click.echo(_painted(str(error)), err=True)
    return error.exit_code


def _bug(error: Exception) -> int:
    """A fault of ours: one line for the user, the rest in a file to send us."""
    import traceback

    from tuner.home import home

    if "-v" in sys.argv or "--verbose" in sys.argv:
        traceback.print_exception(error)
    report = home() / "bug.txt"
    report.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    click.echo(
        _painted(
            f"error: tuner has a bug here: {type(error).__name__}: {error}\n"
            f"  fix: please report it with {report}; nothing is lost, the same command can be run again"
        ),
        err=True,
    )
    return 1


def _painted(text: str) -> str:
    """The severity and the fix stand out where colours are shown."""
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
