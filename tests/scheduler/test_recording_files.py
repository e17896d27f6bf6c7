"""The files of a recording: what was written is read, whatever is cut off, and what is none of ours is refused."""

import struct
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.errors import ConfigError
from tensorfusion.model.cohort import ReclaimPolicy
from tensorfusion.model.core import Affinity, NodeAffinity, NodeSelector, NodeSelectorTerm, Taint, Toleration
from tensorfusion.model.gang import Gang
from tensorfusion.model.meta import SelectorRequirement
from tensorfusion.model.partitions import Form, Partition, Profile
from tensorfusion.model.request import GpuRequest, Isolation, QoS
from tensorfusion.scheduler.recording import events as e
from tensorfusion.scheduler.recording import reader, segments
from tensorfusion.scheduler.recording.events import MAGIC, VERSION, Event, Frame
from tensorfusion.scheduler.recording.history import PodHistory
from tensorfusion.scheduler.recording.reader import read
from tensorfusion.scheduler.recording.segments import FullError, Journal, packed, read_segment, segments_of
from tensorfusion.scheduling.facts import CohortFacts, DeviceFacts, NodeFacts, Off, PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.pod_rules import HostPort, PodRules, PodSelector, PodTerm, SpreadRule
from tensorfusion.scheduling.profile import Profile as Weights
from tensorfusion.scheduling.profile import Profiles

words = st.text(max_size=12)
whole = st.integers(0, 1 << 62)
few = st.integers(0, 1 << 20)
maps = st.dictionaries(words, words, max_size=3)
requirements = st.builds(SelectorRequirement, words, st.sampled_from(["In", "Exists"]), st.lists(words).map(tuple))
requests = st.builds(
    GpuRequest,
    words,
    count=st.integers(1, 8),
    compute=whole,
    percent=few,
    vram=whole,
    indices=st.lists(few, max_size=3).map(tuple),
    isolation=st.sampled_from(Isolation),
    qos=st.sampled_from(QoS),
)
selectors = st.builds(
    PodSelector,
    st.none() | st.lists(requirements, max_size=2).map(tuple),
    namespaces=st.lists(words, max_size=2).map(tuple),
)
rules = st.builds(
    PodRules,
    ports=st.lists(st.builds(HostPort, few), max_size=2).map(tuple),
    spread=st.lists(st.builds(SpreadRule, words, few, selectors), max_size=2).map(tuple),
    anti_affinity=st.lists(st.builds(PodTerm, words, selectors), max_size=2).map(tuple),
    preferred=st.lists(st.tuples(few, st.builds(PodTerm, words, selectors)), max_size=2).map(tuple),
)
affinities = st.builds(
    lambda wishes: Affinity(NodeAffinity(NodeSelector((NodeSelectorTerm(wishes),)))),
    st.lists(requirements, max_size=2).map(tuple),
)
pods = st.builds(
    PodFacts,
    words,
    words,
    words,
    priority=st.integers(-(1 << 31), 1 << 31),
    request=st.none() | requests,
    cpu=whole,
    extended=st.dictionaries(words, whole, max_size=2),
    node_selector=maps,
    affinity=st.none() | affinities,
    tolerations=st.lists(st.builds(Toleration, words), max_size=2).map(tuple),
    labels=maps,
    rules=st.none() | rules,
    gang=st.none() | st.builds(Gang, words, few, few, timeout=st.floats(0, 1e6)),
    off=st.frozensets(st.sampled_from(Off), max_size=2),
)
nodes = st.builds(
    NodeFacts,
    words,
    labels=maps,
    taints=st.lists(st.builds(Taint, words, words), max_size=2).map(tuple),
    cpu=whole,
    extended=st.dictionaries(words, whole, max_size=2),
)
devices = st.builds(
    DeviceFacts,
    words,
    words,
    words,
    compute=whole,
    capabilities=st.none() | st.frozensets(st.sampled_from(Isolation)),
    peers=st.lists(st.tuples(words, few, whole), max_size=2).map(tuple),
)
cuts = st.builds(
    Profile, few, few, few, st.just(()), st.lists(st.builds(Form, words, words, few, whole), max_size=2).map(tuple)
)
quotas = st.builds(QuotaFacts, words, total_compute=st.none() | whole, single_devices=st.none() | few, cohort=words)
cohorts = st.builds(
    CohortFacts,
    words,
    parent=words,
    fair_weight=few,
    reclaim=st.sampled_from(ReclaimPolicy),
    lend_vram=st.none() | whole,
)
profiles = st.builds(
    Profiles, st.dictionaries(words, st.builds(Weights, shares=few, ignored=st.frozensets(words)), max_size=2)
)
partitions = st.lists(st.builds(Partition, words, whole, whole), max_size=2).map(tuple)
event = st.one_of(
    st.builds(
        e.Opened,
        few,
        words,
        st.booleans(),
        st.booleans(),
        st.just(("zone",)),
        st.floats(0, 1e3),
        profiles,
        complete=st.booleans(),
        pools=st.none() | st.lists(words, max_size=2).map(tuple),
    ),
    st.builds(e.Told, few),
    st.builds(e.Closed, few),
    st.builds(e.Configured, few, profiles),
    st.builds(e.NodeSet, few, few, nodes),
    st.builds(e.NodeGone, few, few),
    st.builds(e.Cuts, few, few, cuts),
    st.builds(e.DeviceSet, few, few, devices, few, whole),
    st.builds(e.DeviceGone, few, few),
    st.builds(e.PoolSet, few, st.builds(PoolFacts, words)),
    st.builds(e.PoolGone, few, words),
    st.builds(e.QuotaSet, few, quotas),
    st.builds(e.QuotaGone, few, words),
    st.builds(e.CohortSet, few, cohorts),
    st.builds(e.CohortGone, few, words),
    st.builds(e.NamespaceSet, few, words, st.none() | maps),
    st.builds(e.Shape, few, few, pods),
    st.builds(e.Arrived, few, few, st.integers(0, (1 << 64) - 1), few, words, words, few, st.booleans(), words),
    st.builds(e.Decided, few, few, words),
    st.builds(e.Bound, few, few, few, st.lists(few, max_size=8).map(tuple), partitions),
    st.builds(e.Running, few, few),
    st.builds(e.Resized, few, few, few),
    st.builds(e.Ended, few, few, st.sampled_from(e.Ending)),
)
frames = st.lists(st.builds(Frame, whole, st.lists(event, max_size=4).map(tuple)), min_size=1, max_size=4)
NOW = 1_767_225_600_000


def written(folder: Path, what: list[Frame], limit: int = 1 << 30) -> Path:
    journal = Journal(folder, series="0123abcd", limit=limit)
    journal.prepare()
    journal.begin(NOW, packed(what[0]))
    for frame in what[1:]:
        journal.append(packed(frame))
    journal.end()
    [path] = segments_of(folder)
    return path


def opened(series: str = "0123abcd", cluster: str = "", **own: Any) -> Event:
    return e.Opened(
        0, series, names=True, cluster_wide=False, domains=(), patience=1.0, profiles=Profiles(), cluster=cluster, **own
    )


@settings(max_examples=part_of(150), deadline=None)
@given(frames)
def test_what_was_written_is_read(what: list[Frame]) -> None:
    with TemporaryDirectory() as folder:
        found = read_segment(written(Path(folder), what))
    assert list(found.frames) == what
    assert found.torn == 0


@settings(max_examples=part_of(40), deadline=None)
@given(frames, st.data())
def test_all_that_was_written_whole_survives_a_cut_at_any_byte(what: list[Frame], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = written(Path(folder), what)
        whole_file = path.read_bytes()
        at = data.draw(st.integers(0, len(whole_file)))
        path.write_bytes(whole_file[:at])
        found = read_segment(path)
        ends = [len(whole_file)]
        for frame in reversed(what):
            ends.append(ends[-1] - len(packed(frame)))
        before = sum(end <= at for end in ends[:-1])
        assert list(found.frames) == what[:before]


@settings(max_examples=part_of(40), deadline=None)
@given(frames, st.data())
def test_a_bit_that_fell_over_hides_what_follows_and_invents_nothing(what: list[Frame], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = written(Path(folder), what)
        damaged = bytearray(path.read_bytes())
        begin = len(MAGIC) + len(str(VERSION)) + 1
        at = data.draw(st.integers(begin, len(damaged) - 1))
        damaged[at] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(damaged)
        found = list(read_segment(path).frames)
        assert found == what[: len(found)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello world\n", "wanted a segment of a recording, found another file"),
        (b"\x00" * 100, "found another file"),
        (MAGIC + b"2\n", "wanted a recording of version 1 or older, found version 2: read it with the tensorfusion"),
        (MAGIC + b"x\n", "found another file"),
    ],
)
def test_a_file_of_others_or_of_a_newer_version_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "20260101000000-0123abcd-000001.recording"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read(path)


def test_what_this_version_does_not_know_is_refused_not_guessed(tmp_path: Path) -> None:
    path = written(tmp_path, [Frame(NOW, (opened(), e.Told(0)))])
    body = zlib.compress(b"\x93\x01\x02\x03")
    path.write_bytes(path.read_bytes() + struct.pack("<II", len(body), zlib.crc32(body)) + body)
    with pytest.raises(ConfigError, match="wanted what version 1 writes, found something else"):
        read(tmp_path)


def test_later_versions_may_add_values_at_the_end(tmp_path: Path) -> None:
    import msgspec

    later = msgspec.msgpack.encode([NOW, [["r", 0, 5, "more", 7]]])
    body = zlib.compress(later)
    path = written(tmp_path, [Frame(NOW, ())])
    path.write_bytes(path.read_bytes() + struct.pack("<II", len(body), zlib.crc32(body)) + body)
    assert read_segment(path).frames[1].events == (e.Running(0, 5),)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing", "wanted the folder of a recording, found nothing there"),
        (lambda folder: folder, "found no file NAME.recording in it: record with"),
    ],
)
def test_a_folder_without_a_recording_is_named(tmp_path: Path, make: object, message: str) -> None:
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(ConfigError, match=message):
        read(make(tmp_path))  # type: ignore[operator]


def test_a_recording_of_which_nothing_was_written_whole_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, [Frame(NOW, (opened(),))])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="nothing in it that was written whole yet"):
        read(tmp_path)


def test_segments_of_another_cluster_are_told_and_not_mixed_in(tmp_path: Path) -> None:
    journal = Journal(tmp_path, series="0123abcd", limit=1 << 20)
    for number, cluster in enumerate(("first", "second", "second")):
        node = e.NodeSet(0, 0, NodeFacts(f"of-{cluster}"))
        journal.begin(NOW + number, packed(Frame(NOW + number, (opened(cluster=cluster), node, e.Told(0)))))
    journal.end()
    found = read(tmp_path)
    assert list(found.history.fleet.nodes) == ["of-second"]
    assert (found.segments, found.left_out) == (3, 1)


@pytest.mark.parametrize(("gone", "left"), [(1, ["n1", "n2"]), (2, ["n2"]), (3, ["later"])])
def test_files_that_are_removed_while_a_live_folder_is_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int, left: list[str]
) -> None:
    journal = Journal(tmp_path, series="0123abcd", limit=1 << 20)

    def write(at: int, name: str) -> None:
        node = e.NodeSet(0, 0, NodeFacts(name))
        journal.begin(at, packed(Frame(at, (opened(), node, e.Told(0)))))

    for number in range(3):
        write(NOW + number, f"n{number}")
    told: list[Path] = []

    def listed(folder: Path) -> list[Path]:
        found = segments_of(folder)
        if not told:  # the writer goes on between the listing and the reading
            told.extend(found[:gone])
            write(NOW + 3, "later")
            for path in told:
                path.unlink()
        return found

    monkeypatch.setattr(reader, "segments_of", listed)
    found = read(tmp_path)
    journal.end()
    assert [*found.history.fleet.nodes, *(one.name for one in found.history.changes if one.facts is not None)] == left
    assert found.removed == gone
    assert found.segments == (1 if gone == 3 else 3 - gone)


def test_a_folder_of_which_all_is_removed_again_and_again_is_not_read_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "segments_of", lambda folder: [folder / f"{NOW:014d}-0123abcd-000001{segments.SUFFIX}"])
    with pytest.raises(ConfigError, match="removed before they could be read"):
        read(tmp_path)


def asks(pool: str) -> PodFacts:
    return PodFacts("", "", "", request=GpuRequest(pool))


def two_series(folder: Path, *later: Event, at: int = 60_000, **own: Any) -> dict[str, PodHistory]:
    """One scheduler tells of pods in two pools, of which some have a place; another one begins then and knows none."""
    first = Journal(folder, series="00000001", limit=1 << 20)
    first.prepare()
    shapes = [e.Shape(0, 0, asks("east")), e.Shape(0, 1, asks("west"))]
    pods = [
        e.Arrived(0, n, n, n % 2, "team", name=name) for n, name in enumerate(("east", "west", "e-waits", "w-waits"))
    ]
    first.begin(NOW, packed(Frame(NOW, (opened("00000001"), e.Told(0)))))
    first.append(packed(Frame(NOW + 1, (*shapes, *pods, e.Bound(0, 0, 0), e.Bound(0, 1, 0)))))
    first.append(packed(Frame(NOW + at - 1, ())))
    first.append(packed(Frame(NOW + at + 5_000, later)))
    first.end()
    other = Journal(folder, series="00000002", limit=1 << 20)
    other.begin(NOW + at, packed(Frame(NOW + at, (opened("00000002", **own), e.Told(0)))))
    other.end()
    return {pod.name: pod for pod in read(folder).history.pods}


def over(pods: dict[str, PodHistory]) -> set[str]:
    return {name for name, pod in pods.items() if pod.ended is not None}


def test_who_is_not_in_a_complete_world_is_over(tmp_path: Path) -> None:
    assert over(two_series(tmp_path / "all", complete=True)) == {"east", "west", "e-waits", "w-waits"}
    assert over(two_series(tmp_path / "one", complete=True, pools=("east",))) == {"east", "west", "e-waits"}
    assert over(two_series(tmp_path / "none", complete=False)) == set()


def test_who_came_a_moment_ago_may_be_unknown_to_the_other_scheduler_still(tmp_path: Path) -> None:
    assert over(two_series(tmp_path, at=1_500, complete=True)) == set()


def test_a_pod_that_somebody_speaks_of_later_was_not_over(tmp_path: Path) -> None:
    later = (e.Running(0, 0), e.Decided(0, 2, "compute"), e.Ended(0, 1, e.Ending.FAILED))
    found = two_series(tmp_path, *later, complete=True)
    assert over(found) == {"west", "w-waits"}
    assert (found["west"].ended, found["west"].how) == (NOW + 65_000, e.Ending.FAILED)
    assert (found["w-waits"].ended, found["w-waits"].how) == (NOW + 60_000, None)


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "history"
    path = written(folder, [Frame(NOW, (opened(),))])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_oldest_segments_go_first_and_none_that_somebody_writes_to(tmp_path: Path) -> None:
    frame = packed(Frame(NOW, tuple(e.Decided(n, n, f"{n * n}-{n**3}") for n in range(200))))
    limit = 20 * len(frame)
    other = Journal(tmp_path, series="00000000", limit=limit)
    other.begin(NOW - 1, frame)
    journal = Journal(tmp_path, series="0123abcd", limit=limit)
    for number in range(50):
        journal.begin(NOW + number, frame)
        assert sum(path.stat().st_size for path in segments_of(tmp_path)) <= limit
    kept = [path.name for path in segments_of(tmp_path)]
    assert kept[0].split("-")[1] == "00000000"
    assert kept[-1].split("-")[0] == f"{NOW + 49:014d}"
    other.end()
    journal.begin(NOW + 50, frame)
    assert segments_of(tmp_path)[0].name.split("-")[1] == "0123abcd"
    with pytest.raises(FullError, match="would pass"):
        journal.append(frame * 30)
    journal.end()


def test_segments_that_another_scheduler_removed_meanwhile_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = packed(Frame(NOW, (opened(),)))
    journal = Journal(tmp_path, series="0123abcd", limit=20 * len(frame))
    gone = tmp_path / f"{NOW - 5:014d}-00000000-000001{segments.SUFFIX}"
    monkeypatch.setattr(segments, "segments_of", lambda folder: [gone, *segments_of(folder)])
    for number in range(40):
        journal.begin(NOW + number, frame)
    journal.end()
    assert len(segments_of(tmp_path)) > 10


def test_a_world_that_is_large_for_the_bound_does_not_begin_a_segment_each_second(tmp_path: Path) -> None:
    limit = 1 << 20
    journal = Journal(tmp_path, series="0123abcd", limit=limit)
    world, second = bytes(limit // 5), bytes(1000)
    begun = 0
    for number in range(3_000):
        if number == 0 or journal.is_full:
            journal.begin(NOW + number, world)
            begun += 1
        else:
            journal.append(second)
    journal.end()
    assert begun < 20
    assert sum(path.stat().st_size for path in segments_of(tmp_path)) <= limit


def test_a_world_that_the_bound_has_no_room_for_is_refused_with_one_that_has(tmp_path: Path) -> None:
    journal = Journal(tmp_path, series="0123abcd", limit=1 << 20)
    with pytest.raises(FullError, match=r"300000 bytes, .* --record-limit 1200100 or more"):
        journal.begin(NOW, bytes(300_000))


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    stranger = tmp_path / "notes.txt"
    stranger.write_bytes(b"x" * 100_000)
    frame = packed(Frame(NOW, (opened(),)))
    journal = Journal(tmp_path, series="0123abcd", limit=20 * len(frame))
    for number in range(40):
        journal.begin(NOW + number, frame)
    journal.end()
    assert stranger.exists()
