"""The devices that a run is planned for: number, memory, speed."""

from dataclasses import dataclass

from cosub.choices import Precision
from cosub.recipes.ranges import Checked, PositiveFloat, PositiveInt, PositiveShare

GB = 10**9

# Dense TFLOP/s of an H100 SXM by its data sheet; fp32 without tensor cores, PyTorch's default for products.
_H100 = {"bf16": 989.0, "fp16": 989.0, "fp32": 67.0}


@dataclass(frozen=True)
class Machine(Checked):
    devices: PositiveInt = 1
    """Number of processes, each with one device."""
    device_memory_gb: PositiveFloat = 80.0
    """Memory of a device, in GB of 10^9 bytes."""
    device_tflops: PositiveFloat | None = None
    """Peak TFLOP/s of a device; by default an H100 SXM's: 989 in bf16 and fp16 (dense), 67 in fp32."""
    utilisation: PositiveShare = 0.4
    """Share of the peak that training reaches."""

    @property
    def memory(self) -> float:
        """Memory of a device, in bytes."""
        return self.device_memory_gb * GB

    def peak(self, precision: Precision) -> float:
        """Peak TFLOP/s of a device in a precision that is not auto."""
        return self.device_tflops or _H100[precision]

    def peak_source(self, precision: Precision) -> str:
        if self.device_tflops:
            return "as given"
        return "H100 SXM, fp32" if precision == "fp32" else f"H100 SXM, dense {precision}"
