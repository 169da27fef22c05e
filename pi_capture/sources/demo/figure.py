"""The figure in the drawn room: from a pose of `play` to limbs, clothes and a face."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pi_capture.sources.demo.pen import INK, Colour, Pen, Point, blend, shade
from pi_capture.sources.demo.play import ARM, HEAD_Y, HIP_X, HIP_Y, LEG, SHOULDER_X, SHOULDER_Y, Moment

SHADOW = (112, 82, 78)
HEAD = 0.074
SLEEVE = 0.046
HAND = 0.027
PALM = 0.055
RAISED = 0.2  # below the shoulder: a hand that is higher passes in front of the body, others behind it

Outfit = tuple[Colour, Colour, Colour]
"""Pullover, its stripes, trousers."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who lives there: colours, which of three hairstyles, and what there is to wear."""

    skin: Colour
    hair: Colour
    style: int
    sleeves: Colour
    wardrobe: tuple[Outfit, ...]


def draw_figure(pen: Pen, person: Person, now: Moment) -> None:
    """Draw the figure as it stands at a moment."""
    body = _Body(pen, now)
    number, changed = now.outfit
    old, new = (person.wardrobe[n % len(person.wardrobe)] for n in (number, number + 1))
    pullover, stripe, trousers = (blend(a, b, changed) for a, b in zip(old, new, strict=True))
    x, feet, size = now.stance
    pen.ellipse((x, feet + 0.012), 0.115 * size, 0.020 * size, SHADOW)
    for side in (-1, 1):
        _draw_leg(body, side, trousers)
    hands = {-1: now.pose.left_y, 1: now.pose.right_y}
    for side, y in hands.items():
        if y >= RAISED:
            _draw_arm(body, person, side)
    _draw_torso(body, person, pullover, stripe)
    _draw_head(body, person)
    for side, y in hands.items():
        if y < RAISED:
            _draw_arm(body, person, side)


class _Body:
    """Where the parts of the body are, in the room's lengths."""

    def __init__(self, pen: Pen, now: Moment) -> None:
        self.pen = pen
        self.now = now
        self.pose = now.pose
        self.size = now.stance.scale
        self._turned = math.cos(now.pose.tilt), math.sin(now.pose.tilt)

    def at(self, x: float, y: float) -> Point:
        """A point of the body above the hips, relative to the middle between the feet."""
        middle, feet, size = self.now.stance
        upper = (HIP_Y - y) / (HIP_Y - SHOULDER_Y)
        return middle + (x + self.pose.lean * upper) * size, feet + (y - self.pose.rise) * size

    def on_head(self, x: float, y: float) -> Point:
        """A point of the head, relative to its middle, the head's radius being 1."""
        cosine, sine = self._turned
        left, top = self.at(0.0, HEAD_Y)
        radius = HEAD * self.size
        swing = 0.06 * self.pose.tilt * self.size  # it tilts about the neck
        return left + swing + (x * cosine - y * sine) * radius, top + (x * sine + y * cosine) * radius

    def limb(self, points: tuple[Point, ...], width: float, colour: Colour) -> None:
        self.pen.outlined(points, width * self.size, colour)


def _joint(begin: Point, end: Point, length: float, bend: float) -> Point:
    """The elbow or knee between two ends of a limb of that length when stretched."""
    across, down = end[0] - begin[0], end[1] - begin[1]
    distance = math.hypot(across, down) or 1e-9
    out = bend * math.sqrt(max(0.0, length * length - distance * distance)) / 2
    return (begin[0] + end[0]) / 2 - down / distance * out, (begin[1] + end[1]) / 2 + across / distance * out


def _draw_leg(body: _Body, side: int, trousers: Colour) -> None:
    middle, feet, size = body.now.stance
    phase, walking = body.now.stride
    swing = phase + (math.pi if side > 0 else 0.0)
    x = middle + (side * 0.045 + 0.055 * walking * math.sin(swing)) * size
    y = feet - 0.030 * walking * max(0.0, math.cos(swing)) * size
    hip = body.at(side * HIP_X, HIP_Y - 0.01)
    ankle = (x, y - 0.012 * size)
    knee = _joint(hip, ankle, LEG * size, -side * 0.8)
    shoe = ((x - side * 0.004, y), (x + side * 0.026 * size, y))
    body.limb((hip, knee, ankle), 0.052, trousers)
    body.limb(shoe, 0.032, (66, 56, 60))


def _draw_torso(body: _Body, person: Person, pullover: Colour, stripe: Colour) -> None:
    pen, size = body.pen, body.size
    body.limb((body.at(0, SHOULDER_Y + 0.03), body.at(0, HEAD_Y + 0.05)), 0.036, shade(person.skin, 0.9))
    corners = [body.at(x, y) for x, y in ((-0.058, -0.437), (0.058, -0.437), (0.050, -0.245), (-0.050, -0.245))]
    pen.line([*corners, corners[0]], 0.050 * size + 0.011, INK)
    pen.line([*corners, corners[0]], 0.050 * size, pullover)
    pen.polygon(corners, pullover)
    for y in (-0.385, -0.325):
        half = 0.079
        band = (-half, y), (half, y), (half - 0.002, y + 0.03), (0.002 - half, y + 0.03)
        pen.polygon([body.at(*corner) for corner in band], stripe)


def _draw_arm(body: _Body, person: Person, side: int) -> None:
    pose, size = body.pose, body.size
    x, y, bend, palm = (
        (pose.left_x, pose.left_y, pose.left_bend, pose.left_palm)
        if side < 0
        else (pose.right_x, pose.right_y, pose.right_bend, pose.right_palm)
    )
    shoulder = body.at(side * SHOULDER_X, SHOULDER_Y + 0.012)
    hand = (shoulder[0] + x * size, shoulder[1] + y * size)
    elbow = _joint(shoulder, hand, ARM * size, -side * bend)
    wrist = (elbow[0] + (hand[0] - elbow[0]) * 0.80, elbow[1] + (hand[1] - elbow[1]) * 0.80)
    if palm <= 0.3:  # a closed hand lies under its sleeve, an open palm in front of it
        body.pen.disc(hand, HAND * size + 0.006, INK)
        body.pen.disc(hand, HAND * size, person.skin)
    body.limb((shoulder, elbow, wrist), SLEEVE * (1 + 0.15 * palm), shade(person.sleeves, 0.96))
    body.pen.line((shoulder, elbow), SLEEVE * size * 0.9, person.sleeves)
    if palm > 0.3:
        _draw_palm(body.pen, hand, PALM * palm * size, side, blend(person.skin, (250, 214, 186), 0.4))


def _draw_palm(pen: Pen, hand: Point, radius: float, side: int, skin: Colour) -> None:
    """Held out to us, the fingers up."""
    tips = []
    for degrees, reach in ((-26, 1.75), (-9, 2.0), (9, 2.0), (26, 1.75), (72, 1.55)):  # the thumb towards the body
        turn = math.radians(degrees)
        tips.append((hand[0] - side * math.sin(turn) * radius * reach, hand[1] - math.cos(turn) * radius * reach))
    for tip in tips:
        pen.line((hand, tip), 0.44 * radius + 0.011, INK)
    pen.disc(hand, radius + 0.006, INK)
    for tip in tips:
        pen.line((hand, tip), 0.44 * radius, skin)
    pen.disc(hand, radius, skin)
    pen.disc((hand[0], hand[1] + 0.12 * radius), 0.6 * radius, shade(skin, 0.94))


# ----------------------------------------------------------------------------------------------------------------- face


def _draw_head(body: _Body, person: Person) -> None:
    pen, pose = body.pen, body.pose
    radius = HEAD * body.size
    middle = body.on_head(0, 0)
    roll = math.degrees(pose.tilt)
    _draw_hair_behind(body, person, middle, radius)
    if person.style != 1:
        for side in (-1, 1):
            ear = body.on_head(side * 0.98 - 0.1 * pose.turn, 0.12)
            pen.disc(ear, 0.2 * radius + 0.005, INK)
            pen.disc(ear, 0.2 * radius, shade(person.skin, 0.94))
    pen.disc(middle, radius + 0.006, INK)
    pen.disc(middle, radius, person.skin)
    lift = 8 * pose.nod  # looking down shows more hair
    parting = 50 if person.style == 1 else 28
    for begin, end in ((172, 360 - parting), (360 - 3 * parting, 368)):
        pen.part(middle, radius, begin - lift + roll, end + lift + roll, person.hair)
    _draw_face(body, person, radius)


def _draw_hair_behind(body: _Body, person: Person, middle: Point, radius: float) -> None:
    pen = body.pen
    if person.style == 0:  # a bun
        bun = body.on_head(0.1, -1.12)
        pen.disc(bun, 0.42 * radius + 0.006, INK)
        pen.disc(bun, 0.42 * radius, person.hair)
    elif person.style == 1:  # to the shoulders
        for side in (-1, 1):
            pen.outlined((body.on_head(side * 0.80, -0.2), body.on_head(side * 0.95, 0.80)), 0.46 * radius, person.hair)
    else:  # curls
        angles = [math.radians(angle) for angle in range(180, 361, 30)]
        curls = [body.on_head(0.95 * math.cos(angle), 0.95 * math.sin(angle)) for angle in angles]
        for curl in curls:
            pen.disc(curl, 0.34 * radius + 0.005, INK)
        for curl in curls:
            pen.disc(curl, 0.34 * radius, person.hair)


def _draw_face(body: _Body, person: Person, radius: float) -> None:
    pen, pose = body.pen, body.pose
    x, y = 0.32 * pose.turn, 0.16 * pose.nod
    spread = 0.36 * (1 - 0.15 * abs(pose.turn))
    for side in (-1, 1):
        cheek = body.on_head(x + side * 1.55 * spread, 0.42 + y)
        pen.ellipse(cheek, 0.16 * radius, 0.11 * radius, blend(person.skin, (226, 96, 90), 0.35))
        eye = body.on_head(x + side * spread, 0.12 + y)
        open_eye = max(0.15, 1 - body.now.blink)
        pen.ellipse(eye, 0.105 * radius, 0.15 * radius * open_eye, INK)
    nose = body.on_head(x * 1.25, 0.26 + y), body.on_head(x * 1.25 + 0.02, 0.34 + y)
    pen.line(nose, 0.11 * radius, shade(person.skin, 0.82))
    if pose.mouth > 0.5:
        roll = math.degrees(pose.tilt)
        pen.part(body.on_head(x * 1.1, 0.55 + y), 0.26 * radius, roll, 180 + roll, (150, 50, 56))
    else:
        curve = 0.12 * (pose.mouth - 0.1) / 0.25
        mouth = [body.on_head(x * 1.1 + 0.26 * k, 0.60 + y - curve * k * k + 0.02) for k in (-1, -0.5, 0, 0.5, 1)]
        pen.line(mouth, 0.075 * radius, (128, 56, 56))
