// How far an avatar is: its stages, the crop, and the views as they appear.

import { readBlob } from "/api.js";
import { announce, byId, make, showImage } from "/dom.js";
import { STAGES } from "/words.js";

const SIDE = 4;
const VIEWS = SIDE * SIDE;
const photos = new Map();

/** Keep a photo that was sent, to show it until there is a crop. */
export const keepPhoto = (id, photo) => photos.set(id, photo);

/** The sheets of views: the later, the sharper. */
const SHEETS = ["early/lowres_views.webp", "early/views.webp"];
const CROP = "early/portrait.png";

/** Empty tiles for 16 views. */
export function emptyTiles(box) {
  box.replaceChildren(...Array.from({ length: VIEWS }, () => make("i")));
  box.classList.remove("filled");
}

/** Show a sheet of 4 x 4 views in the tiles, one after the other. */
export async function fillTiles(box, blob) {
  const sheet = await createImageBitmap(blob);
  const [width, height] = [sheet.width / SIDE, sheet.height / SIDE];
  [...box.children].forEach((tile, view) => {
    const canvas = make("canvas", { width, height });
    const [x, y] = [(view % SIDE) * width, Math.floor(view / SIDE) * height];
    canvas.getContext("2d").drawImage(sheet, x, y, width, height, 0, 0, width, height);
    canvas.style.animationDelay = `${view * 45}ms`;
    tile.append(canvas);
    while (tile.children.length > 2) tile.firstChild.remove();
  });
  box.classList.add("filled");
}

/** Shows what the events of one job say. */
export class Progress {
  constructor(job, signal) {
    this.job = job;
    this.signal = signal;
    this.stage = "";
    this.sheet = -1;
    this.crop = false;
    byId("steps").hidden = false;
    emptyTiles(byId("tiles"));
    byId("tiles").setAttribute("aria-label", "The views appear here.");
    const items = Object.entries(STAGES).map(([name, words]) => step(name, words));
    byId("steps").replaceChildren(...items);
    this.showPhoto();
  }

  /** Take an event. */
  tell(kind, data) {
    if (kind === "state") this.begin(data.state);
    if (kind !== "progress") return;
    if (data.stage) this.reach(data);
    for (const name of data.views) this.show(name).catch(() => {}); // it may be erased by now
  }

  /** A job that was given back begins again. */
  begin(state) {
    if (state !== "queued") return;
    for (const item of byId("steps").children) mark(item, "later");
    announce("Waiting for its turn.");
  }

  reach({ stage, step: done, steps }) {
    const list = byId("steps");
    const items = [...list.children];
    let now = items.find((item) => item.dataset.stage === stage);
    if (!now) list.append((now = step(stage, stage)));
    for (let item = now.previousElementSibling; item; item = item.previousElementSibling) mark(item, "done");
    mark(now, "now", steps ? `${done} of ${steps}` : "", steps ? done / steps : 0);
    if (stage !== this.stage) announce(STAGES[stage] ?? stage);
    this.stage = stage;
  }

  /** Keep only what was made before it ended without a head. */
  end() {
    byId("steps").hidden = true;
    byId("working").hidden = byId("working-crop").hidden;
    byId("stage").hidden = this.sheet < 0;
  }

  async show(name) {
    const path = `/v1/avatars/${this.job.id}/files/${name}`;
    if (name === CROP) {
      this.crop = true;
      const [image, caption] = byId("working-crop").children;
      await showImage(image, path, this.signal);
      caption.textContent = "The crop that the model sees";
      image.alt = "The crop of the portrait";
      byId("working-crop").hidden = false;
      return;
    }
    const sheet = SHEETS.indexOf(name);
    if (sheet <= this.sheet) return;
    this.sheet = sheet;
    const blob = await readBlob(path, this.signal);
    if (sheet < this.sheet || this.signal.aborted) return;
    await fillTiles(byId("tiles"), blob);
    const words = sheet ? "The 16 views, sharpened" : "The 16 views, still coarse";
    byId("tiles").setAttribute("aria-label", words);
    announce(words);
  }

  showPhoto() {
    const figure = byId("working-crop");
    const photo = photos.get(this.job.id);
    figure.hidden = !photo;
    if (!photo) return;
    const [image, caption] = figure.children;
    const url = URL.createObjectURL(photo);
    this.signal.addEventListener("abort", () => URL.revokeObjectURL(url));
    image.onerror = () => (figure.hidden ||= !this.crop); // no image at all; the service will say so
    image.src = url;
    image.alt = "";
    caption.textContent = "Your photo";
  }
}

const step = (name, words) => {
  const bar = make("progress", { max: 1, value: 0, ariaLabel: words });
  const item = make("li", {}, make("span", { textContent: words }), make("small"), bar);
  item.dataset.stage = name;
  mark(item, "later");
  return item;
};

function mark(item, state, count = "", share = 0) {
  item.className = state;
  if (state === "now") item.setAttribute("aria-current", "step");
  else item.removeAttribute("aria-current");
  item.querySelector("small").textContent = count;
  const bar = item.querySelector("progress");
  bar.hidden = !count;
  bar.value = share;
}
