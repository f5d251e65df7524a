// Colors that somebody knows to be in the picture, wherever that is.

import { nameOf } from "./colors.js";
import { t } from "./strings.js";

const MOST = 6;
const FIRST = "#7a1f2b";

export class Known {
  /**
   * @param {HTMLElement} box as `photo.html.j2` has it
   * @param {string[]} colors that are known already
   * @param {(colors: string[]) => void} use colors the photo with them
   */
  constructor(box, colors, use) {
    this.list = box.querySelector("ul");
    this.more = box.querySelector("[data-more]");
    this.use = box.querySelector("[data-use]");
    this.before = colors.join();
    for (const color of colors) this.#add(color);
    this.more.addEventListener("click", () => this.#add(FIRST).querySelector("input").focus());
    this.use.addEventListener("click", () => use(this.colors));
    this.#changed();
  }

  get colors() {
    return [...this.list.querySelectorAll("input")].map(({ value }) => value);
  }

  #add(color) {
    const item = document.createElement("li");
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "color";
    input.value = color;
    const name = document.createElement("span");
    label.append(input, name);
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "quiet";
    const told = () => {
      name.textContent = nameOf(input.value);
      remove.textContent = t("Remove");
      remove.setAttribute("aria-label", t("Remove {color}", { color: name.textContent }));
      this.#changed();
    };
    input.addEventListener("input", told);
    remove.addEventListener("click", () => {
      item.remove();
      this.#changed();
      this.more.focus();
    });
    item.append(label, remove);
    this.list.append(item);
    told();
    return item;
  }

  #changed() {
    this.more.disabled = this.list.children.length >= MOST;
    this.use.disabled = this.colors.join() === this.before;
  }
}
