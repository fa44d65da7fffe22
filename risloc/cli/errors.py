"""Exit codes, and the error that a command reports in one line on standard error."""

__all__ = ["BAD_INPUT", "EXIT_CODES", "INTERRUPTED", "NOT_DONE", "CommandError", "counted"]

BAD_INPUT, USAGE, NOT_DONE, INTERRUPTED = 1, 2, 3, 130

EXIT_CODES = {
    0: "success",
    BAD_INPUT: "invalid input: a file, a checkpoint or a value",
    USAGE: "invalid command line: an unknown option, a missing argument",
    NOT_DONE: "the system failed: disk full, no permission, a missing package",
    INTERRUPTED: "interrupted by Ctrl-C; 143: by SIGTERM; 141: output closed. No file is left half-written",
}


class CommandError(Exception):
    """A command failed.

    Parameters
    ----------
    message
        What went wrong, in one line.
    code
        The exit code.
    """

    def __init__(self, message: str, code: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.code = code


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return the number with the noun, in the plural unless the number is 1.

    Parameters
    ----------
    number
        The number.
    noun
        The noun in the singular.
    plural
        The noun in the plural, if that is not the noun with an s.

    Returns
    -------
    str
        For example "1 scene" or "2 scenes".
    """
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
