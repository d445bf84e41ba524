"""The devices that a run is planned for: how many, how large, how fast."""

import math
from dataclasses import dataclass, fields

from cosub.choices import Precision
from cosub.recipes.config import require

GB = 10**9

# Dense TFLOP/s of an H100 SXM by its data sheet; float32 without tensor cores, as PyTorch multiplies by default.
_H100 = {"bf16": 989.0, "fp16": 989.0, "fp32": 67.0}


@dataclass(frozen=True)
class Machine:
    devices: int = 1
    """Processes, each with one device."""
    device_memory_gb: float = 80.0
    """Memory of a device, in GB of 10^9 bytes."""
    device_tflops: float | None = None
    """Peak TFLOP/s of a device; by default an H100 SXM's: 989 in bf16 and fp16 (dense), 67 in fp32."""
    utilisation: float = 0.4
    """Share of the peak that training reaches."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float):
                require(math.isfinite(value), item.name, value, "must be a finite number")
        require(self.devices >= 1, "devices", self.devices, "must be 1 or more")
        require(self.device_memory_gb > 0, "device_memory_gb", self.device_memory_gb, "must be positive")
        require(
            self.device_tflops is None or self.device_tflops > 0,
            "device_tflops",
            self.device_tflops,
            "must be positive",
        )
        require(0 < self.utilisation <= 1, "utilisation", self.utilisation, "must be in (0, 1]")

    @property
    def memory(self) -> float:
        """Bytes of a device."""
        return self.device_memory_gb * GB

    def peak(self, precision: Precision) -> float:
        """TFLOP/s of a device in a precision that is not auto."""
        return self.device_tflops or _H100[precision]

    def peak_source(self, precision: Precision) -> str:
        if self.device_tflops:
            return "as given"
        return "H100 SXM, fp32" if precision == "fp32" else f"H100 SXM, dense {precision}"
