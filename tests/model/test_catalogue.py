import pytest

from tensorfusion.model.catalogue import CATALOGUE, lookup, model_matches

GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "compute", "gib", "micro_usd", "partitions"),
    [
        ("A100_SXM_80G", 312_000, 80, 1_890_000, 7),
        ("A40", 149_700, 48, 1_100_000, 0),
        ("GTX1070", 101, 8, 40_000, 0),
        ("A30", 165_000, 24, 450_000, 4),
        ("RTX_5090", 419_200, 32, 890_000, 0),
        ("RX7900XTX", 122_800, 24, 200_000, 0),
        ("M4Max", 36_070, 0, 300_000, 0),
        ("V100", 125_000, 16, 700_000, 0),
        ("310P3", 22_000, 24, 1_000_000, 7),
    ],
)
def test_both_tables_are_in_the_catalogue(name: str, compute: int, gib: int, micro_usd: int, partitions: int) -> None:
    facts = lookup(name)
    assert facts is not None
    assert (facts.compute, facts.vram, facts.micro_usd_per_hour) == (compute, gib * GIB, micro_usd)
    assert facts.max_partitions == partitions


@pytest.mark.parametrize(
    ("name", "compute"), [("L40", 362_000), ("L40S", 366_000), ("H100_PCIe", 756_000), ("H800_PCIe", 756_000)]
)
def test_the_live_figures_win(name: str, compute: int) -> None:
    facts = lookup(name)
    assert facts is not None
    assert facts.compute == compute


def test_one_device_has_the_same_figures_under_each_of_its_names() -> None:
    figures: dict[str, tuple[int, int, int]] = {}
    for facts in CATALOGUE:
        mine = (facts.compute, facts.micro_usd_per_hour, facts.max_partitions)
        assert figures.setdefault(facts.full_name, mine) == mine


def test_a_name_is_found_in_any_case_and_without_the_vendor() -> None:
    expected = lookup("A100_SXM_80G")
    assert expected is not None
    assert lookup("nvidia a100-sxm4-80gb") == lookup("A100-SXM4-80GB") == lookup("a100_sxm_80g") == expected
    assert lookup("NVIDIA B300") is None


@pytest.mark.parametrize(
    ("wanted", "device"),
    [
        ("A100", "NVIDIA A100-SXM4-80GB"),
        ("A100", "NVIDIA A100 40GB PCIe"),
        ("A100", "A100_PCIe_80G"),
        ("A100_SXM_80G", "NVIDIA A100-SXM4-80GB"),
        ("NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB"),
        ("A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB"),
        ("H100_PCIe", "NVIDIA H100 PCIe"),
        ("H100_PCIe_80G", "NVIDIA H100 PCIe"),
        ("RTX4090", "NVIDIA GeForce RTX 4090"),
        ("RTX5090", "NVIDIA GeForce RTX 5090"),
        ("T4", "Tesla T4"),
        ("P100", "P100"),
        ("P100", "NVIDIA P100"),
    ],
)
def test_a_wish_meets_the_devices_it_names(wanted: str, device: str) -> None:
    assert model_matches(wanted, device)


@pytest.mark.parametrize(
    ("wanted", "device"),
    [
        ("A10", "NVIDIA A100-SXM4-80GB"),
        ("A100_SXM_40G", "NVIDIA A100-SXM4-80GB"),
        ("a100", "NVIDIA A100-SXM4-80GB"),
        ("L40", "NVIDIA L40S"),
        ("A6000", "NVIDIA RTX 6000 Ada Generation"),
        ("RTX3080", "NVIDIA GeForce RTX 3080 Ti"),
        ("P100", "NVIDIA P1000"),
        ("p100", "P100"),
        ("", "NVIDIA A100-SXM4-80GB"),
        ("RTX", "NVIDIA GeForce RTX 5090"),
    ],
)
def test_and_no_others(wanted: str, device: str) -> None:
    assert not model_matches(wanted, device)
