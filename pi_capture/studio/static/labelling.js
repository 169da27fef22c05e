// Labelling without a page: what the server has confirmed, what is expected beyond it, and what each deed does.
//
// It is to the browser what `classify.desk` is to the window. The server holds the truth; what is on its way there is
// shown as it is expected to be.

import { Assist, HELPS } from "./assist.js";
import { NONE, UNKNOWN_CHANGE, alike, changeAfter, changeBefore, isOneOf, nextBorder, paint, previousBorder } from "./runs.js";
import { Frames } from "./frames.js";
import { Outbox } from "./outbox.js";

/**
 * @typedef {import("./api.js").LabellingState} State
 * @typedef {import("./api.js").LabellingChange} Change
 * @typedef {import("./api.js").Action} Action
 * @typedef {import("./keys.js").Deed} Deed
 *
 * @typedef {object} Listener
 * @property {() => void} onchange  something to show is new
 * @property {() => void} onsave  S was pressed
 * @property {() => void} onhelp
 * @property {() => void} onzoom
 * @property {() => void} ongap  the server's changes can't be followed; its whole state is needed
 * @property {(error: import("./api.js").Refused, lost: number) => void} onrefused
 * @property {(frames: number) => void} onovertaken  others labelled them later: their labels stay
 */

const BATCH = 10;
const SPEEDS = [0.25, 0.5, 1, 2, 4, 8];
const PICTURES_PER_SECOND = 30; // shown at most while playing; faster play leaves frames out
const PASS_MS = 250; // how often play under a held label is told to the server
const LOOK_MS = 500; // a frame looked at so long is where one goes on next time
/** They give labels. */
const GIVES = ["label", "labelStretch", "batch", "clear", "enter"];
/** What they do is known by the server alone. */
const UNFORESEEN = ["undo", "redo", "nudge", "answer", "end_run", ...Object.values(HELPS)];

export class Labelling {
  stretches = false;
  bright = false;
  message = "";
  /**
   * The frame's number typed so far, while one is asked for.
   *
   * 
   * @type {string | null}
   */
  typed = null;
  /**
   * Frames that the next class labels at once.
   *
   * 
   * @type {[number, number] | null}
   */
  selection = null;
  way = 0;
  speed = 1;
  online = true;
  canUndo = false;
  canRedo = false;
  hold = false;
  /** @type {number | null} */
  held = null;
  assist = new Assist();
  /**
   * Frames being painted: a class is held down.
   *
   * 
   * @type {{start: number, label: number} | null}
   */
  painting = null;

  #cursor = 0;
  /** @type {Uint8Array} */
  #confirmed;
  #revision = 0;
  #serverHold = false;
  /** @type {number | null} */
  #serverHeld = null;
  /**
   * Deeds that have to wait for the answer to the one before.
   *
   * 
   * @type {Deed[]}
   */
  #waiting = [];
  #overtaken = 0; // frames that others labelled later, since the last time that nothing waited here
  #haveOthersLabelled = false; // since something was asked last
  #unforeseen = 0; // the number of an action whose outcome is not known yet
  /**
   * What goes on when more changes are known.
   *
   * 
   * @type {(() => void) | null}
   */
  #lookingAhead = null;
  #passedFrom = 0; // where play was that has not been told to the server
  #passTimer = 0;
  #lookTimer = 0;
  #due = 0;
  #began = 0;
  #nudged = false;

  /**
   * @param {string} id  of the recording
   * @param {State} state
   * @param {number} fps  as far as it is known
   * @param {Listener} listener
   */
  constructor(id, state, fps, listener) {
    this.id = id;
    this.listener = listener;
    this.session = state.session;
    this.count = state.count;
    this.fps = fps || state.fps || 30;
    this.classes = state.classes;
    this.keys = state.keys;
    this.#confirmed = new Uint8Array(0);
    this.labels = this.#confirmed;
    /**
     * Positions, ascending.
     *
     * 
     * @type {number[]}
     */
    this.unreadable = [];
    /** @type {number[]} */
    this.changes = [];
    this.known = 0;
    this.outbox = new Outbox(id, state.opening, {
      ondone: (done) => this.#done(done),
      onconnection: (online) => {
        this.online = online;
        this.listener.onchange();
      },
      onrefused: (error, lost) => this.listener.onrefused(error, lost.length),
    });
    this.frames = new Frames(`/api/recordings/${id}/labelling/frames`, state.count, (position, { error }) => {
      if (error) this.#addUnreadable([position]);
      this.listener.onchange();
    });
    this.take(state);
    this.#lookAt(state.cursor);
  }

  /** The frame looked at; the number of frames is past the last, where everything is done. */
  get cursor() {
    return this.#cursor;
  }

  get atEnd() {
    return this.#cursor >= this.count;
  }

  get pending() {
    return this.outbox.pending.filter(({ action }) => action.action !== "look").length;
  }

  /** @param {number} label */
  nameOf(label) {
    return this.classes.find((one) => one.label === label)?.name ?? "";
  }

  /** Ask the server for nothing more. What it has not got yet stays in the browser. */
  close() {
    clearTimeout(this.#lookTimer);
    clearTimeout(this.#passTimer);
    this.way = 0;
    this.outbox.close();
    this.frames.close();
  }

  /** The page is left: what is on its way to the server still goes there. */
  leave() {
    this.pause();
    this.#tellLook();
    clearTimeout(this.#lookTimer);
    this.frames.close();
    void this.outbox.settled().then(() => this.outbox.close());
  }

  // ------------------------------------------------------------------------------------------- what the server tells

  /**
   * The server's whole state.
   *
   * @param {State} state
   */
  take(state) {
    this.#confirmed = new Uint8Array(state.count).fill(NONE);
    for (const run of state.labels) paint(this.#confirmed, run);
    this.#revision = state.revision;
    this.unreadable = state.unreadable;
    this.changes = state.changes.at;
    this.known = state.changes.known;
    this.#takeFlags(state);
    this.assist.proposals = state.proposals;
    this.help(state.help);
    this.outbox.setClock(state.now);
    this.outbox.acknowledge(state.clients[this.outbox.client] ?? 0);
    this.#arrive(state);
    this.#expect();
    this.#goOn();
  }

  /**
   * What has changed since.
   *
   * @param {Change} change
   */
  change(change) {
    if (change.revision <= this.#revision) return; // it was told in another way before
    if (change.revision > this.#revision + 1) {
      this.listener.ongap();
      return;
    }
    for (const run of change.labels) paint(this.#confirmed, run);
    if (change.labels.length && change.by && change.by !== this.outbox.client) this.#haveOthersLabelled = true;
    if (change.taken_from === this.outbox.client) this.message = "another page's Undo took back a label of yours; Redo gives it again";
    this.#revision = change.revision;
    this.#addUnreadable(change.unreadable);
    this.#takeFlags(change);
    this.#expect();
  }

  /**
   * More is known of where the picture changes: all such places, ascending.
   *
   * @param {{known: number, at: number[]}} changes
   */
  moreChanges({ known, at }) {
    this.known = known;
    this.changes = at;
    const goOn = this.#lookingAhead;
    if (goOn) {
      this.#lookingAhead = null;
      this.message = "";
      goOn();
    }
    this.listener.onchange();
  }

  /**
   * What the model asks; a page that takes part goes there.
   *
   * @param {import("./api.js").Help} help
   */
  help(help) {
    const { assist } = this;
    const before = assist.told.said;
    const { wanted } = assist;
    const isElse = assist.take(help, this.#haveOthersLabelled && !this.#isUnclear);
    this.#haveOthersLabelled = false;
    if (wanted && assist.told.said !== before) this.message = assist.told.said;
    if (assist.isShown) this.#lookAt(isElse ? help.first : this.#cursor);
    this.listener.onchange();
  }

  /** @param {import("./api.js").Proposal[]} proposals */
  propose(proposals) {
    this.assist.proposals = proposals;
    this.listener.onchange();
  }

  /** @param {{can_undo: boolean, can_redo: boolean, hold: boolean, held: number | null}} flags */
  #takeFlags(flags) {
    this.canUndo = flags.can_undo;
    this.canRedo = flags.can_redo;
    this.#serverHold = flags.hold;
    this.#serverHeld = flags.held;
  }

  /**
   * @param {import("./api.js").Done} done
   */
  #done(done) {
    for (const change of done.changes) this.change(change);
    if (done.told) this.message = done.told;
    this.#overtaken += done.overtaken; // what waited may be sent in several parts
    if (this.#overtaken) this.listener.onovertaken(this.#overtaken);
    if (!this.outbox.pending.length) this.#overtaken = 0;
    this.#haveOthersLabelled = false; // what is asked now comes of what was done here
    this.help(done.help);
    this.#arrive(done.changes.find(({ seq }) => seq === this.#unforeseen));
    if (!this.#isUnclear) this.assist.answered(false);
    this.#expect();
    this.#goOn();
  }

  /** Whether an action is on its way whose outcome the next deed depends on. */
  get #isUnclear() {
    return this.outbox.pending.some(({ seq }) => seq === this.#unforeseen);
  }

  /**
   * Look once where an action led whose outcome was not known. What is asked next stays in sight.
   *
   * @param {{cursor: number} | undefined} outcome
   */
  #arrive(outcome) {
    if (!this.#unforeseen || this.#isUnclear) return;
    this.#unforeseen = 0;
    if (outcome && !this.assist.isShown) this.#lookAt(outcome.cursor);
  }

  /** Do what had to wait, as far as it is clear now what it is for. */
  #goOn() {
    while (this.#waiting.length && !this.#isUnclear) this.do(/** @type {Deed} */ (this.#waiting.shift()));
  }

  /** @param {number[]} positions */
  #addUnreadable(positions) {
    const fresh = positions.filter((one) => !isOneOf(this.unreadable, one));
    if (fresh.length) this.unreadable = [...this.unreadable, ...fresh].sort((one, other) => one - other);
  }

  // ------------------------------------------------------------------------------------------------ what is expected

  /** From what is confirmed to what is shown: with what is on its way. */
  #expect() {
    this.labels = this.#confirmed.slice();
    this.hold = this.#serverHold;
    this.held = this.#serverHeld;
    for (const { action } of this.outbox.pending) this.#foresee(action);
    if (this.way && this.hold && this.held !== null) this.#give(...left(this.#passedFrom, this.#cursor), this.held);
    this.listener.onchange();
  }

  /** @param {Action} action */
  #foresee(action) {
    const { frame = 0, label } = /** @type {Action & {label: number}} */ (action);
    switch (action.action) {
      case "label":
      case "label_stretch":
        if (this.hold) this.held = label;
        this.#give(frame, action.action === "label" ? frame + 1 : changeAfter(this, frame), label);
        break;
      case "label_run":
        this.#give(Number(action.first), Number(action.stop), label);
        break;
      case "answer":
        for (let at = Number(action.first); at < Number(action.stop); at += 1)
          if (this.labels[at] === NONE) this.#give(at, at + 1, label);
        break;
      case "batch":
        this.#give(frame, frame + BATCH, 0);
        break;
      case "clear":
        this.#give(frame, frame + 1, NONE);
        break;
      case "pass":
        this.hold = true;
        this.held = label;
        this.#give(...left(frame, Number(action.to)), label);
        break;
      case "hold":
        this.hold = Boolean(action.on);
        this.held = null;
        break;
      case "switch":
        this.hold = true;
        this.held = label;
        break;
    }
  }

  /**
   * Expect frames to have a label, but those that can't be read.
   *
   * 
   * @param {number} start
   * 
   * @param {number} stop
   * 
   * @param {number} label
   */
  #give(start, stop, label) {
    for (let at = Math.max(0, start); at < Math.min(stop, this.count); at += 1)
      if (label === NONE || !isOneOf(this.unreadable, at)) this.labels[at] = label;
  }

  /**
   * @param {Action} action
   * @param {number} [cursor]  where it leads
   */
  #push(action, cursor = this.#cursor) {
    if (cursor !== this.#cursor) this.#lookAt(cursor);
    clearTimeout(this.#lookTimer);
    const seq = this.outbox.push(action);
    if (UNFORESEEN.includes(action.action)) this.#unforeseen = seq;
    this.#nudged = action.action === "nudge" && action.by === -1;
    this.#expect();
  }

  // ------------------------------------------------------------------------------------------------------- the deeds

  /**
   * Do what a key, a button or a finger asks for.
   *
   * @param {Deed} deed
   */
  do(deed) {
    if (this.outbox.closed) return; // the frames are being sorted, or are labelled elsewhere
    if (this.#isUnclear) {
      if (this.assist.isAnswered && this.online && ["label", "enter"].includes(deed.do)) return; // it has seen nothing new
      if (this.online) this.#waiting.push(deed);
      else this.#say("the last step waits for the network; what follows it has to wait, too");
      this.listener.onchange();
      return;
    }
    if (GIVES.includes(deed.do) && this.assist.isJustChanged) {
      this.#say("another page has answered: look, and press again");
      this.listener.onchange();
      return;
    }
    this.message = "";
    this.#lookingAhead = null;
    if (this.typed !== null && this.#type(deed)) {
      this.listener.onchange();
      return;
    }
    if (!["label", "play", "speed", "brightness", "help"].includes(deed.do)) this.pause();
    if (!["label", "labelStretch", "clear", "select"].includes(deed.do)) this.selection = null;
    const isAsking = this.assist.isAsking;
    if (this.assist.isEndedBy(deed.do)) this.#stopAsking();
    if (!isAsking || deed.do !== "back") this.#deed(deed);
    this.listener.onchange();
  }

  /** @param {Deed} deed */
  #deed({ do: what, number }) {
    const frame = this.#cursor;
    switch (what) {
      case "label":
        return this.#label(number);
      case "labelStretch":
        return this.#labelStretch(number);
      case "batch":
        return this.atEnd ? undefined : this.#push({ action: "batch", frame }, frame + BATCH);
      case "clear":
        return this.#labelSelected(NONE) || this.atEnd ? undefined : this.#push({ action: "clear", frame }, frame + 1);
      case "back":
        return this.go(frame - 1);
      case "step":
        return this.go(frame + number, number);
      case "beginning":
        return this.go(0);
      case "end":
        return this.go(this.count - 1);
      case "border":
        return this.go(number > 0 ? nextBorder(this.labels, frame) : previousBorder(this.labels, frame));
      case "alike":
        return this.#find(alike(this.labels, frame, number), "no further frame has this class");
      case "zoom":
        return this.listener.onzoom();
      case "unlabelled":
        return this.#find(this.#nextUnlabelled(), "every frame has a label");
      case "unreadable":
        return this.#find(this.#nextUnreadable(), "no frame is known to be unreadable");
      case "change":
        return this.#toChange(number);
      case "nudge":
        if (this.assist.shown.length) return this.endBefore(this.assist.told.inside + number);
        return this.#push({ action: "nudge", frame, by: number });
      case "undo":
      case "erase":
        return this.canUndo || this.pending ? this.#push({ action: "undo" }) : this.#say("nothing to undo");
      case "redo":
        return this.canRedo ? this.#push({ action: "redo" }) : this.#say("nothing to redo");
      case "play":
        return this.#play(number);
      case "speed":
        return this.#changeSpeed(number);
      case "hold":
        this.stretches = false;
        return this.#push({ action: "hold", frame, on: !this.hold });
      case "stretches":
        this.stretches = !this.stretches;
        return this.hold ? this.#push({ action: "hold", frame, on: false }) : undefined;
      case "brightness":
        this.bright = !this.bright;
        return undefined;
      case "goTo":
        this.typed = "";
        return undefined;
      case "select":
        return this.#select(number);
      case "assist":
      case "bisect":
      case "leastCertain":
      case "acceptSure":
        return this.#askFor(what);
      case "enter":
        return this.#accept();
      case "save":
        return this.listener.onsave();
      case "help":
        return this.listener.onhelp();
    }
    return undefined;
  }

  /** @param {number} label */
  #label(label) {
    const frame = this.#cursor;
    if (!this.#hasClass(label)) return;
    if (this.assist.isAsking) this.#answer(label, "");
    else if (this.#labelSelected(label)) return;
    else if (this.way) this.#switch(label);
    else if (this.stretches) this.#labelStretch(label);
    else if (!this.atEnd) {
      if (isOneOf(this.unreadable, frame)) this.message = "skipped: it can't be read";
      this.#push({ action: "label", frame, label }, frame + 1);
    }
  }

  /**
   * Label the selected frames; returns whether there were any.
   *
   * @param {number} label
   */
  #labelSelected(label) {
    if (!this.selection) return false;
    const [first, stop] = this.selection;
    this.selection = null;
    this.#push({ action: "label_run", first, stop, label }, stop);
    return true;
  }

  /** @param {number} label */
  #labelStretch(label) {
    if (!this.#hasClass(label) || this.atEnd) return;
    this.selection = null;
    const frame = this.#cursor;
    const target = changeAfter(this, frame);
    const certain = this.known >= this.count && !this.#nudged;
    this.#push({ action: "label_stretch", frame, label }, target === UNKNOWN_CHANGE ? frame : target);
    if (!certain) this.#unforeseen = this.outbox.pending.at(-1)?.seq ?? 0; // the server knows more
  }

  /** @param {number} way */
  #toChange(way) {
    if (way > 0 && this.atEnd) return;
    const target = way > 0 ? changeAfter(this, this.#cursor) : changeBefore(this, this.#cursor);
    const certain = this.known >= this.count || !this.hold; // what is held must not pass a change unseen
    if (target === UNKNOWN_CHANGE || !certain) this.#wait(() => this.#toChange(way));
    else this.#passTo(target);
  }

  /**
   * Jump; the frames on the way take the label that is held.
   *
   * 
   * @param {number} target
   */
  #passTo(target) {
    const frame = this.#cursor;
    if (!this.hold || this.held === null) return this.go(target);
    this.#push({ action: "pass", frame, to: target, label: this.held }, target);
    this.#push({ action: "pause", frame: target });
  }

  /**
   * Look at another frame, whatever is held.
   *
   * @param {number} position
   * @param {number} [step]  in which others will follow
   */
  go(position, step = 1) {
    this.#stopAsking();
    this.#lookAt(position, Math.sign(step));
    clearTimeout(this.#lookTimer);
    this.#lookTimer = setTimeout(() => this.#tellLook(), LOOK_MS);
    this.listener.onchange();
  }

  /**
   * @param {number} position
   * @param {number} [step]
   */
  #lookAt(position, step = 1) {
    this.#cursor = Math.max(0, Math.min(position, this.count));
    this.frames.lookAt(Math.min(this.#cursor, this.count - 1), step, this.assist.shown);
  }

  #tellLook() {
    if (!this.outbox.closed && this.#cursor < this.count && this.online) this.outbox.push({ action: "look", frame: this.#cursor });
  }

  /**
   * @param {number | null} position
   * @param {string} otherwise
   */
  #find(position, otherwise) {
    if (position === null) this.#say(otherwise);
    else this.go(position);
  }

  #nextUnlabelled() {
    for (const [start, stop] of [
      [this.#cursor + 1, this.count],
      [0, this.#cursor + 1],
    ])
      for (let at = this.labels.indexOf(NONE, start); at >= 0 && at < stop; at = this.labels.indexOf(NONE, at + 1))
        if (!isOneOf(this.unreadable, at)) return at;
    return null;
  }

  #nextUnreadable() {
    return this.unreadable.find((one) => one > this.#cursor) ?? this.unreadable[0] ?? null;
  }

  /** @param {string} message */
  #say(message) {
    this.message = message;
  }

  /** @param {number} label */
  #hasClass(label) {
    if (label < this.keys) return true;
    this.#say(`there is no class ${label}`);
    return false;
  }

  /** @param {() => void} goOn */
  #wait(goOn) {
    this.#lookingAhead = goOn;
    this.#say("looking ahead …");
  }

  /**
   * A key while a frame's number is asked for. False if it is none for that.
   *
   * 
   * @param {Deed} deed
   */
  #type({ do: what, number }) {
    const typed = this.typed ?? "";
    this.typed = null;
    if (what === "label" || what === "batch") this.typed = (typed + (what === "batch" ? 9 : number)).slice(0, 9);
    else if (what === "erase") this.typed = typed.slice(0, -1);
    else if (what === "colon" || what === "nudge") this.typed = `${typed}:`.slice(0, 9); // a comma or a point will do
    else if (what === "enter" && typed.includes(":")) this.#passTo(Math.min(Math.round(secondsOf(typed) * this.fps), this.count - 1));
    else if (what === "enter" && typed) this.#passTo(Math.max(1, Math.min(Number(typed), this.count)) - 1);
    else return what === "enter" || what === "back";
    return true;
  }

  /**
   * Widen or narrow the selection, whose one end is where it began.
   *
   * 
   * @param {number} by
   */
  #select(by) {
    const from = this.selection ? this.#selectedFrom : this.#cursor;
    this.go(Math.max(0, Math.min(this.#cursor + by, this.count - 1)));
    this.select(from, this.#cursor);
  }

  #selectedFrom = 0;

  /**
   * Select the frames from one to another, both included.
   *
   * 
   * @param {number} from
   * 
   * @param {number} to
   */
  select(from, to) {
    this.#stopAsking();
    this.#selectedFrom = from;
    this.selection = [Math.max(0, Math.min(from, to)), Math.min(Math.max(from, to) + 1, this.count)];
    this.listener.onchange();
  }

  // -------------------------------------------------------------------------------------------------- a model's help

  /**
   * Have the model ask; or take part in what another page is asked.
   *
   * @param {string} what
   */
  #askFor(what) {
    const { assist } = this;
    const joins = !assist.wanted && assist.told.asking !== "nothing";
    assist.wanted = true;
    this.selection = null;
    this.stretches = false;
    if (!joins) this.#pushHelp({ action: HELPS[what], frame: this.#cursor });
    else if (assist.isShown) this.#lookAt(assist.told.first);
  }

  #accept() {
    const { told, canAccept } = this.assist;
    if (canAccept) this.#answer(told.label, told.model);
    else if (this.assist.shown.length) this.#say("which class?");
  }

  /**
   * @param {number} label
   * @param {string} model  that proposed it
   */
  #answer(label, model) {
    const { first, stop } = this.assist.told;
    if (!this.assist.isShown) return this.#say("looking ahead …");
    this.#pushHelp({ action: "answer", first, stop, label, model });
    this.assist.answered();
  }

  /**
   * Have the run that is shown end before one of the small frames.
   *
   * @param {number} cell
   */
  endBefore(cell) {
    const { first, stop } = this.assist.told;
    if (cell >= 0) this.#pushHelp({ action: "end_run", first, stop, cell });
  }

  /** @param {Action} action */
  #pushHelp(action) {
    this.assist.told = { ...this.assist.told, said: "" }; // what is said to this is new
    this.#push(action);
  }

  /** Take part no more: nothing is asked then, on any page. */
  #stopAsking() {
    if (!this.assist.wanted) return;
    this.assist.wanted = false;
    this.outbox.push({ action: "stop_asking" });
  }

  // --------------------------------------------------------------------------------------------------------- playing

  /** @param {number} way */
  #play(way) {
    const before = this.way;
    this.pause();
    if (before === way) return;
    if ((this.atEnd && way > 0) || (this.#cursor === 0 && way < 0)) return this.#say("that way there is nothing more");
    this.way = way;
    this.#began = this.#passedFrom = this.#cursor;
    this.#due = performance.now();
    requestAnimationFrame((now) => this.#tick(now));
  }

  /** @param {number} by */
  #changeSpeed(by) {
    this.speed = SPEEDS[Math.max(0, Math.min(SPEEDS.indexOf(this.speed) + by, SPEEDS.length - 1))];
    if (!this.way) this.#say(`plays at ${this.speed} ×`);
  }

  /**
   * A label while playing: it is held from now on, and given to what was just seen; the server knows since when.
   *
   * @param {number} label
   */
  #switch(label) {
    this.#tellPassed();
    this.stretches = false;
    this.#push({ action: "switch", frame: this.#cursor, label, since: this.#began, speed: this.speed });
  }

  /** @param {number} now */
  #tick(now) {
    if (!this.way) return;
    requestAnimationFrame((later) => this.#tick(later));
    if (now < this.#due) return;
    const rate = this.fps * this.speed;
    const frames = Math.max(1, Math.round(rate / PICTURES_PER_SECOND));
    const target = Math.max(0, Math.min(this.#cursor + this.way * frames, this.count));
    if (target < this.count && !this.frames.get(target)) {
      this.frames.lookAt(target, this.way * frames); // wait for it; what could not be shown in time is not made up for
      return;
    }
    this.#due = Math.max(this.#due + (1000 * frames) / rate, now - 100);
    this.#lookAt(target, this.way * frames);
    if (!this.#passTimer) this.#passTimer = setTimeout(() => this.#tellPassed(), PASS_MS);
    this.#expect();
    if (target === 0 || target === this.count) this.pause();
  }

  /** Tell the server what was played under a held label. */
  #tellPassed() {
    clearTimeout(this.#passTimer);
    this.#passTimer = 0;
    const frame = this.#passedFrom;
    if (frame === this.#cursor) return;
    this.#passedFrom = this.#cursor;
    if (this.hold && this.held !== null) this.#push({ action: "pass", frame, to: this.#cursor, label: this.held });
  }

  pause() {
    if (!this.way) return;
    this.#tellPassed();
    this.way = 0;
    if (this.hold) this.#push({ action: "pause", frame: this.#cursor });
    this.go(this.#cursor);
    if (this.painting) this.endPainting();
  }

  /**
   * A class is held down: play on; what is passed takes it.
   *
   * 
   * @param {number} label
   */
  paint(label) {
    if (this.outbox.closed || this.atEnd || !this.#hasClass(label) || this.painting || this.assist.isJustChanged) return;
    this.pause();
    this.#stopAsking();
    this.selection = null;
    this.painting = { start: this.#cursor, label };
    this.#play(1);
  }

  /** It was let go: the frames that were seen, the one that is there included, take its label. */
  endPainting() {
    const painted = this.painting;
    if (!painted) return;
    this.painting = null;
    this.pause();
    const stop = Math.min(this.#cursor + 1, this.count);
    this.#push({ action: "label_run", first: painted.start, stop, label: painted.label }, stop);
  }
}

/**
 * The frames that are left by going from one to another.
 *
 * 
 * @param {number} from
 * 
 * @param {number} to
 * 
 * @returns {[number, number]}
 */
function left(from, to) {
  return to > from ? [from, to] : [to + 1, from + 1];
}

/**
 * A time as typed: 1:23 or 1:02:03.
 *
 * @param {string} typed
 */
function secondsOf(typed) {
  return typed.split(":").reduce((seconds, part) => 60 * seconds + Number(part), 0);
}
