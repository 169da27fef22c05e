// The film strip: the frames around the one looked at, each with its label's colour.

import { surface } from "./canvas.js";
import { NONE, UNREADABLE, colourOf, pageColour } from "./colours.js";
import { isOneOf } from "./runs.js";

const COLOUR_HEIGHT = 6;
const GAP = 2;
const NARROW = 600; // pixels: narrower strips show a run in two rows
const BORDER = 8; // between the frames of a run, and those behind its end

/** @typedef {import("./labelling.js").Labelling} Labelling */

export class Strip {
  #pitch = 1;
  #left = 0;
  /**
   * Where the small frames of a run are: left, top, width, height.
   *
   * @type {[number, number, number, number][]}
   */
  #cells = [];

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Labelling} labelling
   */
  constructor(canvas, labelling) {
    this.canvas = canvas;
    this.labelling = labelling;
    canvas.addEventListener("click", ({ offsetX, offsetY }) => {
      if (labelling.assist.shown.length) {
        const cell = this.#cells.findIndex(([x, y, wide, tall]) => isWithin(offsetX - x, wide) && isWithin(offsetY - y, tall));
        if (cell >= 0) labelling.endBefore(cell);
        return;
      }
      const position = Math.floor((offsetX - this.#left) / this.#pitch);
      if (position >= 0 && position < labelling.count) labelling.go(position);
    });
  }

  draw() {
    this.canvas.classList.toggle("spread", this.labelling.assist.shown.length > 0);
    const { context, width, height } = surface(this.canvas);
    const { frames, labels, cursor, count } = this.labelling;
    if (this.labelling.assist.shown.length) {
      this.#drawRun(context, width, height);
      return;
    }
    const tall = height - COLOUR_HEIGHT;
    const shown = frames.get(Math.min(cursor, count - 1))?.bitmap;
    const wide = Math.round(tall * Math.max(0.5, Math.min(shown ? shown.width / shown.height : 1, 2)));
    this.#pitch = wide + GAP;
    this.#left = Math.round((width - wide) / 2) - cursor * this.#pitch;
    const first = Math.max(0, Math.floor(-this.#left / this.#pitch));
    const last = Math.min(count - 1, Math.floor((width - this.#left) / this.#pitch));
    for (let at = first; at <= last; at += 1)
      this.#drawFrame(context, at, labels[at], [this.#left + at * this.#pitch, 0, wide, tall]);
    context.strokeStyle = pageColour("--cursor");
    context.lineWidth = 3;
    context.strokeRect(this.#left + cursor * this.#pitch + 1.5, 1.5, wide - 3, height - 3);
  }

  /**
   * A frame, with a colour under it.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {number} at
   * @param {number} label
   * @param {[number, number, number, number]} cell
   */
  #drawFrame(context, at, label, [x, y, wide, tall]) {
    const bitmap = this.labelling.frames.get(at)?.bitmap;
    if (bitmap) context.drawImage(bitmap, x, y, wide, tall);
    else {
      context.fillStyle = isOneOf(this.labelling.unreadable, at) ? UNREADABLE : pageColour("--well");
      context.fillRect(x, y, wide, tall);
    }
    context.fillStyle = label === NONE ? pageColour("--none") : colourOf(label);
    context.fillRect(x, y + tall, wide, COLOUR_HEIGHT);
  }

  /**
   * The run that is proposed: frames of it and, after a line, frames behind its end.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  #drawRun(context, width, height) {
    const { frames, labels, assist } = this.labelling;
    const { first, label, inside } = assist.told;
    const rows = width < NARROW ? 2 : 1;
    const each = Math.ceil(assist.shown.length / rows);
    const pitch = Math.min((width - BORDER) / each, height * 2);
    const picture = frames.get(first)?.bitmap;
    const shape = Math.max(0.5, Math.min(picture ? picture.width / picture.height : 1, 2));
    const tall = Math.min(height / rows - COLOUR_HEIGHT - GAP, (pitch - GAP) / shape);
    const wide = tall * shape;
    const left = (width - BORDER - each * (wide + GAP)) / 2;
    this.#cells = assist.shown.map((at, n) => {
      const row = Math.floor(n / each);
      const isBehind = n >= inside;
      const shift = isBehind && Math.floor(inside / each) === row ? BORDER : 0;
      const x = left + (n % each) * (wide + GAP) + shift;
      const y = (row * height) / rows;
      this.#drawFrame(context, at, isBehind ? labels[at] : label, [x, y, wide, tall]);
      if (n === inside) {
        context.fillStyle = pageColour("--cursor");
        context.fillRect(x - BORDER / 2 - GAP, y, 3, tall + COLOUR_HEIGHT);
      }
      return [x, y, wide + GAP, tall + COLOUR_HEIGHT];
    });
  }
}

/**
 * @param {number} offset
 * @param {number} size
 */
function isWithin(offset, size) {
  return offset >= 0 && offset < size;
}
