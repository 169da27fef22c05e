// A model's help with labelling: what the server said last that it asks and proposes, and whether this page takes part.

import { NONE } from "./colours.js";

/** @typedef {import("./api.js").Help} Help */

/** @type {Help} */
const NOTHING = {
  number: 0,
  asking: "nothing",
  first: 0,
  stop: 0,
  label: NONE,
  certainty: 0,
  model: "",
  shown: [],
  inside: 0,
  questions: 0,
  least_certain_first: false,
  described: null,
  said: "",
};

const HANDS_OFF_MS = 1000; // after another page's answer has changed what is shown: a press may be meant for what was there

/** What goes on with what is asked; other deeds end it. */
const GO_ON = ["label", "enter", "nudge", "undo", "erase", "redo", "brightness", "zoom", "help"];

/**
 * The deeds of which the server knows what comes of them.
 *
 * @type {Record<string, string>}
 */
export const HELPS = { assist: "assist", bisect: "bisect", leastCertain: "least_certain", acceptSure: "accept_sure" };

export class Assist {
  /** Whether this page shows what is asked, so that its digits answer. */
  wanted = false;
  told = NOTHING;
  #answered = NOTHING;
  #changed = -Infinity; // when another page changed what is shown
  /** @type {import("./api.js").Proposal[]} */
  proposals = [];

  /** Whether it is asked, or about to be. */
  get isAsking() {
    return this.wanted && this.told.asking !== "nothing";
  }

  /** Whether there is something to be answered. */
  get isShown() {
    return this.isAsking && this.told.stop > this.told.first;
  }

  /** This page has answered what is shown; what is asked next is not known yet. */
  get isAnswered() {
    return this.isShown && this.told.first === this.#answered.first && this.told.stop === this.#answered.stop;
  }

  /** Note that what is shown is answered; or, once the answer has come, that another one can be given. */
  answered(isSent = true) {
    this.#answered = isSent ? this.told : NOTHING;
  }

  /** Another page has just changed what is shown: who presses now may have seen what was there before. */
  get isJustChanged() {
    return this.isShown && performance.now() - this.#changed < HANDS_OFF_MS;
  }

  /** The frames of the run that is shown; none if none is. */
  get shown() {
    return this.isShown ? this.told.shown : [];
  }

  /** Whether Enter has a class to give. */
  get canAccept() {
    return this.shown.length > 0 && this.told.label !== NONE;
  }

  /**
   * Whether a deed ends what is asked.
   *
   * @param {string} what
   */
  isEndedBy(what) {
    if (!this.wanted || what in HELPS) return false;
    return !GO_ON.includes(what) || (what === "label" && !this.isAsking);
  }

  /**
   * What the server says; older news changes nothing. Whether something else is asked then.
   *
   * @param {Help} help
   * @param {boolean} isOthers  it comes of what was done on another page
   */
  take(help, isOthers) {
    if (help.number < this.told.number) return false;
    const before = this.told;
    const isNew = ["asking", "first", "stop", "label"].some((one) => Reflect.get(before, one) !== Reflect.get(help, one));
    if (isOthers && isNew && this.isShown) this.#changed = performance.now();
    this.told = help;
    const wasFound = before.stop > before.first;
    const isElse = help.asking !== before.asking || help.first !== before.first || !wasFound;
    if (help.asking === "nothing" && before.asking !== "nothing") this.wanted = false;
    return isElse;
  }

  /**
   * What is asked, in words; nothing if nothing is.
   *
   * @param {(label: number) => string} nameOf
   */
  words(nameOf) {
    const { asking, questions, label, certainty } = this.told;
    if (!this.isShown) return "";
    if (asking === "frames") return `which class? ${questions} to go`;
    if (asking === "borders") return "which class is this frame?";
    if (label === NONE) return "which class?";
    return `${nameOf(label)}?${certainty ? ` ${Math.round(100 * certainty)} %` : ""}`;
  }
}
