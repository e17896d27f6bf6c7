"""Edits of a running pod's amounts: what they mean, which make no sense, and how they are turned back."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.policy.guards import Accounts, PodTruth, review_decision, review_update
from tensorfusion.policy.resize import edited, in_words, resize_of, text_of, turned_back, wish_of
from tensorfusion.testing.objects import json_patch

P = f"{keys.DOMAIN}/"
LABELS = {keys.COMPONENT: "worker"}
SOFT = {keys.GPU_POOL: "p", keys.TFLOPS_REQUEST: "10", keys.TFLOPS_LIMIT: "20", keys.VRAM_REQUEST: "1Gi"}
PERCENT = {keys.GPU_POOL: "p", keys.COMPUTE_PERCENT_REQUEST: "25", keys.VRAM_REQUEST: "1Gi"}


def wish(annotations: dict[str, str], **values: str | None) -> Any:
    return resize_of(annotations, LABELS, {P + key.replace("_", "-"): value for key, value in values.items()})


def test_a_wish_changes_amounts_only_and_says_so() -> None:
    resize = wish(SOFT, tflops_request="15", vram_limit="8Gi")
    assert (resize.after.compute, resize.after.vram, resize.after.vram_limit) == (15_000, 1 << 30, 8 << 30)
    assert in_words(resize) == "tflops-request 10 -> 15, vram-limit none -> 8Gi"


def test_a_request_that_is_removed_becomes_the_limit() -> None:
    assert wish(SOFT, tflops_request=None).after.compute == 20_000


@pytest.mark.parametrize(
    ("annotations", "values", "words"),
    [
        (SOFT, {"tflops_request": "25"}, "wanted at most tensor-fusion.ai/tflops-limit 20, found 25"),
        (SOFT, {"tflops_limit": "5"}, "found 10: change both together"),
        (SOFT, {"vram_limit": "1Mi"}, "vram-request: wanted at most"),
        (SOFT, {"tflops_request": "x"}, "annotation tensor-fusion.ai/tflops-request"),
        (SOFT, {"compute_percent_request": "5"}, "wanted only one of"),
        (SOFT, {"tflops_request": "0", "tflops_limit": None, "compute_percent_request": "5"}, "keeps its unit"),
        (PERCENT, {"compute_percent_request": None, "tflops_request": "5"}, "keeps its unit"),
        (PERCENT, {"compute_percent_request": "101"}, "a percentage from 0 to 100"),
        (SOFT, {"tflops_request": "0", "tflops_limit": None, "vram_request": "0"}, "above 0"),
        ({**SOFT, keys.ISOLATION: "partitioned"}, {"tflops_request": "5"}, "hardware partition"),
        ({**SOFT, keys.ISOLATION: "hard"}, {"tflops_limit": "15"}, "got its caps when it started"),
        ({**SOFT, keys.DEDICATED_GPU: "true"}, {"tflops_request": "5"}, "whole devices"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(annotations, values, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        wish(annotations, **values)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"tflops-request": 5}', '{"gpu-ids": "x"}', '{"qos": "high"}', "[" * 9999]
)
def test_a_wish_that_cannot_be_read_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match=f"annotation {keys.RESIZE}"):
        wish_of({keys.RESIZE: text})


texts = st.dictionaries(st.sampled_from([*sorted(keys.RESIZABLE_KEYS), "note", keys.QOS]), st.sampled_from("123"))


@given(old=texts, new=texts)
def test_an_edit_turned_back_leaves_the_amounts_and_keeps_the_rest(old: dict[str, str], new: dict[str, str]) -> None:
    values = edited(old, new)
    pod = {"metadata": {"annotations": deepcopy(new)}}
    after = json_patch(pod, turned_back(old, new, values))["metadata"]["annotations"]
    assert {key: after.get(key) for key in keys.RESIZABLE_KEYS} == {key: old.get(key) for key in keys.RESIZABLE_KEYS}
    rest = {key: text for key, text in new.items() if key not in keys.RESIZABLE_KEYS}
    assert {key: text for key, text in after.items() if key not in {*keys.RESIZABLE_KEYS, keys.RESIZE}} == rest
    assert wish_of(after) == values


def test_removing_all_annotations_is_an_edit_like_any_other() -> None:
    pod: dict[str, Any] = {"metadata": {}}
    values = edited(SOFT, {})
    after = json_patch(pod, turned_back(SOFT, {}, values))["metadata"]["annotations"]
    assert after[keys.TFLOPS_REQUEST] == "10"
    assert wish_of(after) == values
    assert text_of(values) == '{"tflops-limit":null,"tflops-request":null,"vram-request":null}'


ACCOUNTS = Accounts(system=frozenset({"controller"}), scheduler=frozenset({"controller"}))


@pytest.mark.parametrize(
    ("wished", "code"), [('{"tflops-request": "15"}', None), ('{"tflops-request": "25"}', 400), ('{"qos": "x"}', 400)]
)
def test_a_wish_written_by_hand_is_held_against_the_same_rules(wished: str, code: int | None) -> None:
    old, new = PodTruth(LABELS, SOFT), PodTruth(LABELS, {**SOFT, keys.RESIZE: wished})
    denial = review_update(old, new, user="tenant", accounts=ACCOUNTS)
    assert (denial.code if denial is not None else None) == code
    assert review_update(new, old, user="tenant", accounts=ACCOUNTS) is None, "a wish may be taken back"


@pytest.mark.parametrize(("epoch", "code"), [("5", None), ("6", None), ("4", 409), ("x", 403), (None, 403)])
def test_only_the_current_leader_answers_a_wish(epoch: str | None, code: int | None) -> None:
    written = {keys.SCHEDULER_EPOCH: epoch} if epoch is not None else {}
    denial = review_decision(written, pod="team/w", epoch=5)
    assert (denial.code if denial is not None else None) == code
