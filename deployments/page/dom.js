// Small helpers for the document.

import { readBlob } from "/api.js";

export const byId = (id) => document.getElementById(id);
export const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** An element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Have screen readers say `text` when they are done with what they say. */
export function announce(text) {
  byId("status").textContent = text;
}

/** Show why something went wrong in `box`, with a button that calls `retry` if there is one. */
export function showProblem(box, problem, retry) {
  const { title, detail, message } = problem;
  const same = !detail || detail === title;
  box.replaceChildren(make("strong", { textContent: title || message }));
  if (!same) box.append(make("p", { textContent: sentence(detail) }));
  if (retry) {
    const button = make("button", { type: "button", className: "button plain", onclick: retry });
    button.textContent = "Try again";
    box.append(button);
  }
  box.hidden = false;
}

const sentence = (text) => {
  const start = text[0].toUpperCase() + text.slice(1);
  return /[.!?)]$/.test(start) ? start : `${start}.`;
};

/** Show a file of the service in an image; the browser itself could not send the key. */
export async function showImage(image, path, signal) {
  const url = URL.createObjectURL(await readBlob(path, signal));
  try {
    image.src = url;
    await image.decode();
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Save a file of the service under its own name. */
export async function save(path) {
  const url = URL.createObjectURL(await readBlob(path));
  make("a", { href: url, download: path.split("/").pop() }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
