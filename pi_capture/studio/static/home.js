// Home: the folder's recordings as cards, what is being recorded now, what the machine warns of; and the trash.

import { get, post, words } from "./api.js";
import { colourOf } from "./colours.js";
import { ask, button, el, fill, goOn, tell } from "./dom.js";
import { clock, counted, day, number, percent, size } from "./format.js";

/** @typedef {import("./api.js").Recording} Recording */

/** @type {import("./main.js").Page} */
export async function home(place, signal) {
  const now = /** @type {import("./api.js").Home} */ (await get("/api/home", signal));
  const { recordings, warnings } = now;
  document.title = `${now.folder} on ${now.machine} – Studio`;
  const running = el("section", { "aria-label": "Being recorded now" });
  const facts = whenSeen(signal);
  fill(
    place,
    el(
      "div",
      { className: "headline" },
      el("h1", {}, now.folder),
      el(
        "p",
        { className: "quiet" },
        `on ${now.machine} · ${counted(recordings.length, "recording")} · ${size(now.free_bytes)} free`,
        now.trash > 0 && el("span", {}, " · ", el("a", { href: "#/trash" }, `trash (${now.trash})`)),
      ),
      el("a", { className: "button primary", href: "#/record" }, "New recording"),
    ),
    warnings.length > 0 && el("ul", { className: "warnings", "aria-label": "Warnings" }, ...warnings.map(warning)),
    running,
    recordings.length
      ? el("ul", { className: "cards" }, ...recordings.map((one) => facts.card(one)))
      : el("section", { className: "card empty" }, el("p", {}, "Nothing is recorded here yet."), firstSteps()),
    now.models.length > 0 && models(now.models, signal),
  );
  const events = new EventSource("/api/recorders/events");
  signal.addEventListener("abort", () => events.close());
  let known = now.recorders.length;
  events.onmessage = ({ data }) => {
    const recorders = /** @type {import("./api.js").Recorder[]} */ (JSON.parse(data).recorders);
    if (recorders.length < known) goOn(signal); // one has ended: its card has changed
    known = recorders.length;
    fill(running, ...recorders.map(runningCard));
  };
  fill(running, ...now.recorders.map(runningCard));
}

/** @param {import("./api.js").Home["warnings"][number]} warning */
function warning({ check, state, found, advice }) {
  const told = [el("strong", {}, `${check}: `), found];
  if (!advice) return el("li", { className: state }, ...told);
  return el(
    "li",
    { className: state },
    el("details", {}, el("summary", {}, ...told), el("div", { className: "advice" }, `What to do: ${advice}`)),
  );
}

function firstSteps() {
  return el("p", {}, "Record for a minute, act out what a computer shall tell apart, then label what was seen.");
}

/**
 * The models that there are, and what can be done with each.
 *
 * @param {import("./api.js").Model[]} found
 * @param {AbortSignal} signal
 */
export function models(found, signal) {
  return el(
    "section",
    { className: "models", "aria-label": "Models" },
    el("h2", {}, "Models"),
    el("ul", { className: "rows" }, ...found.map((one) => modelRow(one, signal))),
  );
}

/**
 * @param {import("./api.js").Model} model
 * @param {AbortSignal} signal
 */
function modelRow({ id, name, classes, accuracy, bytes, changed, problem }, signal) {
  const facts = [accuracy !== null && `${percent(accuracy)} right`, size(bytes), day(changed)].filter(Boolean).join(" · ");
  return el(
    "li",
    { className: "card" },
    el("strong", {}, name),
    classes.length > 0 && el("span", {}, classes.join(", ")),
    problem ? el("span", { className: "problem" }, problem) : el("span", { className: "quiet" }, facts),
    el(
      "span",
      { className: "actions" },
      !problem && el("a", { className: "button", href: `#/watch/${id}`, "aria-label": `Watch with ${name}` }, "Watch"),
      el("a", { className: "button plain", href: `/api/models/${id}/download`, download: "", "aria-label": `Download ${name}` }, "Download"),
      button("To the trash", () => void toTrash(`/api/models/${id}`, name, () => goOn(signal)), { className: "plain", "aria-label": `Move ${name} to the trash` }),
    ),
  );
}

/**
 * Move a recording or a model to the trash, if the person is sure.
 *
 * @param {string} address
 * @param {string} name
 * @param {() => void} done  called once it is there
 */
export async function toTrash(address, name, done) {
  const sure = await ask(
    `Move ${name} to the trash?`,
    [el("p", {}, "It can be put back from there until the trash is emptied.")],
    [
      { text: "Move it", value: "move", kind: "danger" },
      { text: "Keep it", value: "" },
    ],
  );
  if (sure !== "move") return;
  try {
    tell((await post(`${address}/trash`)).told);
    done();
  } catch (error) {
    tell(words(error));
  }
}

/** @param {import("./api.js").Recorder} recorder */
function runningCard(recorder) {
  return el(
    "a",
    { className: "card running", href: `#/recorder/${recorder.id}` },
    el("span", { className: "dot", "aria-hidden": "true" }),
    el("strong", {}, recorder.target),
    el("span", {}, ` ${counted(recorder.frames, "frame")}, ${clock(Date.now() / 1000 - recorder.started)}`),
    el("span", { className: "quiet" }, recorder.stopping ? "stopping …" : "Watch, label and stop"),
  );
}

/**
 * Cards that ask for their facts once they are seen: a folder may have many recordings.
 *
 * @param {AbortSignal} signal
 */
function whenSeen(signal) {
  /** @type {Map<Element, () => Promise<void>>} */
  const waiting = new Map();
  /** @type {(() => Promise<void>)[]} */
  const queue = [];
  let busy = 0;
  const go = async () => {
    if (busy >= 3) return; // browsers open six connections to a server, and live pictures need some
    busy += 1;
    for (let ask = queue.shift(); ask && !signal.aborted; ask = queue.shift()) await ask();
    busy -= 1;
  };
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const asking = waiting.get(target);
        if (!isIntersecting || !asking) continue;
        waiting.delete(target);
        seen.unobserve(target);
        queue.push(asking);
        void go();
      }
    },
    { rootMargin: "300px" },
  );
  signal.addEventListener("abort", () => seen.disconnect());
  return {
    /** @param {{id: string, name: string, changed: number}} one */
    card({ id, name, changed }) {
      const card = el("li", { className: "card recorded" }, el("div", { className: "picture" }), el("h2", {}, name));
      waiting.set(card, async () => {
        try {
          fillCard(card, await get(`/api/recordings/${id}`, signal), changed);
        } catch (error) {
          if (!signal.aborted) card.append(el("p", { className: "problem" }, words(error)));
        }
      });
      seen.observe(card);
      return card;
    },
  };
}

/**
 * @param {HTMLElement} card
 * @param {Recording} recording
 * @param {number} changed
 */
function fillCard(card, recording, changed) {
  const { id, name, state, frames } = recording;
  const look = `#/look/${id}`;
  const broken = state === "broken";
  const picture = broken
    ? el("div", { className: "picture" })
    : el(
        "a",
        { className: "picture", href: look, tabIndex: -1, "aria-hidden": "true" },
        el("img", { src: `/api/recordings/${id}/picture`, alt: "", loading: "lazy" }),
      );
  const label = recording.can.includes("label");
  fill(
    card,
    picture,
    el("h2", {}, broken ? name : el("a", { href: look }, name)),
    el("p", { className: `state ${state.replaceAll(" ", "-")}` }, stateWords(recording)),
    broken
      ? el("p", { className: "problem" }, recording.problem)
      : el(
          "p",
          { className: "quiet" },
          [
            counted(frames, "frame"),
            recording.seconds > 0 && clock(recording.seconds),
            recording.size?.replace("x", " × "),
            recording.format,
            size(recording.bytes),
            day(changed),
          ]
            .filter(Boolean)
            .join(" · "),
        ),
    recording.classes.length > 0 && classBar(recording),
    !broken &&
      el(
        "p",
        { className: "actions" },
        label && el("a", { className: "button", href: `#/label/${id}`, "aria-label": `Label ${name}` }, "Label"),
        el("a", { className: "button plain", href: look, "aria-label": `Look at ${name}` }, "Look"),
      ),
  );
}

/** @param {Recording} recording */
function stateWords({ name, state, unlabelled, labelled_by: by, waiting, interrupted }) {
  const doing = (interrupted && state !== "recording" ? " · cut off" : "") + (by ? ` · open in ${by}` : "");
  if (state === "to be labelled" && unlabelled) return `${number(unlabelled)} to be labelled${doing}`;
  if (state === "labelled" && waiting) return `labelled, not saved yet${doing}`;
  if (state === "held out" && name.startsWith("gap_")) return `not used${doing}`;
  return state + doing;
}

/**
 * The classes' shares as a bar, and their names and numbers.
 *
 * @param {Recording} recording
 */
export function classBar({ classes, unlabelled, frames }) {
  const bar = el("div", { className: "bar", "aria-hidden": "true" });
  const list = el("ul", { className: "legend" });
  classes.forEach(({ name, frames: sorted, waiting }, label) => {
    const count = sorted + waiting;
    const part = el("span", {});
    part.style.flexGrow = String(count / Math.max(1, frames));
    part.style.background = colourOf(label);
    bar.append(part);
    list.append(el("li", {}, swatch(label), `${name} `, el("span", { className: "quiet" }, number(count))));
  });
  const rest = el("span", {});
  rest.style.flexGrow = String(unlabelled / Math.max(1, frames));
  bar.append(rest);
  return el("div", { className: "classes" }, bar, list);
}

/** @param {number} label */
function swatch(label) {
  return swatchOf(colourOf(label));
}

/** @param {string} colour */
export function swatchOf(colour) {
  const box = el("span", { className: "swatch", "aria-hidden": "true" });
  box.style.background = colour;
  return box;
}

/** @type {import("./main.js").Page} */
export async function trash(place, signal) {
  /** @type {{id: string, name: string, bytes: number, since: number}[]} */
  const items = (await get("/api/trash", signal)).items;
  document.title = "Trash – Studio";
  fill(
    place,
    el(
      "div",
      { className: "headline" },
      el("h1", {}, "Trash"),
      el("p", { className: "quiet" }, items.length ? counted(items.length, "item") : "The trash is empty."),
      items.length > 0 && button("Empty the trash", () => void empty(), { className: "danger" }),
    ),
    el(
      "ul",
      { className: "rows" },
      ...items.map(({ id, name, bytes, since }) =>
        el(
          "li",
          { className: "card" },
          el("strong", {}, name),
          el("span", { className: "quiet" }, ` ${size(bytes)} · since ${day(since)} `),
          button("Put back", () => void restore(id), { "aria-label": `Put ${name} back` }),
        ),
      ),
    ),
  );

  /** @param {string} id */
  async function restore(id) {
    try {
      tell(`${(await post(`/api/trash/${id}/restore`)).name} is back`);
    } catch (error) {
      tell(words(error));
    }
    goOn(signal);
  }

  async function empty() {
    const bytes = items.reduce((sum, item) => sum + item.bytes, 0);
    const sure = await ask(
      "Delete for good?",
      [el("p", {}, `${counted(items.length, "item")}, ${size(bytes)}. There is no way back.`)],
      [
        { text: "Keep", value: "" },
        { text: "Delete for good", value: "delete", kind: "danger" },
      ],
    );
    if (sure !== "delete") return;
    fill(place, el("p", { className: "quiet", role: "status" }, "Deleting …")); // many files take seconds
    try {
      tell(`${size((await post("/api/trash/empty", { ids: items.map(({ id }) => id) })).bytes)} are free again`);
    } catch (error) {
      tell(words(error));
    }
    goOn(signal);
  }
}
