// Elements from data. Text becomes text nodes, never markup: names of files and classes are data.

import { alikeWords, lookAlikes } from "./format.js";

/** @typedef {string | number | Node | null | undefined | false} Child */

/**
 * An element with properties, attributes (those that have a dash, and `role`), listeners (`onclick` …) and children.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, unknown>} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, String(value));
    else /** @type {any} */ (element)[name] = value; // the properties of all elements together have no type
  }
  element.append(...nodes(children));
  return element;
}

/**
 * Replace what an element contains.
 *
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
}

/** @param {Child[]} children */
function nodes(children) {
  return children.flatMap((child) =>
    child === null || child === undefined || child === false ? [] : [child instanceof Node ? child : String(child)],
  );
}

/**
 * @param {string} text
 * @param {(event: MouseEvent) => void} onclick
 * @param {Record<string, unknown>} [more]
 */
export function button(text, onclick, more = {}) {
  return el("button", { type: "button", onclick, ...more }, text);
}

/**
 * Say something for some seconds, also to screen readers; what goes on ("saving …") until something else is said.
 *
 * @param {string} text
 */
export function tell(text) {
  const place = /** @type {HTMLElement} */ (document.getElementById("told"));
  place.textContent = text;
  clearTimeout(telling);
  if (!text.endsWith("…")) telling = setTimeout(() => (place.textContent = ""), 3000 + 60 * text.length);
}
let telling = 0;

/**
 * Show a dialog until it is closed, or another page comes; what its form answered, "" if it was left.
 *
 * @param {string} title
 * @param {Child[]} content
 * @param {{text: string, value: string, kind?: string}[]} answers  the first is the one that Enter gives
 * @returns {Promise<string>}
 */
export function ask(title, content, answers) {
  const buttons = answers.map(({ text, value, kind }) => el("button", { value, className: kind ?? "" }, text));
  const dialog = el(
    "dialog",
    { "aria-label": title },
    el("form", { method: "dialog" }, el("h2", {}, title), ...content, el("p", { className: "actions" }, ...buttons)),
  );
  document.body.append(dialog);
  const leave = () => dialog.close("");
  addEventListener("hashchange", leave);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      removeEventListener("hashchange", leave);
      dialog.remove();
      resolve(dialog.returnValue);
    });
    dialog.showModal();
    dialog.scrollTop = 0; // the button that has the focus may be far below
  });
}

/**
 * Ask about names of classes that were hardly meant so: one with spaces where commas belong, or two that look alike.
 *
 * @param {string[]} names
 */
export async function areMeant(names) {
  const pairs = lookAlikes(names);
  const isOne = names.length === 1 && /\s/.test(names[0]);
  if (!isOne && !pairs.length) return true;
  const question = isOne ? `Is '${names[0]}' one class?` : "Are these different classes?";
  const told = isOne ? "Between names of classes there are commas: none, door, light." : alikeWords(pairs);
  const answers = [
    { text: "Change it", value: "" },
    { text: isOne ? "It is one" : "They are", value: "yes" },
  ];
  return (await ask(question, [el("p", {}, told)], answers)) === "yes";
}

/**
 * Go on to a page, or show this one anew. Whoever has left meanwhile stays where they are.
 *
 * @param {AbortSignal} signal  of the page that was left, or not
 * @param {string} [hash]
 */
export function goOn(signal, hash = location.hash) {
  if (signal.aborted) return;
  if (hash === location.hash) dispatchEvent(new Event("hashchange"));
  else location.hash = hash;
}

/**
 * A command to be copied.
 *
 * @param {HTMLElement} code
 */
export function commandBox(code) {
  return el(
    "div",
    { className: "command" },
    el("span", { className: "quiet" }, "The same on the command line"),
    code,
    button("Copy", () => copy(code)),
  );
}

/**
 * Copy an element's text. The clipboard's own interface needs https or localhost.
 *
 * @param {HTMLElement} element
 */
function copy(element) {
  const selection = /** @type {Selection} */ (getSelection());
  selection.selectAllChildren(element);
  tell(document.execCommand("copy") ? "copied" : "selected; copy it with Ctrl-C");
}
