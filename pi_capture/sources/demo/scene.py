"""How the drawn room looks: from a moment of `play` to the pixels of a frame.

Everything is drawn a few times too large and averaged down, which gives soft edges. What stands still is drawn once.
Light and sensor noise come last, as in a camera.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops

from pi_capture.sources.demo.figure import Outfit, Person, draw_figure
from pi_capture.sources.demo.pen import INK, Colour, Pen, Point, blend, shade
from pi_capture.sources.demo.play import CORD_X, CORD_Y, DOOR_EDGE, DOOR_HINGE, Moment, handle_at, moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pi_capture.sources import Size

NOISE = 2.8  # grey levels, standard deviation
HEADROOM = 12  # black is 12 and white 243: noise of up to that many grey levels can be added without clipping
NOISE_OFFSETS = 1 << 16
SHAKE = 0.01  # more than the camera ever shakes, in heights of the room
GLOW_STEPS = 16

FLOOR_Y = 0.82
LAMP_Y = 0.095
STEREO = (0.755, 0.515, 0.90, 0.615)

WALLS: tuple[Colour, ...] = ((150, 178, 176), (163, 170, 196), (176, 186, 152), (190, 168, 172), (148, 172, 196))
DOORS: tuple[Colour, ...] = ((142, 86, 62), (84, 110, 120), (168, 122, 74), (110, 84, 104))
RUGS: tuple[tuple[Colour, Colour], ...] = (
    ((176, 84, 84), (220, 170, 130)),
    ((82, 104, 150), (190, 200, 210)),
    ((96, 128, 96), (214, 204, 150)),
)
SKINS: tuple[Colour, ...] = ((246, 208, 178), (232, 184, 146), (196, 142, 104), (138, 94, 68))
CATS: tuple[Colour, ...] = ((64, 60, 70), (214, 146, 78), (158, 144, 134))
HAIRS: tuple[Colour, ...] = ((62, 44, 38), (120, 72, 40), (198, 150, 74), (40, 38, 46), (170, 82, 44))

SLEEVES: tuple[Colour, ...] = ((214, 66, 62), (46, 104, 178), (238, 184, 62), (244, 238, 226), (58, 62, 96))
OUTFITS: tuple[Outfit, ...] = (
    ((206, 70, 66), (246, 232, 214), (58, 74, 112)),
    ((60, 112, 176), (236, 236, 240), (96, 80, 70)),
    ((232, 176, 60), (120, 84, 50), (66, 92, 96)),
    ((86, 150, 98), (232, 230, 190), (74, 66, 90)),
    ((150, 90, 164), (238, 206, 226), (70, 78, 96)),
    ((236, 128, 70), (80, 66, 80), (96, 108, 72)),
    ((238, 236, 230), (196, 74, 80), (52, 66, 104)),
    ((52, 66, 92), (120, 190, 200), (150, 120, 90)),
)
WARDROBE = 3


class Room:
    """A seed's room, ready to be drawn in one size.

    Parameters
    ----------
    seed : int
        Decides what happens, and the colours of everything.
    size : (int, int)
        Width and height of the pictures, in pixels.
    """

    def __init__(self, seed: int, size: Size) -> None:
        self._seed = seed
        self._size = size
        self._fine = _oversampling(size)
        self._unit = min(size) * self._fine
        self._margin = math.ceil(SHAKE * self._unit) + 1
        self._look = _Look.of(seed)
        width, height = (side * self._fine for side in size)
        self._origin = (width / 2 - self._unit / 2, height / 2 - self._unit / 2)
        self._still = Image.new("RGB", (width + 2 * self._margin, height + 2 * self._margin))
        origin = (self._origin[0] + self._margin, self._origin[1] + self._margin)
        _draw_room(Pen(self._still, origin, self._unit), self._look)
        self._glow = _glow(size)
        self._noise = _noise(seed, size[0] * size[1] * 3)

    def picture(self, time: float) -> tuple[NDArray[np.uint8], int]:
        """What a noiseless camera sees at a scene time in seconds, and the class of what the figure does.

        Returns
        -------
        ndarray, shape (height, width, 3), uint8
            Red, green, blue; read-only.
        int
        """
        now = moment(self._seed, time)
        width, height = (side * self._fine for side in self._size)
        left, top = (self._margin + round(shift * self._unit) for shift in now.shake)
        canvas = self._still.crop((left, top, left + width, top + height))
        origin = (self._origin[0] + self._margin - left, self._origin[1] + self._margin - top)
        pen = Pen(canvas, origin, self._unit)
        _draw_door(pen, self._look, now)
        _draw_lamp(pen, now)
        _draw_stereo(pen, now)
        _draw_cat(pen, self._look, now)
        draw_figure(pen, self._look.person, now)
        _draw_notes(pen, now)
        image = canvas.reduce(self._fine) if self._fine > 1 else canvas
        step = round(now.lamp * GLOW_STEPS)
        if step:
            image = ImageChops.screen(image, self._glow.point([v * step // GLOW_STEPS for v in range(256)] * 3))
        return np.asarray(image.point(_response(now))), now.label

    def with_noise(self, picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        """What the sensor makes of a picture: the noise of frame `number` added, in memory of its own."""
        offset = _hash(self._seed, number) % NOISE_OFFSETS
        noise = self._noise[offset : offset + picture.size].reshape(picture.shape)
        noisy: NDArray[np.uint8] = picture + noise  # modulo 256, which the headroom makes exact
        return noisy


def _oversampling(size: Size) -> int:
    pixels = size[0] * size[1]
    return 4 if pixels <= 100 * 100 else 3 if pixels <= 300 * 300 else 2 if pixels <= 1920 * 1080 else 1


def _response(now: Moment) -> list[int]:
    """Tables from drawn to recorded red, green and blue: daylight, white balance, and the sensor's black and white."""
    span = 255 - 2 * HEADROOM
    gains = (1 + 0.04 * now.warmth, 1.0, 1 - 0.05 * now.warmth)
    return [
        HEADROOM + min(span, round(value * span / 255 * now.daylight * gain)) for gain in gains for value in range(256)
    ]


def _noise(seed: int, length: int) -> NDArray[np.uint8]:
    """Noise for any frame, at any of `NOISE_OFFSETS`; below zero as 256 − n."""
    dice = np.random.default_rng(seed & (2**64 - 1))
    noise = NOISE * dice.standard_normal(length + NOISE_OFFSETS, dtype=np.float32)
    levels: NDArray[np.int8] = np.rint(noise).clip(-HEADROOM, HEADROOM).astype(np.int8)
    return levels.view(np.uint8)


def _hash(seed: int, number: int) -> int:
    mixed = (number * 0x9E3779B97F4A7C15 + seed * 0xD1B54A32D192ED03) & (2**64 - 1)
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
    return mixed ^ mixed >> 27


def _glow(size: Size) -> Image.Image:
    """The light of the lamp, as it is added to a picture: around the shade, and in a cone below it."""
    width, height = size
    unit = min(size)
    x = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) / unit + 0.5 - CORD_X)[None, :]
    y = ((np.arange(height, dtype=np.float32) + 0.5 - height / 2) / unit + 0.5 - LAMP_Y)[:, None]
    halo = 0.75 * np.exp(-(x * x + y * y) / 0.018)
    room = 0.09 * np.exp(-(x * x + y * y) / 0.35)
    within, under = 0.07 + 0.42 * y - np.abs(x), y - 0.05
    cone = 0.04 * (1 + np.tanh(within / 0.04)) * (1 + np.tanh(under / 0.024)) * np.exp(-np.maximum(y, 0))
    light = np.clip(halo + room + cone, 0, 1)[..., None] * np.array([255, 226, 150], np.float32)
    return Image.fromarray(light.astype(np.uint8))


@dataclass(frozen=True, slots=True)
class _Look:
    """The colours of a seed's room, and of who lives there."""

    wall: Colour
    door: Colour
    rug: tuple[Colour, Colour]
    cat: Colour
    person: Person

    @classmethod
    def of(cls, seed: int) -> _Look:
        dice = random.Random(f"look of {seed}")
        return cls(
            wall=dice.choice(WALLS),
            door=dice.choice(DOORS),
            rug=dice.choice(RUGS),
            cat=dice.choice(CATS),
            person=Person(
                skin=dice.choice(SKINS),
                hair=dice.choice(HAIRS),
                style=dice.randrange(3),
                sleeves=dice.choice(SLEEVES),
                wardrobe=tuple(dice.sample(OUTFITS, WARDROBE)),
            ),
        )


# ---------------------------------------------------------------------------------------------------- what stands still


def _draw_room(pen: Pen, look: _Look) -> None:
    _draw_walls(pen, look)
    _draw_floor(pen, look)
    _draw_window(pen, look)
    _draw_furniture(pen)


def _draw_walls(pen: Pen, look: _Look) -> None:
    pen.box(pen.left, pen.top, pen.right, pen.bottom, look.wall)
    stripe = 0.07
    first = math.floor(pen.left / stripe)
    for n in range(first, math.ceil(pen.right / stripe)):
        if n % 2:
            pen.box(n * stripe, pen.top, (n + 1) * stripe, FLOOR_Y, shade(look.wall, 0.96))
    if pen.top < -0.06:  # a high picture shows the ceiling
        pen.box(pen.left, pen.top, pen.right, -0.06, (226, 222, 212))
        pen.box(pen.left, -0.075, pen.right, -0.05, (206, 200, 190))
    frame = shade(look.door, 0.7)
    pen.box(DOOR_HINGE - 0.022, 0.178, DOOR_EDGE + 0.022, FLOOR_Y, frame)
    pen.box(DOOR_HINGE - 0.006, 0.194, DOOR_EDGE + 0.006, FLOOR_Y, (250, 226, 160))  # the lit hall behind
    # A picture of a boat.
    pen.box(0.335, 0.185, 0.455, 0.285, (120, 88, 60))
    pen.box(0.345, 0.195, 0.445, 0.275, (206, 222, 226))
    pen.box(0.345, 0.245, 0.445, 0.275, (92, 134, 158))
    pen.polygon(((0.375, 0.243), (0.425, 0.243), (0.415, 0.257), (0.385, 0.257)), (150, 84, 62))
    pen.polygon(((0.399, 0.205), (0.399, 0.238), (0.424, 0.238)), (244, 240, 230))


def _draw_floor(pen: Pen, look: _Look) -> None:
    wood = (172, 134, 98)
    pen.box(pen.left, FLOOR_Y, pen.right, pen.bottom, wood)
    vanishing = 0.30
    spread = (pen.bottom - vanishing) / (FLOOR_Y - vanishing)
    reach = math.ceil(max(0.5 - pen.left, pen.right - 0.5) / 0.075) + 1
    for n in range(-reach, reach + 1):
        far = 0.075 * n
        pen.line(((0.5 + far, FLOOR_Y), (0.5 + far * spread, pen.bottom)), 0.003, shade(wood, 0.86))
    pen.box(pen.left, FLOOR_Y - 0.022, DOOR_HINGE - 0.022, FLOOR_Y, (224, 218, 206))
    pen.box(DOOR_EDGE + 0.022, FLOOR_Y - 0.022, pen.right, FLOOR_Y, (224, 218, 206))
    pen.box(pen.left, FLOOR_Y, pen.right, FLOOR_Y + 0.006, shade(wood, 0.72))
    for across, down, colour in ((0.36, 0.062, look.rug[0]), (0.32, 0.051, look.rug[1]), (0.30, 0.046, look.rug[0])):
        pen.ellipse((0.52, 0.935), across, down, colour)


def _draw_window(pen: Pen, look: _Look) -> None:
    pen.box(0.745, 0.145, 0.965, 0.405, (238, 234, 226))
    pen.box(0.758, 0.158, 0.952, 0.392, (160, 204, 236))
    pen.disc((0.805, 0.205), 0.024, (255, 240, 180))
    for x, y, radius in ((0.88, 0.235, 0.022), (0.90, 0.225, 0.028), (0.925, 0.237, 0.02)):
        pen.disc((x, y), radius, (240, 246, 250))
    pen.part((0.81, 0.47), 0.10, 231, 309, (126, 170, 112))
    pen.part((0.895, 0.50), 0.12, 244, 296, (104, 152, 104))
    pen.box(0.758, 0.3885, 0.952, 0.394, (104, 152, 104))
    pen.box(0.849, 0.158, 0.861, 0.392, (238, 234, 226))
    pen.box(0.758, 0.268, 0.952, 0.278, (238, 234, 226))
    curtain = blend(look.rug[0], (255, 255, 255), 0.25)
    for edge, inward in ((0.733, 1), (0.977, -1)):
        pen.polygon(
            ((edge, 0.13), (edge + inward * 0.052, 0.13), (edge + inward * 0.022, 0.30), (edge + inward * 0.034, 0.425),
             (edge - inward * 0.012, 0.425)), curtain)  # fmt: skip
    pen.line(((0.72, 0.13), (0.99, 0.13)), 0.012, (110, 84, 64))
    pen.box(0.735, 0.400, 0.975, 0.416, (248, 244, 236))


def _draw_furniture(pen: Pen) -> None:
    wood = (128, 92, 66)
    for x in (0.755, 0.955):
        pen.line(((x, 0.80), (x, 0.855)), 0.016, shade(wood, 0.7))
    pen.box(0.735, 0.615, 0.985, 0.825, wood)
    pen.box(0.725, 0.607, 0.995, 0.628, shade(wood, 1.15))
    for x in (0.75, 0.865):
        pen.box(x, 0.65, x + 0.105, 0.805, shade(wood, 1.12))
        pen.disc((x + (0.092 if x < 0.8 else 0.013), 0.725), 0.007, (220, 190, 120))
    # A plant on it.
    for angle in range(-70, 71, 28):
        turn = math.radians(angle)
        tip = (0.948 + 0.05 * math.sin(turn), 0.575 - 0.062 * math.cos(turn))
        pen.line(((0.948, 0.578), tip), 0.013, (84, 136, 88) if angle % 56 else (104, 156, 96))
    pen.polygon(((0.925, 0.568), (0.971, 0.568), (0.964, 0.608), (0.932, 0.608)), (200, 116, 82))
    _draw_shelf(pen)
    _draw_chair(pen)


def _draw_shelf(pen: Pen) -> None:
    """Left of the door, in pictures that are wide enough."""
    left, right = -0.40, -0.03
    pen.box(left, 0.24, right, 0.86, (116, 84, 62))
    books = random.Random("books")
    for top, bottom in ((0.26, 0.40), (0.42, 0.55), (0.57, 0.70), (0.72, 0.84)):
        pen.box(left + 0.015, top, right - 0.015, bottom, (84, 60, 46))
        x = right - 0.02
        while x > left + 0.05:
            width, height = books.uniform(0.018, 0.034), books.uniform(0.65, 0.92) * (bottom - top)
            colour = books.choice(((168, 76, 70), (70, 104, 140), (206, 170, 96), (96, 130, 100), (210, 204, 190)))
            pen.box(x - width, bottom - height, x - 0.003, bottom, colour)
            x -= width if books.random() < 0.85 else width + 0.03


def _draw_chair(pen: Pen) -> None:
    """Right of the window, in pictures that are wide enough."""
    for x in (1.08, 1.35):
        pen.line(((x, 0.84), (x, 0.885)), 0.02, (90, 66, 50))
    pen.box(1.05, 0.50, 1.38, 0.84, (98, 126, 142), corner=0.05)
    pen.box(1.08, 0.66, 1.35, 0.86, (122, 150, 164), corner=0.03)
    for x in (1.025, 1.335):
        pen.box(x, 0.62, x + 0.07, 0.87, (86, 112, 128), corner=0.03)
    pen.box(1.14, 0.56, 1.26, 0.67, (222, 176, 92), corner=0.03)


# ----------------------------------------------------------------------------------------------------------- what moves


def _draw_door(pen: Pen, look: _Look, now: Moment) -> None:
    """It opens towards us: the free edge comes nearer, so it grows."""
    top, bottom = 0.194, FLOOR_Y
    near = 0.045 * math.sin(now.door)

    def at(along: float, down: float) -> Point:
        """A point of the leaf, both from 0 to 1."""
        across = DOOR_HINGE + (DOOR_EDGE - DOOR_HINGE) * along * math.cos(now.door)
        return across, top - near * along * 0.7 + (bottom - top + near * along * 1.9) * down

    def panel(left: float, up: float, right: float, down: float, fill: Colour) -> None:
        pen.polygon((at(left, up), at(right, up), at(right, down), at(left, down)), fill)

    colour = shade(look.door, 1 - 0.12 * math.sin(now.door))
    panel(0, 0, 1, 1, colour)
    for up, down in ((0.06, 0.44), (0.53, 0.93)):
        panel(0.14, up, 0.80, down, shade(colour, 0.8))
        panel(0.18, up + 0.02, 0.80, down, shade(colour, 1.12))
        panel(0.18, up + 0.02, 0.76, down - 0.02, shade(colour, 0.93))
    x, y = handle_at(now.door)
    pen.disc((x, y), 0.017, shade(look.door, 0.55))
    pen.line(((x, y), (x - 0.03, y)), 0.013, (240, 206, 110))


def _draw_lamp(pen: Pen, now: Moment) -> None:
    pen.line(((CORD_X, pen.top if pen.top > -0.06 else -0.06), (CORD_X, LAMP_Y - 0.05)), 0.006, INK)
    dark, lit = (196, 120, 84), (255, 214, 120)
    pen.disc((CORD_X, LAMP_Y + 0.03), 0.027, blend((176, 176, 170), (255, 250, 215), now.lamp))
    pen.polygon(
        ((CORD_X - 0.032, LAMP_Y - 0.05), (CORD_X + 0.032, LAMP_Y - 0.05), (CORD_X + 0.085, LAMP_Y + 0.033),
         (CORD_X - 0.085, LAMP_Y + 0.033)), blend(dark, lit, now.lamp))  # fmt: skip
    end = CORD_Y + now.cord
    pen.line(((CORD_X, LAMP_Y + 0.033), (CORD_X, end)), 0.005, (240, 236, 220))
    pen.disc((CORD_X, end), 0.012, (206, 70, 66))


def _draw_stereo(pen: Pen, now: Moment) -> None:
    left, top, right, bottom = STEREO
    thump = now.music * abs(math.cos(math.pi * now.time / 0.5))
    pen.line(((left + 0.02, top + 0.005), (left - 0.005, top - 0.06)), 0.004, (150, 150, 156))
    pen.box(left, top - 0.006 * thump, right, bottom, (74, 72, 86), corner=0.014)
    for x in (left + 0.034, right - 0.034):
        pen.disc((x, top + 0.056), 0.029, (186, 186, 190))
        pen.disc((x, top + 0.056), 0.023 + 0.004 * thump, (46, 44, 54))
        pen.disc((x, top + 0.056), 0.009 + 0.004 * thump, (120, 120, 128))
    for n in range(4):
        lit = now.music > 0.2 and math.sin(9.0 * now.time + 2.1 * n) > -0.3
        x = (left + right) / 2 - 0.0165 + 0.011 * n
        pen.box(x - 0.004, top + 0.014, x + 0.004, top + 0.024, (140, 240, 140) if lit else (60, 84, 66))


def _draw_notes(pen: Pen, now: Moment) -> None:
    """They rise from the stereo, one after the other."""
    if now.music < 0.05:
        return
    for n in range(3):
        risen = (now.time / 1.8 + n / 3) % 1
        size = now.music * min(1.0, 5 * risen, 4 * (1 - risen))
        if size < 0.2:
            continue
        x = STEREO[0] + 0.03 + 0.045 * n + 0.03 * math.sin(5 * risen + 2 * n)
        y = STEREO[1] - 0.03 - 0.26 * risen
        high = 0.075 * size
        pen.line(((x + 0.016 * size, y), (x + 0.016 * size, y - high)), 0.010 * size, INK)
        pen.line(((x + 0.016 * size, y - high), (x + 0.045 * size, y - 0.7 * high)), 0.015 * size, INK)
        pen.ellipse((x, y), 0.024 * size, 0.018 * size, INK)


def _draw_cat(pen: Pen, look: _Look, now: Moment) -> None:
    """On the window sill, its tail hanging down."""
    fur, x, sill = look.cat, 0.905, 0.402
    swing = math.sin(1.9 * now.time)
    tail = [(x + 0.03 + 0.02 * swing * k * k, sill - 0.005 + 0.085 * k) for k in (0, 0.35, 0.7, 1)]
    pen.line(tail, 0.013, fur)
    pen.ellipse((x, sill - 0.032), 0.034, 0.036, fur)
    head = (x - 0.012 + 0.004 * math.sin(0.5 * now.time), sill - 0.078)
    for side in (-1, 1):
        ear = head[0] + side * 0.018
        tip = (ear + side * 0.004, head[1] - 0.036)
        pen.polygon(((ear - 0.01, head[1] - 0.012), tip, (ear + 0.01, head[1] - 0.01)), fur)
    pen.ellipse(head, 0.027, 0.023, fur)
