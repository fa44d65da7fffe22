"""The variables of two files: those of the first one and, from the second one, what the first one lacks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from risloc.io.array_variables import ArrayVariables
from risloc.io.columns import Stored
from risloc.io.hdf5_variables import Hdf5Variables, names_of_parts

__all__ = ["JoinedVariables"]


class JoinedVariables:
    """The variables of two open files. A struct or group comes from one of them as a whole.

    Parameters
    ----------
    own
        The variables of the first file.
    others
        The variables of the second file.
    paths
        The two files, for `notes`.
    """

    def __init__(
        self, own: Hdf5Variables | ArrayVariables, others: Hdf5Variables | ArrayVariables, paths: tuple[Path, Path]
    ) -> None:
        self._own, self._others, self._paths = own, others, paths
        self.growing = own.growing or others.growing
        self.declared = own.declared and others.declared
        self.origin = own.origin

    def notes(self, names: Sequence[str]) -> list[str]:
        """Say in words which file has which variable.

        Parameters
        ----------
        names
            The names of the layout.

        Returns
        -------
        list of str
        """
        first, second = (path.name for path in self._paths)
        lent = [name for name in names if self._has(self._others, name) and not self._has(self._own, name)]
        both = [name for name in names if self._has(self._others, name) and self._has(self._own, name)]
        words = [f"{', '.join(lent)} from {second}"] if lent else []
        words += self._own.notes if isinstance(self._own, ArrayVariables) else []
        return words + ([f"{', '.join(both)} from {first}, not from {second}, which has them too"] if both else [])

    def close(self) -> None:
        """Close the files."""
        self._own.close()
        self._others.close()

    def has_attribute(self, name: str) -> bool:
        """Test whether a file has a value of this name.

        Parameters
        ----------
        name
            The name.

        Returns
        -------
        bool
        """
        return self._owner(name).has_attribute(name)

    def attribute(self, name: str) -> Any:
        """Read a value as plain Python: text, a number or a list of two.

        Parameters
        ----------
        name
            The name.

        Returns
        -------
        Any
        """
        return self._owner(name).attribute(name)

    def has(self, name: str) -> bool:
        """Test whether a file has an object of this name.

        Parameters
        ----------
        name
            Its name in the layout; "/" separates a group or struct from its member.

        Returns
        -------
        bool
        """
        return self._owner(name).has(name)

    def has_group(self, name: str) -> bool:
        """Test whether a file has a group or struct of this name.

        Parameters
        ----------
        name
            Its name in the layout; "/" separates a group or struct from its member.

        Returns
        -------
        bool
        """
        return self._owner(name).has_group(name)

    def stored(self, name: str) -> Stored:
        """Find an array, without reading it.

        Parameters
        ----------
        name
            Its name in the layout; "/" separates a group or struct from its member.

        Returns
        -------
        Stored
        """
        return self._owner(name).stored(name)

    def check(self, name: str) -> None:
        """Check that everything an array declares is stored.

        Parameters
        ----------
        name
            Its name in the layout; "/" separates a group or struct from its member.
        """
        self._owner(name).check(name)

    def unknown(self, folder: str, known: Sequence[str], values: Sequence[str]) -> list[str]:
        """List the names that are not known in the first file or, for a group, in the file that has it.

        Parameters
        ----------
        folder
            The group with a "/" behind it; "" for the root.
        known
            The names of arrays that the layout defines.
        values
            The names of values that it defines.

        Returns
        -------
        list of str
        """
        return (self._owner(folder) if folder else self._own).unknown(folder, known, values)

    def _owner(self, name: str) -> Hdf5Variables | ArrayVariables:
        top = name.partition("/")[0]
        return self._others if self._has(self._others, top) and not self._has(self._own, top) else self._own

    @staticmethod
    def _has(variables: Hdf5Variables | ArrayVariables, name: str) -> bool:
        """Test whether a file has a value or an array of this name, which may be two arrays."""
        return variables.has_attribute(name) or names_of_parts(name, variables.has) is not None
