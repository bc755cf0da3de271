"""`python -m tdq_core` is `tdq`."""

from tdq_core.cli import main

main()
