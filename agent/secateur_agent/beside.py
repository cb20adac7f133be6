"""The control process of a program that infers itself: ``python -m ...beside FD CONFIG``.

It does all that the agent's control process does, and ends with the program: their pipe does.
"""

import logging
import sys
from pathlib import Path

from secateur_agent.cli import run
from secateur_agent.errors import EXIT_BAD_INPUT, EXIT_FAILED, AgentError, ConfigError
from secateur_agent.inference.pipe import Pipe
from secateur_agent.installed import EngineMissingError
from secateur_agent.settings import read_settings
from secateur_protocols.logs import log_to_stderr


def main() -> int:
    """Run until told to stop, or until the program is gone."""
    try:
        settings = read_settings(Path(sys.argv[2]))
        log_to_stderr(settings.log_format, logging.WARNING)
        return run(settings, Pipe.inherited(int(sys.argv[1])))
    except (ConfigError, EngineMissingError) as error:
        code, problem = EXIT_BAD_INPUT, str(error)
    except AgentError as error:
        code, problem = EXIT_FAILED, str(error)
    sys.stderr.write(f"secateur-agent: error: {' '.join(problem.split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
