"""`python -m genat` is `genat`."""

from genat.cli import main

main()
