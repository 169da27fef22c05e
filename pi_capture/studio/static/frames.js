// Frames of a recording, decoded ahead of the eye: those around the one looked at are kept, the rest is let go.

import { isAbort, records } from "./api.js";

/** @typedef {{bitmap: ImageBitmap | null, proxy: boolean, error: string}} Picture */

const AROUND = 120; // frames kept on either side, in steps
const PACK = 30; // frames in a request; they are shown as they come. The next request would only delay them
const NEAR = 30; // frames ahead that are fetched before those behind; all of them are kept, whatever the step
const RETRY_MS = 1000;

/**
 * @typedef {object} Fetching
 * @property {number[]} positions
 * @property {AbortController} controller
 */

export class Frames {
  /** @type {Map<number, Picture>} */
  #pictures = new Map();
  /** @type {Fetching | null} */
  #fetching = null;
  #at = 0;
  #step = 1;
  /** @type {number[]} */
  #beside = [];
  #closed = false;
  #failing = 0;

  /**
   * @param {string} address  of the route that gives packs
   * @param {number} count
   * @param {(position: number, picture: Picture) => void} onarrival
   */
  constructor(address, count, onarrival) {
    this.address = address;
    this.count = count;
    this.onarrival = onarrival;
  }

  /**
   * The frame is looked at, and others will be in such steps, negative backwards.
   *
   * @param {number} position
   * @param {number} [step]
   * @param {number[]} [beside]  frames that are seen with it
   */
  lookAt(position, step = 1, beside = []) {
    this.#at = position;
    this.#step = step || 1;
    this.#beside = beside;
    if (!this.#fetching?.positions.some((one) => this.#isWanted(one))) this.#fetching?.controller.abort();
    for (const [one, picture] of this.#pictures) if (!this.#isWanted(one)) this.#drop(one, picture);
    this.#fetch();
  }

  /** @param {number} position */
  get(position) {
    return this.#pictures.get(position);
  }

  /**
   * The whole picture of a frame. The caller closes it.
   *
   * @param {number} position
   * @param {AbortSignal} signal
   */
  async full(position, signal) {
    const response = await fetch(`${this.address}/${position}`, { signal });
    if (!response.ok) return null;
    return createImageBitmap(await response.blob());
  }

  /** How many pictures are kept. */
  get size() {
    return this.#pictures.size;
  }

  close() {
    this.#closed = true;
    this.#fetching?.controller.abort();
    for (const [one, picture] of this.#pictures) this.#drop(one, picture);
  }

  /**
   * Whether a frame is kept: at most 301 are, however long the steps.
   *
   * @param {number} position
   */
  #isWanted(position) {
    const away = Math.abs(position - this.#at);
    const step = Math.abs(this.#step);
    return away <= NEAR || (away % step === 0 && away <= AROUND * step) || this.#beside.includes(position);
  }

  /**
   * @param {number} position
   * @param {Picture} picture
   */
  #drop(position, picture) {
    picture.bitmap?.close();
    this.#pictures.delete(position);
  }

  #fetch() {
    if (this.#closed || this.#fetching) return;
    const positions = this.#missing();
    if (positions.length) void this.#fetchPack(positions);
  }

  /**
   * The frames to be asked for next: those seen together; then ascending and equally spaced ones: ahead, behind,
   * further ahead, further behind. Those further away wait until they make a whole pack.
   */
  #missing() {
    const together = this.#beside.length ? [this.#at, ...this.#beside] : [];
    const unseen = together.filter((one) => !this.#pictures.has(one));
    if (unseen.length) return [...new Set(unseen)];
    for (const [way, first, stop] of [
      [1, 0, NEAR],
      [-1, 1, NEAR / 2],
      [1, NEAR, AROUND],
      [-1, NEAR / 2, AROUND],
    ]) {
      /** @type {number[]} */
      const found = [];
      for (let n = first; n < stop && found.length < PACK; n += 1) {
        const position = this.#at + n * way * this.#step;
        if (position < 0 || position >= this.count) break;
        if (!this.#pictures.has(position)) found.push(position);
        else if (found.length) break;
      }
      const end = this.#at + stop * way * this.#step;
      const few = found.length < PACK && end >= 0 && end < this.count;
      if (found.length && !(few && first >= NEAR / 2)) return found.sort((one, other) => one - other);
    }
    return [];
  }

  /** @param {number[]} positions */
  async #fetchPack(positions) {
    const fetching = { positions, controller: new AbortController() };
    this.#fetching = fetching;
    /** @type {Promise<void>[]} */
    const taking = [];
    const step = Math.abs(this.#step);
    const isSpaced = positions.every((one, n) => one === positions[0] + n * step);
    const query = isSpaced ? `first=${positions[0]}&count=${positions.length}&step=${step}` : `at=${positions.join()}`;
    try {
      for await (const { head, body } of records(`${this.address}?${query}`, fetching.controller.signal))
        taking.push(this.#take(head, body));
    } catch (error) {
      if (!isAbort(error) && !this.#closed && !this.#failing)
        this.#failing = setTimeout(() => {
          this.#failing = 0;
          this.#fetch();
        }, RETRY_MS);
    } finally {
      await Promise.allSettled(taking); // until they are decoded, they are neither kept nor to be asked for again
      this.#fetching = null;
      if (!this.#failing) this.#fetch();
    }
  }

  /**
   * @param {import("./api.js").FrameHead} head
   * @param {Uint8Array & BlobPart} body
   */
  async #take({ frame, type, proxy, error }, body) {
    const bitmap = error ? null : await createImageBitmap(new Blob([body], { type })).catch(() => null);
    if (this.#closed || !this.#isWanted(frame) || this.#pictures.has(frame)) {
      bitmap?.close();
      return;
    }
    const picture = { bitmap, proxy, error: error || (bitmap ? "" : "it can't be decoded") };
    this.#pictures.set(frame, picture);
    this.onarrival(frame, picture);
  }
}
