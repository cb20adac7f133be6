"""The operator's command line, put together: ``secateur``.

A command raises `ServerError`; here it becomes one line on stderr and an exit code.
"""

import sys

import typer

from secateur_server.cli import (
    backups,
    bench,
    coordinator,
    dashboard,
    demo,
    doctor,
    enrolment,
    home_assistant,
    inspection,
    keys,
    operators,
    protocol,
    pruning,
    rollouts,
    simulation,
)
from secateur_server.errors import EXIT_BAD_INPUT, EXIT_FAILED, ServerError

app = typer.Typer(
    name="secateur",
    help="Fit one neural network to every device of a fleet.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
coordinator.register(app)
keys.register(app)
backups.register(app)
bench.register(app)
operators.register(app)
dashboard.register(app)
demo.register(app)
doctor.register(app)
enrolment.register(app)
home_assistant.register(app)
protocol.register(app)
inspection.register(app)
pruning.register(app)
rollouts.register(app)
simulation.register(app)


def main() -> None:
    """Run ``secateur`` and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and give back its exit code; errors go to stderr as one line."""
    try:
        code = app(arguments, prog_name="secateur", standalone_mode=False)
    except typer.TyperException as error:
        problem = error.format_message().rstrip(". ")
        return _complain(f"{problem}; see secateur --help", EXIT_BAD_INPUT)
    except ServerError as error:
        return _complain(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", EXIT_FAILED)
    return code if isinstance(code, int) else 0


def _complain(problem: str, code: int) -> int:
    typer.echo(f"secateur: error: {' '.join(problem.split())}", err=True)
    return code
