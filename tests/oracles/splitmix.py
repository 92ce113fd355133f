"""SplitMix64 in Python's own integers (Steele, Lea, Flood 2014)."""

GOLDEN = 0x9E3779B97F4A7C15
_ALL = (1 << 64) - 1


def mix(value: int) -> int:
    value &= _ALL
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _ALL
    return value ^ (value >> 31)


def splitmix(seed: int, count: int) -> list[int]:
    """Return the first 64-bit outputs of the generator."""
    return [mix(seed + index * GOLDEN) for index in range(1, count + 1)]


def uniforms(seed: int, stream: int, count: int) -> list[float]:
    """Return what `asr.features.random.uniform` must: the upper 24 bits of the stream's generator."""
    return [(value >> 40) / 2**24 for value in splitmix(mix(seed + (stream + 1) * GOLDEN), count)]
