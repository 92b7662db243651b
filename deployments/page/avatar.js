// One avatar: how far it is, and then the head, its files and its scores.

import { follow, isFinal, read, readBlob, send } from "/api.js";
import { announce, byId, make, save, showImage, showProblem } from "/dom.js";
import { showHead } from "/head.js";
import { emptyTiles, fillTiles, Progress } from "/progress.js";
import { DOWNLOADS, duration, moment, scoresInWords, TITLES } from "/words.js";

/** Show an avatar until `signal`. */
export async function showAvatar(id, settings, signal) {
  clear();
  let job = await read(`/v1/avatars/${id}`, signal);
  byId("avatar-body").hidden = false;
  entitle(job.state);
  offerDeletion(() => job);
  if (job.state !== "succeeded") {
    const progress = await watch(job, signal);
    job = await read(`/v1/avatars/${id}`, signal);
    entitle(job.state);
    if (job.state !== "succeeded") return showEnd(job, progress);
  }
  await showResult(job, settings, signal);
}

function clear() {
  for (const id of ["avatar-error", "avatar-body", "made", "downloads", "scores", "viewer",
    "viewer-note", "working", "again", "cancel"]) byId(id).hidden = true;
  byId("tiles").hidden = false;
  byId("stage").hidden = false;
  byId("avatar-title").textContent = "Avatar";
  byId("avatar-facts").textContent = "";
  byId("expires").textContent = "";
}

function entitle(state) {
  byId("avatar-title").textContent = TITLES[state];
  document.title = `${TITLES[state]} · headsplat`;
}

/** Follow the job's events, from its first on, until it has finished. */
async function watch(job, signal) {
  const progress = new Progress(job, signal);
  const stop = byId("cancel");
  byId("working").hidden = false;
  stop.hidden = isFinal(job.state);
  stop.disabled = job.cancel_requested;
  stop.onclick = async () => {
    stop.disabled = true;
    try {
      await send(`/v1/avatars/${job.id}/cancel`, { method: "POST" });
      announce("It stops at the next step.");
    } catch (error) {
      stop.disabled = false;
      showProblem(byId("avatar-error"), error);
    }
  };
  const box = byId("avatar-error");
  const tell = (kind, data) => {
    if (kind === "lost") showProblem(box, { ...data, detail: `${data.detail} It is asked again.` });
    else box.hidden = true;
    if (kind === "state") entitle(data.state);
    progress.tell(kind, data);
  };
  await follow(job.id, tell, signal);
  stop.hidden = true;
  return progress;
}

/** Why there is no head. */
function showEnd(job, progress) {
  progress.end();
  byId("again").hidden = false;
  byId("again").textContent = job.state === "rejected" ? "Try another photo" : "Start anew";
  if (job.error) showProblem(byId("avatar-error"), job.error);
  byId("expires").textContent = expiry(job);
  announce(`${TITLES[job.state]}. ${job.error?.title ?? ""}`);
}

async function showResult(job, settings, signal) {
  byId("working").hidden = true;
  byId("tiles").hidden = true;
  offerFiles(job);
  byId("expires").textContent = expiry(job);
  const record = read(job.files["avatar.json"], signal).then(showRecord);
  const parts = [showHead(job, settings, signal), record, showMaking(job, signal)];
  await Promise.all(parts);
  announce("The head is there.");
}

function showRecord(record) {
  const items = scoresInWords({ scores: {}, ...record }).map(({ good, text, number }) =>
    make("li", { className: good ? "good" : "weak" }, make("span", { textContent: text }),
      make("small", { textContent: number })));
  byId("scores").querySelector("ul").replaceChildren(...items);
  byId("scores").hidden = items.length === 0;
  const work = Object.values(record.timings_s ?? {}).reduce((sum, part) => sum + part, 0);
  const facts = [`${record.gaussian_count.toLocaleString()} Gaussians`, `seed ${record.seed}`];
  if (work) facts.push(`made in ${duration(work)}`);
  byId("avatar-facts").textContent = facts.join(" · ");
}

async function showMaking(job, signal) {
  const tiles = byId("made-tiles");
  emptyTiles(tiles);
  byId("made").hidden = false;
  await Promise.all([
    showImage(byId("made-crop"), job.files["portrait.png"], signal),
    readBlob(job.files["views.webp"], signal).then((blob) => fillTiles(tiles, blob)),
  ]);
}

function offerFiles(job) {
  const items = Object.entries(DOWNLOADS).filter(([name]) => job.files[name]).map(([name, words]) => {
    const [kind, use] = words;
    const button = make("button", { type: "button" }, make("b", { textContent: kind }),
      make("span", { textContent: use }));
    button.setAttribute("aria-label", `Download ${kind}: ${use}`);
    button.onclick = () =>
      save(job.files[name]).catch((error) => showProblem(byId("avatar-error"), error));
    return make("li", {}, button);
  });
  byId("downloads").querySelector("ul").replaceChildren(...items);
  byId("downloads").hidden = false;
}

const expiry = (job) =>
  job.expires_at ? `All of it, the photo too, is erased on ${moment(job.expires_at)}.` : "";

function offerDeletion(current) {
  byId("delete").onclick = async () => {
    const job = current();
    if (!(await confirmed(!isFinal(job.state)))) return;
    try {
      await send(`/v1/avatars/${job.id}`, { method: "DELETE" });
    } catch (error) {
      showProblem(byId("avatar-error"), error);
      return;
    }
    location.hash = "";
    announce("It was erased.");
  };
}

async function confirmed(running) {
  const dialog = byId("confirm");
  byId("confirm-running").hidden = !running;
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  return dialog.returnValue === "delete";
}
