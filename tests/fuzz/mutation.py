"""Inputs made of seeds and tokens by a generator of random numbers: the same ones for the same number, everywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.fuzz.target import MAX_INPUT, Target


def mutated(target: Target, count: int, seed: int) -> Iterator[bytes]:
    """``count`` inputs, each one to five changes away from a seed."""
    dice = random.Random(seed)
    for _ in range(count):
        data = bytearray(dice.choice(target.seeds))
        for _ in range(dice.choice((1, 1, 1, 2, 3, 5))):
            _change(data, target, dice)
        yield bytes(data[:MAX_INPUT])


def _change(data: bytearray, target: Target, dice: random.Random) -> None:
    at = dice.randrange(len(data) + 1)
    to = min(len(data), at + dice.choice((1, 1, 2, 4, 8, 40)))
    token = dice.choice(target.tokens)
    match dice.randrange(8):
        case 0:
            data[at:at] = token
        case 1:
            data[at : at + len(token)] = token
        case 2:
            data[at:to] = dice.randbytes(to - at)
        case 3:
            del data[at:to]
        case 4:
            data[at:at] = data[at:to]
        case 5 if at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        case 6:
            del data[at:]
        case _:
            other = dice.choice(target.seeds)
            data[at:] = other[dice.randrange(len(other) + 1) :]
