"""``python -m secateur_server`` is ``secateur``."""

from secateur_server.cli.app import main

main()
