// Numbers as people read them.

/** @param {number} bytes */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${bytes.toFixed(unit && bytes < 10 ? 1 : 0)} ${units[unit]}`;
}

/**
 * Seconds as a clock shows them: 0:07, 12:30, 1:02:03.
 *
 * @param {number} seconds
 * @param {number} [digits]  after the point
 */
export function clock(seconds, digits = 0) {
  const scale = 10 ** digits;
  const whole = Math.floor(seconds * scale + 1e-6) / scale;
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function counted(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/**
 * The names of classes in what a person typed: with commas between them, or semicolons.
 *
 * @param {string} typed
 */
export function classesOf(typed) {
  return typed
    .split(/[,;]/)
    .map((one) => one.trim())
    .filter(Boolean);
}

/**
 * Pairs of names that differ only in case, spaces and what is not shown: as `storage.names.look_alikes`.
 *
 * @param {string[]} names
 */
export function lookAlikes(names) {
  /** @type {Map<string, string>} */
  const firsts = new Map();
  /** @type {[string, string][]} */
  const found = [];
  for (const name of names) {
    const look = name.normalize("NFC").toLowerCase().replace(/[\s\p{Cf}]/gu, "");
    const first = firsts.get(look) ?? name;
    firsts.set(look, first);
    if (first !== name) found.push([first, name]);
  }
  return found;
}

/** @param {[string, string][]} pairs  of names */
export function alikeWords(pairs) {
  return pairs.map(([first, name]) => `'${first}' and '${name}' are two classes: spell them alike if they are one.`).join(" ");
}

/** @param {number} value */
export function number(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, " ");
}

/** @param {number} share */
export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

/**
 * When something was: today as a time, else as a day.
 *
 * @param {number} seconds  since 1970
 */
export function day(seconds) {
  const date = new Date(1000 * seconds);
  const today = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return today ? time : `${date.toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" })}, ${time}`;
}
