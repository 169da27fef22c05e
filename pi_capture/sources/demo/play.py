"""What happens in the drawn room: the gestures, their times, and the pose of the figure.

All is a function of the seed and of scene time in seconds: any moment can be computed without those before it. For how
it looks see `pi_capture.sources.demo.scene`.

Lengths are in heights of the picture's largest centred square, x to the right and y down, (0, 0) its upper left corner.
"""

from __future__ import annotations

import bisect
import math
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

CLASSES = ("none", "door", "light", "music", "stop")
NONE, DOOR, LIGHT, MUSIC, STOP = range(5)

ROUND_SECONDS = 16.0  # each round has every gesture once, so any 40 s have every class
NONE_SECONDS = 5.9  # of a round
TURN_SECONDS = 0.3  # from idling to a gesture, and back
BEAT_SECONDS = 0.5
OUTFIT_SECONDS = 12.0

DOOR_HINGE, DOOR_EDGE, HANDLE_Y, HANDLE_IN = 0.05, 0.25, 0.55, 0.028
CORD_X, CORD_Y = 0.60, 0.215
SHOULDER_X, SHOULDER_Y, HEAD_Y, HIP_X, HIP_Y = 0.074, -0.455, -0.563, 0.034, -0.245  # from between the feet
ARM = 0.265
LEG = 0.25


class Pose(NamedTuple):
    """How a body is held. A pose between two is the mean of their numbers.

    Hands are relative to their shoulders. A bend of 1 has the elbow as far out as the arm's length allows when the arm
    hangs, of -1 as far the other way; between them, the arm points more or less at the viewer. A palm of 1 is an open
    hand held out to the viewer, of 0 a closed one.
    """

    lean: float = 0.0
    rise: float = 0.0
    tilt: float = 0.0
    turn: float = 0.0
    nod: float = 0.0
    mouth: float = 0.0
    left_x: float = -0.03
    left_y: float = 0.25
    left_bend: float = 0.4
    left_palm: float = 0.0
    right_x: float = 0.03
    right_y: float = 0.25
    right_bend: float = 0.4
    right_palm: float = 0.0


class Stance(NamedTuple):
    """Where a body stands: the middle between its feet, and how large its nearness makes it."""

    x: float
    feet: float
    scale: float


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything that moves, at one moment.

    Attributes
    ----------
    label : int
        The class of what the figure does: an index into `CLASSES`.
    stance : Stance
    pose : Pose
    stride : (float, float)
        Phase of walking in radians, and how much of a walk it is, 0 to 1.
    blink : float
        How far the eyes are closed.
    outfit : (int, float)
        Number of the outfit worn, and how far the next has replaced it.
    door : float
        Angle of the door in radians.
    lamp, music : float
        How bright, how loud: 0 to 1.
    cord : float
        How far the lamp's cord is pulled down.
    daylight, warmth : float
        Brightness relative to the mean, and colour from -1 (blue) to 1 (yellow).
    shake : (float, float)
        Where the camera looks, off its mean.
    time : float
        Scene time in seconds.
    """

    label: int
    stance: Stance
    pose: Pose
    stride: tuple[float, float]
    blink: float
    outfit: tuple[int, float]
    door: float
    lamp: float
    music: float
    cord: float
    daylight: float
    warmth: float
    shake: tuple[float, float]
    time: float


def moment(seed: int, time: float) -> Moment:
    """The room at a scene time in seconds, 0 or later.

    The figure idles (class 0) for 1.4 to 1.6 s, performs a gesture for 1.6 to 3.8 s, idles again … A gesture takes
    0.3 s to form and as long to dissolve; the label changes in the middle of that, when the limbs are half way.
    """
    before, now, after = _acts_around(seed, time)
    near = now or (before if time - before.end < after.start - time else after)
    weight = _weight(near, time)
    wave = _waves(seed)
    depth = 0.6 * math.sin(time / 4.3 + wave[0]) + 0.4 * math.sin(time / 2.3 + wave[1])
    x = _place(before, now, after, time)
    step = weight if near.kind == STOP else 0.0  # towards us
    stance = Stance(x, 0.932 + 0.015 * depth + 0.026 * step, 1.0 + 0.035 * depth + 0.13 * step)
    door = 0.62 * _aftermath(DOOR, before, now, time, delay=0.1, rise=0.4, fall=0.4)
    tug = (time - near.start - 0.1) / 0.35
    cord = 0.018 * math.sin(math.pi * tug) ** 2 if near.kind == LIGHT and 0 < tug < 1 else 0.0
    speed = (_place(before, now, after, time + 0.02) - _place(before, now, after, time - 0.02)) / 0.04
    walking = min(1.0, abs(speed) / 0.12) * (1 - weight)
    stride = (2 * math.pi * (x - before.x) / 0.22, walking)
    idle = _idle(time, wave, stride, math.copysign(walking, speed))
    pose = _mix(idle, _gesture(near, time, stance, door, cord), weight)
    blink_at = time % 3.7 - 1.0 - wave[2] / 4
    outfits = time / OUTFIT_SECONDS + 1.3 * wave[3]
    return Moment(
        label=now.kind if now else NONE,
        stance=stance,
        pose=pose,
        stride=stride,
        blink=max(0.0, 1 - abs(blink_at) / 0.09),
        outfit=(int(outfits), _smooth((outfits % 1 - 0.9) / 0.1)),
        door=door,
        lamp=_aftermath(LIGHT, before, now, time, delay=0.25, rise=0.1, fall=0.35),
        music=_aftermath(MUSIC, before, now, time, delay=0.0, rise=0.3, fall=0.45),
        cord=cord,
        daylight=1.05 + 0.06 * math.sin(time / 6.3 + wave[4]) + 0.03 * math.sin(time / 2.7 + wave[5]),
        warmth=0.7 * math.sin(time / 8.9 + wave[6]) + 0.3 * math.sin(time / 3.7 + wave[7]),
        shake=(_hand_held(time, wave[8:11]), _hand_held(time + 31.7, wave[9:12])),
        time=time,
    )


# -------------------------------------------------------------------------------------------------------- who does what


@dataclass(frozen=True, slots=True)
class _Act:
    """One performance of a gesture: from `start` to `end`, standing at `x`, with the hand of one side (-1 left)."""

    kind: int
    start: float
    end: float
    x: float
    side: int


@lru_cache(maxsize=64)
def _round(seed: int, number: int) -> tuple[_Act, ...]:
    """The gestures of a round in the order of their times; each has some idling before it."""
    dice = random.Random(f"round {number} of {seed}")
    kinds = [DOOR, LIGHT, MUSIC, STOP]
    dice.shuffle(kinds)
    first_sides = random.Random(f"sides of {seed}").choices((0, 1), k=len(CLASSES))
    lengths = [dice.uniform(1.0, 1.8) for _ in kinds]
    pauses = [dice.uniform(1.0, 1.1) for _ in kinds]
    acts = []
    time = number * ROUND_SECONDS
    for kind, length, pause in zip(kinds, lengths, pauses, strict=True):
        start = time + pause / sum(pauses) * NONE_SECONDS
        time = start + length / sum(lengths) * (ROUND_SECONDS - NONE_SECONDS)
        side = -1 if kind == DOOR or (number + first_sides[kind]) % 2 else 1  # the other hand in the next round
        if kind == DOOR:
            x = dice.uniform(0.48, 0.525)
        elif kind == LIGHT:
            x = CORD_X - side * dice.uniform(0.06, 0.10)
        elif kind == MUSIC:
            x = dice.uniform(0.60, 0.67)
        else:
            x = dice.uniform(0.42, 0.50)
        acts.append(_Act(kind, start, time, x, side))
    return tuple(acts)


def _acts_around(seed: int, time: float) -> tuple[_Act, _Act | None, _Act]:
    """The last gesture that is over, the one going on, and the next."""
    number = int(time // ROUND_SECONDS)
    acts = [*_round(seed, number - 1)[-1:], *_round(seed, number), *_round(seed, number + 1)[:2]]
    begun = bisect.bisect_right(acts, time, key=lambda act: act.start)
    if time < acts[begun - 1].end:
        return acts[begun - 2] if begun > 1 else acts[0], acts[begun - 1], acts[begun]
    return acts[begun - 1], None, acts[begun]


def _weight(act: _Act, time: float) -> float:
    """How much of the gesture is formed: a half at its start and end."""
    return _smooth((time - act.start) / TURN_SECONDS + 0.5) * _smooth((act.end - time) / TURN_SECONDS + 0.5)


def _aftermath(
    kind: int, before: _Act, now: _Act | None, time: float, *, delay: float, rise: float, fall: float
) -> float:
    """Return how far the effect of a gesture is there: it rises after `delay` seconds, and falls after the gesture."""
    if now is not None and now.kind == kind:
        return _smooth((time - now.start - delay) / rise)
    if before.kind == kind:
        return _smooth(1 - (time - before.end) / fall)
    return 0.0


def _place(before: _Act, now: _Act | None, after: _Act, time: float) -> float:
    """Where the figure stands: still during a gesture, on its way to the next one in between."""
    if now is not None and now.start <= time < now.end:
        return now.x
    begin, end = (before, now) if now is not None and time < now.start else (now or before, after)
    way = (time - begin.end - 0.1) / (end.start - begin.end - 0.25)
    stroll = 0.05 * math.copysign(math.sin(math.pi * min(1.0, max(0.0, way))) ** 2, 0.53 - begin.x)
    return begin.x + (end.x - begin.x) * _smooth(way) + stroll


def _hand_held(time: float, phases: tuple[float, ...]) -> float:
    slow, middle, fast = phases
    return 0.004 * (
        math.sin(3.1 * time + slow) + 0.5 * math.sin(8.3 * time + middle) + 0.2 * math.sin(23.0 * time + fast)
    )


@lru_cache(maxsize=16)
def _waves(seed: int) -> tuple[float, ...]:
    dice = random.Random(f"waves of {seed}")
    return tuple(dice.uniform(0, 2 * math.pi) for _ in range(12))


# ---------------------------------------------------------------------------------------------------------------- poses


def _idle(time: float, wave: tuple[float, ...], stride: tuple[float, float], heading: float) -> Pose:
    """Arms down: standing, looking about, or walking."""
    phase, walking = stride
    swing = 0.06 * walking * math.sin(phase)
    sway = math.sin(1.3 * time + wave[1])
    return Pose(
        lean=0.006 * sway + 0.012 * heading,
        rise=0.006 * walking * math.cos(2 * phase),
        tilt=0.04 * math.sin(0.9 * time + wave[2]),
        turn=heading + 0.5 * (1 - walking) * math.sin(0.8 * time + wave[3]),
        nod=0.15 * math.sin(0.7 * time + wave[4]),
        mouth=0.35,
        left_x=-0.026 + swing,
        left_y=0.245 + 0.003 * sway,
        right_x=0.026 - swing,
        right_y=0.245 - 0.003 * sway,
    )


def _gesture(act: _Act, time: float, stance: Stance, door: float, cord: float) -> Pose:
    beat = math.pi * time / BEAT_SECONDS
    if act.kind == DOOR:
        pose = Pose(lean=0.022 * act.side, turn=1.0 * act.side, nod=0.2, mouth=0.3)
        handle = handle_at(door)
        reach = _from_shoulder(pose, act.side, handle, stance)
        return _with_arms(pose, act.side, (*reach, -0.7, 0.0), (0.05, 0.235, 0.7, 0.0))
    if act.kind == LIGHT:
        pose = Pose(lean=0.012 * act.side, rise=0.012, tilt=0.06 * act.side, turn=0.55 * act.side, nod=-0.9, mouth=0.6)
        reach = _from_shoulder(pose, act.side, (CORD_X, CORD_Y + cord), stance)
        return _with_arms(pose, act.side, (*reach, -0.6, 0.0), (0.03, 0.245, 0.4, 0.0))
    if act.kind == MUSIC:
        pose = Pose(
            lean=0.030 * math.sin(beat),
            rise=-0.030 + 0.012 * math.cos(2 * beat),
            tilt=-0.10 * act.side - 0.13 * math.sin(beat),
            turn=-0.25 * act.side,
            nod=0.35 + 0.45 * math.cos(2 * beat),
            mouth=1.0,
        )
        free = (0.045 + 0.015 * math.sin(beat), 0.155 + 0.025 * math.cos(2 * beat), 0.75, 0.0)
        return _with_arms(pose, act.side, (0.02, -0.115, -1.0, 0.0), free)
    push = 0.5 + 0.5 * math.sin(2.4 * (time - act.start))
    pose = Pose(lean=-0.008 * act.side, tilt=0.03 * act.side, mouth=0.0, nod=0.1)
    return _with_arms(
        pose, act.side, (0.075, -0.012 - 0.012 * push, -0.55, 0.88 + 0.12 * push), (0.055, 0.225, 0.9, 0.0)
    )


def handle_at(door: float) -> tuple[float, float]:
    """Where the door's handle is when the door is open by an angle in radians."""
    reach = (DOOR_EDGE - DOOR_HINGE - HANDLE_IN) * math.cos(door)
    return DOOR_HINGE + reach, HANDLE_Y + 0.02 * math.sin(door)


def _from_shoulder(pose: Pose, side: int, target: tuple[float, float], stance: Stance) -> tuple[float, float]:
    """A point of the room as seen from a shoulder; x outward. What is beyond the arm's length is reached for."""
    across = ((target[0] - stance.x) / stance.scale - pose.lean - side * SHOULDER_X) * side
    down = (target[1] - stance.feet) / stance.scale - SHOULDER_Y + pose.rise
    shorten = min(1.0, 0.995 * ARM / math.hypot(across, down))
    return across * shorten, down * shorten


Arm = tuple[float, float, float, float]
"""Hand outward, hand down, bend, palm."""


def _with_arms(pose: Pose, side: int, acting: Arm, other: Arm) -> Pose:
    left, right = (acting, other) if side < 0 else (other, acting)
    return pose._replace(
        left_x=-left[0],
        left_y=left[1],
        left_bend=left[2],
        left_palm=left[3],
        right_x=right[0],
        right_y=right[1],
        right_bend=right[2],
        right_palm=right[3],
    )


def _mix(a: Pose, b: Pose, weight: float) -> Pose:
    return Pose(*(p + (q - p) * weight for p, q in zip(a, b, strict=True)))


def _smooth(x: float) -> float:
    """0 up to x = 0, 1 from x = 1 on, level at both ends."""
    x = min(1.0, max(0.0, x))
    return x * x * (3 - 2 * x)
