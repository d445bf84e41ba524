"""Seeds as pure functions of what they are for, so that nothing random depends on what ran before."""

import hashlib
import struct


def derive(purpose: str, *path: int) -> int:
    """A 63-bit seed from a purpose and any integers: (seed, step, group), (seed, epoch, position), ...

    The same arguments give the same seed on every machine; different ones are independent.
    """
    key = purpose.encode() + b"\0" + struct.pack(f"<{len(path)}q", *path)
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1
