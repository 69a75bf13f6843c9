"""GPUs by their makers' data sheets. Imports no torch."""

from dataclasses import dataclass

PEAK_BFLOAT16 = {
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
    "MI300X": 1307e12,
}
"""Dense bfloat16 operations per second of a device whose name contains the key; the first match counts."""


@dataclass(frozen=True)
class GPU:
    """A GPU by its data sheet: memory in bytes, dense operations per second by precision (0 = not supported).

    link: bytes per second, in one direction, between GPUs of a machine; network: between machines, per GPU, usually
    with one adapter each. price: US dollars per hour, a rough default.
    """

    memory: float
    bfloat16: float
    tf32: float
    float32: float
    link: float
    network: float
    price: float


GPUS: dict[str, GPU] = {
    "a100": GPU(80e9, PEAK_BFLOAT16["A100"], 156e12, 19.5e12, 300e9, 25e9, 2.0),
    "a100-40gb": GPU(40e9, PEAK_BFLOAT16["A100"], 156e12, 19.5e12, 300e9, 25e9, 1.5),
    "h100": GPU(80e9, PEAK_BFLOAT16["H100"], 494e12, 67e12, 450e9, 50e9, 3.0),
    "h200": GPU(141e9, PEAK_BFLOAT16["H200"], 494e12, 67e12, 450e9, 50e9, 3.5),
    "b200": GPU(180e9, PEAK_BFLOAT16["B200"], 1125e12, 75e12, 900e9, 50e9, 5.0),
    "mi300x": GPU(192e9, PEAK_BFLOAT16["MI300X"], 654e12, 163e12, 448e9, 50e9, 3.0),
    "l40s": GPU(48e9, PEAK_BFLOAT16["L40S"], 183e12, 91.6e12, 32e9, 12.5e9, 1.2),
    "l4": GPU(24e9, PEAK_BFLOAT16["L4"], 60e12, 30.3e12, 32e9, 6.25e9, 0.8),
    "t4": GPU(16e9, 0.0, 0.0, 8.1e12, 16e9, 6.25e9, 0.5),
    "rtx4090": GPU(24e9, PEAK_BFLOAT16["RTX 4090"], 82.6e12, 82.6e12, 16e9, 2.5e9, 0.5),
}
"""By name."""
