// The timeline: above, the whole recording, to slide over; below it, a part of it with changes and time, to select in.

import { surface } from "./canvas.js";
import { NONE, UNREADABLE, colourOf, pageColour } from "./colours.js";
import { clock } from "./format.js";
import { place, runsOf } from "./runs.js";

/** @typedef {import("./labelling.js").Labelling} Labelling */

const FIRST_SPAN = 600; // frames that are shown at first
const LEAST_SPAN = 20;
const CHANGES = 10; // pixels above the labels
const LANE = 9; // of what is proposed, between both
const TIMES = 18; // under them
const LABEL_PIXELS = 84; // of a time, with the space about it
const DRAG_PIXELS = 5; // what moves less is a click
const SECONDS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400];

export class Timeline {
  #span;
  #first = 0;
  #cursor = -1;
  /** What was drawn of the whole, and for which labels. */
  #whole = document.createElement("canvas");
  /** @type {unknown} */
  #wholeOf = null;
  #wholeWidth = 0;
  /** @type {Map<number, number>} */
  #fingers = new Map();
  /** @type {number | null} */
  #from = null;
  #moved = false;

  /**
   * @param {HTMLCanvasElement} overview
   * @param {HTMLCanvasElement} detail
   * @param {Labelling} labelling
   */
  constructor(overview, detail, labelling) {
    this.overview = overview;
    this.detail = detail;
    this.labelling = labelling;
    this.#span = Math.max(LEAST_SPAN, Math.min(labelling.count, FIRST_SPAN));
    overview.addEventListener("pointerdown", (event) => {
      overview.setPointerCapture(event.pointerId);
      this.#slide(event);
    });
    overview.addEventListener("pointermove", (event) => event.buttons && this.#slide(event));
    detail.addEventListener("pointerdown", (event) => this.#down(event));
    detail.addEventListener("pointermove", (event) => this.#move(event));
    detail.addEventListener("pointerup", (event) => this.#up(event));
    detail.addEventListener("pointercancel", (event) => this.#lift(event));
    detail.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
          this.#show(this.#first + ((event.deltaX || event.deltaY) / detail.clientWidth) * this.#span);
        else this.zoom(Math.exp(event.deltaY / 300), this.#frameAt(event.offsetX));
      },
      { passive: false },
    );
  }

  // --------------------------------------------------------------------------------------------------------- fingers

  /** @param {PointerEvent} event */
  #slide({ offsetX }) {
    this.labelling.go(Math.floor((offsetX / this.overview.clientWidth) * this.labelling.count));
  }

  /** @param {PointerEvent} event */
  #down(event) {
    this.detail.setPointerCapture(event.pointerId);
    this.#fingers.set(event.pointerId, event.offsetX);
    this.#moved = this.#fingers.size > 1;
    this.#from = this.#moved ? null : event.offsetX;
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const before = this.#fingers.get(event.pointerId);
    if (before === undefined) return;
    const other = [...this.#fingers].find(([id]) => id !== event.pointerId)?.[1];
    this.#fingers.set(event.pointerId, event.offsetX);
    if (other !== undefined) {
      const by = Math.max(8, Math.abs(before - other)) / Math.max(8, Math.abs(event.offsetX - other));
      this.zoom(by, this.#frameAt((event.offsetX + other) / 2));
    } else if (this.#from !== null && (this.#moved || Math.abs(event.offsetX - this.#from) > DRAG_PIXELS)) {
      this.#moved = true;
      this.labelling.select(this.#frameAt(this.#from), this.#frameAt(event.offsetX));
    }
  }

  /** @param {PointerEvent} event */
  #up(event) {
    if (this.#from !== null) {
      const position = this.#frameAt(event.offsetX);
      if (this.#moved) this.labelling.select(this.#frameAt(this.#from), position);
      else if (event.shiftKey) this.labelling.select(this.labelling.cursor, position);
      else {
        this.labelling.selection = null;
        this.labelling.go(position);
      }
    }
    this.#lift(event);
  }

  /** @param {PointerEvent} event */
  #lift(event) {
    this.#fingers.delete(event.pointerId);
    this.#from = null;
  }

  // ------------------------------------------------------------------------------------------------------- what shows

  /**
   * Show more or fewer frames.
   *
   * @param {number} by  a factor
   * @param {number} [about]  the frame that stays where it is
   */
  zoom(by, about = this.labelling.cursor) {
    const before = this.#span;
    this.#span = Math.max(LEAST_SPAN, Math.min(before * by, Math.max(LEAST_SPAN, this.labelling.count)));
    this.#show(about - ((about - this.#first) * this.#span) / before);
  }

  /** Show half as many frames; after the fewest, all. */
  zoomAround() {
    this.zoom(this.#span <= 2 * LEAST_SPAN ? this.labelling.count / this.#span : 0.5);
  }

  /** @param {number} first */
  #show(first) {
    this.#first = Math.max(0, Math.min(first, this.labelling.count - this.#span));
    this.labelling.listener.onchange();
  }

  /**
   * The frame at a pixel; the last one shown at the last pixel, also where a pixel stands for several.
   *
   * @param {number} x
   */
  #frameAt(x) {
    const end = Math.min(Math.ceil(this.#first + this.#span), this.labelling.count);
    const found = Math.floor(this.#first + (x / (this.detail.clientWidth - 1)) * this.#span);
    return Math.max(0, Math.min(found, end - 1));
  }

  draw() {
    const { cursor, count } = this.labelling;
    if (cursor !== this.#cursor) {
      const margin = this.#span / 10;
      if (cursor < this.#first + margin || cursor > this.#first + this.#span - margin)
        this.#first = cursor - this.#span / 2;
      this.#first = Math.max(0, Math.min(this.#first, count - this.#span));
      this.#cursor = cursor;
    }
    this.#drawOverview();
    this.#drawDetail();
  }

  #drawOverview() {
    const { labels, count, cursor } = this.labelling;
    const { context, width, height } = surface(this.overview);
    if (!width) return;
    if (this.#wholeOf !== labels || this.#wholeWidth !== width) {
      this.#wholeOf = labels;
      this.#wholeWidth = width;
      drawColumns(this.#whole, labels, width);
    }
    const lane = this.labelling.assist.proposals.length ? (height - 6) / 2 : 0;
    context.drawImage(this.#whole, 0, 3 + lane, width, height - 6 - lane);
    this.#drawProposals(context, 3, lane - 1, 0, count, (frame) => (frame / count) * width);
    const x = (this.#first / count) * width;
    context.strokeStyle = pageColour("--quiet");
    context.strokeRect(x + 0.5, 0.5, Math.max(3, Math.min(1, this.#span / count) * width - 1), height - 1);
    context.fillStyle = pageColour("--cursor");
    context.fillRect((cursor / count) * (width - 3), 0, 3, height);
  }

  #drawDetail() {
    const { labels, count, cursor, fps, changes, unreadable, selection } = this.labelling;
    const { context, width, height } = surface(this.detail);
    if (!width) return;
    const pitch = width / this.#span;
    const first = Math.floor(this.#first);
    const stop = Math.min(count, Math.ceil(this.#first + this.#span));
    const { assist } = this.labelling;
    const top = CHANGES + (assist.proposals.length ? LANE : 0);
    const tall = height - top - TIMES;
    const x = (/** @type {number} */ frame) => (frame - this.#first) * pitch;
    const none = pageColour("--none");
    const quiet = pageColour("--quiet");
    for (const [start, end, label] of runsOf(labels, first, stop)) {
      context.fillStyle = label === NONE ? none : colourOf(label);
      context.fillRect(x(start), top, Math.max(1, x(end) - x(start) - (pitch > 4 ? 1 : 0)), tall);
    }
    this.#drawProposals(context, CHANGES, LANE - 2, first, stop, x);
    context.fillStyle = UNREADABLE;
    for (const at of within(unreadable, first, stop)) context.fillRect(x(at), top, Math.max(1, pitch - 1), tall);
    context.fillStyle = quiet;
    for (const at of within(changes, first, stop)) context.fillRect(x(at) - 0.5, 0, 2, CHANGES - 2);
    context.font = `12px ${getComputedStyle(this.detail).fontFamily}`;
    context.textBaseline = "bottom";
    const wanted = LABEL_PIXELS / pitch / fps;
    const every = SECONDS.find((one) => one >= wanted) ?? SECONDS[SECONDS.length - 1];
    for (let n = Math.ceil(first / fps / every); n * every * fps < stop; n += 1) {
      const at = x(n * every * fps);
      context.fillRect(at, height - TIMES, 1, 5);
      if (at + 40 < width) context.fillText(clock(n * every, every < 1 ? 1 : 0), at + 3, height);
    }
    const { told } = assist;
    const marked = assist.shown.length ? [told.first, told.stop] : selection;
    if (marked) {
      const [from, to] = marked;
      context.strokeStyle = pageColour("--accent");
      context.lineWidth = 3;
      context.strokeRect(x(from), top - 1.5, Math.max(3, x(to) - x(from)), tall + 3);
    }
    const at = x(cursor);
    context.fillStyle = pageColour("--card");
    context.fillRect(at - 1, top - 4, Math.max(pitch, 2) + 2, tall + 8);
    context.fillStyle = labels[cursor] === undefined || labels[cursor] === NONE ? none : colourOf(labels[cursor]);
    if (pitch > 4) context.fillRect(at, top, pitch - 1, tall);
    context.strokeStyle = pageColour("--cursor");
    context.lineWidth = 2;
    context.strokeRect(at, top - 3, Math.max(pitch, 2), tall + 6);
  }

  /**
   * What is proposed where no label is: the more certain, the less of the ground shines through.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {number} y
   * @param {number} tall
   * @param {number} first
   * @param {number} stop
   * @param {(frame: number) => number} x
   */
  #drawProposals(context, y, tall, first, stop, x) {
    const { assist, labels } = this.labelling;
    for (const [start, end, label, certainty] of assist.proposals) {
      if (end <= first || start >= stop) continue;
      context.fillStyle = colourOf(label);
      context.globalAlpha = certainty;
      for (const [from, to, given] of runsOf(labels, Math.max(start, first), Math.min(end, stop)))
        if (given === NONE) context.fillRect(x(from), y, Math.max(1, x(to) - x(from)), tall);
    }
    context.globalAlpha = 1;
  }
}

/**
 * Draw labels into a canvas of one row: the commonest of each column.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8Array} labels
 * @param {number} width
 */
function drawColumns(canvas, labels, width) {
  canvas.width = width;
  canvas.height = 1;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const counts = new Uint32Array(256);
  const none = pageColour("--none");
  for (let column = 0; column < width; column += 1) {
    const first = Math.floor((column * labels.length) / width);
    const stop = Math.max(first + 1, Math.floor(((column + 1) * labels.length) / width));
    counts.fill(0);
    let most = labels[first];
    for (let at = first; at < stop; at += 1) {
      counts[labels[at]] += 1;
      if (counts[labels[at]] > counts[most]) most = labels[at];
    }
    context.fillStyle = most === NONE ? none : colourOf(most);
    context.fillRect(column, 0, 1, 1);
  }
}

/**
 * @param {number[]} numbers
 * @param {number} first
 * @param {number} stop
 */
function within(numbers, first, stop) {
  return numbers.slice(place(numbers, first), place(numbers, stop));
}
