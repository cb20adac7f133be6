"""Damages a file the ways that disks, networks and enemies do."""

import random


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Truncate, flip bits, overwrite, or copy a piece elsewhere; one to three times."""
    mutant = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        if len(mutant) < 8:
            break
        deed = chance.choice([_truncate, _flip_bits, _flip_head, _overwrite, _copy])
        deed(mutant, chance)
    return bytes(mutant)


def _truncate(mutant: bytearray, chance: random.Random) -> None:
    del mutant[chance.randrange(len(mutant)) :]


def _flip_bits(mutant: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 16)):
        mutant[chance.randrange(len(mutant))] ^= 1 << chance.randrange(8)


def _flip_head(mutant: bytearray, chance: random.Random) -> None:
    """Flip where offsets and tables are, not weights."""
    for _ in range(chance.randint(1, 4)):
        mutant[chance.randrange(min(512, len(mutant)))] ^= 1 << chance.randrange(8)


def _overwrite(mutant: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(mutant))
    value = chance.choice([0x00, 0x7F, 0x80, 0xFF])
    for place in range(start, min(start + chance.choice([1, 2, 4, 8]), len(mutant))):
        mutant[place] = value


def _copy(mutant: bytearray, chance: random.Random) -> None:
    size = min(chance.choice([4, 16, 64]), len(mutant))
    source = chance.randrange(len(mutant) - size + 1)
    target = chance.randrange(len(mutant) - size + 1)
    mutant[target : target + size] = mutant[source : source + size]
