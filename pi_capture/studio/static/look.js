// Looking at a recording: its frames with their labels, its contact sheet and plot; verify, split, undo, download, trash.

import { get, post, records, words } from "./api.js";
import { NONE, colourOf } from "./colours.js";
import { areMeant, ask, button, el, fill, goOn, tell } from "./dom.js";
import { classesOf, clock, counted, number, size } from "./format.js";
import { classBar, toTrash } from "./home.js";
import { runsOf } from "./runs.js";

const ON_A_PAGE = 60; // frames
const ALL = -1;

/** @type {import("./main.js").Page} */
export async function look(place, signal, id, frame) {
  const address = `/api/recordings/${id}`;
  const recording = /** @type {import("./api.js").Recording} */ (await get(address, signal));
  document.title = `${recording.name} – Studio`;
  const can = (/** @type {string} */ what) => recording.can.includes(what);
  const facts = [
    counted(recording.frames, "frame"),
    recording.seconds > 0 && clock(recording.seconds),
    recording.size?.replace("x", " × "),
    recording.format,
    size(recording.bytes),
    recording.state === "held out" && recording.name.startsWith("gap_") ? "not used" : recording.state,
  ];
  const told = el("div", { className: "results", role: "status" });
  const moveAway = async () => {
    const { name, state } = recording;
    if (state === "split") tell(`${name} is split: press Undo the split first`);
    else if (state === "held out") tell(`${name} is a part of a split recording: look at that, and press Undo the split`);
    else await toTrash(address, name, () => goOn(signal, "#/"));
  };
  fill(
    place,
    el(
      "div",
      { className: "headline" },
      el("h1", {}, recording.name),
      el("p", { className: "quiet" }, facts.filter(Boolean).join(" · ")),
      can("label") && el("a", { className: "button primary", href: `#/label/${id}` }, "Label"),
    ),
    recording.problem && el("p", { className: "problem", role: "alert" }, recording.problem),
    recording.classes.length > 0 && classBar(recording),
    el(
      "div",
      { className: "actions toolbar", role: "group", "aria-label": "What can be done" },
      el("a", { className: "button", href: `${address}/download`, download: "" }, "Download (ZIP)"),
      can("label") && button("Classes …", () => void nameClasses(address, id, recording, signal)),
      button("Verify", (event) => void verify(event, address, told)),
      can("split") && button("Split …", () => void split(address, recording, signal)),
      can("undo split") && button("Undo the split", () => void undoSplit(address, signal)),
      can("undo apply") && button("Undo the last Save", () => void undoApply(address, signal)),
      can("sheet") && button("Contact sheet", () => show(told, "The contact sheet", `${address}/sheet`)),
      can("plot") && button("Plot", () => show(told, "The tracks over time", `${address}/plot`)),
      button("To the trash", () => void moveAway(), { className: "danger" }),
    ),
    ["video", "hdf5"].includes(recording.format) &&
      el("p", { className: "quiet" }, "One file can't be split, and needs no Undo of Save: Label shows what is saved, too. To split, record a picture a frame (PNG)."),
    told,
  );
  if (!can("sheet")) return; // there is nothing to be seen
  const labels = /** @type {import("./api.js").Labels} */ (await get(`${address}/labels`, signal));
  const browser = new Browser(address, labels, recording, signal);
  place.append(browser.element);
  if (frame) browser.open(Number(frame));
}

/** The frames, a page at a time, all or those of a class. */
class Browser {
  #first = 0;
  /**
   * Runs of the frames that are shown, and how many these are.
   *
   * @type {import("./api.js").Run[]}
   */
  #runs = [];
  #count = 0;
  #showing = new AbortController();

  /**
   * @param {string} address
   * @param {import("./api.js").Labels} labels
   * @param {import("./api.js").Recording} recording
   * @param {AbortSignal} signal
   */
  constructor(address, labels, recording, signal) {
    this.address = address;
    this.signal = signal;
    this.id = recording.id;
    this.canLabel = recording.can.includes("label");
    this.names = labels.classes;
    this.unsplit = labels.before;
    this.fps = recording.seconds > 0 ? recording.frames / recording.seconds : 0;
    this.labels = new Uint8Array(labels.count).fill(NONE);
    for (const [start, stop, label] of labels.runs) this.labels.fill(label, start, stop);
    signal.addEventListener("abort", () => this.#showing.abort());
    this.grid = el("ul", { className: "frames" });
    this.where = el("p", { className: "quiet", role: "status" });
    this.before = button("◀", () => this.#go(this.#first - ON_A_PAGE), { "aria-label": "The frames before" });
    this.after = button("▶", () => this.#go(this.#first + ON_A_PAGE), { "aria-label": "The next frames" });
    this.slider = el("input", { type: "range", min: "0", "aria-label": "Which frames" });
    this.slider.addEventListener("input", () => this.#go(this.slider.valueAsNumber * ON_A_PAGE));
    const choices = [
      { value: ALL, text: "All" },
      ...this.names.map((text, value) => ({ value, text })),
      { value: NONE, text: "without a label" },
    ];
    this.chips = choices.map(({ value, text }) => this.#chip(value, text));
    this.element = el(
      "section",
      { "aria-label": "Frames" },
      el("div", { className: "chips", role: "group", "aria-label": "Which class" }, ...this.chips),
      el("div", { className: "pager" }, this.before, this.slider, this.after, this.where),
      this.grid,
    );
    this.#choose(ALL);
  }

  /**
   * Go to a frame, and show it large.
   *
   * @param {number} index
   */
  open(index) {
    if (!(index >= 0 && index < this.labels.length)) return;
    this.#go(index);
    void this.#enlarge(index, this.#nameOf(index));
  }

  /** @param {number} index */
  #nameOf(index) {
    const label = this.labels[index];
    return label === NONE ? "no label" : this.names[label];
  }

  /**
   * @param {number} value
   * @param {string} text
   */
  #chip(value, text) {
    const made = button(text, () => this.#choose(value), { className: "chipbutton" });
    made.dataset.value = String(value);
    if (value !== ALL) made.style.setProperty("--class", value === NONE ? "var(--none)" : colourOf(value));
    return made;
  }

  /** @param {number} filter */
  #choose(filter) {
    for (const chip of this.chips) chip.setAttribute("aria-pressed", String(Number(chip.dataset.value) === filter));
    this.#runs = [...runsOf(this.labels, 0, this.labels.length)].filter(([, , label]) => filter === ALL || label === filter);
    this.#count = this.#runs.reduce((sum, [start, stop]) => sum + stop - start, 0);
    this.slider.max = String(Math.max(0, Math.ceil(this.#count / ON_A_PAGE) - 1));
    this.#go(0);
  }

  /** @param {number} first */
  #go(first) {
    const count = this.#count;
    this.#first = Math.max(0, Math.min(first, Math.max(0, count - 1)));
    this.#first -= this.#first % ON_A_PAGE;
    const stop = Math.min(count, this.#first + ON_A_PAGE);
    this.slider.value = String(this.#first / ON_A_PAGE);
    this.before.disabled = this.#first === 0;
    this.after.disabled = stop >= (count);
    this.where.textContent = count
      ? `${number(this.#first + 1)} to ${number(stop)} of ${counted(count, "frame")}`
      : "no such frames";
    this.#showing.abort();
    this.#showing = new AbortController();
    void this.#show(this.#part(this.#first, stop), this.#showing.signal);
  }

  /**
   * The runs of a part of the shown frames.
   *
   * @param {number} first
   * @param {number} stop
   */
  #part(first, stop) {
    /** @type {[number, number][]} */
    const found = [];
    let passed = 0;
    for (const [start, end] of this.#runs) {
      const from = Math.max(start, start + first - passed);
      const to = Math.min(end, start + stop - passed);
      const last = found.at(-1);
      if (from < to && last?.[1] === from) last[1] = to;
      else if (from < to) found.push([from, to]);
      passed += end - start;
      if (passed >= stop) break;
    }
    return found;
  }

  /**
   * @param {[number, number][]} runs
   * @param {AbortSignal} signal
   */
  async #show(runs, signal) {
    fill(this.grid, ...runs.flatMap(([start, stop]) => range(start, stop).map((index) => this.#frame(index))));
    for (const [start, stop] of runs) {
      try {
        for await (const { head, body } of records(`${this.address}/frames?first=${start}&count=${stop - start}`, signal))
          await this.#draw(head, body, signal);
      } catch (error) {
        if (signal.aborted) return;
        tell(words(error));
      }
    }
  }

  /** @param {number} index */
  #frame(index) {
    const label = this.labels[index];
    const name = this.#nameOf(index);
    const canvas = el("canvas", { width: 128, height: 96, role: "img", "aria-label": `Frame ${index + 1}: ${name}` });
    const opener = el("button", { type: "button", className: "frame", onclick: () => void this.#enlarge(index, name) }, canvas);
    opener.style.setProperty("--class", label === NONE ? "var(--none)" : colourOf(label));
    const caption = el("span", { className: "quiet" }, `${number(index + 1)} `, label !== NONE && el("b", {}, name));
    opener.append(caption);
    return el("li", { id: `frame-${index}` }, opener);
  }

  /**
   * @param {import("./api.js").FrameHead} head
   * @param {Uint8Array & BlobPart} body
   * @param {AbortSignal} signal
   */
  async #draw({ frame, type, error }, body, signal) {
    const canvas = this.grid.querySelector(`#frame-${Number(frame)} canvas`);
    if (!(canvas instanceof HTMLCanvasElement)) return;
    const bitmap = error ? null : await createImageBitmap(new Blob([body], { type })).catch(() => null);
    if (!bitmap) canvas.parentElement?.classList.add("unreadable");
    else if (!signal.aborted) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
    }
    bitmap?.close();
  }

  /**
   * @param {number} index
   * @param {string} name
   */
  async #enlarge(index, name) {
    const before = this.unsplit; // of a split recording's parts no time is told: they have holes
    const time = !before && this.fps ? ` · ${clock(index / this.fps, 1)}` : "";
    const place = before && number(before.at[index] + 1);
    const answer = await ask(
      `Frame ${number(index + 1)}`,
      [
        el("p", { className: "quiet" }, before ? `${name} · frame ${place} of ${before.name} before the split` : `${name}${time}`),
        this.canLabel &&
          before &&
          el("p", {}, `To change its label: look at ${before.name}; press Undo the split, Undo the last Save, Label, Go to …, ${place}.`),
        el("img", { className: "large", src: `${this.address}/frames/${index}`, alt: `Frame ${index + 1}: ${name}` }),
      ],
      [
        { text: "Close", value: "", kind: "primary" },
        ...(this.canLabel && !before ? [{ text: "Label from here", value: "label" }] : []),
        ...(before && before.id !== this.id ? [{ text: `Look at ${before.name}`, value: "before" }] : []),
      ],
    );
    if (answer === "before" && before) goOn(this.signal, `#/look/${before.id}`);
    if (answer === "label") goOn(this.signal, `#/label/${this.id}/${index}`);
  }
}

/**
 * @param {number} start
 * @param {number} stop
 */
function range(start, stop) {
  return Array.from({ length: stop - start }, (_, n) => start + n);
}

/**
 * @param {HTMLElement} told
 * @param {string} title
 * @param {string} src
 */
function show(told, title, src) {
  const figure = el("figure", { className: "card" }, el("p", { className: "quiet" }, "One moment …"));
  const picture = el("img", { src, alt: title });
  picture.onload = () => fill(figure, el("h2", {}, title), picture);
  picture.onerror = () => fill(figure, el("p", { className: "problem" }, `${title} can't be drawn.`));
  fill(told, figure);
}

/**
 * Name the classes, and go to label them.
 *
 * @param {string} address
 * @param {string} id
 * @param {import("./api.js").Recording} recording
 * @param {AbortSignal} signal
 */
async function nameClasses(address, id, { name, classes }, signal) {
  const value = classes.map((one) => one.name).join(", ");
  const names = el("input", { value, placeholder: "none, door, light", autocomplete: "off", autocapitalize: "none" });
  const answer = await ask(
    `Classes of ${name}`,
    [
      el("label", {}, "Names, with commas", names),
      el("p", {}, "The first is on key 0, the next on key 1. Another order changes no label."),
      el("p", {}, "A class can't be renamed: add the new name to the list, and label those frames anew."),
    ],
    [
      { text: "Label with them", value: "label", kind: "primary" },
      { text: "Cancel", value: "" },
    ],
  );
  if (answer !== "label" || !(await areMeant(classesOf(names.value)))) return;
  try {
    await post(`${address}/labelling`, { classes: classesOf(names.value) });
    goOn(signal, `#/label/${id}`);
  } catch (error) {
    tell(words(error));
  }
}

/**
 * @param {MouseEvent} event
 * @param {string} address
 * @param {HTMLElement} told
 */
async function verify(event, address, told) {
  const asking = /** @type {HTMLButtonElement} */ (event.currentTarget);
  asking.disabled = true;
  fill(told, el("p", { className: "card" }, "Reading every frame …"));
  try {
    const { frames, interrupted, broken, layout } = await post(`${address}/verify`);
    const problems = [
      interrupted,
      ...broken.map((/** @type {any} */ one) => `${one.file ?? `frame ${one.frame}`}: ${one.reason}`),
      ...layout.map((/** @type {any} */ one) => [one.path, one.what].filter(Boolean).join(": ")),
    ].filter(Boolean);
    fill(
      told,
      el(
        "div",
        { className: "card" },
        problems.length
          ? el("ul", { className: "problem" }, ...problems.slice(0, 50).map((one) => el("li", {}, one)))
          : el("p", { className: "good" }, `${counted(frames, "frame")}, all of them whole.`),
        problems.length > 50 && el("p", {}, `and ${problems.length - 50} more`),
      ),
    );
  } catch (error) {
    fill(told, el("p", { className: "card problem" }, words(error)));
  }
  asking.disabled = false;
}

/**
 * @param {string} address
 * @param {import("./api.js").Recording} recording
 * @param {AbortSignal} signal
 */
async function split(address, { name, waiting }, signal) {
  const share = el("input", { type: "number", min: "1", max: "50", step: "any", value: "10" });
  const gap = el("input", { type: "number", min: "0", step: "any", value: "2" });
  const missing = el("input", { type: "checkbox" });
  const plan = el("div", { role: "status" });
  const asked = () => ({ val: share.valueAsNumber / 100, gap: gap.valueAsNumber, allow_missing: missing.checked });
  let newest = 0;
  let planning = Promise.resolve(); // one at a time: each has the recording to itself
  const preview = () => {
    const number = ++newest;
    fill(plan, el("p", { className: "quiet" }, "Counting …"));
    planning = planning.then(async () => {
      if (number !== newest) return;
      try {
        const found = planned(await post(`${address}/split`, { ...asked(), dry_run: true }));
        if (number === newest) fill(plan, found);
      } catch (error) {
        if (number === newest) fill(plan, el("p", { className: "problem" }, words(error)));
      }
    });
  };
  for (const field of [share, gap, missing]) field.addEventListener("input", preview);
  preview();
  const answer = await ask(
    `Split ${name}`,
    [
      el("p", {}, "Whole stretches of time are held out, to test a network on what it has not seen."),
      waiting > 0 && el("p", { className: "warn" }, `${counted(waiting, "label")} not saved yet: Label, then Save.`),
      el(
        "div",
        { className: "pair" },
        el("label", {}, "Per cent to hold out", share),
        el("label", {}, "Seconds left out between", gap),
      ),
      el("label", { className: "check" }, missing, "Go on if a class is missing from train or test"),
      plan,
    ],
    [
      { text: "Split", value: "split", kind: "primary" },
      { text: "Cancel", value: "" },
    ],
  );
  newest += 1;
  await planning;
  if (answer !== "split") return;
  try {
    await post(`${address}/split`, asked());
    tell("split; it can be undone");
  } catch (error) {
    tell(words(error));
  }
  goOn(signal);
}

/**
 * What a split would do, as a table.
 *
 * @param {{classes: Record<string, {name: string, train: number, val: number, gap: number}>, notes: string[]}} plan
 */
function planned({ classes, notes }) {
  const cell = (/** @type {string | number} */ text) => el("td", { className: "number" }, text);
  const head = (/** @type {string} */ text) => el("th", { className: "number", scope: "col" }, text);
  return el(
    "div",
    {},
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Class"), head("train"), head("test"), head("left out"))),
      el(
        "tbody",
        {},
        ...Object.values(classes).map(({ name, train, val, gap }) =>
          el("tr", {}, el("th", { scope: "row" }, name), ...[train, val, gap].map((one) => cell(number(one)))),
        ),
      ),
    ),
    ...notes.map((note) => el("p", { className: "warn" }, note)),
  );
}

/**
 * @param {string} address
 * @param {AbortSignal} signal
 */
async function undoSplit(address, signal) {
  try {
    const { moved_back: count, missing } = await post(`${address}/split/undo`);
    tell(`${counted(count, "frame")} back${missing.length ? `; missing: ${missing.slice(0, 5).join(", ")}` : ""}`);
  } catch (error) {
    tell(words(error));
  }
  goOn(signal);
}

/**
 * @param {string} address
 * @param {AbortSignal} signal
 */
export async function undoApply(address, signal) {
  try {
    tell(undoneWords(await post(`${address}/apply/undo`)));
  } catch (error) {
    tell(words(error));
  }
  goOn(signal);
}

/**
 * What the undo of a Save did.
 *
 * @param {{count: number, missing: string[], renamed: Record<string, string>}} undone
 */
function undoneWords({ count, missing, renamed }) {
  return [
    `${counted(count, "frame")} back, with their labels`,
    missing.length && `missing: ${missing.slice(0, 5).join(", ")}`,
    ...Object.entries(renamed)
      .slice(0, 5)
      .map(([before, now]) => `${before} is ${now} now`),
  ]
    .filter(Boolean)
    .join("; ");
}
