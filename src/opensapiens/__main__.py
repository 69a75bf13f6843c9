"""`python -m opensapiens`: the same as the command `opensapiens`."""

from opensapiens.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
