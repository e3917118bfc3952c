"""What tests of saving.apart run in a process of its own: readers that don't end, take all memory, crash or refuse."""

import os

from tapwise.saving.apart import bounded


def endless(path, seconds):
    def read(path):
        while True:
            pass

    bounded(read, path, seconds)


def greedy(path, seconds):
    bounded(lambda path: bytearray(8 << 30), path, seconds)


def crashing(path, seconds):
    bounded(lambda path: os.abort(), path, seconds)


def refusing(path, seconds):
    def read(path):
        raise ValueError("no such file")

    bounded(read, path, seconds)
