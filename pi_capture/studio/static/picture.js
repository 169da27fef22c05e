// The picture one looks at: drawn on a canvas, stepped by swipes, looked at closely with two fingers.

const STEP_PIXELS = 36; // of a swipe, a frame
const CLOSEST = 12;

export class PictureView {
  #scale = 1;
  #x = 0;
  #y = 0;
  /** @type {Map<number, {x: number, y: number}>} */
  #fingers = new Map();
  #swiped = 0;
  #tapped = 0;
  /** @type {unknown} */
  #drawn = null;

  /**
   * @param {HTMLElement} place  holds the canvas, and takes the fingers
   * @param {HTMLCanvasElement} canvas
   * @param {(frames: number) => void} onstep
   */
  constructor(place, canvas, onstep) {
    this.place = place;
    this.canvas = canvas;
    this.onstep = onstep;
    place.addEventListener("pointerdown", (event) => this.#down(event, place));
    place.addEventListener("pointermove", (event) => this.#move(event));
    place.addEventListener("pointerup", (event) => this.#up(event));
    place.addEventListener("pointercancel", (event) => this.#fingers.delete(event.pointerId));
    place.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /**
   * Draw a picture, if it is another one than the one that is there.
   *
   * @param {ImageBitmap | null} bitmap
   * @param {number} position
   */
  show(bitmap, position) {
    if (bitmap === this.#drawn) return;
    this.#drawn = bitmap;
    const { canvas } = this;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    if (!bitmap) return context.clearRect(0, 0, canvas.width, canvas.height);
    delete this.place.dataset.told; // words that stand there until there is a picture
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      canvas.style.aspectRatio = `${bitmap.width} / ${bitmap.height}`;
      canvas.style.setProperty("--shape", String(bitmap.width / bitmap.height));
    }
    context.drawImage(bitmap, 0, 0);
    canvas.dataset.frame = String(position);
  }

  /**
   * @param {PointerEvent} event
   * @param {HTMLElement} place
   */
  #down(event, place) {
    place.setPointerCapture(event.pointerId);
    this.#fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.#swiped = 0;
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const before = this.#fingers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const other = [...this.#fingers].find(([id]) => id !== event.pointerId)?.[1];
    this.#fingers.set(event.pointerId, now);
    if (other) {
      const was = Math.hypot(before.x - other.x, before.y - other.y);
      this.#zoom(Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, was));
      this.#pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    } else if (this.#scale > 1) this.#pan(now.x - before.x, now.y - before.y);
    else {
      this.#swiped += before.x - now.x; // to the left, as one turns pages
      const frames = Math.trunc(this.#swiped / STEP_PIXELS);
      this.#swiped -= frames * STEP_PIXELS;
      if (frames) this.onstep(frames);
    }
  }

  /** @param {PointerEvent} event */
  #up(event) {
    const { timeStamp } = event;
    this.#fingers.delete(event.pointerId);
    if (timeStamp - this.#tapped < 300 && !this.#fingers.size) this.reset();
    this.#tapped = timeStamp;
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    if (event.ctrlKey) this.#zoom(Math.exp(-event.deltaY / 200));
    else this.onstep(Math.sign(event.deltaY || event.deltaX));
  }

  /** @param {number} by */
  #zoom(by) {
    this.#scale = Math.max(1, Math.min(this.#scale * by, CLOSEST));
    this.#pan(0, 0);
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  #pan(x, y) {
    const { clientWidth, clientHeight } = this.canvas;
    const far = (this.#scale - 1) / 2;
    this.#x = Math.max(-far * clientWidth, Math.min(this.#x + x, far * clientWidth));
    this.#y = Math.max(-far * clientHeight, Math.min(this.#y + y, far * clientHeight));
    this.canvas.style.transform = `translate(${this.#x}px, ${this.#y}px) scale(${this.#scale})`;
  }

  /** The whole picture again. */
  reset() {
    this.#scale = 1;
    this.#x = this.#y = 0;
    this.canvas.style.transform = "";
  }
}
