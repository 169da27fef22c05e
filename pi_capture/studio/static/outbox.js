// Actions on their way to the server: kept in the browser until the server has them, sent in order, done once.
//
// A page counts its actions. The server does none twice, so an action may be sent again, also by another page that finds
// it in the browser's storage.

import { post, Refused } from "./api.js";

/** @typedef {{seq: number, given: number, action: import("./api.js").Action}} Numbered  given: when, by the server's clock */

const PREFIX = "studio-unsent";
const MOST = 400; // actions in a request; the server takes 500
const LONGEST_WAIT_MS = 5000;

/**
 * @typedef {object} Listener
 * @property {(done: import("./api.js").Done) => void} ondone  some are durable now
 * @property {(online: boolean) => void} onconnection
 * @property {(error: Refused, lost: Numbered[]) => void} onrefused
 */

export class Outbox {
  /** @type {Numbered[]} */
  pending = [];
  online = true;
  #seq = 0;
  #sending = false;
  closed = false;
  #wait = 250;
  /** @type {(() => void)[]} */
  #settling = [];
  #timer = 0;
  #ahead = -Infinity; // by how many seconds the server's clock is, or seems to be while answers are on their way

  /**
   * @param {string} id  of the recording
   * @param {string} opening  as in the state of labelling
   * @param {Listener} listener
   */
  constructor(id, opening, listener) {
    this.client = randomName();
    this.address = `/api/recordings/${id}/labelling/actions`;
    this.opening = opening;
    this.listener = listener;
    this.key = `${PREFIX}/${id}/${this.client}`;
    this.retry = () => this.#send();
    addEventListener("online", this.retry);
  }

  /**
   * Keep an action, and send it. Returns its number.
   *
   * @param {import("./api.js").Action} action
   */
  push(action) {
    const last = this.pending.at(-1);
    if (action.action === "look" && last?.action.action === "look" && !this.#sending) this.pending.pop();
    else this.#seq += 1;
    this.pending.push({ seq: this.#seq, given: Date.now() / 1000 + this.#ahead, action });
    this.#store();
    void this.#send();
    return this.#seq;
  }

  /**
   * The server has told what time it is.
   *
   * @param {number} now
   */
  setClock(now) {
    this.#ahead = Math.max(this.#ahead, now - Date.now() / 1000);
  }

  /**
   * The server has told, in an answer or in another way, that it did all up to a number.
   *
   * @param {number} seq
   */
  acknowledge(seq) {
    this.#setOnline(true);
    const before = this.pending.length;
    this.pending = this.pending.filter((one) => one.seq > seq);
    if (this.pending.length !== before) this.#store();
    if (!this.pending.length) for (const resolve of this.#settling.splice(0)) resolve();
  }

  /**
   * Resolves when the server has everything.
   *
   * @returns {Promise<void>}
   */
  settled() {
    if (!this.pending.length) return Promise.resolve();
    return new Promise((resolve) => this.#settling.push(resolve));
  }

  /** Send no more from here. What is unsent stays in the browser for the next page. */
  close() {
    this.closed = true;
    clearTimeout(this.#timer);
    removeEventListener("online", this.retry);
  }

  async #send() {
    if (this.#sending || this.closed) return;
    this.#sending = true;
    clearTimeout(this.#timer);
    while (this.pending.length && !this.closed) {
      const actions = this.pending.slice(0, MOST);
      try {
        const done = await post(this.address, { client: this.client, opening: this.opening, actions: flat(actions) });
        this.#wait = 250;
        this.acknowledge(done.done);
        this.listener.ondone(done);
      } catch (error) {
        if (error instanceof Refused && error.status < 500) {
          this.#sending = false;
          this.listener.onrefused(error, actions);
          return;
        }
        this.#setOnline(false);
        this.#timer = setTimeout(this.retry, this.#wait);
        this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_MS);
        break;
      }
    }
    this.#sending = false;
  }

  /** @param {boolean} online */
  #setOnline(online) {
    if (online === this.online) return;
    this.online = online;
    this.listener.onconnection(online);
  }

  #store() {
    try {
      if (this.pending.length)
        localStorage.setItem(this.key, JSON.stringify({ opening: this.opening, actions: this.pending }));
      else localStorage.removeItem(this.key);
    } catch {
      // A full or forbidden storage: what is unsent lives as long as this page, which says so before it is left.
    }
  }
}

/**
 * Send what earlier pages could not: their network was away when they were left. Returns how many actions were sent,
 * those that no longer can be, as the frames were sorted since, and how many frames others labelled later.
 *
 * @param {string} id  of the recording
 */
export async function sendLeft(id) {
  let sent = 0;
  /** @type {Numbered[]} */
  const lost = [];
  let overtaken = 0;
  for (const key of Object.keys(localStorage).filter((one) => one.startsWith(`${PREFIX}/${id}/`))) {
    const client = key.slice(key.lastIndexOf("/") + 1);
    const { opening, actions } = JSON.parse(localStorage.getItem(key) ?? '{"actions": []}');
    try {
      for (let at = 0; at < actions.length; at += MOST) {
        const part = actions.slice(at, at + MOST);
        overtaken += (await post(`/api/recordings/${id}/labelling/actions`, { client, opening, actions: flat(part) })).overtaken;
        sent += part.length;
      }
    } catch (error) {
      if (!(error instanceof Refused) || (error.status !== 400 && !error.more.reload)) throw error; // they stay
      lost.push(...actions.filter((/** @type {Numbered} */ { action }) => !["look", "pause"].includes(action.action)));
    }
    localStorage.removeItem(key);
  }
  return { sent, lost, overtaken };
}

/** @param {Numbered[]} actions */
function flat(actions) {
  return actions.map(({ seq, given, action }) => ({ seq, given, ...action }));
}

/** A name that no other page has. `crypto.randomUUID` needs https or localhost. */
function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
