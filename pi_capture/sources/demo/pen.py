"""Drawing on an image in the lengths of the demo's room, and mixing its colours."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
"""Red, green, blue."""
Point = tuple[float, float]
"""x to the right and y down, in the lengths of `play`."""

INK = (45, 42, 62)


def shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, max(0, round(value * factor))) for value in colour)
    return red, green, blue


def blend(a: Colour, b: Colour, weight: float) -> Colour:
    red, green, blue = (round(p + (q - p) * weight) for p, q in zip(a, b, strict=True))
    return red, green, blue


class Pen:
    """Draws on an image in the room's lengths (see `play`)."""

    def __init__(self, image: Image.Image, origin: Point, unit: float) -> None:
        self.image = image
        self.unit = unit
        self._draw = ImageDraw.Draw(image)
        self._x, self._y = origin
        self.left, self.top = -self._x / unit, -self._y / unit
        self.right, self.bottom = (image.width - self._x) / unit, (image.height - self._y) / unit

    def _at(self, point: Point) -> Point:
        return self._x + point[0] * self.unit, self._y + point[1] * self.unit

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        self._draw.polygon([self._at(point) for point in points], fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour, *, corner: float = 0.0) -> None:
        (x0, y0), (x1, y1) = self._at((left, top)), self._at((right, bottom))
        if corner:
            self._draw.rounded_rectangle((x0, y0, x1, y1), corner * self.unit, fill=fill)
        else:
            self._draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), fill=fill)

    def ellipse(self, centre: Point, across: float, down: float, fill: Colour) -> None:
        """An ellipse of two radii."""
        (x, y), across, down = self._at(centre), across * self.unit, down * self.unit
        self._draw.ellipse((x - across, y - down, x + across, y + down), fill=fill)

    def disc(self, centre: Point, radius: float, fill: Colour) -> None:
        self.ellipse(centre, radius, radius, fill)

    def part(self, centre: Point, radius: float, begin: float, end: float, fill: Colour) -> None:
        """The part of a disc on the far side of a chord, from one angle to another in degrees, clockwise from right."""
        (x, y), radius = self._at(centre), radius * self.unit
        self._draw.chord((x - radius, y - radius, x + radius, y + radius), begin, end, fill=fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """A line with round joints and ends."""
        thick = max(1, round(width * self.unit))
        self._draw.line([self._at(point) for point in points], fill=fill, width=thick)
        if thick > 2:
            for point in points:
                self.disc(point, thick / 2 / self.unit, fill)

    def outlined(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        self.line(points, width + 0.011, INK)
        self.line(points, width, fill)
