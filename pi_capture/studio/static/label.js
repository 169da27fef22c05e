// The page for labelling.

import { Refused, get, post, words } from "./api.js";
import { NONE, colourOf } from "./colours.js";
import { ask, button, el, fill, goOn, tell } from "./dom.js";
import { clock, counted, number } from "./format.js";
import { HELP, TOUCH, deedOf, isTyped } from "./keys.js";
import { Labelling } from "./labelling.js";
import { undoApply } from "./look.js";
import { sendLeft } from "./outbox.js";
import { PictureView } from "./picture.js";
import { countsOf, isOneOf } from "./runs.js";
import { Strip } from "./strip.js";
import { Timeline } from "./timeline.js";

const FULL_MS = 250; // after which the frame one stays at is fetched whole
const PAINT_MS = 350; // a class button held so long paints
const REOPEN_MS = 1000;

/** @typedef {import("./api.js").LabellingState} State */

/** @type {import("./main.js").Page} */
export async function label(place, signal, id, frame) {
  const state = await open(id, place, signal, frame);
  if (!state || signal.aborted) return;
  // Once it is open, what is known of a recording is quickly told.
  const recording = /** @type {import("./api.js").Recording} */ (await get(`/api/recordings/${id}`, signal));
  document.title = `Label ${recording.name} – Studio`;
  if (!state.count) {
    fill(place, nothingLeft(recording, signal));
    return;
  }
  new LabelPage(place, signal, recording, state);
}

/**
 * Open a recording for labelling, send what earlier pages could not, and take it over from a window if the person wants.
 *
 * @param {string} id
 * @param {HTMLElement} place
 * @param {AbortSignal} signal
 * @param {string} frame  where to begin, by its index in the recording; "" for where one was
 * @returns {Promise<State | null>}  null if it stays with the window
 */
async function open(id, place, signal, frame) {
  const address = `/api/recordings/${id}/labelling`;
  const from = frame ? { frame: Number(frame) } : {};
  try {
    const state = await post(address, from);
    const { sent, lost, overtaken } = await sendLeft(id);
    if (lost.length) await showLost(lost, state.classes);
    else if (overtaken) tellOvertaken(overtaken);
    else if (sent) tell(`${counted(sent, "action")} from before: sent now`);
    return sent ? await post(address, from) : state;
  } catch (error) {
    if (signal.aborted || !(error instanceof Refused) || !error.more.take_over) throw error;
    fill(place, heldElsewhere(id, error.message, signal));
    return null;
  }
}

/** @param {number} frames */
function tellOvertaken(frames) {
  tell(`${counted(frames, "label")} of yours not taken: others labelled these frames later. Go back to see what they gave`);
}

/**
 * Show which labels can't be kept, so that they can be given again.
 *
 * @param {import("./outbox.js").Numbered[]} lost
 * @param {State["classes"]} classes
 */
function showLost(lost, classes) {
  const lines = lost.map(({ action }) => {
    const { action: what, frame = 0, first = frame, stop = what === "batch" ? frame + 10 : frame + 1, label = NONE } =
      /** @type {import("./api.js").Action & Partial<Record<"first" | "stop" | "label", number>>} */ (action);
    const name = what === "batch" ? classes[0]?.name : classes.find((one) => one.label === label)?.name;
    if (!name && what !== "clear" && what !== "label_run") return what.replaceAll("_", " ");
    const frames = stop > first + 1 ? `frames ${number(first + 1)} to ${number(stop)}` : `frame ${number(first + 1)}`;
    return `${frames}${what === "label_stretch" ? " and on" : ""}: ${name ?? "no label"}`;
  });
  return ask(
    `${counted(lost.length, "label")} can't be kept`,
    [
      el("p", {}, "Given without the network; the recording was saved since. As the frames were counted before that:"),
      el("ul", {}, ...lines.map((line) => el("li", {}, line))),
    ],
    [{ text: "Go on", value: "", kind: "primary" }],
  );
}

/**
 * Ask whether others shall be disturbed.
 *
 * @param {number} others  pages that label the same
 */
async function maySaveForAll(others) {
  const answer = await ask(
    `Save, although ${counted(others, "other page labels", "other pages label")} this recording?`,
    [el("p", {}, "Save ends the labelling there, too. What waits there for the network can't be kept then.")],
    [
      { text: "Not yet", value: "" },
      { text: "Save for all", value: "save" },
    ],
  );
  return answer === "save";
}

/**
 * @param {string} id
 * @param {string} reason
 * @param {AbortSignal} signal
 */
function heldElsewhere(id, reason, signal) {
  return el(
    "section",
    { className: "card" },
    el("h1", {}, "Being labelled elsewhere"),
    el("p", { role: "alert" }, reason),
    el("p", {}, "Taking over closes it there. No label is lost."),
    el(
      "p",
      { className: "actions" },
      button(
        "Take over",
        async () => {
          try {
            await post(`/api/recordings/${id}/labelling`, { take_over: true });
            goOn(signal);
          } catch (error) {
            tell(words(error));
          }
        },
        { className: "primary" },
      ),
      el("a", { className: "button", href: "#/" }, "Leave it"),
    ),
  );
}

/**
 * @param {import("./api.js").Recording} recording
 * @param {AbortSignal} signal
 */
function nothingLeft({ id, name, can }, signal) {
  return el(
    "section",
    { className: "card" },
    el("h1", {}, name),
    el(
      "p",
      {},
      can.includes("undo apply")
        ? "Every frame is saved in its class. To change labels, undo that first."
        : can.includes("undo split")
          ? "Every frame is saved in its class, and it is split. To change labels, look at the frames, and undo the split first."
          : "Every frame is saved in its class.",
    ),
    el(
      "p",
      { className: "actions" },
      el("a", { className: "button primary", href: `#/look/${id}` }, "Look at the frames"),
      can.includes("undo apply") && button("Undo the last Save", () => void undoApply(`/api/recordings/${id}`, signal)),
    ),
  );
}

/**
 * What S did, a line each.
 *
 * @typedef {{counts: Record<string, number>, renamed: Record<string, string>, missing: string[], table: string | null,
 *   left: number}} Applied
 *
 * @param {Applied} applied
 */
function appliedWords({ counts, renamed, missing, table, left }) {
  return [
    ...Object.entries(counts).map(([directory, frames]) =>
      directory ? `${directory}: ${counted(frames, "frame")}` : `${counted(frames, "frame")} lost their class`,
    ),
    table && `the labels are in ${table}`,
    ...Object.entries(renamed)
      .slice(0, 5)
      .map(([before, now]) => `${before} is ${now} now, as there was one`),
    missing.length > 0 && `missing: ${missing.slice(0, 5).join(", ")}`,
    left > 0 && `${counted(left, "frame")} without a class`,
  ].filter(Boolean);
}

class LabelPage {
  #drawing = 0;
  #fullTimer = 0;
  #fullAsked = new AbortController();
  /** @type {{position: number, bitmap: ImageBitmap} | null} */
  #full = null;
  #fullWanted = -1;
  /** @type {EventSource | null} */
  #events = null;
  #pages = 1; // that label this recording, this one among them

  position = el("p", { className: "position" });
  waiting = el("p", { className: "waiting", role: "status" });
  canvas = el("canvas", { role: "img" });
  chip = el("p", { className: "chip" });
  message = el("p", { className: "message", role: "status" });
  end = el("div", { className: "end", hidden: true });
  stage = el("div", { className: "stage" }, this.canvas, this.chip, this.end, this.message);
  film = el("canvas", { className: "film", "aria-hidden": "true" });
  overview = el("canvas", { className: "overview", "aria-hidden": "true" });
  detail = el("canvas", { className: "detail", tabIndex: 0, role: "slider", "aria-label": "Timeline" });
  selected = el("p", { className: "selected quiet" });
  tools = {
    undo: this.#tool("Undo", "undo", 0, "U"),
    redo: this.#tool("Redo", "redo", 0, "Y"),
    play: this.#tool("Play", "play", 1, "P"),
    stretches: this.#tool("Stretches", "stretches", 0, "T: a class labels up to the next change"),
    hold: this.#tool("Hold", "hold", 0, "R: what you play or jump over takes the label"),
    bright: this.#tool("Brighter", "brightness", 0, "Space"),
  };
  helps = {
    assist: this.#tool("Ask", "assist", 0, "A: a model asks typical frames, then proposes runs"),
    accept: this.#tool("Accept", "enter", 0, "Enter: the run up to its end has this class"),
    bisect: this.#tool("Middle", "bisect", 0, "M: asks where the next border is; of a run, half"),
    leastCertain: this.#tool("Least certain", "leastCertain", 0, "L: shows the least certain run first"),
    acceptSure: this.#tool("All sure", "acceptSure", 0, "W: accepts all runs that the model is sure of"),
  };

  /**
   * @param {HTMLElement} place
   * @param {AbortSignal} signal
   * @param {import("./api.js").Recording} recording
   * @param {State} state
   */
  constructor(place, signal, recording, state) {
    this.signal = signal;
    this.recording = recording;
    this.saving = state.saving;
    this.labelling = new Labelling(recording.id, state, recording.seconds > 0 ? recording.frames / recording.seconds : 0, {
      onchange: () => this.#drawSoon(),
      onsave: () => void this.#save(),
      onhelp: () => void help(),
      onzoom: () => this.timeline.zoomAround(),
      ongap: () => this.#listen(),
      onrefused: (error, lost) => void this.#refused(error, lost),
      onovertaken: tellOvertaken,
    });
    this.classes = this.labelling.classes.map((one) => this.#classButton(one));
    this.#build(place);
    this.view = new PictureView(this.stage, this.canvas, (frames) => this.labelling.go(this.labelling.cursor + frames));
    this.strip = new Strip(this.film, this.labelling);
    this.timeline = new Timeline(this.overview, this.detail, this.labelling);
    addEventListener("keydown", (event) => this.#key(event), { signal });
    addEventListener("resize", () => this.#drawSoon(), { signal });
    addEventListener("beforeunload", (event) => this.labelling.pending && event.preventDefault(), { signal });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#drawSoon(), { signal });
    signal.addEventListener("abort", () => this.#close());
    this.#listen();
    if (state.told.length) tell(state.told.join("; "));
    this.#drawSoon();
  }

  #close() {
    this.#events?.close();
    this.labelling.leave();
    this.#fullAsked.abort();
    this.#full?.bitmap.close();
    cancelAnimationFrame(this.#drawing);
  }

  /** Follow what happens to the labels, here and on other pages. The whole state comes first. */
  #listen() {
    if (this.signal.aborted) return; // an answer came after the page was left
    this.#events?.close();
    const events = new EventSource(`/api/recordings/${this.recording.id}/labelling/events`);
    this.#events = events;
    /**
     * @param {string} name
     * @param {(value: any) => void} take
     */
    const on = (name, take) =>
      events.addEventListener(name, (event) => take(JSON.parse(/** @type {MessageEvent} */ (event).data)));
    on("state", (/** @type {State} */ state) => {
      if (state.session !== this.labelling.session) goOn(this.signal);
      else this.labelling.take(state);
    });
    on("change", (change) => this.labelling.change(change));
    on("pages", ({ pages }) => (this.#pages = pages));
    on("changes", (changes) => this.labelling.moreChanges(changes));
    on("help", (help) => this.labelling.help(help));
    on("proposals", ({ proposals }) => this.labelling.propose(proposals));
    events.addEventListener("error", () => {
      // The browser connects anew by itself, but not after a refusal: the studio was started anew, or has closed it.
      if (events.readyState === EventSource.CLOSED) setTimeout(() => this.#reopen(), REOPEN_MS);
    });
    on("closed", ({ reason }) => {
      events.close();
      this.labelling.close();
      void this.#closedElsewhere(reason);
    });
  }

  #reopen() {
    if (!this.labelling.outbox.closed) goOn(this.signal);
  }

  /** @param {string} reason */
  async #closedElsewhere(reason) {
    const answer = await ask(
      "Labelling was closed",
      [el("p", {}, reason)],
      [
        { text: "Open it again", value: "again", kind: "primary" },
        { text: "All recordings", value: "" },
      ],
    );
    goOn(this.signal, answer ? location.hash : "#/");
  }

  /**
   * @param {Refused} error
   * @param {number} lost
   */
  async #refused(error, lost) {
    if (error.more.reload) return this.#reopen(); // what is not sent is sent then, or told as lost
    if (this.signal.aborted) return;
    await ask(
      "The studio refused the last labels",
      [el("p", {}, error.message), el("p", {}, `${counted(lost, "action")} not done.`)],
      [{ text: "Open it again", value: "again", kind: "primary" }],
    );
    goOn(this.signal);
  }

  /** S: sort what is labelled into class directories. */
  async #save() {
    const { labelling } = this;
    if (!labelling.online) {
      tell("the studio can't be reached; the labels are kept here until it is");
      return;
    }
    labelling.pause();
    if (this.#pages > 1 && !(await maySaveForAll(this.#pages - 1))) return;
    await labelling.outbox.settled();
    if (labelling.outbox.closed) return; // S was pressed twice
    this.#events?.close();
    labelling.close();
    tell("saving …");
    try {
      const applied = /** @type {Applied} */ (await post(`/api/recordings/${this.recording.id}/labelling/apply`));
      const { left } = applied;
      if (this.signal.aborted) return tell(appliedWords(applied).join("; "));
      tell("");
      const answer = await ask(
        "Saved",
        [el("ul", {}, ...appliedWords(applied).map((line) => el("li", {}, line || "")))],
        [
          { text: "Look at them", value: "look", kind: "primary" },
          { text: "Undo", value: "undo" },
          { text: left > 0 ? "Go on labelling" : "Close", value: "on" },
        ],
      );
      if (answer === "undo") await undoApply(`/api/recordings/${this.recording.id}`, this.signal);
      else if (answer === "look") goOn(this.signal, `#/look/${this.recording.id}`);
      else goOn(this.signal, left > 0 ? location.hash : "#/");
    } catch (error) {
      tell(words(error));
      goOn(this.signal);
    }
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (isTyped(event)) return;
    const deed = deedOf(event);
    if (!deed) return;
    event.preventDefault();
    if (event.repeat && deed.do === "label" && this.labelling.assist.isAsking) return; // an answer for each press
    if (event.repeat && !["label", "step", "back", "undo", "erase", "redo", "select", "change"].includes(deed.do)) return;
    this.labelling.do(deed);
  }

  // -------------------------------------------------------------------------------------------------------- building

  /** @param {HTMLElement} place */
  #build(place) {
    const { labelling, recording } = this;
    this.detail.setAttribute("aria-valuemin", "1");
    this.detail.setAttribute("aria-valuemax", String(labelling.count));
    fill(
      place,
      el(
        "div",
        { className: "labelling" },
        el(
          "div",
          { className: "top" },
          el("h1", {}, recording.name),
          this.position,
          this.waiting,
          button("?", () => void help(), { className: "plain", title: "Help: ? or H", "aria-label": "Help" }),
          button("Save", () => labelling.do({ do: "save", number: 0 }), { className: "primary", title: `S ${this.saving}` }),
        ),
        this.stage,
        this.film,
        el(
          "div",
          { className: "times" },
          this.overview,
          this.detail,
          el(
            "div",
            { className: "zoom" },
            this.selected,
            button("−", () => this.timeline.zoom(2), { "aria-label": "Show more of the timeline" }),
            button("+", () => this.timeline.zoom(0.5), { "aria-label": "Show less of the timeline, larger" }),
          ),
        ),
        el("div", { className: "classbuttons", role: "group", "aria-label": "Classes" }, ...this.classes),
        el(
          "div",
          { className: "toolrows" },
          el(
            "div",
            { className: "tools helps", role: "group", "aria-label": "Help from a model" },
            ...Object.values(this.helps),
          ),
          el(
            "div",
            { className: "tools", role: "group", "aria-label": "Tools" },
            this.#tool("Back", "back", 0, "Esc"),
            ...Object.values(this.tools),
            this.#tool("◀ Change", "change", -1, "B: to the change before"),
            this.#tool("Change ▶", "change", 1, "N: to the next change"),
            this.#tool("Unlabelled", "unlabelled", 0, "F: to the next frame without a label"),
            this.#tool("Clear", "clear", 0, "X: take the label away, or those of the selected frames"),
            button("Go to …", () => void this.#askWhere(), { title: "G" }),
            this.#tool("Slower", "speed", -1, "−"),
            this.#tool("Faster", "speed", 1, "+"),
          ),
        ),
      ),
    );
    // A button that was clicked would keep the focus, and Enter would press it instead of accepting what is proposed.
    place.querySelector(".labelling")?.addEventListener("mousedown", (event) => {
      if (/** @type {HTMLElement} */ (event.target).closest("button")) event.preventDefault();
    });
  }

  /**
   * @param {string} text
   * @param {string} what
   * @param {number} number
   * @param {string} title
   */
  #tool(text, what, number, title) {
    return button(text, () => this.labelling.do({ do: what, number }), { title });
  }

  /** @param {State["classes"][number]} one */
  #classButton({ label, name, sorted }) {
    const { labelling } = this;
    const count = el("span", { className: "count" });
    const made = el(
      "button",
      { type: "button", className: "classbutton", disabled: label >= labelling.keys },
      label < labelling.keys && el("kbd", { "aria-hidden": "true" }, label),
      el("span", { className: "name" }, name),
      count,
    );
    made.style.setProperty("--class", colourOf(label));
    made.dataset.label = String(label);
    made.dataset.sorted = String(sorted);
    let timer = 0;
    let painted = false;
    made.addEventListener("pointerdown", (event) => {
      painted = false;
      made.setPointerCapture(event.pointerId);
      timer = setTimeout(() => {
        painted = true;
        labelling.paint(label);
      }, PAINT_MS);
    });
    const end = () => {
      clearTimeout(timer);
      labelling.endPainting();
    };
    made.addEventListener("pointerup", end);
    made.addEventListener("pointercancel", end);
    made.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch would open it
    made.addEventListener("click", (event) => {
      if (painted) painted = false;
      else labelling.do({ do: event.shiftKey ? "labelStretch" : "label", number: label });
    });
    return made;
  }

  async #askWhere() {
    const field = el("input", { type: "number", min: "1", max: String(this.labelling.count), inputMode: "numeric" });
    const answer = await ask(
      "Go to a frame",
      [el("label", {}, `Number, 1 to ${number(this.labelling.count)}`, field)],
      [{ text: "Go", value: "go", kind: "primary" }],
    );
    if (answer && field.valueAsNumber >= 1) this.labelling.go(Math.round(field.valueAsNumber) - 1);
  }

  // --------------------------------------------------------------------------------------------------------- drawing

  #drawSoon() {
    if (!this.#drawing) this.#drawing = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#drawing = 0;
    if (this.signal.aborted || !this.timeline) return;
    this.#drawPicture();
    this.strip.draw();
    this.timeline.draw();
    this.#drawWords();
  }

  #drawPicture() {
    const { labelling } = this;
    const at = Math.min(labelling.cursor, labelling.count - 1);
    const picture = labelling.frames.get(at);
    if (this.#full && this.#full.position !== at) {
      this.#full.bitmap.close();
      this.#full = null;
    }
    if (picture && (picture.bitmap || picture.error)) this.view.show(this.#full?.bitmap ?? picture.bitmap, at);
    this.stage.classList.toggle("bright", labelling.bright);
    if (picture?.proxy && !this.#full && !labelling.way) this.#askFull(at);
  }

  /**
   * The whole picture, once one stays at a frame.
   *
   * @param {number} position
   */
  #askFull(position) {
    if (this.#fullWanted === position) return;
    this.#fullWanted = position;
    clearTimeout(this.#fullTimer);
    this.#fullAsked.abort();
    this.#fullTimer = setTimeout(async () => {
      this.#fullAsked = new AbortController();
      const bitmap = await this.labelling.frames.full(position, this.#fullAsked.signal).catch(() => null);
      this.#fullWanted = -1;
      if (!bitmap) return;
      if (this.labelling.cursor !== position || this.signal.aborted) return bitmap.close();
      this.#full = { position, bitmap };
      this.#drawSoon();
    }, FULL_MS);
  }

  #drawWords() {
    const { labelling, tools } = this;
    const { cursor, count, labels, fps, pending, online, way } = labelling;
    const at = Math.min(cursor + 1, count);
    const counts = countsOf(labels);
    const unreadable = isOneOf(labelling.unreadable, cursor);
    const current = labelling.atEnd ? NONE : labels[cursor];
    const name = current === NONE ? "no label" : labelling.nameOf(current);
    const time = clock(cursor / fps, 1);
    this.position.textContent = `${number(at)} / ${number(count)} · ${time} · ${Math.floor((100 * (count - counts[NONE])) / count)} % labelled`;
    this.waiting.textContent = online
      ? ""
      : `the studio can't be reached; ${counted(pending, "action")} kept here until it can`;
    const { assist } = labelling;
    const asked = assist.words((label) => labelling.nameOf(label));
    this.chip.textContent = asked || (unreadable ? "can't be read" : current === NONE ? "" : `${current}  ${name}`);
    this.chip.classList.toggle("pending", pending > 0 && !online);
    this.chip.style.setProperty("--class", colourOf(asked ? assist.told.label : current));
    this.message.textContent = labelling.typed !== null ? `frame ${labelling.typed}_` : labelling.message;
    this.canvas.setAttribute("aria-label", `Frame ${at} of ${count}, ${asked || (unreadable ? "can't be read" : name)}`);
    this.detail.setAttribute("aria-valuenow", String(at));
    this.detail.setAttribute("aria-valuetext", `Frame ${at} of ${count}, ${time}, ${name}`);
    const { selection } = labelling;
    this.selected.textContent = selection
      ? `${counted(selection[1] - selection[0], "frame")} selected: choose a class`
      : modeWords(labelling);
    for (const made of this.classes) {
      const label = Number(made.dataset.label);
      const sorted = Number(made.dataset.sorted);
      const shown = made.querySelector(".count");
      if (shown) shown.textContent = number(counts[label]) + (sorted ? ` + ${number(sorted)} saved` : "");
      made.classList.toggle("current", current === label);
      made.setAttribute("aria-pressed", String((labelling.hold && labelling.held === label) || labelling.painting?.label === label));
    }
    tools.play.textContent = way ? `Pause (${labelling.speed} ×)` : "Play";
    for (const [tool, on] of /** @type {[HTMLElement, boolean][]} */ ([
      [tools.play, way !== 0],
      [tools.hold, labelling.hold],
      [tools.stretches, labelling.stretches],
      [tools.bright, labelling.bright],
      [this.helps.leastCertain, assist.told.least_certain_first],
    ]))
      tool.setAttribute("aria-pressed", String(on));
    tools.undo.disabled = !labelling.canUndo && !pending;
    tools.redo.disabled = !labelling.canRedo;
    this.helps.accept.disabled = !assist.canAccept;
    this.#drawEnd();
  }

  #drawEnd() {
    const { labelling } = this;
    this.end.hidden = !labelling.atEnd;
    if (!labelling.atEnd || this.end.childElementCount) return;
    fill(
      this.end,
      el("p", {}, `That was the last frame. S ${this.saving}.`),
      el(
        "p",
        { className: "actions" },
        button("Save", () => labelling.do({ do: "save", number: 0 }), { className: "primary" }),
        button("Next without a label", () => labelling.do({ do: "unlabelled", number: 0 })),
      ),
    );
  }
}

/**
 * What digits do, if it is not the usual.
 *
 * @param {Labelling} labelling
 */
function modeWords({ stretches, hold, held, classes, assist }) {
  const { described } = assist.told;
  if (assist.wanted && described !== null && described < 1)
    return `The Pi is looking at all pictures: ${Math.round(100 * described)} %. Then press Ask again`;
  if (assist.shown.length) return "Tap the small frame where something else begins, then a class or Accept";
  if (stretches) return "Stretches: a class labels up to the next change";
  if (!hold) return "";
  if (held === null) return "Hold: choose a class, then play or jump";
  return `Hold: what you play or jump over becomes ${classes.find((one) => one.label === held)?.name ?? held}`;
}

function help() {
  const hasKeys = matchMedia("(hover: hover)").matches;
  const table = (/** @type {string} */ title, /** @type {[string, string][]} */ rows) =>
    el(
      "table",
      {},
      el("caption", {}, title),
      el("tbody", {}, ...rows.map(([key, does]) => el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, does)))),
    );
  return ask(
    "Help",
    hasKeys ? [table("Keys", HELP), table("Fingers and mouse", TOUCH)] : [table("Fingers", TOUCH), table("Keys", HELP)],
    [{ text: "Close", value: "", kind: "primary" }],
  );
}
