"""The bytes of a state: what was written is read, and whatever else comes is a new user's."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.users import Rule, State, Unusable, pack, quantised, tag_of, unpack
from gbdtlr.users.packed import values
from gbdtlr.users.rule import MEAN, REGRESSION

TAG, BEFORE, KEY = tag_of("a"), tag_of("b"), b"secret"
RULE = Rule()


def state_of(rule: Rule = RULE, n: int = 16, tag: bytes = TAG) -> State:
    rng = np.random.default_rng(5)
    state = State.new(rule, tag, n)
    for _ in range(20):
        state.learn(rng.normal(size=n).tolist(), int(rng.integers(2)), rng.normal())
    return state


def test_sixteen_dimensions_are_68_bytes_and_a_vector_20() -> None:
    assert len(state_of().to_bytes()) == 68
    assert len(state_of(Rule(MEAN)).to_bytes()) == 36
    assert len(state_of().to_bytes(KEY)) == 84
    numbers, scale = quantised(np.ones((1, 16)))
    assert len(pack(numbers[0], scale[0])) == 20


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("method", [REGRESSION, MEAN])
def test_what_is_written_is_read_rounded_to_16_bits(method: str, key: bytes | None) -> None:
    state = state_of(Rule(method))
    read = State.from_text(state.to_text(key), state.rule, 16, [TAG], key)
    for now, before in ((read.weights, state.weights), (read.squares, state.squares)):
        assert now == np.array(before, np.float16).astype(np.float64).tolist()
    assert read.to_bytes(key) == state.to_bytes(key)
    assert read.score([1.0] * 16) == sum(read.weights)


def test_a_state_of_embeddings_that_were_turned_onto_is_taken_and_carries_the_live_tag() -> None:
    old = state_of(tag=BEFORE)
    read = State.from_bytes(old.to_bytes(), RULE, 16, [TAG, BEFORE])
    assert read.to_bytes()[1:4] == TAG
    assert read.to_bytes()[4:] == old.to_bytes()[4:]
    with pytest.raises(Unusable, match="older"):
        State.from_bytes(old.to_bytes(), RULE, 16, [TAG])


def reason_of(data: bytes, rule: Rule = RULE, n: int = 16, key: bytes | None = None) -> str:
    with pytest.raises(Unusable) as caught:
        State.from_bytes(data, rule, n, [TAG], key)
    return caught.value.reason


def test_what_is_no_state_here_is_told_apart() -> None:
    data = state_of().to_bytes()
    infinite = np.array([np.inf], "<f2").tobytes()
    assert reason_of(b"") == reason_of(data[:4]) == reason_of(data[:-1]) == "damaged"
    assert reason_of(data[:10] + infinite + data[12:]) == "damaged"
    assert reason_of(data[:-2] + np.array([-1], "<f2").tobytes()) == "damaged"
    assert reason_of(data, n=8) == reason_of(data, Rule(MEAN)) == reason_of(bytes([7]) + data[1:]) == "foreign"
    assert reason_of(data, key=KEY) == reason_of(state_of().to_bytes(KEY)) == "signature"
    assert reason_of(state_of().to_bytes(b"other"), key=KEY) == "signature"
    with pytest.raises(Unusable, match="damaged"):
        State.from_text("no base64!", RULE, 16, [TAG])


def test_no_bit_of_a_signed_state_can_be_changed() -> None:
    data = state_of(n=3).to_bytes(KEY)
    for i in range(8 * len(data)):
        changed = bytearray(data)
        changed[i // 8] ^= 1 << i % 8
        assert reason_of(bytes(changed), n=3, key=KEY) == "signature"
    for cut in range(len(data)):
        assert reason_of(data[:cut], n=3, key=KEY) in ("signature", "damaged")


@given(st.binary(max_size=100), st.sampled_from([None, KEY]), st.sampled_from([REGRESSION, MEAN]))
def test_whatever_comes_is_a_state_or_unusable(data: bytes, key: bytes | None, method: str) -> None:
    try:
        state = State.from_bytes(data, Rule(method), 3, [TAG], key)
    except Unusable:
        return
    assert np.isfinite(state.weights).all()


def test_events_that_cannot_be_are_refused() -> None:
    state = state_of(n=2)
    for label, margin in ((2, 0.0), (0.5, 0.0), (1, np.nan), (1, np.inf)):
        with pytest.raises(ValueError, match=r"a (label|margin) is"):
            state.learn([1.0, 2.0], label, margin)  # type: ignore[arg-type]


@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=5, max_size=5).filter(lambda v: max(map(abs, v)) > 1e-30),
        min_size=1,
        max_size=4,
    )
)
def test_packing_keeps_every_number_to_half_a_step(vectors: list[list[float]]) -> None:
    given_ = np.array(vectors)
    numbers, scale = quantised(given_)
    found = values(numbers, scale)
    step = np.abs(given_).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - given_) <= 0.5001 * step).all()
    for i in range(len(given_)):
        assert unpack(base64.b64decode(base64.b64encode(pack(numbers[i], scale[i])))) == found[i].tolist()


def test_vectors_of_nothing_or_not_finite_are_zero() -> None:
    numbers, scale = quantised(np.array([[0.0, 0.0], [np.inf, 1.0], [np.nan, 1.0], [1e-46, 0.0]]))
    assert not values(numbers, scale).any()
    assert quantised(np.empty((0, 3)))[0].shape == (0, 3)
    with pytest.raises(ValueError, match="at least 5 bytes"):
        unpack(b"1234")
