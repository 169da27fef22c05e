// The pages, by what stands behind # in the address.

import { Refused, Unreachable, words } from "./api.js";
import { el, fill } from "./dom.js";

/**
 * A page fills an element, and lives until the signal comes.
 *
 * @typedef {(place: HTMLElement, signal: AbortSignal, id: string, frame: string) => Promise<void> | void} Page
 */

/** @type {Record<string, () => Promise<Page>>} */
const PAGES = {
  "": async () => (await import("./home.js")).home,
  trash: async () => (await import("./home.js")).trash,
  record: async () => (await import("./record.js")).record,
  recorder: async () => (await import("./record.js")).recorder,
  train: async () => (await import("./train.js")).train,
  watch: async () => (await import("./watch.js")).watch,
  label: async () => (await import("./label.js")).label,
  look: async () => (await import("./look.js")).look,
};
const IN_NAVIGATION = { "": "home", trash: "home", look: "home", label: "home", record: "record", recorder: "record", train: "train", watch: "watch" };

let leaving = new AbortController();

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [, name = "", id = "", frame = ""] = location.hash.split("/");
  const place = /** @type {HTMLElement} */ (document.getElementById("page"));
  const focused = document.activeElement;
  for (const link of document.querySelectorAll("[data-page]")) {
    const here = /** @type {Record<string, string>} */ (IN_NAVIGATION)[name] === link.getAttribute("data-page");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.body.className = name || "home";
  document.title = "Studio";
  fill(place, el("p", { className: "quiet" }, "One moment …"));
  try {
    const page = PAGES[name];
    if (!page) throw new Refused("there is no such page", 404);
    await (await page())(place, signal, id, frame);
  } catch (error) {
    if (signal.aborted) return;
    fill(place, problem(words(error)));
    if (!(error instanceof Refused) && !(error instanceof Unreachable)) console.error(error); // a fault of ours
  }
  // Who has gone on to another element meanwhile is about to press it.
  if (!signal.aborted && [focused, document.body].includes(document.activeElement)) place.focus({ preventScroll: true });
}

/** @param {string} text */
function problem(text) {
  return el(
    "section",
    { className: "card", role: "alert" },
    el("h1", {}, "That did not work"),
    el("p", {}, text),
    el("p", { className: "actions" }, el("a", { className: "button", href: "#/" }, "All recordings")),
  );
}

addEventListener("hashchange", show);
show();
