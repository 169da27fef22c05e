// The film strip: the frames around the one looked at, each with its label's colour.

import { surface } from "./canvas.js";
import { NONE, UNREADABLE, colourOf, pageColour } from "./colours.js";
import { isOneOf } from "./runs.js";

const COLOUR_HEIGHT = 6;
const GAP = 2;

/** @typedef {import("./labelling.js").Labelling} Labelling */

export class Strip {
  #pitch = 1;
  #left = 0;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Labelling} labelling
   */
  constructor(canvas, labelling) {
    this.canvas = canvas;
    this.labelling = labelling;
    canvas.addEventListener("click", ({ offsetX }) => {
      const position = Math.floor((offsetX - this.#left) / this.#pitch);
      if (position >= 0 && position < labelling.count) labelling.go(position);
    });
  }

  draw() {
    const { context, width, height } = surface(this.canvas);
    const { frames, labels, cursor, count, unreadable } = this.labelling;
    const tall = height - COLOUR_HEIGHT;
    const shown = frames.get(Math.min(cursor, count - 1))?.bitmap;
    const wide = Math.round(tall * Math.max(0.5, Math.min(shown ? shown.width / shown.height : 1, 2)));
    this.#pitch = wide + GAP;
    this.#left = Math.round((width - wide) / 2) - cursor * this.#pitch;
    const first = Math.max(0, Math.floor(-this.#left / this.#pitch));
    const last = Math.min(count - 1, Math.floor((width - this.#left) / this.#pitch));
    const none = pageColour("--none");
    const well = pageColour("--well");
    for (let at = first; at <= last; at += 1) {
      const x = this.#left + at * this.#pitch;
      const bitmap = frames.get(at)?.bitmap;
      if (bitmap) context.drawImage(bitmap, x, 0, wide, tall);
      else {
        context.fillStyle = isOneOf(unreadable, at) ? UNREADABLE : well;
        context.fillRect(x, 0, wide, tall);
      }
      context.fillStyle = labels[at] === NONE ? none : colourOf(labels[at]);
      context.fillRect(x, tall, wide, COLOUR_HEIGHT);
    }
    context.strokeStyle = pageColour("--cursor");
    context.lineWidth = 3;
    context.strokeRect(this.#left + cursor * this.#pitch + 1.5, 1.5, wide - 3, height - 3);
  }
}
