// The avatars that were made before.

import { isFinal, read, readBlob } from "/api.js";
import { byId, calm, make } from "/dom.js";
import { BADGES, moment } from "/words.js";

const A_PAGE = 12;
const SKELETONS = 4;
const POLL_MS = 3000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Show the newest avatars, and keep those that are being made up to date until `signal`. */
export async function showGallery(signal) {
  const list = byId("cards");
  byId("gallery-error").hidden = true;
  byId("empty").hidden = true;
  byId("more").hidden = true;
  list.replaceChildren(...Array.from({ length: SKELETONS }, () => make("li", { className: "ghost" })));
  list.setAttribute("aria-busy", "true");
  let page;
  try {
    page = await read(`/v1/avatars?limit=${A_PAGE}`, signal);
  } finally {
    if (!signal.aborted) list.replaceChildren();
  }
  list.setAttribute("aria-busy", "false");
  byId("empty").hidden = page.avatars.length > 0;
  const cards = new Map();
  add(page, cards, signal);
  while (!signal.aborted) {
    await pause(POLL_MS);
    const open = [...cards.values()].some((card) => !isFinal(card.dataset.state));
    if (!open || signal.aborted) continue;
    const news = await read(`/v1/avatars?limit=${A_PAGE}`, signal);
    for (const job of news.avatars) {
      if (cards.get(job.id)?.dataset.state !== job.state) update(cards, job, signal);
    }
  }
}

function add(page, cards, signal) {
  for (const job of page.avatars) update(cards, job, signal);
  const more = byId("more");
  more.hidden = !page.next_cursor;
  more.onclick = async () => {
    const next = `/v1/avatars?limit=${A_PAGE}&cursor=${encodeURIComponent(page.next_cursor)}`;
    add(await read(next, signal), cards, signal);
  };
}

function update(cards, job, signal) {
  const card = makeCard(job, signal);
  if (cards.has(job.id)) cards.get(job.id).replaceWith(card);
  else byId("cards").append(card);
  cards.set(job.id, card);
}

function makeCard(job, signal) {
  const time = make("span", { textContent: moment(job.created_at) });
  const link = make("a", { href: `#${job.id}` });
  const picture = make("div", { className: "picture" });
  link.append(picture, time);
  if (job.state === "succeeded") showHead(picture, link, job, signal);
  else picture.append(make("span", { className: `badge ${job.state}`, textContent: BADGES[job.state] }));
  const name = BADGES[job.state] ?? "Avatar";
  link.setAttribute("aria-label", `${name}, ${moment(job.created_at)}`);
  const card = make("li", {}, link);
  card.dataset.state = job.state;
  return card;
}

/** The head from the front, which turns while it is pointed at. */
function showHead(picture, link, job, signal) {
  new IntersectionObserver(async ([entry], observer) => {
    if (!entry.isIntersecting) return;
    observer.disconnect();
    const blob = await readBlob(job.files["turntable.webp"], signal).catch(() => null);
    if (!blob) return;
    const still = await firstFrame(blob);
    const moving = make("img", { alt: "" });
    picture.append(still, moving);
    const url = URL.createObjectURL(blob);
    signal.addEventListener("abort", () => URL.revokeObjectURL(url));
    const turn = (on) => {
      if (on && !calm.matches) moving.src = url;
      picture.classList.toggle("turning", on && !calm.matches);
    };
    for (const kind of ["pointerenter", "focus"]) link.addEventListener(kind, () => turn(true));
    for (const kind of ["pointerleave", "blur"]) link.addEventListener(kind, () => turn(false));
  }, { rootMargin: "200px" }).observe(picture);
}

/** A canvas with the first frame of a picture that moves. */
export async function firstFrame(blob) {
  const bitmap = await createImageBitmap(blob);
  const canvas = make("canvas", { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas;
}
