// Watching: a camera's picture with what a model says of it.

import { Refused, TAB, get, isAbort, post, words } from "./api.js";
import { coloursByName } from "./colours.js";
import { ask, button, commandBox, el, fill } from "./dom.js";
import { PictureView } from "./picture.js";
import { cameraOption, showLive } from "./record.js";

const RATE_MS = 2000; // that frames are counted for the rate

/**
 * What a model says of a picture; nothing, before it has looked at one.
 *
 * @typedef {object} Said
 * @property {string | null} [class]
 * @property {number} [certainty]
 * @property {Record<string, number>} [certainties]
 * @property {number} [milliseconds]
 * @property {number} [seen]
 * @property {string} [problem]  why no more comes
 */

/** @type {import("./main.js").Page} */
export async function watch(place, signal, id) {
  document.title = "Watch – Studio";
  const [{ models }, { cameras }] = await Promise.all([get("/api/home", signal), get("/api/cameras", signal)]);
  const usable = /** @type {import("./api.js").Model[]} */ (models).filter(({ problem }) => !problem);
  const headline = el("div", { className: "headline" }, el("h1", {}, "Watch"));
  if (usable.length) return fill(place, headline, new WatchPage(usable, cameras, signal, id).element);
  fill(
    place,
    headline,
    el(
      "section",
      { className: "card empty" },
      el("p", {}, "There is no model yet."),
      el("p", {}, el("a", { className: "button primary", href: "#/train" }, "Train one")),
    ),
  );
}

/** Ask whether the camera may be taken from another page. */
async function mayTake() {
  const answer = await ask(
    "Another page shows this camera",
    [el("p", {}, "Only one page can show it. If you take it, the picture ends there.")],
    [
      { text: "Leave it", value: "" },
      { text: "Take it", value: "take" },
    ],
  );
  return answer === "take";
}

class WatchPage {
  #watching = new AbortController();
  /**
   * When how many frames had been looked at.
   *
   * @type {{at: number, seen: number}[]}
   */
  #counts = [];
  /** @type {string | null | undefined} */
  #shown;
  /** @type {(name: string) => string} */
  #colour = () => "transparent";

  /**
   * @param {import("./api.js").Model[]} models
   * @param {{spec: string, model: string}[]} cameras
   * @param {AbortSignal} signal
   * @param {string} id  of the model that is chosen first
   */
  constructor(models, cameras, signal, id) {
    this.signal = signal;
    this.model = el("select", {}, ...models.map((one) => el("option", { value: one.id }, one.name)));
    if (models.some((one) => one.id === id)) this.model.value = id;
    this.camera = el("select", {}, ...cameras.map(cameraOption));
    this.canvas = el("canvas", { role: "img", "aria-label": "What the camera sees" });
    this.chip = el("div", { className: "chip" });
    this.stage = el("div", { className: "stage" }, this.canvas, this.chip);
    this.view = new PictureView(this.stage, this.canvas, () => {});
    this.start = el("button", { className: "primary big" }, "Start");
    this.stop = button("Stop", () => this.#stop(), { className: "danger big", hidden: true });
    this.problem = el("p", { className: "problem", role: "alert" });
    this.present = el("p", { className: "unseen", role: "status" });
    this.counters = el("dl", { className: "counters" });
    this.certainties = el("ul", { className: "certainties", "aria-label": "How certain each class is" });
    this.command = el("code", { tabIndex: 0 });
    const form = el(
      "form",
      { className: "card form" },
      el("label", {}, "Model", this.model),
      el("label", {}, "Camera", this.camera),
      this.problem,
      this.start,
      this.stop,
      this.present,
      this.counters,
      this.certainties,
    );
    form.addEventListener("input", () => {
      this.#stop();
      this.problem.textContent = "";
      void this.#check();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#watch();
    });
    this.element = el("div", { className: "recording" }, el("div", { className: "seen" }, this.stage, commandBox(this.command)), form);
    signal.addEventListener("abort", () => this.#watching.abort());
    void coloursByName(signal).then((colour) => (this.#colour = colour), () => {});
    this.#stop();
    void this.#check();
  }

  /** Show the command that does it, or why it can't be done. */
  async #check() {
    const asked = { model: this.model.value, camera: this.camera.value };
    const isAsked = () => asked.model === this.model.value && asked.camera === this.camera.value;
    try {
      const { command } = await post("/api/watch/command", asked, this.signal);
      if (!isAsked()) return; // another is chosen by now
      this.command.textContent = command;
    } catch (error) {
      if (!isAbort(error) && isAsked()) this.problem.textContent = words(error);
    }
  }

  /** @param {boolean} [take]  the camera from another page */
  async #watch(take = false) {
    this.#watching.abort();
    this.#watching = new AbortController();
    const { signal } = this.#watching;
    this.problem.textContent = "";
    this.stage.dataset.told = "opening the camera and the model …";
    this.start.hidden = true;
    this.stop.hidden = false;
    this.stop.focus();
    try {
      const { id } = await post("/api/preview", { camera: this.camera.value, model: this.model.value, by: TAB, take }, signal);
      await showLive(`/api/preview/${id}/live`, this.view, signal, (said) => this.#show(said));
      if (signal.aborted) return;
      this.problem.textContent ||= "The picture has ended: a recording or another page has taken the camera.";
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.more.in_use) {
        this.#stop();
        if ((await mayTake()) && !this.signal.aborted) void this.#watch(true);
        return;
      }
      this.problem.textContent = words(error);
    }
    this.#stop();
  }

  #stop() {
    this.#watching.abort();
    this.#counts = [];
    this.#shown = undefined;
    this.view.show(null, -1);
    this.canvas.hidden = true;
    this.stage.dataset.told = "press Start";
    this.start.hidden = false;
    this.stop.hidden = true;
    this.chip.textContent = this.present.textContent = "";
    fill(this.counters);
    fill(this.certainties);
  }

  /** @param {Said} said */
  #show({ class: present = null, certainty = 0, certainties = {}, milliseconds = 0, seen = 0, problem = "" }) {
    if (problem) {
      this.problem.textContent = problem;
      return;
    }
    this.canvas.hidden = false;
    if (!seen) return;
    const names = Object.keys(certainties);
    if (certainty >= Math.max(...Object.values(certainties)) || this.#shown !== present) {
      // Else another class leads, but not long enough to count: what is shown stays as it was.
      this.#shown = present;
      this.chip.textContent = `${present ?? "…"} ${certainty.toFixed(2)}`;
      this.chip.style.setProperty("--class", present === null ? "transparent" : this.#colour(present));
    }
    if (present !== null && this.present.textContent !== present) this.present.textContent = present;
    /** @type {[string, string][]} */
    const rows = [
      ["Frames a second", this.#rate(seen)],
      ["Each takes", `${milliseconds.toFixed(1)} ms`],
    ];
    fill(this.counters, ...rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
    if (this.certainties.childElementCount !== names.length)
      fill(
        this.certainties,
        ...names.map((name) =>
          el("li", {}, el("span", {}, name), el("meter", { min: 0, max: 1, "aria-label": name }), el("span", { "aria-hidden": "true" })),
        ),
      );
    this.certainties.querySelectorAll("li").forEach((item, label) => {
      const value = certainties[names[label]];
      /** @type {HTMLMeterElement} */ (item.children[1]).value = value;
      item.children[2].textContent = value.toFixed(2);
    });
  }

  /**
   * Frames a second that were looked at lately.
   *
   * @param {number} seen  by now
   */
  #rate(seen) {
    const at = performance.now();
    this.#counts.push({ at, seen });
    while (at - this.#counts[0].at > RATE_MS) this.#counts.shift();
    const [first] = this.#counts;
    return at > first.at ? ((1000 * (seen - first.seen)) / (at - first.at)).toFixed(1) : "–";
  }
}
