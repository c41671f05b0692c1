"""A disk with a volatile write cache, and a switch for its power: a FUSE file system with the files `disk` and `power`.

    volatile_disk.py IMAGE MOUNTPOINT SEED

What is written to `disk` is in the cache until the disk is flushed, and then in IMAGE. Writing to `power` cuts the power: of
the blocks in the cache any may have reached the image, and nothing is written any more.
"""

import errno
import os
import random
import stat
import sys

import fusepy as fuse

BLOCK = 4096


class VolatileDisk(fuse.Operations):
    def __init__(self, image, seed):
        self.image = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.image).st_size
        self.random = random.Random(seed)
        self.cache = {}
        self.powered = True

    def getattr(self, path, handle=None):
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        if path not in ("/disk", "/power"):
            raise fuse.FuseOSError(errno.ENOENT)
        size = self.size if path == "/disk" else 0
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}

    def readdir(self, path, handle):
        return [".", "..", "disk", "power"]

    def truncate(self, path, length, handle=None):
        if path == "/disk":
            raise fuse.FuseOSError(errno.EPERM)

    def block(self, number):
        cached = self.cache.get(number)
        return os.pread(self.image, BLOCK, number * BLOCK) if cached is None else cached

    def read(self, path, length, offset, handle):
        if not self.powered:
            raise fuse.FuseOSError(errno.EIO)
        first, end = offset // BLOCK, -(-(offset + length) // BLOCK)
        blocks = b"".join(self.block(number) for number in range(first, end))
        begin = offset - first * BLOCK
        return blocks[begin : begin + length]

    def write(self, path, data, offset, handle):
        if path == "/power":
            self.cut_power()
            return len(data)
        if not self.powered:
            raise fuse.FuseOSError(errno.EIO)
        at = 0
        while at < len(data):
            number, begin = divmod(offset + at, BLOCK)
            piece = data[at : at + BLOCK - begin]
            if len(piece) < BLOCK:
                block = self.block(number)
                piece = block[:begin] + piece + block[begin + len(piece) :]
            self.cache[number] = piece
            at += BLOCK - begin
        return len(data)

    def fsync(self, path, datasync, handle):
        if path != "/disk":
            return
        if not self.powered:
            raise fuse.FuseOSError(errno.EIO)
        self.write_back(self.cache)
        self.cache.clear()

    def write_back(self, blocks):
        for number in sorted(blocks):
            os.pwrite(self.image, self.cache[number], number * BLOCK)

    def cut_power(self):
        share = self.random.choice([0.0, 0.1, 0.5, 0.9])
        self.write_back([number for number in self.cache if self.random.random() < share])
        self.cache.clear()
        self.powered = False


if __name__ == "__main__":
    image, mountpoint, seed = sys.argv[1:]
    fuse.FUSE(VolatileDisk(image, int(seed)), mountpoint, foreground=True, nothreads=True, big_writes=True)
