// The classes' colours: those of the labelling window, which stay apart for people who see no red, no green or no blue.

import { get } from "./api.js";

/** The label of a frame that has none. */
export const NONE = 255;

const CLASSES = ["#8692a6", "#509cf5", "#f5b642", "#42be82", "#e56b41", "#8b6fb8", "#2dffb5", "#bd517b", "#876c4e"];
const FOREIGN = "#d2d4da";
export const UNREADABLE = "#78141c";

/**
 * The colour of a label; that of none comes from the page's colours.
 *
 * @param {number} label
 */
export function colourOf(label) {
  return CLASSES[label] ?? FOREIGN;
}

/**
 * The colour of a class by its name: the same as in the recordings that have it.
 *
 * @param {AbortSignal} signal
 * @returns {Promise<(name: string) => string>}
 */
export async function coloursByName(signal) {
  const { numbers } = /** @type {{numbers: Record<string, number>}} */ (await get("/api/classes", signal));
  return (name) => colourOf(Object.hasOwn(numbers, name) ? numbers[name] : NONE);
}

/**
 * A colour of the page, for what is drawn.
 *
 * @param {string} name  of a custom property
 */
export function pageColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
