"""Architectures of the paper that timm lacks, registered with timm when this package is imported.

After `import cosub.architectures`, `timm.create_model(name)` knows them like its own. No weights are published for any.
"""

from cosub.architectures import patchconvnet, registration, sizes

__all__ = ["patchconvnet", "sizes"]

NAMES = tuple(registration.NAMES)
