// Labels of frames in a row: runs, borders, and visible changes between frames.

import { NONE } from "./colours.js";

export { NONE };

/** The next change is not known yet. */
export const UNKNOWN_CHANGE = -1;

/**
 * @param {Uint8Array} labels
 * @param {import("./api.js").Run} run
 */
export function paint(labels, [start, stop, label]) {
  labels.fill(label, start, stop);
}

/**
 * Where the next frame is that is labelled differently from the one before it; the end if none is.
 *
 * @param {Uint8Array} labels
 * @param {number} cursor
 */
export function nextBorder(labels, cursor) {
  let at = cursor;
  while (at < labels.length && labels[at] === labels[cursor]) at += 1;
  return at;
}

/**
 * The same backwards; the beginning if there is none.
 *
 * @param {Uint8Array} labels
 * @param {number} cursor
 */
export function previousBorder(labels, cursor) {
  let at = cursor - 1;
  while (at > 0 && labels[at - 1] === labels[at]) at -= 1;
  return Math.max(0, at);
}

/**
 * The first frame of the next run with the label of a frame, or the last frame of the run before; null if there is none.
 *
 * @param {Uint8Array} labels
 * @param {number} cursor
 * @param {number} way
 */
export function alike(labels, cursor, way) {
  if (cursor >= labels.length) return null;
  const label = labels[cursor];
  let own = cursor;
  while (own > 0 && labels[own - 1] === label) own -= 1;
  const found = way > 0 ? labels.indexOf(label, nextBorder(labels, cursor)) : own ? labels.lastIndexOf(label, own - 1) : -1;
  return found < 0 ? null : found;
}

/**
 * The next visible change after a frame; the count if there is none; `UNKNOWN_CHANGE` if that is not known yet.
 *
 * @param {{changes: number[], known: number, count: number}} seen
 * @param {number} frame
 */
export function changeAfter({ changes, known, count }, frame) {
  const found = changes[place(changes, frame + 1)];
  if (found !== undefined) return found;
  return known >= count ? count : UNKNOWN_CHANGE;
}

/**
 * The last visible change before a frame; 0 if there is none.
 *
 * @param {{changes: number[], known: number, count: number}} seen
 * @param {number} frame
 */
export function changeBefore({ changes, known, count }, frame) {
  if (known < Math.min(frame, count)) return UNKNOWN_CHANGE;
  return changes[place(changes, frame) - 1] ?? 0;
}

/**
 * Whether a number is one of ascending ones.
 *
 * @param {number[]} numbers
 * @param {number} one
 */
export function isOneOf(numbers, one) {
  return numbers[place(numbers, one)] === one;
}

/**
 * Where the first of ascending numbers is that is at least as large.
 *
 * @param {number[]} numbers
 * @param {number} least
 */
export function place(numbers, least) {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Runs of equal labels between two positions.
 *
 * @param {Uint8Array} labels
 * @param {number} first
 * @param {number} stop
 * @returns {Generator<import("./api.js").Run>}
 */
export function* runsOf(labels, first, stop) {
  for (let start = first; start < stop; ) {
    let end = start + 1;
    while (end < stop && labels[end] === labels[start]) end += 1;
    yield [start, end, labels[start]];
    start = end;
  }
}

/**
 * How many frames have each label, by label.
 *
 * @param {Uint8Array} labels
 */
export function countsOf(labels) {
  const counts = new Array(256).fill(0);
  for (const label of labels) counts[label] += 1;
  return /** @type {number[]} */ (counts);
}
