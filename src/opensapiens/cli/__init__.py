"""The command `opensapiens`: arguments in, exit code out. All the work is done in the other folders."""

from opensapiens.cli.main import main

__all__ = ["main"]
