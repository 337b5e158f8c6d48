# What Python programs spend their time on: arithmetic, calls, lists, dictionaries, strings, objects. Prints what it found.

import random


def primes(below):
    sieve = bytearray([1]) * below
    for i in range(2, int(below**0.5) + 1):
        if sieve[i]:
            sieve[i * i :: i] = bytes(len(range(i * i, below, i)))
    return sum(sieve) - 2


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def words(count):
    chance = random.Random(1)
    seen = {}
    for _ in range(count):
        word = "".join(chance.choice("abcdefgh") for _ in range(4))
        seen[word] = seen.get(word, 0) + 1
    return sorted(seen.items(), key=lambda item: (-item[1], item[0]))[0]


class Body:
    def __init__(self, x, v, mass):
        self.x, self.v, self.mass = x, v, mass


def orbit(steps):
    sun, earth = Body(0.0, 0.0, 1000.0), Body(1.0, 30.0, 1.0)
    for _ in range(steps):
        distance = earth.x - sun.x
        pull = 1e-4 / (distance * distance + 0.01)
        earth.v -= pull * sun.mass
        sun.v += pull * earth.mass
        earth.x += 1e-4 * earth.v
        sun.x += 1e-4 * sun.v
    return repr(earth.x)


def collatz(below):
    best = (0, 0)
    for start in range(1, below):
        n, length = start, 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            length += 1
        best = max(best, (length, start))
    return best


print(primes(300_000), fib(22), words(20_000), orbit(60_000), collatz(10_000), 3**20_000 % 1_000_000_007)
