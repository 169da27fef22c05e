// Recording: what to record and how, the camera's picture; then the recording itself, its counters and live labels.

import { Refused, TAB, get, isAbort, post, records, words } from "./api.js";
import { colourOf } from "./colours.js";
import { areMeant, ask, button, commandBox, el, fill, goOn, tell } from "./dom.js";
import { classesOf, clock, counted, number, size } from "./format.js";
import { digitOf, isTyped } from "./keys.js";
import { PictureView } from "./picture.js";

/**
 * @typedef {import("./api.js").Recorder} Recorder
 * @typedef {import("./api.js").Wanted} Wanted
 */

const CHECK_MS = 300; // after the last change of the form
const RETRY_MS = 1000;
const HELD_MS = 400; // a class pressed so long is meant for as long as it is held
const MOST_CLASSES = 9;
const KEPT = "studio-record"; // what was asked for last

/** @type {import("./main.js").Page} */
export async function record(place, signal) {
  document.title = "Record – Studio";
  const [{ cameras }, { recorders }] = await Promise.all([get("/api/cameras", signal), get("/api/recorders", signal)]);
  const form = new RecordForm(cameras, signal);
  fill(
    place,
    el("div", { className: "headline" }, el("h1", {}, "Record")),
    ...recorders.map((/** @type {Recorder} */ one) =>
      el(
        "a",
        { className: "card running", href: `#/recorder/${one.id}` },
        el("span", { className: "dot", "aria-hidden": "true" }),
        el("strong", {}, one.target),
        ` is being recorded from ${one.camera}`,
        el("span", { className: "quiet" }, "Watch, label and stop"),
      ),
    ),
    form.element,
  );
}

class RecordForm {
  #timer = 0;
  #checks = 0;
  #looking = new AbortController();
  #previewed = "";

  /**
   * @param {{spec: string, model: string}[]} cameras
   * @param {AbortSignal} signal
   */
  constructor(cameras, signal) {
    this.signal = signal;
    const kept = rememberedForm();
    const option = (/** @type {string} */ value, /** @type {string} */ text) => el("option", { value }, text);
    this.name = el("input", { required: true, value: kept.name ?? newName(), autocomplete: "off", autocapitalize: "none", spellcheck: false });
    this.format = el(
      "select",
      {},
      option("", "a picture a frame (PNG), lossless"),
      option(".mkv", "one video (MKV), lossless"),
      option(".mkv h264", "one video (MKV), a tenth of the size"),
      option(".h5", "one HDF5 file, lossless"),
    );
    this.camera = el("select", {}, ...cameras.map(cameraOption));
    this.size = el(
      "select",
      {},
      ...["128x128", "224x224", "320x240", "640x480", "1280x720"].map((one) => option(one, one.replace("x", " × "))),
      option("source", "the camera's own"),
    );
    this.fps = el("input", { type: "number", min: "0.1", max: "1000", step: "any", placeholder: "the camera's own" });
    this.seconds = el("input", { type: "number", min: "0.1", step: "any", placeholder: "until you stop it" });
    this.classes = el("input", { placeholder: "none, door, light", autocomplete: "off", autocapitalize: "none" });
    this.preview = el("input", { type: "checkbox", checked: true });
    for (const field of /** @type {const} */ (["format", "camera", "size", "fps", "seconds", "classes"]))
      if (kept[field] !== undefined) this[field].value = kept[field];
    if (!this.camera.value) this.camera.selectedIndex = 0;
    this.command = el("code", { tabIndex: 0 });
    this.problem = el("p", { className: "problem", role: "alert" });
    this.start = el("button", { className: "primary big" });
    this.#showHowLong();
    this.canvas = el("canvas", { role: "img", "aria-label": "What the camera sees" });
    this.stage = el("div", { className: "stage" }, this.canvas);
    this.view = new PictureView(this.stage, this.canvas, () => {});
    const field = (/** @type {string} */ text, /** @type {HTMLElement} */ control, hint = "") =>
      el("label", {}, text, control, hint && el("small", { className: "quiet" }, hint));
    const fields = el(
      "form",
      { className: "card form" },
      field("Name", this.name),
      field("Camera", this.camera),
      field("Format", this.format),
      el("div", { className: "pair" }, field("Size", this.size), field("Pictures a second", this.fps)),
      field("Seconds", this.seconds),
      field("Classes to label while it records", this.classes, `Up to ${MOST_CLASSES}, with commas. May stay empty.`),
      el("label", { className: "check" }, this.preview, "Show what the camera sees"),
      this.problem,
      this.start,
    );
    fields.addEventListener("input", () => this.#changed());
    fields.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#record();
    });
    this.element = el(
      "div",
      { className: "recording" },
      el("div", { className: "seen" }, this.stage, commandBox(this.command)),
      fields,
    );
    signal.addEventListener("abort", () => {
      clearTimeout(this.#timer);
      this.#looking.abort();
    });
    void this.#check();
    void this.#look();
  }

  /** Say on the button how long it records: the seconds may be those of yesterday. */
  #showHowLong() {
    this.start.textContent = this.seconds.value ? `Record for ${this.seconds.value} s` : "Record";
  }

  #changed() {
    this.#showHowLong();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      void this.#check();
      void this.#look();
    }, CHECK_MS);
  }

  /** @returns {Wanted} */
  #wanted() {
    const [suffix, codec] = this.format.value.split(" ");
    return {
      name: this.name.value.trim() + suffix,
      camera: this.camera.value,
      size: this.size.value,
      seconds: this.seconds.value ? this.seconds.valueAsNumber : -1,
      fps: this.fps.value ? this.fps.valueAsNumber : null,
      classes: classesOf(this.classes.value),
      options: codec ? { codec } : {},
    };
  }

  /** Show the command that does it, or why it can't be done. */
  async #check() {
    const check = (this.#checks += 1);
    try {
      const { command, exists } = await post("/api/command", this.#wanted(), this.signal);
      if (check !== this.#checks) return; // something else is asked for by now
      this.command.textContent = command;
      this.problem.textContent = exists ? `${this.#wanted().name} exists already: Record adds to it, and asks before.` : "";
      this.problem.classList.toggle("note", exists);
      this.start.disabled = false;
    } catch (error) {
      if (check !== this.#checks || isAbort(error)) return;
      this.problem.textContent = words(error);
      this.problem.classList.remove("note");
      this.start.disabled = true;
    }
  }

  /** Show what the camera sees. */
  async #look() {
    const { camera, size: wanted, fps } = this.#wanted();
    const asked = this.preview.checked ? JSON.stringify([camera, wanted, fps]) : "";
    if (asked === this.#previewed) return;
    this.#previewed = asked;
    this.#looking.abort();
    this.view.show(null, -1);
    this.stage.dataset.told = asked ? "opening the camera …" : "no picture asked for";
    if (!asked) return;
    this.#looking = new AbortController();
    const { signal } = this.#looking;
    try {
      const { id } = await post("/api/preview", { camera, size: wanted, fps, by: TAB }, signal);
      let ended = "the picture has ended";
      await showLive(`/api/preview/${id}/live`, this.view, signal, ({ problem }) => (ended = problem ?? ended));
      this.stage.dataset.told = ended;
    } catch (error) {
      const isShown = error instanceof Refused && error.more.in_use;
      if (!signal.aborted) this.stage.dataset.told = isShown ? "another page shows the camera; Record takes it" : words(error);
    }
    if (!signal.aborted) this.#previewed = "";
  }

  /**
   * Ask whether what is recorded may be added to what is there.
   *
   * @param {number} frames
   */
  async #mayAdd(frames) {
    const { name } = this.#wanted();
    const answer = await ask(
      `${name} exists already with ${counted(frames, "frame")}: add to it?`,
      [el("p", {}, "If others recorded it, give another name: pictures of two groups can't be told apart later.")],
      [
        { text: "Another name", value: "" },
        { text: "Add to it", value: "add" },
      ],
    );
    return answer === "add";
  }

  /**
   * @param {boolean} [add]  to the recording that is there
   * @returns {Promise<void>}
   */
  async #record(add = false) {
    clearTimeout(this.#timer);
    if (!add && !(await areMeant(classesOf(this.classes.value)))) return;
    this.#checks += 1; // what is told of the form no longer counts
    this.start.disabled = true;
    this.problem.textContent = "";
    this.#looking.abort();
    const { name, format, camera, size: chosen, fps, seconds, classes } = this;
    const kept = Object.fromEntries(
      Object.entries({ format, camera, size: chosen, fps, seconds, classes }).map(([key, { value }]) => [key, value]),
    );
    rememberForm(kept);
    try {
      tell(`starting ${name.value} …`);
      const started = /** @type {Recorder} */ (await post("/api/recorders", { ...this.#wanted(), add }));
      tell("");
      goOn(this.signal, `#/recorder/${started.id}`);
    } catch (error) {
      tell("");
      if (this.signal.aborted) return tell(words(error));
      const frames = error instanceof Refused && error.more.frames;
      if (frames && (await this.#mayAdd(Number(frames)))) return this.#record(true);
      this.problem.textContent = words(error);
      this.start.disabled = false;
      this.#previewed = "";
      void this.#look();
    }
  }
}

/** @param {{spec: string, model: string}} camera */
export function cameraOption({ spec, model }) {
  return el("option", { value: spec }, model ? `${model} (${spec})` : spec);
}

/** A name that sorts by time: 2026-11-28 14.05. */
function newName() {
  const now = new Date(Date.now() - 60000 * new Date().getTimezoneOffset()).toISOString();
  return `${now.slice(0, 10)}-${now.slice(11, 19).replaceAll(":", "")}`;
}

/** @returns {Record<string, string>} */
function rememberedForm() {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "{}");
  } catch {
    return {};
  }
}

/** @param {Record<string, string>} form */
function rememberForm(form) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(form));
  } catch {
    // It is only remembered for convenience.
  }
}

/**
 * Show live pictures until they end.
 *
 * @param {string} address
 * @param {PictureView} view
 * @param {AbortSignal} signal
 * @param {(head: any) => void} onhead
 */
export async function showLive(address, view, signal, onhead) {
  /** @type {ImageBitmap | null} */
  let before = null;
  let count = 0;
  try {
    for await (const { head, body } of records(address, signal)) {
      onhead(head);
      if (!body.length) continue;
      const bitmap = await createImageBitmap(new Blob([body], { type: "image/jpeg" })).catch(() => null);
      if (signal.aborted) return bitmap?.close();
      if (!bitmap) continue;
      view.show(bitmap, count);
      count += 1;
      before?.close();
      before = bitmap;
    }
  } finally {
    before?.close();
  }
}

// --------------------------------------------------------------------------------------------------- while it records

/** @type {import("./main.js").Page} */
export async function recorder(place, signal, id) {
  const { recorders } = await get("/api/recorders", signal);
  const found = /** @type {Recorder | undefined} */ (recorders.find((/** @type {Recorder} */ one) => one.id === id));
  if (!found) {
    fill(
      place,
      el(
        "section",
        { className: "card" },
        el("h1", {}, "This recording has ended"),
        el("p", { className: "actions" }, el("a", { className: "button primary", href: "#/" }, "All recordings")),
      ),
    );
    return;
  }
  new RecorderPage(place, signal, found);
}

class RecorderPage {
  /**
   * The label as it was asked for last, here or on another page.
   *
   * 
   * @type {number | null}
   */
  #label;
  #unanswered = 0;
  /**
   * What could not be sent since the last label that was: the recording goes on, and the moment does not come back.
   *
   * @type {string[]}
   */
  #lost = [];
  /** @type {Promise<void>} */
  #asking = Promise.resolve();
  /**
   * What is held down: since when, and what held before.
   *
   * 
   * @type {{label: number, since: number, before: number | null} | null}
   */
  #pressed = null;

  /**
   * @param {HTMLElement} place
   * @param {AbortSignal} signal
   * @param {Recorder} status
   */
  constructor(place, signal, status) {
    this.signal = signal;
    this.address = `/api/recorders/${status.id}`;
    this.status = status;
    this.#label = status.label;
    document.title = `● ${status.target} – Studio`;
    this.canvas = el("canvas", { role: "img", "aria-label": "What is being recorded" });
    this.stage = el("div", { className: "stage" }, this.canvas);
    this.stage.dataset.told = "one moment …";
    this.view = new PictureView(this.stage, this.canvas, () => {});
    this.counters = el("dl", { className: "counters" });
    this.stop = button("Stop recording", () => void this.#stop(), { className: "danger" });
    this.classes = status.classes.map((name, label) => this.#classButton(name, label));
    this.told = el("p", { className: "quiet", role: "status" });
    this.lost = el("p", { className: "problem", role: "alert" });
    this.dot = el("span", { className: "dot", "aria-hidden": "true" });
    const command = el("code", { tabIndex: 0 }, status.command);
    fill(
      place,
      el(
        "div",
        { className: "headline" },
        el("h1", {}, this.dot, ` ${status.target}`),
        el("p", { className: "quiet" }, status.camera),
        this.stop,
      ),
      el(
        "div",
        { className: "recording" },
        el("div", { className: "seen" }, this.stage, commandBox(command)),
        el(
          "section",
          { className: "card form" },
          this.classes.length > 0 &&
            el(
              "div",
              { className: "live" },
              el("div", { className: "classbuttons", role: "group", "aria-label": "Labels" }, ...this.classes),
              el("p", { className: "quiet" }, "Press: from now on. Press again: no more. Hold: as long as you hold it."),
            ),
          this.lost,
          this.told,
          this.counters,
        ),
      ),
    );
    addEventListener("keydown", (event) => this.#key(event, true), { signal });
    addEventListener("keyup", (event) => this.#key(event, false), { signal });
    this.#show(status);
    void this.#watch();
  }

  async #watch() {
    while (!this.signal.aborted) {
      try {
        await showLive(`${this.address}/live`, this.view, this.signal, (head) => this.#show({ ...this.status, ...head }));
        break; // the recording has ended
      } catch (error) {
        if (this.signal.aborted) return;
        const { recorders } = await get("/api/recorders", this.signal).catch(() => ({ recorders: null }));
        if (recorders && !recorders.some((/** @type {Recorder} */ one) => one.id === this.status.id)) break;
        this.told.textContent = recorders ? words(error) : "the studio can't be reached; the recording goes on without it, unless the power is gone";
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    if (!this.signal.aborted) this.#ended();
  }

  #ended() {
    document.title = `${this.status.target} – Studio`;
    const { recording } = this.status;
    const count = el("strong", {}, "Recorded");
    this.stop.replaceWith(
      el(
        "p",
        { className: "actions ended", role: "status" },
        count,
        recording && el("a", { className: "button primary", href: `#/label/${recording}` }, "Label it"),
        recording && el("a", { className: "button", href: `#/look/${recording}` }, "Look"),
        el("a", { className: "button", href: "#/record" }, "Record more"),
      ),
    );
    this.told.textContent = "";
    this.dot.hidden = true;
    for (const made of this.classes) made.disabled = true;
    if (recording) void this.#countAll(recording, count);
  }

  /**
   * How many frames the recording has in the end: the last ones came after the last status.
   *
   * @param {string} recording
   * @param {HTMLElement} told
   */
  async #countAll(recording, told) {
    try {
      for (;;) {
        const found = /** @type {import("./api.js").Recording} */ (await get(`/api/recordings/${recording}`, this.signal));
        if (found.state !== "recording") {
          const { name, frames, interrupted } = found;
          const has = interrupted ? "Cut off, as by a power cut; what was safe is kept" : "Recorded";
          told.textContent = `${has}: ${name} has ${counted(frames, "frame")}`;
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS)); // it still writes the last ones
      }
    } catch {
      // It says that it was recorded; the first page says what is wrong with it.
    }
  }

  /** @param {Recorder} status */
  #show(status) {
    this.status = status;
    const dropped = [
      status.dropped_queue && `${number(status.dropped_queue)} as it could not keep up`,
      status.dropped_camera && `${number(status.dropped_camera)} by the camera`,
      status.dropped_disk && `${number(status.dropped_disk)} by the disk`,
    ].filter(Boolean);
    /** @type {[string, string, string?][]} */
    const rows = [
      ["Frames", number(status.frames)],
      ["Frames a second", status.fps.toFixed(1)],
      ["Time", clock(Math.max(0, Date.now() / 1000 - status.started))],
      ["Dropped", dropped.join(", ") || "none", dropped.length ? "warn" : ""],
      ["Free", size(status.free_bytes), status.free_bytes < 1e9 ? "warn" : ""],
    ];
    if (status.seconds_left !== null) rows.push(["Time left", clock(Math.max(0, status.seconds_left))]);
    fill(
      this.counters,
      ...rows.map(([name, value, kind]) => el("div", { className: kind ?? "" }, el("dt", {}, name), el("dd", {}, value))),
    );
    if (status.stopping) {
      this.stop.disabled = true;
      this.stop.textContent = "Stopping …";
    }
    if (this.#pressed || this.#unanswered) return;
    this.#label = status.label;
    this.#showLabel(status.label);
  }

  /** @param {number | null} label */
  #showLabel(label) {
    this.classes.forEach((made, one) => made.setAttribute("aria-pressed", String(one === label)));
  }

  async #stop() {
    this.stop.disabled = true;
    try {
      this.#show({ ...this.status, ...(await post(`${this.address}/stop`)), stopping: true });
    } catch (error) {
      tell(words(error));
      this.stop.disabled = false;
    }
  }

  // --------------------------------------------------------------------------------------------------------- labels

  /**
   * @param {string} name
   * @param {number} label
   */
  #classButton(name, label) {
    const made = el(
      "button",
      { type: "button", className: "classbutton" },
      el("kbd", { "aria-hidden": "true" }, label),
      el("span", { className: "name" }, name),
    );
    made.style.setProperty("--class", colourOf(label));
    made.addEventListener("pointerdown", (event) => {
      made.setPointerCapture(event.pointerId);
      this.#press(label, event);
    });
    made.addEventListener("pointerup", (event) => this.#release(event));
    made.addEventListener("pointercancel", (event) => this.#release(event));
    made.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch would open it
    made.addEventListener("click", (event) => {
      if (event.detail) return; // a finger's or a mouse's; this one is of a key or a screen reader
      this.#press(label, event);
      this.#release(event);
    });
    return made;
  }

  /**
   * @param {KeyboardEvent} event
   * @param {boolean} down
   */
  #key(event, down) {
    const digit = digitOf(event);
    if (isTyped(event) || event.ctrlKey || event.altKey || event.metaKey) return;
    if (down && (event.key === "-" || event.key === "Backspace")) this.#ask(null);
    if (digit === null || digit >= this.classes.length || event.repeat) return;
    if (down) this.#press(digit, event);
    else if (this.#pressed?.label === digit) this.#release(event);
  }

  /**
   * @param {number} label
   * @param {Event} event
   */
  #press(label, event) {
    if (this.#pressed) this.#release(event);
    this.#pressed = { label, since: event.timeStamp, before: this.#label };
    this.#ask(label);
  }

  /** @param {Event} event  tells when it was let go; a page that draws may hear of it later */
  #release(event) {
    const pressed = this.#pressed;
    if (!pressed) return;
    this.#pressed = null;
    const again = pressed.before === pressed.label;
    if (event.timeStamp - pressed.since >= HELD_MS) this.#ask(again ? null : pressed.before);
    else if (again) this.#ask(null);
  }

  /**
   * From now on frames have a label; requests go out one after another.
   *
   * @param {number | null} label
   */
  #ask(label) {
    if (label === this.#label) return;
    this.#label = label;
    this.#showLabel(label);
    this.#unanswered += 1;
    this.#asking = this.#asking.then(async () => {
      try {
        this.status = { ...this.status, ...(await post(`${this.address}/label`, { label })) };
        this.lost.textContent = "";
        this.#lost = [];
      } catch (error) {
        this.#lost.push(label === null ? "the end of a label" : `'${this.status.classes[label]}'`);
        const were = this.#lost.length > 1 ? "were" : "was";
        this.lost.textContent = `${this.#lost.join(", ")} ${were} not kept: ${words(error)}`;
      }
      this.#unanswered -= 1;
      this.#show(this.status);
    });
  }
}
