// Photos on their way in: chosen, dropped, or one of the examples.

import { Problem, submit } from "/api.js";
import { byId, make, showProblem } from "/dom.js";
import { keepPhoto } from "/progress.js";

let reading = null;
let busy = false;

/** Listen for photos, which may come before the service's settings (a promise) do. */
export function startUploads(settings) {
  reading = settings;
  byId("photo").addEventListener("change", (event) => {
    const [photo] = event.target.files;
    event.target.value = "";
    if (photo) upload(photo);
  });
  byId("photo").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return; // Chromium opens files by the space bar only
    event.preventDefault();
    event.target.click();
  });
  listenForDrops();
}

/** Say what may be sent and how long it is kept, and offer the examples. */
export function showLimits(settings) {
  const hours = settings.retention_hours;
  const time = hours === 1 ? "one hour" : `${Number(hours.toFixed(1))} hours`;
  byId("limit").textContent = `JPEG, PNG or WebP, up to ${settings.max_photo_mb} MiB.`;
  byId("privacy").textContent =
    `A photo is kept with its avatar, and both are erased after ${time}, or when you delete them.`;
  showExamples(settings.examples);
}

function listenForDrops() {
  const over = (on) => byId("drop").classList.toggle("over", on);
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(!byId("home").hidden);
  });
  addEventListener("dragleave", (event) => event.relatedTarget || over(false));
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(false);
    const [photo] = event.dataTransfer.files;
    if (photo && !byId("home").hidden) upload(photo);
  });
}

function showExamples(examples) {
  const list = byId("examples").querySelector("ul");
  byId("examples").hidden = examples.length === 0;
  for (const { name, title } of examples) {
    const image = make("img", { src: `/examples/${name}`, alt: "", width: 72, height: 72 });
    const button = make("button", { type: "button" }, image, make("span", { textContent: title }));
    button.addEventListener("click", () => uploadExample(name));
    list.append(make("li", {}, button));
  }
}

const uploadExample = (name) => upload(async () => (await fetch(`/examples/${name}`)).blob());

/** Send a photo, or what a function gives, and go where its avatar is made. */
async function upload(given) {
  if (busy) return;
  setBusy(true);
  byId("upload-error").hidden = true;
  try {
    const photo = given instanceof Blob ? given : await given();
    check(photo, (await reading).max_photo_mb);
    const job = await submit(photo);
    keepPhoto(job.id, photo);
    location.hash = job.id;
  } catch (error) {
    showProblem(byId("upload-error"), error, () => upload(given));
  } finally {
    setBusy(false);
  }
}

function setBusy(now) {
  busy = now;
  byId("uploading").hidden = !now;
  byId("drop").classList.toggle("waiting", now);
}

/** What the service would refuse before it has read all of it, which browsers do not explain. */
function check(photo, most) {
  if (photo.size <= most * 2 ** 20) return;
  const size = Math.ceil(photo.size / 2 ** 20);
  throw new Problem({
    title: "This photo is too large.",
    detail: `It has ${size} MiB and may have ${most}. Save it smaller.`,
  });
}
