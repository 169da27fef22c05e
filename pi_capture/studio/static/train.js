// Training: which recordings to learn from, how far it is, and how good the model is that came of it.

import { get, isAbort, post, words } from "./api.js";
import { coloursByName } from "./colours.js";
import { button, commandBox, el, fill } from "./dom.js";
import { alikeWords, counted, lookAlikes, number, percent } from "./format.js";
import { models, swatchOf } from "./home.js";

/**
 * @typedef {import("./api.js").Recording} Recording
 * @typedef {import("./api.js").Training} Training
 * @typedef {import("./api.js").TrainingReport} Report
 */

/** @type {import("./main.js").Page} */
export async function train(place, signal) {
  document.title = "Train – Studio";
  const now = /** @type {import("./api.js").Home} */ (await get("/api/home", signal));
  const colour = await coloursByName(signal);
  const form = new TrainForm(signal);
  const result = el("div", { className: "trained" });
  const shelf = el("div", {}, now.models.length > 0 && models(now.models, signal));
  fill(place, el("div", { className: "headline" }, el("h1", {}, "Train a model")), form.element, result, shelf);
  /** @type {unknown} */
  let shown;
  const events = new EventSource("/api/training/events");
  signal.addEventListener("abort", () => events.close());
  events.onmessage = ({ data }) => {
    const status = /** @type {Training} */ (JSON.parse(data));
    form.show(status);
    const key = JSON.stringify([status.state, status.report]);
    if (key === shown) return;
    fill(result, status.report && reportOf(status.name, status.report, colour));
    if (shown && status.report) void get("/api/home", signal).then((home) => fill(shelf, models(home.models, signal)), () => {});
    shown = key;
  };
  for (const { id } of now.recordings) {
    if (signal.aborted) return;
    try {
      form.add(await get(`/api/recordings/${id}`, signal));
    } catch (error) {
      if (isAbort(error)) return; // one that can't be read is nothing to learn from; home tells of it
    }
  }
  form.complete();
}

class TrainForm {
  /** @type {Map<string, HTMLInputElement>} */
  #boxes = new Map();
  /** @type {Map<string, string[]>} */
  #classes = new Map();
  #trained = ""; // the model that has just been trained
  #checks = 0;
  #shown = 0;

  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.signal = signal;
    this.choices = el("ul", { className: "choices" });
    this.told = el("p", { className: "quiet" }, "One moment …");
    this.alike = el("p", { className: "problem note", role: "status" });
    this.name = el("input", { required: true, value: "gestures", autocomplete: "off", autocapitalize: "none", spellcheck: false });
    this.replace = el("input", { type: "checkbox" });
    this.replacing = el("label", { className: "check", hidden: true }, this.replace, "Replace the model that is there");
    this.problem = el("p", { className: "problem", role: "alert" });
    this.start = el("button", { className: "primary big", disabled: true }, "Train");
    this.cancel = button("Cancel", () => void this.#ask("/api/training/cancel"), { className: "danger", hidden: true });
    this.bar = el("progress", { max: 1, hidden: true, "aria-label": "Progress" });
    this.doing = el("p", { className: "quiet", role: "status" });
    this.command = el("code", { tabIndex: 0 });
    const form = el(
      "form",
      { className: "card form" },
      el("fieldset", {}, el("legend", {}, "Learn from"), this.choices, this.told, this.alike),
      el("label", {}, "Name of the model", this.name),
      this.replacing,
      this.problem,
      this.start,
      this.bar,
      this.doing,
      this.cancel,
    );
    form.addEventListener("input", () => void this.#check());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#ask("/api/training", this.#wanted());
    });
    this.element = el("div", { className: "training" }, form, commandBox(this.command));
  }

  /**
   * Offer a recording, if there are labels to learn from.
   *
   * @param {Recording} recording
   */
  add({ id, name, classes, state }) {
    const labelled = classes.filter(({ frames, waiting }) => frames + waiting > 0);
    if (!labelled.length || ["recording", "broken", "held out"].includes(state)) return;
    const box = el("input", { type: "checkbox" });
    const legend = labelled.map((one) => `${one.name} ${number(one.frames + one.waiting)}`).join(", ");
    this.#boxes.set(id, box);
    this.#classes.set(id, labelled.map((one) => one.name));
    this.choices.append(
      el("li", {}, el("label", { className: "check" }, box, el("span", {}, name, el("small", { className: "quiet" }, ` ${legend}`)))),
    );
  }

  /** All recordings were offered. */
  complete() {
    this.told.textContent = this.#boxes.size ? "" : "No recording has labels yet. Record, and label what was seen.";
  }

  #wanted() {
    const recordings = [...this.#boxes].filter(([, box]) => box.checked).map(([id]) => id);
    return { recordings, name: this.name.value.trim(), replace: !this.replacing.hidden && this.replace.checked };
  }

  /** Show the command that does it, or why it can't be done. */
  async #check() {
    const wanted = this.#wanted();
    const check = (this.#checks += 1);
    this.start.disabled = true;
    this.command.textContent = "";
    this.alike.textContent = alikeWords(lookAlikes(wanted.recordings.flatMap((id) => this.#classes.get(id) ?? [])));
    if (!wanted.recordings.length) return;
    try {
      const { command, exists } = await post("/api/training/command", wanted, this.signal);
      if (check !== this.#checks) return; // something else is asked for by now
      this.command.textContent = command;
      this.replacing.hidden = !exists;
      const isNew = this.#trained === `${wanted.name}.model`;
      const there = isNew ? "To train it again, replace it, or give another name." : `${wanted.name}.model is there: replace it, or give another name.`;
      this.problem.textContent = exists && !wanted.replace ? there : "";
      this.problem.classList.toggle("note", exists);
      this.start.disabled = exists && !wanted.replace;
    } catch (error) {
      if (check !== this.#checks || isAbort(error)) return;
      this.problem.textContent = words(error);
      this.problem.classList.remove("note");
    }
  }

  /**
   * @param {string} address
   * @param {object} [body]
   */
  async #ask(address, body) {
    this.problem.textContent = "";
    const before = this.#shown;
    try {
      const status = await post(address, body, this.signal);
      if (before === this.#shown) this.show(status); // else the stream knows more
    } catch (error) {
      if (isAbort(error)) return;
      this.problem.textContent = words(error);
      this.problem.classList.remove("note");
    }
  }

  /** @param {Training} status */
  show({ state, name, what, done, total, problem }) {
    this.#shown += 1;
    const busy = state === "training";
    this.start.hidden = busy;
    this.cancel.hidden = this.bar.hidden = !busy;
    if (total) this.bar.value = done / total;
    else this.bar.removeAttribute("value");
    this.doing.textContent = {
      none: "",
      training: what ? `${name}: ${what}, ${number(done)} of ${number(total)}` : `${name}: starting …`,
      done: `${name} is trained`,
      failed: `${name}: ${problem}`,
      cancelled: `${name}: cancelled`,
    }[state];
    this.doing.className = state === "failed" ? "problem" : "quiet";
    this.#trained = state === "done" ? name : "";
    if (state !== "training") void this.#check();
  }
}

/**
 * @param {string} name
 * @param {Report} report
 * @param {(name: string) => string} colour  of a class
 */
function reportOf(name, report, colour) {
  const learnt = Object.values(report.frames).reduce((sum, count) => sum + count, 0);
  const { accuracy, smoothed, chance } = report;
  return el(
    "section",
    { className: "card report", "aria-label": `How good ${name} is` },
    el("h2", {}, `${name}: ${accuracy === null ? "not tested" : `${percent(accuracy)} of the frames are right`}`),
    smoothed !== null &&
      chance !== null &&
      el(
        "p",
        {},
        `${percent(smoothed)} if neighbouring pictures help. Always saying the commonest class gets ${percent(chance)}. Tested on ${report.tested_on}.`,
      ),
    el(
      "p",
      { className: "quiet" },
      `${counted(learnt, "frame")} learnt in ${report.seconds.toFixed(1)} s. ${report.kind === "thumbnail" ? "The model sees only tiny grey pictures." : `It sees a frame by: ${report.kind}.`}`,
    ),
    el("ul", { className: "quiet" }, ...report.notes.map((line) => el("li", {}, line))),
    el("h3", {}, "What it is (rows), what it was taken for (columns)"),
    confusionTable(report, colour),
    el("p", { className: "quiet" }, "Learnt: how many frames it learnt from. Stretches: how often the class begins in them."),
    report.advice.length > 0 && el("h3", {}, "What would help"),
    el("ul", { className: "advice" }, ...report.advice.map((line) => el("li", {}, line))),
    report.mistakes.length > 0 && mistakesOf(report, colour),
    el(
      "p",
      { className: "actions" },
      el("a", { className: "button primary", href: `#/watch/${report.model}` }, "Watch with it"),
      el("a", { className: "button", href: "#/" }, "All models"),
    ),
  );
}

/**
 * @param {Report} report
 * @param {(name: string) => string} colour
 */
function confusionTable({ classes, confusion, frames, stretches }, colour) {
  const head = (/** @type {string} */ text, scope = "col") => el("th", { scope, className: "number" }, text);
  const row = (/** @type {string} */ name, /** @type {number} */ label) => {
    const counts = confusion[label];
    const total = counts.reduce((sum, count) => sum + count, 0);
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, swatchOf(colour(name)), name),
      ...counts.map((count, other) => {
        const cell = el("td", { className: "number" }, number(count));
        const share = total ? Math.round((60 * count) / total) : 0;
        if (share) cell.style.background = `color-mix(in srgb, ${other === label ? "var(--good)" : "var(--bad)"} ${share}%, transparent)`;
        return cell;
      }),
      el("td", { className: "number" }, total ? percent(counts[label] / total) : "–"),
      el("td", { className: "number" }, number(frames[name])),
      el("td", { className: "number" }, number(stretches[name])),
    );
  };
  return el(
    "div",
    { className: "wide", tabIndex: 0, role: "region", "aria-label": "Confusion table" },
    el(
      "table",
      { className: "confusion" },
      el(
        "thead",
        {},
        el("tr", {}, el("td", {}), ...classes.map((name) => head(name)), head("right"), head("learnt"), head("stretches")),
      ),
      el("tbody", {}, ...classes.map(row)),
    ),
  );
}

/**
 * @param {Report} report
 * @param {(name: string) => string} colour
 */
function mistakesOf({ mistakes, classes, confusion }, colour) {
  const all = classes.reduce((sum, _, label) => sum + confusion[label].reduce((row, count, other) => row + (other === label ? 0 : count), 0), 0);
  const item = (/** @type {Report["mistakes"][number]} */ one) => {
    const where = `${one.name}, frame ${number(one.index + 1)}`;
    const link = el(
      "a",
      { className: "mistake", href: `#/look/${one.recording}/${one.index}` },
      el("img", { src: `/api/recordings/${one.recording}/frames/${one.index}`, alt: where, loading: "lazy" }),
      el("span", {}, `${one.label} → ${one.guess} ${one.certainty.toFixed(2)}`, el("small", { className: "quiet" }, where)),
    );
    link.style.setProperty("--class", colour(one.label));
    return el("li", {}, link);
  };
  const heading = mistakes.length < all ? `The ${mistakes.length} surest of ${counted(all, "mistake")}` : counted(all, "mistake");
  return el(
    "section",
    { "aria-label": "Mistakes" },
    el("h3", {}, heading),
    el("p", { className: "quiet" }, "Its label → what it was taken for, and how certain that was. A wrong label is as likely as a wrong model. Of mistakes in a row the surest one is shown; press it to see those around it."),
    el("ul", { className: "frames" }, ...mistakes.map(item)),
  );
}
