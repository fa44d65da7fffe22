"""The laws of echoes once more, in plain numpy: the random numbers, the images, the reflection, one source at a time."""

import itertools
import math

import numpy as np
from oracle import elements, position

from risloc.scenes.simulation import SPLITS

MATERIALS = {  # a, c, d of ITU-R P.2040
    "concrete": (5.24, 0.0462, 0.7822), "plasterboard": (2.73, 0.0085, 0.9395), "brick": (3.91, 0.0238, 0.16),
    "wood": (1.99, 0.0047, 1.0718), "glass": (6.31, 0.0036, 1.3394), "metal": (1.0, 1e7, 0.0),
}  # fmt: skip
EPSILON_0 = 8.8541878128e-12


def fifth_stream(index, *, seed=7, split="train"):
    """The stream of a scene's echoes."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(SPLITS[split], index, 4))))


def farther_echoes(s, index, sources):
    """(location, gain) of each echo of each source: numbers uniform for the images, then normal ones for the gains."""
    rng, law = fifth_stream(index), s.echoes
    unit = rng.random((s.K_MAX, law.paths, 3))
    normal = rng.standard_normal((s.K_MAX, law.paths, 2), dtype=np.float32).astype(float)
    gains = (normal[..., 0] + 1j * normal[..., 1]) * math.sqrt(10 ** (law.power_db / 10) / law.paths / 2)
    lowest, highest = law.farther_span
    for k, (_, _, distance) in enumerate(sources):
        angles = np.radians(-87 + 174 * unit[k, :, :2])
        ratio = lowest + (highest - lowest) * unit[k, :, 2]
        yield [([*angles[j], distance * ratio[j]], gains[k, j]) for j in range(law.paths)]


def room_of(s, index):
    """The walls as (point, normal, material), all in the frame of the surface, and the origin inside."""
    unit, law = fifth_stream(index).random(13), s.echoes
    spans = [law.side_span_m] * 2 + [law.height_span_m] * 2 + [law.behind_span_m, law.front_span_m]
    distance = [low + (high - low) * u for (low, high), u in zip(spans, unit[:6], strict=True)]
    low, high = np.radians(law.yaw_span_deg)
    yaw = low + (high - low) * unit[12]
    x, z = np.array([np.cos(yaw), 0, -np.sin(yaw)]), np.array([np.sin(yaw), 0, np.cos(yaw)])
    y = np.array([0.0, 1.0, 0.0])
    normals = [-x, x, -y, y, -z, z]
    material = [law.materials[int(u * len(law.materials))] for u in unit[6:12]]
    return [(d * n, n, m) for d, n, m in zip(distance, normals, material, strict=True)]


def coefficient(material, normal, arrival, carrier_hz):
    """Fresnel's coefficient of a vertically polarised wave: TE at a wall, TM at a floor or a ceiling."""
    a, c, d = MATERIALS[material]
    epsilon = a - 1j * c * (carrier_hz / 1e9) ** d / (2 * np.pi * carrier_hz * EPSILON_0)
    cos = abs(normal @ arrival)
    root = np.sqrt(epsilon - (1 - cos**2))
    own = epsilon * cos if abs(normal[1]) > 0.5 else cos
    return (own - root) / (own + root)


def room_echoes(s, index, sources):
    """(location, gain) of the strongest echoes of each source; images behind the surface have none."""
    walls, k = room_of(s, index), 2 * np.pi / s.wavelength
    for source in sources:
        p, found, seen = position(*source), [], []
        for path in [*itertools.permutations(walls, 1), *itertools.permutations(walls, 2)]:
            image = p
            for point, normal, _ in path:
                image = image - 2 * ((image - point) @ normal) * normal
            if image[2] <= 0 or any(np.allclose(image, other) for other in seen):
                continue
            seen.append(image)
            far = np.linalg.norm(image)
            gain = source[2] / far * np.exp(-1j * k * (far - source[2]))
            for _, normal, material in path:
                gain *= coefficient(material, normal, image / far, s.carrier_hz)
            azimuth, elevation = math.atan2(image[0], image[2]), math.asin(image[1] / far)
            found.append(([azimuth, elevation, far], gain))
        yield sorted(found, key=lambda echo: -abs(echo[1]))[: s.echoes.paths]


PLAIN = {"farther": farther_echoes, "room": room_echoes}


def field_sum(s, source, echoes):
    """What each element receives, over the direct wave's amplitude and phase at the origin; spreading as at the origin."""
    places, k = elements(s.n_h, s.n_v, s.wavelength, s.reference), 2 * np.pi / s.wavelength
    reference = np.exp(1j * k * source[2])
    p = position(*source)
    field = np.array([np.exp(-1j * k * np.linalg.norm(p - x)) for x in places]) * reference
    for location, gain in echoes:
        q, far = position(*location), location[2]
        bounce = gain * np.exp(1j * k * (far - source[2]))  # without the phase of the detour: reflection and spreading
        field += bounce * np.array([np.exp(-1j * k * np.linalg.norm(q - x)) for x in places]) * reference
    return field
