"""`python -m risloc` is `risloc`."""

from risloc.command.main import main

main()
