"""The partition forms and resource names of the shipped ProviderConfigs, typed once. ``provider_defaults`` reads them.

Source: TensorFusion's shipped ``nvidia-provider`` and its samples for Ascend, PPU and Moore Threads. Units of video
and picture engines that an Ascend form takes are not published there and left out.
"""

Form = tuple[str, int, str, int, str, int, tuple[int, ...], int]
"""Family, NVML profile, name, GiB, percent of compute, instances at most, starting slots, slots taken."""

_ANY, _EVEN, _FRONT, _HALVES, _WHOLE = (0, 1, 2, 3, 4, 5, 6), (0, 2, 4, 6), (0, 2, 4), (0, 4), (0,)

MIG_FORMS: tuple[Form, ...] = (
    ("nv-80g", 19, "1g.10gb", 10, "14.2857", 7, _ANY, 1),
    ("nv-80g", 20, "1g.10gb+me", 10, "14.2857", 1, _ANY, 1),
    ("nv-80g", 15, "1g.20gb", 20, "14.2857", 4, _EVEN, 2),
    ("nv-80g", 14, "2g.20gb", 20, "28.5714", 3, _FRONT, 2),
    ("nv-80g", 9, "3g.40gb", 40, "42.8571", 2, _HALVES, 4),
    ("nv-80g", 5, "4g.40gb", 40, "57.1428", 1, _WHOLE, 4),
    ("nv-80g", 0, "7g.80gb", 80, "100", 1, _WHOLE, 8),
    ("nv-h200", 19, "1g.18gb", 18, "14.2857", 7, _ANY, 1),
    ("nv-h200", 20, "1g.18gb+me", 18, "14.2857", 1, _ANY, 1),
    ("nv-h200", 15, "1g.35gb", 35, "14.2857", 4, _EVEN, 2),
    ("nv-h200", 14, "2g.35gb", 35, "28.5714", 3, _FRONT, 2),
    ("nv-h200", 9, "3g.71gb", 71, "42.8571", 2, _HALVES, 4),
    ("nv-h200", 5, "4g.71gb", 71, "57.1428", 1, _WHOLE, 4),
    ("nv-h200", 0, "7g.141gb", 141, "100", 1, _WHOLE, 8),
    ("nv-40g", 19, "1g.5gb", 5, "14.2857", 7, _ANY, 1),
    ("nv-40g", 20, "1g.5gb+me", 5, "14.2857", 1, _ANY, 1),
    ("nv-40g", 15, "1g.10gb", 10, "14.2857", 4, _EVEN, 2),
    ("nv-40g", 14, "2g.10gb", 10, "28.5714", 3, _FRONT, 2),
    ("nv-40g", 9, "3g.20gb", 20, "42.8571", 2, _HALVES, 4),
    ("nv-40g", 5, "4g.20gb", 20, "57.1428", 1, _WHOLE, 4),
    ("nv-40g", 0, "7g.40gb", 40, "100", 1, _WHOLE, 8),
    ("nv-a30", 14, "1g.6gb", 6, "25", 4, (0, 1, 2, 3), 1),
    ("nv-a30", 5, "2g.12gb", 12, "50", 2, (0, 2), 2),
    ("nv-a30", 0, "4g.24gb", 24, "100", 1, _WHOLE, 4),
)

MIG_FAMILIES: dict[str, tuple[str, ...]] = {
    "nv-80g": (
        "A100_SXM_80G",
        "A100_PCIe_80G",
        "A800_SXM_80G",
        "A800_PCIe_80G",
        "H100_SXM",
        "H100_PCIe_80G",
        "H800_SXM",
        "H800_PCIe",
    ),
    "nv-h200": ("H200", "H200_NVL"),
    "nv-40g": ("A100_SXM_40G", "A100_PCIe_40G", "A800_SXM_40G", "A800_PCIe_40G"),
    "nv-a30": ("A30",),
}
NOT_OFFERED = frozenset({("H200_NVL", "1g.18gb+me"), ("H200_NVL", "1g.35gb")})

_MIG_PROFILES = (
    *("1g.10gb", "1g.10gb.me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
    *("1g.18gb", "1g.18gb.me", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"),
    *("1g.5gb", "1g.5gb.me", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"),
    *("1g.6gb", "2g.12gb", "4g.24gb"),
)
NVIDIA_RESOURCES = ("nvidia.com/gpu", *(f"nvidia.com/mig-{profile}" for profile in _MIG_PROFILES))

ASCEND_RESOURCES = ("huawei.com/Ascend310", "huawei.com/Ascend310P", "huawei.com/npu")
PPU_RESOURCES = ("aliyun.com/ppu",)

ASCEND_UNITS = {"AICORE": 8, "AICPU": 7, "VPC": 12, "VENC": 3, "VDEC": 12, "JPEGD": 16, "JPEGE": 8}
AscendForm = tuple[str, int, str, int, int, int]
ASCEND_FORMS: tuple[AscendForm, ...] = (
    ("vir01", 3, "12.5", 8, 1, 1),
    ("vir02", 6, "25", 4, 2, 2),
    ("vir02_1c", 6, "25", 4, 2, 1),
    ("vir04", 12, "50", 2, 4, 4),
    ("vir04_3c", 12, "50", 2, 4, 3),
    ("vir04_3c_ndvpp", 12, "50", 2, 4, 3),
    ("vir04_4c_dvpp", 12, "50", 2, 4, 4),
)
"""Name, GiB, percent of compute, instances at most, AICORE, AICPU."""
