"""How a command speaks and ends: exit codes, and the errors that are one line on the standard error output."""

__all__ = ["BAD_INPUT", "EXIT_CODES", "INTERRUPTED", "NOT_DONE", "CommandError", "counted"]

BAD_INPUT, USAGE, NOT_DONE, INTERRUPTED = 1, 2, 3, 130

EXIT_CODES = {
    0: "done",
    BAD_INPUT: "a file, a checkpoint or a value is not what it must be",
    USAGE: "the command line itself: an unknown option, a missing argument",
    NOT_DONE: "the machine could not: no room, no permission, a package that is missing",
    INTERRUPTED: "Ctrl-C; 143: SIGTERM; 141: who read the output went away. No file is half-written",
}


class CommandError(Exception):
    """What went wrong, in one line, and the exit code that says of which kind it is."""

    def __init__(self, words: str, code: int = BAD_INPUT) -> None:
        super().__init__(words)
        self.code = code


def counted(number: int, what: str) -> str:
    """So many of what is named in the singular."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
