// One photograph of an album, large: in color or in gray, with what is known of it and what may be done.

import { fetchJob, fileOf } from "./batches.js";
import { number, t, told } from "./strings.js";

const element = (id) => document.getElementById(id);
const SHOWABLE = new Set(["image/jpeg", "image/png", "image/webp", "image/avif", "image/gif"]);

/** A finger that moved so many pixels to the side turns the page. */
const SWIPE = 60;

/**
 * @typedef {{place: number, of: number, name: string, job: string | null, page: string, verdict: string | null, word: string,
 *   detail: string, failed: boolean, busy: boolean, canRetry: boolean, hasPart: boolean, canRedo: boolean, isRedone: boolean}} Look
 * `job`: whose picture is shown, where there is one; `page`: address of the photograph's own page; `hasPart`: the file may be cut off,
 * and what is there of it can be colored.
 */

export class Viewer {
  /** @param {Record<string, (value?: any) => void>} hooks accept, reject, undo, turn(step), change(name, by), other, first, retry, part, copy(file), own, close(place) */
  constructor(hooks) {
    this.dialog = element("viewer");
    this.job = null;
    this.place = null;
    const { dialog } = this;
    element("close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => hooks.close(this.place));
    for (const name of ["accept", "reject", "other", "first", "retry", "part"]) element(name).addEventListener("click", () => hooks[name]());
    element("viewer-undo").addEventListener("click", () => hooks.undo());
    element("previous").addEventListener("click", () => hooks.turn(-1));
    element("next").addEventListener("click", () => hooks.turn(1));
    element("redo").addEventListener("click", () => this.toggleRedo());
    element("before").addEventListener("click", () => this.#inGray(element("before").ariaPressed !== "true"));
    for (const button of dialog.querySelectorAll("[data-change]")) {
      button.addEventListener("click", () => hooks.change(button.dataset.change, Number(button.dataset.by)));
    }
    element("copy").addEventListener("change", ({ target }) => {
      const [file] = target.files;
      target.value = "";
      if (file) hooks.copy(file);
    });
    element("own-page").addEventListener("click", () => hooks.own());
    dialog.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const keys = { a: "accept", x: "reject", r: "redo", b: "before", u: "viewer-undo", arrowleft: "previous", arrowright: "next" };
      const button = element(keys[event.key.toLowerCase()]);
      if (!button || !button.checkVisibility() || button.disabled) return;
      event.preventDefault();
      button.click();
    });
    listenForSwipes(element("viewer-frame"), hooks.turn);
  }

  get isOpen() {
    return this.dialog.open;
  }

  /** Opens for a photograph, or shows it anew. @param {Look} look */
  show(look, canUndo) {
    const isOther = look.place !== this.place;
    this.place = look.place;
    element("viewer-name").textContent = look.name;
    element("viewer-place").textContent = t("{place} of {of}", { place: number(look.place + 1), of: number(look.of) });
    element("viewer-state").textContent = [look.word, look.detail].filter(Boolean).join(". ");
    element("viewer-frame").classList.toggle("busy", look.busy);
    element("viewer-made").hidden = !look.job;
    element("viewer-failed").hidden = !look.failed || look.busy;
    element("retry").hidden = !look.canRetry;
    element("part").hidden = !look.hasPart;
    element("accept").ariaPressed = String(look.verdict === "accepted");
    element("reject").ariaPressed = String(look.verdict === "rejected");
    element("redo").hidden = !look.canRedo;
    element("first").hidden = !look.isRedone;
    element("viewer-undo").disabled = !canUndo;
    for (const button of element("again").querySelectorAll("button")) button.disabled = look.busy;
    element("own-page").href = look.page;
    if (isOther || !look.canRedo) this.#closeRedo();
    if (isOther) this.#inGray(false);
    if (!this.isOpen) {
      this.dialog.showModal();
      element("viewer-name").focus();
    } else if (!document.activeElement.checkVisibility() || document.activeElement.matches("body, :disabled")) {
      element("viewer-name").focus(); // what had the focus is gone or takes no keys, and these are heard within the dialog alone
    }
    if (isOther || look.job !== this.job) this.#load(look.job);
  }

  toggleRedo() {
    const box = element("again");
    box.hidden = !box.hidden;
    element("redo").ariaExpanded = String(!box.hidden);
    if (!box.hidden) {
      element("other").focus();
      box.scrollIntoView({ block: "nearest" });
    }
  }

  /** Pictures that were made of it on its own page, to take one of them. @param {{id: string, thumbnail: string | null}[]} made */
  offer(made, take) {
    const buttons = made.map((one, rank) => {
      const button = document.createElement("button");
      if (one.thumbnail) {
        const image = document.createElement("img");
        image.src = one.thumbnail;
        image.alt = "";
        button.append(image);
      }
      button.append(t("Take number {rank} from its page", { rank: number(rank + 1) }));
      button.type = "button";
      button.addEventListener("click", () => take(one));
      return button;
    });
    element("made-there").replaceChildren(...buttons);
    element("made-there").hidden = buttons.length === 0;
  }

  #closeRedo() {
    element("again").hidden = true;
    element("redo").ariaExpanded = "false";
  }

  #inGray(gray) {
    element("before").ariaPressed = String(gray);
    element("viewer-half").classList.toggle("gray", gray);
  }

  /** Its picture and notices; what comes too late for another photograph is passed over. */
  async #load(id) {
    this.job = id;
    const half = element("viewer-half");
    half.hidden = true;
    element("viewer-notices").hidden = true;
    if (!id) return;
    const job = await fetchJob(id).catch(() => null);
    if (this.job !== id || !job) return;
    tellNotices(job.notices);
    const { shown, isHalf } = pictureOf(job);
    element("before").hidden = !isHalf;
    if (!shown) return;
    const picture = element("viewer-picture");
    const loaded = await loads(picture, fileOf(id, shown));
    if (this.job !== id || !loaded) return;
    half.style.setProperty("--wide", picture.naturalWidth / picture.naturalHeight / (isHalf ? 2 : 1));
    half.classList.toggle("alone", !isHalf);
    picture.alt = isHalf ? t("The photograph in guessed colors") : t("The photograph");
    half.hidden = false;
  }
}

/** The best picture that any browser can show. */
function pictureOf({ artifacts, result }) {
  const has = (name) => artifacts.some((one) => one.name === name);
  if (has("comparison")) return { shown: "artifacts/comparison", isHalf: true };
  if (SHOWABLE.has(result?.media_type)) return { shown: "result", isHalf: false };
  return { shown: has("thumbnail") ? "artifacts/thumbnail" : null, isHalf: false };
}

/** Shows the picture and tells whether this browser can. */
function loads(image, url) {
  return new Promise((resolve) => {
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
    image.src = url;
  });
}

function tellNotices(notices) {
  const items = notices.map(({ code, detail }) => {
    const item = document.createElement("li");
    item.dataset.code = code;
    item.textContent = told(detail);
    return item;
  });
  element("viewer-notices").replaceChildren(...items);
  element("viewer-notices").hidden = items.length === 0;
}

function listenForSwipes(frame, turn) {
  let from = null;
  frame.addEventListener("touchstart", ({ touches }) => {
    from = touches.length === 1 ? touches[0] : null;
  }, { passive: true });
  frame.addEventListener("touchend", ({ changedTouches: [to] }) => {
    if (!from) return;
    const [across, down] = [to.clientX - from.clientX, to.clientY - from.clientY];
    if (Math.abs(across) > SWIPE && Math.abs(across) > 2 * Math.abs(down)) turn(across < 0 ? 1 : -1);
    from = null;
  });
}
