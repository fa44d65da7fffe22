"""`python -m risloc` is `risloc`."""

from risloc.cli.main import main

main()
