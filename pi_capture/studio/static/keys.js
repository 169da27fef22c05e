// Which key does what: as in the labelling window (`classify/window/keymap.py`).
//
// Digits count by their place on the keyboard, so that a layout that has them with Shift makes no difference. So do
// letters of other alphabets.

/**
 * What a key asks for, and the number that goes with it.
 *
 * @typedef {{do: string, number: number}} Deed
 */

/** @type {Record<string, [string, number]>} */
const LETTERS = {
  s: ["save", 0],
  t: ["stretches", 0],
  r: ["hold", 0],
  p: ["play", 1],
  o: ["play", -1],
  n: ["change", 1],
  b: ["change", -1],
  g: ["goTo", 0],
  c: ["alike", 1],
  v: ["alike", -1],
  z: ["zoom", 0],
  a: ["assist", 0],
  m: ["bisect", 0],
  l: ["leastCertain", 0],
  w: ["acceptSure", 0],
  ":": ["colon", 0],
  ";": ["colon", 0],
  f: ["unlabelled", 0],
  e: ["unreadable", 0],
  x: ["clear", 0],
  u: ["undo", 0],
  y: ["redo", 0],
  h: ["help", 0],
  "?": ["help", 0],
  " ": ["brightness", 0],
  "+": ["speed", 1],
  "]": ["speed", 1],
  "-": ["speed", -1],
  "[": ["speed", -1],
  ",": ["nudge", -1],
  ".": ["nudge", 1],
};

/** @type {Record<string, [string, number]>} */
const NAMED = {
  Escape: ["back", 0],
  Enter: ["enter", 0],
  Backspace: ["erase", 0],
  Delete: ["clear", 0],
  ArrowLeft: ["step", -1],
  ArrowRight: ["step", 1],
  ArrowUp: ["step", -10],
  ArrowDown: ["step", 10],
  PageUp: ["border", -1],
  PageDown: ["border", 1],
  Home: ["beginning", 0],
  End: ["end", 0],
};

/** @type {Record<string, [string, number]>} */
const WITH_CONTROL = { z: ["undo", 0], y: ["redo", 0] };

/**
 * What a key press asks for; null for keys that are the browser's, and those that do nothing.
 *
 * @param {KeyboardEvent} event
 * @returns {Deed | null}
 */
export function deedOf(event) {
  const letter = letterOf(event);
  if (event.altKey || event.metaKey || event.ctrlKey) {
    const asked = event.ctrlKey !== event.metaKey && !event.altKey ? WITH_CONTROL[letter] : undefined;
    return asked ? { do: asked[0], number: asked[1] } : null;
  }
  const digit = digitOf(event);
  if (digit !== null) {
    if (event.shiftKey && digit < 9) return { do: "labelStretch", number: digit };
    return digit === 9 ? { do: "batch", number: 0 } : { do: "label", number: digit };
  }
  if (event.shiftKey && (event.key === "ArrowLeft" || event.key === "ArrowRight"))
    return { do: "select", number: event.key === "ArrowRight" ? 1 : -1 };
  const asked = NAMED[event.key] ?? LETTERS[letter];
  return asked ? { do: asked[0], number: asked[1] } : null;
}

/**
 * The digit of a key by its place; null for other keys.
 *
 * @param {KeyboardEvent} event
 */
export function digitOf({ code }) {
  const found = /^(?:Digit|Numpad)(\d)$/.exec(code);
  return found ? Number(found[1]) : null;
}

/** @param {KeyboardEvent} event */
function letterOf({ key, code }) {
  const letter = key.toLowerCase();
  return letter in LETTERS || /^[a-z]$/.test(letter) ? letter : (/^Key([A-Z])$/.exec(code)?.[1].toLowerCase() ?? "");
}

/**
 * Whether the keys of an event belong to what it was typed into.
 *
 * @param {KeyboardEvent} event
 */
export function isTyped(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (document.querySelector("dialog[open]")) return true;
  if (target.closest("input, select, textarea")) return true;
  return (event.key === "Enter" || event.key === " ") && target.closest("a, button, summary") !== null;
}

/** @type {[keys: string, does: string][]} */
export const HELP = [
  ["0 … 8", "label this frame and step on"],
  ["9", "label ten frames at once as 0, the class of most pictures; U takes them back"],
  ["Esc", "back one frame"],
  ["Space", "brighter view, and back"],
  ["S", "save: a directory for each class"],
  ["T", "stretches: digits label up to the next change"],
  ["Shift + digit", "the same, once"],
  ["R", "hold: what you play or jump over takes the label"],
  ["P, O", "play on, play back; again to pause"],
  ["+, −", "faster, slower: ¼ to 8 times"],
  ["N, B", "to the next change, to the one before"],
  [", and .", "move the last border one frame earlier, later"],
  ["A", "ask: asks typical frames, then proposes runs"],
  ["Enter", "accept the run up to its end; a digit overrides"],
  [", . and M", "its end one small frame earlier, later; half of it"],
  ["M", "middle: asks where the next border is"],
  ["L, W", "least certain first; accept all that is sure"],
  ["← → ↑ ↓", "one frame, ten frames; labels nothing"],
  ["Shift + ← →", "select frames; a digit labels them"],
  ["PgUp, PgDn", "to the border of labels before, after"],
  ["Home, End", "first, last frame"],
  ["G", "go to a frame, 123, or a time, 1:23; Enter"],
  ["C, V", "next, previous stretch of this class"],
  ["F, E", "next without a label, next unreadable"],
  ["X, Del", "take the label away"],
  ["U, Y", "undo, redo"],
  ["Z", "zoom the timeline"],
];

/** @type {[gesture: string, does: string][]} */
export const TOUCH = [
  ["Tap a class", "label this frame and step on"],
  ["Hold a class", "play on, and paint all that is seen until you let go"],
  ["Swipe over the picture", "one frame on or back"],
  ["Two fingers", "a closer look; two taps end it"],
  ["Drag over the timeline", "select frames; a class labels them all"],
  ["Tap a small frame of a run", "here begins something else"],
];
