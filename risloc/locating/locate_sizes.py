"""How many sources can be searched for in measurements of a size, and how large these may be."""

from risloc.locating.locate_arguments import LocateError, checked_count
from risloc.scenes.scenario import MOST_IN_A_SCENE, MOST_SOURCES

__all__ = ["check_size", "largest_order", "scenes_at_once"]

_BATCH_BYTES = 2**25  # of a batch's G
_BATCH = 64


def scenes_at_once(elements: int, samples: int, *, arranged: bool) -> int:
    """Choose how many scenes to take at once.

    Parameters
    ----------
    elements
        The number of elements N.
    samples
        The number of samples L M of a scene.
    arranged
        Whether the observation is rearranged, which needs more memory.

    Returns
    -------
    int
        The number of scenes.
    """
    return max(1, min(_BATCH, _BATCH_BYTES // (8 * samples * elements * (4 if arranged else 1))))


def check_size(elements: int, antennas: int, snapshots: int, slots: int) -> None:
    """Check that a scenario could have scenes of this size.

    Parameters
    ----------
    elements
        The number of elements N.
    antennas
        The number of antennas M.
    snapshots
        The number of snapshots L.
    slots
        The largest number of sources.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        There are more sources, or larger arrays, than in any scenario.
    """
    if slots > MOST_SOURCES:
        raise LocateError(f"sources: expected at most {MOST_SOURCES}, got {slots}; search for fewer sources")
    if elements * (rows := max(antennas, slots * snapshots)) > MOST_IN_A_SCENE:
        raise LocateError(
            f"antennas, snapshots, sources: expected at most {MOST_IN_A_SCENE} entries in an array of a scene (elements x "
            f"antennas, elements x sources x snapshots), got {elements} x {rows}; reduce one of these numbers"
        )


def largest_order(K_MAX: int, antennas: int, snapshots: int, *, known: int | None, most: object, fixed: bool) -> int:
    """Return the largest number of sources to search for.

    It is K_MAX of the network; without a network K if it is known, otherwise `most` or K_MAX. At most
    floor(2 M L / (2 L + 4)) sources can be separated.

    Parameters
    ----------
    K_MAX
        The largest number of sources of the scenario.
    antennas
        The number of antennas M.
    snapshots
        The number of snapshots L.
    known
        The number of sources K, or None.
    most
        The largest number asked for, or None.
    fixed
        Whether K_MAX is that of a network.

    Returns
    -------
    int
        The number of slots.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        More sources were asked for than the network or the samples allow.
    """
    limit = None if most is None else checked_count("most", most, 1)
    slots = K_MAX if fixed else max(1, known if known is not None else K_MAX if limit is None else limit)
    if not 0 <= (known or 0) <= slots or (fixed and limit not in (None, slots)):
        raise LocateError(
            f"sources: this network searches for at most {slots} sources; requested {known or limit}: use NOMP (--method nomp; "
            "model=None)"
        )
    if slots > _separable(antennas, snapshots):
        raise LocateError(_too_many(antennas, snapshots, slots, known, fixed))
    return slots


def _separable(antennas: int, snapshots: int) -> int:
    """Return the most sources that 2 M L real samples can separate: each has 2 L of symbols, 3 of position, 1 of power."""
    return 2 * antennas * snapshots // (2 * snapshots + 4)


def _too_many(antennas: int, snapshots: int, slots: int, known: int | None, fixed: bool) -> str:
    """Say why so many `slots` cannot be separated, and what to do."""
    limit = _separable(antennas, snapshots)
    samples = f"{antennas} antenna{'s' * (antennas > 1)} and {snapshots} snapshot{'s' * (snapshots > 1)}"
    if limit == 0:
        least = f"expected M >= {2 if snapshots > 1 else 3}"
        if antennas == 1 and snapshots > 1:
            least += ", or known pilots (--pilots constant if symbols do not vary; pilots=1 in Python), without which one antenna sees nothing"
        return f"sources: {samples} cannot locate even one source: {least}"
    remedies = ["use NOMP (--method nomp; model=None)"] if fixed else []
    if known is None:
        remedies.append(f"search for at most {limit} (--most {limit}; most={limit})")
    elif known > limit:
        remedies.append(f"search for at most {limit} (--sources {limit}; sources={limit})")
    requested = f"up to {slots}" if known is None or fixed else f"{known}"
    sources = f"at most {limit} source{'s' * (limit > 1)} can be separated with {samples}"
    return f"sources: {sources}; requested {requested}: {' and '.join(remedies)}"
