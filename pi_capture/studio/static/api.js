// What the server is asked, and the types of its answers (`pi_capture/studio/routes` describes each).

/**
 * @typedef {[start: number, stop: number, label: number]} Run
 *
 * @typedef {object} Home
 * @property {string} folder
 * @property {string} machine  its name in the network
 * @property {number} free_bytes
 * @property {{check: string, state: "warn" | "fail", found: string, advice: string}[]} warnings
 * @property {{id: string, name: string, changed: number}[]} recordings
 * @property {Model[]} models
 * @property {Recorder[]} recorders
 * @property {number} trash  recordings and models in it
 *
 * @typedef {object} Recording
 * @property {string} id
 * @property {string} name
 * @property {string} format
 * @property {number} frames
 * @property {number} bytes
 * @property {number} seconds
 * @property {string | null} size
 * @property {{name: string, directory: string, frames: number, waiting: number}[]} classes
 * @property {number} unlabelled
 * @property {number} waiting
 * @property {"recording" | "to be labelled" | "labelled" | "split" | "held out" | "broken"} state
 * @property {string | null} labelled_by
 * @property {string[]} can
 * @property {string | null} begun
 * @property {boolean} interrupted
 * @property {string | null} problem
 *
 * @typedef {object} Recorder
 * @property {string} id
 * @property {string | null} recording
 * @property {string} target
 * @property {string} command
 * @property {string} camera
 * @property {string | null} size
 * @property {number} started
 * @property {number} seconds
 * @property {number} frames
 * @property {number} dropped_queue
 * @property {number} dropped_camera
 * @property {number} dropped_disk
 * @property {number} fps
 * @property {number} free_bytes
 * @property {number | null} seconds_left
 * @property {string[]} classes
 * @property {number | null} label
 * @property {boolean} stopping
 *
 * @typedef {object} Wanted  what is to be recorded
 * @property {string} name
 * @property {number} [seconds]
 * @property {string} [camera]
 * @property {string} [size]
 * @property {number | null} [fps]
 * @property {string[]} [classes]
 * @property {Record<string, unknown>} [options]
 *
 * @typedef {object} Model
 * @property {string} id
 * @property {string} name
 * @property {number} bytes
 * @property {number} changed
 * @property {string[]} classes
 * @property {number | null} accuracy
 * @property {string | null} problem
 *
 * @typedef {object} Training
 * @property {"none" | "training" | "done" | "failed" | "cancelled"} state
 * @property {string} name
 * @property {string} command
 * @property {string} what
 * @property {number} done
 * @property {number} total
 * @property {string | null} problem
 * @property {TrainingReport | null} report
 *
 * @typedef {object} TrainingReport
 * @property {string} model
 * @property {string[]} classes
 * @property {Record<string, number>} frames
 * @property {Record<string, number>} stretches
 * @property {string} tested_on
 * @property {number | null} accuracy
 * @property {number | null} smoothed
 * @property {number | null} chance
 * @property {number[][]} confusion
 * @property {string} kind
 * @property {number} seconds
 * @property {string[]} advice
 * @property {string[]} notes
 * @property {number} all_mistakes
 * @property {{recording: string, name: string, index: number, frame: string, label: string, guess: string, certainty: number}[]} mistakes
 *
 * @typedef {object} Labels
 * @property {number} count
 * @property {string[]} classes
 * @property {Run[]} runs
 * @property {{id: string, name: string, at: number[]} | null} before  the split: where each frame was
 *
 * @typedef {object} LabellingState
 * @property {string} session
 * @property {string} opening
 * @property {number} count
 * @property {number} revision
 * @property {number} cursor
 * @property {Run[]} labels
 * @property {number[]} unreadable
 * @property {{label: number, name: string, sorted: number}[]} classes
 * @property {number} keys
 * @property {number | null} held
 * @property {boolean} hold
 * @property {boolean} can_undo
 * @property {boolean} can_redo
 * @property {number} fps
 * @property {{known: number, at: number[]}} changes
 * @property {Record<string, number>} clients
 * @property {string} saving
 * @property {string[]} told
 * @property {number} now  seconds since 1970, by its clock
 * @property {Help} help
 * @property {Proposal[]} proposals
 *
 * @typedef {[start: number, stop: number, label: number, certainty: number]} Proposal
 *
 * @typedef {object} Help
 * @property {number} number
 * @property {"nothing" | "frames" | "runs" | "borders" | "doubts"} asking
 * @property {number} first
 * @property {number} stop
 * @property {number} label
 * @property {number} certainty
 * @property {string} model
 * @property {number[]} shown
 * @property {number} inside
 * @property {number} questions
 * @property {boolean} least_certain_first
 * @property {number | null} described
 * @property {string} said
 *
 * @typedef {object} LabellingChange
 * @property {number} revision
 * @property {number} cursor
 * @property {Run[]} labels
 * @property {string} by
 * @property {number} seq
 * @property {boolean} can_undo
 * @property {boolean} can_redo
 * @property {boolean} hold
 * @property {number | null} held
 * @property {number[]} unreadable
 * @property {string} taken_from  the other client whose labels an undo took back
 *
 * @typedef {Record<string, unknown> & {action: string, frame?: number}} Action
 *
 * @typedef {object} Done
 * @property {number} done
 * @property {number} revision
 * @property {LabellingChange[]} changes
 * @property {string} told
 * @property {number} overtaken  frames that others labelled later
 * @property {Help} help
 *
 * @typedef {object} FrameHead
 * @property {number} frame
 * @property {string} type
 * @property {boolean} proxy
 * @property {string} error
 * @property {number} bytes
 */

/** The server refused; the message is for the person. */
export class Refused extends Error {
  /**
   * @param {string} message
   * @param {number} status
   * @param {Record<string, unknown>} [more]
   */
  constructor(message, status, more = {}) {
    super(message);
    this.status = status;
    this.more = more;
  }
}

/** This tab of this browser, among those who want the camera. */
export const TAB = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The server does not answer at all. */
export class Unreachable extends Error {
  constructor() {
    super("the studio can't be reached; is it running, and the network there?");
  }
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}  as the route says
 */
export async function get(path, signal) {
  return (await answer(path, { signal })).json();
}

/**
 * @param {string} path
 * @param {object} [body]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}  as the route says
 */
export async function post(path, body = {}, signal) {
  const headers = { "Content-Type": "application/json", "X-Studio": "1" };
  return (await answer(path, { method: "POST", headers, body: JSON.stringify(body), signal })).json();
}

/**
 * @param {string} path
 * @param {RequestInit} options
 */
async function answer(path, options) {
  const response = await fetch(path, options).catch((error) => {
    throw isAbort(error) ? error : new Unreachable();
  });
  if (response.ok) return response;
  const more = await response.json().catch(() => ({}));
  throw new Refused(more.error ?? `the studio answered ${response.status}`, response.status, more);
}

/**
 * The records of a pack, as they come.
 *
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {AsyncGenerator<{head: any, body: Uint8Array & BlobPart}>}
 */
export async function* records(path, signal) {
  const response = await answer(path, { signal });
  const decoder = new TextDecoder();
  /** @type {Uint8Array[]} */
  let kept = [];
  let size = 0;
  let wanted = 4;
  /** @type {any} */
  let head = null;
  let headLength = 0;
  for await (const part of parts(response)) {
    kept.push(part);
    size += part.length;
    if (size < wanted) continue;
    let bytes = joined(kept, size);
    while (bytes.length >= wanted) {
      const record = bytes.subarray(0, wanted);
      bytes = bytes.subarray(wanted);
      if (!headLength) {
        headLength = new DataView(record.buffer, record.byteOffset).getUint32(0);
        wanted = headLength;
      } else if (!head) {
        head = JSON.parse(decoder.decode(record));
        wanted = head.bytes ?? 0;
      } else {
        yield { head, body: /** @type {Uint8Array & BlobPart} */ (record) };
        head = null;
        headLength = 0;
        wanted = 4;
      }
    }
    kept = [bytes];
    size = bytes.length;
  }
}

/** @param {Response} response */
async function* parts(response) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {}); // what isn't read any more is not sent
  }
}

/**
 * @param {Uint8Array[]} pieces
 * @param {number} size
 */
function joined(pieces, size) {
  if (pieces.length === 1) return pieces[0];
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/**
 * Whether an error only says that we have asked for something no more.
 *
 * @param {unknown} error
 */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/** @param {unknown} error */
export function words(error) {
  return error instanceof Refused || error instanceof Unreachable ? error.message : String(error);
}
