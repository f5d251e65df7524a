// The photographs of an album as tiles, one of which can be reached by Tab: arrows move from there.

/**
 * @typedef {{name: string, picture: string | null, href: string | null, status: string, verdict: string | null, word: string, shown: boolean}} Tile
 * `picture`: address of its thumbnail; `href`: of its page; `word`: how it stands.
 */

export class Tiles {
  /**
   * @param {HTMLOListElement} list with the tiles that the server has written
   * @param {{onOpen: (place: number) => void, onKey: (key: string, place: number) => boolean}} hooks
   *   `onKey`: a letter; whether it meant something
   */
  constructor(list, { onOpen, onKey }) {
    this.list = list;
    this.items = [...list.children];
    this.current = 0;
    for (const item of this.items) this.#link(item).tabIndex = -1;
    list.addEventListener("click", (event) => {
      const place = this.items.indexOf(event.target.closest("li"));
      if (place < 0 || event.ctrlKey || event.metaKey || event.shiftKey) return; // another tab or window is wanted
      event.preventDefault();
      this.moveTo(place, false);
      onOpen(place);
    });
    list.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (this.#move(event.key) || ([" ", "Enter"].includes(event.key) && this.#open(onOpen)) || onKey(event.key.toLowerCase(), this.current)) event.preventDefault();
    });
    document.addEventListener("keydown", (event) => this.#fromNothing(event, onKey));
  }

  get count() {
    return this.items.length;
  }

  /** Shows a photograph at its place, the next one after the last at most. @param {Tile} tile */
  put(place, { name, picture, href, status, verdict, word, shown }) {
    const item = this.items[place] ?? this.#add();
    const link = this.#link(item);
    item.hidden = !shown;
    set(item.dataset, "status", status);
    set(item.dataset, "verdict", verdict);
    if (href) link.href = href;
    link.role = href ? null : "button";
    if (place === this.current) link.tabIndex = 0;
    const [image, title, state] = link.children;
    if (picture && image.src !== picture) image.replaceWith(thumbnail(picture));
    if (title.textContent !== name) title.textContent = title.title = name;
    if (state.textContent !== word) state.textContent = word;
  }

  /** Lets Tab reach this one, and takes the focus there. */
  moveTo(place, focus = true) {
    if (!this.items[place]) return;
    this.#link(this.items[this.current]).tabIndex = -1;
    this.current = place;
    const link = this.#link(this.items[place]);
    link.tabIndex = 0;
    if (focus) link.focus();
  }

  /** The next place that is shown, in this direction; the same where there is none. */
  beside(place, step) {
    for (let at = place + step; at >= 0 && at < this.items.length; at += step) if (!this.items[at].hidden) return at;
    return place;
  }

  #move(key) {
    const columns = getComputedStyle(this.list).gridTemplateColumns.split(" ").length;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -Infinity, End: Infinity };
    if (!(key in steps)) return false;
    const shown = this.items.flatMap((item, place) => (item.hidden ? [] : [place]));
    if (shown.length === 0) return true;
    const to = Math.max(0, shown.indexOf(this.current)) + steps[key];
    if (Number.isFinite(to) && (to < 0 || to >= shown.length)) return true;
    this.moveTo(shown[Math.min(Math.max(to, 0), shown.length - 1)]);
    return true;
  }

  /** Keys upon nothing, as on a page just loaded: they are for the photograph that Tab would reach. */
  #fromNothing(event, onKey) {
    if (event.target !== document.body || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const place = this.items[this.current]?.hidden === false ? this.current : this.items.findIndex((item) => !item.hidden);
    if (place < 0 || !(event.key.startsWith("Arrow") || onKey(event.key.toLowerCase(), place))) return;
    event.preventDefault();
    if (document.activeElement === document.body) this.moveTo(place);
  }

  #open(onOpen) {
    onOpen(this.current);
    return true;
  }

  #add() {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.tabIndex = -1;
    link.append(...["blank", "name", "state"].map(span));
    item.append(link);
    this.list.append(item);
    this.items.push(item);
    return item;
  }

  #link(item) {
    return item.firstElementChild;
  }
}

function span(name) {
  const made = document.createElement("span");
  made.className = name;
  return made;
}

function thumbnail(address) {
  const image = document.createElement("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.width = 192;
  image.height = 144;
  image.alt = "";
  image.src = address;
  return image;
}

function set(dataset, name, value) {
  if (value) dataset[name] = value;
  else delete dataset[name];
}
